"""What travels along the links of a graph in the embedded server.

Pictures are uint8 arrays batch×height×width×3, masks float32 batch×height×width from 0 (keep)
to 1 (change). A latent is a picture at full resolution, an honest stand-in: decoding is exact,
so pixels outside a mask come back byte for byte. No behaviour beyond small copies.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.uint8]
Masks = NDArray[np.float32]

LATENT_GRID = 8
"""Pixels per latent cell: sizes are cut to a multiple of it."""


@dataclass(frozen=True)
class Model:
    """A loaded model, or its text encoder: a name and the LoRAs put on it."""

    name: str
    loras: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class Conditioning:
    """An encoded text."""

    text: str
    guidance: float | None = None
    mask: Masks | None = None
    """What an inpainting model was told to change."""


@dataclass(frozen=True)
class Latent:
    """Pictures being made."""

    pixels: Images
    empty: bool = False
    """True for fresh noise: there is no source picture to keep."""
    mask: Masks | None = None
    painted: bool = False
    """True once a sampler changed it: then decoding draws the caption."""


@dataclass(frozen=True)
class Guider:
    """Model, texts and strength of guidance for SamplerCustomAdvanced."""

    model: Model
    positive: Conditioning
    negative: Conditioning
    cfg: float


@dataclass(frozen=True)
class Sigmas:
    """A schedule: how many steps, and how much of the picture they renew (0 to 1)."""

    steps: int
    denoise: float
    scheduler: str
