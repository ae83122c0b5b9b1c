"""What the models of Black Forest Labs take.

Facts: the OpenAPI of docs.bfl.ai and black-forest-labs/blackforest 0.2.0.
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

_FLUX_2_SIZES = PixelSizes(16, 64, 4096, max_pixels=4_194_304)
# At least 256 on a side and up to 20 MB (blackforest 0.2.0): a PNG of so many pixels keeps to it.
_INPUTS = PixelSizes(1, 256, 16_384, max_pixels=6_000_000, max_ratio=64.0)
_WEBP_TOO = ("png", "jpeg", "webp")
_BFL_BASE = {"seed": "seed", "format": "output_format"}
_BFL_OPEN = {**_BFL_BASE, "steps": "steps", "guidance_scale": "guidance"}
_BFL_OPTIONS = {"safety_tolerance": (), "output_format": _WEBP_TOO}
_FLUX_1_RANGES = {"steps": Range(1, 50), "guidance_scale": Range(1.5, 5.0)}
_BFL_FLUX_2 = Model(
    "flux-2-pro",
    _FLUX_2_SIZES,
    {**_BFL_BASE, "source": "input_image"},
    formats=_WEBP_TOO,
    options=_BFL_OPTIONS,
    inputs=_INPUTS,
)
_BFL_FLUX_1 = Model(
    "flux-pro-1.1",
    FLUX_1_SIZES,
    {**_BFL_BASE, "source": "image_prompt"},
    options={**UPSAMPLING, "safety_tolerance": (), "output_format": ("png", "jpeg")},
    inputs=_INPUTS,
)
_BFL_FLUX_1_OPEN = replace(
    _BFL_FLUX_1,
    id="flux-dev",
    fields={**_BFL_OPEN, "source": "image_prompt"},
    ranges=_FLUX_1_RANGES,
)
_BFL_KONTEXT = replace(
    _BFL_FLUX_1,
    id="flux-kontext-pro",
    sizes=AspectRatios(RATIOS),
    fields={**_BFL_BASE, "source": "input_image"},
)
# flux-3-image: its pages at docs.bfl.ai/flux_3 and a program that calls it, October 2026.
_FLUX_3_RATIOS = (*RATIOS, "2:1", "1:2", "7:5", "5:7")
BFL = Catalog(
    models=(
        _BFL_FLUX_2,
        replace(_BFL_FLUX_2, id="flux-2-pro-preview"),
        replace(_BFL_FLUX_2, id="flux-2-max"),
        replace(
            _BFL_FLUX_2,
            id="flux-2-flex",
            fields={**_BFL_OPEN, "source": "input_image"},
            ranges=FLEX_RANGES,
            options={**_BFL_OPTIONS, **UPSAMPLING},
        ),
        replace(_BFL_FLUX_2, id="flux-2-klein-4b"),
        replace(_BFL_FLUX_2, id="flux-2-klein-9b"),
        replace(_BFL_FLUX_2, id="flux-2-klein-9b-preview"),
        Model(
            "flux-3-image",
            AspectRatios(_FLUX_3_RATIOS),
            {"source": "images[]"},
            options={
                "resolution": ("768sq", "1k", "1.5k", "2k", "4k"),
                "grounding": (True, False),
                "safety_tolerance": (),
            },
            inputs=_INPUTS,
        ),
        _BFL_KONTEXT,
        replace(_BFL_KONTEXT, id="flux-kontext-max"),
        _BFL_FLUX_1,
        replace(_BFL_FLUX_1, id="flux-pro-1.1-ultra", sizes=AspectRatios(RATIOS)),
        replace(_BFL_FLUX_1_OPEN, id="flux-pro"),
        _BFL_FLUX_1_OPEN,
        replace(
            _BFL_FLUX_1_OPEN,
            id="flux-pro-1.0-fill",
            sizes=SourceSize(),
            fields={**_BFL_OPEN, "source": "image", "mask": "mask"},
            needs_source=True,
            needs_mask=True,
            ranges=FILL_RANGES,
        ),
    ),
    text="flux-2-pro",
    mask="flux-pro-1.0-fill",
)
