"""The editor's Reroute nodes: they have the type of what they are fed.

Facts: ComfyUI_frontend 1.45.19, extensions/core/rerouteNode.ts. Reroutes that are part of a link
(native ones) need nothing: the link itself says what it joins.
"""

from __future__ import annotations

from comfyui.object_info import ANY
from comfyui.ui_format.model import Graph, InputSlot, Node, goes_with

TYPE = "Reroute"


def settle(graph: Graph) -> None:
    """Gives reroutes their types, and cuts their links to inputs of other types."""
    for node in graph.nodes.values():
        if node.type == TYPE and node.inputs and not _is_fed_by_reroute(graph, node):
            _settle_chain(graph, node)


def _settle_chain(graph: Graph, first: Node) -> None:
    fed = graph.origin_type(first.inputs[0])
    for reroute in chain(graph, first):
        if reroute.outputs:
            reroute.outputs[0].type = fed or ANY
        if fed:
            _cut_misfits(graph, reroute, fed)


def chain(graph: Graph, first: Node) -> list[Node]:
    """A reroute and those behind it, each once."""
    found = {first.id: first}
    waiting = [first]
    for node in waiting:  # grows while it is walked
        for target, _ in graph.targets(node):
            if target.type == TYPE and target.id not in found:
                found[target.id] = target
                waiting.append(target)
    return waiting


def ends(graph: Graph, first: Node) -> list[tuple[Node, InputSlot]]:
    """The inputs of other nodes that a reroute leads to."""
    return [
        (target, slot)
        for node in chain(graph, first)
        for target, slot in graph.targets(node)
        if target.type != TYPE
    ]


def _is_fed_by_reroute(graph: Graph, node: Node) -> bool:
    link = graph.link(node.inputs[0].link)
    origin = graph.nodes.get(link.origin_id) if link is not None else None
    return origin is not None and origin.type == TYPE


def _cut_misfits(graph: Graph, reroute: Node, fed: str) -> None:
    misfits = [
        slot
        for target, slot in graph.targets(reroute)
        if target.type != TYPE and slot.link is not None and not goes_with(fed, slot.type)
    ]
    graph.cut({slot.link for slot in misfits if slot.link is not None})
    for slot in misfits:
        slot.link = None
