"""One cached result on disk: a folder with its pictures as ordinary files and an `entry.json`.

Owns what an entry holds, the checks of what is read back, and that no credential is written into
it. Knows nothing of other entries, of keys and of the size limit.

The first line of an `entry.json` has what gives the pictures, and a checksum of all other lines:
metadata and recipe, which are parsed when somebody asks for them.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import zlib
from collections.abc import Mapping
from dataclasses import fields
from functools import cached_property
from typing import Any
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from image_provider import ImageGenerationResult, file_suffix

ENTRY = "entry.json"
BROKEN = (OSError, ValueError, KeyError, TypeError, RecursionError)
"""What reading an entry raises when it is not as it was written."""

_PICTURE = re.compile(r"[1-9]\d*\.[a-z0-9]+")
_BLOCK = 4096
_READ = os.O_RDONLY | getattr(os, "O_BINARY", 0)
_DECODER = json.JSONDecoder()
"""What `json.loads` uses, which looks at its own arguments first, and is slow at taking bytes."""
_SECRET = re.compile(
    r".*(password|passwd|secret|authorization|(api|access|private)[_-]?key)"
    r"|(.*[_.-])?(api|access|auth|bearer|hf|huggingface|civitai)[_-]?token|(.*\.)?token",
    re.IGNORECASE,
)
"""Names of inputs and settings that hold a key or a password."""
_SIGNED = re.compile(
    r"(.*[_-])?(key|sig|signature|credential|password|secret|token)", re.IGNORECASE
)
"""Names in the query of a URL that opens what is closed to others."""
_LEFT_OUT = "[not kept]"
_OF_THE_FILE = ("file", "file_size", "checksum", "sha256")
_REFERENCES = ("source_image_url", "mask_image_url")


def is_own_file(name: str) -> bool:
    """Whether a file in an entry's folder has a name that an entry gives its files."""
    return name == ENTRY or _PICTURE.fullmatch(name) is not None


# Writing


def write_entry(folder: str, result: ImageGenerationResult) -> int:
    """Writes a result's files into an empty folder, and tells their bytes.

    Nothing is flushed to the disk here: what a power failure leaves is found by its checksum.
    """
    images = [_write_image(folder, n, image) for n, image in enumerate(result.images, start=1)]
    size: int = sum(image["file_size"] for image in images)
    rest = {
        "metadata": _without_secrets(result.metadata),
        "recipe": _without_secrets(_without_references(result.recipe)),
    }
    lines = "\n" + _json(rest, indent=2).removeprefix("{\n")
    first = {
        "provider": result.provider,
        "model": result.model,
        "images": images,
        "rest": zlib.crc32(lines.encode("ascii")),
    }
    data = (_json(first).removesuffix("}") + "," + lines).encode("ascii")
    _write(os.path.join(folder, ENTRY), data)
    return size + len(data)


def _json(value: object, indent: int | None = None) -> str:
    # What JSON cannot hold is told by its type alone: it is not needed to give the pictures.
    return json.dumps(value, indent=indent, skipkeys=True, default=_type_alone)


def _type_alone(value: object) -> str:
    return f"<{type(value).__name__}>"


def _write_image(folder: str, number: int, image: Mapping[str, Any]) -> dict[str, Any]:
    data = image["bytes"]
    if not isinstance(data, bytes):
        raise TypeError("a picture came without its bytes")
    name = f"{number}{file_suffix(image)}"
    _write(os.path.join(folder, name), data)
    told = {key: value for key, value in image.items() if key != "bytes"}
    if "url" in told:
        told["url"] = _lasting_url(told["url"])
    return {
        **told,
        "file": name,
        "file_size": len(data),
        "checksum": checksum(data),
        "sha256": hashlib.sha256(data).hexdigest(),
    }


def _write(path: str, data: bytes) -> None:
    with open(path, "xb", buffering=0) as file:
        file.write(data)


def _without_references(recipe: dict[str, Any] | None) -> dict[str, Any] | None:
    """The recipe without what may stand in the URL of a source: passwords, signatures, pictures."""
    request = (recipe or {}).get("request")
    if recipe is None or not isinstance(request, Mapping):
        return recipe
    shown = {name: _bare_url(request[name]) for name in _REFERENCES if request.get(name)}
    return {**recipe, "request": {**request, **shown}}


def _without_secrets(value: Any) -> Any:
    """Plain data with the texts left out that stand under the name of a key or password."""
    if isinstance(value, Mapping):
        return {
            name: _LEFT_OUT if text and _is_secret(name, text) else _without_secrets(text)
            for name, text in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [_without_secrets(entry) for entry in value]
    return value


def _is_secret(name: object, value: object) -> bool:
    return isinstance(name, str) and isinstance(value, str) and bool(_SECRET.fullmatch(name))


def _bare_url(reference: object) -> object:
    """A reference to a picture without user, password, query and embedded data."""
    text = str(reference)
    if text[:5].lower() == "data:":
        return f"{text.partition(',')[0]},{_LEFT_OUT}"
    if "://" not in text[:12]:
        return reference
    parts = urlsplit(text)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, "", ""))


