"""The routing file: its shape, what is said when it is broken, and the order of its entries."""

from __future__ import annotations

import json

import pytest

from image_provider import ConfigurationError, ImageGenerationRequest
from image_routing.rules import DEFAULT_RULES, Route, load_rules, parse_rules, save_rules


def rules(**data):
    return parse_rules({**DEFAULT_RULES, **data}, "routing.json")


def names(rules, **request):
    routes = rules.routes(ImageGenerationRequest("a fox", **request), lambda name: name)
    return [route.provider for route in routes]


# Reading


def test_without_a_file_there_are_the_defaults(tmp_path):
    assert load_rules(tmp_path / "none.json") == {
        "default_provider": "comfyui",
        "style_routing": {},
        "feature_routing": {},
        "fallback_chain": ["comfyui", "flux", "openai"],
    }


@pytest.mark.parametrize("text", [None, '{"default_provider": "openai"}'])
def test_what_is_read_is_the_readers_own(tmp_path, text):
    file = tmp_path / "routing.json"
    if text is not None:
        file.write_text(text, "utf-8-sig")
    read = load_rules(file)
    read["style_routing"]["cinematic"] = {"provider": "openai"}
    read["fallback_chain"].clear()
    assert DEFAULT_RULES["style_routing"] == {} and DEFAULT_RULES["fallback_chain"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"default_provider": "comfyui",\n "x" 3}', "line 2, column 6: Expecting ':' delimiter"),
        (b"", "line 1, column 1: Expecting value"),
        (b"[]", "must hold a JSON object"),
        (b"[" * 100_000, "is nested too deeply"),
        (b'{"a": "\xff"}', "is no UTF-8 text"),
        (b'{"a": ' + b"1" * 5000 + b"}", "has a number that is too long"),
        (
            b'{"a": {"model": "x", "model": "y"}}',
            "has 'model' twice in one object",
        ),
        (b'{"a": {}, "a": {}}', "has 'a' twice in one object"),
    ],
)
def test_a_broken_file_is_told_with_its_place(tmp_path, content, message):
    file = tmp_path / "routing.json"
    file.write_bytes(content)
    with pytest.raises(ConfigurationError) as caught:
        load_rules(file)
    assert str(caught.value).startswith("routing file routing.json")
    what, _, remedy = str(caught.value).partition("; ")
    assert what.endswith(message)
    assert remedy.startswith(("correct it, or move it away", "save it as UTF-8", "keep one of"))


def test_a_folder_in_the_files_place_is_told(tmp_path):
    with pytest.raises(ConfigurationError, match="cannot be read: .*; correct it, or move it away"):
        load_rules(tmp_path)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"default_provider": None}, "default_provider: must be a provider's name"),
        ({"fallback_chain": "flux"}, "fallback_chain: must be a list of providers' names"),
        ({"fallback_chain": [1]}, "fallback_chain: must be a list of providers' names"),
        ({"style_routing": []}, "style_routing: must be an object such as"),
        ({"style_routing": {"noir": {}}}, "style_routing.noir: is unknown; there are: artistic,"),
        ({"style_routing": {"artistic": "flux"}}, "style_routing.artistic: must be an object"),
        ({"style_routing": {"artistic": {}}}, "style_routing.artistic: names no provider"),
        ({"feature_routing": {"upscale": {}}}, "feature_routing.upscale: is unknown; there are:"),
        (
            {"feature_routing": {"seeds": {"provider": "x", "required": "yes"}}},
            "feature_routing.seeds.required: must be of type bool",
        ),
        (
            {"style_routing": {"artistic": {"provider": "x", "priority": True}}},
            "style_routing.artistic.priority: must be of type int",
        ),
        ({"comfyui": {"modle": "x"}}, "comfyui.modle: is unknown; there are: provider, workflow"),
        ({"comfyui": {"features": ["magic"]}}, "comfyui.features: 'magic' is none of: img2img"),
        ({"defualt_provider": "x"}, "defualt_provider: must be an object such as"),
    ],
)
def test_what_is_wrong_is_told_with_file_and_key(data, message):
    with pytest.raises(ConfigurationError) as caught:
        rules(**data)
    assert str(caught.value).startswith(f"routing file routing.json, {message}")


def test_an_entry_is_read_with_null_as_left_out():
    read = rules(
        style_routing={"cinematic": {"provider": "a", "workflow": "w.json", "model": None}},
        a={"priority": 2, "features": ["img2img"]},
    )
    assert read.styles["cinematic"] == Route("a", workflow="w.json")
    assert read.providers["a"] == Route("a", priority=2, features=("img2img",))


# Order


def test_the_default_comes_first_and_then_the_chain():
    assert names(rules(default_provider="b", fallback_chain=["a", "b"])) == ["b", "a", "b"]


def test_a_style_comes_before_the_default_and_a_feature_before_the_style():
    read = rules(
        style_routing={"cinematic": {"provider": "of-style"}},
        feature_routing={"img2img": {"provider": "of-feature"}},
        fallback_chain=[],
    )
    given = {"style": "cinematic", "source_image_url": "a.png"}
    assert names(read, **given) == ["of-feature", "of-style", "comfyui"]
    assert names(read, style="artistic") == ["comfyui"]


def test_an_override_is_alone():
    read = rules(feature_routing={"seeds": {"provider": "a", "required": True}})
    assert names(read, provider="b", seed=1) == ["b"]


