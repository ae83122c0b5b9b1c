"""What is uploaded for image-to-image and inpainting, and the request that goes with it.

Owns the decisions: how the mask travels, which size the picture gets, what a latent's size must be
a multiple of. Where picture and mask go is decided by binding. Nothing is sent here: a `Prepared`
holds the files to upload under the names that the request then carries. Facts: nodes.py LoadImage
(mask = 1 - alpha) and LoadImageMask.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from comfyui.graph import Graph, plain
from comfyui.object_info import ObjectInfo
from comfyui.placeholders import Place
from comfyui.tracing import Tracer
from comfyui.workflow import Workflow
from image_io.masks import (
    encode_for_comfyui,
    encode_png,
    fit_size,
    flatten,
    mask_of,
    resize_to,
    upload_name,
)
from image_io.source_images import LoadSource, SourceImage, source_loader
from image_provider import DEFAULT_SIZE, ImageGenerationRequest, InvalidRequestError

_FLUX_MULTIPLE = 16
_MULTIPLE = 8
MAX_SIDE = 16384
"""The longest side in pixels that a latent can have (nodes.py, MAX_RESOLUTION)."""

_ON_TRIAL = "picture.png"
"""Stands for the files where only their places are asked for."""

OwnFile = Callable[[str], "bytes | None"]
"""The file behind a URL of the servers' own; None for any other URL."""


@dataclass(frozen=True)
class Prepared:
    """A request whose images are names of files that `uploads` holds the bytes of."""

    request: ImageGenerationRequest
    uploads: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    notes: Mapping[str, Any] = field(default_factory=dict)


class _Places(NamedTuple):
    """Where source and mask go; nowhere also where the request itself sets the place."""

    source: set[Place]
    mask: set[Place]
    missing: dict[str, str]
    """The parameters that have no place at all, and why."""
    has_size: bool
    """Whether the size is a latent's, not the picture's."""


def size_multiple(graph: Graph) -> int:
    """What the sides of a latent must be multiples of, in pixels: 16 for FLUX, else 8."""
    classes = [node["class_type"] for node in graph.values()]
    is_flux = any("Flux" in name or "SD3Latent" in name for name in classes)
    return _FLUX_MULTIPLE if is_flux else _MULTIPLE


def prepare(
    request: ImageGenerationRequest,
    workflow: Workflow,
    name: str,
    load: LoadSource | None = None,
    own_file: OwnFile = lambda url: None,
    object_info: ObjectInfo | None = None,
) -> Prepared:
    """Loads the images that the request names and makes them fit the workflow `name`.

    `load` knows where they may come from; without it the settings do. Raises InvalidRequestError
    when the workflow has no place for a picture or mask that was given, for a size that no latent
    can have, and for what no node's input can be; WorkflowError for a workflow that the request
    cannot be bound to.
    """
    cleaned = replace(request, extra=plain_inputs(request))
    multiple = size_multiple(workflow.graph)
    if request.source_image is None:
        if request.mask_image is not None:
            raise InvalidRequestError(
                "a mask was given without the picture to change; give source_image_url too"
            )
        return _rounded(cleaned, multiple)
    places = _places(cleaned, workflow, object_info)
    why = places.missing.get("source_image_url")
    if why is not None:
        raise InvalidRequestError(
            f"workflow {name} loads no picture ({why}), so it cannot start from the source image; "
            "ask for one with a LoadImage node"
        )
    source, mask = _load(request, load or source_loader(), own_file)
    if places.has_size:  # the picture is a reference; the size is the latent's
        sized = _rounded(cleaned, multiple)
        sized = replace(sized, notes={**sized.notes, **_source_note(source)})
        return _with_images(sized, source, mask, places, name, source.image.size)
    size = _source_size(request, source.image.size)
    if max(size) > MAX_SIDE:
        raise InvalidRequestError(
            f"the source image cannot be scaled to {size[0]}×{size[1]}: a side has at most "
            f"{MAX_SIDE} pixels"
        )
    fitted = fit_size(*size, multiple)
    # The size is in the picture, so no node is told of it.
    unsized = replace(cleaned, width=DEFAULT_SIZE, height=DEFAULT_SIZE)
    notes = {**_size_note(size, fitted, multiple), **_source_note(source)}
    prepared = Prepared(unsized, notes=notes)
    return _with_images(prepared, source, mask, places, name, fitted)


def _places(
    request: ImageGenerationRequest, workflow: Workflow, object_info: ObjectInfo | None
) -> _Places:
    """What the workflow does with pictures, by binding it: so it cannot be another in the end."""
    trial = replace(
        request,
        source_image_url=_ON_TRIAL,
        mask_image_url=_ON_TRIAL,
        width=int(request.width),
        height=int(request.height),
        seed=request.seed or 0,  # a placeholder wants one
    )
    bound = workflow.bind(trial, object_info)

    def taking(parameter: str) -> set[Place]:
        # A switch is turned for a picture; it takes none.
        return {
            (entry.node_id, entry.input_name)
            for entry in bound.bindings
            if entry.parameter == parameter and entry.value == _ON_TRIAL
        }

    missing = {entry.parameter: entry.reason for entry in bound.ignored if not entry.is_overruled}
    sizes = (entry for entry in bound.bindings if entry.parameter in ("width", "height"))
    has_size = any(isinstance(entry.value, int) for entry in sizes) or bool(
        Tracer(bound.graph, object_info).new_latents
    )
    return _Places(taking("source_image_url"), taking("mask_image_url"), missing, has_size)


def plain_inputs(request: ImageGenerationRequest) -> dict[str, Any]:
    """What `extra` holds for nodes, as JSON has it; InvalidRequestError for what that lacks."""
    try:
        return {key: plain(value, f"extra[{key!r}]") for key, value in request.node_inputs.items()}
    except TypeError as error:
        raise InvalidRequestError(f"{error}; give a number, a text, a truth value or a list") from (
            error
        )


def _load(
    request: ImageGenerationRequest, load: LoadSource, own_file: OwnFile
) -> tuple[SourceImage, SourceImage | None]:
    def loaded(reference: object, what: str) -> SourceImage:
        # Such a URL is mostly of a private network, where nothing else is fetched from.
        own = own_file(reference) if isinstance(reference, str) else None
        return load(reference if own is None else own, what)

    source = loaded(request.source_image, "source image")
    if request.mask_image is None:
        return source, None
    return source, loaded(request.mask_image, "mask image")


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


def _source_note(source: SourceImage) -> dict[str, Any]:
    if source.scaled_from is None:
        return {}
    sizes = {"asked": list(source.scaled_from), "used": list(source.image.size)}
    return {"adjusted": [{"parameter": "source_image_url", **sizes}]}


def _with_images(
    prepared: Prepared,
    source: SourceImage,
    mask: SourceImage | None,
    places: _Places,
    name: str,
    size: tuple[int, int],
) -> Prepared:
    picture = resize_to(flatten(source), *size)
    why = places.missing.get("mask_image_url")
    if mask is not None and why is not None:
        raise InvalidRequestError(
            f"workflow {name} takes no mask ({why}); ask for an inpainting workflow"
        )
    if mask is None and not places.mask:
        return _uploading(prepared, encode_png(picture), None)
    area = resize_to(mask_of(source, mask), *size)
    if places.source & places.mask:
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
