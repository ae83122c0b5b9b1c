"""What a batch has made, on disk: the file and folder that an interrupted one goes on from.

Owns the layout, what makes two batches the same, and pictures that are read only when somebody asks
for their bytes. A line is written whole or is no line: a file that ends in half of one is taken up.

    foxes.jsonl                     a header, then a line for each result that succeeded
    foxes/00001-01-comfyui-7.png    the pictures, named in the order of the requests
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import time
import uuid
from collections.abc import ItemsView, Iterator, Mapping, Sequence, ValuesView
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

from image_batches.locking import opened_alone
from image_cache import cache_key, request_parts
from image_provider import (
    ConfigurationError,
    ImageGenerationRequest,
    ImageGenerationResult,
    file_suffix,
)

logger = logging.getLogger(__name__)

_FORMAT = 1
_SYNC_SECONDS = 1.0
"""Between two fsyncs: what a power cut may cost is made again."""
_UNSAFE = re.compile(r"[^\w-]+", re.ASCII)
_DRAFT = re.compile(r"\.draft-[0-9a-f]{32}")
_NO_PART = frozenset({"on_progress", "from_template"})


class StoredImage(dict[str, Any]):
    """An entry of a result's `images` whose "bytes" are read from `path` when they are asked for.

    Raises ConfigurationError then if the file is gone or is not what was made.
    """

    def __init__(self, entry: Mapping[str, Any], path: Path, sha256: str) -> None:
        super().__init__({"bytes": None, **entry})
        self.path = path
        self.sha256 = sha256

    def __getitem__(self, key: str) -> Any:
        value = super().__getitem__(key)
        return self._read() if key == "bytes" and value is None else value

    def get(self, key: str, default: Any = None) -> Any:
        try:
            return self[key]
        except KeyError:
            return default

    # With it dict(image) and {**image} take what __getitem__ gives.
    def __iter__(self) -> Iterator[str]:
        return super().__iter__()

    def values(self) -> ValuesView[Any]:  # type: ignore[override]
        return ValuesView(self)

    def items(self) -> ItemsView[str, Any]:  # type: ignore[override]
        return ItemsView(self)

    def copy(self) -> dict[str, Any]:
        return dict(self)

    def __or__(self, other: Any) -> Any:
        return dict(self) | other

    def __ror__(self, other: Any) -> Any:
        return other | dict(self)

    def __eq__(self, other: object) -> bool:
        return dict(self) == (dict(other) if isinstance(other, StoredImage) else other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = None

    def __reduce__(self) -> Any:
        told = {key: super(StoredImage, self).__getitem__(key) for key in self if key != "bytes"}
        return StoredImage, (told, self.path, self.sha256)

    def _read(self) -> bytes:
        remedy = "run the batch again with its resume file, which makes what is missing"
        try:
            data = self.path.read_bytes()
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise ConfigurationError(
                f"the picture {self.path} cannot be read ({reason}); {remedy}"
            ) from error
        if hashlib.sha256(data).hexdigest() != self.sha256:
            raise ConfigurationError(
                f"{self.path} is not the picture that was made any more; move it away and {remedy}"
            )
        return data


class BatchStore:
    """The results of one batch; without a file it remembers nothing and leaves them as they are."""

    def __init__(self) -> None:
        self.made: dict[int, ImageGenerationResult] = {}
        """What is made already, by the place of its request."""

    @staticmethod
    @contextmanager
    def opened(
        resume: str | os.PathLike[str] | None, requests: Sequence[ImageGenerationRequest]
    ) -> Iterator[BatchStore]:
        """The store in the file `resume`, for these requests.

        Raises ConfigurationError for a file of other requests, one that is something else, one that
        another batch works on, and one that cannot be read or written.
        """
        if resume is None:
            yield BatchStore()
            return
        path = Path(resume)
        with ExitStack() as stack:
            try:
                file, is_alone = stack.enter_context(opened_alone(path))
            except OSError as error:
                raise _unusable(path, error) from error
            store = _FileStore(path, file, requests)
            if is_alone:
                store.remove_drafts()
            try:
                yield store
            finally:
                store.sync()

    def keep(self, place: int, result: ImageGenerationResult) -> ImageGenerationResult:
        """The result as the batch gives it."""
        return result


class _FileStore(BatchStore):
    def __init__(
        self, path: Path, file: BinaryIO, requests: Sequence[ImageGenerationRequest]
    ) -> None:
        super().__init__()
        self._path, self._file, self._folder = path, file, pictures_folder(path)
        self._draft = f".draft-{uuid.uuid4().hex}"  # not that of another batch with this file
        self._has_folder = False
        self._synced = time.monotonic()
        header = {"batch": _FORMAT, "requests": len(requests), "fingerprint": fingerprint(requests)}
        try:
            file.seek(0)
            first = file.readline()
            if not first:
                self._write(header)
            elif not self._take_up(first, header):
                file.write(b"\n")
        except OSError as error:
            raise _unusable(path, error) from error

    def _take_up(self, first: bytes, header: Mapping[str, Any]) -> bool:
        """Reads what was made; False when the last line is torn."""
        found = _parsed(first)
        if not isinstance(found, dict) or found.get("batch") != _FORMAT:
            raise ConfigurationError(
                f"{self._path} is no resume file of this version and was left as it is; give "
                "another path as resume"
            )
        if found != header:
            raise ConfigurationError(
                f"{self._path} was begun with other requests"
                f"{_counts(found.get('requests'), header['requests'])}; give those to go on with "
                "it, or another path as resume to begin anew (the command batch: another -o)"
            )
        line = first
        for number, line in enumerate(self._file, start=2):
            try:
                place, result = _read_line(_parsed(line), self._folder)
                if not 0 <= place < header["requests"]:
                    raise ValueError(f"there is no request {place}")
            except (OSError, ValueError, KeyError, TypeError) as error:
                level = logging.WARNING if line.endswith(b"\n") else logging.DEBUG
                told = "%s, line %d cannot be used, its request is made again: %s"
                logger.log(level, told, self._path, number, error)
            else:
                self.made[place] = result
        return line.endswith(b"\n")

    def keep(self, place: int, result: ImageGenerationResult) -> ImageGenerationResult:
        """Writes pictures and line; raises ConfigurationError when the disk does not take them."""
        try:
            images = [
                self._put(f"{place + 1:05}-{number:02}-{result.provider}", image)
                for number, image in enumerate(result.images, start=1)
            ]
            kept = replace(result, images=images)
            self._write({"place": place, **_plain(kept)})
        except OSError as error:
            raise _unusable(self._path, error) from error
        return kept

    def _put(self, stem: str, image: dict[str, Any]) -> dict[str, Any]:
        """The picture in a file of its own; nothing that is there already is written over."""
        data = image.get("bytes")
        if not isinstance(data, bytes):
            return image
        seed = "" if image.get("seed") is None else f"-{image['seed']}"
        stem, suffix = _UNSAFE.sub("-", stem + seed), file_suffix(image)
        if not self._has_folder:
            self._folder.mkdir(exist_ok=True)
            self._has_folder = True
        path, attempt = self._folder / f"{stem}{suffix}", 1
        while is_there := path.exists():
            if path.read_bytes() == data:
                break
            attempt += 1
            path = self._folder / f"{stem}-{attempt}{suffix}"
        if not is_there:
            draft = self._folder / self._draft
            try:
                draft.write_bytes(data)
                os.replace(draft, path)
            finally:
                draft.unlink(missing_ok=True)
        told = {key: value for key, value in image.items() if key != "bytes"}
        return StoredImage(told, path, hashlib.sha256(data).hexdigest())

    def _write(self, entry: Mapping[str, Any]) -> None:
        # What JSON cannot hold is told by its type alone: it is not needed to give the pictures.
        text = json.dumps(entry, skipkeys=True, default=lambda value: f"<{type(value).__name__}>")
        self._file.write(text.encode("utf-8") + b"\n")
        self._file.flush()
        if time.monotonic() - self._synced >= _SYNC_SECONDS:
            self.sync()

    def remove_drafts(self) -> None:
        """Removes what a batch that was killed was writing; nobody else may be at work."""
        for path in self._folder.glob(".draft-*"):
            if _DRAFT.fullmatch(path.name):
                with suppress(OSError):
                    path.unlink()

    def sync(self) -> None:
        """Has the lines outlive a power cut, too."""
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            logger.warning("%s may be lost in a power cut: %s", self._path, error.strerror)
        self._synced = time.monotonic()


def pictures_folder(resume: str | os.PathLike[str]) -> Path:
    """Where the pictures of a resume file are: beside it, under its name without the suffix."""
    path = Path(resume)
    return path.with_suffix("") if path.suffix else path.with_name(f"{path.name}.pictures")


def batch_entry(picture: Path) -> dict[str, Any] | None:
    """What a batch tells of the result that a picture in its folder belongs to; else None."""
    for path in sorted(picture.absolute().parent.parent.glob("*")):
        if pictures_folder(path) != picture.absolute().parent or not path.is_file():
            continue
        with suppress(OSError), path.open("rb") as file:
            header = _parsed(file.readline())
            if not isinstance(header, dict) or header.get("batch") != _FORMAT:
                continue
            for entry in map(_parsed, file):
                images = entry.get("images") if isinstance(entry, dict) else None
                if any(image.get("file") == picture.name for image in _dicts(images)):
                    return dict(entry)
    return None


def fingerprint(requests: Sequence[ImageGenerationRequest]) -> str:
    """The same for the same requests in the same order."""
    digest = hashlib.sha256()
    for request in requests:
        digest.update(cache_key(_parts(request)).encode())
    return digest.hexdigest()


def _parts(request: ImageGenerationRequest) -> dict[str, Any]:
    parts = request_parts(request, _NO_PART)
    parts["extra"] = {key: _hashable(value) for key, value in request.extra.items()}
    return parts


def _hashable(value: object) -> object:
    """A value of `extra` as `cache_key` takes it: pictures by their pixels, the unknown by type."""
    pixels = getattr(value, "tobytes", None)
    if pixels is not None:
        shape = getattr(value, "mode", ""), str(getattr(value, "size", ""))
        return [*shape, hashlib.sha256(pixels()).hexdigest()]
    try:
        return cache_key({"value": value})
    except (TypeError, ValueError, RecursionError):
        return type(value).__name__


def _counts(begun: object, now: int) -> str:
    return "" if begun == now else f" ({begun}, now {now})"


def _plain(result: ImageGenerationResult) -> dict[str, Any]:
    return {
        "provider": result.provider,
        "model": result.model,
        "images": [_plain_image(image) for image in result.images],
        "metadata": result.metadata,
        "recipe": result.recipe,
    }


def _plain_image(image: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(image, StoredImage):
        return image
    _, (told, path, sha256) = image.__reduce__()
    return {**told, "file": path.name, "sha256": sha256, "length": path.stat().st_size}


def _parsed(line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _read_line(entry: Any, folder: Path) -> tuple[int, ImageGenerationResult]:
    if not isinstance(entry, dict):
        raise ValueError("it is not whole")
    result = ImageGenerationResult(
        success=True,
        images=[_read_image(image, folder) for image in entry["images"]],
        provider=entry["provider"],
        model=entry["model"],
        metadata=entry["metadata"],
        recipe=entry["recipe"],
    )
    return int(entry["place"]), result


def _read_image(entry: Any, folder: Path) -> dict[str, Any]:
    if not isinstance(entry, dict):
        raise ValueError("a picture is no object")
    if "file" not in entry:
        return entry
    told = dict(entry)
    path, sha256, length = folder / told.pop("file"), told.pop("sha256"), told.pop("length")
    if path.parent != folder:
        raise ValueError("a picture lies outside of its folder")
    if path.stat().st_size != length:
        raise ValueError(f"{path.name} is not as long as it was")
    return StoredImage(told, path, sha256)


def _dicts(entries: object) -> list[dict[str, Any]]:
    """Those of a list that are such: a file that somebody changed may hold anything."""
    found = entries if isinstance(entries, list) else []
    return [entry for entry in found if isinstance(entry, dict)]


def _unusable(path: Path, error: OSError) -> ConfigurationError:
    where = error.filename or path
    return ConfigurationError(
        f"the batch cannot be kept in {where}: {error.strerror or error}; make room there and call "
        "again, which goes on from what was made, or give another path as resume (the command "
        "batch: another -o)"
    )
