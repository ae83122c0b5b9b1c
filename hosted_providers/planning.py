"""From a request to the calls that serve it, by what the model takes.

Owns the choice of the model, what is reported as ignored or adjusted, and the split into calls;
what is refused is in `refusals.py`. Reads source images; sends nothing to a vendor.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypedDict

from hosted_providers.capabilities import Catalog, MaskForm, Model
from hosted_providers.common import Call, InputImage
from hosted_providers.refusals import check_model_id, refuse_nonsense
from hosted_providers.sizes import AspectRatios, SourceSize
from image_io.masks import encode_png, flatten, mask_of, resize_to
from image_io.source_images import LoadSource
from image_provider import MAX_SEED, ImageGenerationRequest

if TYPE_CHECKING:
    from PIL.Image import Image

DEFAULT_SIDE = 1024

_OPTIONAL = ("negative_prompt", "seed", "steps", "guidance_scale", "strength")
_NEVER = {
    "workflow": "workflows are ComfyUI's",
    "loras": "hosted models are called without LoRAs",
}


class Ignored(TypedDict):
    """One request field that was not taken, and why."""

    parameter: str
    reason: str


class Adjusted(TypedDict):
    """One request field that was out of its range, and what was sent in its place.

    A number, or [width, height] in pixels for a picture that was scaled.
    """

    parameter: str
    asked: float | list[int]
    used: float | list[int]


class SizeNote(TypedDict):
    """A size in pixels, [width, height], and what was sent in its place: a size or a shape."""

    asked: list[int]
    used: list[int] | str


@dataclass(frozen=True)
class Plan:
    """The calls that serve a request, and what they leave out or change of it."""

    model: Model
    calls: tuple[Call, ...]
    ignored: tuple[Ignored, ...]
    adjusted: tuple[Adjusted, ...]
    size: SizeNote | None


def make_plan(
    catalog: Catalog, configured: str | None, request: ImageGenerationRequest, load: LoadSource
) -> Plan:
    """The plan for a request, its pictures read by `load`.

    Raises InvalidRequestError when the model makes no sense of it.
    """
    model = choose_model(catalog, configured, request)
    refuse_nonsense(catalog, model, request)
    source, mask, original_size = _load_inputs(model, request, load)
    call, size, source_size = _sized(Call(model, request.prompt), request, source, mask)
    adjusted = tuple(_adjusted(model, request))
    taken = {name: getattr(request, name) for name in _OPTIONAL if _is_taken(model, name, request)}
    taken |= {note["parameter"]: note["used"] for note in adjusted}
    options = {name: value for name, value in request.node_inputs.items() if name in model.options}
    call = replace(call, options=options, **taken)
    calls = tuple(_split(call, request.num_images))
    adjusted += tuple(_scaled(original_size, source_size))
    return Plan(model, calls, tuple(_ignored(model, request)), adjusted, size)


def choose_model(
    catalog: Catalog, configured: str | None, request: ImageGenerationRequest
) -> Model:
    """The model that was asked for, else the vendor's default for this kind of request."""
    named = request.model or configured
    if named is None:
        default = catalog.text
        if request.mask_image is not None:
            default = catalog.mask or catalog.text
        elif request.source_image is not None and request.strength is not None:
            default = catalog.strength or catalog.text
        named = default
    check_model_id(named)
    model = catalog.find(named)
    if request.source_image is not None and model.edit_model is not None:
        return catalog.find(model.edit_model)
    return model


def _is_taken(model: Model, name: str, request: ImageGenerationRequest) -> bool:
    has_effect = name != "strength" or request.source_image is not None
    return model.takes(name) and has_effect


def _adjusted(model: Model, request: ImageGenerationRequest) -> Iterator[Adjusted]:
    for name, allowed in model.ranges.items():
        asked = getattr(request, name)
        if asked is None or not _is_taken(model, name, request):
            continue
        used = allowed.nearest(asked)
        if used != asked:
            yield Adjusted(parameter=name, asked=asked, used=used)


