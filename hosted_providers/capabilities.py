"""What every hosted model takes: the one table that payloads, checks and documentation read.

A parameter is taken when `Model.fields` gives the vendor's name for it; what has no name there is
reported as ignored. A model that is not in the table is treated as the most similar one that is,
so that new ids work on the day they appear. Facts were collected in November 2026 from the
vendors' documentation and their SDKs; the comments name the sources. Data only, no I/O.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

from hosted_providers.sizes import AspectRatios, FixedSizes, PixelSizes, SizeRule, SourceSize


class MaskForm(Enum):
    """How the vendor wants "may change" written; the library's own form is white."""

    WHITE = "white pixels change"
    TRANSPARENT = "transparent pixels change"


@dataclass(frozen=True)
class Model:
    """One model id and what it takes.

    `fields`: request parameter → the vendor's field; a name that ends in [] is a list of one.
    The parameters are seed, steps, guidance_scale, negative_prompt, strength, source, mask, count
    (pictures a call) and format. `seeded` is sent when a seed is; `constants` always.
    `edit_sizes` holds in place of `sizes` when there is a source image; `edit_model` is the id
    that takes a source image in this one's place. `shutdown` is the vendor's date, ISO 8601.
    """

    id: str
    sizes: SizeRule
    fields: Mapping[str, str]
    needs_source: bool = False
    needs_mask: bool = False
    images_per_call: int = 1
    mask_form: MaskForm = MaskForm.WHITE
    formats: tuple[str, ...] = ("png", "jpeg")
    constants: Mapping[str, Any] = field(default_factory=dict)
    seeded: Mapping[str, Any] = field(default_factory=dict)
    edit_sizes: SizeRule | None = None
    edit_model: str | None = None
    shutdown: str | None = None

    def takes(self, parameter: str) -> bool:
        """True when the model has a field for the request's parameter."""
        return parameter in self.fields


@dataclass(frozen=True)
class Catalog:
    """The models of one vendor and the ids taken when nobody names one."""

    models: tuple[Model, ...]
    text: str
    strength: str | None = None
    mask: str | None = None

    def find(self, model_id: str) -> Model:
        """The model of that id; an unknown id gets what the most similar known one takes.

        Similar is the longest known id that the unknown one starts with (a dated snapshot, say),
        else the model taken for text.
        """
        known = {model.id: model for model in self.models}
        if model_id in known:
            return known[model_id]
        begun = [name for name in known if model_id.startswith(name)]
        # Its own edit model, if it has one, is not known either.
        return replace(known[max(begun, key=len, default=self.text)], id=model_id, edit_model=None)

    def ids_with(self, parameter: str) -> list[str]:
        """The ids of the models that take the parameter."""
        return [model.id for model in self.models if model.takes(parameter)]


# OpenAI: types/image_generate_params.py and image_edit_params.py of openai 3.54.0; shutdown dates
# from developers.openai.com/api/docs/deprecations. The bounds in pixels are those that
# docs.comfy.org gives for gpt-image-2.
_GPT_SIZES = PixelSizes(16, 16, 3840, min_pixels=655_360, max_pixels=8_294_400, max_ratio=3.0)
_GPT_OLD_SIZES = FixedSizes(((1024, 1024), (1536, 1024), (1024, 1536)))
_GPT_IMAGE = Model(
    "gpt-image-2",
    _GPT_SIZES,
    {"count": "n", "source": "image", "mask": "mask"},
    images_per_call=10,
    mask_form=MaskForm.TRANSPARENT,
    formats=("png", "jpeg", "webp"),
)
_DALL_E_3 = Model(
    "dall-e-3",
    FixedSizes(((1024, 1024), (1792, 1024), (1024, 1792))),
    {"count": "n"},
    formats=("png",),
    constants={"response_format": "b64_json"},
    shutdown="2026-05-12",
)
OPENAI = Catalog(
    models=(
        _GPT_IMAGE,
        replace(_GPT_IMAGE, id="gpt-image-2.5-sunburst"),
        replace(_GPT_IMAGE, id="gpt-image-2.5-flare"),
        replace(_GPT_IMAGE, id="gpt-image-2.6-sunburst"),
        replace(_GPT_IMAGE, id="gpt-image-2.6-flare"),
        replace(_GPT_IMAGE, id="gpt-image-1", sizes=_GPT_OLD_SIZES, shutdown="2026-10-23"),
        replace(_GPT_IMAGE, id="gpt-image-1-mini", sizes=_GPT_OLD_SIZES, shutdown="2026-12-01"),
        replace(_GPT_IMAGE, id="gpt-image-1.5", sizes=_GPT_OLD_SIZES, shutdown="2026-12-01"),
        replace(_GPT_IMAGE, id="chatgpt-image-latest", shutdown="2026-12-01"),
        _DALL_E_3,
        replace(
            _DALL_E_3,
            id="dall-e-2",
            sizes=FixedSizes(((1024, 1024),)),
            images_per_call=10,
        ),
    ),
    text="gpt-image-2",
    strength="gpt-image-2",
    mask="gpt-image-2",
)

