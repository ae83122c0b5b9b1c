"""Nodes that load models, encode texts and sample latents.

The names and inputs of the functions are those of the node classes in /object_info. Loaders
only remember names: there is no model.
"""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import numpy as np

from comfyui.embedded.context import NodeContext, NodeFunction, NodeResult
from comfyui.embedded.pixels import cut_to_grid, draw_caption, scale, scale_masks
from comfyui.embedded.sampling import Sampling, sample
from comfyui.embedded.values import (
    LATENT_GRID,
    Conditioning,
    Guider,
    Images,
    Latent,
    Masks,
    Model,
    Sigmas,
)


def _load_checkpoint(context: NodeContext, ckpt_name: str) -> NodeResult:
    return Model(ckpt_name), Model(ckpt_name), ckpt_name


def _load_unet(context: NodeContext, unet_name: str, weight_dtype: str) -> NodeResult:
    return (Model(unet_name),)


def _load_clip(context: NodeContext, clip_name: str, type: str, device: str = "") -> NodeResult:
    return (Model(clip_name),)


def _load_two_clips(
    context: NodeContext, clip_name1: str, clip_name2: str, type: str, device: str = ""
) -> NodeResult:
    return (Model(f"{clip_name1}+{clip_name2}"),)


def _load_vae(context: NodeContext, vae_name: str) -> NodeResult:
    return (vae_name,)


def _with_lora(model: Model, lora_name: str, strength: float) -> Model:
    return replace(model, loras=(*model.loras, (lora_name, strength)))


def _load_lora(
    context: NodeContext,
    model: Model,
    clip: Model,
    lora_name: str,
    strength_model: float,
    strength_clip: float,
) -> NodeResult:
    return (
        _with_lora(model, lora_name, strength_model),
        _with_lora(clip, lora_name, strength_clip),
    )


def _load_lora_model_only(
    context: NodeContext, model: Model, lora_name: str, strength_model: float
) -> NodeResult:
    return (_with_lora(model, lora_name, strength_model),)


def _differential_diffusion(
    context: NodeContext, model: Model, strength: float = 1.0
) -> NodeResult:
    return (model,)


def _model_sampling_flux(
    context: NodeContext,
    model: Model,
    max_shift: float,
    base_shift: float,
    width: int,
    height: int,
) -> NodeResult:
    return (model,)


def _encode_text(context: NodeContext, text: str, clip: Model) -> NodeResult:
    return (Conditioning(text),)


def _encode_text_flux(
    context: NodeContext, clip: Model, clip_l: str, t5xxl: str, guidance: float
) -> NodeResult:
    text = clip_l if clip_l == t5xxl else f"{clip_l} {t5xxl}".strip()
    return (Conditioning(text, guidance),)


def _flux_guidance(context: NodeContext, conditioning: Conditioning, guidance: float) -> NodeResult:
    return (replace(conditioning, guidance=guidance),)


def _zero_out(context: NodeContext, conditioning: Conditioning) -> NodeResult:
    return (replace(conditioning, text=""),)


def _empty_latent(context: NodeContext, width: int, height: int, batch_size: int) -> NodeResult:
    shape = batch_size, height // LATENT_GRID * LATENT_GRID, width // LATENT_GRID * LATENT_GRID, 3
    return (Latent(np.zeros(shape, dtype=np.uint8), empty=True),)


def _encode(pixels: Images, mask: Masks | None = None) -> Latent:
    cut = cast(Images, cut_to_grid(pixels))
    if mask is not None:
        fitted = scale_masks(mask, pixels.shape[2], pixels.shape[1])
        mask = cast(Masks, cut_to_grid(fitted))
    return Latent(cut, mask=mask)


def _vae_encode(context: NodeContext, pixels: Images, vae: str) -> NodeResult:
    return (_encode(pixels),)


def _vae_encode_for_inpaint(
    context: NodeContext, pixels: Images, vae: str, mask: Masks, grow_mask_by: int
) -> NodeResult:
    # grow_mask_by hides the seam of the latent grid; pixels have none, so the mask stays exact.
    return (_encode(pixels, mask),)


def _vae_decode(context: NodeContext, samples: Latent, vae: str) -> NodeResult:
    if not samples.painted:
        return (samples.pixels,)
    masks = [None] * len(samples.pixels) if samples.mask is None else list(samples.mask)
    pictures = [draw_caption(p, m) for p, m in zip(samples.pixels, masks, strict=True)]
    return (np.stack(pictures),)


def _set_noise_mask(context: NodeContext, samples: Latent, mask: Masks) -> NodeResult:
    return (replace(samples, mask=mask),)


def _inpaint_conditioning(
    context: NodeContext,
    positive: Conditioning,
    negative: Conditioning,
    vae: str,
    pixels: Images,
    mask: Masks,
    noise_mask: bool,
) -> NodeResult:
    latent = _encode(pixels, mask)
    conditionings = (replace(c, mask=latent.mask) for c in (positive, negative))
    return (*conditionings, latent if noise_mask else replace(latent, mask=None))


def _repeat_batch(context: NodeContext, samples: Latent, amount: int) -> NodeResult:
    return (replace(samples, pixels=np.tile(samples.pixels, (amount, 1, 1, 1))),)


