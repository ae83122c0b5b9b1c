"""What a node is for: sampler, text encoder, loader, by its class and inputs.

Owns the class names and input names that are known without a server, and what a server's
object_info says of the others: unknown custom nodes are told by the types of their inputs and
outputs. Pure; looks at one node at a time and follows no link.
"""

from __future__ import annotations

import re

from comfyui.graph import Node, as_link, links_of
from comfyui.object_info import NodeInfo, ObjectInfo

SIDES = ("positive", "negative")
NEGATIVE_PROMPT = "negative_prompt"
"""The second text of an encoder that gives both sides, such as TextEncodeBooguEdit."""
LATENT_INPUTS = ("latent_image", "samples", "latent", "latents", "samples1")
ZERO_OUT = "ConditioningZeroOut"

TEXT_INPUTS = (
    *("text", "text_g", "text_l", "prompt", "user_prompt"),
    *("clip_l", "clip_g", "t5xxl", "llama", "bert", "mt5xl", "qwen25_7b"),
    *("wildcard_text", "populated_text"),
)
"""The inputs of text encoders that hold a prompt (nodes.py and comfy_extras of 0.26.0).

The last two are of ImpactWildcardEncode: the second is filled from the first, unless it is fixed.
"""
PROMPT_INPUTS = (
    *("prompt", "prompt_text", "text_prompt", "text", "edit_instruction", "instructions"),
    "texture_prompt",
)
"""The inputs of API nodes that say what to make, best first; under a choice their last part."""
_API_NODES = "comfy_api_nodes"
"""How the modules of ComfyUI's API nodes begin: what they make is made by a vendor."""
_MADE = re.compile(r"IMAGE|VIDEO|AUDIO|SVG|MESH|FILE_3D\w*")
_SAMPLERS = frozenset({"KSampler", "KSamplerAdvanced", "SamplerCustom", "SamplerCustomAdvanced"})
MODEL_FILES = ("ckpt_name", "unet_name", "model_name", "base_ckpt_name", "checkpoint")
_MODEL_FOLDERS = frozenset({"checkpoints", "diffusion_models", "diffusers"})
_SOURCES = frozenset({"LATENT", "IMAGE", "CONDITIONING", "MODEL"})
# ETN_…: comfyui-tooling-nodes; these two take the picture itself, as base64 text.
PICTURE_LOADERS = {
    "LoadImage": "image",
    "LoadImageOutput": "image",
    "ETN_LoadImageBase64": "image",
}
MASK_LOADERS = {"LoadImageMask": "image", "ETN_LoadMaskBase64": "mask"}
_PICTURE = re.compile(
    r"(\w+\.)?((input|init|start|first|source|base|inpaint|ref|reference)_)?"
    r"(image|pixels|destination)s?_?(?P<number>\d*)$"
)
_MASK = re.compile(r"(\w+_)?(mask|alpha)s?_?\d*$")


def known(node: Node, info: ObjectInfo | None) -> NodeInfo | None:
    """What the server says of a node's class; None where nobody has."""
    return None if info is None else info.get(node["class_type"])


def typed_inputs(node: Node, info: ObjectInfo | None, type_name: str) -> list[str]:
    """The inputs of a node that its class declares with this type; none of an unknown class."""
    described = known(node, info)
    if described is None:
        return []
    declared = described.inputs
    return [
        name for name in node["inputs"] if name in declared and declared[name].type == type_name
    ]


def is_sampler(node: Node, info: ObjectInfo | None = None) -> bool:
    """True for a node that turns a latent into another by a model and conditioning."""
    inputs = node["inputs"]
    if node["class_type"] in _SAMPLERS:
        return True
    sided = inputs.keys() >= set(SIDES)
    if "latent_image" in inputs and (as_link(inputs.get("guider")) is not None or sided):
        return True
    if not typed_inputs(node, info, "LATENT"):
        return False
    guided = bool(typed_inputs(node, info, "GUIDER"))
    return guided or (
        set(SIDES) <= set(typed_inputs(node, info, "CONDITIONING"))
        and bool(typed_inputs(node, info, "MODEL"))
    )


def is_maker(node: Node, info: ObjectInfo | None) -> bool:
    """True for a node that makes pictures or the like without a sampler, as an API node does."""
    described = known(node, info)
    if described is None or not described.python_module.startswith(_API_NODES):
        return False
    return any(_MADE.fullmatch(output.type) for output in described.outputs)


def inputs_called(node: Node, names: tuple[str, ...]) -> list[str]:
    """The inputs of these names, in their order; one that comes with a choice is `choice.name`."""
    found = [(name.rpartition(".")[2], name) for name in node["inputs"]]
    return [name for wanted in names for last, name in found if last == wanted]


def text_inputs(node: Node, side: str, info: ObjectInfo | None = None) -> list[str]:
    """The inputs of a text encoder that hold a prompt; none of any other node.

    `side`, "positive" or "negative", tells them apart where one node has both. GLIGEN's boxes only
    add to the text of an encoder.
    """
    inputs = node["inputs"]
    if side in inputs and _is_text(node, side, info):
        return [side]
    names = [name for name in TEXT_INPUTS if name in inputs]
    by_clip = "clip" in inputs and "conditioning_to" not in inputs
    if names and (by_clip or "TextEncode" in node["class_type"]):
        return _of_side(side, [*names, *({NEGATIVE_PROMPT} & inputs.keys())])
    described = known(node, info)
    if described is None or not _gives(described, "CONDITIONING"):
        return []
    if any(entry.type == "CONDITIONING" for entry in described.inputs.values()):
        return []
    texts = typed_inputs(node, info, "STRING")
    long = [name for name in texts if described.inputs[name].multiline]
    return _of_side(side, long or texts)


