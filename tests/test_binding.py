"""Every parameter of a request reaches its node, nothing else changes, and the reason is told.

The graphs are hand-made, one a rule; what is expected was written down by reading them.
"""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comfyui.claims import PARAMETERS
from comfyui.object_info import ObjectInfo
from comfyui.workflow import Workflow
from image_provider import ImageGenerationRequest, WorkflowError
from tests.graph_support import node

DATA = Path(__file__).parent / "data" / "object_info"
EVERYTHING = {
    "prompt": "P",
    "negative_prompt": "N",
    "width": 640,
    "height": 768,
    "seed": 7,
    "steps": 12,
    "guidance_scale": 2.5,
    "strength": 0.5,
    "model": "M",
}


def link(node_id, slot=0):
    return [str(node_id), slot]


def ksampler(**changes):
    inputs = {
        "model": link(1),
        "seed": 1,
        "steps": 20,
        "cfg": 7.0,
        "sampler_name": "euler",
        "scheduler": "normal",
        "positive": link(2),
        "negative": link(3),
        "latent_image": link(4),
        "denoise": 1.0,
    }
    return node("KSampler", **(inputs | changes))


def encoder(text, clip=None):
    return node("CLIPTextEncode", text=text, clip=clip or link(1, 1))


def basic_graph(**changes):
    """A text-to-image graph on a checkpoint; 5 is the sampler, 7 saves."""
    graph = {
        "1": node("CheckpointLoaderSimple", ckpt_name="sd.safetensors"),
        "2": encoder("old prompt"),
        "3": encoder("old negative"),
        "4": node("EmptyLatentImage", width=512, height=512, batch_size=1),
        "5": ksampler(),
        "6": node("VAEDecode", samples=link(5), vae=link(1, 2)),
        "7": node("SaveImage", images=link(6), filename_prefix="x"),
    }
    return {k: v for k, v in (graph | changes).items() if v is not None}


def changes(graph, **fields):
    """(what differs from the graph, as "id.input"; the ignored parameters) after binding."""
    bound = Workflow.from_dict(graph).bind(ImageGenerationRequest(**{"prompt": "P", **fields}))
    differing = {
        f"{node_id}.{name}": value
        for node_id, after in bound.graph.items()
        for name, value in after["inputs"].items()
        if node_id not in graph or graph[node_id]["inputs"].get(name, ...) != value
    }
    told = {f"{b.node_id}.{b.input_name}" for b in bound.bindings}
    assert differing.keys() <= told or fields.get("loras")
    return differing, sorted(entry.parameter for entry in bound.ignored)


def reason_of(graph, parameter, **fields):
    bound = Workflow.from_dict(graph).bind(ImageGenerationRequest(**{"prompt": "P", **fields}))
    return next(e.reason for e in [*bound.bindings, *bound.ignored] if e.parameter == parameter)


ALL_BUT_STRENGTH = {
    "2.text": "P",
    "3.text": "N",
    "4.width": 640,
    "4.height": 768,
    "5.seed": 7,
    "5.steps": 12,
    "5.cfg": 2.5,
    "1.ckpt_name": "M",
}


def test_a_plain_sampler_takes_everything_but_the_strength():
    assert changes(basic_graph(), **EVERYTHING) == (ALL_BUT_STRENGTH, ["strength"])


def test_what_is_not_given_stays():
    assert changes(basic_graph()) == ({"2.text": "P"}, [])


def test_the_order_of_the_encoders_in_the_file_does_not_matter():
    graph = basic_graph()
    swapped = {key: graph[key] for key in ("7", "3", "2", "5", "4", "6", "1")}
    assert changes(swapped, **EVERYTHING) == (ALL_BUT_STRENGTH, ["strength"])


def test_an_empty_negative_prompt_clears_the_text():
    assert changes(basic_graph(), negative_prompt="") == ({"2.text": "P", "3.text": ""}, [])


def test_the_reason_tells_the_way():
    graph = basic_graph(
        **{"5": ksampler(positive=link(8)), "8": node("FluxGuidance", conditioning=link(2))}
    )
    way = "KSampler 5.positive → FluxGuidance 8.conditioning → CLIPTextEncode 2.text"
    assert reason_of(graph, "prompt") == way


