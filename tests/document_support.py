"""The blocks of the documentation, and how they are run; for the tests of README and docs/.

A block whose info string goes on after its language with `not run:` and a reason is not run. One
with `file:` and a name is that file, for the programs and commands of its page.
"""

from __future__ import annotations

import inspect
import re
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from PIL import Image

import image_cli
from image_commands.shared import OK

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pytest needs it there too

__all__ = [
    "ROOT",
    "Block",
    "blocks",
    "cli_lines",
    "run_cli",
    "run_python",
    "tomllib",
    "write_files",
]

ROOT = Path(__file__).resolve().parent.parent
CLI = "python -m image_cli "

_FENCE = re.compile(
    r"^(?P<indent> *)(?P<fence>`{3,})(?P<language>[\w.-]+)(?P<info>[^\n]*)\n"
    r"(?P<text>.*?)^(?P=indent)(?P=fence) *$",
    re.MULTILINE | re.DOTALL,
)
_NOT_RUN, _FILE = "not run:", "file:"


class Block(NamedTuple):
    """A fenced block of a page, and the line that it begins on."""

    page: str
    line: int
    language: str
    info: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def why_not_run(self) -> str | None:
        """The reason that the page gives; None for a block that is run."""
        return self.info.removeprefix(_NOT_RUN).strip() if self.info.startswith(_NOT_RUN) else None


def blocks(path: Path, *languages: str) -> Iterator[Block]:
    """The fenced blocks of a page in these languages, of all without one."""
    text = path.read_text(encoding="utf-8")
    for found in _FENCE.finditer(text):
        if not languages or found["language"] in languages:
            inside = re.sub(f"^{found['indent']}", "", found["text"], flags=re.MULTILINE)
            line = text.count("\n", 0, found.start()) + 1
            page = path.relative_to(ROOT).as_posix()
            yield Block(page, line, found["language"], found["info"].strip(), inside)


def write_files(page: Path) -> None:
    """The files that a page shows, and the pictures that it speaks of, in the current folder."""
    for block in blocks(page):
        if block.info.startswith(_FILE):
            Path(block.info.removeprefix(_FILE).strip()).write_text(block.text, "utf-8")
    Image.new("RGB", (64, 64), "orange").save("fox.png")
    Image.new("L", (64, 64), "white").save("mask.png")


def run_python(block: Block, fixtures: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Runs a block as a program of its own, and the tests that it defines; what it defined."""
    names: dict[str, Any] = {"__name__": "__docs__"}
    # As many lines above it as in the page, so that a traceback names the right one.
    exec(compile("\n" * block.line + block.text, block.page, "exec"), names)
    for name, test in list(names.items()):
        if name.startswith("test_") and callable(test):
            _call(test, fixtures or {})
    return names


def _call(test: Callable[..., object], fixtures: Mapping[str, Any]) -> None:
    test(**{name: fixtures[name] for name in inspect.signature(test).parameters})


def cli_lines(found: Iterable[Block]) -> list[tuple[Block, str]]:
    """Every call of the command line in blocks that are run, with its block."""
    return [
        (block, line)
        for block in found
        if block.why_not_run is None
        for line in block.text.splitlines()
        if line.startswith(CLI)
    ]


def run_cli(line: str, capsys: pytest.CaptureFixture[str]) -> str:
    """Runs a line of the command line, which has to succeed; what it printed."""
    arguments = shlex.split(line, comments=True)[3:]
    assert image_cli.main(arguments) == OK, capsys.readouterr().err
    return capsys.readouterr().out
