"""The sampler: renews a latent by the painter's picture, step by step.

Owns how denoise, masks, batches and seeds decide the pixels. Where a mask is 0 the source comes
back byte for byte. Does not paint and does not know nodes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from comfyui.embedded.context import NodeContext
from comfyui.embedded.painter import Scene, noisy, paint
from comfyui.embedded.pixels import mix, preview_jpeg, scale_masks, thumbnail
from comfyui.embedded.values import Conditioning, Images, Latent, Masks, Model

_BATCH_STRIDE = 0x9E3779B97F4A7C15
"""Between the seeds of the pictures of one batch, so that neighbouring seeds don't repeat."""


@dataclass(frozen=True)
class Sampling:
    """What a sampler node was asked for."""

    model: Model
    positive: Conditioning
    negative: Conditioning
    seed: int
    steps: int
    denoise: float
    cfg: float
    sampler: str
    scheduler: str

    def scene(self, index: int) -> Scene:
        """What to paint as picture number `index` of the batch."""
        loras = ",".join(f"{name}:{strength:g}" for name, strength in self.model.loras)
        guidance = self.positive.guidance
        variation = f"{self.model.name}|{loras}|{self.cfg:g}|{guidance}|{self.sampler}"
        seed = (self.seed + index * _BATCH_STRIDE) % 2**64
        return Scene(self.positive.text, self.negative.text, seed, self.steps, variation)


def sample(context: NodeContext, latent: Latent, sampling: Sampling) -> Latent:
    """The latent after all steps; unchanged when there is nothing to do.

    Raises JobInterrupted.
    """
    if sampling.steps < 1 or sampling.denoise <= 0.0:
        return latent
    result = _render(latent, sampling)
    small: list[Images] = []

    def preview() -> bytes:
        if not small:
            small.append(thumbnail(result.pixels[0]))
        return preview_jpeg(noisy(small[0], sampling.seed, step / sampling.steps))

    for step in range(1, sampling.steps + 1):
        context.step(step, sampling.steps, preview)
    return result


def _render(latent: Latent, sampling: Sampling) -> Latent:
    count, height, width = latent.pixels.shape[:3]
    source = np.full_like(latent.pixels, 128) if latent.empty else latent.pixels
    painted = np.stack([paint(sampling.scene(i), width, height) for i in range(count)])
    renewed = mix(source, painted, float(sampling.denoise))
    mask = _mask_for(latent, sampling.positive)
    if mask is not None:
        renewed = mix(source, renewed, mask)
    return replace(latent, pixels=renewed, empty=False, mask=mask, painted=True)


def _mask_for(latent: Latent, positive: Conditioning) -> Masks | None:
    mask = latent.mask if latent.mask is not None else positive.mask
    if mask is None:
        return None
    count, height, width = latent.pixels.shape[:3]
    scaled = np.clip(scale_masks(mask, width, height), 0.0, 1.0)
    return np.stack([scaled[min(i, len(scaled) - 1)] for i in range(count)])