def test_flux_guidance_takes_the_guidance_scale_and_cfg_stays():
    graph = basic_graph(
        **{
            "5": ksampler(positive=link(8), cfg=1.0),
            "8": node("FluxGuidance", conditioning=link(2), guidance=3.5),
        }
    )
    assert changes(graph, guidance_scale=2.5)[0] == {"2.text": "P", "8.guidance": 2.5}


def test_the_guidance_of_a_flux_encoder_counts_too():
    graph = basic_graph(
        **{"2": node("CLIPTextEncodeFlux", clip=link(1, 1), clip_l="a", t5xxl="b", guidance=3.5)}
    )
    expected = {"2.clip_l": "P", "2.t5xxl": "P", "2.guidance": 2.5}
    assert changes(graph, guidance_scale=2.5)[0] == expected


@pytest.mark.parametrize(
    ("class_type", "texts"),
    [
        ("CLIPTextEncodeSDXL", ("text_g", "text_l")),
        ("CLIPTextEncodeSD3", ("clip_l", "clip_g", "t5xxl")),
        ("CLIPTextEncodeHiDream", ("clip_l", "clip_g", "t5xxl", "llama")),
        ("TextEncodeQwenImageEdit", ("prompt",)),
        ("CLIPTextEncodeLumina2", ("user_prompt",)),
    ],
)
def test_all_text_inputs_of_an_encoder_take_the_prompt(class_type, texts):
    graph = basic_graph(**{"2": node(class_type, clip=link(1, 1), **dict.fromkeys(texts, "old"))})
    assert changes(graph)[0] == {f"2.{name}": "P" for name in texts}


def test_a_controlnet_passes_each_side_on():
    apply = node(
        "ControlNetApplyAdvanced", positive=link(2), negative=link(3), strength=1.0, image=link(9)
    )
    graph = basic_graph(
        **{
            "5": ksampler(positive=link(8), negative=link(8, 1)),
            "8": apply,
            "9": node("LoadImage", image="pose.png"),
        }
    )
    expected = {"2.text": "P", "3.text": "N"}
    assert changes(graph, negative_prompt="N", strength=0.5) == (expected, ["strength"])


def test_sides_that_are_crossed_on_the_way_are_followed():
    apply = node("ControlNetApplyAdvanced", positive=link(2), negative=link(3))
    middle = node("ConditioningSetTimestepRange", conditioning=link(8, 1))
    graph = basic_graph(
        **{"5": ksampler(positive=link(9), negative=link(8)), "8": apply, "9": middle}
    )
    assert changes(graph, negative_prompt="N")[0] == {"3.text": "P", "2.text": "N"}


def test_a_node_that_gives_the_model_first_is_read_by_its_outputs():
    info = ObjectInfo.from_dict(
        {
            "WanTalk": {
                "input": {"required": {}},
                "output": ["MODEL", "CONDITIONING", "CONDITIONING", "LATENT"],
            }
        }
    )
    talk = node("WanTalk", model=link(1), positive=link(2), negative=link(3))
    graph = basic_graph(**{"5": ksampler(positive=link(8, 1), negative=link(8, 2)), "8": talk})
    request = ImageGenerationRequest("P", "N")
    bound = Workflow.from_dict(graph).bind(request, info)
    assert [bound.graph[i]["inputs"]["text"] for i in ("2", "3")] == ["P", "N"]


def test_a_negative_that_is_zeroed_out_is_ignored_and_never_written():
    zero = node("ConditioningZeroOut", conditioning=link(2))
    graph = basic_graph(**{"3": None, "8": zero, "5": ksampler(negative=link(8))})
    assert changes(graph, negative_prompt="N") == ({"2.text": "P"}, ["negative_prompt"])
    assert "zeroed out" in reason_of(graph, "negative_prompt", negative_prompt="N")


def test_one_encoder_on_both_sides_keeps_the_prompt():
    graph = basic_graph(**{"3": None, "5": ksampler(negative=link(2))})
    assert changes(graph, negative_prompt="N") == ({"2.text": "P"}, ["negative_prompt"])
    assert "CLIPTextEncode 2" in reason_of(graph, "negative_prompt", negative_prompt="N")


