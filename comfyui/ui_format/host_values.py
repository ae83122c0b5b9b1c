"""The values that a subgraph's node has for widgets inside, as editor 1.48 takes them from a file.

It saves one for each input that has a widget, in their order. Of files of older editors it goes by
their list of promoted widgets; what that list names in vain is set aside, with its value. Facts:
ComfyUI_frontend 1.48.7, SubgraphNode.ts, proxyWidgetMigration.ts.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from comfyui.ui_format.model import InputSlot, Node, Widget
from comfyui.ui_format.subgraphs import OWN, listed_widgets

_SET_ASIDE = "proxyWidgetErrorQuarantine"


def take(node: Node, values: Any) -> None:
    """Gives an instance what a file has beyond the values that stand in the order of its inputs."""
    for name, value in _set_aside(node):
        _give(node, node.input(name), value)
    for (owner, name), value in zip(
        listed_widgets(node), values if isinstance(values, list) else (), strict=False
    ):
        if value is None:
            continue
        slot = node.input(name) if owner == OWN else _input_for(node, owner, name)
        if slot is not None:
            _give(node, slot, value)
            continue
        inside = _inside(node, owner, name)
        if inside is not None:
            inside[1].set(inside[0], value)


def _give(node: Node, slot: InputSlot | None, value: Any) -> None:
    widget = node.widget_of(slot) if slot is not None else None
    if widget is not None:
        widget.set(node, value)


def _set_aside(node: Node) -> Iterator[tuple[str, Any]]:
    """Inputs by name, and their values, where the list of an older editor named the node itself."""
    entries = node.properties.get(_SET_ASIDE)
    for entry in reversed(entries if isinstance(entries, list) else []):
        original = entry.get("originalEntry") if isinstance(entry, dict) else None
        if not (isinstance(original, list) and len(original) > 1 and original[0] == OWN):
            continue
        if isinstance(original[1], str) and entry.get("hostValue") is not None:
            yield original[1], entry["hostValue"]


def _input_for(node: Node, owner: str, name: str) -> InputSlot | None:
    """The input that leads to this widget of a node inside."""
    assert node.subgraph is not None
    for port in node.subgraph.inputs:
        inner = next(node.subgraph.behind(port), None)
        if inner is not None and (inner[0].id, inner[1].name) == (owner, name):
            return node.input(port.name)
    return None


def _inside(node: Node, owner: str, name: str) -> tuple[Node, Widget] | None:
    assert node.subgraph is not None
    inner = node.subgraph.nodes.get(owner)
    widget = inner.widget(name) if inner is not None else None
    return None if inner is None or widget is None else (inner, widget)
