"""The workflow that ComfyUI writes into the pictures it saves.

Owns where it stands: the text chunks of a PNG, animated or not, the EXIF texts of a WebP or JPEG.
Gives JSON text and does not look into it; no pixel is decoded. What a picture can make us unpack is
bounded.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator

KEYWORDS = ("prompt", "workflow")
"""What ComfyUI calls the API-format graph and the editor's document (nodes.py, SaveImage)."""

_PNG = b"\x89PNG\r\n\x1a\n"
_TEXT_CHUNKS = (b"tEXt", b"zTXt", b"iTXt", b"comf")
"""The last one is in animated pictures (SaveAnimatedPNG)."""
_JPEG = b"\xff\xd8\xff"


def is_picture(data: bytes) -> bool:
    """Whether these bytes are a PNG, WebP or JPEG."""
    return data.startswith((_PNG, _JPEG)) or (data[:4] == b"RIFF" and data[8:12] == b"WEBP")


def embedded_workflows(data: bytes, max_bytes: int) -> list[bytes]:
    """What there is as JSON text: the graph, then the editor's document.

    Raises ValueError for a text that unpacks to more than `max_bytes`.
    """
    if data.startswith(_PNG):
        chunks = _text_chunks(data)  # of several under one keyword only the last is unpacked
        texts = {name: _png_text(*chunk, max_bytes) for name, chunk in chunks.items()}
    else:
        texts = dict(_exif_texts(data))
    return [texts[keyword] for keyword in KEYWORDS if keyword in texts]


def _text_chunks(data: bytes) -> dict[str, tuple[bytes, bytes]]:
    """Type and packed text of the chunks that can hold a workflow, by their keyword."""
    chunks = {}
    for kind, body in _png_chunks(data):
        if kind in _TEXT_CHUNKS:
            for name in KEYWORDS:
                if body.startswith(start := name.encode() + b"\0"):
                    chunks[name] = (kind, body[len(start) :])
    return chunks


def _png_text(kind: bytes, rest: bytes, max_bytes: int) -> bytes:
    if kind == b"zTXt":
        return _unpack(rest[1:], max_bytes).decode("latin-1").encode("utf-8")
    if kind == b"iTXt":
        # Flag and method of compression, then language and translated keyword.
        text = rest[2:].split(b"\0", 2)[-1]
        return _unpack(text, max_bytes) if rest[:1] == b"\1" else text
    return rest.decode("latin-1").encode("utf-8")


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Type and body of every chunk, as far as the file is whole."""
    position = len(_PNG)
    while position + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        yield kind, data[position + 8 : position + 8 + length]
        position += length + 12


def _unpack(packed: bytes, max_bytes: int) -> bytes:
    unpacker = zlib.decompressobj()
    try:
        text = unpacker.decompress(packed, max_bytes + 1)
    except zlib.error as error:
        raise ValueError(f"its embedded workflow is damaged ({error})") from error
    if len(text) > max_bytes:
        raise ValueError(f"its embedded workflow is larger than {max_bytes} bytes")
    return text


def _exif_texts(data: bytes) -> Iterator[tuple[str, bytes]]:
    # ComfyUI puts "prompt:{...}" into text tags, each behind and before a zero byte
    # (nodes_images.py); inside a text such words are a user's.
    for keyword in KEYWORDS:
        found = re.search(rb"\0" + keyword.encode() + rb":(\{[^\0]*)", data)
        if found:
            yield keyword, found.group(1)
