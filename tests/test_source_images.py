"""Source and mask images from every kind of reference, and what is made of them."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from image_io import source_images
from image_io.http import HttpSession
from image_io.masks import (
    encode_for_comfyui,
    encode_png,
    fit_size,
    flatten,
    mask_of,
    resize_to,
    upload_name,
)
from image_io.source_images import (
    FROM_SETTINGS,
    SourceImage,
    as_max_side,
    as_roots,
    file_url_path,
    load_source,
)
from image_provider import InvalidRequestError, ProviderUnavailableError

WIDTH, HEIGHT = 30, 20
FORMATS = ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"]


def picture(width: int = WIDTH, height: int = HEIGHT) -> Image.Image:
    gradient = Image.linear_gradient("L").resize((width, height))
    return Image.merge("RGB", (gradient, gradient.rotate(90), gradient.rotate(180)))


def encoded(image: Image.Image | None = None, format_name: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    (image or picture()).save(buffer, format_name, **options)
    return buffer.getvalue()


def half_transparent() -> Image.Image:
    """Blue everywhere; the left half is transparent."""
    image = Image.new("RGBA", (WIDTH, HEIGHT), (0, 0, 255, 255))
    image.paste((10, 20, 30, 0), (0, 0, WIDTH // 2, HEIGHT))
    return image


def same(first: Image.Image, second: Image.Image) -> bool:
    return (first.mode, first.size, first.tobytes()) == (second.mode, second.size, second.tobytes())


def loaded(image: Image.Image) -> SourceImage:
    return load_source(encoded(image))


# --- where a picture may come from ---


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a picture with ünïcode #1.png"
    path.write_bytes(encoded())
    return path


def references(path: Path) -> dict[str, object]:
    data = path.read_bytes()
    text = base64.b64encode(data).decode()
    return {
        "path as text": str(path),
        "path object": path,
        "relative path": path.name,
        "file URL": path.as_uri(),
        "file URL with a host": path.as_uri().replace("file:///", "file://localhost/"),
        "data URI": f"data:image/png;base64,{text}",
        "data URI of the wrong type": f"data:text/plain;charset=utf-8;base64,{text}",
        "data URI in capitals, URL-safe, unpadded": "DATA:;BASE64,"
        + base64.urlsafe_b64encode(data).decode().rstrip("="),
        "data URI in percent encoding": f"data:image/png,{quote(data)}",
        "data URI with base64 in percent encoding": f"data:;base64,{quote(text, safe='')}",
        "data URI in lines": f" data:image/png;base64,\r\n{text[:40]}\r\n{text[40:]}\n",
        "bytes": data,
        "bytearray": bytearray(data),
        "memoryview": memoryview(data),
    }


KINDS = list(references(Path(__file__)))


@pytest.mark.parametrize("kind", KINDS)
def test_picture_is_loaded_from_every_kind_of_reference(kind, file):
    source = load_source(references(file)[kind])
    assert same(source.image, picture())
    assert source.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert source.mime_type == "image/png"
    assert source.original_size == (WIDTH, HEIGHT)


def test_pillow_image_is_copied_and_hashed_by_its_pixels():
    given_image = picture()
    source = load_source(given_image)
    assert same(source.image, given_image)
    assert source.mime_type is None
    assert source.sha256 == load_source(picture()).sha256
    assert source.sha256 != load_source(picture().rotate(180)).sha256
    source.image.putpixel((0, 0), (1, 2, 3))
    assert same(given_image, picture())


def refusal(reference: object, **options) -> str:
    with pytest.raises(InvalidRequestError) as caught:
        load_source(reference, **options)
    return str(caught.value)


def test_missing_file_is_named_as_the_caller_gave_it():
    message = refusal("photos/cat.png", what="mask image")
    assert message.startswith('mask image "photos/cat.png" does not exist')
    assert os.getcwd() not in message


def test_folder_is_refused(tmp_path):
    assert "is a folder" in refusal(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_named_pipe_is_refused_without_waiting_for_a_writer(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    assert "no file" in refusal(tmp_path / "pipe.png")


@pytest.mark.parametrize("reference", ["", "\0.png", "a\0b", "file://", "file:///%00"])
def test_text_that_is_no_path_is_refused(reference):
    assert "is not a path" in refusal(reference)


def test_file_named_like_a_scheme_is_a_path(tmp_path):
    for name in ("data", "http", "file"):
        (tmp_path / name).write_bytes(encoded())
        assert same(load_source(name).image, picture())


def test_very_long_path_is_refused_with_a_short_message():
    message = refusal("x" * 100_000)
    assert len(message) < 400


def test_control_characters_of_a_reference_do_not_reach_the_message():
    assert "\x1b" not in refusal("evil\x1b[2J.png")


@pytest.mark.parametrize("reference", ["ftp://host/a.png", "gopher://host", "ws://host/a"])
def test_other_schemes_are_refused(reference):
    assert "only http, https, data and file" in refusal(reference)


def test_other_types_are_refused():
    assert "a int is no picture" in refusal(3)


@pytest.mark.parametrize(
    ("uri", "problem"),
    [
        ("data:image/png;base64", "no comma"),
        ("data:image/png;base64,????", "not valid base64"),
        ("data:image/png;base64,A", "not valid base64"),
        ("data:image/png;base64,ä", "not valid base64"),
        ("data:,\ud800", "not valid base64"),
        ("data:image/png;base64,", "is empty"),
        ("data:,hello", "application/octet-stream"),
    ],
)
def test_broken_data_uri_is_refused_without_being_shown(uri, problem):
    message = refusal(uri)
    assert message.startswith("source image (the data URI)")
    assert problem in message


def test_data_uri_of_endless_escapes_is_refused(monkeypatch):
    """Each becomes an object of its own; a whole file of them takes gigabytes."""
    monkeypatch.setattr(source_images, "_MAX_ESCAPES", 1000)
    assert "encode it in base64 instead" in refusal("data:," + "%41" * 1001)
    assert "octet-stream" in refusal("data:," + "%41" * 1000)


@given(st.text(max_size=200), st.sampled_from(["data:", "data:;base64,", "data:image/png,", ""]))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_text_raises_anything_but_an_invalid_request(text, start):
    assume(not text.lower().lstrip().startswith("http"))  # a host may be unknown today alone
    with pytest.raises(InvalidRequestError):
        load_source(start + text, roots=())


@given(st.binary(min_size=1, max_size=200), st.booleans(), st.booleans())
def test_data_uri_gives_back_the_bytes_it_was_made_of(data, as_base64, padded):
    from image_io.source_images import _decode_data_uri

    text = base64.b64encode(data).decode()
    text = text if padded else text.rstrip("=")
    uri = f"data:image/png;base64,{text}" if as_base64 else f"data:,{quote(data)}"
    assert _decode_data_uri(uri, "it", 1000) == data


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("file:///C:/My%20Pictures/a.png", "C:/My Pictures/a.png"),
        ("file://C:/a.png", "C:/a.png"),
        ("file:C:/a.png", "C:/a.png"),
        ("file://localhost/d:/a.png", "d:/a.png"),
        ("file://server/share/a.png", "//server/share/a.png"),
        ("FILE:///c:/100%25%23.png", "c:/100%#.png"),
    ],
)
def test_file_url_of_windows_becomes_a_windows_path(url, path):
    assert file_url_path(url, windows=True) == path


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("file:///home/a%20b.png", "/home/a b.png"),
        ("file://localhost/a.png", "/a.png"),
        ("file:/a.png", "/a.png"),
        ("file:///C:/a.png", "/C:/a.png"),
        ("file:///a#1?.png", "/a#1?.png"),
        ("file:///%ff.png", "/\udcff.png"),
    ],
)
def test_file_url_of_unix_becomes_a_path(url, path):
    assert file_url_path(url, windows=False) == path


def test_file_url_of_another_computer_is_an_error():
    with pytest.raises(ValueError, match="another computer, server"):
        file_url_path("file://server/share/a.png", windows=False)


# --- which local paths are open ---


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    for name in ("open", "open/below", "closed"):
        (tmp_path / name).mkdir()
    for name in ("open/a.png", "open/below/b.png", "closed/secret.png"):
        (tmp_path / name).write_bytes(encoded())
    return tmp_path


@pytest.mark.parametrize(
    "name", ["open/a.png", "open/below/b.png", "open/below/../a.png", "closed/../open/a.png"]
)
def test_file_inside_an_open_folder_is_loaded(folders, name):
    for reference in (folders / name, name, f"file:{quote((folders / name).as_posix())}"):
        roots = (folders / "elsewhere", folders / "open")
        assert same(load_source(reference, roots=roots).image, picture())


@pytest.mark.parametrize(
    "name", ["closed/secret.png", "open/../closed/secret.png", "open", "closed/no.png", "openly"]
)
def test_path_outside_of_the_open_folders_is_refused_whether_it_exists_or_not(folders, name):
    (folders / "openly").write_bytes(encoded())
    roots = (folders / "open" / "below",) if name == "open" else (folders / "open",)
    message = refusal(name, roots=roots)
    assert message.startswith(f'source image "{name}" is outside of the folders that are open')
    assert str(folders) not in message


def test_symlink_out_of_an_open_folder_is_refused(folders):
    link = folders / "open" / "link.png"
    try:
        link.symlink_to(folders / "closed" / "secret.png")
    except OSError:
        pytest.skip("symlinks need a privilege here")
    assert "outside of the folders" in refusal(link, roots=(folders / "open",))
    assert same(load_source(link, roots=(folders,)).image, picture())


def test_loop_of_symlinks_is_refused(folders):
    loop = folders / "open" / "loop.png"
    try:
        loop.symlink_to(loop)
    except OSError:
        pytest.skip("symlinks need a privilege here")
    assert "loop.png" in refusal(loop, roots=(folders / "open",))
    assert "loop.png" in refusal(loop, roots=None)


def test_open_folder_may_itself_be_reached_through_a_symlink(folders):
    try:
        (folders / "alias").symlink_to(folders / "open", target_is_directory=True)
    except OSError:
        pytest.skip("symlinks need a privilege here")
    source = load_source(folders / "alias" / "a.png", roots=(folders / "alias",))
    assert same(source.image, picture())


def test_no_open_folder_refuses_paths_and_takes_bytes(folders):
    assert "local files are not accepted" in refusal("open/a.png", roots=())
    assert same(load_source(encoded(), roots=()).image, picture())


def test_setting_decides_when_the_caller_does_not(folders, monkeypatch):
    assert same(load_source("closed/secret.png").image, picture())
    monkeypatch.setenv("IMAGE_SOURCE_ROOTS", os.pathsep.join([str(folders / "open"), "more"]))
    assert "outside of the folders" in refusal("closed/secret.png")
    assert same(load_source("open/a.png").image, picture())
    monkeypatch.setenv("IMAGE_SOURCE_ROOTS", "")
    assert "local files are not accepted" in refusal("open/a.png")


def test_caller_outweighs_the_setting(folders, monkeypatch):
    monkeypatch.setenv("IMAGE_SOURCE_ROOTS", "")
    assert same(load_source("open/a.png", roots=None).image, picture())


# --- URLs ---


@dataclass
class PictureHost:
    """A web server on loopback: what it answers by path, and what it was asked."""

    answers: dict[str, tuple[int, dict[str, str], bytes]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    url: str = ""


@contextlib.contextmanager
def serving() -> Iterator[PictureHost]:
    host = PictureHost()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            host.asked.append(self.path)
            status, headers, body = host.answers.get(self.path.partition("?")[0], (404, {}, b""))
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    host.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield host
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def picture_host() -> Iterator[PictureHost]:
    with serving() as host:
        host.answers["/cat.png"] = (200, {"Content-Type": "text/plain"}, encoded())
        yield host


@pytest.fixture
def session() -> Iterator[HttpSession]:
    unguarded = HttpSession("source image")
    yield unguarded
    unguarded.close()


def test_picture_is_fetched_from_a_url(picture_host, session):
    source = load_source(f" {picture_host.url}/cat.png?size=1#top ", session=session)
    assert same(source.image, picture())
    assert picture_host.asked == ["/cat.png?size=1"]


def test_url_on_this_machine_is_refused_before_anything_is_sent(picture_host):
    port = picture_host.url.rpartition(":")[2]
    for host in ("127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "2130706433", "0"):
        message = refusal(f"http://{host}:{port}/cat.png?token=secret")
        assert f"http://{host}:{port}/cat.png is not on the public internet" in message
        assert "bytes, or a path" in message
        assert "secret" not in message
    assert picture_host.asked == []


@pytest.mark.parametrize(
    "host", ["10.0.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "[fe80::1]", "[fd00::1]"]
)
def test_private_addresses_are_refused(host):
    assert "not on the public internet" in refusal(f"http://{host}/cat.png")


def test_redirect_to_this_machine_is_refused_by_a_guarded_session(picture_host):
    """The first hop is let through by hand, as a public host would be."""
    picture_host.answers["/away"] = (302, {"Location": f"{picture_host.url}/cat.png"}, b"")
    guarded = HttpSession("source image", guarded=True)
    adapter = guarded._session.get_adapter("http://")
    adapter.send = first_hop_free(adapter.send)
    message = refusal(f"{picture_host.url}/away", session=guarded)
    guarded.close()
    assert f"{picture_host.url}/cat.png is not on the public internet" in message
    assert picture_host.asked == ["/away"]


def first_hop_free(guarded_send):
    from requests.adapters import HTTPAdapter

    sends = iter([HTTPAdapter().send])
    return lambda request, **options: next(sends, guarded_send)(request, **options)


def test_redirect_is_not_followed_where_nothing_checks_its_target(picture_host, session):
    picture_host.answers["/away"] = (302, {"Location": "/cat.png"}, b"")
    assert "/away answered 302" in refusal(f"{picture_host.url}/away", session=session)
    assert picture_host.asked == ["/away"]


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 410])
def test_url_that_is_refused_by_its_host_is_an_invalid_request(picture_host, session, status):
    picture_host.answers["/cat.png"] = (status, {}, b"")
    message = refusal(f"{picture_host.url}/cat.png?key=secret", session=session)
    assert message.startswith(f"source image: {picture_host.url}/cat.png answered {status}; ")
    assert "bytes, or a path" in message
    assert "secret" not in message


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_host_with_a_passing_trouble_is_unavailable(picture_host, session, status):
    picture_host.answers["/cat.png"] = (status, {}, b"")
    with pytest.raises(ProviderUnavailableError, match=f"answered {status}.*try again"):
        load_source(f"{picture_host.url}/cat.png", session=session)


def test_host_that_is_not_there_is_unavailable(session):
    with serving() as host:
        url = host.url
    with pytest.raises(ProviderUnavailableError, match=r"source image: .* cannot be reached; try"):
        load_source(f"{url}/cat.png", session=session)


def test_download_stops_at_the_byte_limit(picture_host, session):
    message = refusal(f"{picture_host.url}/cat.png", session=session, max_bytes=50)
    assert "more than the 50 bytes allowed" in message


def test_download_that_breaks_off_is_unavailable(picture_host, session):
    picture_host.answers["/cat.png"] = (200, {"Content-Length": "9999"}, encoded())
    with pytest.raises(ProviderUnavailableError, match="broke off"):
        load_source(f"{picture_host.url}/cat.png", session=session)


def test_web_page_in_place_of_a_picture_is_called_one(picture_host, session):
    picture_host.answers["/cat"] = (200, {}, b"<!DOCTYPE html><p>cat")
    message = refusal(f"{picture_host.url}/cat", session=session)
    assert f"source image {picture_host.url}/cat is a web page" in message


def test_url_without_a_host_is_refused():
    for url in ("http://", "http:///cat.png", "https://[::1/cat.png", "http://host:99999/"):
        assert "is not a URL that can be fetched" in refusal(url)


# --- what is made of a file ---


@pytest.mark.parametrize("format_name", FORMATS)
def test_every_allowed_format_is_decoded(format_name):
    source = load_source(encoded(format_name=format_name))
    assert source.image.mode == "RGB"
    assert source.image.size == source.original_size == (WIDTH, HEIGHT)


@pytest.mark.parametrize("format_name", ["PPM", "ICO", "TGA", "PDF", "EPS"])
def test_other_formats_are_refused(format_name):
    assert "give a PNG, JPEG, WebP, GIF, BMP or TIFF" in refusal(encoded(None, format_name))


@pytest.mark.parametrize("format_name", FORMATS)
def test_truncated_file_is_refused_or_had_all_its_pixels(format_name):
    data = encoded(format_name=format_name)
    whole = load_source(data).image
    for length in range(0, len(data), 1 + len(data) // 60):
        try:
            source = load_source(data[:length])
        except InvalidRequestError as error:
            assert "the given bytes" in str(error)
        else:
            assert same(source.image, whole)


@pytest.mark.parametrize("format_name", FORMATS)
@given(change=st.data())
@settings(max_examples=40)
def test_damaged_file_is_decoded_or_refused(format_name, change):
    data = bytearray(encoded(format_name=format_name))
    position = change.draw(st.integers(0, len(data) - 1))
    data[position] = change.draw(st.integers(0, 255))
    with contextlib.suppress(InvalidRequestError):
        width, height = load_source(bytes(data), max_pixels=10_000).image.size
        assert width * height <= 10_000


def test_too_many_pixels_are_refused_before_decoding():
    """More than Pillow's own limit too, which would warn as soon as it opens the file."""
    message = refusal(encoded(Image.new("1", (10_000, 10_000))))
    assert "10000×10000 pixels, more than the 67,108,864 allowed" in message
    assert "11×10 pixels" in refusal(Image.new("RGB", (11, 10)), max_pixels=109)