def custom_graph(guider, **changes):
    """SamplerCustomAdvanced: 5 samples, 10 noise, 11 sigmas, 12 guider."""
    graph = basic_graph(
        **{
            "5": node(
                "SamplerCustomAdvanced",
                noise=link(10),
                guider=link(12),
                sampler=link(13),
                sigmas=link(11),
                latent_image=link(4),
            ),
            "10": node("RandomNoise", noise_seed=1),
            "11": node("BasicScheduler", model=link(1), scheduler="simple", steps=20, denoise=1.0),
            "12": guider,
            "13": node("KSamplerSelect", sampler_name="euler"),
        }
    )
    return {k: v for k, v in (graph | changes).items() if v is not None}


def test_a_basic_guider_has_no_negative_side():
    graph = custom_graph(node("BasicGuider", model=link(1), conditioning=link(2)), **{"3": None})
    expected = {
        "2.text": "P",
        "4.width": 640,
        "4.height": 768,
        "10.noise_seed": 7,
        "11.steps": 12,
        "1.ckpt_name": "M",
    }
    ignored = ["guidance_scale", "negative_prompt", "strength"]
    assert changes(graph, **EVERYTHING) == (expected, ignored)


def test_a_cfg_guider_has_both_sides_and_cfg():
    guider = node("CFGGuider", model=link(1), positive=link(2), negative=link(3), cfg=5.0)
    scheduler = node("BasicScheduler", model=link(1), scheduler="simple", steps=20, denoise=0.8)
    graph = custom_graph(guider, **{"11": scheduler})
    graph["4"] = node("VAEEncode", pixels=link(14), vae=link(1, 2))
    graph["14"] = node("LoadImage", image="a.png")
    expected = {
        "2.text": "P",
        "3.text": "N",
        "10.noise_seed": 7,
        "11.steps": 12,
        "11.denoise": 0.5,
        "12.cfg": 2.5,
        "1.ckpt_name": "M",
    }
    assert changes(graph, **EVERYTHING) == (expected, ["height", "width"])


def test_sigmas_are_followed_through_what_splits_them_which_keeps_its_share():
    graph = custom_graph(node("BasicGuider", model=link(1), conditioning=link(2)), **{"3": None})
    graph["5"]["inputs"]["sigmas"] = link(15)
    graph["15"] = node("SplitSigmas", sigmas=link(11), step=4)
    assert changes(graph, steps=12)[0] == {"2.text": "P", "11.steps": 12, "15.step": 2}


def advanced_pair(steps=20):
    first = {
        "add_noise": "enable",
        "noise_seed": 1,
        "steps": steps,
        "cfg": 8.0,
        "positive": link(2),
        "negative": link(3),
        "latent_image": link(4),
        "start_at_step": 0,
        "end_at_step": 16,
        "model": link(1),
    }
    second = first | {
        "add_noise": "disable",
        "noise_seed": 0,
        "latent_image": link(8),
        "start_at_step": 16,
        "end_at_step": 10000,
    }
    return basic_graph(
        **{"8": node("KSamplerAdvanced", **first), "5": node("KSamplerAdvanced", **second)}
    )


def test_a_pair_of_advanced_samplers_keeps_its_share_of_the_steps_and_one_seed():
    expected = {
        "2.text": "P",
        "8.noise_seed": 7,
        "8.steps": 10,
        "8.end_at_step": 8,
        "5.steps": 10,
        "5.start_at_step": 8,
    }
    assert changes(advanced_pair(), seed=7, steps=10)[0] == expected


def test_the_share_is_kept_when_the_steps_come_from_a_primitive():
    graph = advanced_pair(steps=link(9)) | {"9": node("PrimitiveInt", value=20)}
    expected = {"2.text": "P", "9.value": 10, "8.end_at_step": 8, "5.start_at_step": 8}
    assert changes(graph, steps=10)[0] == expected


def test_values_that_come_from_primitives_are_set_there():
    graph = basic_graph(
        **{
            "2": encoder(link(20)),
            "4": node("EmptyLatentImage", width=link(21), height=link(22), batch_size=1),
            "5": ksampler(seed=link(23)),
            "20": node("PrimitiveStringMultiline", value="old"),
            "21": node("PrimitiveInt", value=512),
            "22": node("INTConstant", value=512),
            "23": node("Seed (rgthree)", seed=5),
        }
    )
    expected = {"20.value": "P", "21.value": 640, "22.value": 768, "23.seed": 7}
    assert changes(graph, width=640, height=768, seed=7)[0] == expected


