"""What fal's FLUX models take.

Facts: libs/client/src/types/endpoints.ts of fal-ai/fal-js, August 2026; ranges from the models'
pages at fal.ai/models and fal.ai/docs. That white is what changes is stated in the schema of erase
alone; fal says it of fill and inpainting in the descriptions of its FLUX-Fill and FLUX-Inpaint bots
(poe.com, August 2025), and it is the FLUX convention. What flex takes is the maker's rule, to whom
fal passes it on.
"""

from __future__ import annotations

from dataclasses import replace

from hosted_providers.capabilities.flux import FLEX_RANGES
from hosted_providers.capabilities.models import Catalog, Model, Range
from hosted_providers.sizes import AspectRatios, PixelSizes, SourceSize

_WEBP_TOO = ("png", "jpeg", "webp")
_FAL_SIZES = PixelSizes(16, 512, 2048)
_FAL_RATIOS = AspectRatios(("21:9", "16:9", "4:3", "3:2", "1:1", "2:3", "3:4", "9:16", "9:21"))
_FAL_SINGLE = {"seed": "seed", "format": "output_format"}
_FAL_BASE = {"count": "num_images", "seed": "seed", "format": "output_format"}
_FAL_OPEN = {**_FAL_BASE, "steps": "num_inference_steps", "guidance_scale": "guidance_scale"}
_FAL_PICTURE = {"source": "image_url", "strength": "strength"}
_FAL_LIST = {"source": "image_urls[]"}
_FAL_CHECKER = {"enable_safety_checker": (True, False)}
_FAL_TOLERANCE = {"safety_tolerance": ("1", "2", "3", "4", "5", "6")}
_FAL_FLUX_2 = Model(
    "fal-ai/flux-2",
    _FAL_SIZES,
    _FAL_OPEN,
    images_per_call=4,
    formats=_WEBP_TOO,
    ranges={"steps": Range(4, 50), "guidance_scale": Range(0.0, 20.0)},
    options={**_FAL_CHECKER, "enable_prompt_expansion": (True, False), "output_format": _WEBP_TOO},
)
# klein has no guidance; flux-2-pro, -max and -flex have no number of pictures.
_FAL_KLEIN = replace(
    _FAL_FLUX_2,
    fields={**_FAL_BASE, "steps": "num_inference_steps"},
    ranges={"steps": Range(4, 8)},
    options={**_FAL_CHECKER, "output_format": _WEBP_TOO},
)
_FAL_FLUX_2_PRO = Model(
    "fal-ai/flux-2-pro",
    _FAL_SIZES,
    _FAL_SINGLE,
    options={**_FAL_CHECKER, "safety_tolerance": ("1", "2", "3", "4", "5")},
)
_FAL_FLUX_2_FLEX = replace(
    _FAL_FLUX_2_PRO,
    id="fal-ai/flux-2-flex",
    fields={
        **_FAL_SINGLE,
        "steps": "num_inference_steps",
        "guidance_scale": "guidance_scale",
    },
    ranges=FLEX_RANGES,
)
_FAL_FLUX_1 = Model(
    "fal-ai/flux/dev",
    _FAL_SIZES,
    _FAL_OPEN,
    images_per_call=4,
    ranges={"steps": Range(1, 50), "guidance_scale": Range(1.0, 20.0)},
    options=_FAL_CHECKER,
    edit_model="fal-ai/flux/dev/image-to-image",
)
_FAL_FLUX_1_PRO = Model(
    "fal-ai/flux-pro/v1.1", _FAL_SIZES, _FAL_BASE, images_per_call=4, options=_FAL_TOLERANCE
)
_FAL_KONTEXT = replace(
    _FAL_FLUX_1_PRO,
    id="fal-ai/flux-pro/kontext",
    sizes=_FAL_RATIOS,
    fields={**_FAL_BASE, "guidance_scale": "guidance_scale", "source": "image_url"},
    ranges={"guidance_scale": Range(1.0, 20.0)},
    needs_source=True,
)
_FAL_INPAINTING = replace(
    _FAL_FLUX_1,
    id="fal-ai/flux-general/inpainting",
    fields={**_FAL_OPEN, **_FAL_PICTURE, "mask": "mask_url", "negative_prompt": "negative_prompt"},
    needs_source=True,
    needs_mask=True,
    ranges={"steps": Range(1, 50), "strength": Range(0.01, 1.0)},
    edit_model=None,
)


def _with_edit(model: Model, name: str) -> tuple[Model, Model]:
    """The model under that id, and the one beside it that edits pictures."""
    edit = f"{name}/edit"
    fields = {**model.fields, **_FAL_LIST}
    return (
        replace(model, id=name, edit_model=edit),
        replace(model, id=edit, fields=fields, needs_source=True),
    )


FAL = Catalog(
    models=(
        *_with_edit(_FAL_FLUX_2, "fal-ai/flux-2"),
        *_with_edit(_FAL_FLUX_2_PRO, "fal-ai/flux-2-pro"),
        *_with_edit(_FAL_FLUX_2_PRO, "fal-ai/flux-2-max"),
        *_with_edit(_FAL_FLUX_2_FLEX, "fal-ai/flux-2-flex"),
        *_with_edit(_FAL_KLEIN, "fal-ai/flux-2/klein/4b"),
        *_with_edit(_FAL_KLEIN, "fal-ai/flux-2/klein/9b"),
        _FAL_FLUX_1,
        replace(
            _FAL_FLUX_1,
            id="fal-ai/flux/schnell",
            ranges={"steps": Range(1, 12), "guidance_scale": Range(1.0, 20.0)},
            edit_model=None,
        ),
        replace(
            _FAL_FLUX_1,
            id="fal-ai/flux/dev/image-to-image",
            sizes=SourceSize(),
            fields={**_FAL_OPEN, **_FAL_PICTURE},
            needs_source=True,
            ranges={
                "steps": Range(10, 50),
                "guidance_scale": Range(1.0, 20.0),
                "strength": Range(0.01, 1.0),
            },
            edit_model=None,
        ),
        _FAL_FLUX_1_PRO,
        replace(
            _FAL_FLUX_1_PRO,
            id="fal-ai/flux-pro/v1.1-ultra",
            sizes=_FAL_RATIOS,
            fields={**_FAL_BASE, "source": "image_url"},
        ),
        _FAL_KONTEXT,
        replace(_FAL_KONTEXT, id="fal-ai/flux-pro/kontext/max"),
        _FAL_INPAINTING,
        replace(
            _FAL_INPAINTING,
            id="fal-ai/flux-lora/inpainting",
            fields={**_FAL_OPEN, **_FAL_PICTURE, "mask": "mask_url"},
        ),
        replace(
            _FAL_FLUX_1_PRO,
            id="fal-ai/flux-pro/v1/fill",
            sizes=SourceSize(),
            fields={**_FAL_BASE, "source": "image_url", "mask": "mask_url"},
            needs_source=True,
            needs_mask=True,
        ),
    ),
    text="fal-ai/flux-2",
    strength="fal-ai/flux/dev/image-to-image",
    mask="fal-ai/flux-pro/v1/fill",
)
