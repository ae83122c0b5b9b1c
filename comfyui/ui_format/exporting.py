"""From the open graphs to API format, node by node in the order of the editor.

Owns which nodes are written, in which order, and how values and links are. Facts: ComfyUI_frontend
1.27.10 to 1.48.7, utils/executionUtil.ts and LGraph.ts (computeExecutionOrder).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

from comfyui.graph import Graph as ApiGraph
from comfyui.node_packs import PACK_KEY
from comfyui.object_info import Editor
from comfyui.ui_format import group_nodes, primitives
from comfyui.ui_format.javascript import as_written, in_key_order
from comfyui.ui_format.model import UNSET, Document, Graph, Node, Widget
from comfyui.ui_format.refusing import refuse_unknown, told_pack
from comfyui.ui_format.resolving import Held, Path, Source, full_id, resolve
from comfyui.ui_format.subgraphs import write_through


def export(document: Document, *, keep_unknown: bool = False) -> ApiGraph:
    """The graph in API format; raises WorkflowError naming the place where it cannot be.

    `keep_unknown` exports nodes that the server lacks as far as the file tells what they have.
    """
    for graph in document.graphs:
        primitives.write_values(graph, document)
    if document.editor < Editor.V1_48:
        write_through(document)
    for node in document.nodes.values():
        if node.group is not None:
            group_nodes.write_values(node)
    places = [
        (path, node)
        for path, node in _in_order(document)
        if not (node.is_virtual or node.is_inactive)
    ]
    refuse_unknown(document, places, keep_unknown=keep_unknown)
    exported: dict[str, Any] = {}
    for path, node in places:
        exported[full_id(path, node)] = {
            "inputs": _inputs(document, path, node),
            "class_type": node.type,
            "_meta": _meta(node),
        }
    for entry in exported.values():
        _drop_dead_links(entry["inputs"], exported)
    return in_key_order(exported)


def _meta(node: Node) -> dict[str, Any]:
    pack = told_pack(node) if node.info is None else None
    return {"title": node.title, **({PACK_KEY: pack} if pack is not None else {})}


def _inputs(document: Document, path: Path, node: Node) -> dict[str, Any]:
    inputs: dict[str, Any] = {}
    for widget in node.widgets:
        if widget.name and widget.is_exported:
            value = _exported(document, node, widget)
            _write(inputs, widget.name, value, widget)
    for number, slot in enumerate(node.inputs):
        if slot.link is None:
            continue
        found = resolve(document, path, node, number)
        if isinstance(found, Held):
            _write(inputs, slot.name, found.value)
        elif isinstance(found, Source):
            inputs[slot.name] = [found.node_id, found.slot]
    return in_key_order(inputs)


def _exported(document: Document, node: Node, widget: Widget) -> Any:
    return widget.value if widget.written is None else widget.written(node, widget, document)


def _write(inputs: dict[str, Any], name: str, value: Any, widget: Widget | None = None) -> None:
    """A value as the server reads it, for which a bare list would be a link.

    It is a copy: a default belongs to all conversions.
    """
    if value is UNSET:
        inputs.pop(name, None)
    elif isinstance(value, list):
        curve = {"__type__": "CURVE"} if widget is not None and widget.kind == "curve" else {}
        inputs[name] = {**curve, "__value__": as_written(value)}
    else:
        inputs[name] = as_written(value)


def _drop_dead_links(inputs: dict[str, Any], exported: dict[str, Any]) -> None:
    dead = [
        name
        for name, value in inputs.items()
        if isinstance(value, list) and value[0] not in exported
    ]
    for name in dead:
        del inputs[name]


def _in_order(document: Document) -> Iterator[tuple[Path, Node]]:
    for node in _execution_order(document):
        if node.subgraph is None and node.group is None:
            yield (), node
        elif node.is_inactive and document.editor >= Editor.V1_45:
            continue
        elif node.group is not None:
            yield from (((node,), inner) for inner in node.group.nodes.values())
        else:
            yield from _inside((), node)


def _inside(path: Path, instance: Node) -> Iterator[tuple[Path, Node]]:
    inner = (*path, instance)
    assert instance.subgraph is not None
    for node in instance.subgraph.nodes.values():
        if node.subgraph is not None:
            yield from _inside(inner, node)
        else:
            yield inner, node


def _execution_order(graph: Graph) -> list[Node]:
    """Each node after those that feed it; those of a circle last."""
    missing = {
        node_id: sum(slot.link is not None for slot in node.inputs)
        for node_id, node in graph.nodes.items()
    }
    ready = deque(node_id for node_id, count in missing.items() if count == 0)
    ordered: dict[str, None] = {}
    followed: set[int] = set()
    while ready:
        node_id = ready.popleft()
        ordered[node_id] = None
        for target_id in _followers(graph, graph.nodes[node_id], followed):
            missing[target_id] -= 1
            if missing[target_id] == 0:
                ready.append(target_id)
    rest = in_key_order({node_id: None for node_id in graph.nodes if node_id not in ordered})
    return [graph.nodes[node_id] for node_id in (*ordered, *rest)]


def _followers(graph: Graph, node: Node, followed: set[int]) -> Iterator[str]:
    """The nodes that links lead to which were not followed before."""
    for link_id in (link_id for output in node.outputs for link_id in output.links):
        link = graph.links.get(link_id)
        if link is not None and link_id not in followed:
            followed.add(link_id)
            if link.target_id in graph.nodes:
                yield link.target_id
