"""Workflows of strangers: files, pictures that carry one, bindings; and the classes of nodes."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from comfyui.claims import read_overrides
from comfyui.fitting import files_out_of_lists, fit_of
from comfyui.graph import Graph
from comfyui.library import WorkflowLibrary
from comfyui.loading import read_bytes, read_document
from comfyui.object_info import InputInfo, ObjectInfo
from comfyui.replacements import left_to_server, read_replacements
from comfyui.survey import structural_problems, survey
from comfyui.workflow import Workflow
from image_provider import ImageGenerationRequest, WorkflowError
from tests.fuzzing import seeds
from tests.fuzzing.target import Target, as_json, parsed

MOST_BYTES = 2_000_000
_REQUEST = ImageGenerationRequest(
    "a red fox",
    negative_prompt="blurry",
    width=640,
    height=512,
    seed=7,
    steps=4,
    guidance_scale=2.5,
    strength=0.5,
    model="x.safetensors",
    loras=[("y.safetensors", 0.5)],
)


def _graph(data: bytes) -> None:
    _check(read_bytes(data, None, "fuzz.json", MOST_BYTES))


def _editor_file(data: bytes) -> None:
    info = ObjectInfo(seeds.node_classes())
    _check(read_bytes(data, info, "fuzz.json", MOST_BYTES))


def _editor_file_kept(data: bytes) -> None:
    info = ObjectInfo(seeds.node_classes())
    _check(read_bytes(data, info, "fuzz.json", MOST_BYTES, keep_unknown=True))


def _check(graph: Graph) -> None:
    """What everything else relies on."""
    for node_id, node in graph.items():
        assert isinstance(node_id, str)
        assert isinstance(node["class_type"], str) and isinstance(node["inputs"], dict)


def _use(data: bytes) -> None:
    """A workflow on a server, as far as it goes without sending it."""
    document = parsed(data)
    parts = document if isinstance(document, dict) else {}
    graph = read_document(parts.get("graph"), None, "fuzz.json")
    info = ObjectInfo.from_dict(parts.get("object_info"))
    replacements = read_replacements(parts.get("replacements"), info)
    workflow = Workflow(graph, "fuzz.json", read_overrides(parts.get("bindings"), "b.json"))
    workflow.validate(info, replacements)
    structural_problems(graph)
    left_to_server(graph, replacements)
    list(files_out_of_lists(graph, info))
    fit_of(graph, info, replacements, "bypass", "fuzz.json")
    survey(workflow, info)
    workflow.bind(_REQUEST, info)
    workflow.bind(_REQUEST)


def _uses() -> list[bytes]:
    known = seeds.node_classes()
    replacements = {"OldSave": [{"new_node_id": "SaveImage", "old_node_id": "OldSave"}]}
    return as_json(
        *(
            {
                "graph": graph,
                "object_info": {
                    name: known[name]
                    for name in {node["class_type"]: None for node in graph.values()}
                    if name in known
                }
                or {"SaveImage": known["SaveImage"]},
                "replacements": replacements,
                "bindings": {},
            }
            for graph in seeds.graphs()
        )
    )


def _object_info(data: bytes) -> None:
    """Every class is read, whole: a stranger's server may describe them as it likes."""
    info = ObjectInfo.from_dict(parsed(data))
    for node in info.values():
        for entry in node.inputs.values():
            _look_into(entry)
    assert info.editor is not None
    assert isinstance(info.checks_new_combos, bool)
    for graph in seeds.graphs()[:3]:
        Workflow(graph).validate(info)
        fit_of(graph, info, {}, "bypass", "fuzz.json")


def _look_into(entry: InputInfo) -> None:
    for choice in entry.options or ():
        entry.choice_inputs(choice)
    assert entry.growth is None or entry.growth.inputs is not None
    assert entry.match is None or len(entry.match) == 2


def _name(data: bytes) -> None:
    """A workflow's name from a stranger leads to the workflow folder alone."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        Path(folder, "inside").mkdir()
        Path(folder, "outside.json").write_text(json.dumps(seeds.graphs()[0]), encoding="utf-8")
        Path(folder, "inside", "a.json").write_text(json.dumps(seeds.graphs()[1]), "utf-8")
        library = WorkflowLibrary(Path(folder, "inside"))
        loaded = library.load(data.decode("utf-8", "surrogateescape"))
        assert loaded.graph == seeds.graphs()[1]


def _bindings(data: bytes) -> None:
    overrides = read_overrides(parsed(data), "fuzz.bindings.json")
    graph: Any = seeds.graphs()[0]
    Workflow(graph, "fuzz.json", overrides).bind(_REQUEST)


def _some_classes() -> list[bytes]:
    """One class by one, so that a change falls on what matters."""
    known = seeds.node_classes()
    return as_json(*({name: known[name]} for name in known), known)


def _editor_files() -> list[bytes]:
    return as_json(*seeds.editor_files())


def _workflows() -> list[bytes]:
    return as_json(*seeds.graphs(), *seeds.editor_files())


TARGETS = (
    Target("workflow_file", _graph, _workflows, (WorkflowError,)),
    Target("editor_file", _editor_file, _editor_files, (WorkflowError,)),
    Target("editor_file_kept", _editor_file_kept, _editor_files, (WorkflowError,)),
    Target("workflow_picture", _graph, seeds.workflow_pictures, (WorkflowError,), is_json=False),
    Target("workflow_on_a_server", _use, _uses, (WorkflowError,)),
    Target("object_info", _object_info, _some_classes, (WorkflowError,)),
    Target(
        "bindings_file",
        _bindings,
        lambda: as_json(
            {"prompt": ["2.text"], "model": "1.ckpt_name"},
            {"prompt": "2.text", "width": ["4.width"]},
        ),
        (WorkflowError,),
    ),
    Target(
        "workflow_name",
        _name,
        lambda: [b"a.json", b"./x/../a.json", b"a", b"../outside.json", b"/etc/passwd"],
        (WorkflowError,),
        is_json=False,
    ),
)