def _scaled_latent(samples: Latent, method: str, width: int, height: int, crop: str) -> Latent:
    pixels = scale(samples.pixels, width, height, method, crop)
    return replace(samples, pixels=pixels)


def _latent_upscale(
    context: NodeContext, samples: Latent, upscale_method: str, width: int, height: int, crop: str
) -> NodeResult:
    old_height, old_width = samples.pixels.shape[1:3]
    if width == 0 and height == 0:
        return (samples,)
    width = width or max(64, round(old_width * height / old_height))
    height = height or max(64, round(old_height * width / old_width))
    grid = LATENT_GRID
    return (
        _scaled_latent(samples, upscale_method, width // grid * grid, height // grid * grid, crop),
    )


def _latent_upscale_by(
    context: NodeContext, samples: Latent, upscale_method: str, scale_by: float
) -> NodeResult:
    height, width = (
        max(1, round(side / LATENT_GRID * scale_by)) * LATENT_GRID
        for side in samples.pixels.shape[1:3]
    )
    return (_scaled_latent(samples, upscale_method, width, height, "disabled"),)


def _ksampler(
    context: NodeContext,
    model: Model,
    seed: int,
    steps: int,
    cfg: float,
    sampler_name: str,
    scheduler: str,
    positive: Conditioning,
    negative: Conditioning,
    latent_image: Latent,
    denoise: float,
) -> NodeResult:
    sampling = Sampling(
        model, positive, negative, seed, steps, denoise, cfg, sampler_name, scheduler
    )
    return (sample(context, latent_image, sampling),)


def _ksampler_advanced(
    context: NodeContext,
    model: Model,
    add_noise: str,
    noise_seed: int,
    steps: int,
    cfg: float,
    sampler_name: str,
    scheduler: str,
    positive: Conditioning,
    negative: Conditioning,
    latent_image: Latent,
    start_at_step: int,
    end_at_step: int,
    return_with_leftover_noise: str,
) -> NodeResult:
    first, last = min(start_at_step, steps), min(end_at_step, steps)
    denoise = 1.0 - first / steps
    sampling = Sampling(
        model, positive, negative, noise_seed, last - first, denoise, cfg, sampler_name, scheduler
    )
    return (sample(context, latent_image, sampling),)


def _random_noise(context: NodeContext, noise_seed: int) -> NodeResult:
    return (noise_seed,)


def _select_sampler(context: NodeContext, sampler_name: str) -> NodeResult:
    return (sampler_name,)


def _basic_scheduler(
    context: NodeContext, model: Model, scheduler: str, steps: int, denoise: float
) -> NodeResult:
    return (Sigmas(steps if denoise > 0.0 else 0, denoise, scheduler),)


def _basic_guider(context: NodeContext, model: Model, conditioning: Conditioning) -> NodeResult:
    return (Guider(model, conditioning, Conditioning(""), 1.0),)


def _cfg_guider(
    context: NodeContext,
    model: Model,
    positive: Conditioning,
    negative: Conditioning,
    cfg: float,
) -> NodeResult:
    return (Guider(model, positive, negative, cfg),)


def _sampler_custom(
    context: NodeContext,
    noise: int,
    guider: Guider,
    sampler: str,
    sigmas: Sigmas,
    latent_image: Latent,
) -> NodeResult:
    sampling = Sampling(
        guider.model,
        guider.positive,
        guider.negative,
        noise,
        sigmas.steps,
        sigmas.denoise,
        guider.cfg,
        sampler,
        sigmas.scheduler,
    )
    latent = sample(context, latent_image, sampling)
    return latent, latent


NODES: dict[str, NodeFunction] = {
    "CheckpointLoaderSimple": _load_checkpoint,
    "UNETLoader": _load_unet,
    "CLIPLoader": _load_clip,
    "DualCLIPLoader": _load_two_clips,
    "VAELoader": _load_vae,
    "LoraLoader": _load_lora,
    "LoraLoaderModelOnly": _load_lora_model_only,
    "DifferentialDiffusion": _differential_diffusion,
    "ModelSamplingFlux": _model_sampling_flux,
    "CLIPTextEncode": _encode_text,
    "CLIPTextEncodeFlux": _encode_text_flux,
    "FluxGuidance": _flux_guidance,
    "ConditioningZeroOut": _zero_out,
    "InpaintModelConditioning": _inpaint_conditioning,
    "EmptyLatentImage": _empty_latent,
    "EmptySD3LatentImage": _empty_latent,
    "VAEEncode": _vae_encode,
    "VAEEncodeForInpaint": _vae_encode_for_inpaint,
    "VAEDecode": _vae_decode,
    "SetLatentNoiseMask": _set_noise_mask,
    "RepeatLatentBatch": _repeat_batch,
    "LatentUpscale": _latent_upscale,
    "LatentUpscaleBy": _latent_upscale_by,
    "KSampler": _ksampler,
    "KSamplerAdvanced": _ksampler_advanced,
    "KSamplerSelect": _select_sampler,
    "RandomNoise": _random_noise,
    "BasicScheduler": _basic_scheduler,
    "BasicGuider": _basic_guider,
    "CFGGuider": _cfg_guider,
    "SamplerCustomAdvanced": _sampler_custom,
}
