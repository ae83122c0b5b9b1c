"""A server that lacks nodes still runs what makes sense without them, and is told about the rest.

The graphs are hand-made, one a rule; classes of custom packs are missing on every server here.
"""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comfyui.graph import as_link, links_of
from comfyui.missing_nodes import bypass_missing
from comfyui.node_packs import pack_of
from comfyui.object_info import ObjectInfo
from comfyui.validation import validate
from image_provider import WorkflowError
from tests.graph_support import node

DATA = Path(__file__).parent / "data" / "object_info"
VERSIONS = ("0.3.64", "0.8.0", "0.26.0")
BUNDLED = json.loads((DATA / "bundled_nodes.json").read_text("utf-8"))
CLASSES = {
    version: json.loads((DATA / f"{version}.json").read_text("utf-8")) | BUNDLED[version]
    for version in VERSIONS
}


def server(version="0.26.0", without=()):
    classes = CLASSES[version].items()
    return ObjectInfo.from_dict({name: entry for name, entry in classes if name not in without})


def link(node_id, slot=0):
    return [str(node_id), slot]


def graph_with(**changes):
    """A text-to-image graph that every server can run; 5 is the sampler, 7 saves."""
    graph = {
        "1": node("CheckpointLoaderSimple", ckpt_name="sd.safetensors"),
        "2": node("CLIPTextEncode", text="a fox", clip=link(1, 1)),
        "3": node("CLIPTextEncode", text="blurry", clip=link(1, 1)),
        "4": node("EmptyLatentImage", width=512, height=512, batch_size=1),
        "5": node(
            "KSampler",
            model=link(1),
            seed=1,
            steps=20,
            cfg=7.0,
            sampler_name="euler",
            scheduler="normal",
            positive=link(2),
            negative=link(3),
            latent_image=link(4),
            denoise=1.0,
        ),
        "6": node("VAEDecode", samples=link(5), vae=link(1, 2)),
        "7": node("SaveImage", images=link(6), filename_prefix="x"),
    }
    return graph | changes


def set_input(graph, node_id, **inputs):
    graph[node_id]["inputs"].update(inputs)
    return graph


def bypassed(graph, info=None, kept=()):
    """The graph that is left, after checking what holds for every one."""
    info = info or server()
    before = deepcopy(graph)
    result = bypass_missing(graph, info, kept)
    assert graph == before
    ids = [entry.node_id for entry in result.bypassed]
    assert result.graph.keys() == graph.keys() - set(ids)
    assert all(link.node_id in result.graph for link in all_links(result.graph))
    again = bypass_missing(result.graph, info, kept)
    assert (again.graph, again.bypassed) == (result.graph, [])
    return result.graph


def all_links(graph):
    return [link for node in graph.values() for _, link in links_of(node)]


def how(graph, node_id, info=None):
    entries = {e.node_id: e.how for e in bypass_missing(graph, info or server()).bypassed}
    return entries[node_id]


def refusal(graph, info=None):
    with pytest.raises(WorkflowError) as caught:
        bypass_missing(graph, info or server())
    return caught.value


@pytest.mark.parametrize("version", VERSIONS)
def test_a_graph_that_lacks_nothing_comes_back_as_a_copy(version):
    graph = graph_with()
    result = bypass_missing(graph, server(version))
    assert result.graph == graph and result.bypassed == []
    result.graph["5"]["inputs"]["seed"] = 2
    assert graph["5"]["inputs"]["seed"] == 1


@pytest.mark.parametrize("version", VERSIONS)
def test_a_prompt_refiner_hands_its_prompt_straight_to_the_encoder(version):
    refiner = node("Qwen3_VQA", "Refine", text="a fox", model="Qwen3-VL-4B-Instruct", seed=-1)
    graph = set_input(graph_with(**{"10": refiner}), "2", text=link(10))
    info = server(version)
    left = bypassed(graph, info)
    assert left == graph_with()
    assert {p.kind for p in validate(left, info)} <= {"missing_model"}
    assert how(graph, "10", info) == "what goes into it as text is used instead"


