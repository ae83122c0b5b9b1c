"""Widgets whose classes are made here: what an input's settings, and a bare file, say of them.

Checked with the official editor (frontend 1.45.19) on these very files, but for those that it does
not open or that are its custom packs'.
"""

from __future__ import annotations

import pytest

from comfyui.object_info import ObjectInfo
from comfyui.ui_format import convert
from tests.ui_format_support import a_file, a_node


def info_of(**classes):
    """An object_info of classes that are given as their inputs' specifications."""
    more = {"output": ["IMAGE"], "output_node": True, "has_intermediate_output": False}
    return ObjectInfo.from_dict(
        {name: {"input": {"required": inputs}, **more} for name, inputs in classes.items()}
    )


def inputs_of(spec, values):
    """What a node with one such input and a number behind it exports."""
    info = info_of(Taker={"first": spec, "last": ["INT", {"default": 1}]})
    return convert(a_file(a_node(1, "Taker", values=values)), info)["1"]["inputs"]


REMOTE = {"remote": {"route": "/files", "refresh_button": True}}


@pytest.mark.parametrize(
    ("spec", "values", "inputs"),
    [
        # A choice that the server is asked for has two widgets behind it, of which one is exported.
        (
            ["COMBO", REMOTE],
            ["b.png", True, "refresh", 7],
            {"first": "b.png", "refresh": "refresh", "last": 7},
        ),
        (["COMBO", {"options": ["a", "b"], "multi_select": True}], None, {"first": [], "last": 1}),
        (
            ["COMBO", {"options": ["a", "b"], "multi_select": True}],
            [["b"], 7],
            {"first": ["b"], "last": 7},
        ),
        (
            ["COMBO", {"options": ["a", "b"], "control_after_generate": True}],
            ["b", "fixed", "", 7],
            {"first": "b", "last": 7},
        ),
        (
            ["FLOAT", {"control_after_generate": True}],
            [0.5, "fixed", 7],
            {"first": 0.5, "last": 7},
        ),
        (["STRING", {"forceInput": True}], ["was a text", 7], {"last": 7}),
        (["COLOR", {}], None, {"first": "#000000", "last": 1}),
        (["RANGE", {}], None, {"first": {"min": 0, "max": 1}, "last": 1}),
    ],
)
def test_values_find_the_widgets_of_their_input(spec, values, inputs):
    listed = {k: {"__value__": v} if isinstance(v, list) else v for k, v in inputs.items()}
    assert inputs_of(spec, values) == listed


@pytest.mark.parametrize("kind", ["INT", "FLOAT", "COMBO"])
def test_a_control_that_is_called_by_no_text_has_its_usual_name(kind):
    spec = [kind, {"control_after_generate": ["x"], "options": [3]}]
    assert inputs_of(spec, [3, "fixed", 7] if kind != "COMBO" else [3, "fixed", "", 7]) == {
        "first": 3,
        "last": 7,
    }


def test_a_player_has_the_address_of_its_file():
    info = info_of(LoadAudio={"audio": [["a.mp3"], {"audio_upload": True}]})
    node = a_node(1, "LoadAudio", values=["sub/a b&(1).mp3", None, ""])
    assert convert(a_file(node), info)["1"]["inputs"]["audioUI"] == (
        "/api/view?filename=a%20b%26(1).mp3&type=input&subfolder=sub&rand=0"
    )


def test_a_bypassed_node_hands_on_the_very_type_before_one_that_would_do():
    info = info_of(
        Maker={},
        Taker={"images": ["IMAGE"]},
        Passer={"mask": ["MASK"], "either": ["IMAGE,MASK"], "image": ["IMAGE"]},
    )
    file = a_file(
        a_node(1, "Maker", outputs=[("IMAGE", "IMAGE", [1])]),
        a_node(2, "Maker", outputs=[("IMAGE", "IMAGE", [2])]),
        a_node(
            3,
            "Passer",
            [("mask", "MASK", None), ("either", "IMAGE,MASK", 1), ("image", "IMAGE", 2)],
            [("IMAGE", "IMAGE", [3])],
            mode=4,
        ),
        a_node(4, "Taker", [("images", "IMAGE", 3)]),
        links=[[1, 1, 0, 3, 1, "IMAGE"], [2, 2, 0, 3, 2, "IMAGE"], [3, 3, 0, 4, 0, "IMAGE"]],
    )
    assert convert(file, info)["4"]["inputs"] == {"images": ["2", 0]}


