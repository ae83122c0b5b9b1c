"""Nodes of a class that nobody described: what the file alone says of their widgets.

Since 1.16 the editor saves an input for every widget, so that values find their names when they
are as many as the widgets; in an older file, or one that a picture carries, only the server knows.
Nodes that only the editor has are known by their type.
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase

from comfyui.object_info import ANY, Editor, InputInfo
from comfyui.ui_format import primitives, reroutes, tunnels
from comfyui.ui_format.model import Node, Widget
from comfyui.ui_format.widgets import (
    CONTROL,
    first_alternatives,
    is_widget_type,
    make_widgets,
)

_NOTES = frozenset({"Note", "MarkdownNote"})
# Of rgthree-comfy, which registers these in the editor alone.
_EDITOR_ONLY = (
    *("Reroute (rgthree)", "Label (rgthree)", "Bookmark (rgthree)", "Node Collector (rgthree)"),
    *("Fast * (rgthree)", "Random Unmuter (rgthree)", "Mute / Bypass * (rgthree)"),
)
_CONTROLLED = {"number": 1, "combo": 2}
"""How many widgets a control takes."""
_CONTROLS = frozenset({"fixed", "increment", "decrement", "randomize", "increment-wrap"})


def is_editor_only(node_type: str) -> bool:
    """Whether nodes of this type are for the editor alone, and never exported."""
    return (
        node_type in (reroutes.TYPE, primitives.TYPE)
        or node_type in _NOTES
        or node_type in tunnels.TYPES
        or any(fnmatchcase(node_type, pattern) for pattern in _EDITOR_ONLY)
    )


def give_widgets(node: Node, editor: Editor) -> None:
    """Gives a node its widgets with their values, as far as the file tells them.

    `is_told` of the node becomes False where it does not.
    """
    values = node.widgets_values
    if isinstance(values, Mapping):
        node.widgets = [Widget(name, value) for name, value in values.items()]
    elif values:
        node.is_told = _from_list(node, values, editor)


def _from_list(node: Node, values: list[object], editor: Editor) -> bool:
    widgets: list[Widget] = []
    position = 0
    for slot in node.inputs:
        if slot.widget is None:
            continue
        made = _widgets(InputInfo(slot.name, False, slot.type), slot.widget, editor)
        widgets += made
        position += sum(widget.is_saved for widget in made)
        # Whether a number or choice has a control is known by what stands behind it.
        controls = _CONTROLLED.get(made[0].kind, 0) if len(made) == 1 else 0
        if controls and position < len(values) and _is_control(values[position]):
            widgets += [Widget(CONTROL, is_exported=False) for _ in range(controls)]
            position += controls
    saved = [widget for widget in widgets if widget.is_saved]
    # Whether a text is a dynamic prompt is not told either.
    is_plain = all(first_alternatives(value) == value for value in values if isinstance(value, str))
    if len(saved) != len(values) or not is_plain:
        return False
    for widget, value in zip(saved, values, strict=True):
        widget.set(node, value)
    node.widgets = widgets
    return True


def _is_control(value: object) -> bool:
    return isinstance(value, str) and value in _CONTROLS


def _widgets(info: InputInfo, name: str, editor: Editor) -> list[Widget]:
    if is_widget_type(info.type) and info.type != ANY:
        widgets = make_widgets(info, name, editor)
        widgets[0].info = info
        return widgets
    return [Widget(name)]
