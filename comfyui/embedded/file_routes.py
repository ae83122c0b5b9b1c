"""The HTTP routes about files: /view, /upload/image and /upload/mask.

Owns the rules of names, folders and channels as the recordings view, upload_variants and
inpaint_upload_mask show them. A wrong `type` of an upload and a missing `original_ref` raise and
so answer 500, as in ComfyUI.
"""

from __future__ import annotations

import contextlib
import json
import mimetypes
import os
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

from aiohttp import web
from aiohttp.web_request import FileField
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from comfyui.embedded.files import Folders, is_inside
from comfyui.embedded.stats import ServerStats

_DEFAULT_QUALITY = 90
_NEVER_SHOWN = frozenset({"text/html", "application/xhtml+xml", "text/javascript", "text/css"})
"""Types that are sent as a download, so that a browser does not run them."""


class FileApi:
    """The handlers; one instance a server."""

    def __init__(self, folders: Folders, stats: ServerStats) -> None:
        self._folders = folders
        self._stats = stats

    def routes(self) -> list[web.RouteDef]:
        """All routes of this module, without their /api twins."""
        return [
            web.get("/view", self.view),
            web.post("/upload/image", self.upload_image),
            web.post("/upload/mask", self.upload_mask),
        ]

    async def view(self, request: web.Request) -> web.StreamResponse:
        """A file of one of the folders, whole or as a preview or channel."""
        self._stats.views += 1
        if "filename" not in request.query:
            return web.Response(status=404)
        query = request.query
        found = self._locate(query["filename"], query.get("type"), query.get("subfolder"))
        if isinstance(found, int):
            return web.Response(status=found)
        if not found.is_file():
            return web.Response(status=404)
        if "preview" in query:
            return _preview(found, query["preview"], query.get("channel", ""))
        match query.get("channel"):
            case "rgb":
                return _rgb(found)
            case "a":
                return _alpha(found)
        return _whole(found)

    async def upload_image(self, request: web.Request) -> web.Response:
        """Store a file as it is."""
        post = await request.post()
        with _closing_files(post):
            return self._upload(post, _write_upload)

    async def upload_mask(self, request: web.Request) -> web.Response:
        """Store a copy of an earlier file with the alpha of this one."""
        post = await request.post()
        with _closing_files(post):
            return self._upload(post, partial(self._write_masked, post))

    def _locate(self, name: str, folder_type: str | None, subfolder: str | None) -> Path | int:
        """Where a name points, or the status that refuses it."""
        filename, folder = self._folders.annotated(name)
        if not filename or filename[0] == "/" or ".." in filename:
            return 400
        base = folder or self._folders.find(folder_type or "output")
        if base is None:
            return 400
        target = base / subfolder if subfolder else base
        if not is_inside(base, target):
            return 403
        return target / os.path.basename(filename)

    def _upload(
        self, post: Mapping[str, Any], write: Callable[[FileField, Path], None]
    ) -> web.Response:
        self._stats.uploads += 1
        folder_type = post.get("type") or "input"
        base = self._folders.path(folder_type)
        image = post.get("image")
        if not image or not image.filename:
            return web.Response(status=400)
        subfolder = post.get("subfolder", "")
        folder = Path(os.path.normpath(base / subfolder))
        if not is_inside(base, folder / image.filename):
            return web.Response(status=400)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / image.filename
        if post.get("overwrite") not in ("true", "1"):
            path = _free_name(path, image)
        if path.exists() and _same_bytes(path, image):
            return _uploaded(path.name, subfolder, folder_type)
        write(image, path)
        return _uploaded(path.name, subfolder, folder_type)

    def _write_masked(self, post: Mapping[str, Any], image: FileField, path: Path) -> None:
        reference = json.loads(post.get("original_ref"))  # type: ignore[arg-type]
        original = self._locate(
            reference["filename"], reference.get("type"), reference.get("subfolder")
        )
        if isinstance(original, int) or not original.is_file():
            return  # the real one too answers 200 and writes nothing
        with Image.open(original) as source, Image.open(image.file) as mask:
            text = PngInfo()
            for key, value in getattr(source, "text", {}).items():
                text.add_text(key, value)
            masked = source.convert("RGBA")
            masked.putalpha(mask.convert("RGBA").getchannel("A"))
            masked.save(path, compress_level=1, pnginfo=text)


@contextlib.contextmanager
def _closing_files(post: Mapping[str, Any]) -> Iterator[None]:
    """aiohttp 3.9 leaves the temporary files of a form to its user."""
    try:
        yield
    finally:
        for value in post.values():
            if isinstance(value, FileField):
                value.file.close()


def _uploaded(name: str, subfolder: str, folder_type: str) -> web.Response:
    return web.json_response({"name": name, "subfolder": subfolder, "type": folder_type})


def _write_upload(image: FileField, path: Path) -> None:
    path.write_bytes(image.file.read())


def _free_name(path: Path, image: FileField) -> Path:
    """The name itself if it is free or holds the same bytes, else "name (1).png" and so on."""
    candidate, number = path, 0
    while candidate.exists() and not _same_bytes(candidate, image):
        number += 1
        candidate = path.with_name(f"{path.stem} ({number}){path.suffix}")
    return candidate


def _same_bytes(path: Path, image: FileField) -> bool:
    content = image.file.read()
    image.file.seek(0)
    return path.read_bytes() == content


def _disposition(path: Path) -> dict[str, str]:
    return {"Content-Disposition": f'filename="{path.name}"'}


def _whole(path: Path) -> web.FileResponse:
    content_type = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    if content_type in _NEVER_SHOWN:
        content_type = "application/octet-stream"
    return web.FileResponse(path, headers={**_disposition(path), "Content-Type": content_type})


def _preview(path: Path, wanted: str, channel: str) -> web.Response:
    parts = wanted.split(";")
    image_format = parts[0] if parts[0] in ("webp", "jpeg") and "a" not in channel else "webp"
    quality = int(parts[-1]) if parts[-1].isdigit() else _DEFAULT_QUALITY
    with Image.open(path) as image:
        opaque = image_format == "jpeg" or channel == "rgb"
        return _encoded(image.convert("RGB") if opaque else image, image_format, path, quality)


def _rgb(path: Path) -> web.Response:
    with Image.open(path) as image:
        return _encoded(image.convert("RGB"), "png", path)


def _alpha(path: Path) -> web.Response:
    with Image.open(path) as image:
        alpha = Image.new("RGBA", image.size)
        opaque = Image.new("L", image.size, 255)
        alpha.putalpha(image.getchannel("A") if image.mode == "RGBA" else opaque)
        return _encoded(alpha, "png", path)


def _encoded(
    image: Image.Image, image_format: str, path: Path, quality: int = _DEFAULT_QUALITY
) -> web.Response:
    buffer = BytesIO()
    image.save(buffer, format=image_format, quality=quality)
    return web.Response(
        body=buffer.getvalue(), content_type=f"image/{image_format}", headers=_disposition(path)
    )
