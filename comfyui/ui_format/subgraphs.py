"""Subgraphs: their definitions in order, the nodes that stand for them, and promoted widgets.

A promoted widget lets a node outside set a widget inside. Until editor 1.35 it was a copy with a
value of its own for each node; in 1.45 it is a view of the widget inside, which all nodes of a
definition share; since 1.48 each node has a value of its own again. Facts: ComfyUI_frontend
1.27.10, 1.35.9, 1.45.19 and 1.48.7, SubgraphNode.ts, proxyWidget.ts, promotedWidgetView.ts,
subgraphDeduplication.ts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from comfyui.object_info import Editor
from comfyui.ui_format.model import (
    UNSET,
    Document,
    InputSlot,
    Node,
    OutputSlot,
    Port,
    Subgraph,
    Widget,
)
from comfyui.ui_format.saved import SavedGraph, SavedSubgraph
from comfyui.ui_format.widgets import LONG_TEXT
from image_provider import WorkflowError

MAX_NODES = 100_000
"""Nodes of a workflow, those of every instance of a subgraph counted."""
MAX_LEVELS = 50
"""Subgraphs within one another."""

PROXIES = "proxyWidgets"
_EXPOSED = "previewExposures"
"""A property that 1.48 gives the node of a subgraph."""
OWN = "-1"
"""In a list of promoted widgets: the node itself, in place of one inside."""
_ELEMENTS = frozenset({LONG_TEXT, "multiselect", "audioUI"})
"""Kinds of widgets that an element of the page holds."""


class _Shared(Widget):
    """A copy of a widget that an element of the page holds: both have that one value."""

    def __init__(self, name: str, node: Node, inner: Widget) -> None:
        self._node, self._inner = node, inner
        super().__init__(name, kind=inner.kind, is_saved=inner.is_saved, info=inner.info)

    @property
    def value(self) -> Any:
        """That of the widget inside."""
        return self._inner.value

    @value.setter
    def value(self, value: Any) -> None:
        """Nothing: `set` writes into the widget inside."""

    def set(self, _: Node, value: Any) -> None:
        self._inner.set(self._node, value)


class _View(Widget):
    """A promoted widget as 1.45 has it: its value is that of the widgets inside."""

    def __init__(self, name: str, subgraph: Subgraph, port: Port, inner: Widget) -> None:
        self._subgraph, self._port = subgraph, port
        super().__init__(
            name, kind=inner.kind, is_saved=False, options=inner.options, info=inner.info
        )

    def _inner(self) -> Iterator[tuple[Node, Widget]]:
        return self._subgraph.behind(self._port)

    @property
    def value(self) -> Any:
        """That of the first widget inside; a choice of another can have taken all away."""
        first = next(self._inner(), None)
        return UNSET if first is None else first[1].value

    @value.setter
    def value(self, value: Any) -> None:
        """Nothing: `set` writes into the widgets inside, making a view does not."""

    def set(self, _: Node, value: Any) -> None:
        """Writes into each widget inside once, however many ways lead there."""
        waiting = list(self._inner())
        seen = {id(widget) for _, widget in waiting}
        for node, widget in waiting:  # grows while it is walked
            if not isinstance(widget, _View):
                widget.set(node, value)
                continue
            for further in widget._inner():
                if id(further[1]) not in seen:
                    seen.add(id(further[1]))
                    waiting.append(further)


def editor_of(editor: Editor, root: SavedGraph, definitions: Mapping[str, SavedSubgraph]) -> Editor:
    """The editor that opens a file; not an older one than what a subgraph's node was saved by.

    Servers between 0.26.0 and 0.33.0 do not tell theirs; an older one would lose values.
    """
    graphs = [root, *(entry.graph for entry in definitions.values())]
    has_own_values = any(
        node.type in definitions and _EXPOSED in node.properties and PROXIES not in node.properties
        for graph in graphs
        for node in graph.nodes
    )
    return Editor.V1_48 if has_own_values and editor is Editor.V1_45 else editor


def inner_first(definitions: Mapping[str, SavedSubgraph]) -> Iterable[SavedSubgraph]:
    """The definitions in an order in which each comes after those it uses."""
    waiting = {
        entry.id: {node.type for node in entry.graph.nodes if node.type in definitions}
        for entry in definitions.values()
    }
    users: dict[str, list[str]] = {}
    for user, used in waiting.items():
        for entry_id in used:
            users.setdefault(entry_id, []).append(user)
    ready = [entry_id for entry_id, used in waiting.items() if not used]
    for entry_id in ready:  # grows while it is walked
        for user in users.get(entry_id, ()):
            waiting[user].discard(entry_id)
            if not waiting[user]:
                ready.append(user)
    if len(ready) < len(definitions):
        done = set(ready)
        looped = next(entry for entry in definitions.values() if entry.id not in done)
        what = f"subgraph {looped.name!r} contains itself, directly or through another"
        raise WorkflowError(f"{what}; delete the one inside in the editor")
    return [definitions[entry_id] for entry_id in ready]


def refuse_too_large(root: SavedGraph, definitions: Iterable[SavedSubgraph]) -> None:
    """Raises WorkflowError where subgraphs in subgraphs make more of a file than can be run.

    `definitions` come inner first. A few that each use the next one twice are soon more nodes than
    a machine can hold.
    """
    sizes: dict[str, int] = {}
    depths: dict[str, int] = {}
    for entry in (*definitions, SavedSubgraph("", "", root, [], [])):
        inner = [node.type for node in entry.graph.nodes if node.type in sizes]
        sizes[entry.id] = len(entry.graph.nodes) + sum(sizes[used] for used in inner)
        depths[entry.id] = 1 + max((depths[used] for used in inner), default=0)
        if sizes[entry.id] > MAX_NODES:
            where = f"subgraph {entry.name!r}" if entry.id else "the workflow"
            what = f"{where} has more than {MAX_NODES} nodes with those of its subgraphs"
            raise WorkflowError(f"{what}; delete some of them in the editor")
        if depths[entry.id] > MAX_LEVELS:
            what = f"its subgraphs are nested deeper than {MAX_LEVELS} levels"
            raise WorkflowError(f"{what}; unpack some of them in the editor")


def renumber(root: SavedGraph, definitions: Mapping[str, SavedSubgraph], last_id: int) -> None:
    """Gives nodes inside subgraphs ids that no other node of the file has, as 1.45 does.

    `last_id` is the last number that the file says it gave to a node.
    """
    used = {int(node.id) for node in root.nodes if _is_number(node.id)}
    for entry in definitions.values():
        ids: dict[str, str] = {}
        for node in entry.graph.nodes:
            if not _is_number(node.id):
                continue
            number = int(node.id)
            if number in used:
                number = last_id = _next_free(last_id, used)
                ids[node.id] = node.id = str(number)
            used.add(number)
            last_id = max(last_id, number)
        if ids:
            for link in entry.graph.links.values():
                link.origin_id = ids.get(link.origin_id, link.origin_id)
                link.target_id = ids.get(link.target_id, link.target_id)
            for node in root.nodes:  # not those in other subgraphs
                if node.type == entry.id:
                    node.properties = _renamed_proxies(node.properties, ids)


def _renamed_proxies(properties: Mapping[str, Any], ids: Mapping[str, str]) -> Mapping[str, Any]:
    """The properties with the new ids of nodes in the list of promoted widgets."""
    listed = properties.get(PROXIES)
    if not isinstance(listed, list):
        return properties
    renamed = [
        [ids.get(str(entry[0]), entry[0]), *entry[1:]]
        if isinstance(entry, list) and entry
        else entry
        for entry in listed
    ]
    return {**properties, PROXIES: renamed}


def _next_free(number: int, used: set[int]) -> int:
    number += 1
    while number in used:
        number += 1
    return number


def _is_number(node_id: str) -> bool:
    return node_id.isdecimal() and len(node_id) < 18


def new_instance(subgraph: Subgraph, node_id: str) -> Node:
    """A node that stands for a subgraph, with its inputs and outputs."""
    return Node(
        node_id,
        subgraph.id,
        inputs=[InputSlot(port.name, port.type) for port in subgraph.inputs],
        outputs=[OutputSlot(port.name, port.type) for port in subgraph.outputs],
        subgraph=subgraph,
        is_virtual=True,
    )


def promote(node: Node, editor: Editor) -> None:
    """Gives an instance the widgets of its inputs: of each, that of the first widget inside."""
    subgraph = node.subgraph
    assert subgraph is not None
    ports = {port.name: port for port in reversed(subgraph.inputs)}
    if editor >= Editor.V1_45:
        node.inputs = [slot for slot in node.inputs if slot.name in ports]
    for slot in node.inputs:
        port = ports.get(slot.name)
        # 1.27 goes by the number of the slot, which an older file may have for another input.
        by_number = editor is Editor.V1_27
        found = next(subgraph.behind(port, by_number=by_number), None) if port is not None else None
        if port is None or found is None:
            continue
        slot.widget = port.name
        if editor is Editor.V1_45:
            node.views[slot.name] = _View(port.name, subgraph, port, found[1])
            node.widgets.append(node.views[slot.name])
        elif editor >= Editor.V1_48:
            node.views[slot.name] = _own(found[1], port.name)
            node.widgets.append(node.views[slot.name])
        else:
            node.widgets.append(_copy(*found, port.name))


def promote_late(instance: Node) -> None:
    """The same for a node of a definition that came later in the file, until 1.35.

    The editor then goes by the first link alone, and by the name that widget and input share.
    """
    subgraph = instance.subgraph
    assert subgraph is not None
    for port in subgraph.inputs:
        slot = instance.input(port.name)
        link = subgraph.link(port.link_ids[0]) if port.link_ids else None
        inner = subgraph.nodes.get(link.target_id) if link is not None else None
        widget = inner.widget(port.name) if inner is not None else None
        if slot is not None and inner is not None and widget is not None:
            slot.widget = port.name
            instance.widgets.append(_copy(inner, widget, port.name))


def _own(widget: Widget, name: str) -> Widget:
    """A value of the instance's own, which begins as that of the widget inside."""
    return Widget(name, widget.value, widget.kind, options=widget.options, info=widget.info)


