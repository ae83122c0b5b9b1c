"""The API-format graph as plain data, and the questions one asks of it.

Owns the shapes (`Graph`, `Node`, `Link`) and pure look-ups: by class, by title, along the links.
Nothing here changes a graph, recurses along links or fails on a cycle or a link to nowhere; what is
wrong with a graph is said by `comfyui/validation.py`. Knows nothing of files, requests or servers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple, TypedDict

from comfyui.object_info import ObjectInfo
from image_provider import WorkflowError

_OUTPUT_PREFIXES = ("Save", "Preview")
_MAX_DEPTH = 100


class Node(TypedDict, total=False):
    """One node; a loaded graph has class_type and inputs in every one."""

    class_type: str
    inputs: dict[str, Any]
    _meta: dict[str, Any]


Graph = dict[str, Node]
"""Nodes by id, in the order of the file."""


class Link(NamedTuple):
    """Where an input comes from: a node and its output slot."""

    node_id: str
    slot: int


class Consumer(NamedTuple):
    """An input that takes what a node gives, and the output slot it takes."""

    node_id: str
    input_name: str
    slot: int


def as_link(value: object) -> Link | None:
    """The link that an input's value is, or None for a plain value.

    Only a list of a node id and a slot is one (comfy_execution/graph_utils.py, is_link).
    """
    match value:
        case [str(node_id), int(slot)] if isinstance(value, list):
            return Link(node_id, slot)
        case _:
            return None


def links_of(node: Node) -> Iterator[tuple[str, Link]]:
    """The linked inputs of a node: name and link."""
    for name, value in node["inputs"].items():
        link = as_link(value)
        if link is not None:
            yield name, link


def find_by_class(graph: Graph, class_type: str) -> str | None:
    """The id of the first node of this class in file order; what is no node is passed over."""
    for node_id, node in graph.items() if isinstance(graph, dict) else ():
        if isinstance(node, dict) and node.get("class_type") == class_type:
            return node_id
    return None


def plain(value: object, place: str = "", depth: int = 0) -> Any:
    """A value as JSON can hold it, in a copy: NumPy's numbers as Python's, tuples as lists.

    Raises TypeError naming the place, such as "3.inputs.seed", of what JSON cannot hold.
    """
    if value is None or isinstance(value, (str, int, float)):
        return value
    if depth > _MAX_DEPTH:
        raise TypeError(f"{place[:40]}… is nested deeper than {_MAX_DEPTH} levels")
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, (str, int)):
                raise TypeError(f"{place or 'it'} has the key {key!r}; keys are text")
        inside = f"{place}." if place else ""
        return {k: plain(entry, f"{inside}{k}", depth + 1) for k, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(entry, f"{place}[{i}]", depth + 1) for i, entry in enumerate(value)]
    item = getattr(value, "item", None)
    if callable(item) and getattr(value, "shape", None) == ():
        number = item()
        if isinstance(number, (str, int, float)):
            return number
    raise TypeError(f"{place or 'it'} is a {type(value).__name__}, which JSON cannot hold")


def plain_graph(data: object) -> Any:
    """`plain` for a graph that a program made; raises WorkflowError."""
    try:
        return plain(data)
    except TypeError as error:
        raise WorkflowError(f"the workflow: {error}") from error


def find_by_title(graph: Graph, title: str) -> list[str]:
    """The ids of all nodes that the editor shows under this title, in file order."""
    return [node_id for node_id, node in graph.items() if title_of(node) == title]


def title_of(node: Node) -> str:
    """The title that the editor shows for a node; its class where it has none of its own."""
    title = node.get("_meta", {}).get("title")
    return title if isinstance(title, str) and title else node["class_type"]


def described(node_id: str, class_type: str, title: str) -> str:
    """A node as messages call it: "node 5 KSampler 'Second pass'"; no title that is the class."""
    return f"node {node_id} {class_type}" + (f" {title!r}" if title != class_type else "")


def consumers(graph: Graph) -> dict[str, list[Consumer]]:
    """For every node that is linked to: the inputs that take from it, in file order."""
    index: dict[str, list[Consumer]] = {}
    for node_id, node in graph.items():
        for name, link in links_of(node):
            index.setdefault(link.node_id, []).append(Consumer(node_id, name, link.slot))
    return index


def upstream(graph: Graph, node_ids: Iterable[str]) -> list[str]:
    """These nodes and all that feed them, nearest first, each once; ids of no node left out."""
    found = dict.fromkeys(node_id for node_id in node_ids if node_id in graph)
    waiting = list(found)
    for node_id in waiting:  # grows while it is walked
        for _, link in links_of(graph[node_id]):
            if link.node_id in graph and link.node_id not in found:
                found[link.node_id] = None
                waiting.append(link.node_id)
    return waiting


def output_nodes(graph: Graph, object_info: ObjectInfo | None = None) -> list[str]:
    """The nodes that the server runs the graph for, in file order.

    A class that nobody has described counts by its name: Save…, Preview…
    """
    return [node_id for node_id, node in graph.items() if _is_output(node, object_info)]


def _is_output(node: Node, object_info: ObjectInfo | None) -> bool:
    class_type = node["class_type"]
    if object_info is not None and class_type in object_info:
        return object_info[class_type].is_output_node
    return class_type.startswith(_OUTPUT_PREFIXES)