def test_a_prompt_that_arrives_by_link_is_passed_on_as_that_link():
    graph = graph_with(
        **{
            "10": node("PrimitiveStringMultiline", value="a fox"),
            "11": node("AILab_QwenVL_PromptEnhancer", prompt_text=link(10), seed=1),
        }
    )
    assert bypassed(set_input(graph, "2", text=link(11)))["2"]["inputs"]["text"] == link(10)


def test_the_prompt_of_a_refiner_is_told_from_its_other_texts():
    refiner = node("OllamaGenerateAdvance", system="You write prompts", model="m", prompt="a cat")
    graph = set_input(graph_with(**{"10": refiner}), "2", text=link(10))
    assert bypassed(graph)["2"]["inputs"]["text"] == "a cat"


def test_a_text_that_only_the_missing_node_could_know_is_an_error():
    captioner = node("Florence2Run", image=link(11), task="caption", text_input="")
    picture = node("LoadImage", image="example.png")
    graph = set_input(graph_with(**{"10": captioner, "11": picture}), "2", text=link(10))
    error = refusal(graph)
    assert (error.node_id, error.class_type) == ("10", "Florence2Run")
    assert "node 2 CLIPTextEncode needs STRING from it" in str(error)
    assert "custom nodes ComfyUI-Florence2" in str(error)


@pytest.mark.parametrize("version", VERSIONS)
def test_guidance_that_a_server_lacks_is_passed_by(version):
    graph = graph_with(**{"10": node("FluxGuidance", conditioning=link(2), guidance=3.5)})
    set_input(graph, "5", positive=link(10))
    assert bypassed(graph, server(version, without={"FluxGuidance"})) == graph_with()


def test_an_upscaler_after_the_decode_is_passed_by_with_all_that_feeds_it_alone():
    graph = graph_with(
        **{
            "10": node("SeedVR2LoadDiT", model="seedvr2.safetensors"),
            "11": node("SeedVR2VideoUpscaler", dit=link(10), image=link(6), resolution=2048),
        }
    )
    set_input(graph, "7", images=link(11))
    assert bypassed(graph) == graph_with()
    assert how(graph, "11") == "what goes into it as image is used instead"
    assert how(graph, "10") == "left out as not needed"


def test_an_unknown_output_beside_a_known_one_is_left_out_with_its_chain():
    graph = graph_with(
        **{
            "10": node("ColorMatch", image_ref=link(6), image_target=link(6)),
            "11": node("Image Comparer (rgthree)", image_a=link(6), image_b=link(10)),
        }
    )
    assert bypassed(graph) == graph_with()


def test_the_only_output_cannot_be_left_out():
    error = refusal(graph_with(**{"7": node("Image Save", "Save it", images=link(6))}))
    assert (error.node_id, error.class_type) == ("7", "Image Save")
    assert "node 7 Image Save 'Save it': without it the workflow has no output" in str(error)
    assert "custom nodes was-node-suite-comfyui" in str(error)


def test_a_model_patch_passes_each_output_by_its_type():
    loras = node("Power Lora Loader (rgthree)", clip=link(1, 1), model=link(1))
    graph = graph_with(**{"10": loras})
    set_input(graph, "2", clip=link(10, 1))
    set_input(graph, "3", clip=link(10, 1))
    assert bypassed(set_input(graph, "5", model=link(10))) == graph_with()
    assert how(graph, "10") == "what goes into it as model and clip is used instead"


def test_a_latent_effect_is_passed_by_and_a_sampler_is_not():
    effect = node("LatentNoise+", samples=link(5), strength=0.2)
    graph = set_input(graph_with(**{"10": effect}), "6", samples=link(10))
    assert bypassed(graph) == graph_with()
    sampler = {**graph_with()["5"], "class_type": "KSampler (Efficient)"}
    error = refusal(graph_with(**{"5": sampler}))
    assert (error.node_id, error.class_type) == ("5", "KSampler (Efficient)")
    assert "it is a sampler" in str(error)
    assert "install the custom nodes efficiency-nodes-comfyui on the server" in str(error)


def test_both_sides_of_conditioning_stay_apart():
    both = node("ApplyControl", model=link(1), negative=link(3), positive=link(2), strength=1.0)
    graph = graph_with(**{"10": both})
    assert bypassed(set_input(graph, "5", positive=link(10), negative=link(10, 1))) == graph_with()