# Black Forest Labs: the OpenAPI of docs.bfl.ai and black-forest-labs/blackforest 0.2.0.
_FLUX_2_SIZES = PixelSizes(16, 64, 4096, max_pixels=4_194_304)
_FLUX_1_SIZES = PixelSizes(32, 256, 1440)
_RATIOS = ("1:1", "16:9", "21:9", "3:2", "2:3", "4:5", "5:4", "3:4", "4:3", "9:16", "9:21")
_BFL_BASE = {"seed": "seed", "format": "output_format"}
_BFL_OPEN = {**_BFL_BASE, "steps": "steps", "guidance_scale": "guidance"}
_BFL_FLUX_2 = Model("flux-2-pro", _FLUX_2_SIZES, {**_BFL_BASE, "source": "input_image"})
_BFL_FLUX_1 = Model("flux-pro-1.1", _FLUX_1_SIZES, {**_BFL_BASE, "source": "image_prompt"})
_BFL_KONTEXT = Model(
    "flux-kontext-pro", AspectRatios(_RATIOS), {**_BFL_BASE, "source": "input_image"}
)
BFL = Catalog(
    models=(
        _BFL_FLUX_2,
        replace(_BFL_FLUX_2, id="flux-2-pro-preview"),
        replace(_BFL_FLUX_2, id="flux-2-max"),
        replace(_BFL_FLUX_2, id="flux-2-flex", fields={**_BFL_OPEN, "source": "input_image"}),
        replace(_BFL_FLUX_2, id="flux-2-klein-4b"),
        replace(_BFL_FLUX_2, id="flux-2-klein-9b"),
        replace(_BFL_FLUX_2, id="flux-2-klein-9b-preview"),
        _BFL_KONTEXT,
        replace(_BFL_KONTEXT, id="flux-kontext-max"),
        _BFL_FLUX_1,
        replace(_BFL_FLUX_1, id="flux-pro-1.1-ultra", sizes=AspectRatios(_RATIOS)),
        replace(_BFL_FLUX_1, id="flux-dev", fields={**_BFL_OPEN, "source": "image_prompt"}),
        Model(
            "flux-pro-1.0-fill",
            SourceSize(),
            {**_BFL_OPEN, "source": "image", "mask": "mask"},
            needs_source=True,
            needs_mask=True,
        ),
    ),
    text="flux-2-pro",
    mask="flux-pro-1.0-fill",
)

