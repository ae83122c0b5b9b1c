"""Which pack of custom nodes a class comes from, as far as its name tells.

Owns a table of popular packs, for messages about classes that a server lacks. A class that is not
in it may be of any pack, or of a newer ComfyUI. Pure.
"""

from __future__ import annotations

from fnmatch import fnmatchcase

from comfyui.graph import Node

PACK_KEY = "cnr_id"
"""What the registry of custom nodes calls a pack by, in an editor file and in `_meta` here."""

# Class names, as shell patterns, and the pack they come from; the first that fits counts. From the
# extension-node-map.json of ComfyUI-Manager (f39cbd5, August 2026) and the packs' own sources.
_PACKS = {
    "* (rgthree)": "rgthree-comfy",
    "* [[]Crystools]": "ComfyUI-Crystools",
    "* (mtb)": "comfy_mtb",
    "* //Inspire": "ComfyUI-Inspire-Pack",
    "*(Efficient)": "efficiency-nodes-comfyui",
    "WD14Tagger|pysssss": "ComfyUI-WD14-Tagger",
    "*|pysssss": "ComfyUI-Custom-Scripts",
    "easy *": "ComfyUI-Easy-Use",
    "CR *": "ComfyUI_Comfyroll_CustomNodes",
    "Layer*: *": "ComfyUI_LayerStyle",
    "Impact*": "ComfyUI-Impact-Pack",
    "FaceDetailer*": "ComfyUI-Impact-Pack",
    "LatentSwitch": "ComfyUI-Impact-Pack",
    "ImageMaskSwitch": "ComfyUI-Impact-Pack",
    "PreviewBridge*": "ComfyUI-Impact-Pack",
    "UltralyticsDetectorProvider": "ComfyUI-Impact-Subpack",
    "AILab_QwenVL*": "ComfyUI-QwenVL",
    "Qwen[23]_VQA": "ComfyUI_Qwen3-VL-Instruct (formerly ComfyUI_Qwen2-VL-Instruct)",
    "Florence2*": "ComfyUI-Florence2",
    "DownloadAndLoadFlorence2Model": "ComfyUI-Florence2",
    "Ollama*": "comfyui-ollama",
    "JoyCaption": "ComfyUI_NYJY",
    "*LoaderGGUF": "ComfyUI-GGUF",
    "Nunchaku*": "ComfyUI-nunchaku",
    "IPAdapter*": "ComfyUI_IPAdapter_plus",
    "UltimateSDUpscale*": "ComfyUI_UltimateSDUpscale",
    "SUPIR_*": "ComfyUI-SUPIR",
    "SeedVR2*": "ComfyUI-SeedVR2_VideoUpscaler",
    "ReActor*": "ComfyUI-ReActor",
    "RMBG": "ComfyUI-RMBG",
    "TeaCache": "ComfyUI-TeaCache",
    "DetailDaemonSamplerNode": "ComfyUI-Detail-Daemon",
    "XlabsSampler": "x-flux-comfyui",
    "InpaintCrop*": "ComfyUI-Inpaint-CropAndStitch",
    "*KJ": "ComfyUI-KJNodes",
    "ColorMatch": "ComfyUI-KJNodes",
    "ImageResize+": "ComfyUI_essentials",
    "Image Save": "was-node-suite-comfyui",
    "Text Concatenate": "was-node-suite-comfyui",
    "Text Multiline": "was-node-suite-comfyui",
    "Image Saver": "ComfyUI-Image-Saver",
    "* Selector (Image Saver)": "ComfyUI-Image-Saver",
    "ETN_*": "comfyui-tooling-nodes",
    "VHS_*": "ComfyUI-VideoHelperSuite",
    "WanVideo*": "ComfyUI-WanVideoWrapper",
    "*Preprocessor": "comfyui_controlnet_aux",
}


def pack_of(class_type: str) -> str | None:
    """The pack that a class is known to come from."""
    packs = (pack for pattern, pack in _PACKS.items() if fnmatchcase(class_type, pattern))
    return next(packs, None)


def pack_of_node(node: Node) -> str | None:
    """The pack that a node is from: the editor's file may have said so (`cnr_id`)."""
    named = node.get("_meta", {}).get(PACK_KEY)
    return named if isinstance(named, str) and named else pack_of(node["class_type"])
