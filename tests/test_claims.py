"""Where the user says that a parameter goes: the bindings file, titles, extra, and their order."""

from __future__ import annotations

import json

import pytest

from comfyui.claims import bindings_file, read_overrides
from comfyui.workflow import Workflow
from image_provider import ImageGenerationRequest, WorkflowError
from tests.graph_support import bound, node, text_to_image, values


def told(result):
    return {entry.parameter: entry.reason for entry in (*result.bindings, *result.ignored)}


# The bindings file


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ([], ["w.bindings.json", "object"]),
        (None, ["w.bindings.json"]),
        ({"promt": ["6.text"]}, ["w.bindings.json", "'promt'", "negative_prompt"]),
        ({"prompt": 6}, ["w.bindings.json", "prompt", "list"]),
        ({"prompt": []}, ["w.bindings.json", "prompt", "list"]),
        ({"prompt": ["p.text", 6]}, ["w.bindings.json", "prompt", "list"]),
        ({"seed": None}, ["w.bindings.json", "seed", "list"]),
        ({"prompt": {"p": "text"}}, ["w.bindings.json", "prompt"]),
    ],
)
def test_a_file_that_is_none_is_an_error_naming_file_and_key(data, words):
    with pytest.raises(WorkflowError) as caught:
        read_overrides(data, "w.bindings.json")
    assert [word for word in words if word not in str(caught.value)] == []
    assert caught.value.file == "w.bindings.json"


@pytest.mark.parametrize(
    ("place", "why"),
    [
        ("", '\'\' is no place; write "node id.input" or "node title.input"'),
        ("text", "'text' is no place"),
        ("p.", "node p CLIPTextEncode has no input ''; it has: text"),
        ("9.text", "there is no node '9' in the workflow; it has: node "),
        ("p.clap", "node p CLIPTextEncode has no input 'clap'; it has: text"),
        ("p.model.size", "node p CLIPTextEncode has no input 'model.size'; it has: text"),
        ("Title.text", "there is no node 'Title' in the workflow"),
        ("s.s", "node s KSampler has no input 's'; it has: model, seed, "),
    ],
)
def test_a_place_that_is_not_there_is_an_error_that_says_what_is(place, why):
    for fields in ({}, {"seed": 7}):  # whether the request has a value for it or not
        with pytest.raises(WorkflowError) as caught:
            bound(text_to_image(), {"seed": [place]}, **fields)
        assert f"w.bindings.json, seed: {why}" in str(caught.value)
        assert caught.value.file == "w.bindings.json"


def test_a_title_that_two_nodes_share_is_an_error_naming_the_file():
    twins = text_to_image(x=node("Any", "Twin", v=1), y=node("Any", "Twin", v=1))
    with pytest.raises(WorkflowError, match=r"w\.bindings\.json, seed: .*nodes x, y share"):
        bound(twins, {"seed": ["Twin.v"]})


def test_text_for_one_place_and_a_list_for_several_are_read():
    data = {"prompt": "p.text", "seed": ["s.seed", "x.v"]}
    assert read_overrides(data, "f") == {"prompt": ["p.text"], "seed": ["s.seed", "x.v"]}


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("w.json", "w.bindings.json"),
        ("my.flow.json", "my.flow.bindings.json"),
        ("picture.png", "picture.bindings.json"),
    ],
)
def test_the_file_is_named_after_the_workflow(source, name):
    assert bindings_file(source) == name


def test_a_file_beside_the_workflow_is_found_and_told(tmp_path):
    (tmp_path / "w.json").write_text(json.dumps(text_to_image()), "utf-8")
    (tmp_path / "w.bindings.json").write_text('{"prompt": ["n.text"]}', "utf-8")
    result = Workflow.from_file(tmp_path / "w.json").bind(ImageGenerationRequest("P"))
    assert values(result, "p.text", "n.text") == ["a", "P"]
    assert told(result)["prompt"] == "w.bindings.json: named as node n"


# Titles


@pytest.mark.parametrize(
    ("parameter", "title", "place", "value"),
    [
        ("prompt", "Positive Prompt", "x.text", "P"),
        ("prompt", " positive prompt ", "x.value", "P"),
        ("negative_prompt", "NEGATIVE PROMPT", "x.text", "N"),
        ("seed", "Seed", "x.value", 7),
        ("seed", "Noise seed", "x.noise_seed", 7),
        ("source_image_url", "Input image", "x.image", "s.png"),
        ("source_image_url", "source image", "x.image", "s.png"),
        ("mask_image_url", "Mask", "x.image", "m.png"),
        ("mask_image_url", "Input mask", "x.mask", "m.png"),
    ],
)
def test_a_title_that_names_a_parameter_wins_over_the_links(parameter, title, place, value):
    name = place.split(".")[1]
    before = "b" if isinstance(value, str) else 1
    graph = text_to_image(x=node("Any", title, **{name: before}))
    graph["o"]["inputs"]["x"] = ["x", 0]
    result = bound(graph, **{parameter: value})
    assert values(result, place) == [value]
    others = {p for p in told(result)} - {"prompt"}
    assert others <= {parameter}
    assert told(result)[parameter].startswith("the title ")