# fal: libs/client/src/types/endpoints.ts of fal-ai/fal-js, August 2026, and fal.ai/models pages.
# That white is what changes is stated for erase alone; the others follow the FLUX convention.
_FAL_SIZES = PixelSizes(16, 512, 2048)
_FAL_BASE = {"count": "num_images", "seed": "seed", "format": "output_format"}
_FAL_OPEN = {**_FAL_BASE, "steps": "num_inference_steps", "guidance_scale": "guidance_scale"}
_FAL_PICTURE = {"source": "image_url", "strength": "strength"}
_FAL_FLUX_2 = Model(
    "fal-ai/flux-2",
    _FAL_SIZES,
    _FAL_OPEN,
    images_per_call=4,
    formats=("png", "jpeg", "webp"),
    edit_model="fal-ai/flux-2/edit",
)
_FAL_FLUX_2_EDIT = replace(
    _FAL_FLUX_2,
    id="fal-ai/flux-2/edit",
    fields={**_FAL_OPEN, "source": "image_urls[]"},
    needs_source=True,
    edit_model=None,
)
# flux-2-pro and -max have neither steps nor a number of pictures.
_FAL_FLUX_2_PRO = Model(
    "fal-ai/flux-2-pro", _FAL_SIZES, _BFL_BASE, edit_model="fal-ai/flux-2-pro/edit"
)
_FAL_FLUX_2_PRO_EDIT = replace(
    _FAL_FLUX_2_PRO,
    id="fal-ai/flux-2-pro/edit",
    fields={**_BFL_BASE, "source": "image_urls[]"},
    needs_source=True,
    edit_model=None,
)
_FAL_FLUX_1 = Model(
    "fal-ai/flux/dev",
    _FAL_SIZES,
    _FAL_OPEN,
    images_per_call=4,
    edit_model="fal-ai/flux/dev/image-to-image",
)
_FAL_INPAINTING = Model(
    "fal-ai/flux-general/inpainting",
    _FAL_SIZES,
    {**_FAL_OPEN, **_FAL_PICTURE, "mask": "mask_url", "negative_prompt": "negative_prompt"},
    needs_source=True,
    needs_mask=True,
    images_per_call=4,
)
FAL = Catalog(
    models=(
        _FAL_FLUX_2,
        _FAL_FLUX_2_EDIT,
        _FAL_FLUX_2_PRO,
        _FAL_FLUX_2_PRO_EDIT,
        replace(_FAL_FLUX_2_PRO, id="fal-ai/flux-2-max", edit_model="fal-ai/flux-2-max/edit"),
        replace(_FAL_FLUX_2_PRO_EDIT, id="fal-ai/flux-2-max/edit"),
        _FAL_FLUX_1,
        replace(_FAL_FLUX_1, id="fal-ai/flux/schnell", edit_model=None),
        Model(
            "fal-ai/flux/dev/image-to-image",
            SourceSize(),
            {**_FAL_OPEN, **_FAL_PICTURE},
            needs_source=True,
            images_per_call=4,
        ),
        Model("fal-ai/flux-pro/v1.1", _FAL_SIZES, _FAL_BASE, images_per_call=4),
        Model(
            "fal-ai/flux-pro/kontext",
            AspectRatios(_RATIOS),
            {**_FAL_BASE, "guidance_scale": "guidance_scale", "source": "image_url"},
            needs_source=True,
            images_per_call=4,
        ),
        _FAL_INPAINTING,
        replace(
            _FAL_INPAINTING,
            id="fal-ai/flux-lora/inpainting",
            fields={**_FAL_OPEN, **_FAL_PICTURE, "mask": "mask_url"},
        ),
        Model(
            "fal-ai/flux-pro/v1/fill",
            SourceSize(),
            {**_FAL_BASE, "source": "image_url", "mask": "mask_url"},
            needs_source=True,
            needs_mask=True,
            images_per_call=4,
        ),
    ),
    text="fal-ai/flux-2",
    strength="fal-ai/flux/dev/image-to-image",
    mask="fal-ai/flux-pro/v1/fill",
)

# Together: types/image_generate_params.py of together 3.1.1; which model takes what from
# togethercomputer/skills, together-images/references/api-reference.md (model feature matrix).
_TOGETHER_SIZES = PixelSizes(8, 256, 1920)
_TOGETHER_BASE = {"count": "n", "seed": "seed", "format": "output_format"}
_TOGETHER_OPEN = {**_TOGETHER_BASE, "steps": "steps", "guidance_scale": "guidance_scale"}
_TOGETHER_FLUX_2 = Model(
    "black-forest-labs/FLUX.2-pro",
    _TOGETHER_SIZES,
    {**_TOGETHER_BASE, "source": "reference_images[]"},
    images_per_call=4,
)
_TOGETHER_FLUX_2_OPEN = replace(
    _TOGETHER_FLUX_2,
    id="black-forest-labs/FLUX.2-dev",
    fields={**_TOGETHER_OPEN, "source": "reference_images[]"},
)
_TOGETHER_KONTEXT = Model(
    "black-forest-labs/FLUX.1-kontext-pro",
    _TOGETHER_SIZES,
    {**_TOGETHER_BASE, "steps": "steps", "source": "image_url"},
    images_per_call=4,
)
TOGETHER = Catalog(
    models=(
        _TOGETHER_FLUX_2,
        replace(_TOGETHER_FLUX_2, id="black-forest-labs/FLUX.2-max"),
        _TOGETHER_FLUX_2_OPEN,
        replace(_TOGETHER_FLUX_2_OPEN, id="black-forest-labs/FLUX.2-flex"),
        _TOGETHER_KONTEXT,
        replace(_TOGETHER_KONTEXT, id="black-forest-labs/FLUX.1-kontext-max"),
        Model(
            "black-forest-labs/FLUX.1-schnell",
            _TOGETHER_SIZES,
            {**_TOGETHER_BASE, "steps": "steps", "negative_prompt": "negative_prompt"},
            images_per_call=4,
        ),
        Model("black-forest-labs/FLUX.1.1-pro", _TOGETHER_SIZES, _TOGETHER_BASE, images_per_call=4),
    ),
    text="black-forest-labs/FLUX.2-pro",
)

