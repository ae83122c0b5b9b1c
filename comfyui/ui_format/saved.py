"""What stands in an editor file, read with care: anybody may have written it.

Owns the shapes of both schema versions (links as lists or as objects) and says where something is
that cannot be read. Gives plain nodes, as they were saved, and knows no node classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple, TypeGuard

from comfyui.object_info import ANY
from comfyui.ui_format.model import InputSlot, Link, Mode, Node, OutputSlot, Port
from image_provider import WorkflowError


class SavedPlace(NamedTuple):
    """Where something stands in a file, for messages: the level, "" for the top, and the node.

    Errors carry the ids of nodes of the top level alone; inside a definition they are not those
    of the graph.
    """

    level: str = ""
    node_id: str | None = None
    class_type: str | None = None

    def malformed(self, what: str) -> WorkflowError:
        """The error for something that cannot be read."""
        node = f"node {self.node_id} {self.class_type}" if self.node_id is not None else ""
        place = ", ".join(part for part in (self.level, node) if part)
        node_id = None if self.level else self.node_id
        return WorkflowError(
            f"{place}{': ' if place else ''}{what}; save the workflow again in the editor",
            node_id=node_id,
            class_type=self.class_type,
        )


TOP = SavedPlace()


class SavedGraph(NamedTuple):
    """One level of a file."""

    place: SavedPlace
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


def read_graph(document: Mapping[str, Any], place: SavedPlace = TOP) -> SavedGraph:
    """The nodes and links of one level; raises WorkflowError naming the place."""
    links = {link.id: link for link in _links(document.get("links"), place)}
    nodes = [read_node(entry, place) for entry in objects(document.get("nodes"), place, "nodes")]
    return SavedGraph(place, nodes, links)


def read_subgraphs(document: Mapping[str, Any]) -> dict[str, SavedSubgraph]:
    """Every definition of a file, those inside definitions too, by id."""
    found: dict[str, SavedSubgraph] = {}
    waiting: list[Mapping[str, Any]] = [document]
    for holder in waiting:  # grows while it is walked
        definitions = holder.get("definitions")
        if definitions is None:
            continue
        if not isinstance(definitions, Mapping):
            raise TOP.malformed("definitions is not an object")
        entries = objects(definitions.get("subgraphs"), TOP, "definitions.subgraphs")
        for number, entry in enumerate(entries):
            subgraph = _subgraph(entry, number)
            found.setdefault(subgraph.id, subgraph)
            waiting.append(entry)
    return found


def last_node_id(document: Mapping[str, Any]) -> int:
    """The number that the editor gave last to a node."""
    state = document.get("state")
    given = state.get("lastNodeId") if isinstance(state, Mapping) else None
    numbers = [value for value in (document.get("last_node_id"), given) if isinstance(value, int)]
    return max(numbers, default=0)


def _subgraph(entry: Mapping[str, Any], number: int) -> SavedSubgraph:
    subgraph_id, name = entry.get("id"), entry.get("name")
    if not isinstance(subgraph_id, str) or not subgraph_id:
        called = f" {name!r}" if isinstance(name, str) else ""
        raise TOP.malformed(f"definitions.subgraphs[{number}]{called} has no id")
    name = name if isinstance(name, str) and name else subgraph_id
    place = SavedPlace(f"subgraph {name!r}")
    return SavedSubgraph(
        subgraph_id,
        name,
        read_graph(entry, place),
        [_port(port, place) for port in objects(entry.get("inputs"), place, "inputs")],
        [_port(port, place) for port in objects(entry.get("outputs"), place, "outputs")],
    )


def _port(entry: Mapping[str, Any], place: SavedPlace) -> Port:
    link_ids = list(dict.fromkeys(_ints(entry.get("linkIds"), place, "linkIds")))
    return Port(_name(entry, place), slot_type(entry.get("type")), link_ids)


def read_node(entry: Mapping[str, Any], level: SavedPlace) -> Node:
    """A node as it was saved; raises WorkflowError naming it and what cannot be read."""
    node_id, class_type = entry.get("id"), entry.get("type")
    if not _is_id(node_id):
        raise level.malformed(f"a node's id is {shown(node_id)}, not a whole number or text")
    if not isinstance(class_type, str) or not class_type:
        raise level.malformed(f"node {node_id} has no type")
    place = SavedPlace(level.level, str(node_id), class_type)
    title, properties = entry.get("title"), entry.get("properties")
    return Node(
        id=str(node_id),
        type=class_type,
        title=title if isinstance(title, str) else "",
        mode=_mode(entry.get("mode"), place),
        inputs=[_input(slot, place) for slot in objects(entry.get("inputs"), place, "inputs")],
        outputs=[_output(slot, place) for slot in objects(entry.get("outputs"), place, "outputs")],
        properties=properties if isinstance(properties, Mapping) else {},
        widgets_values=_values(entry.get("widgets_values"), place),
    )


def _mode(mode: object, place: SavedPlace) -> int:
    if mode is None:
        return Mode.ALWAYS
    if not isinstance(mode, int):
        raise place.malformed(f"mode is {shown(mode)}, not a whole number")
    return mode


def _values(values: object, place: SavedPlace) -> Any:
    """A list by widget, or what packs save themselves by name; None where there are none."""
    if values is None or isinstance(values, (list, Mapping)):
        return values
    raise place.malformed("widgets_values is neither a list nor an object")


def _input(entry: Mapping[str, Any], place: SavedPlace) -> InputSlot:
    widget, label = entry.get("widget"), entry.get("label")
    name = widget.get("name") if isinstance(widget, Mapping) else None
    return InputSlot(
        _name(entry, place),
        slot_type(entry.get("type")),
        _link_id(entry.get("link"), place),
        name if isinstance(name, str) else None,
        label if isinstance(label, str) else None,
    )


def _output(entry: Mapping[str, Any], place: SavedPlace) -> OutputSlot:
    links = _ints(entry.get("links"), place, "links")
    return OutputSlot(_name(entry, place), slot_type(entry.get("type")), links)


def _name(entry: Mapping[str, Any], place: SavedPlace) -> str:
    name = entry.get("name", "")
    if name is None or isinstance(name, str):
        return name or ""
    raise place.malformed(f"an input or output is named {shown(name)}, which is no text")


def slot_type(value: object) -> str:
    """A type as it is compared: numbers and lists of choices as the editor writes them as text."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return ",".join(str(item) for item in value)
    return ANY if value in (None, 0) else str(value)


