"""Where an input's value comes from: through reroutes, bypassed nodes and in and out of subgraphs.

Facts: ComfyUI_frontend 1.27.10 to 1.48.7, ExecutableNodeDTO.ts. No recursion: a chain of nodes
that are passed through may be of any length.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from comfyui.object_info import ANY, Editor
from comfyui.ui_format import group_nodes, tunnels
from comfyui.ui_format.model import (
    INPUT_NODE,
    UNSET,
    Document,
    Graph,
    Link,
    Mode,
    Node,
    Subgraph,
    goes_with,
)
from image_provider import WorkflowError

Path = tuple[Node, ...]
"""The instances of subgraphs that a node is in, from the outermost on."""


class Source(NamedTuple):
    """An output that gives the value."""

    node_id: str
    slot: int


class Held(NamedTuple):
    """A value that a promoted widget gives."""

    value: Any


class _Ask(NamedTuple):
    """What comes into an input of a node, for an input of this type further on."""

    path: Path
    node: Node
    slot: int
    type: str | None


class _Take(NamedTuple):
    """What goes out of an output of a node."""

    path: Path
    node: Node
    slot: int
    type: str


_Step = _Ask | _Take | Source | Held | None


def full_id(path: Path, node: Node) -> str:
    """The id of a node in API format: those of the subgraphs around it, then its own."""
    return ":".join([*(instance.id for instance in path), node.id]) if path else node.id


def resolve(document: Document, path: Path, node: Node, slot: int) -> Source | Held | None:
    """What gives an input its value; None for nothing.

    Raises WorkflowError for a link that leads nowhere or in a circle.
    """
    if path and path[-1].group is not None:
        fed = group_nodes.fed_by(document, path[-1], node, slot)
        return None if fed is None else Source(*fed)
    step: _Step = _Ask(path, node, slot, None)
    way: list[object] = []
    seen: set[object] = set()
    while isinstance(step, (_Ask, _Take)):
        place = full_id(step.path, step.node)
        key = (type(step), place, step.slot, step.type)
        if key in document.resolved:
            found: Source | Held | None = document.resolved[key]
            step = found
            break
        if key[:3] in seen:
            what = f"node {place} {step.node.type} feeds itself; cut one of the links"
            raise WorkflowError(what, node_id=place, class_type=step.node.type)
        seen.add(key[:3])
        way.append(key)
        step = _asked(document, step) if isinstance(step, _Ask) else _taken(document, step)
    document.resolved.update(dict.fromkeys(way, step))
    return None if isinstance(step, (_Ask, _Take)) else step


def _asked(document: Document, step: _Ask) -> _Step:
    path, node = step.path, step.node
    if step.slot >= len(node.inputs):
        return None
    slot = node.inputs[step.slot]
    if slot.link is None:
        return None
    graph = graph_of(document, path)
    link = graph.link(slot.link)
    if link is None:
        raise _broken(path, node, f"link {slot.link} is not in the file", slot.name)
    wanted = step.type or slot.type
    if path and link.origin_id == INPUT_NODE:
        return _from_outside(document, path, link)
    return _origin(graph, path, node, link, wanted)


def _origin(graph: Graph, path: Path, node: Node, link: Link, wanted: str) -> _Step:
    origin = graph.nodes.get(link.origin_id)
    if origin is None:
        what = f"link {link.id} comes from node {link.origin_id}, which is not in the file"
        raise _broken(path, node, what)
    return _Take(path, origin, link.origin_slot, wanted)


def _broken(path: Path, node: Node, what: str, input_name: str | None = None) -> WorkflowError:
    node_id = full_id(path, node)
    place = f"node {node_id} {node.type}" + (f", {input_name}" if input_name else "")
    return WorkflowError(
        f"{place}: {what}; link it again in the editor",
        node_id=node_id,
        class_type=node.type,
        input_name=input_name,
    )


def _from_outside(document: Document, path: Path, link: Link) -> _Step:
    """Up through an input of the subgraph."""
    *around, instance = path
    if link.origin_slot >= len(instance.inputs):
        return None
    slot = instance.inputs[link.origin_slot]
    if slot.link is not None:
        outer = graph_of(document, tuple(around)).link(slot.link)
        number = outer.target_slot if outer is not None else link.origin_slot
        return _Ask(tuple(around), instance, number, None)
    widget = instance.widget_of(slot)
    return None if widget is None or widget.value is UNSET else Held(widget.value)


def _taken(document: Document, step: _Take) -> _Step:
    path, node, slot = step.path, step.node, step.slot
    if node.mode == Mode.NEVER and document.editor >= Editor.V1_45:
        return None
    if node.mode == Mode.BYPASS:
        passing = _passed if node.group is None else _passed_group
        passed = passing(node, slot, step.type)
        return None if passed is None else _Ask(path, node, passed, None)
    if node.subgraph is not None:
        return _from_inside(path, node, node.subgraph, slot, step.type)
    if node.group is not None:
        return _from_group(path, node, slot)
    if node.is_virtual:
        # A Set node may be on the level of its Get node, or on one around that.
        for depth in range(len(path), -1, -1):
            tunnel = tunnels.entrance(graph_of(document, path[:depth]), node)
            if tunnel is not None:
                return _Ask(path[:depth], tunnel, 0, step.type)
        return _Ask(path, node, slot, step.type) if slot < len(node.inputs) else None
    return Source(full_id(path, node), slot)


def _from_inside(path: Path, node: Node, subgraph: Subgraph, slot: int, wanted: str) -> _Step:
    """Down through an output of the subgraph."""
    if slot >= len(subgraph.outputs):
        return None
    links = (subgraph.link(link_id) for link_id in subgraph.outputs[slot].link_ids)
    link = next((link for link in links if link is not None), None)
    if link is None:
        return None
    inner = (*path, node)
    if link.origin_id == INPUT_NODE:
        return _Ask(path, node, link.origin_slot, wanted)
    return _origin(subgraph, inner, node, link, wanted)


def _passed(node: Node, slot: int, wanted: str) -> int | None:
    """The input that a bypassed node hands on for an output: one of the type that is wanted."""
    inputs = node.inputs
    if wanted in (ANY, ""):
        passed = slot if slot < len(inputs) else 0
        return passed if passed < len(inputs) else None
    given = node.outputs[slot].type if slot < len(node.outputs) else ANY

    def fits(input_type: str) -> bool:
        return goes_with(input_type, given) and goes_with(input_type, wanted)

    if slot < len(inputs) and fits(inputs[slot].type):
        return slot
    exact = (number for number, entry in enumerate(inputs) if entry.type == wanted)
    fitting = (number for number, entry in enumerate(inputs) if fits(entry.type))
    return next(exact, next(fitting, None))


def _passed_group(node: Node, slot: int, wanted: str) -> int | None:
    """The same for a bypassed group node, which looks at nothing but its inputs' types."""
    numbers = (
        [slot, *range(len(node.inputs))] if slot < len(node.inputs) else range(len(node.inputs))
    )
    return next((number for number in numbers if node.inputs[number].type == wanted), None)


def _from_group(path: Path, node: Node, slot: int) -> _Step:
    given = group_nodes.given_by(node, slot)
    if given is None:
        return None
    if given[0] == INPUT_NODE:
        return _Ask(path, node, given[1], None)
    return Source(f"{full_id(path, node)}:{given[0]}", given[1])


def graph_of(document: Document, path: Path) -> Graph:
    """The level that nodes with this path are on."""
    return document if not path else path[-1].subgraph or document