def test_each_input_rounds_the_number_of_a_primitive_node_to_its_own_steps():
    info = info_of(
        Odd={"count": ["INT", {"min": 1, "max": 99, "step": 2}]},
        Even={"count": ["INT", {"min": 0, "max": 99, "step": 2}]},
    )
    takers = [a_node(2, "Odd", [("count", "INT", 1)]), a_node(3, "Even", [("count", "INT", 2)])]
    for taker in takers:
        taker["inputs"][0]["widget"] = {"name": "count"}
    file = a_file(
        a_node(1, "PrimitiveNode", (), [("INT", "INT", [1, 2])], [8, "fixed"]),
        *takers,
        links=[[1, 1, 0, 2, 0, "INT"], [2, 1, 0, 3, 0, "INT"]],
    )
    graph = convert(file, info)
    assert [graph[i]["inputs"]["count"] for i in ("2", "3")] == [9, 10]


@pytest.mark.parametrize("generation", ["", "output_matchtypes", "has_intermediate_output"])
@pytest.mark.parametrize("minimum", [0, 1, 2])
def test_inputs_that_grow_may_stand_in_the_rows_of_others(generation, minimum):
    def growing(row, least):
        template = {"input": {"required": row}, "prefix": "r", "min": least, "max": 9}
        return ["COMFY_AUTOGROW_V3", {"template": template}]

    rows = growing({"inner": growing({"x": ["IMAGE", {}]}, minimum)}, 1)
    described = {"input": {"required": {"outer": rows, "image": ["IMAGE"]}}, generation: False}
    info = ObjectInfo.from_dict({"Maker": {"output": ["IMAGE"]}, "Taker": described})
    file = a_file(
        a_node(1, "Maker", outputs=[("IMAGE", "IMAGE", [1])]),
        a_node(2, "Taker", [("image", "IMAGE", 1)]),
        links=[[1, 1, 0, 2, 0, "IMAGE"]],
    )
    assert convert(file, info)["2"]["inputs"]["image"] == ["1", 0]


# Files that the editor does not open, and custom packs


def test_links_that_are_null_are_no_links():
    info = info_of(Maker={}, Taker={"images": ["IMAGE"]})
    file = a_file(
        a_node(1, "Maker", outputs=[("IMAGE", "IMAGE", [1])]),
        a_node(2, "Taker", [("images", "IMAGE", 1)]),
        links=[None, [1, 1, 0, 2, 0, "IMAGE"]],
    )
    assert convert(file, info)["2"]["inputs"] == {"images": ["1", 0]}


def test_of_two_set_nodes_with_one_name_the_first_counts():
    info = info_of(Maker={}, Taker={"images": ["IMAGE"]})
    file = a_file(
        a_node(1, "Maker", outputs=[("IMAGE", "IMAGE", [1])]),
        a_node(2, "Maker", outputs=[("IMAGE", "IMAGE", [2])]),
        a_node(3, "SetNode", [("IMAGE", "IMAGE", 1)], [("*", "*", None)], ["picture"]),
        a_node(4, "SetNode", [("IMAGE", "IMAGE", 2)], [("*", "*", None)], ["picture"]),
        a_node(5, "GetNode", (), [("IMAGE", "IMAGE", [3])], ["picture"]),
        a_node(6, "Taker", [("images", "IMAGE", 3)]),
        links=[[1, 1, 0, 3, 0, "IMAGE"], [2, 2, 0, 4, 0, "IMAGE"], [3, 5, 0, 6, 0, "IMAGE"]],
    )
    assert convert(file, info)["6"]["inputs"] == {"images": ["1", 0]}


def test_without_object_info_a_choice_may_have_a_control_behind_it():
    node = a_node(1, "Taker", [("first", "COMBO", None), ("last", "INT", None)])
    for slot in node["inputs"]:
        slot["widget"] = {"name": slot["name"]}
    for values in (["b", "fixed", "", 7], ["b", 7], ["b", 7, "fixed"]):
        graph = convert(a_file({**node, "widgets_values": values}), None)
        assert graph["1"]["inputs"] == {"first": "b", "last": 7}
