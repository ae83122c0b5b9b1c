"""What the commands share: their parser, exit codes, lines and tables, and arguments of two parts.

Owns what a text from a server or a file may look like on a terminal, that a table keeps one line a
row for programs that read it, and how a command is added. Knows no command and nothing of pictures.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

OK, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130

_COLOURS = {"error": "bold red", "warning": "yellow", "debug": "dim"}
_SHOWN = 60
"""Characters of a value or title that a table shows."""
_PIPED_WIDTH = 10_000
"""Columns of a table that goes to a program: no row is broken."""


class WrongUsage(Exception):
    """Arguments that no command takes; the text is what argparse says of them."""


class Parser(argparse.ArgumentParser):
    """Raises WrongUsage where argparse would end the program: `main` has one way to tell errors."""

    def error(self, message: str) -> NoReturn:
        """Shows the usage, as argparse does."""
        self.print_usage(sys.stderr)
        raise WrongUsage(f"{message} (see {self.prog} --help)")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse's, but what a command does not know is told with that command's own usage."""
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return found, unknown


def add_command(
    commands: Any, common: argparse.ArgumentParser | None, name: str, told: str, *examples: str
) -> argparse.ArgumentParser:
    """Adds a command whose help ends with examples: what stands behind its name.

    `common` has the options that every command takes; None for one that only has commands below.
    """
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        parents=[common] if common is not None else [],
        help=told,
        description=f"{told[0].upper()}{told[1:]}.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    lines = [f"  {parser.prog} {example}".rstrip() for example in examples]
    parser.epilog = "\n".join(["examples:" if len(lines) > 1 else "example:", *lines])
    return parser


def add_json(parser: argparse.ArgumentParser) -> None:
    """The option with which a command prints one JSON document, of a failure too."""
    parser.add_argument(
        "--json", action="store_true", help="print one JSON document, for scripts; errors too"
    )


def print_json(value: object) -> None:
    """One document on stdout, in ASCII, so that no console can spoil it."""
    sys.stdout.write(json.dumps(value, indent=2, default=str) + "\n")


Completer = Callable[..., Iterable[str]]


def completes(action: argparse.Action, completer: Completer) -> None:
    """Has a shell offer what `completer` gives for an argument; see `completion`."""
    setattr(action, "completer", completer)  # noqa: B010 - argcomplete's attribute, no argparse one


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
    """A table that is folded into the width of a terminal; one line a row anywhere else.

    Without `heads` it is a list whose first column is as wide as what is in it.
    """
    from rich.console import Console
    from rich.table import Table

    gap = 2 if heads else 1
    table = Table(box=None, pad_edge=False, padding=(0, gap, 0, 0), show_header=bool(heads))
    for head in heads:
        table.add_column(head)
    for row in rows:
        table.add_row(*(as_text(one_line(cell)) for cell in row))
    for column in table.columns:
        column.overflow = "fold"
    console = Console(stderr=stderr)
    if not console.is_terminal:
        console.width = _PIPED_WIDTH
    console.print(table)


def print_block(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A heading and its table; nothing where there are no rows."""
    if rows:
        sys.stdout.write(f"\n{title}\n")
        print_table(heads, rows)


def short(text: str) -> str:
    """The text, cut to what a cell of a table shows."""
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"


def place_of(binding: Mapping[str, Any]) -> str:
    """The input of a node as `--set` and `extra` take it."""
    return f"{binding['node_id']}.{binding['input_name']}"


def parse_size(text: str) -> tuple[int, int]:
    """(width, height) in pixels from WIDTHxHEIGHT."""
    width, separator, height = text.lower().partition("x")
    if not (separator and width.isdecimal() and height.isdecimal()):
        raise argparse.ArgumentTypeError(f"{text!r} is no size; write WIDTHxHEIGHT, like 1024x768")
    return int(width), int(height)


def whole_number(text: str) -> int:
    """A whole number as an option takes it; its limits are the request's affair."""
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number, like 7") from None


def number(text: str) -> float:
    """Any number, likewise."""
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no number, like 0.5") from None


def how_many(what: str) -> Callable[[str], int]:
    """What takes a number of such things: one or more of them."""

    def parse(text: str) -> int:
        if not text.isdecimal() or int(text) < 1:
            raise argparse.ArgumentTypeError(f"{text!r} is no number of {what}; give 1 or more")
        return int(text)

    return parse


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
