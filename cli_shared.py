"""What the commands share: exit codes, lines and tables for people, and arguments of two parts.

Owns what a text from a server or a file may look like on a terminal, and that a table keeps one
line a row for programs that read it. Knows no command and nothing of pictures.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

OK, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130

_COLOURS = {"error": "bold red", "warning": "yellow", "debug": "dim"}
_PIPED_WIDTH = 10_000
"""Columns of a table that goes to a program: no row is broken."""


def plain(text: str) -> str:
    """The text without the control characters of a server or file."""
    return "".join(c if c.isprintable() or c == "\n" else "�" for c in text.expandtabs())


def one_line(text: str) -> str:
    """The same with every run of blanks and line ends as one blank."""
    return plain(" ".join(text.split()))


def as_text(text: str) -> Text:
    """The text as rich prints it: plain, and no markup of its own."""
    from rich.text import Text

    return Text(plain(text))


def say(console: Console, text: str, kind: str | None = None) -> None:
    """Writes `kind: text`, in the colour of its kind, without breaking lines."""
    message = as_text(text)
    if kind is not None:
        prefix = as_text(f"{kind}: ")
        prefix.stylize(_COLOURS.get(kind, ""))
        message = prefix.append_text(message)
    console.print(message, soft_wrap=True)


def print_table(
    heads: Sequence[str], rows: Iterable[Sequence[str]], *, stderr: bool = False
) -> None:
    """A table that is folded into the width of a terminal; one line a row anywhere else."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for head in heads:
        table.add_column(head, overflow="fold")
    for row in rows:
        table.add_row(*(as_text(one_line(cell)) for cell in row))
    console = Console(stderr=stderr)
    if not console.is_terminal:
        console.width = _PIPED_WIDTH
    console.print(table)


def print_json(value: object) -> None:
    """One JSON document on stdout, for programs; the same on every terminal: ASCII alone."""
    sys.stdout.write(json.dumps(value, indent=2) + "\n")


def parse_size(text: str) -> tuple[int, int]:
    """(width, height) in pixels from WIDTHxHEIGHT."""
    width, separator, height = text.lower().partition("x")
    if not (separator and width.isdecimal() and height.isdecimal()):
        raise argparse.ArgumentTypeError(f"{text!r} is no size; write WIDTHxHEIGHT, like 1024x768")
    return int(width), int(height)


def parse_assignment(text: str) -> tuple[str, Any]:
    """`node.input` and the value; a title may have an = in it."""
    head, dot, tail = text.partition(".")
    name, equals, value = tail.partition("=")
    if not (head and dot and name and equals):
        raise argparse.ArgumentTypeError(
            f"{text!r} sets nothing; write NODE.INPUT=VALUE, like 8.cfg=4.5"
        )
    try:
        return f"{head}.{name}", json.loads(value, parse_constant=_no_number)
    except (ValueError, RecursionError):
        return f"{head}.{name}", value


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is not JSON")
