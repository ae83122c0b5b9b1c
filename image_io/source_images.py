"""Source and mask images, wherever they come from: fetched safely, verified, normalised.

Owns what a reference may be (http or https URL, data URI, path, file URL, bytes, Pillow image),
the limits, and the way to plain RGB or RGBA pixels without metadata. Knows no provider. Reads one
setting, IMAGE_SOURCE_ROOTS, and only when the caller does not say which folders are open.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, TypeAlias
from urllib.parse import unquote, unquote_to_bytes

from config import Config
from image_io.formats import inspect_image
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
MAX_PIXELS = 64 * 1024 * 1024
FETCH_SECONDS = 60.0

_PILLOW_FORMATS = {
    "image/png": "PNG",
    "image/jpeg": "JPEG",
    "image/webp": "WEBP",
    "image/gif": "GIF",
    "image/bmp": "BMP",
    "image/tiff": "TIFF",
}
_INSTEAD = "pass the picture itself instead: its bytes, or a path"


_UNNAMED_SCHEME = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)
_ORIENTATION = 0x0112  # the EXIF tag; how to turn the picture upright, by its value
_UPRIGHT: dict[object, str] = {
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}


class _Roots(Enum):
    FROM_SETTINGS = "IMAGE_SOURCE_ROOTS"


FROM_SETTINGS: Final = _Roots.FROM_SETTINGS
Roots: TypeAlias = "tuple[Path, ...] | None | Literal[_Roots.FROM_SETTINGS]"
"""Folders open to local paths: None = any, empty = none, FROM_SETTINGS = IMAGE_SOURCE_ROOTS."""


def as_roots(folders: object) -> Roots:
    """Roots as a caller gives them: one folder or several, each a text or a path."""
    if folders is None or isinstance(folders, _Roots):
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


@dataclass(frozen=True)
class SourceImage:
    """A picture that was decoded whole.

    `image` is RGB, or RGBA where something in it is transparent, upright and without metadata.
    `sha256` is of the file as it came; of the pixels for a Pillow image, whose `mime_type` is None.
    `original_size` is (width, height) in pixels as stored, before the picture was turned upright.
    """

    image: Image = field(repr=False)
    sha256: str
    mime_type: str | None
    original_size: tuple[int, int]


def load_source(
    reference: object,
    *,
    roots: Roots = FROM_SETTINGS,
    what: str = "source image",
    session: HttpSession | None = None,
    max_bytes: int = MAX_BYTES,
    max_pixels: int = MAX_PIXELS,
) -> SourceImage:
    """The picture that `reference` names or is; `what` stands for it in errors.

    A reference is an http or https URL, a data URI, a file URL, a path, bytes or a Pillow image.
    URLs are fetched from the public internet only, unless a `session` is given. Raises
    InvalidRequestError, and ProviderUnavailableError when the host of a URL cannot be reached.
    """
    from PIL import Image as PillowImage

    if isinstance(reference, PillowImage.Image):
        return _from_pillow(reference, f"{what} (the given image)", max_pixels)
    if isinstance(reference, str) and _scheme(reference) in ("http", "https"):
        name, data = _fetch(reference.strip(), what, session, max_bytes)
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
    return _from_file(data, name, max_pixels)


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


def _fetch(url: str, what: str, session: HttpSession | None, max_bytes: int) -> tuple[str, bytes]:
    from image_io.http import HttpSession, shown_url

    used = session or HttpSession(what, guarded=True)
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
        raise InvalidRequestError(f"{error}; {_INSTEAD}", status=error.status) from error
    finally:
        if session is None:
            used.close()
    return f"{what} {shown_url(url)}", response.body


def _status_error(what: str, response: HttpResponse) -> ImageGenerationError:
    from image_io.http import shown_url

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
    from PIL import Image as PillowImage

    told = inspect_image(data)
    format_name = _PILLOW_FORMATS.get(told.mime_type)
    if format_name is None:
        raise InvalidRequestError(_not_a_picture(data, name, told.mime_type))
    if told.width is None or told.height is None:
        raise _damaged(name)
    _check_pixels(told.width, told.height, name, max_pixels)
    try:
        opened = PillowImage.open(BytesIO(data), formats=[format_name])
    except Exception as error:
        raise _damaged(name) from error
    with opened:
        image = _normalised(opened, name, max_pixels)
    size = (told.width, told.height)
    return SourceImage(image, hashlib.sha256(data).hexdigest(), told.mime_type, size)


def _from_pillow(given: Image, name: str, max_pixels: int) -> SourceImage:
    image = _normalised(given, name, max_pixels)
    digest = hashlib.sha256(f"{image.mode} {image.size}".encode())
    digest.update(image.tobytes())
    return SourceImage(image, digest.hexdigest(), None, given.size)


def _not_a_picture(data: bytes, name: str, mime_type: str) -> str:
    if not data:
        return f"{name} is empty; give a picture file"
    kind = "a web page or other text" if data.lstrip()[:1] in (b"<", b"{") else mime_type
    return (
        f"{name} is {kind}, not a picture of a kind that is read here; give a PNG, JPEG, WebP, "
        "GIF, BMP or TIFF file"
    )


def _damaged(name: str) -> InvalidRequestError:
    return InvalidRequestError(
        f"{name} is cut off or damaged, so its pixels cannot be read; save or download it again"
    )


def _check_pixels(width: int, height: int, name: str, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise InvalidRequestError(
            f"{name} has {width}×{height} pixels, more than the {max_pixels:,} allowed; scale it "
            "down first"
        )
    if width * height == 0:
        raise InvalidRequestError(f"{name} has no pixels ({width}×{height})")


def _normalised(opened: Image, name: str, max_pixels: int) -> Image:
    """A copy that is RGB or RGBA, upright and without metadata; decodes whole or raises."""
    # Once more: what Pillow will decode can differ from what the first header told.
    _check_pixels(*opened.size, name, max_pixels)
    try:
        image = _to_rgb(opened)
    except Exception as error:
        raise _damaged(name) from error
    image.info = {}
    return _upright(image, _orientation(opened))


def _to_rgb(image: Image) -> Image:
    if image.mode == "F" or image.mode.startswith("I"):
        return _to_8_bit(image).convert("RGB")
    if image.mode[-1] not in "Aa" and "transparency" not in image.info:
        return image.convert("RGB")
    with_alpha = image.convert("RGBA")
    opaque = with_alpha.getchannel("A").getextrema() == (255, 255)
    return with_alpha.convert("RGB") if opaque else with_alpha


def _to_8_bit(image: Image) -> Image:
    """Grey of 16 bits by its high byte, floats from 0 to 1 by their share of 255."""
    import numpy
    from PIL import Image as PillowImage

    values = numpy.asarray(image)
    scaled = numpy.nan_to_num(values) * 255.0 if image.mode == "F" else values // 256
    return PillowImage.fromarray(scaled.clip(0, 255).astype(numpy.uint8))


def _upright(image: Image, orientation: object) -> Image:
    from PIL.Image import Transpose

    turn = _UPRIGHT.get(orientation)
    return image if turn is None else image.transpose(Transpose[turn])


def _orientation(image: Image) -> object:
    if image.format == "TIFF":
        return None  # Pillow turns these itself, and up to 10.0 leaves the tag as it was
    try:
        return image.getexif().get(_ORIENTATION)
    except Exception:
        logger.debug("EXIF data that cannot be read; taken as upright", exc_info=True)
        return None
