"""Results on disk: images as ordinary files beside a small JSON, one folder a result.

Owns the key, looking up, storing whole or not at all, and the size limit. `entry.py` knows what an
entry holds, `folder.py` what a folder of a cache does. Knows no provider: what decides the pixels
comes as plain data.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from image_cache.entry import BROKEN, ENTRY, read_entry, write_entry
from image_cache.folder import (
    add_to_total,
    entries,
    new_draft,
    path_of,
    remove,
    stale_drafts,
    write_total,
)
from image_cache.telling import Teller
from image_provider import ImageGenerationResult

logger = logging.getLogger(__name__)

_KEPT = 0.9
"""The share of the limit that is left after an eviction, so that the next store needs none."""
_JUST_NOW = 60.0
"""Seconds: a use so soon after the last is not noted, which would be a write to the disk."""
_PAUSES = (0.01, 0.05, 0.2) if os.name == "nt" else ()
"""Seconds: a virus scanner that looks into a new folder on Windows keeps it from being moved."""


def cache_key(parts: Mapping[str, Any]) -> str:
    """The name of everything that can change pixels: SHA-256 of its canonical JSON, in hex."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False, default=_plain)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _plain(value: object) -> object:
    """Bytes by their hash; anything else cannot be part of a key."""
    if isinstance(value, (bytes, bytearray)):
        return {"sha256": hashlib.sha256(value).hexdigest()}
    raise TypeError(f"a {type(value).__name__} cannot be part of a cache key")


class ImageCache:
    """A folder of results, safe for several threads and processes.

    `max_bytes` limits their size: once it is passed, those that were not used for the longest time
    go, until a tenth of it is free. What would fill more than that alone is not kept; with a limit
    of 0 nothing is, and the folder is not touched.
    """

    def __init__(self, folder: str | os.PathLike[str], max_bytes: int) -> None:
        self.folder = Path(folder)
        self.max_bytes = max_bytes
        self._root = os.fspath(self.folder)
        self._tell = Teller(self._root)

    @property
    def is_on(self) -> bool:
        """Whether it keeps anything; else it is not worth asking."""
        return self.max_bytes > 0

    def load(self, key: str) -> ImageGenerationResult | None:
        """The result that was stored under `key`, byte for byte; None when there is none whole."""
        if not self.is_on:
            return None
        path = path_of(self._root, key)
        try:
            result, used = read_entry(path)
        except BROKEN as error:
            if os.path.lexists(path):  # else there is none, or it was evicted meanwhile
                self._tell.broken(path, error)
            return None
        if abs(time.time() - used) > _JUST_NOW:
            with suppress(OSError):  # a folder that is only read from
                os.utime(f"{path}/{ENTRY}")  # the least recently used goes first
        return result

    def store(self, key: str, result: ImageGenerationResult) -> None:
        """Keeps a result; a failure to do so is logged and changes nothing for the caller."""
        if not self.is_on:
            return
        try:
            size = self._write(key, result)
            if size and self._is_full(size):
                self._evict(keep=Path(path_of(self._root, key)))
        except BROKEN as error:
            self._tell.not_cached(error)

    def _is_full(self, size: int) -> bool:
        """Whether the limit is passed with so many bytes more, or may be for all that is known."""
        try:
            total = add_to_total(self._root, size)
        except OSError:  # a file of somebody else's, on a disk that several people share
            return True
        return total is None or total > self.max_bytes

    def _write(self, key: str, result: ImageGenerationResult) -> int:
        """The bytes of the new entry; 0 when there is none."""
        draft = new_draft(self._root)
        os.makedirs(draft)
        try:
            size = write_entry(draft, result)
            if size > self.max_bytes * _KEPT:
                logger.debug("a result of %d bytes is too large for the cache", size)
                return 0
            path = path_of(self._root, key)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            return size if self._put(draft, path) else 0
        finally:
            if os.path.exists(draft):
                remove(Path(draft), self.folder)

    def _put(self, draft: str, path: str) -> bool:
        """Puts an entry in place; False when another process was faster: its is the same."""
        with suppress(OSError):
            _move(draft, path)
            return True
        try:
            read_entry(path)
        except BROKEN:
            if os.path.lexists(path):
                remove(Path(path), self.folder)
            _move(draft, path)
            return True
        return False

    def _evict(self, keep: Path) -> None:
        """Counts all there is, and removes the least recently used until the rest fits."""
        for path in stale_drafts(self.folder):
            remove(path, self.folder)
        found = list(entries(self.folder))
        total, number = sum(entry.size for entry in found), len(found)
        if total > self.max_bytes:
            for entry in sorted(found, key=lambda each: (each.used, each.path)):
                if total <= self.max_bytes * _KEPT:
                    break
                if entry.path != keep and remove(entry.path, self.folder):
                    total, number = total - entry.size, number - 1
        write_total(self._root, total, number)


def _move(source: str, target: str) -> None:
    """Moves a folder where there is none; raises OSError when there is one with files in it."""
    for pause in _PAUSES:
        try:
            os.replace(source, target)
        except PermissionError:
            if os.path.exists(target):
                raise
            time.sleep(pause)
        else:
            return
    os.replace(source, target)


def cache_entry(file: Path) -> dict[str, Any] | None:
    """What is told beside a file of the cache; None for any other file."""
    with suppress(OSError, ValueError, RecursionError):
        entry = json.loads((file.parent / ENTRY).read_text(encoding="utf-8"))
        if isinstance(entry, dict):
            return entry
    return None
