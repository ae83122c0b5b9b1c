"""What Replicate's FLUX models take.

Facts: the schema pages replicate.com/black-forest-labs/<model>/api and replicate/cog-flux.
go_fast, on by default, gives other pixels for the same seed each time.
"""

from __future__ import annotations

from dataclasses import replace

from hosted_providers.capabilities.flux import (
    FILL_RANGES,
    FLEX_RANGES,
    FLUX_1_SIZES,
    RATIOS,
    UPSAMPLING,
)
from hosted_providers.capabilities.models import Catalog, Model, Range
from hosted_providers.sizes import AspectRatios, PixelSizes, SourceSize

_EXACT = {"go_fast": False}
_REPLICATE_BASE = {"seed": "seed", "format": "output_format"}
_REPLICATE_OPEN = {
    **_REPLICATE_BASE,
    "count": "num_outputs",
    "steps": "num_inference_steps",
    "guidance_scale": "guidance",
}
_REPLICATE_PRO_OPEN = {**_REPLICATE_BASE, "steps": "steps", "guidance_scale": "guidance"}
_REPLICATE_FORMATS = ("png", "jpg", "webp")
_REPLICATE_QUALITY = {"output_format": _REPLICATE_FORMATS, "output_quality": ()}
_REPLICATE_FLUX_2 = Model(
    "black-forest-labs/flux-2-pro",
    PixelSizes(16, 256, 2048, max_pixels=4_194_304),
    {**_REPLICATE_BASE, "source": "input_images[]"},
    formats=_REPLICATE_FORMATS,
    options={**_REPLICATE_QUALITY, "safety_tolerance": ()},
)
_REPLICATE_FLUX_1 = Model(
    "black-forest-labs/flux-dev",
    AspectRatios(RATIOS),
    {**_REPLICATE_OPEN, "source": "image", "strength": "prompt_strength"},
    images_per_call=4,
    formats=_REPLICATE_FORMATS,
    ranges={"steps": Range(1, 50), "guidance_scale": Range(0.0, 10.0)},
    options={**_REPLICATE_QUALITY, "megapixels": ("1", "0.25"), "go_fast": (True, False)},
    seeded=_EXACT,
    edit_sizes=SourceSize(),
)
_REPLICATE_KONTEXT = Model(
    "black-forest-labs/flux-kontext-pro",
    AspectRatios(RATIOS),
    {**_REPLICATE_BASE, "source": "input_image"},
    formats=("png", "jpg"),
    options={**UPSAMPLING, "safety_tolerance": ()},
)
REPLICATE = Catalog(
    models=(
        _REPLICATE_FLUX_2,
        replace(_REPLICATE_FLUX_2, id="black-forest-labs/flux-2-max"),
        replace(
            _REPLICATE_FLUX_2,
            id="black-forest-labs/flux-2-flex",
            sizes=PixelSizes(32, 256, 2048, max_pixels=4_194_304),
            fields={**_REPLICATE_PRO_OPEN, "source": "input_images[]"},
            ranges=FLEX_RANGES,
            options={**_REPLICATE_FLUX_2.options, **UPSAMPLING},
        ),
        replace(
            _REPLICATE_FLUX_2,
            id="black-forest-labs/flux-2-dev",
            sizes=FLUX_1_SIZES,
            options=_REPLICATE_QUALITY,
            seeded=_EXACT,
        ),
        replace(
            _REPLICATE_FLUX_2,
            id="black-forest-labs/flux-2-klein-4b",
            sizes=AspectRatios(RATIOS),
            fields={**_REPLICATE_BASE, "source": "images[]"},
            options=_REPLICATE_QUALITY,
        ),
        _REPLICATE_FLUX_1,
        replace(
            _REPLICATE_FLUX_1,
            id="black-forest-labs/flux-schnell",
            fields={**_REPLICATE_BASE, "count": "num_outputs", "steps": "num_inference_steps"},
            ranges={"steps": Range(1, 4)},
            edit_sizes=None,
        ),
        replace(
            _REPLICATE_FLUX_2,
            id="black-forest-labs/flux-1.1-pro",
            sizes=FLUX_1_SIZES,
            fields={**_REPLICATE_BASE, "source": "image_prompt"},
            options={**_REPLICATE_FLUX_2.options, **UPSAMPLING},
        ),
        _REPLICATE_KONTEXT,
        replace(_REPLICATE_KONTEXT, id="black-forest-labs/flux-kontext-max"),
        replace(
            _REPLICATE_KONTEXT,
            id="black-forest-labs/flux-fill-pro",
            sizes=SourceSize(),
            fields={**_REPLICATE_PRO_OPEN, "source": "image", "mask": "mask"},
            needs_source=True,
            needs_mask=True,
            ranges=FILL_RANGES,
        ),
        replace(
            _REPLICATE_FLUX_1,
            id="black-forest-labs/flux-fill-dev",
            sizes=SourceSize(),
            fields={**_REPLICATE_OPEN, "source": "image", "mask": "mask"},
            needs_source=True,
            needs_mask=True,
            ranges={"steps": Range(1, 50), "guidance_scale": Range(0.0, 100.0)},
            options=_REPLICATE_QUALITY,
            constants={"megapixels": "match_input"},
            seeded={},
            edit_sizes=None,
        ),
    ),
    text="black-forest-labs/flux-2-pro",
    strength="black-forest-labs/flux-dev",
    mask="black-forest-labs/flux-fill-pro",
)
