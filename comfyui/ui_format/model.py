"""What the editor holds while a file is open: graphs, nodes with slots and widgets, links.

Owns these values and how a widget takes one; nothing of files. They are changed while a file is
loaded, as the editor does it, and belong to one conversion.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from datetime import datetime
from enum import IntEnum
from functools import cached_property
from typing import Any

from comfyui.object_info import ANY, Editor, Growth, InputInfo, NodeInfo, ObjectInfo

INPUT_NODE = "-10"
"""The id that links inside a subgraph have for its own inputs."""


class _Unset:
    """A value that was never given, which JSON leaves out."""

    def __repr__(self) -> str:
        return "UNSET"

    def __bool__(self) -> bool:
        return False


UNSET = _Unset()


class Mode(IntEnum):
    """What a node does when the graph runs; others than these count as ALWAYS."""

    ALWAYS = 0
    NEVER = 2
    BYPASS = 4


@dataclass(eq=False)
class Widget:
    """One control of a node.

    `is_saved` tells whether it has a place in widgets_values, `is_exported` whether it is written
    to API format, `info` is the input that it was made for. `when_set` takes a value in place of
    the plain assignment; `written` gives what is exported in place of the value.
    """

    name: str
    value: Any = UNSET
    kind: str = ""
    _: KW_ONLY
    is_saved: bool = True
    is_exported: bool = True
    options: Sequence[Any] = ()
    info: InputInfo | None = None
    when_set: Callable[[Node, Widget, Any], None] | None = None
    written: Callable[[Node, Widget, Document], Any] | None = None

    def set(self, node: Node, value: Any) -> None:
        """Takes a value, with what follows from it on the node."""
        if self.when_set is None:
            self.value = value
        else:
            self.when_set(node, self, value)


@dataclass(slots=True)
class InputSlot:
    """An input; `widget` is the name of the widget that holds its value without a link."""

    name: str
    type: str = ANY
    link: int | None = None
    widget: str | None = None
    label: str | None = None


@dataclass(slots=True)
class OutputSlot:
    """An output and the links that leave it."""

    name: str
    type: str = ANY
    links: list[int] = field(default_factory=list)


@dataclass(slots=True)
class Link:
    """From an output slot to an input slot."""

    id: int
    origin_id: str
    origin_slot: int
    target_id: str
    target_slot: int


@dataclass(slots=True)
class Port:
    """An input or output of a subgraph, with the links inside that join it."""

    name: str
    type: str
    link_ids: list[int]


@dataclass(eq=False)
class Node:
    """A node as it stands in the editor."""

    id: str
    type: str
    title: str = ""
    mode: int = Mode.ALWAYS
    inputs: list[InputSlot] = field(default_factory=list)
    outputs: list[OutputSlot] = field(default_factory=list)
    widgets: list[Widget] = field(default_factory=list)
    properties: Mapping[str, Any] = field(default_factory=dict)
    widgets_values: Any = None
    info: NodeInfo | None = None
    subgraph: Subgraph | None = None
    group: Group | None = None
    is_virtual: bool = False
    """Whether only the editor has it: it is never exported."""
    is_told: bool = True
    """Whether the names of its widgets are known."""
    growing: dict[str, Growth] = field(default_factory=dict)
    """The inputs that grow, by name."""
    match_groups: dict[str, dict[str, str]] = field(default_factory=dict)
    """Groups of inputs that have one type: the types allowed by each, by name."""
    views: dict[str, Widget] = field(default_factory=dict)
    """On a subgraph's node: the widget behind each of its inputs, by name."""

    def input(self, name: str) -> InputSlot | None:
        """The first input of this name."""
        return next((slot for slot in self.inputs if slot.name == name), None)

    def widget(self, name: str | None) -> Widget | None:
        """The first widget of this name."""
        return next((widget for widget in self.widgets if widget.name == name), None)

    def widget_of(self, slot: InputSlot) -> Widget | None:
        """The widget that an input stands for."""
        if slot.widget is None:
            return None
        return self.views.get(slot.name) or self.widget(slot.widget)

    @property
    def is_inactive(self) -> bool:
        """Muted or bypassed."""
        return self.mode in (Mode.NEVER, Mode.BYPASS)

    @property
    def described(self) -> str:
        """For messages."""
        return f"node {self.id} {self.type}"


