"""What Together's FLUX models take.

Facts: types/image_generate_params.py of together 3.1.1; which model takes what from
togethercomputer/skills, together-images/references/api-reference.md (model feature matrix).
There FLUX.2 dev and flex take `guidance`; the SDK's guidance_scale is that of other models.
docs.together.ai says that aspect_ratio sizes schnell and kontext, and has examples for them with
width and height, which its SDK sends, too.
"""

from __future__ import annotations

from dataclasses import replace

from hosted_providers.capabilities.flux import UPSAMPLING
from hosted_providers.capabilities.models import Catalog, Model, Range
from hosted_providers.sizes import PixelSizes

_TOGETHER_SIZES = PixelSizes(8, 256, 1920)
_TOGETHER_FLUX_1 = Model(
    "black-forest-labs/FLUX.1.1-pro",
    _TOGETHER_SIZES,
    {"count": "n", "seed": "seed"},
    images_per_call=4,
    formats=("jpeg",),
    ranges={"steps": Range(1, 50)},
    options={"disable_safety_checker": (True, False)},
)
_TOGETHER_FLUX_2 = replace(
    _TOGETHER_FLUX_1,
    id="black-forest-labs/FLUX.2-pro",
    fields={**_TOGETHER_FLUX_1.fields, "format": "output_format", "source": "reference_images[]"},
    formats=("png", "jpeg"),
    options={**_TOGETHER_FLUX_1.options, **UPSAMPLING},
)
_TOGETHER_FLUX_2_OPEN = replace(
    _TOGETHER_FLUX_2,
    id="black-forest-labs/FLUX.2-dev",
    fields={**_TOGETHER_FLUX_2.fields, "steps": "steps", "guidance_scale": "guidance"},
)
_TOGETHER_KONTEXT = replace(
    _TOGETHER_FLUX_1,
    id="black-forest-labs/FLUX.1-kontext-pro",
    fields={**_TOGETHER_FLUX_1.fields, "steps": "steps", "source": "image_url"},
)
TOGETHER = Catalog(
    models=(
        _TOGETHER_FLUX_2,
        replace(_TOGETHER_FLUX_2, id="black-forest-labs/FLUX.2-max"),
        _TOGETHER_FLUX_2_OPEN,
        replace(_TOGETHER_FLUX_2_OPEN, id="black-forest-labs/FLUX.2-flex"),
        _TOGETHER_KONTEXT,
        replace(_TOGETHER_KONTEXT, id="black-forest-labs/FLUX.1-kontext-max"),
        replace(
            _TOGETHER_FLUX_1,
            id="black-forest-labs/FLUX.1-schnell",
            fields={
                **_TOGETHER_FLUX_1.fields,
                "steps": "steps",
                "negative_prompt": "negative_prompt",
            },
        ),
        _TOGETHER_FLUX_1,
    ),
    text="black-forest-labs/FLUX.2-pro",
)