def test_a_title_that_two_places_have_or_that_only_resembles_one_tells_nothing():
    for titles in (("Positive prompt", "positive prompt"), ("The positive prompt", "Prompt 2")):
        extra = {f"x{i}": node("PrimitiveString", t, value="v") for i, t in enumerate(titles)}
        graph = text_to_image(**extra)
        graph["o"]["inputs"] |= {"a": ["x0", 0], "b": ["x1", 0]}
        assert values(bound(graph), "p.text", "x0.value", "x1.value") == ["P", "v", "v"]


def test_two_titles_of_one_place_tell_it():
    graph = text_to_image(
        p=node("CLIPTextEncode", "Positive prompt", text=["x", 0], clip=["c", 1]),
        x=node("PrimitiveString", "Positive prompt", value="v"),
        y=node("PrimitiveString", "Positive prompt", text=["x", 0]),
    )
    graph["o"]["inputs"]["y"] = ["y", 0]
    result = bound(graph)
    assert values(result, "x.value") == ["P"]
    assert told(result)["prompt"].startswith("the title ")


# Titles that only suggest


def hinted(title, name, value, **nodes):
    """A graph with a node of this title beside the samplers' way."""
    graph = text_to_image(x=node("Any", title, **{name: value}), **nodes)
    graph["o"]["inputs"]["x"] = ["x", 0]
    return graph


@pytest.mark.parametrize(
    ("parameter", "title", "value", "reached"),
    [
        ("prompt", "Prompt", "P", "p.text"),
        ("steps", "Steps", 12, "s.steps"),
        ("width", "Width", 640, "l.width"),
        ("height", "Height", 768, "l.height"),
    ],
)
def test_a_word_that_suggests_a_parameter_gives_way_to_the_links(parameter, title, value, reached):
    before = "v" if isinstance(value, str) else 1
    result = bound(hinted(title, "value", before), **{parameter: value})
    assert values(result, "x.value", reached) == [before, value]


@pytest.mark.parametrize(
    ("parameter", "title", "value", "without"),
    [
        ("prompt", "Prompt", "P", {"p": ("text", ["nowhere", 0])}),
        ("steps", "STEPS", 12, {"s": ("steps", ["nowhere", 0])}),
        ("guidance_scale", "Guidance", 2.5, {}),
        ("guidance_scale", "cfg", 2.5, {}),
        ("strength", "Strength", 0.5, {"l": ("pixels", ["nowhere", 0])}),
        ("width", "Width", 640, {"l": ("width", ["nowhere", 0])}),
    ],
)
def test_it_takes_the_parameter_where_the_links_lead_nowhere(parameter, title, value, without):
    before = "v" if isinstance(value, str) else 1
    graph = hinted(title, "value", before)
    for node_id, (name, link) in without.items():
        graph[node_id]["inputs"][name] = link
    if parameter == "strength":
        graph["l"]["class_type"] = "VAEEncode"
    result = bound(graph, **{parameter: value})
    assert values(result, "x.value") == [value]
    assert told(result)[parameter].startswith(f"the title {title!r}: ")


def test_the_strength_of_a_lora_or_of_a_new_latent_is_not_meant():
    graph = hinted("Strength", "value", 0.9)
    assert values(bound(graph, strength=0.5), "x.value") == [0.9]  # there is no picture
    graph["l"] = node("VAEEncode", pixels=["nowhere", 0])
    graph["x2"] = node("LoraLoaderModelOnly", model=["c", 0], strength_model=["x", 0])
    graph["s"]["inputs"]["model"] = ["x2", 0]
    assert values(bound(graph, strength=0.5), "x.value") == [0.9]


def test_the_text_of_the_negative_side_is_not_meant():
    graph = text_to_image(n=node("CLIPTextEncode", "Prompt", text="b", clip=["c", 1]))
    assert values(bound(graph, negative_prompt="N"), "p.text", "n.text") == ["P", "N"]
    graph["p"]["inputs"]["text"] = ["nowhere", 0]
    assert values(bound(graph, negative_prompt="N"), "n.text") == ["N"]


def test_among_different_texts_it_tells_the_prompt_and_encoders_of_that_text_follow():
    combined = {"conditioning_1": ["p", 0], "conditioning_2": ["r", 0]}
    graph = text_to_image(
        p=node("CLIPTextEncode", "Prompt", text="a", clip=["c", 1]),
        r=node("CLIPTextEncode", text="a region", clip=["c", 1]),
        p2=node("CLIPTextEncode", text="a", clip=["c", 1]),
        both=node("ConditioningCombine", **combined),
        all=node("ConditioningConcat", conditioning_to=["both", 0], conditioning_from=["p2", 0]),
    )
    graph["s"]["inputs"]["positive"] = ["all", 0]
    assert values(bound(graph), "p.text", "r.text", "p2.text") == ["P", "a region", "P"]