def test_a_value_that_is_computed_is_left_and_told():
    graph = basic_graph(
        **{
            "4": node("EmptyLatentImage", width=link(21), height=512, batch_size=1),
            "21": node("MathExpression", a=2, b=256, value="a*b"),
        }
    )
    expected = {"2.text": "P", "4.height": 768}
    assert changes(graph, width=640, height=768) == (expected, ["width"])
    assert "MathExpression 21" in reason_of(graph, "width", width=640, height=768)


def test_one_value_for_both_sides_takes_the_width_and_the_height_is_told():
    graph = basic_graph(
        **{
            "4": node("EmptyLatentImage", width=link(21), height=link(21), batch_size=1),
            "21": node("PrimitiveInt", value=512),
        }
    )
    both = {"2.text": "P", "21.value": 640}
    assert changes(graph, width=640, height=768) == (both, ["height"])
    assert changes(graph, width=640, height=640) == (both, [])


def test_what_repeats_the_size_of_the_latent_follows_it():
    sdxl = node(
        "CLIPTextEncodeSDXL",
        clip=link(1, 1),
        text_g="a",
        text_l="a",
        width=4096,
        height=512,
        target_width=512,
        target_height=512,
    )
    expected = {
        "2.text_g": "P",
        "2.text_l": "P",
        "2.target_width": 640,
        "2.target_height": 768,
        "2.height": 768,
        "4.width": 640,
        "4.height": 768,
    }
    assert changes(basic_graph(**{"2": sdxl}), width=640, height=768)[0] == expected


def refined_graph(**refiner):
    """5 refines what 8 made, after an upscale."""
    return basic_graph(
        **{
            "8": ksampler(),
            "9": node("LatentUpscale", samples=link(8), width=1024, height=1024),
            "5": ksampler(latent_image=link(9), denoise=0.4, **refiner),
        }
    )


def test_two_samplers_with_one_seed_keep_one_seed():
    assert changes(refined_graph(), seed=7)[0] == {"2.text": "P", "8.seed": 7, "5.seed": 7}


def test_two_samplers_with_two_seeds_get_neighbouring_ones():
    expected = {"2.text": "P", "8.seed": 8, "5.seed": 7}  # 5 stands first in the file
    assert changes(refined_graph(seed=2), seed=7)[0] == expected
    assert changes(refined_graph(seed=2), seed=2**64 - 1)[0]["8.seed"] == 0


def test_the_size_is_the_empty_latents_and_not_the_upscalers():
    expected = {"2.text": "P", "4.width": 640, "4.height": 768}
    assert changes(refined_graph(), width=640, height=768)[0] == expected


def test_the_strength_is_for_the_sampler_that_starts_from_the_picture():
    graph = refined_graph()
    graph["4"] = node("VAEEncode", pixels=link(10), vae=link(1, 2))
    graph["10"] = node("LoadImage", image="a.png")
    assert changes(graph, strength=0.5)[0] == {"2.text": "P", "8.denoise": 0.5}


def test_the_model_is_the_one_of_the_sampler_that_starts_not_of_the_refiner():
    graph = refined_graph(model=link(11))
    graph["11"] = node("CheckpointLoaderSimple", ckpt_name="refiner.safetensors")
    assert changes(graph, model="M")[0] == {"2.text": "P", "1.ckpt_name": "M"}


def test_encoders_of_one_text_all_take_the_prompt():
    graph = refined_graph(positive=link(12))
    graph["12"] = encoder("old prompt")
    assert changes(graph)[0] == {"2.text": "P", "12.text": "P"}


def test_encoders_of_different_texts_are_an_error_that_shows_the_way_out():
    graph = refined_graph(positive=link(12))
    graph["12"] = encoder("another prompt")
    with pytest.raises(WorkflowError) as caught:
        Workflow.from_dict(graph).bind(ImageGenerationRequest("P"))
    assert "CLIPTextEncode 2" in str(caught.value)
    assert "CLIPTextEncode 12" in str(caught.value)
    assert 'extra={"12.text": "…"}' in str(caught.value)
    assert caught.value.input_name == "text"


def test_the_way_out_of_the_error_works():
    graph = refined_graph(positive=link(12))
    graph["12"] = encoder("another prompt")
    assert changes(graph, extra={"12.text": "mine"})[0] == {"2.text": "P", "12.text": "mine"}


def test_regions_are_different_texts():
    combine = node("ConditioningCombine", conditioning_1=link(2), conditioning_2=link(9))
    graph = basic_graph(**{"8": combine, "9": encoder("a region"), "5": ksampler(positive=link(8))})
    with pytest.raises(WorkflowError, match="prompt could go to"):
        Workflow.from_dict(graph).bind(ImageGenerationRequest("P"))


