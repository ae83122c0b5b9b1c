"""What stands in an editor file, read with care: anybody may have written it.

Owns the shapes of both schema versions (links as lists or as objects) and says where something is
that cannot be read. Gives plain nodes, as they were saved, and knows no node classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from comfyui.object_info import ANY
from comfyui.ui_format.model import InputSlot, Link, Mode, Node, OutputSlot, Port
from image_provider import WorkflowError


class SavedGraph(NamedTuple):
    """One level of a file; `where` names it in messages."""

    where: str
    nodes: list[Node]
    links: dict[int, Link]


class SavedSubgraph(NamedTuple):
    """The definition of a subgraph, with its inputs and outputs."""

    id: str
    name: str
    graph: SavedGraph
    inputs: list[Port]
    outputs: list[Port]


def is_ui_format(document: Mapping[str, Any]) -> bool:
    """True for what the editor saves: a list of nodes beside a list of links."""
    return isinstance(document.get("nodes"), list) and "class_type" not in document


def read_graph(document: Mapping[str, Any], where: str = "") -> SavedGraph:
    """The nodes and links of one level; raises WorkflowError naming the place."""
    links = {link.id: link for link in _links(document.get("links"), where)}
    nodes = [read_node(entry, where) for entry in objects(document.get("nodes"), where, "nodes")]
    return SavedGraph(where, nodes, links)


def read_subgraphs(document: Mapping[str, Any]) -> dict[str, SavedSubgraph]:
    """Every definition of a file, those inside definitions too, by id."""
    found: dict[str, SavedSubgraph] = {}
    waiting: list[Mapping[str, Any]] = [document]
    for holder in waiting:  # grows while it is walked
        definitions = holder.get("definitions")
        if definitions is None:
            continue
        if not isinstance(definitions, Mapping):
            raise bad("", "definitions is not an object")
        for entry in objects(definitions.get("subgraphs"), "", "definitions.subgraphs"):
            subgraph = _subgraph(entry)
            found.setdefault(subgraph.id, subgraph)
            waiting.append(entry)
    return found


def last_node_id(document: Mapping[str, Any]) -> int:
    """The number that the editor gave last to a node."""
    state = document.get("state")
    given = state.get("lastNodeId") if isinstance(state, Mapping) else None
    numbers = [value for value in (document.get("last_node_id"), given) if isinstance(value, int)]
    return max(numbers, default=0)


def bad(
    where: str, what: str, node: Node | None = None, input_name: str | None = None
) -> WorkflowError:
    """The error for something that cannot be read or exported."""
    place = f"{where}: " if where else ""
    return WorkflowError(
        f"{place}{what}",
        node_id=node.id if node is not None else None,
        class_type=node.type if node is not None else None,
        input_name=input_name,
    )


def _subgraph(entry: Mapping[str, Any]) -> SavedSubgraph:
    subgraph_id = entry.get("id")
    if not isinstance(subgraph_id, str) or not subgraph_id:
        raise bad("", "a subgraph's definition has no id")
    name = entry.get("name") if isinstance(entry.get("name"), str) else subgraph_id
    where = f"subgraph {name!r}"
    return SavedSubgraph(
        subgraph_id,
        name or subgraph_id,
        read_graph(entry, where),
        [_port(port, where) for port in objects(entry.get("inputs"), where, "inputs")],
        [_port(port, where) for port in objects(entry.get("outputs"), where, "outputs")],
    )


def _port(entry: Mapping[str, Any], where: str) -> Port:
    link_ids = list(dict.fromkeys(_ints(entry.get("linkIds"), where, "linkIds")))
    return Port(_name(entry, where), slot_type(entry.get("type")), link_ids)


def read_node(entry: Mapping[str, Any], where: str) -> Node:
    node_id, class_type = entry.get("id"), entry.get("type")
    if not _is_id(node_id):
        raise bad(where, f"a node's id is {node_id!r}, not a number or text")
    if not isinstance(class_type, str) or not class_type:
        raise bad(where, f"node {node_id} has no type")
    at = f"{where + ', ' if where else ''}node {node_id} {class_type}"
    title, properties = entry.get("title"), entry.get("properties")
    return Node(
        id=str(node_id),
        type=class_type,
        title=title if isinstance(title, str) else "",
        mode=_mode(entry.get("mode"), at),
        inputs=[_input(slot, at) for slot in objects(entry.get("inputs"), at, "inputs")],
        outputs=[_output(slot, at) for slot in objects(entry.get("outputs"), at, "outputs")],
        properties=properties if isinstance(properties, Mapping) else {},
        widgets_values=_values(entry.get("widgets_values"), at),
    )


def _mode(mode: object, at: str) -> int:
    if mode is None:
        return Mode.ALWAYS
    if not isinstance(mode, int):
        raise bad(at, f"mode is {mode!r}, not a number")
    return mode


def _values(values: object, at: str) -> Any:
    """A list by widget, or what packs save themselves by name; None where there are none."""
    if values is None or isinstance(values, (list, Mapping)):
        return values
    raise bad(at, "widgets_values is neither a list nor an object")


def _input(entry: Mapping[str, Any], at: str) -> InputSlot:
    widget, label = entry.get("widget"), entry.get("label")
    name = widget.get("name") if isinstance(widget, Mapping) else None
    return InputSlot(
        _name(entry, at),
        slot_type(entry.get("type")),
        _link_id(entry.get("link"), at),
        name if isinstance(name, str) else None,
        label if isinstance(label, str) else None,
    )


def _output(entry: Mapping[str, Any], at: str) -> OutputSlot:
    links = _ints(entry.get("links"), at, "links")
    return OutputSlot(_name(entry, at), slot_type(entry.get("type")), links)


def _name(entry: Mapping[str, Any], at: str) -> str:
    name = entry.get("name", "")
    if name is None or isinstance(name, str):
        return name or ""
    raise bad(at, f"an input or output is named {name!r}, which is no text")


def slot_type(value: object) -> str:
    """A type as it is compared: numbers and lists of choices as the editor writes them as text."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return ",".join(str(item) for item in value)
    return ANY if value in (None, 0) else str(value)


