"""What FLUX models have in common at several vendors: sizes, shapes, ranges."""

from __future__ import annotations

from hosted_providers.capabilities.models import Range
from hosted_providers.sizes import PixelSizes

FLUX_1_SIZES = PixelSizes(32, 256, 1440)
RATIOS = ("1:1", "16:9", "21:9", "3:2", "2:3", "4:5", "5:4", "3:4", "4:3", "9:16", "9:21")
UPSAMPLING = {"prompt_upsampling": (True, False)}
FLEX_RANGES = {"steps": Range(1, 50), "guidance_scale": Range(1.5, 10.0)}
FILL_RANGES = {"steps": Range(15, 50), "guidance_scale": Range(1.5, 100.0)}
