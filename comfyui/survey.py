"""What can be told of a workflow without a request or a server: where parameters go, what it needs.

Owns the sample requests, the merging of what several ways lead to, the model files that a graph
names, and the faults that it has whatever the server. Where a parameter goes is decided by
`comfyui/binding.py`, what a server takes by `comfyui/validation.py`. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, replace

from comfyui.binding import Binding, BoundWorkflow, Ignored
from comfyui.cycles import find_cycles
from comfyui.graph import Graph, links_of, output_nodes, upstream
from comfyui.model_folders import model_folder
from comfyui.object_info import ObjectInfo
from comfyui.validation import WorkflowProblem, linked_to_nowhere, node_problem
from comfyui.workflow import Workflow
from image_provider import ImageGenerationRequest, WorkflowError

_ORDER = {field.name: number for number, field in enumerate(fields(ImageGenerationRequest))}
_LONGEST_WAY = 10
"""Nodes of a cycle that a message names."""

_SAMPLE = ImageGenerationRequest(
    prompt="a red fox",
    negative_prompt="text",
    # Two numbers, so that a workflow which has one value for both sides shows it.
    width=1152,
    height=896,
    seed=1,
    steps=20,
    guidance_scale=5.0,
    strength=0.5,
    model="model.safetensors",
)
# A workflow with a switch between two modes takes some parameters in one of them only.
_SAMPLES = {
    "without a picture": _SAMPLE,
    "with a picture": replace(
        _SAMPLE, source_image_url="example.png", mask_image_url="example.png"
    ),
}
_PICTURES = frozenset({"source_image_url", "mask_image_url"})


@dataclass(frozen=True)
class Survey:
    """Where parameters go, which go nowhere, and why a request could not be bound at all.

    Each place stands once, with every way that leads to it; the values are the workflow's own.
    """

    bindings: list[Binding]
    ignored: list[Ignored]
    failures: list[WorkflowError]


def survey(workflow: Workflow, object_info: ObjectInfo | None = None) -> Survey:
    """What becomes of every parameter but LoRAs, for which nodes are added."""
    graph = workflow.graph
    bounds: dict[str, BoundWorkflow] = {}
    failures: dict[str, WorkflowError] = {}
    for mode, sample in _SAMPLES.items():
        try:
            bounds[mode] = workflow.bind(sample, object_info)
        except WorkflowError as error:
            failures[str(error)] = error
    places = [set(map(_key, bound.bindings)) for bound in bounds.values()]
    found = [
        replace(
            entry,
            value=graph[entry.node_id]["inputs"].get(entry.input_name),
            reason=entry.reason + ("" if _is_of_all(entry, places) else f" ({mode})"),
        )
        for mode, bound in bounds.items()
        for entry in bound.bindings
    ]
    placed = {entry.parameter for entry in found}
    ignored = [entry for bound in bounds.values() for entry in bound.ignored]
    nowhere: dict[str, dict[str, None]] = {}
    for entry in sorted(ignored, key=_by_field):
        if entry.parameter not in placed:
            nowhere.setdefault(entry.parameter, {})[entry.reason] = None
    return Survey(
        merged(found),
        [Ignored(parameter, "; ".join(reasons)) for parameter, reasons in nowhere.items()],
        list(failures.values()),
    )


def _is_of_all(entry: Binding, places: list[set[tuple[str, str, str]]]) -> bool:
    """Whether it goes there in both modes; a picture is given in one of them anyway."""
    return entry.parameter in _PICTURES or all(_key(entry) in found for found in places)


def merged(bindings: Iterable[Binding]) -> list[Binding]:
    """The bindings with every place once, in the order of the request's fields."""
    last: dict[tuple[str, str, str], Binding] = {}
    ways: dict[tuple[str, str, str], dict[str, None]] = {}
    for entry in bindings:
        last[_key(entry)] = entry
        ways.setdefault(_key(entry), {})[entry.reason] = None
    entries = [replace(entry, reason="; ".join(ways[key])) for key, entry in last.items()]
    # Inputs that `extra` sets are no fields: they come last.
    return sorted(entries, key=_by_field)


def _by_field(entry: Binding | Ignored) -> int:
    return _ORDER.get(entry.parameter, len(_ORDER))


def _key(entry: Binding) -> tuple[str, str, str]:
    return entry.parameter, entry.node_id, entry.input_name


def model_files(graph: Graph) -> list[str]:
    """The model files that the nodes name, each once."""
    return list(
        dict.fromkeys(
            value
            for node in graph.values()
            for name, value in node["inputs"].items()
            if isinstance(value, str) and model_folder(node["class_type"], name) is not None
        )
    )


def structural_problems(graph: Graph) -> list[WorkflowProblem]:
    """What keeps a graph from running whatever the server: links to nowhere, and cycles.

    That it has no output is not known without a server: classes of custom packs give some, too.
    """
    running = upstream(graph, output_nodes(graph) or graph)
    return [*_links_to_nowhere(graph, running), *_cycles(graph, running)]


def _links_to_nowhere(graph: Graph, running: Iterable[str]) -> Iterator[WorkflowProblem]:
    for node_id in running:
        for name, link in links_of(graph[node_id]):
            if link.node_id not in graph:
                yield node_problem(graph, node_id, "bad_link", name, linked_to_nowhere(link))


def _cycles(graph: Graph, running: Iterable[str]) -> Iterator[WorkflowProblem]:
    edges = {
        node_id: [link.node_id for _, link in links_of(graph[node_id]) if link.node_id in graph]
        for node_id in running
    }
    for path in find_cycles(edges):
        shown = [*path[:_LONGEST_WAY], *["…"][: len(path) - _LONGEST_WAY], path[0]]
        what = f"feeds itself: {' ← '.join(shown)}; cut one of the links"
        yield node_problem(graph, path[0], "cycle", None, what)