def test_where_names_do_not_tell_the_input_in_the_same_place_is_taken():
    graph = graph_with(
        **{
            "10": node("ApplyControl", strength=1.0, positive=link(2), negative=link(3)),
            "11": node("ConditioningZeroOut", conditioning=link(10, 1)),
        }
    )
    left = bypassed(set_input(graph, "5", negative=link(11)))
    assert left["11"]["inputs"]["conditioning"] == link(3)


def test_an_output_that_may_be_anything_is_taken_only_for_want_of_better():
    either = node("ComfySwitchNode", switch=True, on_false=link(4), on_true=link(4))
    graph = graph_with(**{"10": either, "11": node("Blend", a=link(10), b=link(4))})
    assert bypassed(set_input(graph, "5", latent_image=link(11)))["5"] == graph_with()["5"]
    del graph["11"]["inputs"]["b"]
    assert bypassed(graph)["5"]["inputs"]["latent_image"] == link(10)


def test_a_link_to_an_output_that_is_not_there_stands_in_for_nothing():
    graph = graph_with(**{"10": node("Patch", model=link(1, 7), other=link("gone"))})
    assert refusal(set_input(graph, "5", model=link(10))).node_id == "10"


def test_chains_of_missing_nodes_are_followed_to_any_depth():
    depth = 3000
    chain = {str(100 + n): node("Patch", model=link(99 + n)) for n in range(1, depth)}
    graph = graph_with(**{"100": node("Patch", model=link(1))}, **chain)
    assert bypassed(set_input(graph, "5", model=link(99 + depth))) == graph_with()


def test_a_branch_without_the_type_is_left_for_one_that_has_it():
    graph = graph_with(
        **{
            "10": node("MaskMaker", mask_source="a"),
            "11": node("Blender", base=link(10), overlay=link(6)),
        }
    )
    assert bypassed(set_input(graph, "7", images=link(11))) == graph_with()


def test_missing_nodes_that_feed_each_other_end_in_an_error():
    graph = graph_with(**{"10": node("A", x=link(11)), "11": node("B", x=link(10))})
    assert refusal(set_input(graph, "5", model=link(10))).node_id == "10"


def test_a_missing_loader_is_an_error_with_its_title_pack_and_what_comes_close():
    loader = node("UnetLoaderGGUF", "Model", unet_name="flux1-dev-Q4.gguf")
    error = refusal(set_input(graph_with(**{"10": loader}), "5", model=link(10)))
    (problem,) = error.problems
    assert (problem.kind, problem.node_id, problem.title) == ("unknown_node", "10", "Model")
    assert str(error) == (
        "the server lacks nodes that the workflow cannot do without: "
        "node 10 UnetLoaderGGUF 'Model': node 5 KSampler needs MODEL from it, and "
        "no input of it can stand in for that; "
        "install the custom nodes ComfyUI-GGUF on the server; "
        "closest there: UNETLoader, VAELoader, ControlNetLoader"
    )


def test_all_that_stands_in_the_way_is_said_at_once():
    graph = graph_with(
        **{
            "10": node("NunchakuFluxDiTLoader", model_path="a"),
            "11": node("NunchakuFluxLoraLoader", model=link(10)),
            "12": node("OddVaeLoader", vae="b"),
        }
    )
    set_input(graph, "5", model=link(11))
    error = refusal(set_input(graph, "6", vae=link(12)))
    assert [problem.node_id for problem in error.problems] == ["10", "11", "12"]
    assert "node 10 NunchakuFluxDiTLoader: node 11 NunchakuFluxLoraLoader needs it" in str(error)
    assert "install the custom nodes that have it, or a newer ComfyUI, on the server" in str(error)


def test_a_preprocessor_is_not_passed_by():
    graph = graph_with(**{"10": node("DWPreprocessor", image=link(6))})
    error = refusal(set_input(graph, "7", images=link(10)))
    assert "not preprocessed" in str(error) and "comfyui_controlnet_aux" in str(error)