# Replicate: the schema pages replicate.com/black-forest-labs/<model>/api and replicate/cog-flux.
# go_fast, on by default, gives other pixels for the same seed each time.
_EXACT = {"go_fast": False}
_REPLICATE_BASE = {"seed": "seed", "format": "output_format"}
_REPLICATE_OPEN = {
    **_REPLICATE_BASE,
    "count": "num_outputs",
    "steps": "num_inference_steps",
    "guidance_scale": "guidance",
}
_REPLICATE_FORMATS = ("png", "jpg", "webp")
_REPLICATE_FLUX_2 = Model(
    "black-forest-labs/flux-2-pro",
    PixelSizes(16, 256, 2048, max_pixels=4_194_304),
    {**_REPLICATE_BASE, "source": "input_images[]"},
    formats=_REPLICATE_FORMATS,
)
REPLICATE = Catalog(
    models=(
        _REPLICATE_FLUX_2,
        replace(
            _REPLICATE_FLUX_2,
            id="black-forest-labs/flux-2-flex",
            sizes=PixelSizes(32, 256, 2048, max_pixels=4_194_304),
            fields={
                **_REPLICATE_BASE,
                "steps": "steps",
                "guidance_scale": "guidance",
                "source": "input_images[]",
            },
        ),
        replace(
            _REPLICATE_FLUX_2,
            id="black-forest-labs/flux-2-dev",
            sizes=_FLUX_1_SIZES,
            seeded=_EXACT,
        ),
        Model(
            "black-forest-labs/flux-dev",
            AspectRatios(_RATIOS),
            {**_REPLICATE_OPEN, "source": "image", "strength": "prompt_strength"},
            images_per_call=4,
            formats=_REPLICATE_FORMATS,
            seeded=_EXACT,
            edit_sizes=SourceSize(),
        ),
        Model(
            "black-forest-labs/flux-schnell",
            AspectRatios(_RATIOS),
            {**_REPLICATE_BASE, "count": "num_outputs", "steps": "num_inference_steps"},
            images_per_call=4,
            formats=_REPLICATE_FORMATS,
            seeded=_EXACT,
        ),
        Model(
            "black-forest-labs/flux-1.1-pro",
            _FLUX_1_SIZES,
            {**_REPLICATE_BASE, "source": "image_prompt"},
            formats=_REPLICATE_FORMATS,
        ),
        Model(
            "black-forest-labs/flux-kontext-pro",
            AspectRatios(_RATIOS),
            {**_REPLICATE_BASE, "source": "input_image"},
            formats=("png", "jpg"),
        ),
        Model(
            "black-forest-labs/flux-fill-pro",
            SourceSize(),
            {
                **_REPLICATE_BASE,
                "steps": "steps",
                "guidance_scale": "guidance",
                "source": "image",
                "mask": "mask",
            },
            needs_source=True,
            needs_mask=True,
            formats=("png", "jpg"),
        ),
        Model(
            "black-forest-labs/flux-fill-dev",
            SourceSize(),
            {**_REPLICATE_OPEN, "source": "image", "mask": "mask"},
            needs_source=True,
            needs_mask=True,
            images_per_call=4,
            formats=_REPLICATE_FORMATS,
            constants={"megapixels": "match_input"},
        ),
    ),
    text="black-forest-labs/flux-2-pro",
    strength="black-forest-labs/flux-dev",
    mask="black-forest-labs/flux-fill-pro",
)