def test_gligen_boxes_are_no_prompt():
    box = node("GLIGENTextBoxApply", conditioning_to=link(2), clip=link(1, 1), text="a dog")
    graph = basic_graph(**{"8": box, "5": ksampler(positive=link(8))})
    assert changes(graph)[0] == {"2.text": "P"}


def test_nodes_that_feed_no_output_do_not_count():
    graph = {
        "90": ksampler(positive=link(91), negative=link(91), latent_image=link(92)),
        "91": encoder("unused"),
        "92": node("EmptyLatentImage", width=1, height=1, batch_size=1),
    } | basic_graph()
    assert changes(graph, **EVERYTHING) == (ALL_BUT_STRENGTH, ["strength"])


def test_a_graph_without_a_sampler_takes_nothing():
    graph = {
        "1": node("EmptyImage", width=8, height=8, batch_size=1, color=0),
        "2": node("SaveImage", images=link(1), filename_prefix="x"),
    }
    told = sorted({*EVERYTHING, "source_image_url", "mask_image_url", "loras"})
    everything = {**EVERYTHING, "source_image_url": "a", "mask_image_url": "b"}
    assert changes(graph, **everything, loras=[("l", 1.0)]) == ({}, told)


def test_that_no_sampler_feeds_an_output_is_told():
    graph = basic_graph(**{"6": None})
    graph["7"]["inputs"]["images"] = link("8")
    graph["8"] = node("LoadImage", image="a.png")
    for parameter, value in EVERYTHING.items():
        why = "no sampler feeds an output of the workflow"
        assert reason_of(graph, parameter, **{parameter: value}) == why


# Pictures and masks


def inpaint_graph(**changes):
    return basic_graph(
        **{
            "4": node("VAEEncodeForInpaint", pixels=link(8), mask=link(9), vae=link(1, 2)),
            "8": node("LoadImage", image="old.png"),
            "9": node("LoadImageMask", image="old mask.png", channel="red"),
        }
        | changes
    )


def test_a_mask_loader_of_its_own_takes_the_mask():
    images = {"source_image_url": "a.png", "mask_image_url": "b.png"}
    expected = {"2.text": "P", "8.image": "a.png", "9.image": "b.png"}
    assert changes(inpaint_graph(), **images)[0] == expected


def test_the_alpha_of_a_second_picture_takes_the_mask():
    graph = inpaint_graph(
        **{"9": node("LoadImage", image="m.png"), "4": node("VAEEncode", pixels=link(8))}
    )
    graph["5"]["inputs"]["latent_image"] = link(10)
    graph["10"] = node("SetLatentNoiseMask", samples=link(4), mask=link(9, 1))
    images = {"source_image_url": "a.png", "mask_image_url": "b.png"}
    assert changes(graph, **images)[0] == {"2.text": "P", "8.image": "a.png", "9.image": "b.png"}


def test_a_picture_that_becomes_a_mask_takes_the_mask():
    graph = inpaint_graph(
        **{"7b": node("LoadImage", image="m.png"), "9": node("ImageToMask", image=link("7b"))}
    )
    images = {"source_image_url": "a.png", "mask_image_url": "b.png"}
    assert changes(graph, **images)[0] == {"2.text": "P", "8.image": "a.png", "7b.image": "b.png"}


def test_the_source_is_the_picture_that_the_sampler_starts_from_not_that_of_a_controlnet():
    control = node("ControlNetApplyAdvanced", positive=link(2), negative=link(3), image=link("0"))
    graph = {
        "0": node("LoadImage", image="pose.png"),
        **basic_graph(**{"4": node("VAEEncode", pixels=link(8)), "9": control}),
        "8": node("LoadImage", image="old.png"),
    }
    graph["5"]["inputs"] |= {"positive": link(9), "negative": link(9, 1)}
    assert changes(graph, source_image_url="a.png")[0] == {"2.text": "P", "8.image": "a.png"}


