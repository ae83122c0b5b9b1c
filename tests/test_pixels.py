"""From a file to plain pixels: colours, limits, and files made to keep a decoder busy."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from image_io.masks import encode_png, flatten
from image_io.pixels import LONGEST_SIDE, within
from image_io.source_images import load_source
from image_provider import InvalidRequestError

SIZE = (12, 8)


def encoded(image: Image.Image, format_name: str = "PNG", **options: Any) -> bytes:
    buffer = BytesIO()
    image.save(buffer, format_name, **options)
    return buffer.getvalue()


def pixel(data: bytes) -> Any:
    return load_source(data).image.getpixel((3, 3))


# Colours


SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def wide_profile() -> bytes:
    """A matrix profile as of a camera: sRGB with red and green exchanged, so that it shows."""
    data = bytearray(SRGB.replace(b"sRGB", b"wide"))
    for number in range(struct.unpack_from(">I", data, 128)[0]):
        at = 132 + 12 * number
        swapped = {b"rXYZ": b"gXYZ", b"gXYZ": b"rXYZ"}.get(bytes(data[at : at + 4]))
        if swapped is not None:
            data[at : at + 4] = swapped
    text = "sRGB".encode("utf-16-be")
    return bytes(data).replace(text, "wide".encode("utf-16-be"))


@pytest.mark.parametrize("format_name", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_colours_of_another_profile_become_srgb(format_name):
    options = {"lossless": True} if format_name == "WEBP" else {}
    image = Image.new("RGB", SIZE, (200, 60, 60))
    red, green, _ = pixel(encoded(image, format_name, icc_profile=wide_profile(), **options))
    assert green > 180 and red < 90


def test_profile_counts_under_transparency_and_leaves_it():
    image = Image.new("RGBA", SIZE, (200, 60, 60, 128))
    red, green, _, alpha = pixel(encoded(image, icc_profile=wide_profile()))
    assert green > 180 and red < 90 and alpha == 128


def test_profile_counts_for_a_palette():
    image = Image.new("P", SIZE, 1)
    image.putpalette([0, 0, 0, 200, 60, 60])
    assert pixel(encoded(image, icc_profile=wide_profile()))[1] > 180


@pytest.mark.parametrize(
    ("mode", "profile"),
    [
        ("RGB", SRGB),
        ("RGB", b"no profile"),
        ("RGB", b""),
        ("L", wide_profile()),
        ("CMYK", wide_profile()),
    ],
    ids=["sRGB", "broken", "empty", "of colours for grey", "of RGB for CMYK"],
)
def test_profile_that_says_nothing_changes_nothing(mode, profile):
    image = Image.new("RGB", SIZE, (200, 60, 90)).convert(mode)
    data = encoded(image, "TIFF", icc_profile=profile)
    assert pixel(data) == image.convert("RGB").getpixel((3, 3))


def test_cmyk_of_adobe_which_is_inverted_keeps_its_colours():
    data = encoded(Image.new("CMYK", SIZE, (0, 255, 255, 0)), "JPEG", quality=95)
    assert b"Adobe" in data
    assert np.abs(np.subtract(pixel(data), (255, 0, 0))).max() < 8


def test_colours_of_16_bits_keep_their_high_bytes():
    rows = b"".join(b"\0" + b"\xff\x10\x80\x20\x10\x30" * 8 for _ in range(8))
    header = struct.pack(">IIBBBBB", 8, 8, 16, 2, 0, 0, 0)
    parts = [chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    assert pixel(b"\x89PNG\r\n\x1a\n" + b"".join(parts)) == (255, 128, 16)


MODES = "1 L LA La P PA RGB RGBA RGBa CMYK YCbCr LAB HSV I F I;16"


@pytest.mark.parametrize("mode", MODES.split())
def test_every_mode_of_a_given_image_is_taken(mode):
    assert load_source(Image.new(mode, SIZE)).image.mode in ("RGB", "RGBA")


@pytest.mark.parametrize("height", [1, 255, 256, 257, 600])
def test_grey_of_16_bits_is_read_band_by_band_without_a_seam(height):
    values = (np.arange(height * 3, dtype=np.uint16) * 36).reshape(height, 3)
    red = np.asarray(load_source(Image.fromarray(values)).image)[..., 0]
    assert (red == values // 256).all()


def chunks_of(png: bytes) -> set[bytes]:
    kinds, at = set(), 8
    while at < len(png):
        (length,) = struct.unpack_from(">I", png, at)
        kinds.add(png[at + 4 : at + 8])
        at += 12 + length
    return kinds


@pytest.mark.parametrize("format_name", ["JPEG", "PNG", "WEBP"])
def test_nothing_but_pixels_is_sent(format_name):
    exif = Image.Exif()
    exif[0x8825] = {1: "N", 2: (48.0, 8.0, 12.0)}
    options = {"exif": exif, "icc_profile": wide_profile()}
    source = load_source(encoded(Image.new("RGB", SIZE), format_name, **options))
    for sent in (encode_png(source.image), encode_png(flatten(source))):
        assert chunks_of(sent) == {b"IHDR", b"IDAT", b"IEND"}


# Limits


def refusal(data: bytes) -> str:
    with pytest.raises(InvalidRequestError) as caught:
        load_source(data)
    return str(caught.value)


def test_side_that_is_too_long_is_refused_however_few_pixels_there_are():
    assert f"a side may have {LONGEST_SIDE:,}" in refusal(encoded(Image.new("1", (70_000, 1))))
    load_source(encoded(Image.new("1", (LONGEST_SIDE, 1))), max_side=None)


@pytest.mark.parametrize("pixels", [150, 300])
def test_limit_of_the_application_is_named_as_such(monkeypatch, pixels):
    """Pillow warns above the limit, which may be an error here, and raises above its double."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert "Pillow's MAX_IMAGE_PIXELS" in refusal(encoded(Image.new("L", (pixels // 10, 10))))


