"""Nodes that load, change and save pictures and masks, and the primitive values.

The names and inputs of the functions are those of the node classes in /object_info.
"""

from __future__ import annotations

import math
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image, ImageFilter, ImageOps

from comfyui.embedded.context import NodeContext, NodeFunction, NodeResult, Shown
from comfyui.embedded.files import save_png
from comfyui.embedded.pixels import from_pil, mix, scale, scale_masks, to_pil
from comfyui.embedded.values import Images, Masks

_CHANNELS = {"red": "R", "green": "G", "blue": "B", "alpha": "A"}
_NO_ALPHA_SIDE = 64
"""Pixels of the empty mask that LoadImage gives for a picture without transparency."""


def _load_image(context: NodeContext, image: str) -> NodeResult:
    picture = _open(context, image)
    if "A" in picture.getbands() or "transparency" in picture.info:
        alpha = picture.convert("RGBA").getchannel("A")
        return from_pil(picture), 1.0 - _plane(alpha)
    return from_pil(picture), np.zeros((1, _NO_ALPHA_SIDE, _NO_ALPHA_SIDE), dtype=np.float32)


def _load_image_mask(context: NodeContext, image: str, channel: str) -> NodeResult:
    picture = _open(context, image)
    if channel == "alpha" and "A" not in picture.getbands():
        return (np.zeros((1, _NO_ALPHA_SIDE, _NO_ALPHA_SIDE), dtype=np.float32),)
    plane = _plane(picture.convert("RGBA").getchannel(_CHANNELS[channel]))
    return (1.0 - plane if channel == "alpha" else plane,)


def _open(context: NodeContext, name: str) -> Image.Image:
    image = Image.open(context.folders.input_path(name))
    image.load()
    return ImageOps.exif_transpose(image)


def _plane(channel: Image.Image) -> Masks:
    return np.asarray(channel, dtype=np.float32)[None] / np.float32(255.0)


def _image_to_mask(context: NodeContext, image: Images, channel: str) -> NodeResult:
    if channel == "alpha":
        return (np.ones(image.shape[:3], dtype=np.float32),)
    index = ("red", "green", "blue").index(channel)
    return (image[..., index].astype(np.float32) / np.float32(255.0),)