def test_a_reference_picture_is_the_source_and_what_only_becomes_a_mask_is_not():
    graph = {
        "0": node("LoadImage", image="mask.png"),
        "00": node("ImageToMask", image=link("0")),
        **basic_graph(**{"2": node("TextEncodeQwenImageEdit", prompt="a", clip=link(1, 1))}),
        "8": node("LoadImage", image="old.png"),
        "9": node("SolidBlend", image=link(8), mask=link("00")),
    }
    graph["2"]["inputs"]["image"] = link(9)
    assert changes(graph, source_image_url="a.png")[0] == {"2.prompt": "P", "8.image": "a.png"}


def test_a_mask_without_a_place_is_told():
    graph = inpaint_graph(**{"4": node("VAEEncode", pixels=link(8)), "9": None})
    assert changes(graph, mask_image_url="b.png") == ({"2.text": "P"}, ["mask_image_url"])


# What the caller names himself


@pytest.mark.parametrize(
    ("key", "place"),
    [
        ("5.sampler_name", "5.sampler_name"),
        ("My sampler.sampler_name", "5.sampler_name"),
        ("KSampler.sampler_name", None),  # it has a title of its own
        ("v1.5 loader.ckpt_name", "1.ckpt_name"),
        ("2.lora.name", "2.lora.name"),
        ("VAEDecode.tile", None),
        ("99.seed", None),
        ("seed", None),
        ("", None),
        (".", None),
    ],
)
def test_an_extra_key_names_an_input_by_id_then_by_title(key, place):
    graph = basic_graph()
    graph["1"]["_meta"] = {"title": "v1.5 loader"}
    graph["5"]["_meta"] = {"title": "My sampler"}
    graph["2"]["inputs"]["lora.name"] = "old"
    told = [] if place else [f"extra[{key!r}]"]
    expected = {"2.text": "P"} | ({place: "x"} if place else {})
    assert changes(graph, extra={key: "x"}) == (expected, told)


def test_an_id_goes_before_a_title():
    graph = basic_graph()
    graph["4"]["_meta"] = {"title": "5"}
    graph["4"]["inputs"]["seed"] = 3
    assert changes(graph, extra={"5.seed": 9})[0] == {"2.text": "P", "5.seed": 9}


def test_a_title_that_two_nodes_share_is_an_error_naming_both():
    with pytest.raises(WorkflowError, match=r"nodes 2, 3 share the title 'CLIPTextEncode'"):
        Workflow.from_dict(basic_graph()).bind(
            ImageGenerationRequest("P", extra={"CLIPTextEncode.text": "x"})
        )


def test_extra_wins_over_the_field():
    told = ["seed"]
    expected = {"2.text": "P", "5.seed": 9}
    assert changes(basic_graph(), seed=7, extra={"5.seed": 9}) == (expected, told)


def test_an_input_that_only_the_class_has_can_be_named_when_the_class_is_known():
    info = ObjectInfo.from_dict(json.loads((DATA / "0.26.0.json").read_text("utf-8")))
    graph = basic_graph()
    del graph["5"]["inputs"]["scheduler"]
    request = ImageGenerationRequest("P", extra={"5.scheduler": "simple"})
    assert Workflow.from_dict(graph).bind(request).ignored
    bound = Workflow.from_dict(graph).bind(request, info)
    assert bound.graph["5"]["inputs"]["scheduler"] == "simple"


def test_a_value_of_extra_is_copied():
    value = ["4", 0]
    request = ImageGenerationRequest("P", extra={"5.latent_image": value})
    Workflow.from_dict(basic_graph()).bind(request).graph["5"]["inputs"]["latent_image"].append(1)
    assert value == ["4", 0]


# Whatever the graph


@pytest.mark.parametrize("target", ["99", "5", "2", "7"])
@pytest.mark.parametrize("source", ["2", "4", "5", "6"])
def test_links_to_nowhere_and_cycles_end(source, target):
    graph = basic_graph()
    for name in graph[source]["inputs"]:
        broken = deepcopy(graph)
        broken[source]["inputs"][name] = link(target)
        request = ImageGenerationRequest(**EVERYTHING, loras=[("l", 1.0)], source_image_url="a")
        after = Workflow.from_dict(broken).bind(request).graph
        assert broken.keys() <= after.keys()
        assert after["7"]["inputs"]["filename_prefix"] == "x"


