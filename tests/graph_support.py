"""Graphs in API format, made by hand, and what a request makes of them."""

from __future__ import annotations

from comfyui.workflow import Workflow
from image_provider import ImageGenerationRequest


def node(class_type, title=None, **inputs):
    meta = {"_meta": {"title": title}} if title else {}
    return {"class_type": class_type, "inputs": inputs, **meta}


def text_to_image(**nodes):
    """On a checkpoint `c`: `p` and `n` have the texts, `s` samples; `nodes` add or replace."""
    sides = {"positive": ["p", 0], "negative": ["n", 0]}
    return {
        "p": node("CLIPTextEncode", text="a", clip=["c", 1]),
        "n": node("CLIPTextEncode", text="b", clip=["c", 1]),
        "l": node("EmptyLatentImage", width=64, height=64),
        "c": node("CheckpointLoaderSimple", ckpt_name="x"),
        "s": node("KSampler", model=["c", 0], seed=1, steps=20, latent_image=["l", 0], **sides),
        "d": node("VAEDecode", samples=["s", 0], vae=["c", 2]),
        "o": node("SaveImage", images=["d", 0], filename_prefix="x"),
        **nodes,
    }


def bound(graph, overrides=None, **fields):
    """The binding of a request; `overrides` are those of the file's bindings."""
    workflow = Workflow(Workflow.from_dict(graph).graph, "w.json", overrides)
    return workflow.bind(ImageGenerationRequest(**{"prompt": "P", **fields}))


def values(result, *places):
    """The values after binding, of places written "id.input"."""
    return [result.graph[i]["inputs"][name] for i, name in (p.split(".") for p in places)]
