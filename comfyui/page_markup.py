"""Elements of HTML and SVG, written so that nothing but their author's own words is markup.

Owns escaping: every attribute and every text goes through it, whoever wrote it. What a page says
is not known here.
"""

from __future__ import annotations

import html
import re

_VOID = frozenset({"meta", "input", "br", "img"})

# Characters that a browser does not take, or that no encoding can write.
_UNWRITABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


class Markup(str):
    """Text that is markup already; only `tag` and `join` make it."""

    __slots__ = ()


def tag(name: str, /, *children: str, **attributes: str | float) -> Markup:
    """One element; children that are no Markup are escaped.

    In the names of attributes an underscore at the end goes (class_) and others become hyphens
    (aria_label). Numbers are written to a tenth.
    """
    words = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_attribute(value)}"'
        for key, value in attributes.items()
    )
    if name in _VOID:
        return Markup(f"<{name}{words}>")
    return Markup(f"<{name}{words}>{join(*children)}</{name}>")


def join(*children: str) -> Markup:
    """The children one after the other, those that are no Markup escaped."""
    return Markup("".join(c if isinstance(c, Markup) else escaped(c) for c in children))


def escaped(text: str) -> str:
    """A text for an element or a quoted attribute."""
    return html.escape(_UNWRITABLE.sub("\N{REPLACEMENT CHARACTER}", text), quote=True)


def _attribute(value: str | float) -> str:
    return escaped(value) if isinstance(value, str) else f"{value:.1f}".removesuffix(".0")