CLASSES = (
    *("KSampler", "KSamplerAdvanced", "SamplerCustomAdvanced", "BasicGuider", "CFGGuider"),
    *("CLIPTextEncode", "ConditioningZeroOut", "ConditioningCombine", "FluxGuidance", "Other"),
    *("EmptyLatentImage", "LoadImage", "LoadImageMask", "LoraLoader", "PrimitiveInt"),
    *("CheckpointLoaderSimple", "CLIPTextEncodeSDXL", "SaveImage", "RandomNoise", "ImageToMask"),
    *("ComfySwitchNode", "ImpactSwitch", "StringConcatenate", "PreviewAny", "Reroute"),
    *("CustomCombo", "Efficient Loader", "DualCFGGuider", "KSampler (Efficient)", "VAEEncode"),
    *("StringReplace", "ImpactWildcardProcessor", "SDXLPromptStyler", "TextEncodeBooguEdit"),
    *("SplitSigmas", "Flux2Scheduler", "InstructPixToPixConditioning", "ReferenceLatent"),
    *("SetLatentNoiseMask", "ConditioningSetMask", "ImageStitch", "UNETLoader", "SamplerCustom"),
)
INPUTS = (
    *("model", "clip", "positive", "negative", "conditioning", "conditioning_1", "latent_image"),
    *("text", "text_g", "value", "seed", "noise_seed", "noise", "steps", "cfg", "denoise"),
    *("guider", "sigmas", "samples", "pixels", "image", "images", "mask", "width", "height"),
    *("start_at_step", "end_at_step", "add_noise", "guidance", "ckpt_name", "lora_name"),
    *("switch", "on_true", "on_false", "select", "input1", "input2", "source", "any_1", "choice"),
    *("string_a", "string_b", "prompt", "cond1", "option1", "index", "filename_prefix"),
    *("string", "find", "replace", "wildcard_text", "populated_text", "text_positive"),
    *("text_negative", "negative_prompt", "step", "image1", "image2", "unet_name", "latent"),
)
IDS = ("1", "2", "3", "4", "5", "6", "7", "8", "nowhere")
PLAIN = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(max_size=3),
    st.sampled_from(["%prompt%", "a %seed%", "%width%x%height%", "T2I", "a", "sd.safetensors"]),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=2), st.none(), max_size=1),
)
LINKS = st.tuples(st.sampled_from(IDS), st.integers(-1, 3)).map(list)
VALUES = st.one_of(LINKS, LINKS, PLAIN)
NODES = st.builds(
    lambda class_type, inputs, meta: {"class_type": class_type, "inputs": inputs, "_meta": meta},
    st.sampled_from(CLASSES),
    st.dictionaries(st.sampled_from(INPUTS), VALUES, max_size=8),
    st.sampled_from(
        [{}, {"title": 5}]
        + [{"title": title} for title in ("Prompt", "Positive prompt", "seed", "I2I", "Mask")]
        + [{"title": title} for title in ("Input image", "Strength", "Width", "Image Edit")]
    ),
)
GRAPHS = st.dictionaries(st.sampled_from(IDS[:-1]), NODES, min_size=1)
REQUESTS = st.builds(
    ImageGenerationRequest,
    prompt=st.text(max_size=3) | st.just("%prompt% and %steps%"),
    negative_prompt=st.none() | st.text(max_size=3),
    width=st.integers(1, 4096),
    seed=st.none() | st.integers(0, 2**64 - 1),
    steps=st.none() | st.integers(1, 10**400),
    guidance_scale=st.none() | st.floats(0, 10),
    strength=st.none() | st.floats(0, 1),
    model=st.none() | st.just("M"),
    loras=st.lists(st.tuples(st.sampled_from(["a", "b"]), st.floats(0, 1)), max_size=2),
    source_image_url=st.none() | st.just("s.png"),
    mask_image_url=st.none() | st.just("m.png"),
    extra=st.dictionaries(
        st.tuples(st.sampled_from(IDS), st.sampled_from(INPUTS)).map(".".join)
        | st.just("filename_prefix"),
        st.integers(0, 9) | st.text(max_size=2) | LINKS,
        max_size=3,
    ),
)
OVERRIDES = st.dictionaries(
    st.sampled_from(PARAMETERS),
    st.lists(
        st.tuples(st.sampled_from(IDS[:2]), st.sampled_from(INPUTS)).map(".".join), min_size=1
    ),
    max_size=1,
)
INFO = ObjectInfo.from_dict(json.loads((DATA / "0.26.0.json").read_text("utf-8")))


