"""Marks that the editor fills in the names of files: %date:yyyy-MM-dd% and %node.widget%.

Facts: ComfyUI_frontend 1.45.19, utils/searchAndReplace.ts and formatUtil.ts. What the server fills
itself (%width%, %year% …) stays as it is.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

from comfyui.ui_format.model import UNSET, Document, Node, Widget

_MARK = re.compile(r"%([^%]+)%")
_DATE = "date:"
_PART = re.compile(r"dd?|MM?|hh?|mm?|ss?|yyy?y?")
_NOT_IN_NAMES = re.compile(r'[/?<>\\:*|"\x00-\x1f\x7f]')


def written_prefix(_: Node, widget: Widget, document: Document) -> Any:
    """The name of a file with its marks filled."""
    value = widget.value
    return replaced(value, document) if isinstance(value, str) else value


def replaced(text: str, document: Document) -> str:
    """A text with its marks filled; those that mean nothing stay."""
    if "%" not in text:
        return text
    return _MARK.sub(lambda match: _meaning(match[0], match[1], document), text)


def _meaning(mark: str, words: str, document: Document) -> str:
    parts = words.split(".")
    if len(parts) != 2:
        is_date = parts[0].startswith(_DATE)
        return _date(parts[0].removeprefix(_DATE), document.now) if is_date else mark
    node = document.named_nodes.get(parts[0])
    widget = node.widget(parts[1]) if node is not None else None
    if widget is None:
        return mark
    return _NOT_IN_NAMES.sub("_", _as_written(widget.value))


def _as_written(value: Any) -> str:
    """A value as JavaScript joins it to a text."""
    if value is None or value is UNSET:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def _date(pattern: str, now: datetime) -> str:
    numbers = {"d": now.day, "M": now.month, "h": now.hour, "m": now.minute, "s": now.second}

    def part(match: re.Match[str]) -> str:
        letters = match[0]
        if letters == "yy":
            return f"{now.year}"[2:]
        if letters == "yyyy":
            return f"{now.year}"
        if letters[0] == "y":
            return letters
        return str(numbers[letters[0]]).zfill(len(letters))

    return _PART.sub(part, pattern)