def _lasting_url(url: Any) -> Any:
    """A result's URL; None for one that is signed: it opens a door, and not for long."""
    if not isinstance(url, str):
        return url
    parts = urlsplit(url)
    names = [name for name, _ in parse_qsl(parts.query)]
    return None if "@" in parts.netloc or any(map(_SIGNED.fullmatch, names)) else url


# Reading


class StoredResult(ImageGenerationResult):
    """A result out of an entry; its metadata and recipe are parsed when somebody asks for them.

    They are most of the text, and who shows a picture needs neither.
    """

    request: dict[str, Any] | None = None
    """What stands in the recipe in place of the request that was stored, if it is set before."""
    _rest = "{}"

    @classmethod
    def of(cls, images: list[dict[str, Any]], first: dict[str, Any], rest: str) -> StoredResult:
        """A result by the first line of an entry and by its other lines."""
        result = cls(True, images, first["provider"], first["model"])
        del result.metadata, result.recipe  # the properties below stand behind them
        result._rest = rest
        return result

    def __eq__(self, other: object) -> bool:
        """As results that were made are equal to each other."""
        return _made(self) == (_made(other) if isinstance(other, StoredResult) else other)

    __hash__ = None  # type: ignore[assignment]

    @cached_property
    def metadata(self) -> dict[str, Any] | None:  # type: ignore[override]
        metadata: dict[str, Any] | None = self._told["metadata"]
        return metadata

    @cached_property
    def recipe(self) -> dict[str, Any] | None:  # type: ignore[override]
        recipe: dict[str, Any] | None = self._told["recipe"]
        if recipe and self.request is not None:
            return {**recipe, "request": self.request}
        return recipe

    @cached_property
    def _told(self) -> Any:
        return _DECODER.decode("{" + self._rest)


def _made(result: StoredResult) -> ImageGenerationResult:
    told = {field.name: getattr(result, field.name) for field in fields(result)}
    return ImageGenerationResult(**told)


def read_entry(folder: str) -> tuple[StoredResult, float]:
    """The result in a folder, its bytes checked, and when it was used last (seconds since 1970).

    Raises one of BROKEN when it is not as it was written.
    """
    first, rest, used = _told(folder)
    images = [_image(folder, told) for told in first["images"]]
    return StoredResult.of(images, first, rest), used


def _image(folder: str, told: dict[str, Any]) -> dict[str, Any]:
    data = _checked(folder, told)
    for name in _OF_THE_FILE:
        del told[name]
    return {"bytes": data, **told}


def verify_entry(folder: str) -> None:
    """Reads an entry whole and compares it with its SHA-256; raises one of BROKEN."""
    result, _ = read_entry(folder)
    first, _, _ = _told(folder)
    for image, kept in zip(result.images, first["images"], strict=True):
        if hashlib.sha256(image["bytes"]).hexdigest() != kept["sha256"]:
            raise ValueError(f"{kept['file']} is not what was stored")


def _checked(folder: str, told: dict[str, Any]) -> bytes:
    name = told["file"]
    if not _PICTURE.fullmatch(name):
        raise ValueError(f"{ENTRY} names a file that no entry has")
    data = _picture(f"{folder}/{name}")
    if len(data) != told["file_size"] or checksum(data) != told["checksum"]:
        raise ValueError(f"{name} is not what was stored")
    return data


# As few calls as it takes, and cheap ones: with a small picture they are most of what a hit costs.


def _told(folder: str) -> tuple[Any, str, float]:
    """The first line of the `entry.json`, the others, and when it was changed last.

    That is in seconds since 1970.
    """
    descriptor = os.open(f"{folder}/{ENTRY}", _READ)
    try:
        file = os.fstat(descriptor)
        data = _read(descriptor, file.st_size)
    finally:
        os.close(descriptor)
    end = data.index(b"\n")
    first = _DECODER.decode(data[:end].decode().removesuffix(",") + "}")
    rest = data[end:]
    if zlib.crc32(rest) != first["rest"]:
        raise ValueError(f"{ENTRY} is not what was stored")
    return first, rest.decode(), file.st_mtime


def _picture(path: str) -> bytes:
    descriptor = os.open(path, _READ)
    try:
        size = os.lseek(descriptor, 0, os.SEEK_END)  # `fstat` tells more, and takes longer
        os.lseek(descriptor, 0, os.SEEK_SET)
        return _read(descriptor, size)
    finally:
        os.close(descriptor)


def _read(descriptor: int, size: int) -> bytes:
    data = os.read(descriptor, size)
    while len(data) < size and (more := os.read(descriptor, size - len(data))):
        data += more
    return data


def checksum(data: bytes) -> str:
    """Over every byte, at the speed of memory: SHA-256 would take many times the reading.

    The sum of all 8-byte words, those of each block of 4096 bytes times an odd number of its own,
    modulo 2**64. A change within a word always shows; so do cut, zeroed and exchanged blocks, but
    for one case in 2**64. It finds accidents; against intent there is the SHA-256.
    """
    import numpy as np

    whole = len(data) - len(data) % _BLOCK
    words = np.frombuffer(data, dtype="<u8", count=whole // 8)
    blocks = np.add.reduceat(words, np.arange(0, len(words), _BLOCK // 8))
    total = int(blocks.dot(np.arange(1, 2 * len(blocks), 2, dtype=np.uint64)))
    return f"{total:016x}{zlib.crc32(data[whole:]):08x}"
