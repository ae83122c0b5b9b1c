"""Many results on one picture: small, numbered, in order, and failures in their place.

Owns the grid, the captions and the small pictures. A sheet has at most PAGE cells, so its size is
bounded (about 2800×3300 pixels); `page` gives the next ones. Knows no provider and no files.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from io import BytesIO
from math import ceil, sqrt
from typing import TYPE_CHECKING, Any

from image_provider import ImageGenerationError, ImageGenerationResult

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont, ImageFont

    Font = FreeTypeFont | ImageFont

PAGE = 100
"""Cells on one sheet."""
EMBEDDED_NOTE = "embedded server, no model"
"""What stands under a picture of the embedded server: its own mark is too small to read here."""

_SIDE = 256
"""The longest side of a small picture, in pixels."""
_GAP, _LINE, _TITLE = 16, 20, 44
_MOST_COLUMNS = 10
_LEAST_HEIGHT = 72
_GROUND, _INK, _SOFT, _EMPTY, _WRONG = "#f4f5f7", "#1c2130", "#5a6274", "#c9cdd6", "#8f1d2c"
_CHECKS = ("#ffffff", "#dcdfe6")
_CHECK = 8


@dataclass(frozen=True)
class Cell:
    """One place of the grid: a picture, or what stands there instead of one.

    `number` is that of the result, counted from 1, and ".2" for its second picture; `place` is
    where the result stands, counted from 0.
    """

    number: str
    place: int
    result: ImageGenerationResult
    image: dict[str, Any] | None = None

    @property
    def seed(self) -> int | None:
        """The seed of the picture; None when it is not known."""
        return None if self.image is None else self.image.get("seed")

    @property
    def is_embedded(self) -> bool:
        """Whether the embedded server drew it."""
        return (self.result.metadata or {}).get("server") == "embedded"

    @property
    def instead(self) -> str:
        """What stands in place of a picture: the error's word, or the kind of file."""
        if self.image is not None:
            return str(self.image.get("kind") or "cannot be shown").replace("_", " ")
        if self.result.success:
            return "nothing"
        word = self.result.error_type
        return f"failed: {word.replace('_', ' ')}" if word else "failed"


def cells_of(results: Iterable[ImageGenerationResult]) -> list[Cell]:
    """A cell for each file of each result, and one for a result that has none; reads no bytes."""
    cells = []
    for number, result in enumerate(results, start=1):
        images: list[dict[str, Any] | None] = [*result.images]
        if not images or not result.success:
            images.append(None)  # what is missing has a place, too
        for part, image in enumerate(images, start=1):
            label = f"{number}" if len(images) == 1 else f"{number}.{part}"
            cells.append(Cell(label, number - 1, result, image))
    return cells


def contact_sheet(results: Iterable[ImageGenerationResult], page: int = 1) -> Image:
    """Sheet `page` of the results, an RGB Pillow image; each has up to 100 pictures.

    Every picture stands upright and whole, transparent ones over a chequered ground; under it are
    the number of its result and its seed. A failure is a grey cell with the error's word. Raises
    ValueError for a page that there is not.
    """
    cells = cells_of(results)
    pages = max(1, ceil(len(cells) / PAGE))
    if not 1 <= page <= pages:
        raise ValueError(f"there is no page {page}; these results have {pages}")
    first = (page - 1) * PAGE
    shown = cells[first : first + PAGE]
    title = counted(cells)
    if pages > 1:
        title += f"; these are {first + 1} to {first + len(shown)}, sheet {page} of {pages}"
    return _drawn(shown, title)


def counted(cells: Sequence[Cell]) -> str:
    """How many pictures there are, and how many requests failed."""
    pictures = sum(cell.image is not None for cell in cells)
    failed = sum(cell.image is None for cell in cells)
    told = "1 picture" if pictures == 1 else f"{pictures:,} pictures"
    return f"{told}, {failed:,} failed" if failed else told


def thumbnail(image: dict[str, Any], side: int) -> Image | None:
    """A picture of at most side×side pixels, RGB and upright; None for what is no picture.

    One that is smaller keeps its size.
    """
    from image_io.source_images import load_source

    try:
        data = image.get("bytes")
        if not isinstance(data, bytes) or image.get("kind"):
            return None
        loaded = load_source(data, roots=()).image
    except ImageGenerationError:
        return None
    loaded.thumbnail((side, side))
    return loaded if loaded.mode == "RGB" else _over_checks(loaded)


