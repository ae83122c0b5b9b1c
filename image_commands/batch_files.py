"""The requests that a file holds: CSV with a header, or JSON lines.

Owns what may stand in a file and the names of its columns. Everything that is wrong with a file is
told at once, by the line, before anything is made of it.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from io import StringIO
from pathlib import Path
from typing import Any

from image_commands.shared import parse_size
from image_provider import ConfigurationError, ImageGenerationRequest

_NOT_IN_FILES = frozenset({"on_progress", "from_template", "style_name"})
FIELDS = ("prompt", "size") + tuple(
    field.name
    for field in fields(ImageGenerationRequest)
    if field.name not in _NOT_IN_FILES | {"prompt"}
)
"""What a request in a file may have: the fields of ImageGenerationRequest, and size (WxH)."""

_WHOLE = frozenset({"width", "height", "seed", "steps", "num_images"})
_NUMBERS = frozenset({"guidance_scale", "strength"})
_JSON = frozenset({"loras", "extra"})
_MOST_TOLD = 20
"""Bad lines that a message lists."""

Line = tuple[int, "dict[str, Any] | str"]
"""The number of a line and its fields, or what is wrong with it."""


def read_batch(
    file: str, build: Callable[..., ImageGenerationRequest] = ImageGenerationRequest
) -> list[ImageGenerationRequest]:
    """The requests of a .csv or .jsonl file, in its order; `build` makes one of its arguments.

    Raises ConfigurationError when it cannot be read, ValueError with every line that is wrong.
    """
    path = Path(file)
    read = {".csv": _csv_lines, ".jsonl": _json_lines, ".ndjson": _json_lines}.get(
        path.suffix.lower()
    )
    if read is None:
        raise ValueError(
            f"{file or 'the file'}: its name must end in .csv or .jsonl, which says what is in it"
        )
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigurationError(
            f"{file} cannot be read: {error.strerror or error}; give the path of a .csv or .jsonl "
            "file"
        ) from error
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        how = " (in Excel: CSV UTF-8)" if read is _csv_lines else ""
        raise ValueError(f"{file}, line {line} is no UTF-8; save it as UTF-8{how}") from error
    requests, problems = [], []
    for number, found in read(text):
        try:
            if isinstance(found, str):
                raise ValueError(found)
            requests.append(build(**_arguments(found)))
        except (TypeError, ValueError) as error:
            problems.append(f"  line {number}: {error}")
    if problems:
        raise ValueError(_listed(file, problems))
    if not requests:
        raise ValueError(f"{file} has no requests; write one a line, each with a prompt")
    return requests


def _listed(file: str, problems: list[str]) -> str:
    more = len(problems) - _MOST_TOLD
    listed = problems[:_MOST_TOLD] + ([f"  and {more} more"] if more > 0 else [])
    return "\n".join([f"{file} cannot be used, and nothing was made:", *listed])


def _arguments(given: Mapping[str, Any]) -> dict[str, Any]:
    unknown = sorted(set(given) - set(FIELDS))
    if unknown:
        raise ValueError(f"there is no field {', '.join(unknown)}; there are: {', '.join(FIELDS)}")
    arguments = {name: value for name, value in given.items() if value is not None}
    if not isinstance(arguments.get("prompt"), str) or not arguments["prompt"].strip():
        raise ValueError("it has no prompt")
    size = arguments.pop("size", None)
    if size is not None:
        if {"width", "height"} & arguments.keys():
            raise ValueError("it has a size and a width or height; give one of them")
        arguments["width"], arguments["height"] = _size(size)
    return arguments


def _size(text: object) -> tuple[int, int]:
    from argparse import ArgumentTypeError

    try:
        return parse_size(str(text))
    except ArgumentTypeError as error:
        raise ValueError(str(error)) from error


def _json_lines(text: str) -> Iterator[Line]:
    # Not splitlines, to which half a dozen characters of a prompt end a line, too.
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield number, _json_object(line)


def _json_object(line: str) -> dict[str, Any] | str:
    try:
        found = json.loads(line)
    except json.JSONDecodeError as error:
        return f"it is not JSON: {error.msg} at character {error.pos + 1}"
    except (ValueError, RecursionError) as error:
        return f"it is not JSON: {error}"
    return found if isinstance(found, dict) else 'it is no object; write {"prompt": "…"}'


def _csv_lines(text: str) -> Iterator[Line]:
    head = text.split("\n", 1)[0]
    # Excel writes semicolons where the comma is in the numbers.
    delimiter = max(",;\t", key=head.count)
    reader = csv.reader(StringIO(text, newline=""), delimiter=delimiter, strict=True)
    names: list[str] | None = None
    number = 1
    try:
        for row in reader:
            start, number = number, reader.line_num + 1
            if not any(cell.strip() for cell in row):
                continue
            if names is None:
                names = [cell.strip() for cell in row]
                if problem := _wrong_header(names):
                    yield start, problem
                    return
            else:
                yield start, _csv_row(names, row)
    except csv.Error as error:
        yield number, f"it is no CSV ({error}); in a text in quotes write each quote twice"


def _wrong_header(names: list[str]) -> str | None:
    unknown = [name or "without a name" for name in names if name not in FIELDS]
    if unknown:
        return f"there is no column {', '.join(unknown)}; there are: {', '.join(FIELDS)}"
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        return f"the column {', '.join(twice)} is there twice"
    return None if "prompt" in names else "there is no column prompt"


def _csv_row(names: list[str], row: list[str]) -> dict[str, Any] | str:
    """The fields of a row; an empty cell is one that is not given."""
    if any(cell.strip() for cell in row[len(names) :]):
        return f"it has {len(row)} cells, the header {len(names)}; put a text with commas in quotes"
    given: dict[str, Any] = {}
    for name, cell in zip(names, row, strict=False):
        if cell.strip():
            try:
                given[name] = _value(name, cell)
            except (ValueError, RecursionError):
                return f"{name} is {cell.strip()!r}, which is no {_KINDS[_kind(name)]}"
    return given


_KINDS: dict[Callable[[str], Any], str] = {
    int: "whole number",
    float: "number",
    json.loads: "JSON",
    str: "text",
}


def _kind(name: str) -> Callable[[str], Any]:
    if name in _WHOLE:
        return int
    if name in _NUMBERS:
        return float
    return json.loads if name in _JSON else str


def _value(name: str, cell: str) -> Any:
    return _kind(name)(cell if name in ("prompt", "negative_prompt") else cell.strip())
