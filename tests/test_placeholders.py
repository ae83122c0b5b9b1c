"""Placeholders are filled where they stand, and nowhere in what the user gives."""

from __future__ import annotations

import pytest

from comfyui.workflow import Workflow
from image_provider import ImageGenerationRequest, WorkflowError


def graph_with(**inputs):
    return {"1": {"class_type": "Any", "inputs": inputs}}


def filled(request, **inputs):
    bound = Workflow.from_dict(graph_with(**inputs)).bind(request)
    return bound.graph["1"]["inputs"], bound


FULL = ImageGenerationRequest(
    "P", "N", 640, 768, seed=7, steps=10, guidance_scale=2.5, strength=0.5, model="M"
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("%prompt%", "P"),
        ("%negative_prompt%", "N"),
        ("%seed%", 7),
        ("%steps%", 10),
        ("%scale%", 2.5),
        ("%width%", 640),
        ("%height%", 768),
        ("%denoise%", 0.5),
        ("%model%", "M"),
        ("x%seed%y", "x7y"),
        ("%width%x%height%", "640x768"),
        ("%prompt%%prompt%", "PP"),
        ("%PROMPT% %other% 100% %", "%PROMPT% %other% 100% %"),
    ],
)
def test_a_placeholder_has_the_value_and_alone_its_type(text, value):
    after, _ = filled(FULL, x=text)
    assert after["x"] == value
    assert type(after["x"]) is type(value)


def test_a_size_that_was_not_given_is_a_plain_number():
    after, _ = filled(ImageGenerationRequest("P"), x="%width%")
    assert (after["x"], type(after["x"])) == (1024, int)


@pytest.mark.parametrize(
    ("word", "field"),
    [
        *(("negative_prompt", "negative_prompt"), ("seed", "seed"), ("steps", "steps")),
        *(("scale", "guidance_scale"), ("denoise", "strength"), ("model", "model")),
    ],
)
def test_one_that_nothing_fills_is_an_error_that_names_it(word, field):
    with pytest.raises(WorkflowError, match=f"node 1 Any, x: .*%{word}%.*give {field}") as caught:
        filled(ImageGenerationRequest("P"), x=f"a %{word}%")
    assert (caught.value.node_id, caught.value.input_name) == ("1", "x")


def test_none_is_filled_in_the_users_own_text():
    own = ImageGenerationRequest("%seed% and %negative_prompt%", "%prompt%", seed=7)
    after, _ = filled(own, x="%prompt%", y="%negative_prompt%")
    assert after == {"x": "%seed% and %negative_prompt%", "y": "%prompt%"}
    after, _ = filled(ImageGenerationRequest("P", extra={"1.x": "%seed%"}), x="%prompt%")
    assert after == {"x": "%seed%"}


def test_a_bound_graph_binds_again_as_its_workflow_does():
    own = ImageGenerationRequest("a %steps%", seed=7, steps=3)
    once = Workflow.from_dict(graph_with(x="fine, %prompt%, %seed%")).bind(own).graph
    assert once["1"]["inputs"]["x"] == "fine, a %steps%, 7"
    assert Workflow.from_dict(once).bind(own).graph == once
    own_text = Workflow.from_dict(graph_with(x="%prompt%")).bind(own).graph
    sampler = {"class_type": "KSampler", "inputs": {"seed": 1}}
    assert Workflow.from_dict(own_text | {"2": sampler}).bind(own).graph["1"] == own_text["1"]
    other = Workflow.from_dict(once).bind(ImageGenerationRequest("b", seed=8)).graph
    assert other["1"]["inputs"]["x"] == "fine, b, 8"


def test_a_text_that_a_user_gave_before_has_no_placeholders_for_the_next():
    encoder = {"class_type": "CLIPTextEncode", "inputs": {"text": "a", "clip": ["3", 1]}}
    sampler = {"class_type": "KSampler", "inputs": {"positive": ["1", 0], "latent_image": ["9", 0]}}
    graph = {"1": encoder, "2": sampler}
    once = Workflow.from_dict(graph).bind(ImageGenerationRequest("a %model% car")).graph
    again = Workflow.from_dict(once)
    assert again.bind(ImageGenerationRequest("b", model="M")).graph["1"]["inputs"]["text"] == "b"
    assert again.bind(ImageGenerationRequest("a %model% car")).graph == once


def test_every_parameter_of_a_text_is_told_once():
    _, bound = filled(FULL, x="%prompt% without %negative_prompt%")
    told = [entry.parameter for entry in bound.bindings]
    assert told == ["prompt", "negative_prompt"]
    assert all(entry.reason == "placeholder in Any 1.x" for entry in bound.bindings)
    assert not {"prompt", "negative_prompt"} & {entry.parameter for entry in bound.ignored}


@pytest.mark.parametrize(
    ("name", "text", "is_placed"),
    [
        ("x", "%seed%", True),
        ("x", "%width%x%height% %seed%", True),
        ("x", "%prompt% %seed%", False),
        ("x", "seed %seed%", False),
        ("filename_prefix", "%seed%", False),
    ],
)
def test_a_number_in_words_is_no_place_for_it(name, text, is_placed):
    sampler = {"class_type": "KSampler", "inputs": {"seed": 1}}
    graph = {**graph_with(**{name: text}), "2": sampler}
    after = Workflow.from_dict(graph).bind(FULL).graph
    assert after["2"]["inputs"]["seed"] == (1 if is_placed else 7)


def test_a_kept_text_that_is_none_is_left_alone():
    for kept in ("x", {"x": 5}, {"gone": "%prompt%", "lost": None}, [1]):
        graph = graph_with(x="%prompt%")
        graph["1"]["_meta"] = {"placeholders": kept}
        assert Workflow.from_dict(graph).bind(FULL).graph["1"]["inputs"] == {"x": "P"}
