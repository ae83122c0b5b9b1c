"""The command `workflow convert`: files of the editor, and pictures, into API format.

Owns the names of what it writes, and the summary. Each file succeeds or fails on its own.
"""

from __future__ import annotations

import argparse
import glob
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cli_files import FILE_HELP, load_workflow, write_whole
from cli_servers import add_server_options, known_classes
from cli_shared import FAILED, OK, USAGE, one_line, print_table, say
from image_provider import ImageGenerationError

if TYPE_CHECKING:
    from rich.console import Console

    from comfyui.object_info import ObjectInfo

_PATTERN = frozenset("*?[")


def add_convert(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    files = f"{FILE_HELP}; * and ? stand for any characters"
    parser.add_argument("files", metavar="FILE", nargs="+", help=files)
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
    if len(files) > 1 and Path(args.output).is_file():
        say(console, f"{args.output} is a file; give a folder for {len(files)} files", "error")
        return USAGE
    info = known_classes(args)
    rows = [
        _converted(file, output, info)
        for file, output in zip(files, _outputs(files, args.output), strict=True)
    ]
    for file, output, _, failure in rows:
        if failure:
            say(
                console,
                one_line(failure if Path(file).name in failure else f"{file}: {failure}"),
                "error",
            )
        else:
            print(output)
    failed = sum(bool(failure) for *_, failure in rows)
    if len(rows) > 1:
        results = [(i, "failed" if bad else "ok", str(nodes or "")) for i, _, nodes, bad in rows]
        print_table(("file", "result", "nodes"), results, stderr=True)
        say(console, f"{len(rows) - failed} of {len(rows)} converted.")
    return FAILED if failed else OK


def _converted(
    file: str, output: Path, info: ObjectInfo | None
) -> tuple[str, Path, int | None, str | None]:
    """A file with what became of it: where it is now, its number of nodes, else why it failed."""
    try:
        if output.exists() and os.path.exists(file) and output.samefile(file):
            return file, output, None, "it would be written over; give another name with -o"
        graph = load_workflow(file, info).graph
        output.parent.mkdir(parents=True, exist_ok=True)
        write_whole(str(output), json.dumps(graph, indent=2, ensure_ascii=False) + "\n")
    except ImageGenerationError as error:
        return file, output, None, str(error)
    except OSError as error:
        return file, output, None, f"{output} cannot be written: {error.strerror or error}"
    return file, output, len(graph), None


def _expanded(files: Sequence[str]) -> Iterator[str]:
    """The files behind patterns: not every shell looks for them."""
    for file in files:
        is_pattern = not _PATTERN.isdisjoint(file) and not os.path.exists(file)
        yield from sorted(glob.glob(file)) if is_pattern else [file]
        if is_pattern and not glob.glob(file):
            yield file


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