@dataclass(eq=False)
class Graph:
    """The nodes and links of one level."""

    nodes: dict[str, Node] = field(default_factory=dict)
    links: dict[int, Link] = field(default_factory=dict)
    tunnels: dict[tuple[str, str], Node] | None = None
    """Nodes that Get nodes refer to, by type and name; made when the first one asks."""

    def link(self, link_id: int | None) -> Link | None:
        """A link by its id."""
        return None if link_id is None else self.links.get(link_id)

    def cut(self, link_ids: Collection[int]) -> None:
        """Takes links away."""
        gone = {link_id: self.links.pop(link_id, None) for link_id in link_ids}
        origins = {(link.origin_id, link.origin_slot) for link in gone.values() if link is not None}
        for origin_id, slot in origins:
            origin = self.nodes.get(origin_id)
            if origin is not None and slot < len(origin.outputs):
                output = origin.outputs[slot]
                output.links = [link_id for link_id in output.links if link_id not in gone]

    def targets(self, node: Node) -> Iterator[tuple[Node, InputSlot]]:
        """The inputs that the first output of a node goes to."""
        for link_id in node.outputs[0].links if node.outputs else ():
            link = self.links.get(link_id)
            target = self.nodes.get(link.target_id) if link is not None else None
            if link is not None and target is not None and link.target_slot < len(target.inputs):
                yield target, target.inputs[link.target_slot]

    def origin_type(self, slot: InputSlot) -> str | None:
        """The type of the output that an input is linked to."""
        link = self.link(slot.link)
        origin = self.nodes.get(link.origin_id) if link is not None else None
        if link is not None and origin is not None and link.origin_slot < len(origin.outputs):
            return origin.outputs[link.origin_slot].type
        return None


@dataclass(eq=False)
class Subgraph(Graph):
    """The definition of a subgraph, which all its nodes share."""

    id: str = ""
    name: str = ""
    inputs: list[Port] = field(default_factory=list)
    outputs: list[Port] = field(default_factory=list)
    is_filled: bool = False
    """Whether its nodes are there yet."""
    waiting: list[Node] = field(default_factory=list)
    """The nodes that stood for it before they were."""

    def origin_type(self, slot: InputSlot) -> str | None:
        """The type of the output, or of the subgraph's own input, that an input is linked to."""
        link = self.link(slot.link)
        if link is not None and link.origin_id == INPUT_NODE:
            ports = self.inputs[link.origin_slot : link.origin_slot + 1]
            return ports[0].type if ports else None
        return super().origin_type(slot)

    def behind(self, port: Port, *, by_number: bool = False) -> Iterator[tuple[Node, Widget]]:
        """The inner nodes and their widgets that one of its inputs leads to.

        `by_number` trusts the number that a link has for the slot that it goes to.
        """
        for link_id in port.link_ids:
            link = self.links.get(link_id)
            node = self.nodes.get(link.target_id) if link is not None else None
            if link is None or node is None:
                continue
            if by_number:
                slots = node.inputs[link.target_slot : link.target_slot + 1]
            else:
                slots = [slot for slot in node.inputs if slot.link == link_id]
            widget = node.widget_of(slots[0]) if slots else None
            if widget is not None:
                yield node, widget


@dataclass(eq=False)
class Group(Graph):
    """What is in an old group node; links from its own inputs come from INPUT_NODE."""

    outputs: list[tuple[str, int]] = field(default_factory=list)
    """For each output the node inside and which of that node's it is."""
    widgets: list[tuple[str, Node, str]] = field(default_factory=list)
    """The name of a widget, and the node and widget inside that take its value."""


@dataclass(eq=False)
class Document(Graph):
    """A file: its top level, the subgraphs that it defines, and what it is opened with."""

    subgraphs: dict[str, Subgraph] = field(default_factory=dict)
    object_info: ObjectInfo = field(default_factory=lambda: ObjectInfo({}))
    now: datetime = field(default_factory=datetime.now)
    editor: Editor = Editor.V1_48
    """The generation of the editor that opens it."""
    resolved: dict[object, Any] = field(default_factory=dict)
    """What was found for steps on the way of an input; many share the last part of it."""

    @property
    def graphs(self) -> tuple[Graph, ...]:
        """Every level: the top, then the definitions as the file has them."""
        return (self, *self.subgraphs.values())

    @cached_property
    def named_nodes(self) -> dict[str, Node]:
        """The nodes that a file's name can refer to, by alias, else by title."""
        by_alias: dict[str, Node] = {}
        by_title: dict[str, Node] = {}
        for graph in self.graphs:
            for node in graph.nodes.values():
                alias = node.properties.get("Node name for S&R")
                if isinstance(alias, str):
                    by_alias.setdefault(alias, node)
                by_title.setdefault(node.title, node)
        return by_title | by_alias


def goes_with(one: str, other: str) -> bool:
    """Whether an output of one type may go into an input of the other."""
    if one in (ANY, "") or other in (ANY, "") or one == other:
        return True
    others = other.lower().split(",")
    return any(part in (ANY, "") or part in others for part in one.lower().split(",")) or (
        ANY in others or "" in others
    )