def test_numbers_and_choices_are_written_where_they_were_to_go():
    graph = graph_with(
        **{
            "10": node("easy seed", seed=77),
            "11": node("Sampler Selector (Image Saver)", sampler_name="heun"),
            "12": node("SizePicker", width=640, height=768, ratio="5:6"),
        }
    )
    set_input(graph, "5", seed=link(10), sampler_name=link(11))
    left = bypassed(set_input(graph, "4", width=link(12), height=link(12, 1)))
    assert (left["5"]["inputs"]["seed"], left["5"]["inputs"]["sampler_name"]) == (77, "heun")
    assert (left["4"]["inputs"]["width"], left["4"]["inputs"]["height"]) == (640, 768)


def test_a_value_of_the_wrong_type_is_not_written():
    graph = set_input(graph_with(**{"10": node("Odd", seed=True)}), "5", seed=link(10))
    assert refusal(graph).node_id == "10"


def test_an_input_for_anything_follows_what_else_takes_the_output():
    refiner = node("Refiner", text="a fox", image=link(6), mask=link(12, 1))
    graph = graph_with(
        **{
            "10": refiner,
            "11": node("PreviewAny", source=link(10)),
            "12": node("LoadImage", image="example.png"),
        }
    )
    assert refusal(graph).node_id == "10"
    left = bypassed(set_input(graph, "2", text=link(10)))
    assert left["11"]["inputs"]["source"] == "a fox"


def test_an_input_for_anything_takes_the_one_link_there_is():
    graph = graph_with(
        **{"10": node("Logger", x=link(6), level=1), "11": node("PreviewAny", source=link(10))}
    )
    assert bypassed(graph)["11"]["inputs"]["source"] == link(6)
    del graph["10"]["inputs"]["x"]
    assert bypassed(graph)["11"]["inputs"]["source"] == 1


SWITCHES = {
    "easy anythingIndexSwitch": ({"index": 1, "value0": link(4), "value1": link(10)}, link(10)),
    "ImpactSwitch": (
        {"select": 1, "sel_mode": True, "input1": link(4), "input2": link(10)},
        link(4),
    ),
    "LatentSwitch": ({"select": 2, "latent1": link(4), "latent2": link(10)}, link(10)),
    "CR Latent Input Switch": ({"Input": 2, "latent1": link(4), "latent2": link(10)}, link(10)),
    "Switch latent [Crystools]": (
        {"on_true": link(10), "on_false": link(4), "boolean": False},
        link(4),
    ),
    "ComfySwitchNode": ({"switch": True, "on_false": link(4), "on_true": link(10)}, link(10)),
    "AnySwitch": ({"mode": "I2I", "t2i": link(4), "i2i": link(10)}, link(10)),
    "Any Switch (rgthree)": ({"any_01": link(10), "any_02": link(4)}, link(10)),
}


def switched(class_type, inputs, **more):
    latent = node("EmptyLatentImage", width=64, height=64, batch_size=1)
    graph = graph_with(**{"10": latent, "11": node(class_type, **inputs)}, **more)
    return set_input(graph, "5", latent_image=link(11))


@pytest.mark.parametrize("class_type", SWITCHES)
def test_a_switch_passes_what_it_selects(class_type):
    inputs, chosen = SWITCHES[class_type]
    left = bypassed(switched(class_type, inputs), server(without={"ComfySwitchNode"}))
    assert left["5"]["inputs"]["latent_image"] == chosen


@pytest.mark.parametrize("primitive", ["PrimitiveInt", "INTConstant"])
def test_a_selector_may_come_from_a_primitive_known_or_not(primitive):
    inputs = {"index": link(12), "value0": link(4), "value1": link(10)}
    graph = switched("easy anythingIndexSwitch", inputs, **{"12": node(primitive, value=1)})
    assert bypassed(graph)["5"]["inputs"]["latent_image"] == link(10)


