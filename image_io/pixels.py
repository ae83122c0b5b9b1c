"""From a picture's file to plain pixels: decoded whole, upright, in sRGB, without metadata.

Owns the limits of pixels and effort, and what becomes of every mode that Pillow knows. Pure, with
Pillow; where a file came from is `source_images`' business. Every error is an InvalidRequestError.
"""

from __future__ import annotations

import logging
from io import BytesIO
from typing import TYPE_CHECKING

from image_io.formats import ImageFile, inspect_image, is_laborious
from image_provider import InvalidRequestError

if TYPE_CHECKING:
    from PIL.Image import Image

logger = logging.getLogger(__name__)

MAX_PIXELS = 64 * 1024 * 1024
LONGEST_SIDE = 65_535
"""In pixels, as in a JPEG; some decoders reserve many times a row for a few bytes of the file."""

_PILLOW_FORMATS = {
    "image/png": "PNG",
    "image/jpeg": "JPEG",
    "image/webp": "WEBP",
    "image/gif": "GIF",
    "image/bmp": "BMP",
    "image/tiff": "TIFF",
}
_ORIENTATION = 0x0112  # the EXIF tag; how to turn the picture upright, by its value
_UPRIGHT: dict[object, str] = {
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}
_BAND_ROWS = 256
_MODES_OF_PROFILES = {"RGB": "RGB", "CMYK": "CMYK", "GRAY": "L"}


def decoded(data: bytes, name: str, max_pixels: int) -> tuple[Image, ImageFile]:
    """The picture in a file, as `normalised` gives it, and what the file's header told."""
    from PIL import Image as PillowImage

    told = inspect_image(data)
    format_name = _PILLOW_FORMATS.get(told.mime_type)
    if format_name is None:
        raise InvalidRequestError(_not_a_picture(data, name, told.mime_type))
    if is_laborious(data):
        raise InvalidRequestError(
            f"{name} has so many parts or passes that reading it would take too long; save it "
            "again with another program"
        )
    if told.width is None or told.height is None:
        raise _damaged(name)
    _check_pixels(told.width, told.height, name, max_pixels)
    try:
        opened = PillowImage.open(BytesIO(data), formats=[format_name])
    except (PillowImage.DecompressionBombError, PillowImage.DecompressionBombWarning) as error:
        raise InvalidRequestError(
            f"{name} has {told.width}×{told.height} pixels, more than this application allows "
            "(Pillow's MAX_IMAGE_PIXELS); scale it down first"
        ) from error
    except Exception as error:
        raise _damaged(name) from error
    with opened:
        return normalised(opened, name, max_pixels), told


def normalised(opened: Image, name: str, max_pixels: int) -> Image:
    """A copy that is RGB or RGBA, in sRGB, upright and without metadata; decodes whole or raises.

    RGBA only where something in it is transparent.
    """
    # Once more: what Pillow will decode can differ from what the first header told.
    _check_pixels(*opened.size, name, max_pixels)
    try:
        image = _to_rgb(opened)
    except Exception as error:
        raise _damaged(name) from error
    image.info = {}
    return _upright(image, _orientation(opened))


def within(image: Image, max_side: int) -> Image:
    """The image, or a smaller one whose longest side has `max_side` pixels, its shape kept."""
    from PIL.Image import Resampling

    longest = max(image.size)
    if longest <= max_side:
        return image
    width, height = (max(1, round(side * max_side / longest)) for side in image.size)
    return image.resize((width, height), Resampling.LANCZOS)


def _not_a_picture(data: bytes, name: str, mime_type: str) -> str:
    if not data:
        return f"{name} is empty; give a picture file"
    kind = "a web page or other text" if data.lstrip()[:1] in (b"<", b"{") else mime_type
    return (
        f"{name} is {kind}, not a picture of a kind that is read here; give a PNG, JPEG, WebP, "
        "GIF, BMP or TIFF file"
    )


def _damaged(name: str) -> InvalidRequestError:
    return InvalidRequestError(
        f"{name} is cut off or damaged, so its pixels cannot be read; save or download it again"
    )


def _check_pixels(width: int, height: int, name: str, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise InvalidRequestError(
            f"{name} has {width}×{height} pixels, more than the {max_pixels:,} allowed; scale it "
            "down first"
        )
    if max(width, height) > LONGEST_SIDE:
        raise InvalidRequestError(
            f"{name} has {width}×{height} pixels, and a side may have {LONGEST_SIDE:,} at most; "
            "cut it first"
        )
    if width * height == 0:
        raise InvalidRequestError(f"{name} has no pixels ({width}×{height})")


def _to_rgb(image: Image) -> Image:
    if image.mode == "F" or image.mode.startswith("I"):
        return _to_8_bit(image).convert("RGB")
    profile = image.info.get("icc_profile")
    if image.mode[-1] not in "Aa" and "transparency" not in image.info:
        if image.mode not in _MODES_OF_PROFILES.values():
            image = image.convert("RGB")
        return _in_srgb(image, profile).convert("RGB")
    with_alpha = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
    alpha = with_alpha.getchannel("A")
    colors = _in_srgb(with_alpha.convert("RGB"), profile)
    if alpha.getextrema() == (255, 255):
        return colors
    colors.putalpha(alpha)
    return colors


def _in_srgb(image: Image, profile: object) -> Image:
    """The image in sRGB, which every model takes for granted; itself where that is not known.

    The mode is RGB where the profile was followed.
    """
    if not isinstance(profile, bytes) or not profile:
        return image
    from PIL import ImageCms

    try:
        given = ImageCms.ImageCmsProfile(BytesIO(profile))
        space = given.profile.xcolor_space.strip()
        is_srgb = "srgb" in ImageCms.getProfileDescription(given).lower()
        if is_srgb or _MODES_OF_PROFILES.get(space) != image.mode:
            return image
        srgb = ImageCms.createProfile("sRGB")
        followed = ImageCms.profileToProfile(image, given, srgb, outputMode="RGB")
    except Exception:
        logger.debug("a colour profile that cannot be followed; taken as sRGB", exc_info=True)
        return image
    return followed if followed is not None else image


def _to_8_bit(image: Image) -> Image:
    """Grey of 16 bits by its high byte, floats from 0 to 1 by their share of 255."""
    import numpy
    from PIL import Image as PillowImage

    width, height = image.size
    grey = PillowImage.new("L", image.size)
    # A band at a time: the numbers in between take several times the memory of the picture.
    for top in range(0, height, _BAND_ROWS):
        values = numpy.asarray(image.crop((0, top, width, min(height, top + _BAND_ROWS))))
        scaled = numpy.nan_to_num(values) * 255.0 if image.mode == "F" else values // 256
        band = scaled.clip(0, 255).astype(numpy.uint8)
        grey.paste(PillowImage.fromarray(band), (0, top))
    return grey


def _upright(image: Image, orientation: object) -> Image:
    from PIL.Image import Transpose

    turn = _UPRIGHT.get(orientation)
    return image if turn is None else image.transpose(Transpose[turn])


def _orientation(image: Image) -> object:
    if image.format == "TIFF":
        return None  # Pillow turns these itself, and up to 10.0 leaves the tag as it was
    try:
        return image.getexif().get(_ORIENTATION)
    except Exception:
        logger.debug("EXIF data that cannot be read; taken as upright", exc_info=True)
        return None
