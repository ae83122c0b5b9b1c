"""Kinds of files, told from their first bytes, and whether a picture came whole.

Owns `inspect_image` (what it is, how large in pixels), `verify_image` (signature, lengths and, for
PNG, chunk checksums) and `is_laborious` (whether a decoder would be kept busy). Never decodes
pixels and never limits their number: pictures of the user's own server may be of any size. Standard
library only, no I/O.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from image_provider import FILE_SUFFIXES

UNKNOWN_TYPE = "application/octet-stream"

_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"II*\0", "image/tiff"),
    (b"MM\0*", "image/tiff"),
    (b"II+\0", "image/tiff"),
    (b"MM\0+", "image/tiff"),
    (b"fLaC", "audio/flac"),
    (b"OggS", "audio/ogg"),
    (b"ID3", "audio/mpeg"),
    (b"glTF", "model/gltf-binary"),
)
_RIFF_TYPES = {b"WEBP": "image/webp", b"WAVE": "audio/wav"}
_FTYP_BRANDS = {
    b"avif": "image/avif",
    b"avis": "image/avif",
    b"heic": "image/heic",
    b"heix": "image/heic",
    b"mif1": "image/heic",
    b"qt  ": "video/quicktime",
    b"M4A ": "audio/mp4",
}
_TYPES_BY_NAME = {
    ".txt": "text/plain",
    ".md": "text/markdown",
    ".csv": "text/csv",
    ".json": "application/json",
    ".obj": "model/obj",
    ".stl": "model/stl",
    ".gltf": "model/gltf+json",
    ".svg": "image/svg+xml",
    ".avi": "video/x-msvideo",
}
"""Kinds that the name tells where the first bytes do not."""
_PICTURE_SUFFIXES = {
    suffix for mime_type, suffix in FILE_SUFFIXES.items() if mime_type.startswith("image/")
} | {".jpeg", ".tif"}
_WEB_PAGE = re.compile(rb"\s*(<!doctype html|<html)[\s>]", re.IGNORECASE)
_EBML = b"\x1aE\xdf\xa3"
_DOCTYPE_REACH = 4096  # the EBML header that holds the DocType is a few dozen bytes
_BMP_HEADERS = frozenset({(12,), (40,), (52,), (56,), (64,), (108,), (124,)})

# A marker is FF and a byte that is no stuffed zero, no restart, no fill byte (ITU T.81, B.1.1).
_JPEG_MARKER = re.compile(rb"\xff([^\x00\x01\xd0-\xd7\xff])")
_JPEG_END = 0xD9
_JPEG_MAX_SEGMENTS = 10_000  # a file made to keep us busy has millions, a real one some dozens
_JPEG_SIZES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_SCAN = 0xDA
# A progressive picture has 10 scans or so. Each costs a walk over all pixels and, where it changes
# nothing, a hundred bytes.
_JPEG_MAX_SCANS = 100
_JPEG_MAX_FILL = 64 * 1024  # bytes between the segments of the header
_MAX_PARTS = 100_000  # chunks of a PNG, blocks before the picture of a GIF
_GIF_EXTENSION, _GIF_PICTURE, _GIF_TRAILER = 0x21, 0x2C, 0x3B


class TruncatedImageError(ValueError):
    """A picture that is cut off or damaged; the message says where, in bytes."""


@dataclass(frozen=True)
class ImageFile:
    """What a file is; width and height in pixels, None where it is no picture or does not say."""

    mime_type: str
    width: int | None = None
    height: int | None = None

    @property
    def suffix(self) -> str:
        """The usual file suffix with its dot; ".bin" for an unknown kind."""
        return FILE_SUFFIXES.get(self.mime_type, ".bin")

    @property
    def is_image(self) -> bool:
        """True for still pictures and GIF, false for video, audio, models and the unknown."""
        return self.mime_type.startswith("image/")


def inspect_image(data: bytes, filename: str = "") -> ImageFile:
    """What `data` is, by its signature; reads headers only and never raises.

    `filename` helps with what has no signature, such as texts.
    """
    mime_type = _mime_type(data)
    if mime_type == UNKNOWN_TYPE:
        mime_type = type_by_name(filename)
    read_size = _SIZE_READERS.get(mime_type)
    size = read_size(data) if read_size is not None else None
    if size is None or min(size) <= 0:
        return ImageFile(mime_type)
    return ImageFile(mime_type, *size)


def type_by_name(filename: str) -> str:
    """The kind that a file's name tells of, for those kinds that the first bytes do not tell."""
    return _TYPES_BY_NAME.get(_suffix(filename), UNKNOWN_TYPE)


def _suffix(filename: str) -> str:
    return filename[filename.rfind(".") :].lower() if "." in filename else ""


def is_another_kind(data: bytes, filename: str) -> bool:
    """True for what cannot be the file of this name: no picture under a picture's, or a web page.

    A proxy's page for signing in comes with status 200, too.
    """
    suffix = _suffix(filename)
    if suffix in _PICTURE_SUFFIXES:
        return not inspect_image(data).is_image
    return suffix not in (".html", ".htm") and _WEB_PAGE.match(data) is not None


