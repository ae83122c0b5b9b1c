"""Pictures and masks made ready for an upload; pure, with Pillow.

Owns the mask convention (mode "L", white = may change, black = keep), flattening, scaling, PNG
encoding and the names of uploads. Does not read files or URLs (`source_images` does) and does not
know which node takes what.
"""

from __future__ import annotations

import hashlib
from io import BytesIO
from typing import TYPE_CHECKING

from image_provider import InvalidRequestError

if TYPE_CHECKING:
    from PIL.Image import Image

    from image_io.source_images import SourceImage

_PNG_COMPRESSION = 1  # zlib level: an upload is short-lived, and 6 takes several times as long


def mask_of(source: SourceImage, mask: SourceImage | None = None) -> Image:
    """What may change in `source`: mode "L", the source's size, 255 = may change.

    A mask counts by its luminance over black, so what is transparent in it is kept; one of another
    size is stretched. Without a mask the transparent parts of the source may change. Raises
    InvalidRequestError when there is neither.
    """
    if mask is not None:
        return resize_to(_flattened(mask.image, "black").convert("L"), *source.image.size)
    if source.image.mode != "RGBA":
        raise InvalidRequestError(
            "inpainting needs to know what may change: the source image has no transparent part "
            "and there is no mask image; give one in which white marks what may change"
        )
    return source.image.getchannel("A").point(lambda alpha: 255 - alpha)


def flatten(source: SourceImage) -> Image:
    """The picture as RGB, on white where it is transparent."""
    return _flattened(source.image, "white")


def _flattened(image: Image, color: str) -> Image:
    from PIL import Image as PillowImage

    if image.mode != "RGBA":
        return image.convert("RGB")
    ground = PillowImage.new("RGBA", image.size, color)
    return PillowImage.alpha_composite(ground, image).convert("RGB")


def resize_to(image: Image, width: int, height: int) -> Image:
    """The image at width×height pixels: Lanczos for pictures, bilinear for masks (mode "L")."""
    from PIL.Image import Resampling

    if image.size == (width, height):
        return image
    # Lanczos rings at hard edges, which in a mask would let pixels outside of it change.
    method = Resampling.BILINEAR if image.mode == "L" else Resampling.LANCZOS
    return image.resize((width, height), method)


def fit_size(width: int, height: int, multiple: int) -> tuple[int, int]:
    """(width, height) in pixels, each the nearest multiple of `multiple`, and at least one."""
    fitted_width, fitted_height = (
        max(1, (side + multiple // 2) // multiple) * multiple for side in (width, height)
    )
    return fitted_width, fitted_height


def encode_png(image: Image) -> bytes:
    """The image as a PNG file without metadata."""
    buffer = BytesIO()
    image.save(buffer, "PNG", compress_level=_PNG_COMPRESSION)
    return buffer.getvalue()


def encode_for_comfyui(rgb: Image, mask: Image) -> bytes:
    """A PNG that gives LoadImage both `rgb` and `mask` (white = may change).

    LoadImage takes the mask as 1 - alpha and the picture from the colours (ComfyUI, nodes.py), so
    alpha is 255 - mask and the colours stay under it. A mask of another size is stretched.
    """
    picture = rgb.convert("RGB")
    picture.putalpha(resize_to(mask, *picture.size).point(lambda value: 255 - value))
    return encode_png(picture)


def upload_name(data: bytes) -> str:
    """A file name made of the content's SHA-256, so that the same picture is uploaded once."""
    return f"{hashlib.sha256(data).hexdigest()[:32]}.png"
