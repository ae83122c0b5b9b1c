"""File kinds by signature, and pictures that did not come whole."""

from __future__ import annotations

import contextlib
import io
import struct
import wave
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from image_io.formats import (
    UNKNOWN_TYPE,
    ImageFile,
    TruncatedImageError,
    inspect_image,
    is_another_kind,
    type_by_name,
    verify_image,
)

PILLOW_FORMATS = {
    "image/png": "PNG",
    "image/jpeg": "JPEG",
    "image/webp": "WEBP",
    "image/gif": "GIF",
    "image/bmp": "BMP",
    "image/tiff": "TIFF",
}
VERIFIED = ["image/png", "image/jpeg", "image/webp", "image/gif"]


def picture(width: int = 53, height: int = 37) -> Image.Image:
    gradient = Image.linear_gradient("L").resize((width, height))
    return Image.merge("RGB", (gradient, gradient.rotate(90), gradient.rotate(180)))


def encoded(mime_type: str, image: Image.Image | None = None, **options) -> bytes:
    buffer = io.BytesIO()
    (image or picture()).save(buffer, PILLOW_FORMATS[mime_type], **options)
    return buffer.getvalue()


def animated_gif() -> bytes:
    frames = [picture().rotate(angle) for angle in (90, 180)]
    return encoded("image/gif", save_all=True, append_images=frames, duration=40)


WHOLE = {
    **{f"{mime_type} as Pillow writes it": encoded(mime_type) for mime_type in VERIFIED},
    "progressive JPEG": encoded("image/jpeg", progressive=True),
    "JPEG with a thumbnail of its own": encoded(
        "image/jpeg", exif=b"Exif\0\0" + encoded("image/jpeg", picture(8, 8))
    ),
    "JPEG with restart markers": encoded("image/jpeg", restart_marker_blocks=1),
    "lossless WebP": encoded("image/webp", lossless=True),
    "WebP with alpha": encoded("image/webp", picture().convert("LA").convert("RGBA")),
    "WebP with metadata": encoded("image/webp", exif=b"Exif\0\0odd"),
    "animated GIF": animated_gif(),
    "PNG with a text chunk": encoded("image/png", dpi=(72, 72)),
}


@pytest.mark.parametrize("mime_type", PILLOW_FORMATS)
def test_kind_and_size_of_a_picture_are_read_from_its_header(mime_type):
    assert inspect_image(encoded(mime_type)) == ImageFile(mime_type, 53, 37)


@pytest.mark.parametrize("name", WHOLE)
def test_whole_picture_passes_and_its_size_is_read(name):
    verify_image(WHOLE[name])
    told = inspect_image(WHOLE[name])
    assert (told.width, told.height) == (53, 37)


def test_size_of_a_webp_with_alpha_comes_from_its_extended_header():
    data = encoded("image/webp", Image.new("RGBA", (301, 402), (1, 2, 3, 4)))
    assert data[12:16] in (b"VP8X", b"VP8L")
    assert inspect_image(data) == ImageFile("image/webp", 301, 402)


def test_size_of_a_big_endian_tiff_is_read():
    entries = struct.pack(">HHIHH", 256, 3, 1, 640, 0) + struct.pack(">HHII", 257, 4, 1, 480)
    data = b"MM\0*" + struct.pack(">IH", 8, 2) + entries
    assert inspect_image(data) == ImageFile("image/tiff", 640, 480)


def test_bmp_stored_from_the_top_down_has_its_height():
    data = encoded("image/bmp")
    assert inspect_image(data[:22] + struct.pack("<i", -37) + data[26:]).height == 37


def test_old_bmp_header_with_16_bit_sides_is_read():
    data = b"BM" + bytes(12) + struct.pack("<IHHHH", 12, 20, 10, 1, 24)
    assert inspect_image(data) == ImageFile("image/bmp", 20, 10)


def test_picture_of_enormous_size_is_inspected_and_verified_without_a_limit():
    header = struct.pack(">IIBBBBB", 200_000, 200_000, 8, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in ((b"IHDR", header), (b"IDAT", b"x"), (b"IEND", b""))
    )
    verify_image(data)
    assert inspect_image(data) == ImageFile("image/png", 200_000, 200_000)


def wav() -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(bytes(16))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "mime_type", "suffix"),
    [
        (b"\0\0\0\x20ftypisom\0\0\x02\0", "video/mp4", ".mp4"),
        (b"\0\0\0\x14ftypqt  \0\0\x02\0", "video/quicktime", ".mov"),
        (b"\0\0\0\x20ftypM4A \0\0\x02\0", "audio/mp4", ".m4a"),
        (b"\0\0\0\x20ftypavif\0\0\0\0", "image/avif", ".avif"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "image/heic", ".heic"),
        (b"\x1aE\xdf\xa3\x9fB\x86\x81\x01B\x82\x84webm", "video/webm", ".webm"),
        (b"\x1aE\xdf\xa3\xa3B\x86\x81\x01B\x82\x88matroska", "video/x-matroska", ".mkv"),
        (b"fLaC\0\0\0\x22", "audio/flac", ".flac"),
        (b"ID3\x04\0\0\0\0\0\0", "audio/mpeg", ".mp3"),
        (b"\xff\xfb\x90\x64", "audio/mpeg", ".mp3"),
        (wav(), "audio/wav", ".wav"),
        (b"OggS\0\x02", "audio/ogg", ".ogg"),
        (b"glTF\x02\0\0\0", "model/gltf-binary", ".glb"),
        (b"RIFF\x04\0\0\0AVI ", "application/octet-stream", ".bin"),
        (b"BM is how this text begins", "application/octet-stream", ".bin"),
        (b"\xff\xff\xff", "application/octet-stream", ".bin"),
        (b"\xff\xf1\x50\x80", "application/octet-stream", ".bin"),  # AAC, which has no layer
        (b"<html>", "application/octet-stream", ".bin"),
        (b"", "application/octet-stream", ".bin"),
    ],
)
def test_other_outputs_are_told_by_their_signature(data, mime_type, suffix):
    file = inspect_image(data)
    assert file == ImageFile(mime_type, None, None)
    assert file.suffix == suffix
    assert file.is_image == mime_type.startswith("image/")


