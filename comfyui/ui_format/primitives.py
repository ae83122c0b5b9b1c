"""The editor's own Primitive nodes: a value that is written into the inputs that it is linked to.

They are not exported. Facts: ComfyUI_frontend 1.45.19, extensions/core/widgetInputs.ts.
"""

from __future__ import annotations

import math
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Any

from comfyui.object_info import Editor, InputInfo
from comfyui.ui_format import reroutes
from comfyui.ui_format.javascript import EXACT
from comfyui.ui_format.model import Document, Graph, InputSlot, Node, Widget
from comfyui.ui_format.text_replacements import replaced
from comfyui.ui_format.widgets import is_widget_type, make_widgets

TYPE = "PrimitiveNode"
_REPLACES = "Run widget replace on values"
_NUMBERS = ("INT", "FLOAT")
_MOST_DIGITS = 100
"""More toFixed does not take."""
_WIDE = Context(prec=_MOST_DIGITS + 20)


def give_widget(graph: Graph, node: Node, editor: Editor) -> None:
    """Gives a Primitive node the widget of the first input that it is linked to."""
    targets = list(graph.targets(node))
    if not targets:
        return
    target, slot = targets[0]
    theirs = target.widget(slot.widget)
    info = _declared(slot, theirs)
    if info is None:
        return
    widget = (
        make_widgets(info, "value", editor)[0] if is_widget_type(info.type) else Widget("value")
    )
    if theirs is not None:
        widget.set(node, theirs.value)
    node.widgets.append(widget)
    values = node.widgets_values
    if isinstance(values, list) and values:
        widget.set(node, values[0])
    if info.type in _NUMBERS:
        _keep_in_range(
            widget, [_declared(slot, node.widget(slot.widget)) for node, slot in targets]
        )


def take_from_reroute(graph: Graph, node: Node, editor: Editor) -> None:
    """Gives one that a reroute is linked to first the widget of what that leads to.

    The editor knows that too late for the saved value: the widget has the default of its input.
    """
    first = next(graph.targets(node), None)
    if node.widgets or first is None or first[0].type != reroutes.TYPE:
        return
    for target, slot in reroutes.ends(graph, first[0]):
        info = _declared(slot, target.widget(slot.widget)) if slot.widget is not None else None
        if info is not None and is_widget_type(info.type):
            node.widgets.append(make_widgets(info, "value", editor)[0])
            return


def write_values(graph: Graph, document: Document) -> None:
    """Writes the values of a level's Primitive nodes into the widgets that they are linked to."""
    for node in graph.nodes.values():
        if node.type != TYPE or not node.widgets:
            continue
        value = node.widgets[0].value
        if node.properties.get(_REPLACES) and isinstance(value, str):
            value = replaced(value, document)
        for target, slot in graph.targets(node):
            widget = target.widget(slot.widget) if slot.widget is not None else None
            if widget is not None:
                widget.set(target, _rounded(value, widget.info))


def _declared(slot: InputSlot, widget: Widget | None) -> InputInfo | None:
    if widget is not None and slot.widget is not None:
        return widget.info
    if slot.widget is None and is_widget_type(slot.type):
        return InputInfo(slot.name, True, slot.type)
    return None


def _keep_in_range(widget: Widget, declared: list[InputInfo | None]) -> None:
    """Keeps a number within the ranges of all inputs that have one in common with the first."""
    low, high, step = float("-inf"), float("inf"), 1
    first = declared[0]
    for info in declared:
        if info is None or first is None or info.type != first.type:
            continue
        minimum = float("-inf") if info.minimum is None else info.minimum
        maximum = float("inf") if info.maximum is None else info.maximum
        if max(low, minimum) <= min(high, maximum):
            low, high = max(low, minimum), min(high, maximum)
            widget.value = _within(widget.value, low, high)
            if info.type == "INT":
                common = math.lcm(step, int(_usable(info.step, 1)))
                step = common if common <= EXACT else step
                widget.value = _in_steps(widget.value, low, step)


def _within(value: Any, low: float, high: float) -> Any:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return value
    return low if value < low else high if value > high else value


def _rounded(value: Any, info: InputInfo | None) -> Any:
    """A number as a widget rounds what a user, or a Primitive node, enters."""
    if info is None or not _is_exact(value):
        return value
    if info.type == "INT":
        return _in_steps(value, info.minimum or 0, int(_usable(info.step, 1)))
    if info.type == "FLOAT":
        digits = max(0, -math.floor(math.log10(_usable(info.step, 0.5))))
        unit = _usable(info.settings.get("round"), 10**-digits if digits else 0)
        low = 0 if info.minimum is None else info.minimum
        high = 2048 if info.maximum is None else info.maximum
        return _within(_fixed(_nearest(value, unit), digits), low, high) if unit else value
    return value


def _in_steps(value: Any, low: float, step: int) -> Any:
    """A whole number that is so many steps from where its range begins."""
    if not _is_exact(value) or step < 1:
        return value
    offset = int(math.fmod(low, step)) if _is_exact(low) else 0
    return _nearest(value - offset, step) + offset


def _nearest(value: float, unit: float) -> float:
    """The multiple of a unit that is nearest to a number, of two the higher one."""
    count = value / unit
    return math.floor(count + 0.5) * unit if _is_exact(count) else value


def _fixed(value: float, digits: int) -> float:
    """Rounded as JavaScript's toFixed does it: a tie goes away from zero."""
    unit = Decimal(1).scaleb(-min(digits, _MOST_DIGITS))
    return float(Decimal(value).quantize(unit, ROUND_HALF_UP, _WIDE))


def _usable(value: Any, otherwise: float) -> float:
    """A step or unit that one can divide by."""
    return value if _is_exact(value) and value > 0 else otherwise


def _is_exact(value: Any) -> bool:
    """Whether this is a number that a float holds to the last digit; large seeds are not."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_number and abs(value) <= EXACT