def test_second_header_with_a_larger_size_does_not_pass_the_limit():
    small, large = encoded(Image.new("L", (1, 1))), encoded(Image.new("L", (60, 60)))
    assert "60×60 pixels" in refusal(small[:33] + large[8:], max_pixels=1000)


def test_too_many_bytes_are_refused(file):
    for kind, reference in references(file).items():
        assert "50 bytes allowed" in refusal(reference, max_bytes=50), kind


def test_empty_file_is_called_empty(tmp_path):
    (tmp_path / "empty.png").touch()
    assert '"empty.png" is empty' in refusal("empty.png")


def test_pillow_image_without_pixels_is_refused():
    assert "no pixels" in refusal(Image.new("RGB", (0, 5)))


def test_closed_pillow_image_is_refused():
    opened = Image.open(io.BytesIO(encoded()))
    opened.close()
    assert "the given image" in refusal(opened)


SIXTEEN_BITS = np.arange(WIDTH * HEIGHT, dtype=np.uint16).reshape(HEIGHT, WIDTH) * 100


@pytest.mark.parametrize(
    ("values", "format_name"),
    [
        (SIXTEEN_BITS, "PNG"),
        (SIXTEEN_BITS, "TIFF"),
        (SIXTEEN_BITS.astype(">u2"), "TIFF"),
        (SIXTEEN_BITS.astype(np.int32), "TIFF"),
        ((SIXTEEN_BITS / 65535).astype(np.float32), "TIFF"),
    ],
)
def test_grey_of_more_than_8_bits_keeps_its_shades(values, format_name):
    data = encoded(Image.fromarray(values), format_name)
    red = np.asarray(load_source(data).image)[..., 0]
    assert np.abs(red.astype(int) - SIXTEEN_BITS // 256).max() <= 1


def test_float_that_is_no_number_becomes_black():
    image = Image.fromarray(np.full((2, 2), np.nan, dtype=np.float32))
    assert load_source(image).image.getextrema() == ((0, 0),) * 3


@pytest.mark.parametrize(
    ("mode", "format_name"),
    [("1", "PNG"), ("L", "PNG"), ("P", "PNG"), ("CMYK", "JPEG"), ("CMYK", "TIFF"), ("L", "BMP")],
)
def test_other_opaque_modes_become_rgb(mode, format_name):
    original = picture().convert(mode)
    source = load_source(encoded(original, format_name))
    assert source.image.mode == "RGB"
    difference = np.asarray(source.image, int) - np.asarray(original.convert("RGB"), int)
    assert np.abs(difference).mean() < 8


def palette_picture() -> Image.Image:
    image = Image.new("P", (WIDTH, HEIGHT), 1)
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.paste(0, (0, 0, WIDTH // 2, HEIGHT))
    return image


@pytest.mark.parametrize(
    "data",
    [
        encoded(half_transparent()),
        encoded(half_transparent(), "WEBP", lossless=True),
        encoded(half_transparent(), "TIFF"),
        encoded(half_transparent().convert("LA")),
        encoded(palette_picture(), transparency=0),
        encoded(palette_picture(), transparency=b"\0\xff"),
        encoded(palette_picture(), "GIF", transparency=0),
        encoded(palette_picture().convert("RGB"), transparency=(255, 0, 0)),
    ],
    ids=["RGBA", "WebP", "TIFF", "LA", "palette", "palette alpha", "GIF", "colour key"],
)
def test_transparency_of_every_kind_becomes_alpha(data):
    alpha = np.asarray(load_source(data).image.getchannel("A"))
    assert (alpha[:, : WIDTH // 2] == 0).all()
    assert (alpha[:, WIDTH // 2 :] == 255).all()


def test_alpha_that_is_opaque_everywhere_is_dropped():
    assert same(load_source(encoded(picture().convert("RGBA"))).image, picture())


@pytest.mark.parametrize("format_name", ["GIF", "WEBP", "PNG"])
def test_first_frame_of_an_animation_is_taken(format_name):
    frames = [Image.new("RGB", (WIDTH, HEIGHT), color) for color in ("red", "lime", "blue")]
    options = {"lossless": True} if format_name == "WEBP" else {}
    data = encoded(frames[0], format_name, save_all=True, append_images=frames[1:], **options)
    assert same(load_source(data).image, frames[0])


@pytest.mark.parametrize("format_name", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_picture_is_turned_upright_as_its_exif_data_says(format_name, orientation):
    """White is the stored top left corner; where it belongs stands in the EXIF standard."""
    stored = Image.new("RGB", (WIDTH, HEIGHT), "black")
    stored.paste("white", (0, 0, 8, 8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    source = load_source(encoded(stored, format_name, exif=exif))
    width, height = (HEIGHT, WIDTH) if orientation >= 5 else (WIDTH, HEIGHT)
    assert source.image.size == (width, height)
    assert source.original_size == (WIDTH, HEIGHT)
    x = width - 1 if orientation in (2, 3, 6, 7) else 0
    y = height - 1 if orientation in (3, 4, 7, 8) else 0
    white = [
        (column, row)
        for column in (0, width - 1)
        for row in (0, height - 1)
        if source.image.getpixel((column, row))[0] > 128
    ]
    assert white == [(x, y)]


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_exif_data_that_cannot_be_read_counts_as_upright():
    data = encoded(format_name="JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x05broken")
    assert load_source(data).image.size == (WIDTH, HEIGHT)


def test_metadata_is_dropped():
    exif = Image.Exif()
    exif[0x010E] = "taken at home"
    data = encoded(format_name="JPEG", exif=exif, comment=b"private", dpi=(72, 72))
    source = load_source(data)
    assert source.image.info == {}
    assert dict(source.image.getexif()) == {}
    assert b"home" not in encode_png(source.image)


# --- pictures that are scaled down ---


def test_picture_beyond_the_longest_side_is_scaled_down_and_says_so():
    source = load_source(encoded(picture(60, 40)), max_side=30)
    assert (source.image.size, source.scaled_from) == ((30, 20), (60, 40))
    assert source.original_size == (60, 40)
    assert source.sha256 == load_source(encoded(picture(60, 40))).sha256
    given_image = load_source(picture(60, 40), max_side=30)
    assert (given_image.image.size, given_image.scaled_from) == ((30, 20), (60, 40))


def test_picture_that_was_turned_tells_its_upright_size():
    exif = Image.Exif()
    exif[0x0112] = 6
    source = load_source(encoded(picture(60, 40), "JPEG", exif=exif), max_side=30)
    assert (source.image.size, source.scaled_from) == ((20, 30), (40, 60))


@pytest.mark.parametrize("max_side", [None, 60, FROM_SETTINGS])
def test_picture_within_the_longest_side_keeps_its_pixels(max_side):
    source = load_source(encoded(picture(60, 40)), max_side=max_side)
    assert same(source.image, picture(60, 40))
    assert source.scaled_from is None


def test_setting_has_the_longest_side_when_the_caller_does_not(monkeypatch):
    large = encoded(Image.new("1", (5000, 10)))
    assert load_source(large).image.size == (4096, 8)
    monkeypatch.setenv("IMAGE_SOURCE_MAX_SIDE", "100")
    assert load_source(encoded(picture(200, 100))).image.size == (100, 50)
    assert load_source(encoded(picture(200, 100)), max_side=150).image.size == (150, 75)
    monkeypatch.setenv("IMAGE_SOURCE_MAX_SIDE", "0")
    assert load_source(large).image.size == (5000, 10)


def test_mask_stays_in_step_with_a_source_that_was_scaled_down():
    mask = Image.new("L", (80, 40), 0)
    mask.paste(255, (40, 0, 80, 40))
    for mask_side in (20, None):  # whether the mask is scaled down itself or not
        source = load_source(encoded(picture(80, 40)), max_side=20)
        area = mask_of(source, load_source(encoded(mask), max_side=mask_side))
        assert area.size == source.image.size == (20, 10)
        assert (area.getpixel((3, 5)), area.getpixel((16, 5))) == (0, 255)


@pytest.mark.parametrize("pixels", [0, -1])
def test_longest_side_without_pixels_is_refused(pixels):
    with pytest.raises(ValueError, match="at least 1 pixel"):
        as_max_side(pixels)


@pytest.mark.parametrize("pixels", ["100", 1.5, True])
def test_longest_side_that_is_no_number_is_refused(pixels):
    with pytest.raises(TypeError, match="source_max_side must be an int or None"):
        as_max_side(pixels)


# --- masks and uploads ---


def test_mask_image_counts_by_its_brightness():
    mask = picture().convert("L")
    assert same(mask_of(loaded(picture()), loaded(mask)), mask)


def test_transparent_parts_of_a_mask_image_are_kept():
    mask = Image.new("RGBA", (WIDTH, HEIGHT), (255, 255, 255, 0))
    mask.paste((255, 255, 255, 255), (0, 0, 10, HEIGHT))
    area = mask_of(loaded(picture()), loaded(mask))
    assert area.getpixel((5, 5)) == 255
    assert area.getpixel((20, 5)) == 0


def test_mask_of_another_size_is_stretched_to_the_source():
    mask = Image.new("L", (2 * WIDTH, 3 * HEIGHT), 0)
    mask.paste(255, (0, 0, WIDTH, 3 * HEIGHT))
    area = mask_of(loaded(picture()), loaded(mask))
    assert area.size == (WIDTH, HEIGHT)
    assert area.getpixel((2, 2)) == 255
    assert area.getpixel((WIDTH - 3, 2)) == 0


def test_without_a_mask_the_transparent_parts_may_change():
    area = mask_of(loaded(half_transparent()))
    assert area.mode == "L"
    assert area.getpixel((0, 0)) == 255
    assert area.getpixel((WIDTH - 1, 0)) == 0


def test_mask_image_outweighs_transparency():
    mask = Image.new("L", (WIDTH, HEIGHT), 255)
    assert same(mask_of(loaded(half_transparent()), loaded(mask)), mask)


def test_neither_mask_nor_transparency_is_an_invalid_request():
    with pytest.raises(InvalidRequestError, match="no transparent part and there is no mask"):
        mask_of(loaded(picture()))


def test_transparent_source_is_flattened_onto_white():
    image = half_transparent()
    image.putpixel((0, 0), (0, 0, 0, 51))
    flat = flatten(loaded(image))
    assert flat.mode == "RGB"
    assert flat.getpixel((0, 0)) == (204, 204, 204)
    assert flat.getpixel((1, 1)) == (255, 255, 255)
    assert flat.getpixel((WIDTH - 1, 0)) == (0, 0, 255)


def test_upload_gives_loadimage_both_the_picture_and_the_mask():
    """LoadImage takes the colours as they are and 1 - alpha as the mask (ComfyUI, nodes.py)."""
    area = Image.linear_gradient("L").resize((WIDTH, HEIGHT))
    upload = Image.open(io.BytesIO(encode_for_comfyui(picture(), area)))
    assert upload.mode == "RGBA"
    assert same(upload.convert("RGB"), picture())
    assert (255 - np.asarray(upload.getchannel("A")) == np.asarray(area)).all()


def test_mask_of_another_size_is_stretched_for_the_upload():
    area = Image.new("L", (5, 5), 255)
    upload = Image.open(io.BytesIO(encode_for_comfyui(picture(), area)))
    assert upload.size == (WIDTH, HEIGHT)
    assert upload.getchannel("A").getextrema() == (0, 0)


def test_encoded_png_holds_the_same_pixels():
    assert same(Image.open(io.BytesIO(encode_png(picture()))), picture())


def test_scaling_a_mask_does_not_reach_beyond_its_edge():
    mask = Image.new("L", (64, 64), 0)
    mask.paste(255, (0, 0, 32, 64))
    scaled = np.asarray(resize_to(mask, 128, 128))
    assert (scaled[:, 68:] == 0).all()
    assert (np.diff(scaled.astype(int), axis=1) <= 0).all()


def test_image_of_the_right_size_is_left_alone():
    image = picture()
    assert resize_to(image, WIDTH, HEIGHT) is image
    assert resize_to(image, 7, 9).size == (7, 9)


def test_upload_name_follows_from_the_content():
    digest = hashlib.sha256(b"picture").hexdigest()
    assert upload_name(b"picture") == f"{digest[:32]}.png"


@pytest.mark.parametrize(
    ("size", "multiple", "fitted"),
    [
        ((1024, 768), 16, (1024, 768)),
        ((1000, 1001), 16, (1008, 1008)),
        ((515, 516), 8, (512, 520)),
        ((1, 3), 8, (8, 8)),
    ],
)
def test_sizes_are_rounded_to_the_nearest_multiple(size, multiple, fitted):
    assert fit_size(*size, multiple) == fitted


@given(st.integers(1, 10_000), st.sampled_from([8, 16]))
def test_fitted_side_is_a_multiple_as_near_as_can_be(side, multiple):
    fitted, _ = fit_size(side, side, multiple)
    assert fitted % multiple == 0
    assert fitted >= multiple
    assert abs(fitted - side) <= multiple / 2 or fitted == multiple


@pytest.mark.parametrize(
    ("folders", "roots"),
    [
        ("here", (Path("here"),)),
        (Path("here"), (Path("here"),)),
        (["here", Path("there")], (Path("here"), Path("there"))),
        ((), ()),
        ("", ()),
        (None, None),
        (FROM_SETTINGS, FROM_SETTINGS),
    ],
)
def test_roots_are_one_folder_or_several(folders, roots):
    assert as_roots(folders) == roots


@pytest.mark.parametrize("folders", [5, [5], b"here", [None]])
def test_what_is_no_folder_is_refused(folders):
    with pytest.raises(TypeError, match="source_roots must be a folder, a list of folders or None"):
        as_roots(folders)
