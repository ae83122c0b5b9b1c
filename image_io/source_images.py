"""Source and mask images, wherever they come from: fetched safely, verified, normalised.

Owns what a reference may be (http or https URL, data URI, path, file URL, bytes, Pillow image) and
the limits; what becomes of its pixels is in `pixels.py`. Knows no provider. Reads the settings
IMAGE_SOURCE_*, each only when the caller does not say what it says.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, TypeAlias
from urllib.parse import unquote, unquote_to_bytes

from image_config import Config
from image_io.concealing import shown_url
from image_io.pixels import MAX_PIXELS, decoded, normalised, within
from image_provider import (
    ImageGenerationError,
    InvalidRequestError,
    ProviderTimeoutError,
    ProviderUnavailableError,
    SourceUnavailableError,
)

if TYPE_CHECKING:
    from PIL.Image import Image

    from image_io.http import HttpResponse, HttpSession

logger = logging.getLogger(__name__)

MAX_BYTES = 32 * 1024 * 1024
FETCH_SECONDS = 60.0
_MAX_ESCAPES = 4_000_000  # in a data URI; each becomes an object of its own in between

_INSTEAD = "pass the picture itself instead: its bytes, or a path"
_UNNAMED_SCHEME = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)


class _Unsaid(Enum):
    FROM_SETTINGS = "IMAGE_SOURCE_*"


FROM_SETTINGS: Final = _Unsaid.FROM_SETTINGS
_FromSettings: TypeAlias = "Literal[_Unsaid.FROM_SETTINGS]"
Roots: TypeAlias = "tuple[Path, ...] | None | _FromSettings"
"""Folders open to local paths: None = any, empty = none, FROM_SETTINGS = IMAGE_SOURCE_ROOTS."""
Hosts: TypeAlias = "tuple[str, ...] | _FromSettings"
"""Hosts that are open though they are private, each "host" or "host:port"; IMAGE_SOURCE_HOSTS."""
MaxSide: TypeAlias = "int | None | _FromSettings"
"""The longest side in pixels, None = as large as it is; FROM_SETTINGS = IMAGE_SOURCE_MAX_SIDE."""


def as_roots(folders: object) -> Roots:
    """Roots as a caller gives them: one folder or several, each a text or a path."""
    if folders is None or isinstance(folders, _Unsaid):
        return folders
    if isinstance(folders, (str, os.PathLike)):
        folders = [folders] if folders != "" else []
    paths = []
    for folder in folders if isinstance(folders, Iterable) else [folders]:
        if not isinstance(folder, (str, os.PathLike)):
            kind = type(folder).__name__
            raise TypeError(f"source_roots must be a folder, a list of folders or None, not {kind}")
        paths.append(Path(folder))
    return tuple(paths)


def as_hosts(hosts: object) -> Hosts:
    """Hosts as a caller gives them: one or several; raises TypeError or ValueError for no host."""
    from image_io.guarding import open_hosts

    if isinstance(hosts, _Unsaid):
        return hosts
    if isinstance(hosts, str):
        hosts = [hosts] if hosts else []
    given = tuple(hosts) if isinstance(hosts, Iterable) else (hosts,)
    if not all(isinstance(host, str) for host in given):
        raise TypeError('source_hosts must be a "host:port" or a list of them')
    open_hosts(given)
    return given


def as_max_side(pixels: object) -> MaxSide:
    """A longest side as a caller gives it; raises TypeError or ValueError for what is none."""
    if pixels is None or isinstance(pixels, _Unsaid):
        return pixels
    if not isinstance(pixels, int) or isinstance(pixels, bool):
        raise TypeError(f"source_max_side must be an int or None, not {type(pixels).__name__}")
    if pixels < 1:
        raise ValueError("source_max_side must be at least 1 pixel, or None for no limit")
    return pixels


@dataclass(frozen=True)
class SourceImage:
    """A picture that was decoded whole.

    `image` is RGB, or RGBA where something in it is transparent, upright and without metadata.
    `sha256` is of the file as it came; of the pixels for a Pillow image, whose `mime_type` is None.
    `original_size` is (width, height) in pixels as stored, before the picture was turned upright.
    `scaled_from` is the (width, height) of the upright picture where `image` is a smaller one.
    """

    image: Image = field(repr=False)
    sha256: str
    mime_type: str | None
    original_size: tuple[int, int]
    scaled_from: tuple[int, int] | None = None


LoadSource: TypeAlias = "Callable[[object, str], SourceImage]"
"""`load_source` with its rules filled in: from a reference and what it is called in errors."""


def source_loader(
    roots: Roots = FROM_SETTINGS, hosts: Hosts = FROM_SETTINGS, max_side: MaxSide = FROM_SETTINGS
) -> LoadSource:
    """`load_source` by these rules."""
    return lambda reference, what: load_source(
        reference, roots=roots, hosts=hosts, max_side=max_side, what=what
    )


def load_source(
    reference: object,
    *,
    roots: Roots = FROM_SETTINGS,
    hosts: Hosts = FROM_SETTINGS,
    max_side: MaxSide = FROM_SETTINGS,
    what: str = "source image",
    session: HttpSession | None = None,
    max_bytes: int = MAX_BYTES,
    max_pixels: int = MAX_PIXELS,
) -> SourceImage:
    """The picture that `reference` names or is; `what` stands for it in errors.

    A reference is an http or https URL, a data URI, a file URL, a path, bytes or a Pillow image.
    URLs are fetched from public addresses, ports 80 and 443, and from `hosts`, unless a `session`
    is given. A picture with a longer side than `max_side` is scaled down. Raises
    InvalidRequestError, and ProviderUnavailableError when the host of a URL cannot be reached.
    """
    from PIL import Image as PillowImage

    if max_side is FROM_SETTINGS:
        max_side = Config().get_image_source_max_side()
    if isinstance(reference, PillowImage.Image):
        given = _from_pillow(reference, f"{what} (the given image)", max_pixels)
        return _scaled(given, max_side)
    if isinstance(reference, str) and _scheme(reference) in ("http", "https"):
        name, data = _fetch(reference.strip(), what, session, hosts, max_bytes)
    elif isinstance(reference, str) and _scheme(reference) == "data":
        name = f"{what} (the data URI)"
        data = _decode_data_uri(reference.strip(), name, max_bytes)
    elif isinstance(reference, (str, os.PathLike)):
        text = os.fsdecode(reference)
        name = f'{what} "{_shown(text)}"'
        data = _read_file(_local_path(text, name, roots), name, max_bytes)
    elif isinstance(reference, (bytes, bytearray, memoryview)):
        name, data = f"{what} (the given bytes)", bytes(reference)
    else:
        raise InvalidRequestError(
            f"{what}: a {type(reference).__name__} is no picture; pass a URL, a data URI, a path, "
            "bytes or a Pillow image"
        )
    if len(data) > max_bytes:
        raise _too_large(name, max_bytes)
    return _scaled(_from_file(data, name, max_pixels), max_side)


def _scheme(reference: str) -> str:
    scheme, colon, _ = reference.lstrip()[:8].partition(":")
    return scheme.lower() if colon else ""


def _shown(text: str) -> str:
    """A reference as it was given, fit for one line of a message or terminal."""
    short = text if len(text) <= 200 else f"{text[:150]}…{text[-40:]}"
    return "".join(character if character.isprintable() else "?" for character in short)


def _too_large(name: str, max_bytes: int) -> InvalidRequestError:
    return InvalidRequestError(
        f"{name} is larger than the {max_bytes:,} bytes allowed; pass a smaller or recompressed one"
    )


def _fetch(
    url: str, what: str, session: HttpSession | None, hosts: Hosts, max_bytes: int
) -> tuple[str, bytes]:
    from image_io.guarding import REFUSALS, open_hosts
    from image_io.http import HttpSession

    if hosts is FROM_SETTINGS:
        hosts = Config().get_image_source_hosts()
    used = session or HttpSession(what, guarded=True, opened=open_hosts(hosts))
    try:
        response = used.get(
            url,
            # Only a guarded session looks at every address that it is sent on to.
            follow_redirects=used.guarded,
            total_timeout=FETCH_SECONDS,
            max_bytes=max_bytes,
            parse_error=partial(_status_error, what),
        )
    except (ProviderUnavailableError, ProviderTimeoutError) as error:
        raise SourceUnavailableError(
            f"{error}; try again later, or {_INSTEAD}", status=error.status
        ) from error
    except ImageGenerationError as error:
        opening = "; a host of your own is opened by IMAGE_SOURCE_HOSTS"
        remedy = _INSTEAD + opening if isinstance(error.__cause__, REFUSALS) else _INSTEAD
        raise InvalidRequestError(f"{error}; {remedy}", status=error.status) from error
    finally:
        if session is None:
            used.close()
    return f"{what} {shown_url(url)}", response.body


def _status_error(what: str, response: HttpResponse) -> ImageGenerationError:
    passing = response.status in (408, 425, 429) or response.status >= 500
    error_class = ProviderUnavailableError if passing else InvalidRequestError
    return error_class(
        f"{what}: {shown_url(response.url)} answered {response.status}",
        status=response.status,
    )


def _decode_data_uri(uri: str, name: str, max_bytes: int) -> bytes:
    """The bytes of a data URI (RFC 2397); base64 may be URL-safe, broken into lines, unpadded."""
    header, comma, body = uri.partition(",")
    if not comma:
        raise InvalidRequestError(f"{name} has no comma; it must read data:image/png;base64,…")
    if len(body) > 4 * max_bytes:
        raise _too_large(name, max_bytes)
    if body.count("%") > _MAX_ESCAPES:
        raise InvalidRequestError(f"{name} is in percent encoding; encode it in base64 instead")
    try:
        data = unquote_to_bytes(body)
        if "base64" not in (part.strip().lower() for part in header.split(";")[1:]):
            return data
        plain = data.translate(bytes.maketrans(b"-_", b"+/"), b" \t\r\n=")
        return base64.b64decode(plain + b"=" * (-len(plain) % 4), validate=True)
    except ValueError as error:
        raise InvalidRequestError(
            f"{name} is not valid base64; encode the bytes of the picture file again"
        ) from error


def file_url_path(url: str, windows: bool = os.name == "nt") -> str:
    """The local path of a file URL; raises ValueError for one of another computer.

    On Windows file:///C:/a, file://C:/a and file://server/share/a are understood.
    """
    rest = unquote(url.partition(":")[2], errors="surrogateescape")
    host, path = "", rest
    if rest.startswith("//"):
        host, slash, tail = rest[2:].partition("/")
        path = slash + tail
    if windows and re.fullmatch("[A-Za-z]:", host):
        return host + path
    if host.lower() not in ("", "localhost"):
        if not windows:
            raise ValueError(f"the file URL names another computer, {host}")
        return f"//{host}{path}"
    return path[1:] if windows and re.match("/[A-Za-z]:", path) else path


def _local_path(text: str, name: str, roots: Roots) -> Path:
    if _scheme(text) == "file":
        try:
            text = file_url_path(text.strip())
        except ValueError as error:
            raise InvalidRequestError(f"{name}: {error}; copy the file here first") from error
    elif _UNNAMED_SCHEME.match(text):
        raise InvalidRequestError(f"{name}: only http, https, data and file URLs are fetched")
    if not text or "\0" in text:
        raise InvalidRequestError(f"{name} is not a path; pass a URL, a data URI or a path")
    if roots is FROM_SETTINGS:
        roots = Config().get_image_source_roots()
    return Path(text) if roots is None else _confined(Path(text), name, roots)


def _confined(path: Path, name: str, roots: tuple[Path, ...]) -> Path:
    """The path with symlinks and `..` resolved, if it then lies in one of `roots`."""
    if not roots:
        raise InvalidRequestError(
            f"{name}: local files are not accepted here; pass a URL, a data URI or bytes, or open "
            "folders with IMAGE_SOURCE_ROOTS"
        )
    try:
        for root in roots:
            # Resolving a path of another drive could already talk to a stranger's file server.
            if path.absolute().drive.lower() != root.absolute().drive.lower():
                continue
            resolved = path.resolve()
            if resolved.is_relative_to(root.resolve()):
                return resolved
    except (OSError, RuntimeError) as error:  # RuntimeError: a loop of symlinks, before 3.13
        raise InvalidRequestError(f"{name} is not a path that can be followed") from error
    raise InvalidRequestError(
        f"{name} is outside of the folders that are open to source images; pass a URL, a data URI "
        "or bytes, or add its folder to IMAGE_SOURCE_ROOTS"
    )


def _read_file(path: Path, name: str, max_bytes: int) -> bytes:
    try:
        if not path.is_file():  # a pipe or device would keep us waiting
            problem = "is a folder" if path.is_dir() else "does not exist or is no file"
            raise InvalidRequestError(f"{name} {problem}; give the path of a picture file")
        with path.open("rb") as file:
            return file.read(max_bytes + 1)
    except OSError as error:
        raise InvalidRequestError(
            f"{name} cannot be read: {error.strerror}; give the path of a picture file"
        ) from error


def _from_file(data: bytes, name: str, max_pixels: int) -> SourceImage:
    image, told = decoded(data, name, max_pixels)
    assert told.width is not None and told.height is not None
    size = (told.width, told.height)
    return SourceImage(image, hashlib.sha256(data).hexdigest(), told.mime_type, size)


def _from_pillow(given: Image, name: str, max_pixels: int) -> SourceImage:
    image = normalised(given, name, max_pixels)
    digest = hashlib.sha256(f"{image.mode} {image.size}".encode())
    digest.update(image.tobytes())
    return SourceImage(image, digest.hexdigest(), None, given.size)


def _scaled(source: SourceImage, max_side: int | None) -> SourceImage:
    image = source.image if max_side is None else within(source.image, max_side)
    if image is source.image:
        return source
    return replace(source, image=image, scaled_from=source.image.size)
