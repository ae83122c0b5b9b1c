"""The command `batch`: every request of a CSV or JSONL file, then contact sheets and a gallery.

Owns what it shows and writes. An interrupted batch goes on when the same command is given again:
the folder holds what was made. Generates nothing itself: ImageGenerator.generate_many does.
"""

from __future__ import annotations

import argparse
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from image_batches import BatchProgress
from image_batches.contact_sheets import PAGE, cells_of, contact_sheet, thumbnail_jpeg
from image_batches.resume import StoredImage
from image_batches.threads import BatchThreads
from image_commands.batch_files import FIELDS, read_batch
from image_commands.files import encoded, own_workflow, put_whole, writable_folder
from image_commands.gallery import Shown, draw_gallery
from image_commands.progress import left_of
from image_commands.shared import (
    FAILED,
    OK,
    add_command,
    add_json,
    how_many,
    one_line,
    print_json,
    say,
)
from image_generator import ImageGenerator
from image_provider import ConfigurationError, ImageGenerationRequest, ImageGenerationResult

if TYPE_CHECKING:
    from rich.console import Console

_RESUME = "pictures.jsonl"
_GALLERY = "gallery.html"
_MOST_SHEETS = 5
_MOST_INSIDE = 200
"""Pictures that a gallery holds itself, as small ones; of more it shows the files beside it."""
_THUMBNAIL = 420
_MOST_TOLD = 5
_ARGUMENTS = (*(name for name in FIELDS if name != "size"), "style_name")

_HELP = f"""A CSV file has a header with the names of its columns, a JSONL file an object
a line.
{fill(f"They may have: {', '.join(FIELDS)}.", 79)}
Only prompt is needed; size is WIDTHxHEIGHT, an empty cell is not given, loras
and extra are JSON. A file foxes.csv:

  prompt,style,size,seed
  a red fox in the snow,cinematic,1344x768,7
  "a lighthouse, at night",,,8

DIR gets pictures/, named in the order of the lines, pictures.jsonl, from which
the same command goes on after Ctrl-C or a failure, contact sheets, and
gallery.html for the browser.
"""


def add_commands(commands: Any, common: argparse.ArgumentParser) -> None:
    """Adds `batch`; `common` has the options that every command takes."""
    told = "make the pictures of a CSV or JSONL file"
    batch = add_command(commands, common, "batch", told, "foxes.csv -o foxes --jobs 4")
    batch.epilog = f"{_HELP}\n{batch.epilog}"
    add = batch.add_argument
    add("file", metavar="FILE", help="a .csv or .jsonl file, a request a line")
    add("-o", dest="output", metavar="DIR", help="folder for all of it (outputs/NAME OF FILE)")
    add(
        "--jobs",
        type=how_many("jobs"),
        metavar="N",
        help="requests at once (enough to keep servers busy)",
    )
    add("--resume", metavar="F", help="file to go on from (DIR/pictures.jsonl)")
    add("--no-cache", action="store_true", help="make pictures even if they are cached")
    add_json(batch)
    batch.set_defaults(command=_batch)


def _batch(args: argparse.Namespace, console: Console) -> int:
    with ImageGenerator() as generator:
        requests = read_batch(args.file, generator.build_request)
        folder = writable_folder(args.output or os.path.join("outputs", Path(args.file).stem))
        resume = Path(args.resume) if args.resume else folder / _RESUME
        results = _made(requests, generator, resume, args, console)
    with console.status("drawing contact sheets and gallery"):
        sheets = _write_sheets(results, folder)
        gallery = _write_gallery(Path(args.file).stem, requests, results, folder)
    if args.json:
        print_json(_told(results, sheets, gallery))
    else:
        for path in [*_files(results), *sheets, gallery]:
            print(path)
    return _finish(results, console)


def _made(
    requests: Sequence[ImageGenerationRequest],
    generator: ImageGenerator,
    resume: Path,
    args: argparse.Namespace,
    console: Console,
) -> list[ImageGenerationResult]:
    comfyui = generator.router.providers["comfyui"]
    given: list[dict[str, Any]] = [
        {
            **{name: getattr(request, name) for name in _ARGUMENTS},
            "workflow": request.workflow and own_workflow(request.workflow, comfyui),
            "use_cache": not args.no_cache,
        }
        for request in requests
    ]
    executor = BatchThreads(args.jobs) if args.jobs is not None else None
    reached = BatchProgress(len(requests))

    def follow(progress: BatchProgress) -> None:
        nonlocal reached
        reached = progress
        show(progress)

    try:
        with _bar(console) as show:
            return generator.generate_many(given, executor, follow, resume)
    except KeyboardInterrupt:
        done = reached.done - reached.failed
        say(console, f"{done} of {len(requests)} are done; the same command goes on from there")
        raise
    finally:
        if executor is not None:
            executor.shutdown()


