"""Our verdict on a graph is the server's, said earlier and with the remedy."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest

from comfyui import validation
from comfyui.cycles import find_cycles
from comfyui.object_info import ObjectInfo
from comfyui.workflow import Workflow
from image_provider import WorkflowError

DATA = Path(__file__).parent / "data" / "object_info"
VERSIONS = ("0.3.64", "0.8.0", "0.26.0")
INSTALLED = {
    ("CheckpointLoaderSimple", "ckpt_name"): ["tiny_sd15.safetensors", "sub/sdxl.safetensors"],
    ("UNETLoader", "unet_name"): ["flux1-dev.safetensors", "flux1-schnell.safetensors"],
    ("DualCLIPLoader", "clip_name1"): ["clip_l.safetensors", "t5xxl_fp16.safetensors"],
    ("DualCLIPLoader", "clip_name2"): ["clip_l.safetensors", "t5xxl_fp16.safetensors"],
    ("VAELoader", "vae_name"): ["ae.safetensors"],
    # The second was uploaded before the graph of the recording i2i_upload was posted.
    ("LoadImage", "image"): ["example.png", "rec_i2i_2125671440.png"],
}


def raw(version):
    return json.loads((DATA / f"{version}.json").read_text("utf-8"))


def server(version="0.26.0", **more):
    """A server of that version with a few models, and further classes."""
    data = raw(version) | more
    for (class_type, name), files in INSTALLED.items():
        data[class_type]["input"]["required"][name][0] = files
    return ObjectInfo.from_dict(data)


def one_class(declared, **entry):
    return {"input": {"required": {"it": declared}}, "output": [], "output_node": True, **entry}


GRAPH = {
    "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "tiny_sd15.safetensors"}},
    "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 64, "batch_size": 1}},
    "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a red cat", "clip": ["4", 1]}},
    "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "blurry", "clip": ["4", 1]}},
    "3": {
        "class_type": "KSampler",
        "inputs": {
            "model": ["4", 0],
            "positive": ["6", 0],
            "negative": ["7", 0],
            "latent_image": ["5", 0],
            "seed": 5,
            "steps": 20,
            "cfg": 7.0,
            "sampler_name": "euler",
            "scheduler": "normal",
            "denoise": 1.0,
        },
        "_meta": {"title": "First pass"},
    },
    "8": {"class_type": "VAEDecode", "inputs": {"samples": ["3", 0], "vae": ["4", 2]}},
    "9": {"class_type": "SaveImage", "inputs": {"images": ["8", 0], "filename_prefix": "x"}},
}


def changed(**inputs):
    """GRAPH with inputs set, as node_input=value; a value of ... removes it."""
    graph = copy.deepcopy(GRAPH)
    for place, value in inputs.items():
        node_id, _, name = place[1:].partition("_")
        if value is ...:
            del graph[node_id]["inputs"][name]
        else:
            graph[node_id]["inputs"][name] = value
    return graph


def problems(graph, info=None):
    return Workflow.from_dict(graph).validate(info or server())


def brief(found):
    return [(p.kind, p.node_id, p.input_name) for p in found]


def only(graph, info=None):
    (problem,) = problems(graph, info)
    return problem


# Against what servers were recorded to say

KINDS = {
    "bad_linked_input": "bad_link",
    "custom_validation_failed": "missing_file",
    "exception_during_inner_validation": "bad_link",
    "invalid_input_type": "wrong_type",
    "required_input_missing": "missing_input",
    "return_type_mismatch": "wrong_type",
    "value_bigger_than_max": "out_of_range",
    "value_not_in_list": "not_in_list",
    "value_smaller_than_min": "out_of_range",
    # A required input without any inputs at all.
    "exception_during_validation": "missing_input",
}
RECORDED = json.loads((DATA / "recorded_verdicts.json").read_text("utf-8"))


def refused_nodes(record):
    """(kind, node) of what the server said, in our words."""
    if record["error"] in ("invalid_prompt", "missing_node_type"):
        return {("unknown_node", record["details"].split("#")[1].strip("'"))}
    if record["error"] == "prompt_no_outputs":
        return {("no_output", None)}
    refused = set()
    for node_id, error_type, name in record["node_errors"]:
        kind = KINDS[error_type]
        refused.add(("missing_model" if name == "ckpt_name" else kind, node_id))
    if record["status"] != 200 and not refused:
        return {("cycle", "1")}
    return refused


@pytest.mark.parametrize(
    "record", RECORDED, ids=lambda r: r["recording"].removesuffix(".json") + f"-{r['status']}"
)
def test_the_verdict_is_the_servers(record):
    try:
        found = problems(record["prompt"], server(record["server"]))
    except WorkflowError as error:
        # What no loader takes the server refuses as well.
        assert record["status"] == 400
        assert error.node_id == "2" or error.node_id == "3" or not record["prompt"]
        return
    if record["recording"] == "validation_no_prompt.json":
        found = [problem for problem in found if problem.node_id == "2"]
    assert {(p.kind, p.node_id) for p in found} == refused_nodes(record)


def test_the_recorded_input_is_the_one_we_name():
    compared = 0
    for record in RECORDED:
        if record["status"] == 200 or "no_prompt" in record["recording"]:
            continue
        named = {
            (node_id, name)
            for node_id, error_type, name in record["node_errors"]
            if "exception" not in error_type
        }
        if named:
            found = problems(record["prompt"], server(record["server"]))
            assert {(p.node_id, p.input_name) for p in found} == named
            compared += 1
    assert compared > 15


@pytest.mark.parametrize("version", VERSIONS)
def test_a_sound_graph_has_no_problems(version):
    assert problems(GRAPH, server(version)) == []


# Values


@pytest.mark.parametrize("value", ["3", 3.7, True, " 4 ", 1, 10000, {"__value__": 5}])
def test_what_the_server_converts_to_a_whole_number_is_taken(value):
    assert problems(changed(n3_steps=value)) == []


@pytest.mark.parametrize("value", ["3.0", "many", None, {}, float("inf"), ""])
def test_what_it_cannot_convert_is_a_wrong_type(value):
    problem = only(changed(n3_steps=value))
    assert brief([problem]) == [("wrong_type", "3", "steps")]
    assert "is not a whole number" in problem.message


def test_ranges_include_their_ends_and_hold_after_conversion():
    assert problems(changed(n3_cfg=0, n3_denoise="1.0", n3_seed=2**64 - 1, n3_steps="10000")) == []
    found = problems(changed(n3_cfg=-0.1, n3_denoise="1.01", n3_seed=2**64, n3_steps=0.9))
    assert {p.kind for p in found} == {"out_of_range"}
    # In the order in which the class declares its inputs.
    assert [p.input_name for p in found] == ["seed", "steps", "cfg", "denoise"]
    assert "1.01 is outside its range, 0.0 to 1.0" in found[-1].message
    assert problems(changed(n3_cfg=float("nan"))) == []


@pytest.mark.parametrize("value", [None, 5, ["a"], {"b": 1}, True])
def test_any_plain_value_is_taken_as_text(value):
    if not isinstance(value, list):
        assert problems(changed(n6_text=value)) == []
    assert problems(changed(n6_text={"__value__": value})) == []


def test_a_value_outside_its_list_is_named_with_the_closest():
    problem = only(changed(n3_sampler_name="eular"))
    assert problem.kind == "not_in_list"
    assert problem.message == (
        "node 3 KSampler 'First pass', sampler_name: eular is not one of the server's values; "
        "closest: euler"
    )
    assert "it has: simple, " in only(changed(n3_scheduler="$")).message


def test_a_list_may_hold_what_cannot_be_hashed_and_be_asked_for_it():
    info = server(Odd=one_class([[["a"], "b"]]))
    assert problems({"1": {"class_type": "Odd", "inputs": {"it": "b"}}}, info) == []
    wrapped = {"__value__": ["a"]}
    assert problems({"1": {"class_type": "Odd", "inputs": {"it": wrapped}}}, info) == []
    assert only({"1": {"class_type": "Odd", "inputs": {"it": {}}}}, info).kind == "not_in_list"


def test_several_choices_are_held_to_the_list_one_by_one():
    many = ["COMBO", {"options": ["a", "b"], "multiselect": True}]
    info = server(Many=one_class(many))

    def with_choices(*choices):
        return {"1": {"class_type": "Many", "inputs": {"it": {"__value__": list(choices)}}}}

    assert problems(with_choices("a", "b"), info) == []
    assert only(with_choices("a", "c"), info).kind == "not_in_list"


def test_a_missing_model_is_named_with_the_closest_and_its_folder():
    graph = {
        "1": {
            "class_type": "UNETLoader",
            "inputs": {"unet_name": "flux1-dve.safetensors", "weight_dtype": "default"},
        },
        "2": {"class_type": "PreviewAny", "inputs": {"source": ["1", 0]}},
    }
    problem = only(graph)
    assert brief([problem]) == [("missing_model", "1", "unet_name")]
    assert problem.message == (
        "node 1 UNETLoader, unet_name: flux1-dve.safetensors is not on the server; closest: "
        "flux1-dev.safetensors, flux1-schnell.safetensors; put it in models/diffusion_models"
    )
    assert "it has none; put it in models/checkpoints" in (
        only(GRAPH, ObjectInfo.from_dict(raw("0.8.0"))).message
    )


def test_the_oldest_server_takes_any_value_of_a_new_combo_but_no_missing_model():
    dim = {"class_type": "LatentConcat", "inputs": {"dim": "w", "samples1": ["5", 0]}}
    dim["inputs"]["samples2"] = ["5", 0]
    graph = changed(n3_latent_image=["10", 0]) | {"10": dim}
    assert problems(graph, server("0.3.64")) == []
    assert only(graph, server("0.8.0")).kind == "not_in_list"
    upscale = {"class_type": "UpscaleModelLoader", "inputs": {"model_name": "4x.pth"}}
    graph = {"1": upscale, "2": {"class_type": "PreviewAny", "inputs": {"source": ["1", 0]}}}
    assert only(graph, server("0.3.64")).kind == "missing_model"


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("not_there.png", ["missing_file"]),
        (None, ["missing_file"]),
        ("example.png", []),
        # The server looks for these itself; its list has the top of the input folder only.
        ("folder/picture.png", []),
        ("folder\\picture.png", []),
        ("picture.png [output]", []),
        ("blake3:0123", []),
    ],
)
def test_only_a_plain_file_name_can_be_said_to_be_missing(name, found):
    graph = {
        "1": {"class_type": "LoadImage", "inputs": {"image": name}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}},
    }
    assert [p.kind for p in problems(graph)] == found


def test_inputs_whose_class_checks_them_itself_are_left_to_it():
    graph = {
        "1": {"class_type": "CustomCombo", "inputs": {"choice": "mine"}},
        "2": {"class_type": "PreviewAny", "inputs": {"source": ["1", 0]}},
    }
    assert problems(graph) == []


def test_a_custom_packs_lists_and_ranges_and_types_are_its_own_affair():
    custom = {"python_module": "custom_nodes.pack"}
    info = server(
        Range=one_class(["INT", {"max": 5}], **custom),
        List=one_class([["a"]], **custom),
        Type=one_class(["IMAGE"], **custom),
        UnetLoaderGGUF={
            "input": {"required": {"unet_name": [["flux-Q4.gguf"]]}},
            "output": ["MODEL"],
            "output_node": True,
            **custom,
        },
    )
    graph = copy.deepcopy(GRAPH)
    graph["20"] = {"class_type": "Range", "inputs": {"it": 6}}
    graph["21"] = {"class_type": "List", "inputs": {"it": "b"}}
    graph["22"] = {"class_type": "Type", "inputs": {"it": ["4", 0]}}
    assert problems(graph, info) == []
    # What never works is said of them too.
    graph["20"]["inputs"]["it"] = "x"
    graph["21"]["inputs"] = {}
    graph["22"]["inputs"]["it"] = ["99", 0]
    graph["23"] = {"class_type": "UnetLoaderGGUF", "inputs": {"unet_name": "flux-Q5.gguf"}}
    assert brief(problems(graph, info)) == [
        ("wrong_type", "20", "it"),
        ("missing_input", "21", "it"),
        ("bad_link", "22", "it"),
        ("missing_model", "23", "unet_name"),
    ]


# Inputs and links


def test_a_missing_input_is_named_with_what_it_takes():
    link, value = problems(changed(n3_model=..., n3_steps=...))
    assert link.message.endswith("model: is required and not there; link an output of type MODEL")
    assert value.message.endswith("steps: is required and not there; set a value")


def test_inputs_that_the_class_does_not_have_are_no_matter():
    unused = {"50": {"class_type": "KSampler", "inputs": {"steps": "many"}}}
    assert problems(changed(n3_extra=["99", 0], n9_other="x", n8_more=["50", 0]) | unused) == []


@pytest.mark.parametrize(
    "link", [["4"], ["99", 0], ["4", 3], ["4", -4], ["4", "0"], ["4", 0.0], [4, 0], [], [["4"], 0]]
)
def test_a_link_that_leads_nowhere_is_a_bad_link(link):
    problem = only(changed(n3_model=link))
    assert brief([problem]) == [("bad_link", "3", "model")]


def test_a_slot_may_count_from_the_end_as_the_server_lets_it():
    assert problems(changed(n3_model=["4", -3])) == []


def test_a_link_of_the_wrong_type_names_both_types():
    assert only(changed(n3_model=["4", 1])).message == (
        "node 3 KSampler 'First pass', model: takes MODEL, and node 4 CheckpointLoaderSimple gives "
        "CLIP; link another output"
    )


@pytest.mark.parametrize(
    ("given", "wanted", "fits"),
    [
        ("IMAGE", "IMAGE", True),
        ("IMAGE", "MASK", False),
        ("IMAGE", "MASK, IMAGE", True),
        ("STRING,INT", "INT,FLOAT", True),
        ("IMAGE", "*", True),
        ("*", "IMAGE", True),
        ("COMFY_MATCHTYPE_V3", "IMAGE", True),
        ("IMAGE", "COMFY_MATCHTYPE_V3", True),
        (["a", "b"], "COMBO", True),
        (["a", "b"], ["a"], True),
        ("STRING", ["a"], False),
        ("INT", "STRING", False),
    ],
)
def test_types_fit_as_the_server_has_it(given, wanted, fits):
    info = ObjectInfo.from_dict(
        {"From": {"input": {}, "output": [given]}, "To": one_class([wanted])}
    )
    graph = {
        "1": {"class_type": "From", "inputs": {}},
        "2": {"class_type": "To", "inputs": {"it": ["1", 0]}},
    }
    assert [p.kind for p in problems(graph, info)] == ([] if fits else ["wrong_type"])


def test_inputs_that_come_with_a_choice_are_left_to_the_server_and_followed():
    graph = copy.deepcopy(GRAPH)
    graph["10"] = {
        "class_type": "ResizeImageMaskNode",
        "inputs": {
            "input": ["8", 0],
            "resize_type": "match size",
            "resize_type.match": ["11", 0],
            "scale_method": "area",
        },
    }
    graph["11"] = {"class_type": "LoadImage", "inputs": {"image": "gone.png"}}
    graph["9"]["inputs"]["images"] = ["10", 0]
    assert brief(problems(graph)) == [("missing_file", "11", "image")]


# The graph as a whole


def test_an_unknown_class_is_refused_anywhere_with_the_closest():
    graph = changed() | {"50": {"class_type": "KSamplr", "inputs": {}}}
    problem = only(graph)
    assert (problem.kind, problem.node_id, problem.class_type) == ("unknown_node", "50", "KSamplr")
    assert "custom node pack missing? closest: KSampler" in problem.message


def test_the_pack_of_an_unknown_class_is_named_where_it_is_known():
    graph = changed() | {"50": {"class_type": "UnetLoaderGGUF", "inputs": {}}}
    assert "; install the custom nodes ComfyUI-GGUF and restart" in only(graph).message


def test_nodes_that_feed_no_output_are_not_looked_into():
    graph = changed() | {"50": {"class_type": "KSampler", "inputs": {"steps": "many"}}}
    assert problems(graph) == []


def test_a_graph_without_output_is_told_so():
    graph = changed()
    del graph["9"]
    problem = only(graph)
    assert brief([problem]) == [("no_output", None, None)]
    assert "SaveImage" in problem.message


def test_an_unknown_class_at_an_end_may_be_the_output():
    graph = changed()
    graph["9"]["class_type"] = "SaveToCloud"
    assert brief(problems(graph)) == [("unknown_node", "9", None)]


def test_a_cycle_is_shown_from_its_first_node():
    graph = {
        "9": {"class_type": "PreviewImage", "inputs": {"images": ["2", 0]}},
        "1": {"class_type": "ImageInvert", "inputs": {"image": ["2", 0]}},
        "2": {"class_type": "ImageInvert", "inputs": {"image": ["1", 0]}},
        # Off the way to the output, nobody minds.
        "5": {"class_type": "ImageInvert", "inputs": {"image": ["5", 0]}},
    }
    problem = only(graph)
    assert brief([problem]) == [("cycle", "1", None)]
    assert "1 ImageInvert ← 2 ImageInvert ← 1 ImageInvert" in problem.message


def test_cycles_that_share_no_node_are_all_found():
    edges = {"a": ["b"], "b": ["c", "d"], "c": ["a"], "d": ["e"], "e": ["d"], "f": ["f", "a"]}
    assert [sorted(path) for path in find_cycles(edges)] == [["a", "b", "c"], ["d", "e"], ["f"]]
    assert find_cycles({"a": ["b", "c"], "b": ["c"], "c": []}) == []


def test_all_problems_come_at_once_in_file_order():
    graph = changed(n4_ckpt_name="gone", n5_width=8, n3_model=..., n3_cfg=-1, n9_images=["8", 1])
    graph["6"]["class_type"] = "Nope"
    assert brief(problems(graph)) == [
        ("missing_model", "4", "ckpt_name"),
        ("out_of_range", "5", "width"),
        ("unknown_node", "6", None),
        ("missing_input", "3", "model"),
        ("out_of_range", "3", "cfg"),
        ("bad_link", "9", "images"),
    ]


def test_a_long_value_is_shortened_in_the_message():
    message = only(changed(n3_sampler_name="x" * 100_000)).message
    assert len(message) < 400 and "…" in message


def test_comparing_names_is_done_for_a_few_problems_only(monkeypatch):
    compared = []
    close = validation.difflib.get_close_matches

    def counted(value, names):
        compared.append(value)
        return close(value, names)

    monkeypatch.setattr(validation.difflib, "get_close_matches", counted)
    graph = {str(n): {"class_type": f"Nope{n}", "inputs": {}} for n in range(2000)}
    found = problems(graph)
    assert len(found) == 2000 and all(p.kind == "unknown_node" for p in found)
    assert 0 < len(compared) <= 50
    compared.clear()
    assert problems(changed(n3_sampler_name="x" * 1000)) and compared == []


def test_a_long_chain_is_no_trouble():
    graph = {
        str(n): {"class_type": "ImageInvert", "inputs": {"image": [str(n + 1), 0]}}
        for n in range(5000)
    }
    graph["5000"] = {"class_type": "LoadImage", "inputs": {"image": "gone.png"}}
    graph["out"] = {"class_type": "PreviewImage", "inputs": {"images": ["0", 0]}}
    assert brief(problems(graph)) == [("missing_file", "5000", "image")]
    graph["5000"] = {"class_type": "ImageInvert", "inputs": {"image": ["0", 0]}}
    assert brief(problems(graph)) == [("cycle", "0", None)]