def _links(entries: object, where: str) -> Iterator[Link]:
    if entries is None:
        return
    if not isinstance(entries, list):
        raise bad(where, "links is not a list")
    for entry in entries:
        # Old editors left nulls in the list and skipped them; newer ones open no such file.
        if entry is not None:
            yield _link(entry, where)


_LINK_KEYS = ("id", "origin_id", "origin_slot", "target_id", "target_slot")


def _link(entry: object, where: str) -> Link:
    if isinstance(entry, Mapping):
        values, given = [entry.get(key) for key in _LINK_KEYS], entry.get("type")
    elif isinstance(entry, list) and len(entry) >= len(_LINK_KEYS):
        values, given = entry[:5], entry[5] if len(entry) > 5 else None
    else:
        raise bad(where, f"a link is {shown(entry)}; a link is {', '.join(_LINK_KEYS)}, type")
    link_id: Any = values[0]
    _, origin_id, origin_slot, target_id, target_slot = values
    are_ids = _is_id(origin_id) and _is_id(target_id)
    slots = [slot_number(slot) for slot in (origin_slot, target_slot)]
    is_number = isinstance(link_id, int) and _is_int(link_id)
    if not (is_number and are_ids) or slots[0] is None or slots[1] is None:
        raise bad(where, f"link {shown(link_id)} has ids or slots that are none: {shown(values)}")
    return Link(link_id, str(origin_id), slots[0], str(target_id), slots[1], slot_type(given))


def slot_number(value: object) -> int | None:
    """A slot's number, which old files have as text too."""
    if isinstance(value, str) and value.isdecimal() and len(value) < 10:
        return int(value)
    return value if isinstance(value, int) and _is_int(value) and value >= 0 else None


def objects(entries: object, where: str, name: str) -> Iterable[Mapping[str, Any]]:
    if entries is None:
        return
    if not isinstance(entries, list):
        raise bad(where, f"{name} is not a list")
    for entry in entries:
        if not isinstance(entry, Mapping):
            raise bad(where, f"{name} holds {shown(entry)} where an object belongs")
        yield entry


def _ints(values: object, where: str, name: str) -> list[int]:
    if values is None:
        return []
    if not isinstance(values, list):
        raise bad(where, f"{name} is not a list")
    return [value for value in values if _is_int(value)]


def _link_id(value: object, at: str) -> int | None:
    if value is None:
        return None
    if isinstance(value, int) and _is_int(value):
        return value
    raise bad(at, f"an input's link is {shown(value)}, not a number")


def _is_id(value: object) -> bool:
    return _is_int(value) or (isinstance(value, str) and value != "")


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:59] + "…"
