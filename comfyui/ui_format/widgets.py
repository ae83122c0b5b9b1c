"""Which widgets the editor makes for an input, in its order, with their first values.

Owns the types that have widgets, and the further widgets that come with some (what happens to a
seed after a run, the button that uploads a file). Facts: ComfyUI_frontend 1.27.10, 1.35.9 and
1.45.19, scripts/widgets.ts and the composables of each widget.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from comfyui.object_info import COMBO, DYNAMIC_COMBO, Editor, InputInfo
from comfyui.ui_format.extension_widgets import EXTENSION_MAKERS
from comfyui.ui_format.model import UNSET, Node, Widget

CONTROL = "control_after_generate"
LONG_TEXT = "customtext"
SEEDS = ("seed", "noise_seed")
_NO_BOX = {"x": 0, "y": 0, "width": 512, "height": 512}
_NO_CURVE = {"points": [[0, 0], [1, 1]], "interpolation": "monotone_cubic"}
_COMMENT = re.compile(r"/\*[\s\S]*?\*/|//.*")
_ESCAPED = re.compile(r"\\([{}|])")

WidgetMaker = Callable[[InputInfo, str, Editor], list[Widget]]


def makes_widget(info: InputInfo) -> bool:
    """Whether the editor gives this input a widget."""
    return widget_type(info) in _MAKERS and not info.settings.get("forceInput")


def widget_type(info: InputInfo) -> str:
    """The type by which the widget is chosen."""
    asked = info.settings.get("widgetType")
    return asked if isinstance(asked, str) else info.type


def is_widget_type(input_type: str) -> bool:
    """Whether inputs of this type have a widget."""
    return input_type in _MAKERS


def make_widgets(info: InputInfo, name: str, editor: Editor) -> list[Widget]:
    """The widgets of an input, its own first; `name` is what that one is called."""
    return _MAKERS[widget_type(info)](info, name, editor)


def has_control(info: InputInfo) -> bool:
    """Whether a widget beside it says what happens to its value after a run."""
    return bool(info.settings.get(CONTROL))


def _control_name(info: InputInfo) -> str | None:
    """What that widget is called where the class says it; also its first value then."""
    control = info.settings.get(CONTROL)
    return control if isinstance(control, str) else None


def text_widget(name: str, value: Any, editor: Editor, *, is_long: bool) -> Widget:
    """A text; a long one is held by a text area of the page, which until 1.45 made it all text."""
    if not is_long:
        return Widget(name, value, "text")
    hold = _hold_text if editor >= Editor.V1_45 else _hold_as_text
    return Widget(name, value, LONG_TEXT, when_set=hold)


def _hold_text(_: Node, widget: Widget, value: Any) -> None:
    widget.value = "" if value is None else value


def _hold_as_text(_: Node, widget: Widget, value: Any) -> None:
    if value is None or value is UNSET:
        widget.value = ""
        return
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    widget.value = text.replace("\r\n", "\n").replace("\r", "\n")


def control_widgets(
    settings: Mapping[str, Any], value: Any, name: str | None = None, *, of_combo: bool = False
) -> list[Widget]:
    """What happens to a value after a run; for a combo also which of its values may follow."""
    prefix = settings.get("control_prefix")
    shown = name or (f"{prefix} {CONTROL}" if isinstance(prefix, str) and prefix else CONTROL)
    control = Widget(shown, value, "combo", is_exported=False, options=("fixed",))
    if not of_combo:
        return [control]
    return [control, Widget("control_filter_list", "", "string", is_exported=False)]


def _int(info: InputInfo, name: str, _: Editor) -> list[Widget]:
    widget = Widget(name, _default(info, 0), "number")
    control = info.settings.get(CONTROL)
    if not control and (control is not None or info.name not in SEEDS):
        return [widget]
    named = _control_name(info)
    return [widget, *control_widgets(info.settings, named or "randomize", named)]


def _float(info: InputInfo, name: str, editor: Editor) -> list[Widget]:
    widget = Widget(name, _default(info, 0), "number")
    if not has_control(info) or editor is Editor.V1_27:
        return [widget]
    return [widget, *control_widgets(info.settings, "fixed", _control_name(info))]


def _string(info: InputInfo, name: str, editor: Editor) -> list[Widget]:
    is_long = bool(info.settings.get("multiline"))
    widget = text_widget(name, _default(info, ""), editor, is_long=is_long)
    if info.settings.get("dynamicPrompts") is True:
        widget.written = _written_prompt
    return [widget]


def _boolean(info: InputInfo, name: str, _: Editor) -> list[Widget]:
    return [Widget(name, _default(info, False), "toggle")]


def _combo(info: InputInfo, name: str, _: Editor) -> list[Widget]:
    named = _control_name(info)
    if info.settings.get("multi_select"):
        widgets = [Widget(name, [], "multiselect")]
        value = named or "fixed"
    else:
        widgets = [Widget(name, first_choice(info), "combo", options=info.options or ())]
        value = named or "randomize"
        if isinstance(info.settings.get("remote"), Mapping):
            widgets += _remote(info.settings["remote"])
    if has_control(info):
        widgets += control_widgets(info.settings, value, named, of_combo=True)
    return widgets


def first_choice(info: InputInfo) -> Any:
    """What a combo has before anybody chose."""
    default = info.settings.get("default")
    if default:
        return default
    if info.options:
        return info.options[0]
    return "Loading..." if info.settings.get("remote") else UNSET


def _remote(remote: Mapping[str, Any]) -> list[Widget]:
    refresh = [Widget("refresh", "refresh", "button")] if remote.get("refresh_button") else []
    auto = Widget("Auto-refresh after generation", False, "toggle", is_exported=False)
    return [auto, *refresh]


def _text_area(info: InputInfo, name: str, editor: Editor) -> list[Widget]:
    return [text_widget(name, _default(info, ""), editor, is_long=True)]


def _button(info: InputInfo, name: str, _: Editor) -> list[Widget]:
    return [Widget(name, "image", "button", is_exported=False)]


def _box(info: InputInfo, name: str, _: Editor) -> list[Widget]:
    box = {**_NO_BOX, **_default(info, {})} if isinstance(_default(info, {}), Mapping) else _NO_BOX
    sides = [Widget(side, box[side], "number", is_exported=False) for side in _NO_BOX]
    return [Widget(name, dict(box), "boundingbox"), *sides]


def _curve(info: InputInfo, name: str, _: Editor) -> list[Widget]:
    return [Widget(name, _default(info, _NO_CURVE), "curve")]


def _compare(info: InputInfo, name: str, _: Editor) -> list[Widget]:
    return [Widget(name, ["", ""], "imagecompare", is_saved=False)]


def _holding(first: Any, kind: str) -> WidgetMaker:
    """For a widget that has the default of its input, else `first`."""
    return lambda info, name, editor: [Widget(name, _default(info, first), kind)]


def _default(info: InputInfo, otherwise: Any) -> Any:
    default = info.settings.get("default")
    return otherwise if default is None else default


_MAKERS: dict[str, WidgetMaker] = {
    "INT": _int,
    "FLOAT": _float,
    "STRING": _string,
    "BOOLEAN": _boolean,
    COMBO: _combo,
    DYNAMIC_COMBO: _combo,
    "MARKDOWN": _text_area,
    "TEXTAREA": _holding("", "textarea"),
    "IMAGEUPLOAD": _button,
    "COLOR": _holding("#000000", "color"),
    "IMAGECOMPARE": _compare,
    "BOUNDING_BOX": _box,
    "CHART": _holding({}, "chart"),
    "GALLERIA": _holding([], "galleria"),
    "PAINTER": _holding("", "painter"),
    "CURVE": _curve,
    "BOUNDING_BOXES": _holding([], "boundingboxes"),
    "COLORS": _holding([], "colors"),
    "COMPOSITOR": _holding({}, "compositor"),
    "RANGE": _holding({"min": 0.0, "max": 1.0}, "range"),
    **EXTENSION_MAKERS,
}


# Dynamic prompts


def _written_prompt(_: Node, widget: Widget, __: object) -> Any:
    value = widget.value
    return first_alternatives(value) if isinstance(value, str) else value


def first_alternatives(text: str) -> str:
    """A dynamic prompt without its comments, with the first of each `{a|b}`.

    The editor draws one of them each time that it exports; a conversion gives one file one graph.
    """
    return _ESCAPED.sub(r"\1", _chosen(_COMMENT.sub("", text)))


def _chosen(text: str) -> str:
    # What stands in the innermost braces is chosen first, so nothing recurses.
    written: list[list[str]] = [[]]
    position = 0
    while position < len(text):
        char = text[position]
        position += 1
        if char == "\\":
            written[-1].append(char + text[position : position + 1])
            position += 1
        elif char == "{":
            written.append([])
        elif char == "}" and len(written) > 1:
            inner = "".join(written.pop())
            written[-1].append(_first_of(inner))
        else:
            written[-1].append(char)
    while len(written) > 1:  # a brace that nobody closed ends with the text
        inner = "".join(written.pop())
        written[-1].append(_first_of(inner))
    return "".join(written[0])


def _first_of(alternatives: str) -> str:
    position = 0
    while position < len(alternatives) and alternatives[position] != "|":
        position += 2 if alternatives[position] == "\\" else 1
    return alternatives[:position]
