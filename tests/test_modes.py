"""The switches between text-to-image and image-to-image are found and turned."""

from __future__ import annotations

import pytest

from comfyui.modes import find_mode
from comfyui.object_info import ObjectInfo
from tests.graph_support import node


def graph_with(**nodes):
    return {
        "out": node("SaveImage", images=["sampler", 0]),
        "sampler": node("KSampler", latent_image=["s", 0]),
        "empty": node("EmptyLatentImage", width=64, height=64),
        "encode": node("VAEEncode", pixels=["load", 0]),
        "load": node("LoadImage", image="a.png"),
        **nodes,
    }


def modes(graph, wants_picture, info=None):
    found = find_mode(graph, wants_picture, info)
    return {f"{spot.node_id}.{spot.input_name}": value for spot, value in found.items()}


def boolean(value, **more):
    return node(
        "ComfySwitchNode", switch=value, on_true=["encode", 0], on_false=["empty", 0], **more
    )


def test_a_switch_is_turned_to_the_branch_that_the_request_needs():
    assert modes(graph_with(s=boolean(False)), True) == {"s.switch": True}
    assert modes(graph_with(s=boolean(True)), True) == {}
    assert modes(graph_with(s=boolean(True)), False) == {"s.switch": False}


def test_the_choice_is_turned_where_it_is_held():
    graph = graph_with(s=boolean(["flag", 0]), flag=node("PrimitiveBoolean", value=False))
    assert modes(graph, True) == {"flag.value": True}


def test_an_index_is_set_to_the_number_of_the_branch():
    switch = node("ImpactSwitch", select=2, input1=["encode", 0], input2=["empty", 0])
    assert modes(graph_with(s=switch), True) == {"s.select": 1}


def test_a_switch_between_other_things_stays():
    switch = node("ComfySwitchNode", switch=True, on_true=["a", 0], on_false=["empty", 0])
    assert modes(graph_with(s=switch, a=node("LatentNoise")), True) == {}


def test_branches_are_told_by_their_titles_where_they_hold_neither():
    switch = node("ComfySwitchNode", switch=False, on_true=["a", 0], on_false=["b", 0])
    graph = graph_with(
        s=boolean(False),
        sampler=node("KSampler", latent_image=["s", 0], denoise=["d", 0]),
        d=switch,
        a=node("PrimitiveFloat", "Strength (img2img)", value=0.7),
        b=node("PrimitiveFloat", "T2I strength", value=1.0),
    )
    assert modes(graph, True) == {"s.switch": True, "d.switch": True}


@pytest.mark.parametrize(
    ("title", "value", "wants_picture", "expected"),
    [
        ("I2I", False, True, {"s.value": True}),
        ("Enable img2img?", False, True, {"s.value": True}),
        ("I2I mode", True, True, {}),
        ("T2I", True, True, {"s.value": False}),
        ("Use text-to-image", False, False, {"s.value": True}),
        ("Switch to Image Edit", False, True, {"s.value": True}),
        ("Image editing", True, False, {"s.value": False}),
        ("Save I2I preview", False, True, {}),
        ("T2I or I2I", False, True, {}),
        ("Anything", False, True, {}),
    ],
)
def test_a_title_that_is_the_mode_names_a_flag(title, value, wants_picture, expected):
    graph = graph_with(s=node("PrimitiveBoolean", title, value=value))
    assert modes(graph, wants_picture) == expected


@pytest.mark.parametrize(
    ("word", "picture", "expected"),
    [
        ("T2I", True, "I2I"),
        ("t2i", True, "i2i"),
        ("txt2img", True, "img2img"),
        ("Text to Image", True, "Image to Image"),
        ("I2I", False, "T2I"),
        ("img2img", False, "txt2img"),
        ("image-to-image", False, "text-to-image"),
        ("T2I", False, None),
        ("inpaint", True, None),
        ("a T2I of a cat", True, None),
    ],
)
def test_a_word_for_a_mode_is_replaced_in_its_own_spelling(word, picture, expected):
    graph = graph_with(s=node("PrimitiveString", value=word))
    assert modes(graph, picture) == ({"s.value": expected} if expected else {})


def test_a_prompt_is_no_choice():
    assert modes(graph_with(s=node("CLIPTextEncode", text="T2I")), True) == {}


def test_the_word_on_offer_is_taken_where_the_offers_are_known():
    info = ObjectInfo.from_dict(
        {"Chooser": {"input": {"required": {"kind": [["T2I (new)", "I2I (source)"]]}}}}
    )
    graph = graph_with(s=node("Chooser", kind="T2I (new)"))
    assert modes(graph, True, info) == {"s.kind": "I2I (source)"}
    assert modes(graph, True) == {}


def test_a_combo_with_options_of_its_own_is_set_with_its_index():
    options = {"option1": "Text to Image", "option2": "Image to Image", "option3": ""}
    graph = graph_with(s=node("CustomCombo", choice="Text to Image", index=0, **options))
    assert modes(graph, True) == {"s.choice": "Image to Image", "s.index": 1}


def test_a_latent_that_has_its_size_from_a_picture_is_made_for_it():
    graph = graph_with(
        s=node("ComfySwitchNode", switch=False, on_true=["sized", 0], on_false=["empty", 0]),
        sized=node("EmptyLatentImage", width=["size", 0], height=["size", 1]),
        size=node("GetImageSize", image=["load", 0]),
    )
    assert modes(graph, True) == {"s.switch": True}
    graph["s"]["inputs"]["switch"] = True
    assert modes(graph, False) == {"s.switch": False}


def test_a_picture_that_another_switch_leaves_out_leads_nowhere():
    graph = graph_with(
        out=node("SaveImage", images=["s", 0]),
        s=node("ComfySwitchNode", switch=False, on_true=["changed", 0], on_false=["made", 0]),
        made=node("KSampler", positive=["p", 0], latent_image=["empty", 0]),
        changed=node("KSampler", positive=["p", 0], latent_image=["encode", 0]),
        p=node("CLIPTextEncode", text=["refined", 0]),
        refined=node("ComfySwitchNode", switch=False, on_true=["vlm", 0], on_false=["words", 0]),
        vlm=node("TextGenerate", prompt=["words", 0], image=["load", 0]),
        words=node("PrimitiveString", value="a cat"),
    )
    assert modes(graph, True) == {"s.switch": True}
