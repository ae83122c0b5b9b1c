"""Pictures of strangers, and the references that name one: data URIs, file URLs, paths."""

from __future__ import annotations

import base64
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any

from requests import Response
from requests.adapters import HTTPAdapter
from urllib3 import HTTPResponse

from image_io.formats import (
    TruncatedImageError,
    inspect_image,
    is_another_kind,
    is_laborious,
    verify_image,
)
from image_io.http import HttpSession
from image_io.pixels import decoded
from image_io.source_images import as_hosts, file_url_path, load_source
from image_provider import InvalidRequestError
from tests.fuzzing import seeds
from tests.fuzzing.target import Target

MOST_PIXELS = 1_000_000


def _picture_header(data: bytes) -> None:
    told = inspect_image(data, "a.png")
    assert told.mime_type
    assert is_laborious(data) in (True, False)
    assert is_another_kind(data, "a.webp") in (True, False)
    verify_image(data)


def _picture(data: bytes) -> None:
    image, told = decoded(data, "the picture", MOST_PIXELS)
    assert image.mode in ("RGB", "RGBA")
    assert told.mime_type.startswith("image/")


def _data_uri(data: bytes) -> None:
    load_source(
        "data:" + data.decode("utf-8", "surrogateescape"),
        roots=(),
        max_side=64,
        max_bytes=100_000,
        max_pixels=MOST_PIXELS,
    )


class _Redirecting(HTTPAdapter):
    """Sends each request on to the next place of a list, the last one to a picture."""

    def __init__(self, places: list[str]) -> None:
        super().__init__()
        self._places = places

    def send(self, request: Any, *args: Any, **options: Any) -> Response:
        """A redirect or a picture, read as if it had come over a socket."""
        if self._places:
            place = self._places.pop(0).encode("utf-8", "surrogateescape").decode("latin-1")
            raw = HTTPResponse(BytesIO(), {"Location": place}, 302, preload_content=False)
        else:
            raw = HTTPResponse(BytesIO(seeds.png()), {}, 200, preload_content=False)
        return self.build_response(request, raw)


def _url(data: bytes) -> None:
    """A URL, and in the lines below it where its host sends us."""
    first, *places = data.decode("utf-8", "surrogateescape").split("\n")
    session = HttpSession("source image", guarded=True)
    for scheme in ("http://", "https://"):
        session._session.mount(scheme, _Redirecting(places))
    load_source(f"http:{first}", session=session, max_side=None)


def _hosts(data: bytes) -> None:
    as_hosts(data.decode("utf-8", "surrogateescape").split(","))


def _file_url(data: bytes) -> None:
    """No local file is opened for somebody who may open none."""
    text = "file:" + data.decode("utf-8", "surrogateescape")
    for windows in (True, False):
        with suppress(ValueError):
            assert isinstance(file_url_path(text, windows), str)
    for roots in ((), (Path("/nowhere/at/all"),)):
        try:
            load_source(text, roots=roots, max_side=None)
        except InvalidRequestError as error:
            refused = error
        else:
            raise AssertionError("a file was opened")
    raise refused


def _path(data: bytes) -> None:
    """The same by a path; a URL would be fetched, which is another matter."""
    text = "./" + data.decode("utf-8", "surrogateescape")
    load_source(text, roots=(Path("/nowhere/at/all"),), max_side=None)


def _data_uris() -> list[bytes]:
    png = seeds.png()
    plain, safe = base64.b64encode(png), base64.urlsafe_b64encode(png)
    escaped = "".join(f"%{byte:02x}" for byte in png).encode("ascii")
    return [
        b"image/png;base64," + plain,
        b"image/png;charset=x; BASE64," + safe.rstrip(b"="),
        b"image/png," + escaped,
    ]


def _references() -> list[bytes]:
    return [
        b"///etc/passwd",
        b"//localhost/C:/a.png",
        b"//server/share/../../a%20b.png",
        b"///nowhere/at/all/../../../etc/passwd",
    ]


def _urls() -> list[bytes]:
    return [
        b"//example.org/a.png",
        b"//user:password@[2001:db8::1]:80/a%20b?x=y#z",
        b"//example.org/a\n../b.png?x\nhttps://cdn.example.org:443/c.png",
        "//bücher.example/ä.png\n//other.example/ö.png".encode(),
    ]


_REFUSALS = (InvalidRequestError,)
TARGETS = (
    Target(
        "picture_header", _picture_header, seeds.pictures, (TruncatedImageError,), is_json=False
    ),
    Target("picture", _picture, seeds.pictures, _REFUSALS, is_json=False),
    Target("data_uri", _data_uri, _data_uris, _REFUSALS, is_json=False),
    Target("source_url", _url, _urls, _REFUSALS, is_json=False),
    Target(
        "source_hosts",
        _hosts,
        lambda: [b"localhost:8000,files.lan", b"[::1]:9,10.0.0.1"],
        (ValueError,),
        is_json=False,
    ),
    Target("file_url", _file_url, _references, _REFUSALS, is_json=False),
    Target("path", _path, _references, _REFUSALS, is_json=False),
)
