"""Good inputs, from the recorded answers, workflows and pictures of `tests/data`."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

DATA = Path(__file__).resolve().parents[1] / "data"


def read(path: str) -> Any:
    """A document of the test data."""
    return json.loads((DATA / path).read_text(encoding="utf-8"))


@cache
def recordings() -> tuple[list[dict[str, Any]], ...]:
    """The log of each recording: messages and exchanges in their order."""
    files = sorted(DATA.glob("recordings/**/*.json")) + sorted(DATA.glob("transcripts/*.json"))
    documents = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    return tuple(document["log"] for document in documents if "log" in document)


def exchanges(start: str, status: int = 200) -> Iterator[dict[str, Any]]:
    """The recorded exchanges with JSON whose request begins so, "GET /queue", each answer once."""
    seen: set[str] = set()
    for log in recordings():
        for entry in log:
            is_wanted = entry.get("http", "").startswith(start) and entry.get("status") == status
            if is_wanted and "json" in entry and (text := json.dumps(entry["json"])) not in seen:
                seen.add(text)
                yield entry


def answers(start: str, status: int = 200) -> list[bytes]:
    """The recorded answers as bytes, the short ones first."""
    found = (json.dumps(entry["json"]).encode("ascii") for entry in exchanges(start, status))
    return sorted(found, key=len)[:40]


@cache
def graphs() -> tuple[dict[str, Any], ...]:
    """Workflows in API format, of the hand and those that come with the library."""
    bundled = DATA.parents[1] / "workflows" / "comfyui"
    files = sorted(DATA.glob("workflows/*.json")) + sorted(bundled.glob("*.json"))
    documents = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    return tuple(
        document
        for document in documents
        if all(isinstance(node, dict) and "class_type" in node for node in document.values())
    )


@cache
def editor_files() -> tuple[dict[str, Any], ...]:
    """Workflows in the editor's format."""
    names = [path for path in sorted(DATA.glob("ui_format/*.json")) if "." not in path.stem]
    documents = [json.loads(path.read_text(encoding="utf-8")) for path in names]
    return tuple(document for document in documents if "nodes" in document)


@cache
def node_classes() -> dict[str, Any]:
    """Entries of /object_info that the workflows of the test data need."""
    merged: dict[str, Any] = {}
    for name in ("bundled_nodes", "custom_nodes", "0.26.0"):
        merged.update(read(f"object_info/{name}.json"))
    own = read("workflows/object_info.json"), read("ui_format/object_info.0.26.0.json")
    return {**own[0], **merged, **own[1]}


def png(size: tuple[int, int] = (5, 4), mode: str = "RGB", **options: Any) -> bytes:
    """A small picture."""
    return picture("PNG", size, mode, **options)


def picture(kind: str, size: tuple[int, int] = (5, 4), mode: str = "RGB", **options: Any) -> bytes:
    """A small picture of a format by Pillow's name."""
    stream = BytesIO()
    Image.radial_gradient("L").resize(size).convert(mode).save(stream, kind, **options)
    return stream.getvalue()


def workflow_pictures() -> list[bytes]:
    """Pictures as ComfyUI writes them, with a workflow in each of the ways."""
    graph, editor = json.dumps(graphs()[0]), json.dumps(editor_files()[0])
    found = []
    for add in ("plain", "packed", "international", "international packed"):
        info = PngInfo()
        for key, text in (("prompt", graph), ("workflow", editor)):
            if add.startswith("international"):
                info.add_itxt(key, text, zip=add.endswith("packed"))
            else:
                info.add_text(key, text, zip=add == "packed")
        found.append(png(pnginfo=info))
    found.append(_with_chunk(png(), b"comf", b"prompt\0" + graph.encode()))
    exif = Image.Exif()
    exif[0x0110], exif[0x010F] = f"prompt:{graph}", f"workflow:{editor}"
    found += [picture(kind, exif=exif) for kind in ("WEBP", "JPEG")]
    return found


def _with_chunk(data: bytes, kind: bytes, body: bytes) -> bytes:
    checksum = struct.pack(">I", zlib.crc32(kind + body))
    return data[:33] + struct.pack(">I", len(body)) + kind + body + checksum + data[33:]


def pictures() -> list[bytes]:
    """Small pictures of every format and of the modes that are a case of their own."""
    frames = [Image.new("L", (5, 4), shade) for shade in (0, 90, 250)]
    exif = Image.Exif()
    exif[0x0112] = 6
    return [
        png(),
        png(mode="P"),
        png(mode="LA"),
        png(mode="I;16"),
        png(mode="1"),
        png(mode="P", transparency=3),
        png(exif=exif),
        picture("JPEG", exif=exif),
        picture("JPEG", mode="CMYK"),
        picture("JPEG", progressive=True),
        picture("WEBP"),
        picture("WEBP", mode="RGBA", lossless=True, exif=exif),
        picture("GIF"),
        picture("GIF", mode="L", save_all=True, append_images=frames),
        picture("WEBP", save_all=True, append_images=frames),
        picture("BMP"),
        picture("TIFF"),
        picture("TIFF", compression="tiff_lzw"),
        picture("TIFF", mode="CMYK", compression="tiff_deflate"),
    ]