@pytest.mark.parametrize(
    "inputs",
    [
        {"index": link(12), "value0": link(4)},
        {"index": 3, "value0": link(4), "value1": link(10)},
        {"index": 0, "value0": link(1)},
        {"value0": link(4)},
        {"index": True, "value0": link(4)},
        {"index": 0, "mode": 0, "value0": link(4)},
        {"index": link(13), "value0": link(4)},
    ],
    ids=[
        *("computed", "not linked", "another type", "no selector", "no such branch"),
        *("two selectors", "in a circle"),
    ],
)
def test_a_switch_that_selects_nothing_known_is_an_error(inputs):
    sources = {
        "12": node("MathExpression|pysssss", expression="a", a=1),
        "13": node("INTConstant", value=link(13)),
    }
    error = refusal(switched("easy anythingIndexSwitch", inputs, **sources))
    assert error.node_id == "11"
    assert "which input it passes on is not known" in str(error)
    assert "custom nodes ComfyUI-Easy-Use" in str(error)


def test_a_switch_may_hold_the_texts_that_it_chooses_from():
    texts = node("easy textIndexSwitch", index=1, text0="a cat", text1="a dog")
    graph = set_input(graph_with(**{"10": texts}), "2", text=link(10))
    assert bypassed(graph)["2"]["inputs"]["text"] == "a dog"


def test_each_output_of_a_switch_takes_the_selected_input_of_its_type():
    graph = graph_with(
        **{
            "10": node("LoadImage", image="a.png"),
            "11": node("LoadImage", image="b.png"),
            "12": node(
                "ImageMaskSwitch",
                select=2,
                images1=link(10),
                mask1_opt=link(10, 1),
                images2_opt=link(11),
                mask2_opt=link(11, 1),
            ),
            "13": node("SetLatentNoiseMask", samples=link(4), mask=link(12, 1)),
        }
    )
    set_input(graph, "5", latent_image=link(13))
    left = bypassed(set_input(graph, "7", images=link(12)))
    assert left["7"]["inputs"]["images"] == link(11)
    assert left["13"]["inputs"]["mask"] == link(11, 1)


def test_a_switch_for_the_first_that_is_there_skips_what_is_not():
    inputs = {"any_01": link(12), "any_02": link(4)}
    graph = switched("Any Switch (rgthree)", inputs, **{"12": node("OddLatentLoader", name="a")})
    assert bypassed(graph)["5"]["inputs"]["latent_image"] == link(4)


def test_a_node_that_is_to_be_kept_stays_as_it_is():
    renamed = node("OldName", image=link(6))
    graph = set_input(graph_with(**{"10": renamed}), "7", images=link(10))
    assert bypassed(graph, kept={"10"}) == graph
    only_output = graph_with(**{"7": node("OldSave", images=link(6))})
    assert bypassed(only_output, kept={"7"}) == only_output
    set_input(only_output, "7", images=link(10))
    only_output["10"] = node("OddLoader", name="a", number=1)
    with pytest.raises(WorkflowError, match="node 7 OldSave needs its output"):
        bypass_missing(only_output, server(), kept={"7"})


def test_a_node_that_runs_for_no_output_just_loses_its_link():
    graph = graph_with(
        **{
            "10": node("OddLoader", name="a"),
            "11": node("ConditioningZeroOut", conditioning=link(10)),
        }
    )
    assert bypassed(graph)["11"]["inputs"] == {}


def test_what_only_a_bypassed_node_needed_is_no_error():
    graph = graph_with(
        **{
            "10": node("OddControlLoader", name="a"),
            "11": node("ConditioningZeroOut", conditioning=link(10)),
            "12": node("OddApply", conditioning=link(2), extra=link(11)),
        }
    )
    left = bypassed(set_input(graph, "5", positive=link(12)))
    assert left["5"]["inputs"]["positive"] == link(2)


def test_a_bypassed_node_can_be_named_in_one_sentence():
    refiner = node("Qwen2_VQA", "Refine", text="a fox")
    (entry,) = bypass_missing(
        set_input(graph_with(**{"10": refiner}), "2", text=link(10)), server()
    ).bypassed
    assert (entry.node_id, entry.class_type, entry.title) == ("10", "Qwen2_VQA", "Refine")
    assert str(entry) == (
        "node 10 Qwen2_VQA 'Refine' is not on the server (of ComfyUI_Qwen3-VL-Instruct "
        "(formerly ComfyUI_Qwen2-VL-Instruct)): "
        "what goes into it as text is used instead"
    )


