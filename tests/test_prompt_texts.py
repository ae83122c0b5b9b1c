"""Which text of several is the one that a user types."""

from __future__ import annotations

import pytest

from comfyui.prompt_texts import source_names, user_score


def score(text, title=""):
    return user_score(
        {"class_type": "T", "inputs": {"text": text}, "_meta": {"title": title}}, "text"
    )


@pytest.mark.parametrize(
    "name",
    [
        *("string_a", "text1", "text_2", "prompt", "user_prompt", "custom_prompt", "prompt_text"),
        *("question", "instruction", "input", "texts", "json_string", "wildcard_text"),
    ],
)
def test_inputs_that_bring_a_part_are_known_by_name(name):
    assert source_names({name: "a"}) == [name]
    assert source_names({name: ["1", 0]}) == [name]
    assert source_names({name: 5}) == []


@pytest.mark.parametrize(
    "name", ["delimiter", "system_prompt", "model", "preset_prompt", "context"]
)
def test_others_bring_none(name):
    assert source_names({name: "a"}) == []


def test_the_users_part_is_told_by_title_and_content():
    assert score("a", "User prompt") > score("a", "Prompt") > score("a")
    assert score("a") > score("a", "Trigger words")
    assert score("a") > score("a", "System prompt")
    assert score("a") > score("You are an assistant.")
    assert score("a") > score("<|im_start|>system")
