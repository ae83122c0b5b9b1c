"""The command `workflow convert`: files of the editor, and pictures, into API format.

Owns the names of what it writes, and the summary. Each file succeeds or fails on its own.
"""

from __future__ import annotations

import argparse
import glob
import json
import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from comfyui.claims import BINDINGS_SUFFIX
from comfyui.library import WORKFLOW_SUFFIXES
from image_commands.completers import workflow_names
from image_commands.files import FILE_HELP, load_workflow, write_whole
from image_commands.servers import add_server_options, known_classes
from image_commands.shared import FAILED, OK, USAGE, completes, one_line, print_table, say
from image_provider import ImageGenerationError

if TYPE_CHECKING:
    from rich.console import Console

    from comfyui.object_info import ObjectInfo

_PATTERN = frozenset("*?[")


def add_convert(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    files = f"{FILE_HELP}, or a folder of them; * and ? stand for any characters"
    completes(parser.add_argument("files", metavar="FILE", nargs="+", help=files), workflow_names)
    parser.add_argument(
        "-o",
        dest="output",
        required=True,
        metavar="OUT",
        help="the file to write; for many, a folder",
    )
    add_server_options(parser)
    parser.set_defaults(command=_convert)


def _convert(args: argparse.Namespace, console: Console) -> int:
    files = list(_expanded(args.files))
    problem = _output_problem(args.output, len(files))
    if problem is not None:
        say(console, problem, "error")
        return USAGE
    info = known_classes(args)
    # All of them, for a later one must not be written over before it is read.
    inputs = {place for place in map(_identity, files) if place is not None}
    rows = [
        _converted(file, output, inputs, info)
        for file, output in zip(files, _outputs(files, args.output), strict=True)
    ]
    for file, output, _, failure in rows:
        if failure is None:
            print(output)
        else:
            told = failure if Path(file).name in failure else f"{file}: {failure}"
            say(console, one_line(told), "error")
    failed = sum(failure is not None for *_, failure in rows)
    if len(rows) > 1:
        results = [(i, "failed" if bad else "ok", str(nodes or "")) for i, _, nodes, bad in rows]
        print_table(("file", "result", "nodes"), results, stderr=True)
        say(console, f"{len(rows) - failed} of {len(rows)} converted.")
    return FAILED if failed else OK


def _output_problem(output: str, count: int) -> str | None:
    if not output or output == "-":
        return "-o needs the name of a file or folder to write"
    if count == 0:
        return "there is no workflow in that folder"
    if count > 1 and Path(output).is_file():
        return f"{output} is a file; give a folder for {count} files"
    return None


def _converted(
    file: str, output: Path, inputs: Collection[_Identity], info: ObjectInfo | None
) -> tuple[str, Path, int | None, str | None]:
    """A file with what became of it: where it is now, its number of nodes, else why it failed."""
    if _identity(str(output)) in inputs:
        what = f"{output} is a file to convert, and would be written over; give another -o"
        return file, output, None, what
    try:
        graph = load_workflow(file, info).graph
        text = json.dumps(graph, indent=2, ensure_ascii=False, allow_nan=False)
        output.parent.mkdir(parents=True, exist_ok=True)
        write_whole(str(output), text + "\n")
    except ImageGenerationError as error:
        return file, output, None, str(error)
    except ValueError:
        return file, output, None, "a value in it is NaN or infinite, which JSON does not have"
    except OSError as error:
        return file, output, None, f"{output} cannot be written: {error.strerror or error}"
    return file, output, len(graph), None


_Identity = tuple[int, int]
"""What tells a file from all others of the machine, whatever its name."""


def _identity(file: str) -> _Identity | None:
    try:
        found = os.stat(file)
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino


def _expanded(files: Sequence[str]) -> Iterator[str]:
    """The files behind folders and patterns: not every shell looks for these."""
    for file in files:
        if Path(file).is_dir():
            yield from _workflows(str(path) for path in Path(file).iterdir())
        elif not _PATTERN.isdisjoint(file) and not os.path.exists(file):
            yield from _workflows(glob.glob(file)) or [file]
        else:
            yield file


def _workflows(files: Iterable[str]) -> list[str]:
    return sorted(
        file
        for file in files
        if Path(file).suffix.lower() in WORKFLOW_SUFFIXES and not file.endswith(BINDINGS_SUFFIX)
    )


def _outputs(files: Sequence[str], output: str) -> Iterator[Path]:
    """Where each goes; two of one name in a folder are numbered."""
    folder = Path(output)
    is_folder = len(files) > 1 or folder.is_dir() or output.endswith(("/", os.sep))
    if not is_folder:
        yield folder
        return
    used: set[str] = set()
    for file in files:
        stem, number = Path(file).stem, 1
        name = stem
        while name.casefold() in used:
            number += 1
            name = f"{stem}_{number}"
        used.add(name.casefold())
        yield folder / f"{name}.json"
