"""What is uploaded for image-to-image and inpainting, and the request that goes with it.

Owns the decisions: how the mask travels, which size the picture gets, what a latent's size must be
a multiple of. Nothing is sent here: a `Prepared` holds the files to upload under the names that
the request then carries. Facts: nodes.py LoadImage (mask = 1 - alpha) and LoadImageMask.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from comfyui.following import DeadEnd, Spot
from comfyui.graph import Graph, plain
from comfyui.pictures import Pictures
from comfyui.tracing import Tracer
from image_io.masks import (
    encode_for_comfyui,
    encode_png,
    fit_size,
    flatten,
    mask_of,
    resize_to,
    upload_name,
)
from image_io.source_images import Roots, SourceImage, load_source
from image_provider import DEFAULT_SIZE, ImageGenerationRequest, InvalidRequestError

_FLUX_MULTIPLE = 16
_MULTIPLE = 8
MAX_SIDE = 16384
"""The longest side in pixels that a latent can have (nodes.py, MAX_RESOLUTION)."""

OwnFile = Callable[[str], "bytes | None"]
"""The file behind a URL of the servers' own; None for any other URL."""


@dataclass(frozen=True)
class Prepared:
    """A request whose images are names of files that `uploads` holds the bytes of."""

    request: ImageGenerationRequest
    uploads: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    notes: Mapping[str, Any] = field(default_factory=dict)


def size_multiple(graph: Graph) -> int:
    """What the sides of a latent must be multiples of, in pixels: 16 for FLUX, else 8."""
    classes = [node["class_type"] for node in graph.values()]
    is_flux = any("Flux" in name or "SD3Latent" in name for name in classes)
    return _FLUX_MULTIPLE if is_flux else _MULTIPLE


def prepare(
    request: ImageGenerationRequest,
    graph: Graph,
    name: str,
    roots: Roots,
    own_file: OwnFile = lambda url: None,
) -> Prepared:
    """Loads the images that the request names and makes them fit the workflow `name`.

    Raises InvalidRequestError when the workflow has no place for a picture or mask that was given,
    for a size that no latent can have, and for what no node's input can be.
    """
    cleaned = replace(request, extra=_plain_inputs(request))
    tracer = Tracer(graph)
    pictures = Pictures(tracer)
    multiple = size_multiple(graph)
    if request.source_image is None:
        if request.mask_image is not None:
            raise InvalidRequestError(
                "a mask was given without the picture to change; give source_image_url too"
            )
        return _rounded(cleaned, multiple)
    if isinstance(pictures.source, DeadEnd):
        raise InvalidRequestError(
            f"workflow {name} loads no picture, so it cannot start from the source image; ask for "
            "one with a LoadImage node"
        )
    source, mask = _load(request, roots, own_file)
    if tracer.new_latents:  # the picture is a reference; the size is the latent's
        sized = _rounded(cleaned, multiple)
        return _with_images(sized, source, mask, pictures, name, source.image.size)
    size = _source_size(request, source.image.size)
    if max(size) > MAX_SIDE:
        raise InvalidRequestError(
            f"the source image cannot be scaled to {size[0]}×{size[1]}: a side has at most "
            f"{MAX_SIDE} pixels"
        )
    fitted = fit_size(*size, multiple)
    # The size is in the picture, so no node is told of it.
    unsized = replace(cleaned, width=DEFAULT_SIZE, height=DEFAULT_SIZE)
    prepared = Prepared(unsized, notes=_size_note(size, fitted, multiple))
    return _with_images(prepared, source, mask, pictures, name, fitted)


def _plain_inputs(request: ImageGenerationRequest) -> dict[str, Any]:
    try:
        return {key: plain(value, f"extra[{key!r}]") for key, value in request.node_inputs.items()}
    except TypeError as error:
        raise InvalidRequestError(f"{error}; give a number, a text, a truth value or a list") from (
            error
        )


def _load(
    request: ImageGenerationRequest, roots: Roots, own_file: OwnFile
) -> tuple[SourceImage, SourceImage | None]:
    def load(reference: object, what: str) -> SourceImage:
        # Such a URL is mostly of a private network, where nothing else is fetched from.
        own = own_file(reference) if isinstance(reference, str) else None
        return load_source(reference if own is None else own, roots=roots, what=what)

    source = load(request.source_image, "source image")
    return source, None if request.mask_image is None else load(request.mask_image, "mask image")


def _rounded(request: ImageGenerationRequest, multiple: int) -> Prepared:
    """The request with a size that was given made to fit; a side that was not stays so."""
    asked = request.explicit_size
    fitted = fit_size(request.width, request.height, multiple)
    width, height = (
        default if given is None else used
        for given, used, default in zip(asked, fitted, (request.width, request.height), strict=True)
    )
    notes = _size_note((request.width, request.height), (width, height), multiple)
    return Prepared(replace(request, width=width, height=height), notes=notes)


def _source_size(request: ImageGenerationRequest, own: tuple[int, int]) -> tuple[int, int]:
    """The size asked for; a side that was not given follows the picture's proportions."""
    width, height = request.explicit_size
    if width is None and height is None:
        return own
    if width is None and height is not None:
        return max(1, round(own[0] * height / own[1])), height
    if width is not None and height is None:
        return width, max(1, round(own[1] * width / own[0]))
    return request.width, request.height


def _size_note(asked: tuple[int, int], used: tuple[int, int], multiple: int) -> dict[str, Any]:
    if asked == used:
        return {}
    return {"size": {"asked": list(asked), "used": list(used), "multiple_of": multiple}}


def _with_images(
    prepared: Prepared,
    source: SourceImage,
    mask: SourceImage | None,
    pictures: Pictures,
    name: str,
    size: tuple[int, int],
) -> Prepared:
    picture = resize_to(flatten(source), *size)
    loader, mask_loader = pictures.source, pictures.mask
    if isinstance(mask_loader, DeadEnd):
        if mask is not None:
            raise InvalidRequestError(
                f"workflow {name} takes no mask; ask for an inpainting workflow"
            )
        return _uploading(prepared, encode_png(picture), None)
    area = resize_to(mask_of(source, mask), *size)
    if isinstance(loader, Spot) and mask_loader.key == loader.key:
        both = encode_for_comfyui(picture, area)
        return _uploading(prepared, both, both)
    # Whichever channel the workflow takes the mask from, it is there.
    alone = encode_for_comfyui(area.convert("RGB"), area)
    return _uploading(prepared, encode_png(picture), alone)


def _uploading(prepared: Prepared, picture: bytes, mask: bytes | None) -> Prepared:
    uploads = {upload_name(data): data for data in (picture, mask) if data is not None}
    request = replace(
        prepared.request,
        source_image_url=upload_name(picture),
        mask_image_url=upload_name(mask) if mask is not None else None,
    )
    return replace(prepared, request=request, uploads=uploads)
