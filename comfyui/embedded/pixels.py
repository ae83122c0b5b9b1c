"""Operations on pictures and masks: conversion, scaling, blending, the caption.

Pure, on arrays as `values.py` describes them. Does not know nodes or files.
"""

from __future__ import annotations

from functools import lru_cache
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, ImageOps

from comfyui.embedded.options import SELF_DESCRIPTION
from comfyui.embedded.values import LATENT_GRID, Images, Masks

PREVIEW_SIDE = 512
"""Longest side in pixels of a preview, as the real server's."""
_CAPTIONS = (SELF_DESCRIPTION, "embedded server - no model")
_METHODS = {
    "nearest-exact": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "area": Image.Resampling.BOX,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "bislerp": Image.Resampling.BICUBIC,
}


def to_pil(picture: Images) -> Image.Image:
    """One height×width×3 picture as a Pillow image."""
    return Image.fromarray(picture)


def from_pil(image: Image.Image) -> Images:
    """A Pillow image as a batch of one."""
    return np.asarray(image.convert("RGB"))[None]


def scale(images: Images, width: int, height: int, method: str, crop: str = "disabled") -> Images:
    """Scale each picture to width×height, cutting to its proportions when crop is "center"."""
    if images.shape[1:3] == (height, width):
        return images
    if crop == "center":
        images = _cut_to_ratio(images, width / height)
    resized = [to_pil(i).resize((width, height), _METHODS[method]) for i in images]
    return np.stack([np.asarray(i) for i in resized])


def scale_masks(masks: Masks, width: int, height: int) -> Masks:
    """Scale each mask to width×height."""
    if masks.shape[1:3] == (height, width):
        return masks
    size = width, height
    resized = [Image.fromarray(m).resize(size, Image.Resampling.BILINEAR) for m in masks]
    return np.stack([np.asarray(m, dtype=np.float32) for m in resized])


def cut_to_grid(images: NDArray[np.generic]) -> NDArray[np.generic]:
    """Cut a batch evenly at its edges to multiples of the latent grid."""
    height, width = images.shape[1:3]
    top, left = height % LATENT_GRID // 2, width % LATENT_GRID // 2
    new_height, new_width = height - height % LATENT_GRID, width - width % LATENT_GRID
    return images[:, top : top + new_height, left : left + new_width]


def mix(source: Images, painted: Images, weight: float | Masks) -> Images:
    """source*(1-weight) + painted*weight, exact where the weight is 0 or 1."""
    if isinstance(weight, float) and weight in (0.0, 1.0):
        return painted if weight else source
    amount = weight if isinstance(weight, float) else weight[..., None]
    mixed = source + (painted.astype(np.float32) - source) * amount
    return (mixed + 0.5).astype(np.uint8)


def preview_jpeg(picture: Images) -> bytes:
    """A small picture as the JPEG that a preview message carries."""
    size = PREVIEW_SIDE, PREVIEW_SIDE
    image = ImageOps.contain(to_pil(picture), size, Image.Resampling.BILINEAR)
    buffer = BytesIO()
    image.save(buffer, format="JPEG", quality=75)
    return buffer.getvalue()


def thumbnail(picture: Images, side: int = 128) -> Images:
    """The picture reduced to at most `side` pixels."""
    image = to_pil(picture)
    image.thumbnail((side, side), Image.Resampling.BILINEAR)
    return np.asarray(image)


def draw_caption(picture: Images, mask: NDArray[np.float32] | None) -> Images:
    """A copy that says what made it; inside the mask if there is one, not at all if too small."""
    height, width = picture.shape[:2]
    for text in _CAPTIONS:
        label = _label(text, max(9, min(width, height) // 52))
        place = _free_place(label.shape[0], label.shape[1], height, width, mask)
        if place is not None:
            top, left = place
            captioned = picture.copy()
            area = captioned[top : top + label.shape[0], left : left + label.shape[1]]
            dark = area.astype(np.float32) * 0.45
            area[:] = (dark + (245.0 - dark) * label[:, :, None]).astype(np.uint8)
            return captioned
    return picture


@lru_cache(maxsize=16)
def _label(text: str, size: int) -> NDArray[np.float32]:
    """A text as weights from 0 (ground) to 1 (letter), with a margin."""
    try:
        font = ImageFont.load_default(size)
    except TypeError:  # Pillow 10.0 has one size only
        font = ImageFont.load_default()
    left, top, right, bottom = font.getbbox(text)
    margin = size // 2
    canvas = Image.new("L", (int(right - left) + 2 * margin, int(bottom - top) + 2 * margin))
    ImageDraw.Draw(canvas).text((margin - left, margin - top), text, fill=255, font=font)
    return np.asarray(canvas, dtype=np.float32) / 255.0


def _free_place(
    label_height: int, label_width: int, height: int, width: int, mask: NDArray[np.float32] | None
) -> tuple[int, int] | None:
    if label_height > height or label_width > width:
        return None
    if mask is None:
        return height - label_height, 0
    # A summed-area table finds the lowest box that is masked through and through.
    table = np.zeros((height + 1, width + 1), dtype=np.int64)
    table[1:, 1:] = (mask >= 1.0).cumsum(axis=0).cumsum(axis=1)
    inside = (
        table[label_height:, label_width:]
        - table[:-label_height, label_width:]
        - table[label_height:, :-label_width]
        + table[:-label_height, :-label_width]
    )
    places = np.argwhere(inside == label_height * label_width)
    return None if len(places) == 0 else (int(places[-1][0]), int(places[-1][1]))


def _cut_to_ratio(images: Images, ratio: float) -> Images:
    height, width = images.shape[1:3]
    new_width = min(width, max(1, round(height * ratio)))
    new_height = min(height, max(1, round(width / ratio)))
    top, left = (height - new_height) // 2, (width - new_width) // 2
    return images[:, top : top + new_height, left : left + new_width]