def _of_side(side: str, names: list[str]) -> list[str]:
    """The texts of one side, of an encoder that may have one of its own for the negative."""
    if NEGATIVE_PROMPT not in names:
        return names
    return [name for name in names if (name == NEGATIVE_PROMPT) is (side == "negative")]


def has_both_sides(node: Node) -> bool:
    """Whether a node has a positive and a negative side, of which each output gives one."""
    return node["inputs"].keys() >= {*SIDES} or NEGATIVE_PROMPT in node["inputs"]


def is_text_encoder(node: Node, info: ObjectInfo | None = None) -> bool:
    """True for a node that makes conditioning from text."""
    return any(text_inputs(node, side, info) for side in SIDES)


def _is_text(node: Node, name: str, info: ObjectInfo | None) -> bool:
    """Whether an input is a text; of a class that nobody described, as far as its value tells."""
    if known(node, info) is not None:
        return name in typed_inputs(node, info, "STRING")
    return isinstance(node["inputs"][name], str) or node["class_type"] == "Efficient Loader"


def size_input(node: Node, name: str, info: ObjectInfo | None = None) -> str | None:
    """The input of a node that makes a latent for its `name`, width or height."""
    inputs = node["inputs"]
    if f"empty_latent_{name}" in inputs:  # Efficient Loader (efficiency-nodes-comfyui)
        return f"empty_latent_{name}"
    return name if name in inputs and makes_latent(node, info) else None


def is_empty_latent(node: Node, info: ObjectInfo | None = None) -> bool:
    """True for EmptyLatentImage, StableCascade_EmptyLatentImage and their like."""
    inputs, class_type, described = node["inputs"], node["class_type"], known(node, info)
    if "empty_latent_width" in inputs or ("Empty" in class_type and "Latent" in class_type):
        return True
    if described is None or "width" not in inputs or not _gives(described, "LATENT"):
        return False
    return all(entry.type not in _SOURCES for entry in described.inputs.values())


def makes_latent(node: Node, info: ObjectInfo | None = None) -> bool:
    """Whether a node that gives a latent makes it anew, so that there is no picture in it.

    What gives conditioning beside it puts the picture there (WanImageToVideo, SVD_img2vid_…,
    InstructPixToPixConditioning); an inpainting one has it in both.
    """
    inputs, class_type = node["inputs"], node["class_type"]
    if any(name in inputs for name in LATENT_INPUTS) or typed_inputs(node, info, "LATENT"):
        return False
    described = known(node, info)
    if described is None:
        conditions = "Conditioning" in class_type or any(name in inputs for name in SIDES)
    else:
        conditions = _gives(described, "CONDITIONING")
    if conditions or "ToVideo" in class_type:
        inpaints = "mask" in inputs or "Inpaint" in class_type
        return not inpaints or "width" in inputs
    return is_empty_latent(node, info)


def _gives(described: NodeInfo, type_name: str) -> bool:
    return any(output.type == type_name for output in described.outputs)


def model_file(node: Node, info: ObjectInfo | None = None) -> str | None:
    """The input that names the model file which a node loads; None for a node that loads none."""
    inputs = node["inputs"]
    named = next((name for name in MODEL_FILES if name in inputs), None)
    described = known(node, info)
    if named is not None or described is None:
        return named
    declared = described.inputs
    return next(
        (n for n in inputs if n in declared and declared[n].model_folder in _MODEL_FOLDERS), None
    )


def picture_input(node: Node, info: ObjectInfo | None = None) -> str | None:
    """The input that names the picture which a node loads; None for a node that loads none."""
    return _loaded(node, info, PICTURE_LOADERS, "IMAGE")


def mask_input(node: Node, info: ObjectInfo | None = None) -> str | None:
    """The input that names the file which a node loads a mask, and no picture, from."""
    return _loaded(node, info, MASK_LOADERS, "MASK")


def picture_inputs(node: Node, info: ObjectInfo | None = None) -> list[str]:
    """The linked inputs that bring a picture, the main one first: image1 before image2."""
    linked = [name for name, _ in links_of(node)]
    found = [
        (int(match["number"] or 0), name) for name in linked if (match := _PICTURE.match(name))
    ]
    named = [name for _, name in sorted(found, key=lambda entry: entry[0])]
    return named or [name for name in typed_inputs(node, info, "IMAGE") if name in linked]


def mask_inputs(node: Node, info: ObjectInfo | None = None) -> list[str]:
    """The linked inputs that bring a mask."""
    linked = [name for name, _ in links_of(node)]
    named = [name for name in linked if _MASK.match(name)]
    return named or [name for name in typed_inputs(node, info, "MASK") if name in linked]


def _loaded(node: Node, info: ObjectInfo | None, classes: dict[str, str], gives: str) -> str | None:
    inputs = node["inputs"]
    name = classes.get(node["class_type"])
    if name is not None:
        return name if name in inputs else None
    described = known(node, info)
    if described is None or not described.outputs or described.outputs[0].type != gives:
        return None
    declared = described.inputs
    return next((n for n in inputs if n in declared and declared[n].upload == "image"), None)


def conditioning_inputs(node: Node, side: str, info: ObjectInfo | None = None) -> list[str]:
    """The inputs that bring what conditions one side.

    A node with both sides has one of each. Others take whatever they take for the side that they
    are on; by its type where the class is known, else by its name.
    """
    inputs = node["inputs"]
    if "cond1" in inputs:  # DualCFGGuider: the prompt, its lesser form, nothing
        names = ["cond1"] if side == "positive" else ["cond2", "negative"]
        return [name for name in names if name in inputs]
    if any(name in inputs for name in SIDES):
        return [side] if side in inputs else []
    typed = typed_inputs(node, info, "CONDITIONING")
    return typed or [name for name in inputs if name.startswith("cond")]