def test_priority_decides_between_several_features_and_none_comes_last():
    read = rules(
        feature_routing={
            "img2img": {"provider": "a-without"},
            "negative_prompts": {"provider": "m-second", "priority": 2},
            "seeds": {"provider": "z-first"},
        },
        **{"z-first": {"priority": 1}},
        fallback_chain=[],
    )
    given = {"source_image_url": "a.png", "negative_prompt": "dogs", "seed": 0}
    assert names(read, **given) == ["z-first", "m-second", "a-without", "comfyui"]


def test_an_alias_has_the_priority_of_what_it_stands_for():
    read = rules(
        feature_routing={"negative_prompts": {"provider": "a"}, "seeds": {"provider": "flux"}},
        flux_fal={"priority": 1},
        fallback_chain=[],
    )
    request = ImageGenerationRequest("a fox", negative_prompt="dogs", seed=0)
    routes = read.routes(request, lambda name: "flux_fal" if name == "flux" else name)
    assert [route.provider for route in routes] == ["flux_fal", "a", "comfyui"]


@pytest.mark.parametrize(
    ("request_fields", "needs"),
    [
        ({}, []),
        ({"source_image_url": "a.png"}, ["img2img"]),
        ({"source_image_url": "a.png", "mask_image_url": "m.png"}, ["inpainting"]),
        ({"extra": {"source_image": b"png"}}, ["img2img"]),
        ({"extra": {"source_image": b"png", "mask_image": b"png"}}, ["inpainting"]),
        ({"workflow": "mine.json"}, ["custom_nodes"]),
        ({"seed": 1, "negative_prompt": "dogs", "loras": [("a", 1)]}, []),
    ],
)
def test_a_request_needs_what_it_makes_no_sense_without(request_fields, needs):
    assert rules().needs(ImageGenerationRequest("a fox", **request_fields)) == needs


def test_the_file_can_require_what_would_be_left_out():
    required = {word: {"provider": "a", "required": True} for word in ("seeds", "negative_prompts")}
    read = rules(feature_routing=required)
    asked = ImageGenerationRequest("a fox", seed=0, negative_prompt="dogs")
    assert read.needs(asked) == ["negative_prompts", "seeds"]
    assert read.needs(ImageGenerationRequest("a fox", negative_prompt="")) == []


def test_a_templates_negative_prompt_requires_nothing():
    read = rules(feature_routing={"negative_prompts": {"provider": "a", "required": True}})
    request = ImageGenerationRequest(
        "a fox", negative_prompt="dogs", from_template=frozenset({"negative_prompt"})
    )
    assert read.needs(request) == []


def test_an_entry_takes_what_it_leaves_open_from_the_providers_own():
    read = rules(
        style_routing={"cinematic": {"provider": "a", "model": "of-style"}},
        a={"workflow": "own.json", "model": "own", "features": ["seeds"]},
        fallback_chain=[],
        default_provider="a",
    )
    request = ImageGenerationRequest("a fox", style="cinematic")
    of_style, own = read.routes(request, lambda name: name)
    assert of_style == Route("a", "own.json", "of-style", features=("seeds",))
    assert own == Route("a", "own.json", "own", features=("seeds",))


def test_an_entry_under_a_name_of_its_own_stands_for_its_provider():
    read = rules(draft={"provider": "comfyui", "workflow": "fast.json"})
    request = ImageGenerationRequest("a fox", provider="draft")
    assert list(read.routes(request, lambda name: name)) == [Route("comfyui", "fast.json")]


def test_an_entry_under_a_name_of_its_own_takes_what_it_leaves_open_from_the_providers():
    read = rules(
        style_routing={"cinematic": {"provider": "draft"}},
        draft={"provider": "comfyui", "workflow": "fast.json"},
        comfyui={"workflow": "own.json", "model": "own", "features": ["seeds"]},
    )
    request = ImageGenerationRequest("a fox", style="cinematic")
    first = next(read.routes(request, lambda name: name))
    assert first == Route("comfyui", "fast.json", "own", features=("seeds",))


def test_an_entry_for_an_alias_can_choose_another_provider():
    read = rules(flux={"provider": "flux_fal"}, flux_bfl={"model": "of-bfl"})
    request = ImageGenerationRequest("a fox", provider="flux")
    routes = read.routes(request, lambda name: "flux_bfl" if name == "flux" else name)
    assert list(routes) == [Route("flux_fal")]


def test_entries_that_name_each_other_come_to_an_end():
    read = rules(a={"provider": "b"}, b={"provider": "a"})
    assert names(read, provider="a") == ["a"]


# Writing


def test_what_is_saved_is_read_again(tmp_path):
    file = tmp_path / "routing.json"
    save_rules({**DEFAULT_RULES, "default_provider": "日本"}, file)
    assert load_rules(file)["default_provider"] == "日本"
    assert [path.name for path in tmp_path.iterdir()] == ["routing.json"]


def test_a_save_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    target = tmp_path / "routing.json"
    target.mkdir()  # what cannot be replaced by a file
    with pytest.raises(ConfigurationError, match=r"routing file routing\.json cannot be written"):
        save_rules(DEFAULT_RULES, target)
    assert [path.name for path in tmp_path.iterdir()] == ["routing.json"]


@pytest.mark.parametrize("folder", ["none", "file"])
def test_a_folder_that_cannot_be_written_to_is_told(tmp_path, folder):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match=r"routing file routing\.json cannot be written"):
        save_rules(DEFAULT_RULES, tmp_path / folder / "routing.json")


def test_what_is_saved_is_plain_json(tmp_path):
    save_rules(DEFAULT_RULES, tmp_path / "routing.json")
    assert json.loads((tmp_path / "routing.json").read_text("utf-8")) == DEFAULT_RULES