@contextmanager
def _bar(console: Console) -> Iterator[Callable[[BatchProgress], None]]:
    """A bar of the whole batch; nothing where there is no terminal."""
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=30),
        TextColumn("{task.percentage:>3.0f}%"),
        TextColumn("{task.fields[left]}", style="dim"),
    )
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task("starting", total=1.0, left="")

        def show(progress: BatchProgress) -> None:
            doing, left = describe(progress)
            bar.update(task, completed=progress.fraction, description=doing, left=left)

        yield show


def describe(progress: BatchProgress) -> tuple[str, str]:
    """What stands before and behind the bar."""
    width = len(str(progress.total))
    doing = f"{progress.done:>{width}} of {progress.total}"
    if progress.failed:
        doing += f", {progress.failed} failed"
    return doing, left_of(progress)


# What is written at the end


def _write_sheets(results: Sequence[ImageGenerationResult], folder: Path) -> list[Path]:
    pages = min(_MOST_SHEETS, max(1, -(-len(cells_of(results)) // PAGE)))
    paths = []
    for page in range(1, pages + 1):
        name = "contact-sheet.jpg" if page == 1 else f"contact-sheet-{page}.jpg"
        file, path = BytesIO(), folder / name
        contact_sheet(results, page).save(file, "JPEG", quality=90)
        _put(path, file.getvalue())
        paths.append(path)
    return paths


def _write_gallery(
    title: str,
    requests: Sequence[ImageGenerationRequest],
    results: Sequence[ImageGenerationResult],
    folder: Path,
) -> Path:
    has_inside = sum(len(result.images) for result in results) <= _MOST_INSIDE

    def show(image: dict[str, Any]) -> Shown:
        link = _link(image.path, folder) if isinstance(image, StoredImage) else None
        small = thumbnail_jpeg(image, _THUMBNAIL) if has_inside else None
        if small is not None:
            return Shown(_data_uri(small), link)
        return Shown(None if has_inside or image.get("kind") else link, link)

    path = folder / _GALLERY
    _put(path, encoded(draw_gallery(title, requests, results, show)))
    return path


def _put(path: Path, data: bytes) -> None:
    try:
        put_whole(path, data)
    except OSError as error:
        raise ConfigurationError(
            f"{path} cannot be written: {error.strerror or error}; make room, or move away what is "
            "there, and give the same command again: the pictures that were made are kept"
        ) from error


def _data_uri(jpeg: bytes) -> str:
    from base64 import b64encode

    return f"data:image/jpeg;base64,{b64encode(jpeg).decode()}"


def _link(path: Path, folder: Path) -> str:
    """From the gallery to a file, as a URL."""
    try:
        return quote(Path(os.path.relpath(path, folder)).as_posix())
    except ValueError:  # on another drive of Windows
        return path.absolute().as_uri()


# What is told


def _files(results: Sequence[ImageGenerationResult]) -> list[Path]:
    images = (image for result in results for image in result.images)
    return [image.path for image in images if isinstance(image, StoredImage)]


def _told(
    results: Sequence[ImageGenerationResult], sheets: Sequence[Path], gallery: Path
) -> dict[str, Any]:
    failed = sum(not result.success for result in results)
    return {
        "total": len(results),
        "done": len(results) - failed,
        "failed": failed,
        "results": [
            {
                "number": number,
                "success": result.success,
                "files": [str(path) for path in _files([result])],
                "seeds": [image.get("seed") for image in result.images],
                "provider": result.provider,
                "model": result.model,
                "error_type": result.error_type,
                "error": result.error,
            }
            for number, result in enumerate(results, start=1)
        ],
        "contact_sheets": [str(path) for path in sheets],
        "gallery": str(gallery),
    }


def _finish(results: Sequence[ImageGenerationResult], console: Console) -> int:
    if any((result.metadata or {}).get("server") == "embedded" for result in results):
        say(console, "Made by the embedded server: procedural pictures, no model ran.")
    failed = [(n, result) for n, result in enumerate(results, start=1) if not result.success]
    if not failed:
        return OK
    for number, result in failed[:_MOST_TOLD]:
        say(console, one_line(f"{number}: {result.error}"), "error")
    counts = Counter(result.error_type or "failed" for _, result in failed)
    kinds = ", ".join(f"{count} {word}" for word, count in counts.most_common())
    told = f"{len(failed)} of {len(results)} failed ({kinds}); the same command makes these again"
    say(console, told, "error")
    return FAILED
