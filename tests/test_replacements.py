"""Classes that a server replaces itself: what it says of them, and what becomes of such nodes."""

from __future__ import annotations

import pytest

from comfyui.fitting import do_without_missing
from comfyui.object_info import ObjectInfo
from comfyui.replacements import lacks_classes, left_to_server, read_replacements
from comfyui.workflow import Workflow
from image_provider import WorkflowError

INFO = ObjectInfo.from_dict(
    {
        "New": {"input": {"required": {"picture": ["IMAGE"]}}, "output": ["IMAGE"]},
        "Other": {"input": {}, "output": ["IMAGE"]},
        "Save": {"input": {"required": {"images": ["IMAGE"]}}, "output": [], "output_node": True},
    }
)


def entry(new, old="Old"):
    """One replacement as ComfyUI lists it (comfy_api, NodeReplace.as_dict)."""
    return {
        "new_node_id": new,
        "old_node_id": old,
        "old_widget_ids": None,
        "input_mapping": [{"new_id": "picture", "old_id": "image"}],
        "output_mapping": None,
    }


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"Old": [entry("New")]}, {"Old": "New"}),
        ({"Old": [entry("New"), entry("Other")]}, {"Old": "New"}),
        ({"Old": [entry("Gone"), entry("New")]}, {}),  # the server tries the first alone
        ({"Other": [entry("New", "Other")]}, {}),  # it has the class itself
        ({}, {}),
        ([], {}),
        ({"Old": []}, {}),
        ({"Old": {}}, {}),
        ({"Old": ["New"]}, {}),
        ({"Old": [{"new_node_id": ["New"]}]}, {}),
    ],
)
def test_the_first_replacement_counts_where_the_server_has_it(answer, expected):
    assert read_replacements(answer, INFO) == expected


def graph_with(class_type, **more):
    return {
        "1": {"class_type": class_type, "inputs": {"image": ["2", 0]}, **more},
        "2": {"class_type": "Other", "inputs": {}},
        "3": {"class_type": "Save", "inputs": {"images": ["1", 0]}},
    }


def test_a_replaced_node_is_no_problem_and_is_told():
    workflow, replaced = Workflow(graph_with("Old")), {"Old": "New"}
    assert [problem.kind for problem in workflow.validate(INFO)] == ["unknown_node"]
    assert workflow.validate(INFO, replaced) == []
    assert left_to_server(workflow.graph, replaced) == {
        "1": "node 1 Old: the server replaces it by New"
    }
    titled = graph_with("Old", _meta={"title": "Mine"})
    assert left_to_server(titled, replaced)["1"].startswith("node 1 Old 'Mine': ")
    assert left_to_server(titled, {}) == {}


def test_only_a_class_that_is_not_there_is_worth_asking_for():
    assert lacks_classes(graph_with("Old"), INFO)
    assert not lacks_classes(graph_with("New"), INFO)


@pytest.mark.parametrize("on_missing", ["bypass", "error"])
def test_a_replaced_node_is_left_to_the_server(on_missing):
    graph, notes = do_without_missing(
        graph_with("Old"), INFO, on_missing, "some.json", {"Old": "New"}
    )
    # The first servers that replace nodes fail for one without _meta.
    assert graph == graph_with("Old", _meta={})
    assert notes == []


def test_another_node_that_is_missing_is_treated_as_ever():
    graph = graph_with("Old") | {
        "4": {"class_type": "Gone", "inputs": {"images": ["1", 0]}},
    }
    graph["3"]["inputs"]["images"] = ["4", 0]
    after, notes = do_without_missing(graph, INFO, "bypass", "some.json", {"Old": "New"})
    assert after["3"]["inputs"]["images"] == ["1", 0]
    assert len(notes) == 1 and "Gone" in notes[0]
    with pytest.raises(WorkflowError, match="Gone"):
        do_without_missing(graph, INFO, "error", "some.json", {"Old": "New"})