@pytest.mark.parametrize(
    ("size", "max_side", "scaled"),
    [
        ((100, 50), 50, (50, 25)),
        ((50, 100), 50, (25, 50)),
        ((20_000, 1), 100, (100, 1)),
        ((101, 100), 100, (100, 99)),
    ],
)
def test_larger_picture_becomes_smaller_in_its_shape(size, max_side, scaled):
    assert within(Image.new("RGB", size), max_side).size == scaled


def test_picture_that_is_small_enough_is_left_alone():
    image = Image.new("RGB", (50, 100))
    assert within(image, 100) is image


# Files made to keep a decoder busy


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def with_scans(number: int) -> bytes:
    """A progressive JPEG whose last scan, which changes nothing, is there so many times."""
    data = encoded(Image.new("L", (16, 16), 128), "JPEG", progressive=True)
    last = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + last * number + data[-2:]


def with_segments(number: int, segment: bytes = b"\xff\xe5\0\2") -> bytes:
    data = encoded(Image.new("RGB", SIZE), "JPEG")
    return data[:2] + segment * number + data[2:]


def with_chunks(number: int) -> bytes:
    data = encoded(Image.new("RGB", SIZE))
    return data[:33] + chunk(b"teSt", b"") * number + data[33:]


def with_blocks(number: int, block: bytes = b"\x21\xfe\x01x\0") -> bytes:
    data = encoded(Image.new("P", SIZE), "GIF")
    at = 13 + (3 * 2 ** ((data[10] & 7) + 1) if data[10] & 0x80 else 0)
    return data[:at] + block * number + data[at:]


@pytest.mark.parametrize(
    "data",
    [
        with_scans(100),
        with_segments(10_000),
        with_segments(9_000, b"\xff" * 10 + b"\xe5\0\2"),
        with_chunks(100_000),
        with_blocks(60_000),
        with_blocks(1, b"\x21\xfe" + b"\x01x" * 100_000 + b"\0"),
    ],
    ids=["scans", "segments", "fill", "chunks", "blocks", "parts of a block"],
)
def test_file_of_endless_parts_is_refused_before_it_is_decoded(data):
    assert "so many parts or passes that reading it would take too long" in refusal(data)


@pytest.mark.parametrize(
    ("data", "size"),
    [
        (with_scans(80), (16, 16)),
        (with_segments(1000), SIZE),
        (with_chunks(5000), SIZE),
        (with_blocks(5000), SIZE),
    ],
    ids=["scans", "segments", "chunks", "blocks"],
)
def test_file_of_many_parts_is_read(data, size):
    assert load_source(data).image.size == size


def test_thumbnails_and_what_follows_the_picture_are_no_parts_of_it():
    inner = encoded(Image.new("RGB", SIZE), "JPEG")
    segment = b"\xff\xe5" + struct.pack(">H", 2 + 50 * len(inner)) + inner * 50
    assert load_source(with_segments(3, segment) + inner * 200).image.size == SIZE