@pytest.mark.parametrize("name", WHOLE)
def test_picture_cut_off_anywhere_is_refused(name):
    data = WHOLE[name]
    accepted = []
    for length in range(16, len(data)):
        try:
            verify_image(data[:length])
        except TruncatedImageError:
            continue
        accepted.append(length)
    assert accepted == []


def test_png_with_one_changed_bit_is_refused_wherever_it_is():
    data = WHOLE["PNG with a text chunk"]
    for position in range(8, len(data)):
        changed = bytearray(data)
        changed[position] ^= 0x10
        with pytest.raises(TruncatedImageError, match="the PNG is"):
            verify_image(bytes(changed))


def test_jpeg_made_of_countless_segments_is_given_up():
    whole = encoded("image/jpeg")
    data = whole[:2] + b"\xff\xe1\0\2" * 20_000 + whole[2:]
    assert inspect_image(data) == ImageFile("image/jpeg")
    with pytest.raises(TruncatedImageError, match="the JPEG"):
        verify_image(data)


def test_png_without_pixels_is_refused():
    end = encoded("image/png")[-12:]
    with pytest.raises(TruncatedImageError, match="no picture"):
        verify_image(b"\x89PNG\r\n\x1a\n" + end)


def test_webp_whose_length_tells_of_fewer_bytes_is_refused():
    data = WHOLE["image/webp as Pillow writes it"]
    shorter = data[:4] + struct.pack("<I", len(data) - 10) + data[8:]
    with pytest.raises(TruncatedImageError, match="tells of"):
        verify_image(shorter)


def test_empty_file_is_refused():
    with pytest.raises(TruncatedImageError, match="empty"):
        verify_image(b"")


@pytest.mark.parametrize("name", WHOLE)
def test_bytes_after_the_end_of_a_picture_are_no_fault(name):
    longer = WHOLE[name] + b"appended by a camera or an editor"
    verify_image(longer)
    assert inspect_image(longer) == inspect_image(WHOLE[name])


def test_message_says_where_a_png_is_cut_off():
    data = encoded("image/png")
    with pytest.raises(TruncatedImageError, match=f"after {len(data) - 5:,} bytes, in the chunk"):
        verify_image(data[:-5])


def looked_at(data: bytes) -> ImageFile:
    """What is told of it; the only error that may come of a closer look is ours."""
    with contextlib.suppress(TruncatedImageError):
        verify_image(data)
    return inspect_image(data)


def is_told(file: ImageFile) -> bool:
    """Whether both sides are said, or neither."""
    if file.width is None or file.height is None:
        return file.width is file.height
    return min(file.width, file.height) > 0


STARTS = [data[:size] for data in WHOLE.values() for size in (4, 16, 64)] + [
    encoded("image/tiff")[:8],
    encoded("image/bmp")[:20],
]


@given(st.sampled_from(STARTS), st.binary(max_size=300))
def test_any_bytes_after_a_real_start_are_looked_at_without_a_crash(start, rest):
    assert is_told(looked_at(start + rest))


@given(st.binary(max_size=200))
def test_any_bytes_are_looked_at_without_a_crash(data):
    assert is_told(looked_at(data))


@given(st.data())
def test_changed_pictures_are_looked_at_without_a_crash(data):
    whole = data.draw(st.sampled_from([*WHOLE.values(), encoded("image/tiff")]))
    position = data.draw(st.integers(0, min(len(whole) - 1, 400)))
    patch = data.draw(st.binary(min_size=1, max_size=8))
    assert is_told(looked_at(whole[:position] + patch + whole[position + len(patch) :]))


@pytest.mark.parametrize(
    ("name", "mime_type"),
    [
        ("a.TXT", "text/plain"),
        ("a.b.md", "text/markdown"),
        ("mesh.obj", "model/obj"),
        ("a.svg", "image/svg+xml"),
        ("film.avi", "video/x-msvideo"),
        ("a.latent", UNKNOWN_TYPE),
        ("txt", UNKNOWN_TYPE),
        ("", UNKNOWN_TYPE),
    ],
)
def test_the_name_tells_what_the_first_bytes_do_not(name, mime_type):
    assert type_by_name(name) == inspect_image(b"words", name).mime_type == mime_type


def test_the_first_bytes_count_before_the_name():
    assert inspect_image(b"fLaC", "a.txt").mime_type == "audio/flac"


@pytest.mark.parametrize(
    ("data", "filename", "is_another"),
    [
        (encoded("image/png"), "a.png", False),
        (encoded("image/webp"), "a.PNG", False),  # a picture all the same
        (b"<html>sign in</html>", "a.png", True),
        (b"{}", "a.jpeg", True),
        (b"", "a.tif", True),
        (b" \n<!DOCTYPE html>\n<title>", "a.mp4", True),
        (b"<html lang=en>", "a", True),
        (b"<html>", "report.html", False),
        (b"<htmlx>", "a.xml", False),
        (b"a word of <html>", "a.txt", False),
        (b"\0\0", "a.latent", False),
    ],
)
def test_what_comes_in_place_of_a_file_is_told_by_its_name(data, filename, is_another):
    assert is_another_kind(data, filename) is is_another