def _copy(node: Node, widget: Widget, name: str) -> Widget:
    if widget.kind in _ELEMENTS:
        return _Shared(name, node, widget)
    return replace(widget, name=name, when_set=None, written=None)


def listed_widgets(node: Node) -> list[tuple[str, str]]:
    """The widgets that an older editor promoted: the id of the node inside, the widget's name."""
    listed = node.properties.get(PROXIES)
    return [
        (str(entry[0]), entry[1])
        for entry in (listed if isinstance(listed, list) else ())
        if isinstance(entry, list) and len(entry) > 1 and isinstance(entry[1], str)
    ]


def arrange_proxies(node: Node, values: Any) -> None:
    """Replaces promoted widgets by those that the file lists, as 1.35 does.

    An entry of the list is a promoted widget, or stands for a widget inside by its node's id.
    """
    listed = listed_widgets(node)
    if not listed:
        return
    names = {name for _, name in listed}
    arranged = []
    for owner, name in listed:
        own = node.widget(name) if owner == OWN else None
        if own is not None:
            arranged.append(own)
        elif owner != OWN:
            arranged.append(Widget(f"{owner}: {name}", is_saved=False))
    node.widgets = [widget for widget in node.widgets if widget.name not in names] + arranged
    for (owner, name), value in zip(
        listed, values if isinstance(values, list) else (), strict=False
    ):
        widget = node.widget(name)
        if owner == OWN and widget is not None and value is not None:
            widget.set(node, value)


def write_through(document: Document) -> None:
    """Writes promoted widgets into those inside, as the editor does before it exports.

    It matters where the input of the instance has a link that leads to nothing.
    """
    for graph in document.graphs:
        for node in graph.nodes.values():
            if node.subgraph is not None:
                _write_ports(node, node.subgraph)


def _write_ports(instance: Node, subgraph: Subgraph) -> None:
    for port in subgraph.inputs:
        slot = instance.input(port.name)
        own = instance.widget_of(slot) if slot is not None else None
        if own is None:
            continue
        value = own.value
        for node, widget in list(subgraph.behind(port)):
            widget.set(node, value)
