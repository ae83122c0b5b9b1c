"""What every hosted model takes: the one table that payloads, checks and documentation read.

A parameter is taken when `Model.fields` gives the vendor's name for it; what has no name there is
reported as ignored. A model that is not in the table is treated as the most similar one that is,
so that new ids work on the day they appear. Facts were collected in November 2026 from the
vendors' documentation and their SDKs; each vendor's module names its sources. Data only, no I/O.
"""

from __future__ import annotations

from hosted_providers.capabilities.black_forest_labs import BFL
from hosted_providers.capabilities.fal import FAL
from hosted_providers.capabilities.models import Catalog, MaskForm, Model, Range
from hosted_providers.capabilities.openai import OPENAI
from hosted_providers.capabilities.replicate import REPLICATE
from hosted_providers.capabilities.together import TOGETHER

__all__ = [
    "BFL",
    "FAL",
    "OPENAI",
    "REPLICATE",
    "TOGETHER",
    "Catalog",
    "MaskForm",
    "Model",
    "Range",
]
