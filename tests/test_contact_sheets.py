"""Contact sheets: every picture in its place, whole and upright, and failures among them."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from image_batches.contact_sheets import (
    PAGE,
    cells_of,
    contact_sheet,
    counted,
    thumbnail,
    thumbnail_jpeg,
)
from image_batches.resume import StoredImage
from image_generator import ImageGenerator
from image_provider import ImageGenerationResult, ProviderUnavailableError
from tests.fakes.provider import success

GROUND, EMPTY = (0xF4, 0xF5, 0xF7), (0xC9, 0xCD, 0xD6)


def entry(image, file_format="PNG", **options):
    file = BytesIO()
    image.save(file, file_format, **options)
    return {"bytes": file.getvalue(), "seed": 7}


def result_of(*images):
    return ImageGenerationResult(True, list(images), "fake", None)


def failed():
    return ImageGenerationResult.failed(ProviderUnavailableError("down"), "fake")


def coloured(colour, size=(512, 512)):
    return result_of(entry(Image.new("RGB", size, colour)))


def place(number, columns):
    """The upper left corner of a square picture's cell, in pixels."""
    return 16 + number % columns * 272, 44 + number // columns * (256 + 56)


def test_pictures_stand_in_rows_in_their_order():
    colours = ["red", "lime", "blue", "white", "black"]
    sheet = contact_sheet([coloured(colour) for colour in colours])
    assert sheet.mode == "RGB"
    for number, colour in enumerate(colours):
        x, y = place(number, 3)
        assert sheet.getpixel((x, y)) == sheet.getpixel((x + 255, y + 255))
        assert sheet.getpixel((x, y)) == Image.new("RGB", (1, 1), colour).getpixel((0, 0))
    x, y = place(5, 3)
    assert sheet.crop((x, y, x + 256, y + 256)).getcolors() == [(256 * 256, GROUND)]


def test_a_failure_is_a_grey_cell_in_its_place():
    sheet = contact_sheet([coloured("red"), failed(), coloured("blue")])
    x, y = place(1, 2)
    assert sheet.getpixel((x, y + 255)) == EMPTY
    x, y = place(2, 2)
    assert sheet.getpixel((x, y)) == (0, 0, 255)


def test_wide_and_high_pictures_are_whole():
    wide = thumbnail(entry(Image.new("RGB", (2000, 500))), 256)
    high = thumbnail(entry(Image.new("RGB", (500, 2000))), 256)
    small = thumbnail(entry(Image.new("RGB", (30, 20))), 256)
    assert (wide.size, high.size, small.size) == ((256, 64), (64, 256), (30, 20))


def test_modes_alpha_and_exif_are_made_one():
    grey = Image.fromarray(np.full((8, 8), 0x8080, dtype=np.uint16))
    assert thumbnail(entry(grey), 8).getpixel((0, 0)) == (128, 128, 128)
    for mode in ("L", "P", "1", "CMYK", "LA"):
        file_format = "TIFF" if mode == "CMYK" else "PNG"
        assert thumbnail(entry(Image.new(mode, (8, 8)), file_format), 8).mode == "RGB"
    turned = Image.new("RGB", (40, 20))
    exif = turned.getexif()
    exif[0x112] = 6
    assert thumbnail(entry(turned, "JPEG", exif=exif), 64).size == (20, 40)
    clear = thumbnail(entry(Image.new("RGBA", (32, 32), (255, 0, 0, 0))), 64)
    assert {colour for _, colour in clear.getcolors()} == {(255, 255, 255), (0xDC, 0xDF, 0xE6)}


def test_what_cannot_be_shown_has_a_cell_too():
    film = {"bytes": b"film", "kind": "video"}
    broken = {"bytes": b"\x89PNG broken", "mime_type": "image/png"}
    elsewhere = {"bytes": None, "url": "https://example.org/a.png"}
    cells = cells_of([result_of(film, broken, elsewhere), result_of()])
    assert [thumbnail(cell.image, 8) for cell in cells[:3]] == [None] * 3
    assert [cell.instead for cell in cells] == ["video", *["cannot be shown"] * 2, "nothing"]
    assert thumbnail_jpeg(film, 8) is None
    contact_sheet([result_of(film, broken, elsewhere), result_of()])


def test_a_stored_picture_that_is_gone_has_a_cell_too(tmp_path):
    gone = StoredImage({"seed": 7}, tmp_path / "gone.png", "")
    assert thumbnail(gone, 8) is None
    contact_sheet([result_of(gone)])


def test_cells_are_numbered_by_their_results():
    half = failed()
    half.images = success().images
    cells = cells_of([success(), result_of(*success().images * 2), failed(), half])
    assert [cell.number for cell in cells] == ["1", "2.1", "2.2", "3", "4.1", "4.2"]
    assert [cell.place for cell in cells] == [0, 1, 1, 2, 3, 3]
    assert [cell.instead for cell in cells if cell.image is None] == ["failed: unavailable"] * 2
    assert counted(cells) == "4 pictures, 2 failed"


def test_the_mark_of_the_embedded_server_is_told_in_words():
    plain, marked = coloured("red"), coloured("red")
    marked.metadata = {"server": "embedded"}
    below = (16, 44 + 256 + 22, 272, 44 + 256 + 44)
    assert contact_sheet([plain]).crop(below).getcolors(9) == [(256 * 22, GROUND)]
    assert contact_sheet([marked]).crop(below).getcolors(9) is None


def test_a_sheet_is_bounded_and_pages_go_on():
    results = [failed()] * (10_000 - 3) + [coloured("red")] * 3
    first, last = contact_sheet(results), contact_sheet(results, page=100)
    assert first.width == 2736 and first.height < 3300
    x, _ = place(9, 10)
    assert last.getpixel((x, last.height - 56 - 1)) == (255, 0, 0)
    for page in (0, 101):
        with pytest.raises(ValueError, match=f"there is no page {page}; these results have 100"):
            contact_sheet(results, page)
    assert PAGE == 100


def test_no_results_are_a_sheet_too_and_the_generator_has_it():
    assert ImageGenerator.contact_sheet([]).size == contact_sheet([]).size
    assert ImageGenerator.contact_sheet(iter([failed()])).size == contact_sheet([failed()]).size
