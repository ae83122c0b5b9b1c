"""One small graph a rule, in tests/data/workflows: what changes, what is told, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from comfyui.object_info import ObjectInfo
from comfyui.workflow import Workflow
from image_provider import ImageGenerationRequest, WorkflowError

DATA = Path(__file__).parent / "data"
FOLDER = DATA / "workflows"
RULES = sorted(path.name.removesuffix(".expected.json") for path in FOLDER.glob("*.expected.json"))


def read(path):
    return json.loads(path.read_text("utf-8"))


def described():
    classes = read(DATA / "object_info" / "0.26.0.json") | read(FOLDER / "object_info.json")
    return ObjectInfo.from_dict(classes)


def changes(before, after):
    """The inputs that differ, as "id.input"."""
    assert before.keys() == after.keys()
    return {
        f"{node_id}.{name}": value
        for node_id, node in after.items()
        for name, value in node["inputs"].items()
        if before[node_id]["inputs"].get(name, ...) != value
    }


CASES = [(name, True) for name in RULES] + [
    (name, False)
    for name in RULES
    if not read(FOLDER / f"{name}.expected.json").get("needs_object_info")
]


@pytest.mark.parametrize(("name", "with_object_info"), CASES)
def test_the_rule_holds(name, with_object_info):
    expected = read(FOLDER / f"{name}.expected.json")
    info = described() if with_object_info else None
    workflow = Workflow.from_file(FOLDER / f"{name}.json")
    request = ImageGenerationRequest(**expected["request"])
    if "error" in expected:
        with pytest.raises(WorkflowError) as caught:
            workflow.bind(request, info)
        assert [word for word in expected["error"] if word not in str(caught.value)] == []
        return
    bound = workflow.bind(request, info)
    assert changes(workflow.graph, bound.graph) == expected["changes"], expected["rule"]
    assert sorted(entry.parameter for entry in bound.ignored) == expected["ignored"]
    assert changes(workflow.graph, bound.graph).keys() <= {
        f"{entry.node_id}.{entry.input_name}" for entry in bound.bindings
    }
    assert all(entry.reason for entry in (*bound.bindings, *bound.ignored))
    again = Workflow(bound.graph, workflow.source, workflow.overrides).bind(request, info)
    assert again.graph == bound.graph


@pytest.mark.parametrize("name", ["efficient", "unknown_nodes"])
def test_the_classes_of_custom_nodes_are_needed_where_it_is_said(name):
    graph = Workflow.from_file(FOLDER / f"{name}.json").graph
    assert {node["class_type"] for node in graph.values()} & read(
        FOLDER / "object_info.json"
    ).keys()


@pytest.mark.parametrize("name", ["mode", "mode_word"])
def test_without_a_picture_the_mode_goes_back(name):
    workflow = Workflow.from_file(FOLDER / f"{name}.json")
    there = workflow.bind(ImageGenerationRequest("a cat", source_image_url="a.png")).graph
    assert changes(workflow.graph, there)
    back = Workflow.from_dict(there).bind(ImageGenerationRequest("a cat")).graph
    assert back == workflow.graph
