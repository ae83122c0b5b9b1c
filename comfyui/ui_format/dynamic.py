"""Inputs that bring others along: combos with inputs of their own, and inputs that grow.

Owns what is on a node at each value of such a combo and with each link to a growing input, in the
editor's order. Facts: ComfyUI_frontend 1.35.9 and 1.45.19, core/graph/widgets/dynamicWidgets.ts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from comfyui.object_info import ANY, DYNAMIC_COMBO, Editor, Growth, InputInfo
from comfyui.ui_format.model import UNSET, InputSlot, Node, Widget
from comfyui.ui_format.widgets import make_widgets, makes_widget, widget_type

_MOST_ROWS = 1_000
"""Rows that a class may ask for at once; real ones ask for a few."""


def add_inputs(node: Node, declared: Iterable[InputInfo], editor: Editor) -> None:
    """Puts inputs on a node: those that only take links first, as the editor has them."""
    declared = list(declared)
    for info in declared:
        _add_socket(node, info, editor)
    for info in declared:
        _add_widget(node, info, editor)


def _add_input(node: Node, info: InputInfo, editor: Editor) -> None:
    _add_socket(node, info, editor)
    _add_widget(node, info, editor)


def _add_socket(node: Node, info: InputInfo, editor: Editor) -> None:
    if makes_widget(info):
        return
    growth, match = info.growth, info.match
    if growth is not None:
        first = growth.minimum if editor < Editor.V1_45 else max(1, growth.minimum + 1)
        for number in range(min(first, _MOST_ROWS)):
            _add_row(node, info.name, growth, number, editor)
    elif match is not None:
        group, allowed = match
        node.match_groups.setdefault(group, {})[info.name] = allowed
        _add_input(node, replace(info, type=allowed), editor)
    else:
        node.inputs.append(InputSlot(info.name, info.type))


def _add_widget(node: Node, info: InputInfo, editor: Editor) -> None:
    if not makes_widget(info):
        return
    if widget_type(info) == DYNAMIC_COMBO:
        _add_dynamic_combo(node, info, editor)
    else:
        widgets = make_widgets(info, info.name, editor)
        widgets[0].info = info
        node.widgets += widgets
    node.inputs.append(InputSlot(info.name, info.type, widget=info.name))


# Combos whose choices have inputs


def _add_dynamic_combo(node: Node, info: InputInfo, editor: Editor) -> None:
    options = tuple(option for option in info.options or () if isinstance(option, str))

    def choose(node: Node, widget: Widget, value: Any) -> None:
        widget.value = value
        _replace_inputs(node, widget, info.choice_inputs(value).values() if value else (), editor)

    first = options[0] if options else UNSET
    combo = Widget(info.name, first, "combo", options=options, info=info, when_set=choose)
    node.widgets.append(combo)
    combo.set(node, first)


def _replace_inputs(
    node: Node, combo: Widget, declared: Iterable[InputInfo], editor: Editor
) -> None:
    """Takes away what another choice brought along, and adds what this one does.

    An input that both have keeps its link.
    """
    prefix = f"{combo.name}."
    before = {slot.name: slot for slot in node.inputs if slot.name.startswith(prefix)}
    node.inputs[:] = [slot for slot in node.inputs if not slot.name.startswith(prefix)]
    node.widgets[:] = [widget for widget in node.widgets if not widget.name.startswith(prefix)]
    widgets_before, inputs_before = len(node.widgets), len(node.inputs)
    for info in declared:
        _add_input(node, info, editor)
    added = node.widgets[widgets_before:]
    del node.widgets[widgets_before:]
    position = node.widgets.index(combo) + 1
    node.widgets[position:position] = added
    own = node.input(combo.name)
    if own is not None:
        slots = node.inputs[inputs_before:]
        del node.inputs[inputs_before:]
        position = node.inputs.index(own) + 1
        node.inputs[position:position] = slots
    for name, gone in before.items():
        slot = node.input(name)
        if slot is not None and gone.link is not None:
            slot.link = gone.link
            _grow_behind(node, slot, editor)


# Inputs that grow


def group_of(node: Node, slot: InputSlot) -> str | None:
    """The growing input that a slot is a row of."""
    group = slot.name.rpartition(".")[0]
    return group if group in node.growing else None


def grow(node: Node, editor: Editor) -> None:
    """Adds the rows that follow those with a link, as the editor does while it loads a file."""
    for slot in node.inputs:  # grows while it is walked
        if slot.link is not None:
            _grow_behind(node, slot, editor)


def _grow_behind(node: Node, slot: InputSlot, editor: Editor) -> None:
    group = group_of(node, slot)
    number = None if group is None else _row_number(slot.name, group, node.growing[group])
    if group is None or number is None:
        return
    growth = node.growing[group]
    if editor < Editor.V1_45:
        last = next(other for other in reversed(node.inputs) if other.name.startswith(group))
        if number != _row_number(last.name, group, growth):
            return
    _add_row(node, group, growth, number + 1, editor)


def _add_row(node: Node, group: str, growth: Growth, number: int, editor: Editor) -> None:
    node.growing[group] = growth
    if number >= growth.maximum:
        return
    added = []
    is_old = editor < Editor.V1_45
    for info in growth.inputs.values():
        name = f"{group}.{_row_name(growth, info.name, number)}"
        if is_old and any(slot.name == name for slot in node.inputs):
            continue
        before = len(node.inputs)
        _add_input(node, replace(info, name=name), editor)
        slots = node.inputs[before:]
        del node.inputs[before:]
        for slot in slots:
            if len(growth.inputs) != 1 and node.widget(slot.name) is None:
                # Only there to show the input's name.
                node.widgets.append(Widget(slot.name, UNSET, is_saved=False))
                slot.widget = slot.name
        added += slots
    _take_links(node, added)
    position = _row_position(node, group, growth, number, is_old)
    node.inputs[position:position] = added


def _take_links(node: Node, added: list[InputSlot]) -> None:
    names = {slot.name: slot for slot in added}
    for slot in node.inputs:
        new = names.get(slot.name)
        if new is not None and new.link is None:
            new.link = slot.link
    node.inputs[:] = [slot for slot in node.inputs if slot.name not in names]


def _row_position(node: Node, group: str, growth: Growth, number: int, is_old: bool) -> int:
    """Behind the row before; the editor looks for it by how names begin."""
    if is_old:
        before = group
    else:
        last = list(growth.inputs)[-1] if growth.inputs else ""
        before = f"{group}.{_row_name(growth, last, number - 1)}"
    positions = [i for i, slot in enumerate(node.inputs) if slot.name.startswith(before)]
    return positions[-1] + 1 if positions else len(node.inputs)


def _row_name(growth: Growth, key: str, number: int) -> str:
    if growth.names is not None:
        return growth.names[number] if 0 <= number < len(growth.names) else "undefined"
    return f"{growth.prefix if len(growth.inputs) == 1 else key}{number}"


def _row_number(name: str, group: str, growth: Growth) -> int | None:
    row = name[len(group) + 1 :]
    if growth.names is not None:
        return growth.names.index(row) if row in growth.names else None
    digits = row[len(row.rstrip("0123456789")) :]
    return int(digits) if 0 < len(digits) < 10 else None


def close_gaps(node: Node) -> None:
    """Moves links into rows before them that have none, as the editor did until 1.35."""
    for slot in [slot for slot in node.inputs if slot.link is None]:
        group = group_of(node, slot)
        number = _row_number(slot.name, group, node.growing[group]) if group is not None else None
        if group is None or number is None:
            continue
        growth = node.growing[group]
        if number + 1 < growth.minimum:
            continue
        rows = [other for other in node.inputs if other.name.rpartition(".")[0] == group]
        stride = len(growth.inputs)
        if stride == 0 or len(rows) % stride:
            continue
        for column in range(stride):
            for place in range(number * stride + column, len(rows) - stride, stride):
                rows[place].link = rows[place + stride].link
            rows[column - stride].link = None


# Inputs that have one type


def match_types(node: Node, origin_types: dict[str, str]) -> None:
    """Narrows the types of inputs that must have one, and of the outputs that follow them.

    `origin_types` are those of the outputs that are linked to the inputs, by input name.
    """
    if node.info is None:
        return
    for group, allowed in node.match_groups.items():
        slots = [slot for slot in node.inputs if slot.name in allowed]
        given = [origin_types.get(slot.name, ANY) for slot in slots]
        for place, slot in enumerate(slots):
            others = given[:place] + given[place + 1 :]
            slot.type = _common([*others, allowed[slot.name]]) or slot.type
        common = _common(given)
        for output, output_group in zip(node.outputs, node.info.output_groups, strict=False):
            if output_group == group and common is not None:
                output.type = common


def _common(types: list[str]) -> str | None:
    """The types that all have in common; None for none."""
    lists = [entry.split(",") for entry in types if entry != ANY]
    if not lists:
        return ANY
    return ",".join(t for t in lists[0] if all(t in others for others in lists[1:])) or None
