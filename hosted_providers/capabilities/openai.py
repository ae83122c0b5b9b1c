"""What the models of OpenAI Images take.

Facts: types/image_generate_params.py and image_edit_params.py of openai 3.57.0; shutdown dates
from developers.openai.com/api/docs/deprecations. The bounds in pixels are those that
docs.comfy.org and several relays give for gpt-image-2 (docs.anyfast.ai, for one). For 2.6 nobody
tells any: docs.apiyi.com has "any valid size" and 4K, and six qualities, so the same are taken.
"""

from __future__ import annotations

from dataclasses import replace

from hosted_providers.capabilities.models import Catalog, MaskForm, Model
from hosted_providers.sizes import FixedSizes, PixelSizes

_GPT_SIZES = PixelSizes(16, 16, 3840, min_pixels=655_360, max_pixels=8_294_400, max_ratio=3.0)
_GPT_OLD_SIZES = FixedSizes(((1024, 1024), (1536, 1024), (1024, 1536)))
_GPT_QUALITIES = ("auto", "low", "medium", "high")
_GPT_OPTIONS = {
    "quality": _GPT_QUALITIES,
    "background": ("auto", "opaque", "transparent"),
    "output_format": ("png", "jpeg", "webp"),
    "output_compression": (),
}
_GPT_IMAGE = Model(
    "gpt-image-2",
    _GPT_SIZES,
    {"count": "n", "source": "image", "mask": "mask"},
    images_per_call=10,
    mask_form=MaskForm.TRANSPARENT,
    formats=("png", "jpeg", "webp"),
    longest_prompt=32_000,
    options=_GPT_OPTIONS,
)
_GPT_IMAGE_2_5 = replace(
    _GPT_IMAGE, options={**_GPT_OPTIONS, "quality": (*_GPT_QUALITIES, "xhigh", "max")}
)
_GPT_IMAGE_1 = replace(_GPT_IMAGE, sizes=_GPT_OLD_SIZES, shutdown="2026-12-01")
# Retired at OpenAI; compatible servers still offer them under these names.
_DALL_E_3 = Model(
    "dall-e-3",
    FixedSizes(((1024, 1024), (1792, 1024), (1024, 1792))),
    {"count": "n"},
    formats=("png",),
    longest_prompt=4000,
    options={"quality": ("standard", "hd"), "style": ("vivid", "natural")},
    constants={"response_format": "b64_json"},
    shutdown="2026-05-12",
)
_DALL_E_2 = replace(
    _DALL_E_3,
    id="dall-e-2",
    sizes=FixedSizes(((1024, 1024),)),
    images_per_call=10,
    longest_prompt=1000,
    options={},
)
OPENAI = Catalog(
    models=(
        _GPT_IMAGE,
        replace(_GPT_IMAGE_2_5, id="gpt-image-2.5-sunburst"),
        replace(_GPT_IMAGE_2_5, id="gpt-image-2.5-flare"),
        replace(_GPT_IMAGE_2_5, id="gpt-image-2.6-sunburst"),
        replace(_GPT_IMAGE_2_5, id="gpt-image-2.6-flare"),
        replace(_GPT_IMAGE_1, id="gpt-image-1", shutdown="2026-10-23"),
        replace(_GPT_IMAGE_1, id="gpt-image-1-mini"),
        replace(_GPT_IMAGE_1, id="gpt-image-1.5"),
        replace(_GPT_IMAGE_1, id="chatgpt-image-latest"),
        _DALL_E_3,
        _DALL_E_2,
    ),
    text="gpt-image-2",
    # Some compatible server's own model: its sizes are for its server to judge.
    unknown=replace(_GPT_IMAGE, sizes=PixelSizes(1, 1, 16_384), longest_prompt=None),
)
