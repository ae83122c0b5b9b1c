"""The folder of a cache: which of its contents are entries, and how many bytes they have.

Owns the layout, what may be removed (entries and drafts of our own naming, nothing else), and the
running total by which a store knows without looking around whether the limit is near. Knows no
result.

    cache/images/3f/3f9a…/1.png, 2.png, entry.json
    cache/images/.image-cache-size    the running total
    cache/images/.draft-…/            an entry that is being written, or removed
"""

from __future__ import annotations

import os
import re
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from image_cache.entry import ENTRY, is_own_file

_BUCKET = re.compile(r"[0-9a-f]{2}")
_KEY = re.compile(r"[0-9a-f]{64}")
_DRAFT = re.compile(r"\.draft-[0-9a-f]{32}")
_TOTAL = ".image-cache-size"
_DRAFT_SECONDS = 3600.0
"""A draft without a change for so long belongs to nobody any more."""
FEWEST_STORES = 4096
"""Stores after which everything is counted anew at the earliest, for the total is about right."""
_LONGEST_TOTAL = 256
"""Lines of the running total after which they are added up to one."""
_COUNTED = re.compile(rb"counted=(\d{1,18}) entries=(\d{1,18}) stores=(\d{1,18})")


@dataclass(frozen=True)
class Entry:
    """An entry's folder: bytes, when it was used last (nanoseconds since 1970), how many pictures.

    `others` is the number of files in it that are not ours.
    """

    path: Path
    size: int
    used: int
    pictures: int
    others: int


def path_of(folder: str, key: str) -> str:
    """Where the entry of a key is."""
    return f"{folder}/{key[:2]}/{key}"


def new_draft(folder: str) -> str:
    """A folder of a new name, to be written into, or to be removed under."""
    return f"{folder}/.draft-{uuid.uuid4().hex}"


def entries(folder: Path) -> Iterator[Entry]:
    """Every entry there is; a folder that does not look like one is none."""
    for bucket in _folders(folder, _BUCKET):
        for path in _folders(bucket, _KEY):
            if path.name.startswith(bucket.name) and (entry := _entry(path)) is not None:
                yield entry


def stale_drafts(folder: Path, now: float | None = None) -> list[Path]:
    """Drafts that a process left behind; `now` is in seconds since 1970."""
    oldest = (time.time() if now is None else now) - _DRAFT_SECONDS
    return [path for path in _folders(folder, _DRAFT) if _changed(path) < oldest]


def _folders(folder: Path, name: re.Pattern[str]) -> list[Path]:
    try:
        with os.scandir(folder) as found:
            return sorted(
                Path(each.path)
                for each in found
                if name.fullmatch(each.name) and each.is_dir(follow_symlinks=False)
            )
    except OSError:  # it is not there, or another process has just removed it
        return []


def _files(path: Path) -> list[os.DirEntry[str]]:
    with suppress(OSError), os.scandir(path) as found:
        return list(found)
    return []


def _is_ours(file: os.DirEntry[str]) -> bool:
    with suppress(OSError):
        return is_own_file(file.name) and file.is_file(follow_symlinks=False)
    return False


def _entry(path: Path) -> Entry | None:
    """None for a folder in which nothing is named as an entry's files are."""
    files = _files(path)
    size, used, own = 0, 0, set()
    for file in files:
        with suppress(OSError):
            if _is_ours(file):
                told = file.stat()
                size += told.st_size
                used = max(used, told.st_mtime_ns)
                own.add(file.name)
    if not own:
        return None
    return Entry(path, size, used, len(own - {ENTRY}), len(files) - len(own))


def _changed(path: Path) -> float:
    """When a draft was written to, by its files; by itself when it has none."""
    times = []
    for each in [file.path for file in _files(path)] or [str(path)]:
        with suppress(OSError):
            times.append(os.stat(each).st_mtime)
    return max(times, default=0.0)


def remove(path: Path, folder: Path) -> bool:
    """Removes an entry or a draft, and no file that is not ours; whether it is gone.

    It is moved away first, so that no reader finds half of it. On Windows that fails while somebody
    reads it: then it stays whole.
    """
    if all(map(_is_ours, _files(path))):
        aside = Path(new_draft(str(folder)))
        try:
            os.replace(path, aside)
        except FileNotFoundError:
            return True  # another process was faster
        except OSError:
            return False
        path = aside
    # The entry.json goes first: without it nobody looks for the rest.
    for file in sorted(_files(path), key=lambda each: each.name != ENTRY):
        if _is_ours(file):
            with suppress(OSError):
                os.unlink(file.path)
    with suppress(OSError):  # it holds files of somebody's
        os.rmdir(path)
    return not path.exists()


def remove_rest(folder: Path, removed: list[Entry]) -> None:
    """Removes what entries that are gone leave: the folders they were in, the running total."""
    for bucket in {entry.path.parent for entry in removed}:
        with suppress(OSError):  # there are others in it
            os.rmdir(bucket)
    with suppress(OSError):
        if (folder / _TOTAL).read_bytes().startswith((b"counted=", b"+")):
            os.unlink(folder / _TOTAL)


# The running total


def add_to_total(folder: str, size: int) -> int | None:
    """Adds bytes to the running total and tells it; None when all must be counted anew.

    The file has one line a store, which every process appends, below a line with what was counted.
    Two that write at once may lose a line now and then, and one that crashes may not write its own:
    hence the total is about right, and is counted anew after as many stores as there were entries,
    and before anything is evicted.
    """
    with open(f"{folder}/{_TOTAL}", "ab+", buffering=0) as file:
        file.write(b"+%d\n" % size)
        file.seek(0)
        first, *lines = file.readall().splitlines()
    counted = _COUNTED.fullmatch(first)
    if counted is None:
        return None
    total, entries_then, stores = map(int, counted.groups())
    try:
        total += sum(map(int, lines))
    except ValueError:
        return None
    stores += len(lines)
    if stores > max(entries_then, FEWEST_STORES):
        return None
    if len(lines) > _LONGEST_TOTAL:
        write_total(folder, total, entries_then, stores)
    return total


def write_total(folder: str, size: int, number: int, stores: int = 0) -> None:
    """Writes the bytes of so many entries, counted so many stores ago.

    The old file stays while another process has it open on Windows.
    """
    draft = f"{folder}/{_TOTAL}-{uuid.uuid4().hex}"
    try:
        with open(draft, "xb") as file:
            file.write(b"counted=%d entries=%d stores=%d\n" % (size, number, stores))
        os.replace(draft, f"{folder}/{_TOTAL}")
    except OSError:
        with suppress(OSError):
            os.unlink(draft)