def _ignored(model: Model, request: ImageGenerationRequest) -> Iterator[Ignored]:
    for name in _OPTIONAL:
        # An empty negative prompt asks for none, which is what such a model has.
        if getattr(request, name) in (None, "") or _is_taken(model, name, request):
            continue
        lacks_source = name == "strength" and request.source_image is None
        reason = "there is no source image" if lacks_source else f"{model.id} does not take it"
        yield Ignored(parameter=name, reason=reason)
    for name, reason in _NEVER.items():
        if getattr(request, name):
            yield Ignored(parameter=name, reason=reason)
    left = [name for name in request.node_inputs if name not in model.options]
    if left:
        known = ", ".join(model.options) or "none"
        reason = f"{model.id} does not take {', '.join(left)}; its options: {known}"
        yield Ignored(parameter="extra", reason=reason)


def _load_inputs(
    model: Model, request: ImageGenerationRequest, load: LoadSource
) -> tuple[Image | None, Image | None, tuple[int, int] | None]:
    """The source, the mask, and the size that the source came in."""
    if request.source_image is None:
        return None, None, None
    source = load(request.source_image, "source image")
    area = None
    if request.mask_image is not None:
        area = mask_of(source, load(request.mask_image, "mask image"))
    elif model.needs_mask:
        area = mask_of(source)
    return flatten(source), area, source.scaled_from or source.image.size


def _scaled(original: tuple[int, int] | None, sent: tuple[int, int] | None) -> Iterator[Adjusted]:
    if original is not None and sent is not None and sent != original:
        yield Adjusted(parameter="source_image_url", asked=list(original), used=list(sent))


def _sized(
    call: Call, request: ImageGenerationRequest, source: Image | None, mask: Image | None
) -> tuple[Call, SizeNote | None, tuple[int, int] | None]:
    """The call with its size and pictures; a size that nobody gave is the source's, else 1024.

    Also what became of the size, and the size that the source is sent in.
    """
    given = request.explicit_size
    base = source.size if source is not None else (DEFAULT_SIDE, DEFAULT_SIDE)
    asked = given[0] or base[0], given[1] or base[1]
    rule = call.model.sizes
    if source is not None:
        rule = call.model.edit_sizes or rule
    used: tuple[int, int] | str = asked
    input_size = call.model.inputs.nearest(*(asked if isinstance(rule, SourceSize) else base))
    if isinstance(rule, AspectRatios):
        if source is None or given != (None, None):
            used = rule.nearest(*asked)
            call = replace(call, aspect_ratio=used)
    elif not isinstance(rule, SourceSize):
        used = rule.nearest(*asked)
        call = replace(call, size=used)
    else:
        used = input_size
    if source is None:
        return call, _size_note(asked, used), None
    source = resize_to(source, *input_size)
    return _with_pictures(call, source, mask), _size_note(asked, used), input_size


def _size_note(asked: tuple[int, int], used: tuple[int, int] | str) -> SizeNote | None:
    if used == asked:
        return None
    return SizeNote(asked=list(asked), used=used if isinstance(used, str) else list(used))


def _with_pictures(call: Call, source: Image, mask: Image | None) -> Call:
    call = replace(call, source=InputImage(encode_png(source)))
    if mask is None:
        return call
    mask = resize_to(mask, *source.size)
    return replace(call, mask=InputImage(encode_png(_in_form(mask, call.model.mask_form))))


def _in_form(mask: Image, form: MaskForm) -> Image:
    if form is MaskForm.WHITE:
        return mask
    from PIL import Image as PillowImage

    picture = PillowImage.new("RGBA", mask.size, "white")
    picture.putalpha(mask.point(lambda value: 255 - value))
    return picture


def _split(call: Call, wanted: int) -> Iterator[Call]:
    """As many calls as the model's number a call makes needed, each from a seed of its own."""
    for done in range(0, wanted, call.model.images_per_call):
        count = min(call.model.images_per_call, wanted - done)
        seed = None if call.seed is None else (call.seed + done) % (MAX_SEED + 1)
        yield replace(call, count=count, seed=seed)