def verify_image(data: bytes) -> None:
    """Raises TruncatedImageError for a PNG, JPEG, WebP or GIF that did not come whole.

    Other kinds pass unless they are empty; bytes after the end of a picture are no fault.
    """
    if not data:
        raise TruncatedImageError("the file is empty")
    verify = _VERIFIERS.get(_mime_type(data))
    if verify is not None:
        verify(data)


def _mime_type(data: bytes) -> str:
    for signature, mime_type in _SIGNATURES:
        if data.startswith(signature):
            return mime_type
    if data.startswith(b"RIFF"):
        return _RIFF_TYPES.get(data[8:12], UNKNOWN_TYPE)
    if data[4:8] == b"ftyp":
        return _FTYP_BRANDS.get(data[8:12], "video/mp4")
    if data.startswith(_EBML):
        return "video/webm" if b"webm" in data[:_DOCTYPE_REACH] else "video/x-matroska"
    if data.startswith(b"BM") and _unpack("<I", data, 14) in _BMP_HEADERS:
        return "image/bmp"
    return "audio/mpeg" if _is_mp3_frame(data) else UNKNOWN_TYPE


def _is_mp3_frame(data: bytes) -> bool:
    """True for the header of an MPEG audio frame of layer III, as in an MP3 without tags."""
    header = data[:3]
    return (
        len(header) == 3
        and header[0] == 0xFF
        and header[1] & 0xE6 == 0xE2
        and header[1] & 0x18 != 0x08
        and header[2] & 0xF0 != 0xF0
        and header[2] & 0x0C != 0x0C
    )


def _unpack(layout: str, data: bytes, offset: int) -> tuple[int, ...]:
    """Numbers at `offset`; an empty tuple where the file is too short for them."""
    if offset + struct.calcsize(layout) > len(data):
        return ()
    return struct.unpack_from(layout, data, offset)


def _pair(layout: str, data: bytes, offset: int) -> tuple[int, int] | None:
    numbers = _unpack(layout, data, offset)
    return (numbers[0], numbers[1]) if numbers else None


def _png_size(data: bytes) -> tuple[int, int] | None:
    return _pair(">II", data, 16) if data[12:16] == b"IHDR" else None


def _gif_size(data: bytes) -> tuple[int, int] | None:
    return _pair("<HH", data, 6)


def _bmp_size(data: bytes) -> tuple[int, int] | None:
    if _unpack("<I", data, 14) == (12,):
        return _pair("<HH", data, 18)
    size = _pair("<ii", data, 18)
    # A negative height only says that the rows run from the top down.
    return (size[0], abs(size[1])) if size is not None else None


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    for marker, offset in _jpeg_segments(data):
        if marker in _JPEG_SIZES:
            size = _pair(">HH", data, offset + 5)
            return (size[1], size[0]) if size is not None else None
    return None


def _webp_size(data: bytes) -> tuple[int, int] | None:
    match data[12:16]:
        case b"VP8X":
            numbers = _unpack("<HBHB", data, 24)
            if numbers:
                width, width_high, height, height_high = numbers
                return (width_high << 16) + width + 1, (height_high << 16) + height + 1
        case b"VP8L":
            numbers = _unpack("<I", data, 21)
            if numbers:
                return (numbers[0] & 0x3FFF) + 1, (numbers[0] >> 14 & 0x3FFF) + 1
        case b"VP8 ":
            size = _pair("<HH", data, 26)
            if size is not None:
                return size[0] & 0x3FFF, size[1] & 0x3FFF
    return None


def _tiff_size(data: bytes) -> tuple[int, int] | None:
    """Tags 256 and 257 of the first directory (TIFF 6.0, section 2); None for BigTIFF."""
    order = "<" if data.startswith(b"II") else ">"
    if _unpack(f"{order}H", data, 2) != (42,):
        return None
    (directory,) = _unpack(f"{order}I", data, 4) or (0,)
    (count,) = _unpack(f"{order}H", data, directory) or (0,)
    sides = {}
    for offset in range(directory + 2, directory + 2 + 12 * count, 12):
        tag, kind = _pair(f"{order}HH", data, offset) or (0, 0)
        if tag in (256, 257):
            (sides[tag],) = _unpack(f"{order}{'H' if kind == 3 else 'I'}", data, offset + 8) or (0,)
    return (sides[256], sides[257]) if len(sides) == 2 else None


_SIZE_READERS = {
    "image/png": _png_size,
    "image/jpeg": _jpeg_size,
    "image/webp": _webp_size,
    "image/gif": _gif_size,
    "image/bmp": _bmp_size,
    "image/tiff": _tiff_size,
}


