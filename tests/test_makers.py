"""API nodes, which make the picture without a sampler: where a request's values go there."""

from __future__ import annotations

import pytest

from comfyui.object_info import ObjectInfo
from comfyui.workflow import Workflow
from image_provider import ImageGenerationRequest, WorkflowError
from tests.graph_support import node

MODULE = "comfy_api_nodes.nodes_vendor"


def described(outputs, module=MODULE, **inputs):
    return {"input": {"required": inputs}, "output": outputs, "python_module": module}


# As ComfyUI 0.33.0 describes such nodes (comfy_api_nodes), but for what nothing here asks.
INFO = ObjectInfo.from_dict(
    {
        "MakesImage": described(
            ["IMAGE"],
            prompt=["STRING", {"multiline": True}],
            negative_prompt=["STRING", {}],
            seed=["INT", {"min": 1, "max": 65535}],
            width=["INT", {"min": 64, "max": 2048}],
            height=["INT", {"min": 64, "max": 2048}],
            steps=["INT", {}],
            guidance=["FLOAT", {}],
            model=[["one", "two"], {}],
        ),
        "MakesVideo": described(["VIDEO"], prompt=["STRING", {}], image=["IMAGE", {}]),
        "Chooses": described(["VIDEO"], model=["COMFY_DYNAMICCOMBO_V3", {"options": []}]),
        "Erases": described(["IMAGE"], image=["IMAGE", {}], seed=["INT", {}]),
        "Chats": described(["STRING"], prompt=["STRING", {}]),
        "DrawsText": described(["IMAGE"], "custom_nodes.pack", prompt=["STRING", {}]),
        "SaveImage": {"input": {"required": {"images": ["IMAGE", {}]}}, "output_node": True},
        "PreviewImage": {"input": {"required": {"images": ["IMAGE", {}]}}, "output_node": True},
        "LoadImage": {"input": {"required": {"image": [["a.png"], {}]}}, "output": ["IMAGE"]},
        "PrimitiveString": {"input": {"required": {"value": ["STRING", {}]}}, "output": ["STRING"]},
    }
)
MAKER = node(
    "MakesImage",
    prompt="a dog",
    negative_prompt="",
    seed=3,
    width=64,
    height=64,
    steps=1,
    guidance=1.0,
    model="one",
)
SAVER = node("SaveImage", images=["1", 0])


def bound(graph, info=INFO, **fields):
    return Workflow(graph).bind(ImageGenerationRequest("a fox", **fields), info)


def places(result):
    return {entry.parameter: f"{entry.node_id}.{entry.input_name}" for entry in result.bindings}


def reasons(result):
    return {entry.parameter: entry.reason for entry in result.ignored}


def test_it_takes_what_it_has_an_input_for():
    given = {"negative_prompt": "rain", "width": 512, "height": 256, "seed": 7, "steps": 9}
    more = {"guidance_scale": 2.5, "model": "two", "strength": 0.5}
    result = bound({"1": MAKER, "2": SAVER}, **given, **more)
    assert result.graph["1"]["inputs"] == {
        "prompt": "a fox",
        "negative_prompt": "rain",
        "seed": 7,
        "width": 512,
        "height": 256,
        "steps": 9,
        "guidance": 2.5,
        "model": "two",
    }
    assert reasons(result) == {"strength": "MakesImage 1 has no input that takes it"}


@pytest.mark.parametrize(("seed", "taken"), [(1, 1), (0, 65535), (65536, 1), (2**53 - 1, 31)])
def test_a_seed_that_is_none_there_stands_for_one(seed, taken):
    result = bound({"1": MAKER, "2": SAVER}, seed=seed)
    assert result.graph["1"]["inputs"]["seed"] == taken
    assert 1 <= taken <= 65535


def test_one_that_does_not_say_its_seeds_takes_31_bits():
    maker = node("Chooses", **{"model": "m", "model.prompt": "a dog", "model.seed": 3})
    result = bound({"1": maker, "2": SAVER}, seed=2**31 + 5)
    assert places(result) == {"prompt": "1.model.prompt", "seed": "1.model.seed"}
    assert result.graph["1"]["inputs"]["model.seed"] == 5
    other = bound({"1": maker, "2": SAVER}, model="n")
    assert other.graph["1"]["inputs"]["model"] == "m", "another has other inputs"


def test_a_text_that_arrives_by_a_link_is_set_where_it_is_kept():
    maker = node("MakesVideo", prompt=["3", 0], image=["4", 0])
    graph = {"1": maker, "2": SAVER, "3": node("PrimitiveString", value="a dog")}
    result = bound(graph | {"4": node("LoadImage", image="a.png")}, source_image_url="b.png")
    assert places(result) == {"prompt": "3.value", "source_image_url": "4.image"}


def test_what_only_changes_pictures_takes_the_seed_and_no_text():
    graph = {"1": node("Erases", image=["3", 0], seed=1), "2": SAVER, "3": MAKER}
    assert places(bound(graph, seed=7)) == {"prompt": "3.prompt", "seed": "3.seed"}
    alone = {"1": node("Erases", image=["3", 0]), "2": SAVER, "3": node("LoadImage", image="a.png")}
    assert reasons(bound(alone))["prompt"] == "Erases 1 has no input that takes it"


def test_several_with_texts_of_their_own_are_an_error_that_shows_what_to_write():
    video = node("MakesVideo", prompt="it moves", image=["3", 0])
    graph = {"1": video, "2": SAVER, "3": MAKER}
    with pytest.raises(WorkflowError, match="prompt could go to .* which have different texts"):
        bound(graph)
    result = bound(graph, extra={"1.prompt": "it runs"})
    assert (result.graph["1"]["inputs"]["prompt"], places(result)["prompt"]) == (
        "it runs",
        "3.prompt",
    )


def test_one_whose_picture_is_saved_comes_before_one_that_is_looked_at():
    other = {**MAKER, "inputs": {**MAKER["inputs"], "prompt": "a cat"}}
    looked_at = {"3": other, "4": node("PreviewImage", images=["3", 0])}
    assert places(bound({"1": MAKER, "2": SAVER} | looked_at))["prompt"] == "1.prompt"


@pytest.mark.parametrize("class_type", ["Chats", "DrawsText"])
def test_what_makes_text_or_belongs_to_a_pack_is_none(class_type):
    graph = {"1": node(class_type, prompt="a dog"), "2": SAVER}
    assert reasons(bound(graph))["prompt"] == "no sampler feeds an output of the workflow"


def test_where_there_is_a_sampler_the_links_from_it_decide():
    sampler = node("KSampler", seed=1, positive=["4", 0], negative=["5", 0], latent_image=["6", 0])
    graph = {
        "1": node("VAEDecode", samples=["7", 0]),
        "2": SAVER,
        "7": sampler,
        "4": node("CLIPTextEncode", text="a dog", clip=["8", 0]),
        "5": node("CLIPTextEncode", text="", clip=["8", 0]),
        "6": node("VAEEncode", pixels=["3", 0]),
        "3": MAKER,
    }
    assert places(bound(graph, seed=5)) == {"prompt": "4.text", "seed": "7.seed"}


def test_without_a_servers_lists_nobody_knows_it():
    assert reasons(bound({"1": MAKER, "2": SAVER}, None))["prompt"].startswith("no sampler")