@pytest.mark.parametrize(
    ("class_type", "pack"),
    [
        ("ImpactSwitch", "ComfyUI-Impact-Pack"),
        ("Switch any [Crystools]", "ComfyUI-Crystools"),
        ("WD14Tagger|pysssss", "ComfyUI-WD14-Tagger"),
        ("ShowText|pysssss", "ComfyUI-Custom-Scripts"),
        ("CLIPLoaderGGUF", "ComfyUI-GGUF"),
        ("LayerUtility: ImageReel", "ComfyUI_LayerStyle"),
        ("KSampler", None),
        ("", None),
    ],
)
def test_the_pack_of_a_class_is_known_by_its_name(class_type, pack):
    assert pack_of(class_type) == pack


KNOWN = {
    "KSampler": ("model", "latent_image", "positive"),
    "CLIPTextEncode": ("clip", "text"),
    "VAEDecode": ("samples", "vae"),
    "LoraLoader": ("model", "clip"),
    "PreviewAny": ("source",),
    "SaveImage": ("images",),
}
UNKNOWN = ("Odd", "Odd", "Odder", "OddSwitch", "OddPreprocessor", "Any Switch (rgthree)")
NAMES = ("model", "clip", "samples", "images", "text", "index", "value0", "any_1")
IDS = [str(number) for number in range(8)]
LINKS = st.tuples(st.sampled_from([*IDS, "gone"]), st.integers(-1, 2)).map(list)
VALUES = LINKS | LINKS | st.sampled_from(["a fox", 0, 1, 0.5, True, None])
NODES = st.one_of(
    st.sampled_from(list(KNOWN)).flatmap(
        lambda name: st.builds(
            lambda values: node(name, **dict(zip(KNOWN[name], values, strict=True))),
            st.tuples(*(VALUES for _ in KNOWN[name])),
        )
    ),
    st.builds(
        lambda name, inputs: node(name, **inputs),
        st.sampled_from(UNKNOWN),
        st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=4),
    ),
)


def with_inserted(places):
    """The graph that every server can run, with unknown nodes put into its links."""
    graph = graph_with()
    for number, (place, class_type, slot, inputs) in enumerate(places):
        links = [(i, name, source) for i, n in graph.items() for name, source in links_of(n)]
        node_id, name, source = links[place % len(links)]
        graph[f"new {number}"] = node(class_type, **{**inputs, "x": list(source)})
        graph[node_id]["inputs"][name] = [f"new {number}", slot]
    return graph


EXTRA = st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=2)
PLACES = st.tuples(st.integers(0, 99), st.sampled_from(UNKNOWN), st.integers(0, 1), EXTRA)
GRAPHS = st.one_of(
    st.dictionaries(st.sampled_from(IDS), NODES, max_size=8),
    st.lists(PLACES, max_size=6).map(with_inserted),
)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    GRAPHS,
    st.sets(st.sampled_from(list(KNOWN)), max_size=1),
    st.sets(st.sampled_from(IDS), max_size=2),
)
def test_any_graph_is_bypassed_without_loose_ends_or_refused(graph, lacking, kept):
    info = server(without=lacking)
    before = deepcopy(graph)
    try:
        result = bypass_missing(graph, info, kept)
    except WorkflowError as error:
        assert error.problems and error.node_id in graph
        assert all(problem.class_type not in info for problem in error.problems)
        assert graph == before
        return
    assert graph == before
    assert all(n["class_type"] in info or i in kept for i, n in result.graph.items())
    loose_before = {link.node_id for link in all_links(graph)} - graph.keys()
    loose = {link.node_id for link in all_links(result.graph)} - result.graph.keys()
    assert loose <= loose_before
    assert {e.node_id for e in result.bypassed} == graph.keys() - result.graph.keys()
    for node_id, left in result.graph.items():
        for name, value in graph[node_id]["inputs"].items():
            source = as_link(value)
            if source is None or source.node_id not in graph.keys() - result.graph.keys():
                assert left["inputs"][name] == value
    again = bypass_missing(result.graph, info, kept)
    assert (again.graph, again.bypassed) == (result.graph, [])
