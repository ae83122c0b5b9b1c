"""Which folder under ComfyUI/models the files of a loader's input live in.

Owns two tables: inputs whose folder only their class tells, and input names that mean the same
folder in every class, custom node packs included. Facts read off ComfyUI's nodes.py, comfy_extras
and folder_paths.py (0.3.64 to 0.38). Knows nothing of a particular server.
"""

from __future__ import annotations

_BY_CLASS_AND_INPUT = {
    ("AudioEncoderLoader", "audio_encoder_name"): "audio_encoders",
    ("CLIPVisionLoader", "clip_name"): "clip_vision",
    ("CheckpointLoader", "config_name"): "configs",
    ("DiffusersLoader", "model_path"): "diffusers",
    ("FrameInterpolationModelLoader", "model_name"): "frame_interpolation",
    ("LTXAVTextEncoderLoader", "text_encoder"): "text_encoders",
    ("LatentUpscaleModelLoader", "model_name"): "latent_upscale_models",
    ("LoadBackgroundRemovalModel", "bg_removal_name"): "background_removal",
    ("LoadDA3Model", "model_name"): "geometry_estimation",
    ("LoadMediaPipeFaceLandmarker", "model_name"): "detection",
    ("LoadMoGeModel", "model_name"): "geometry_estimation",
    ("ModelPatchLoader", "name"): "model_patches",
    ("OpticalFlowLoader", "model_name"): "optical_flow",
    ("TrainLoraNode", "existing_lora"): "loras",
    ("UpscaleModelLoader", "model_name"): "upscale_models",
}

_BY_INPUT = {
    "audio_encoder_name": "audio_encoders",
    "base_ckpt_name": "checkpoints",
    "ckpt_name": "checkpoints",
    "clip_name": "text_encoders",
    "clip_vision_name": "clip_vision",
    "control_net_name": "controlnet",
    "embedding_name": "embeddings",
    "gligen_name": "gligen",
    "hypernetwork_name": "hypernetworks",
    "lora": "loras",
    "lora_name": "loras",
    "photomaker_model_name": "photomaker",
    "refiner_ckpt_name": "checkpoints",
    "style_model_name": "style_models",
    "text_encoder_name": "text_encoders",
    "unet_name": "diffusion_models",
    "upscale_model_name": "upscale_models",
    "vae_name": "vae",
}

FOLDERS = tuple(sorted({*_BY_CLASS_AND_INPUT.values(), *_BY_INPUT.values()}))
"""The folders under models/ that any of them means."""


def model_folder(class_type: str, input_name: str) -> str | None:
    """The folder under models/ of a list input's files; None when they are not model files.

    A number at the end of the name is of no account: clip_name1, lora_name_2.
    """
    by_class = _BY_CLASS_AND_INPUT.get((class_type, input_name))
    return by_class or _BY_INPUT.get(input_name.rstrip("0123456789").rstrip("_"))