def test_among_texts_put_together_it_tells_the_prompt():
    graph = text_to_image(
        p=node("CLIPTextEncode", text=["x", 0], clip=["c", 1]),
        x=node("JoinStrings", string1=["y", 0], string2=["z", 0], delimiter=""),
        y=node("Relay", "Prompt", value=["w", 0]),
        z=node("PrimitiveString", value="z"),
        w=node("PrimitiveString", value="w"),
    )
    assert values(bound(graph), "w.value", "z.value") == ["P", "z"]


def test_a_title_of_a_node_that_does_not_run_tells_nothing():
    graph = text_to_image(x=node("PrimitiveString", "Positive prompt", value="v"))
    assert values(bound(graph), "p.text", "x.value") == ["P", "v"]


# Which wins


def everything(**extra):
    """The file names `x`, a title names `y`, a placeholder is in `z`, the links lead to `p`."""
    graph = text_to_image(
        x=node("PrimitiveString", value="x"),
        y=node("PrimitiveString", "Positive prompt", value="y"),
        z=node("PrimitiveString", value="%prompt%"),
    )
    graph["o"]["inputs"] |= {"a": ["x", 0], "b": ["y", 0], "c": ["z", 0]}
    return graph


PLACES = ("x.value", "y.value", "z.value", "p.text")


def test_the_file_wins_over_titles_and_they_over_the_links():
    with_file = bound(everything(), {"prompt": ["x.value"]})
    assert values(with_file, *PLACES) == ["P", "y", "P", "a"]
    assert values(bound(everything()), *PLACES) == ["x", "P", "P", "a"]


def test_placeholders_win_over_the_links():
    graph = everything()
    graph["y"]["_meta"] = {}
    assert values(bound(graph), *PLACES) == ["x", "y", "P", "a"]


def test_extra_wins_over_each_and_what_it_displaced_is_told():
    for overrides, place, reason in (
        ({"prompt": ["x.value"]}, "x.value", "extra['x.value'] sets x.value"),
        ({}, "y.value", "extra['y.value'] sets y.value"),
    ):
        graph = everything()
        graph["z"]["inputs"]["value"] = "z"
        result = bound(graph, overrides, extra={place: "E"})
        assert values(result, place, "p.text") == ["E", "a"]
        assert [(e.parameter, e.reason) for e in result.ignored] == [("prompt", reason)]


def test_a_title_leaves_a_text_with_placeholders_to_them():
    title = "Positive prompt"
    graph = text_to_image(p=node("CLIPTextEncode", title, text="fine %prompt%", clip=["c", 1]))
    assert values(bound(graph), "p.text") == ["fine P"]


def test_two_parameters_with_one_place_are_not_both_written():
    overrides = {"prompt": ["p.text"], "negative_prompt": ["p.text"]}
    result = bound(text_to_image(), overrides, negative_prompt="N")
    assert values(result, "p.text") == ["P"]
    assert told(result)["negative_prompt"] == "prompt sets p.text"


def test_two_keys_of_extra_with_one_place_are_not_both_written():
    graph = text_to_image()
    graph["s"]["_meta"] = {"title": "Sampler"}
    result = bound(graph, extra={"s.seed": 1, "Sampler.seed": 2})
    assert values(result, "s.seed") == [1]
    assert told(result)["extra['Sampler.seed']"] == "extra['s.seed'] sets s.seed"


def test_the_share_of_the_steps_is_kept_whoever_says_where_they_go():
    sampler = {**text_to_image()["s"]["inputs"], "start_at_step": 5, "end_at_step": 15}
    graph = text_to_image(
        s=node("KSamplerAdvanced", **{**sampler, "steps": ["x", 0]}),
        x=node("PrimitiveInt", "Steps", value=20),
    )
    result = bound(graph, steps=40)
    assert values(result, "x.value", "s.start_at_step", "s.end_at_step") == [40, 10, 30]
    fixed = bound(graph, steps=40, extra={"s.end_at_step": 17})
    assert values(fixed, "s.start_at_step", "s.end_at_step") == [10, 17]


# filename_prefix


def test_a_prefix_is_for_every_node_that_saves_and_told_like_other_extras():
    graph = text_to_image(q=node("SaveLatent", samples=["s", 0], filename_prefix="y"))
    result = bound(graph, extra={"filename_prefix": "mine"})
    assert values(result, "o.filename_prefix", "q.filename_prefix") == ["mine", "mine"]
    parameters = [e.parameter for e in result.bindings]
    assert parameters.count("extra['filename_prefix']") == 2


def test_a_prefix_without_a_node_that_saves_is_told_as_ignored():
    graph = text_to_image(o=node("PreviewImage", images=["d", 0]))
    result = bound(graph, extra={"filename_prefix": "mine"})
    assert [entry.parameter for entry in result.ignored] == ["extra['filename_prefix']"]