def _mask_to_image(context: NodeContext, mask: Masks) -> NodeResult:
    grey = (np.clip(mask, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)
    return (np.repeat(grey[..., None], 3, axis=3),)


def _grow_mask(context: NodeContext, mask: Masks, expand: int, tapered_corners: bool) -> NodeResult:
    """Grow (or shrink, when negative) pixel by pixel; tapered corners grow as a plus."""
    grown = mask
    for _ in range(abs(expand)):
        grown = _neighbours(grown, np.maximum if expand > 0 else np.minimum, tapered_corners)
    return (grown,)


def _neighbours(mask: Masks, choose: Any, tapered: bool) -> Masks:
    padded = np.pad(mask, ((0, 0), (1, 1), (1, 1)), mode="edge")
    height, width = mask.shape[1:]
    result = mask
    for top in range(3):
        for left in range(3):
            if tapered and top != 1 and left != 1:
                continue
            result = choose(result, padded[:, top : top + height, left : left + width])
    return result


def _composite(
    context: NodeContext,
    destination: Images,
    source: Images,
    x: int,
    y: int,
    resize_source: bool,
    mask: Masks | None = None,
) -> NodeResult:
    height, width = destination.shape[1:3]
    if resize_source:
        source = scale(source, width, height, "bilinear")
    inside = np.s_[:, : max(0, height - y), : max(0, width - x)]
    weight = 1.0 if mask is None else scale_masks(mask, *_size(source))[inside]
    source = source[inside]
    result = destination.copy()
    area = result[:, y : y + source.shape[1], x : x + source.shape[2]]
    area[:] = mix(area, np.broadcast_to(source, area.shape), weight)
    return (result,)


def _size(images: Images) -> tuple[int, int]:
    return images.shape[2], images.shape[1]


def _image_scale(
    context: NodeContext, image: Images, upscale_method: str, width: int, height: int, crop: str
) -> NodeResult:
    old_width, old_height = _size(image)
    if width == 0 and height == 0:
        return (image,)
    width = width or max(1, round(old_width * height / old_height))
    height = height or max(1, round(old_height * width / old_width))
    return (scale(image, width, height, upscale_method, crop),)


def _image_scale_by(
    context: NodeContext, image: Images, upscale_method: str, scale_by: float
) -> NodeResult:
    width, height = (max(1, round(side * scale_by)) for side in _size(image))
    return (scale(image, width, height, upscale_method),)


def _image_scale_to_total(
    context: NodeContext,
    image: Images,
    upscale_method: str,
    megapixels: float,
    resolution_steps: int = 1,
) -> NodeResult:
    width, height = _size(image)
    factor = math.sqrt(megapixels * 1024 * 1024 / (width * height))
    new_width, new_height = (
        max(1, round(side * factor / resolution_steps)) * resolution_steps
        for side in (width, height)
    )
    return (scale(image, new_width, new_height, upscale_method),)


def _image_blur(context: NodeContext, image: Images, blur_radius: int, sigma: float) -> NodeResult:
    blur = ImageFilter.GaussianBlur(min(sigma, blur_radius))
    return (np.stack([np.asarray(to_pil(i).filter(blur)) for i in image]),)


def _image_invert(context: NodeContext, image: Images) -> NodeResult:
    return (255 - image,)


def _empty_image(
    context: NodeContext, width: int, height: int, batch_size: int, color: int
) -> NodeResult:
    image = np.empty((batch_size, height, width, 3), dtype=np.uint8)
    image[:] = (color >> 16 & 255, color >> 8 & 255, color & 255)
    return (image,)


def _image_batch(context: NodeContext, image1: Images, image2: Images) -> NodeResult:
    fitted = scale(image2, *_size(image1), "bilinear", "center")
    return (np.concatenate([image1, fitted]),)


def _save_image(context: NodeContext, images: Images, filename_prefix: str) -> NodeResult:
    return _save(context, images, filename_prefix, "output")


def _preview_image(context: NodeContext, images: Images) -> NodeResult:
    return _save(context, images, "ComfyUI" + context.folders.temp_suffix, "temp")


def _save(context: NodeContext, images: Images, prefix: str, folder_type: str) -> NodeResult:
    base = context.folders.path(folder_type)
    files = []
    for number, picture in enumerate(images):
        name = prefix.replace("%batch_num%", str(number))
        path = context.folders.next_save(name, folder_type, *_size(images))
        extra = context.job.extra_data.get("extra_pnginfo")
        save_png(to_pil(picture), path, context.job.graph, extra)
        subfolder = path.parent.relative_to(base).as_posix()
        files.append(
            {
                "filename": path.name,
                "subfolder": "" if subfolder == "." else subfolder,
                "type": folder_type,
            }
        )
    return Shown({"images": files}, (images,))


def _save_image_websocket(context: NodeContext, images: Images) -> NodeResult:
    for number, picture in enumerate(images):
        buffer = BytesIO()
        to_pil(picture).save(buffer, format="PNG", compress_level=1)
        context.board.send_result(context.node_id, number, len(images), buffer.getvalue())
    return ()


def _primitive(context: NodeContext, value: Any) -> NodeResult:
    return (value,)


NODES: dict[str, NodeFunction] = {
    "LoadImage": _load_image,
    "LoadImageMask": _load_image_mask,
    "ImageToMask": _image_to_mask,
    "MaskToImage": _mask_to_image,
    "GrowMask": _grow_mask,
    "ImageCompositeMasked": _composite,
    "ImageScale": _image_scale,
    "ImageScaleBy": _image_scale_by,
    "ImageScaleToTotalPixels": _image_scale_to_total,
    "ImageBlur": _image_blur,
    "ImageInvert": _image_invert,
    "EmptyImage": _empty_image,
    "ImageBatch": _image_batch,
    "SaveImage": _save_image,
    "PreviewImage": _preview_image,
    "SaveImageWebsocket": _save_image_websocket,
    "PrimitiveInt": _primitive,
    "PrimitiveFloat": _primitive,
    "PrimitiveString": _primitive,
    "PrimitiveStringMultiline": _primitive,
}
