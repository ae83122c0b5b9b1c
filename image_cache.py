"""Results on disk: images as ordinary files beside a small JSON, one folder a result.

Owns the layout, the key, atomic writes, recognising what is broken, and the size limit. Knows no
provider: what decides the pixels comes as plain data.

    cache/images/3f/3f9a…/1.png, 2.png, entry.json
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import uuid
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from image_provider import ImageGenerationResult, file_suffix

logger = logging.getLogger(__name__)

_ENTRY = "entry.json"
_DRAFT = ".draft-"


def cache_key(parts: Mapping[str, Any]) -> str:
    """The name of everything that can change pixels: SHA-256 of its canonical JSON, in hex."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False, default=_plain)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _plain(value: object) -> object:
    """Bytes by their hash; anything else cannot be part of a key."""
    if isinstance(value, (bytes, bytearray)):
        return hashlib.sha256(value).hexdigest()
    raise TypeError(f"a {type(value).__name__} cannot be part of a cache key")


class ImageCache:
    """A folder of results, safe for several threads and processes; `max_bytes` limits its size."""

    def __init__(self, folder: str | os.PathLike[str], max_bytes: int) -> None:
        self.folder = Path(folder)
        self.max_bytes = max_bytes

    def load(self, key: str) -> ImageGenerationResult | None:
        """The result that was stored under `key`, byte for byte; None when there is none whole."""
        path = self._path(key)
        if not path.is_dir():
            return None
        try:
            result = _read(path)
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            logger.warning("the cache entry %s is broken and left out: %s", path, error)
            return None
        with suppress(OSError):  # a folder that is only read from
            os.utime(path / _ENTRY)  # the least recently used goes first
        return result

    def store(self, key: str, result: ImageGenerationResult) -> None:
        """Keeps a result; a failure to do so is logged and changes nothing for the caller."""
        try:
            self._write(key, result)
            self._evict()
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            logger.warning("the result was not cached: %s", error)

    def _write(self, key: str, result: ImageGenerationResult) -> None:
        draft = self.folder / f"{_DRAFT}{uuid.uuid4().hex}"
        draft.mkdir(parents=True)
        try:
            _write_into(draft, result)
            path = self._path(key)
            path.parent.mkdir(exist_ok=True)
            try:
                os.replace(draft, path)
            except OSError:
                # Another process was faster; what it stored is the same, unless it is broken.
                if self.load(key) is None:
                    shutil.rmtree(path)
                    os.replace(draft, path)
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / key

    def _evict(self) -> None:
        """Removes the least recently used entries until the rest fits, and drafts left behind."""
        entries = []
        for path in (*self.folder.glob("??/*"), *self.folder.glob(f"{_DRAFT}*")):
            with suppress(OSError):  # another process removes it, or has finished it
                files = [file.stat() for file in path.iterdir()]
                used = max((file.st_mtime for file in files), default=0.0)
                entries.append((used, sum(file.st_size for file in files), path))
        total = sum(size for _, size, _ in entries)
        for _, size, path in sorted(entries):
            if total <= self.max_bytes:
                return
            shutil.rmtree(path, ignore_errors=True)
            total -= size


def _read(path: Path) -> ImageGenerationResult:
    entry = json.loads((path / _ENTRY).read_text(encoding="utf-8"))
    return ImageGenerationResult(
        success=True,
        images=[_read_image(path, image) for image in entry["images"]],
        provider=entry["provider"],
        model=entry["model"],
        metadata=entry["metadata"],
        recipe=entry["recipe"],
    )


def _read_image(folder: Path, told: dict[str, Any]) -> dict[str, Any]:
    data = (folder / told["file"]).read_bytes()
    if hashlib.sha256(data).hexdigest() != told["sha256"]:
        raise ValueError(f"{told['file']} is not what was stored")
    kept = {name: value for name, value in told.items() if name not in ("file", "sha256")}
    return {"bytes": data, **kept}


def _write_into(folder: Path, result: ImageGenerationResult) -> None:
    images = [_write_image(folder, n, image) for n, image in enumerate(result.images, start=1)]
    entry = {
        "provider": result.provider,
        "model": result.model,
        "metadata": result.metadata,
        "recipe": result.recipe,
        "images": images,
    }
    # What JSON cannot hold is told by its type alone: it is not needed to give the pictures.
    text = json.dumps(
        entry, indent=2, skipkeys=True, default=lambda value: f"<{type(value).__name__}>"
    )
    (folder / _ENTRY).write_text(text, encoding="utf-8")


def _write_image(folder: Path, number: int, image: Mapping[str, Any]) -> dict[str, Any]:
    data = image["bytes"]
    if not isinstance(data, bytes):
        raise TypeError("a picture came without its bytes")
    name = f"{number}{file_suffix(image)}"
    (folder / name).write_bytes(data)
    kept = {key: value for key, value in image.items() if key != "bytes"}
    return {**kept, "file": name, "sha256": hashlib.sha256(data).hexdigest()}


def cache_entry(file: Path) -> dict[str, Any] | None:
    """What is told beside a file of the cache; None for any other file."""
    with suppress(OSError, ValueError, RecursionError):
        entry = json.loads((file.parent / _ENTRY).read_text(encoding="utf-8"))
        if isinstance(entry, dict):
            return entry
    return None