def _links(entries: object, place: SavedPlace) -> Iterator[Link]:
    if entries is None:
        return
    if not isinstance(entries, list):
        raise place.malformed("links is not a list")
    for entry in entries:
        # Old editors left nulls in the list and skipped them; newer ones open no such file.
        if entry is not None:
            yield _link(entry, place)


_LINK_KEYS = ("id", "origin_id", "origin_slot", "target_id", "target_slot")


def _link(entry: object, place: SavedPlace) -> Link:
    if isinstance(entry, Mapping):
        values = [entry.get(key) for key in _LINK_KEYS]
    elif isinstance(entry, list) and len(entry) >= len(_LINK_KEYS):
        values = entry[: len(_LINK_KEYS)]
    else:
        raise place.malformed(f"a link is {shown(entry)}; a link is {', '.join(_LINK_KEYS)}, type")
    link_id, origin_id, _, target_id, _ = values
    origin_slot, target_slot = slot_number(values[2]), slot_number(values[4])
    are_ids = _is_id(origin_id) and _is_id(target_id)
    if not _is_int(link_id) or not are_ids or origin_slot is None or target_slot is None:
        what = f"link {shown(link_id)} has ids or slots that are none: {shown(values)}"
        raise place.malformed(what)
    return Link(link_id, str(origin_id), origin_slot, str(target_id), target_slot)


def slot_number(value: object) -> int | None:
    """A slot's number, which old files have as text too."""
    if isinstance(value, str) and value.isdecimal() and len(value) < 10:
        return int(value)
    return value if _is_int(value) and value >= 0 else None


def objects(entries: object, place: SavedPlace, name: str) -> Iterable[Mapping[str, Any]]:
    """The objects in a list; raises WorkflowError naming the place for anything else."""
    if entries is None:
        return
    if not isinstance(entries, list):
        raise place.malformed(f"{name} is not a list")
    for entry in entries:
        if not isinstance(entry, Mapping):
            raise place.malformed(f"{name} holds {shown(entry)} where an object belongs")
        yield entry


def _ints(values: object, place: SavedPlace, name: str) -> list[int]:
    if values is None:
        return []
    if not isinstance(values, list):
        raise place.malformed(f"{name} is not a list")
    return [value for value in values if _is_int(value)]


def _link_id(value: object, place: SavedPlace) -> int | None:
    if value is None:
        return None
    if _is_int(value):
        return value
    raise place.malformed(f"an input's link is {shown(value)}, not a number")


def _is_id(value: object) -> bool:
    return _is_int(value) or (isinstance(value, str) and value != "")


def _is_int(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def shown(value: object) -> str:
    """A value for messages, cut where it is long."""
    text = repr(value)
    return text if len(text) <= 60 else text[:59] + "…"