@settings(max_examples=200, deadline=None, derandomize=True)
@given(GRAPHS, REQUESTS, OVERRIDES, st.sampled_from([None, INFO]))
def test_binding_ends_never_changes_what_it_is_given_and_is_idempotent(
    graph, request, overrides, info
):
    given_graph, given_request = deepcopy(graph), deepcopy(request)
    workflow = Workflow(Workflow.from_dict(graph).graph, None, overrides)
    before = workflow.graph
    try:
        bound = workflow.bind(request, info)
    except WorkflowError:
        return
    finally:
        assert (graph, request) == (given_graph, given_request)
        assert workflow.graph == before
    for told in bound.bindings:
        assert bound.graph[told.node_id]["class_type"] == told.class_type
    again = Workflow(bound.graph, None, overrides).bind(request, info)
    assert again.graph == bound.graph


# The workflows that come with the project

ROOT = Path(__file__).parent.parent / "workflows" / "comfyui"
IMAGES = {"source_image_url": "s.png", "mask_image_url": "m.png"}


@pytest.mark.parametrize(
    ("name", "places", "ignored"),
    [
        (
            "t2i_flux",
            {
                "4.text": "P",
                "7.width": 640,
                "7.height": 768,
                "8.seed": 7,
                "8.steps": 12,
                "5.guidance": 2.5,
                "1.unet_name": "M",
            },
            ["mask_image_url", "negative_prompt", "source_image_url", "strength"],
        ),
        (
            "t2i_flux_advanced",
            {
                "4.text": "P",
                "6.width": 640,
                "6.height": 768,
                "7.width": 640,
                "7.height": 768,
                "9.noise_seed": 7,
                "11.steps": 12,
                "14.steps": 12,
                "5.guidance": 2.5,
                "1.unet_name": "M",
            },
            ["mask_image_url", "negative_prompt", "source_image_url", "strength"],
        ),
        (
            "i2i_flux",
            {
                "4.text": "P",
                "9.seed": 7,
                "9.steps": 12,
                "5.guidance": 2.5,
                "9.denoise": 0.5,
                "1.unet_name": "M",
                "7.image": "s.png",
            },
            ["height", "mask_image_url", "negative_prompt", "width"],
        ),
        (
            "inpaint_flux",
            {
                "4.text": "P",
                "10.seed": 7,
                "10.steps": 12,
                "5.guidance": 2.5,
                "10.denoise": 0.5,
                "1.unet_name": "M",
                "7.image": "s.png",
            },
            ["height", "mask_image_url", "negative_prompt", "width"],
        ),
        (
            "t2i_checkpoint",
            {
                "2.text": "P",
                "3.text": "N",
                "4.width": 640,
                "4.height": 768,
                "5.seed": 7,
                "5.steps": 12,
                "5.cfg": 2.5,
                "1.ckpt_name": "M",
            },
            ["mask_image_url", "source_image_url", "strength"],
        ),
        (
            "i2i_checkpoint",
            {
                "2.text": "P",
                "3.text": "N",
                "6.seed": 7,
                "6.steps": 12,
                "6.cfg": 2.5,
                "6.denoise": 0.5,
                "1.ckpt_name": "M",
                "4.image": "s.png",
            },
            ["height", "mask_image_url", "width"],
        ),
        (
            "inpaint_checkpoint",
            {
                "2.text": "P",
                "3.text": "N",
                "7.seed": 7,
                "7.steps": 12,
                "7.cfg": 2.5,
                "7.denoise": 0.5,
                "1.ckpt_name": "M",
                "4.image": "s.png",
            },
            ["height", "mask_image_url", "width"],
        ),
    ],
)
@pytest.mark.parametrize("version", [None, "0.3.64", "0.8.0", "0.26.0"])
def test_every_parameter_has_its_place_in_a_bundled_workflow(name, places, ignored, version):
    info = None
    if version is not None:
        info = ObjectInfo.from_dict(json.loads((DATA / f"{version}.json").read_text("utf-8")))
    workflow = Workflow.from_file(ROOT / f"{name}.json")
    before = workflow.graph
    bound = workflow.bind(ImageGenerationRequest(**EVERYTHING, **IMAGES), info)
    changed = {
        f"{node_id}.{key}": value
        for node_id, after in bound.graph.items()
        for key, value in after["inputs"].items()
        if before[node_id]["inputs"][key] != value
    }
    assert (changed, sorted(e.parameter for e in bound.ignored)) == (places, ignored)