def thumbnail_jpeg(image: dict[str, Any], side: int) -> bytes | None:
    """The same as a JPEG file."""
    small = thumbnail(image, side)
    if small is None:
        return None
    file = BytesIO()
    small.save(file, "JPEG", quality=82, optimize=True)
    return file.getvalue()


def _over_checks(image: Image) -> Image:
    from PIL import Image as PillowImage
    from PIL import ImageDraw

    ground = PillowImage.new("RGB", image.size, _CHECKS[0])
    draw = ImageDraw.Draw(ground)
    for top in range(0, image.height, _CHECK):
        for left in range((top // _CHECK % 2) * _CHECK, image.width, 2 * _CHECK):
            draw.rectangle((left, top, left + _CHECK - 1, top + _CHECK - 1), _CHECKS[1])
    ground.paste(image, mask=image.getchannel("A"))
    return ground


def _drawn(cells: Sequence[Cell], title: str) -> Image:
    from PIL import Image as PillowImage
    from PIL import ImageDraw

    columns = max(1, min(_MOST_COLUMNS, round(sqrt(len(cells) * 4 / 3))))
    small = [None if cell.image is None else thumbnail(cell.image, _SIDE) for cell in cells]
    starts = range(0, len(cells), columns)
    heights = [_height(small[start : start + columns]) for start in starts]
    width = max(_GAP + columns * (_SIDE + _GAP), 2 * _SIDE)
    below = _GAP + 2 * _LINE
    sheet = PillowImage.new("RGB", (width, _TITLE + sum(h + below for h in heights)), _GROUND)
    draw = ImageDraw.Draw(sheet)
    _write(draw, (_GAP, _TITLE // 2 - 10), title, _font(18), width - 2 * _GAP, _INK)
    top = _TITLE
    for start, height in zip(starts, heights, strict=True):
        for column, cell in enumerate(cells[start : start + columns]):
            left = _GAP + column * (_SIDE + _GAP)
            _draw_cell(sheet, draw, cell, small[start + column], (left, top, height))
        top += height + below
    return sheet


def _height(row: Sequence[Image | None]) -> int:
    """Of the highest in a row; a row without pictures is as high as it is wide."""
    return max((each.height for each in row if each is not None), default=_SIDE // 2)


def _draw_cell(
    sheet: Image, draw: ImageDraw, cell: Cell, small: Image | None, place: tuple[int, int, int]
) -> None:
    left, top, height = place
    if small is not None:
        sheet.paste(small, (left, top + height - small.height))
    else:
        high = min(height, max(_LEAST_HEIGHT, _SIDE // 2))
        draw.rectangle((left, top + height - high, left + _SIDE - 1, top + height - 1), _EMPTY)
        colour = _WRONG if cell.image is None else _INK
        middle = (left + 12, top + height - high // 2 - 10)
        _write(draw, middle, cell.instead, _font(17), _SIDE - 24, colour)
    told = cell.number if cell.seed is None else f"{cell.number}   seed {cell.seed}"
    below = top + height + 4
    _write(draw, (left, below), told, _font(14), _SIDE, _INK)
    note = EMBEDDED_NOTE if cell.is_embedded and cell.image is not None else ""
    _write(draw, (left, below + _LINE - 2), note, _font(13), _SIDE, _SOFT)


def _write(
    draw: ImageDraw, place: tuple[int, int], text: str, font: Font, width: int, colour: str
) -> None:
    """One line that ends with an ellipsis where there is no more room."""
    # The font of an old Pillow has no more than these characters.
    text = text.encode("ascii", "replace").decode()
    if font.getlength(text) > width:
        while text and font.getlength(f"{text}...") > width:
            text = text[:-1]
        text += "..."
    draw.text(place, text, fill=colour, font=font)


def _font(size: int) -> Font:
    from PIL import ImageFont

    try:
        return ImageFont.load_default(size)
    except TypeError:  # Pillow 10.0 has one size only
        return ImageFont.load_default()