def _verify_png(data: bytes) -> None:
    """Walks the chunks: length, type, data, CRC-32 over type and data (PNG 1.2, section 3)."""
    view = memoryview(data)
    offset, kinds = 8, set()
    while b"IEND" not in kinds:
        (length,) = _unpack(">I", data, offset) or (0,)
        kind, end = data[offset + 4 : offset + 8], offset + 12 + length
        if end > len(data) or len(kind) < 4:
            raise TruncatedImageError(
                f"the PNG is cut off after {len(data):,} bytes, in the chunk at byte {offset:,}"
            )
        if _unpack(">I", data, end - 4) != (zlib.crc32(view[offset + 4 : end - 4]),):
            raise TruncatedImageError(
                f"the PNG is damaged: wrong checksum of the chunk at byte {offset:,}"
            )
        kinds.add(kind)
        offset = end
    if not kinds >= {b"IHDR", b"IDAT"}:
        raise TruncatedImageError("the PNG is damaged: it has no picture in it")


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int]]:
    """(marker, offset of the marker) up to the end of the picture; scans are stepped over."""
    position = 2
    for _ in range(_JPEG_MAX_SEGMENTS):
        match = _JPEG_MARKER.search(data, position)
        if match is None:
            return
        marker = match[1][0]
        yield marker, match.start()
        if marker == _JPEG_END:
            return
        (length,) = _unpack(">H", data, match.end()) or (0,)
        position = match.end() + length


def _verify_jpeg(data: bytes) -> None:
    if all(marker != _JPEG_END for marker, _ in _jpeg_segments(data)):
        raise TruncatedImageError(f"the JPEG is cut off: {len(data):,} bytes without an end marker")


def _verify_webp(data: bytes) -> None:
    (size,) = _unpack("<I", data, 4) or (0,)
    end, offset = 8 + size, 12
    while offset < end <= len(data):
        (length,) = _unpack("<I", data, offset + 4) or (end,)
        offset += 8 + length + length % 2
    if offset != end or end == 12:
        raise TruncatedImageError(
            f"the WebP is cut off or damaged: it has {len(data):,} bytes and tells of {end:,}"
        )


def _verify_gif(data: bytes) -> None:
    """Steps over the blocks up to the trailer (GIF89a, appendix A)."""
    (flags,) = _unpack("B", data, 10) or (0,)
    position = 13 + _gif_table_bytes(flags)
    while (block := _unpack("B", data, position)) != (_GIF_TRAILER,):
        match block:
            case (kind,) if kind == _GIF_EXTENSION:
                position += 2
            case (kind,) if kind == _GIF_PICTURE:
                (flags,) = _unpack("B", data, position + 9) or (0,)
                position += 11 + _gif_table_bytes(flags)
            case _:
                raise TruncatedImageError(
                    f"the GIF is cut off or damaged at byte {min(position, len(data)):,}"
                )
        position = _after_sub_blocks(data, position)


def _gif_table_bytes(flags: int) -> int:
    return 3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0


def _after_sub_blocks(data: bytes, position: int) -> int:
    while position < len(data) and data[position]:
        position += data[position] + 1
    return position + 1


_VERIFIERS = {
    "image/png": _verify_png,
    "image/jpeg": _verify_jpeg,
    "image/webp": _verify_webp,
    "image/gif": _verify_gif,
}


def is_laborious(data: bytes) -> bool:
    """True for a PNG, JPEG or GIF with more parts or scans than any program would write.

    It takes a decoder minutes or hours, however few pixels and bytes it has.
    """
    look = _LABORIOUS.get(_mime_type(data))
    return look is not None and look(data)


def _is_laborious_jpeg(data: bytes) -> bool:
    segments = scans = fill = 0
    expected = 2
    for marker, offset in _jpeg_segments(data):
        segments += 1
        if scans == 0:
            fill += offset - expected
        (length,) = _unpack(">H", data, offset + 2) or (0,)
        expected = offset + 2 + length
        scans += marker == _JPEG_SCAN
    at_end = segments == _JPEG_MAX_SEGMENTS
    return at_end or scans > _JPEG_MAX_SCANS or fill > _JPEG_MAX_FILL


def _is_laborious_png(data: bytes) -> bool:
    offset = 8
    for _ in range(_MAX_PARTS):
        (length,) = _unpack(">I", data, offset) or (len(data),)
        offset += 12 + length
        if offset >= len(data):
            return False
    return True


def _is_laborious_gif(data: bytes) -> bool:
    (flags,) = _unpack("B", data, 10) or (0,)
    position = 13 + _gif_table_bytes(flags)
    in_extension = False
    for _ in range(_MAX_PARTS):
        (byte,) = _unpack("B", data, position) or (_GIF_TRAILER,)
        if in_extension:
            position += byte + 1
            in_extension = byte != 0
        elif byte == _GIF_EXTENSION:
            position += 2
            in_extension = True
        else:
            return False
    return True


_LABORIOUS = {
    "image/png": _is_laborious_png,
    "image/jpeg": _is_laborious_jpeg,
    "image/gif": _is_laborious_gif,
}
