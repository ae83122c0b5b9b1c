"""The user's style templates: what a file may say, and what is said of one that is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from image_provider import ConfigurationError, ImageGenerationRequest, ImageStyle
from style_files import load_styles, read_templates
from style_templates import STYLE_TEMPLATES, StyleTemplate

TOML = """
[cinematic]
negative_prompt = "cartoon"
steps = 30

["Ink wash"]
like = "artistic"
prompt = "{prompt}, ink wash on rice paper"
size = [832, 1216]
guidance_scale = 3
strength = 0.6
loras = [["ink.safetensors", 0.8]]

[plain]
"""
CINEMATIC = STYLE_TEMPLATES[ImageStyle.CINEMATIC]


def write(text, name="styles.toml"):
    Path(name).write_text(text, encoding="utf-8")
    return name


def told(document, name="styles.json"):
    """What is said of a file with this content."""
    text = document if isinstance(document, str) else json.dumps(document)
    with pytest.raises(ConfigurationError) as caught:
        load_styles(write(text, name))
    return str(caught.value)


# Reading


def test_a_file_changes_parts_of_built_in_styles_and_adds_some():
    styles = load_styles(write(TOML))
    assert styles.names == [*(style.value for style in ImageStyle), "Ink wash", "plain"]
    changed = styles.apply(ImageGenerationRequest("a fox", style="cinematic"))
    assert changed.prompt == CINEMATIC.prompt.replace("{prompt}", "a fox")
    assert (changed.negative_prompt, changed.steps) == ("cartoon", 30)
    assert (changed.width, changed.height) == CINEMATIC.size
    own = styles.apply(ImageGenerationRequest("a fox", **styles.fields("ink WASH")))
    assert own.prompt == "a fox, ink wash on rice paper"
    assert own.negative_prompt == STYLE_TEMPLATES[ImageStyle.ARTISTIC].negative_prompt
    assert (own.width, own.height, own.guidance_scale) == (832, 1216, 3.0)
    assert own.loras == (("ink.safetensors", 0.8),) and own.strength is None
    assert (own.style, own.style_name) == (ImageStyle.ARTISTIC, "Ink wash")
    plain = ImageGenerationRequest("a fox", **styles.fields("plain"))
    assert plain.style is None and styles.apply(plain) == plain


def test_toml_and_json_say_the_same():
    document = {
        "cinematic": {"negative_prompt": "cartoon", "steps": 30},
        "Ink wash": {
            "like": "artistic",
            "prompt": "{prompt}, ink wash on rice paper",
            "size": [832, 1216],
            "guidance_scale": 3,
            "strength": 0.6,
            "loras": [["ink.safetensors", 0.8]],
        },
        "plain": {},
    }
    text = "\ufeff" + json.dumps(document)  # as editors on Windows save it
    files = [load_styles(write(TOML)), load_styles(write(text, "styles.JSON"))]
    for name in ("cinematic", "Ink wash", "plain"):
        first, second = (
            styles.apply(ImageGenerationRequest("a fox", **styles.fields(name))) for styles in files
        )
        assert first == second and first.from_template == second.from_template


def test_null_leaves_open_what_a_built_in_style_sets():
    parts = {"prompt": None, "negative_prompt": None, "size": None, "steps": None}
    styles = load_styles(write(json.dumps({"cinematic": parts}), "styles.json"))
    request = ImageGenerationRequest("a fox", style="cinematic")
    assert styles.apply(request) == request


def test_a_style_of_ones_own_is_like_a_built_in_one_as_the_file_has_it():
    document = {"mine": {"like": "cinematic"}, "cinematic": {"steps": 30}}
    read = read_templates(document, "styles.json")
    assert read["mine"].parameters == {"steps": 30}
    assert read["mine"].like is ImageStyle.CINEMATIC and read["cinematic"].like is None


def test_without_a_file_the_styles_are_the_built_in_ones():
    assert load_styles(None).names == [style.value for style in ImageStyle]


# What is wrong


def test_all_that_is_wrong_is_said_at_once_with_file_and_key():
    message = told(
        {
            "cinematic": {"prompt": "film still", "steps": "many", "like": "portrait"},
            "my look": {"promt": "{prompt}", "size": [1024], "strength": 2, "like": "noir"},
            "old": "film",
            "Portrait": {},
            " ": {},
        }
    )
    assert message.startswith("style templates styles.json: ")
    for part in (
        "cinematic.prompt: must hold {prompt}, where the prompt of a request goes",
        "cinematic.steps: steps must be a whole number, not str",
        "cinematic.like: is for styles of your own; remove it",
        '"my look".promt: is unknown; there are: prompt, negative_prompt, size, steps,',
        '"my look".size: must be [width, height] in pixels, such as [1344, 768]',
        '"my look".strength: strength must be between 0.0 and 1.0, not 2',
        '"my look".like: must be one of fast_draft, photoreal,',
        "old: must be a table of its own, such as",
        "Portrait: write 'portrait', as the built-in style is called",
        '" ": a style\'s name must be a text without blanks around it',
    ):
        assert part in message
    assert message.count(";") >= 9


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"prompt": 3}, "a.prompt: must be a text, not int"),
        ({"negative_prompt": []}, "a.negative_prompt: negative_prompt must be a str or None"),
        ({"size": [0, 8]}, "a.size: width must be 1 or more, not 0"),
        ({"size": "8x8"}, "a.size: must be [width, height]"),
        ({"steps": 0}, "a.steps: steps must be 1 or more, not 0"),
        ({"steps": 8.5}, "a.steps: steps must be a whole number, not float"),
        ({"guidance_scale": True}, "a.guidance_scale: guidance_scale must be a number, not bool"),
        ({"loras": [["a"]]}, "a.loras: loras must be a list of (name, strength) pairs"),
        ({"seed": 3}, "a.seed: is unknown"),
        ({"like": ["cinematic"]}, "a.like: must be one of"),
    ],
    ids=str,
)
def test_a_wrong_value_is_told_by_its_key(entry, message):
    assert message in told({"a": entry})


def test_two_names_that_differ_in_capitals_alone_are_one_too_many():
    assert "MINE: another style has this name" in told({"mine": {}, "MINE": {}})


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        ("[a\n", "s.toml", "at line 1, column 3"),
        ("[a]\nsteps = 1\nsteps = 2", "s.toml", "Cannot overwrite a value"),
        ('{"a": {},}', "s.json", "line 1, column"),
        ('{"a": {}, "a": {}}', "s.json", "the key 'a' is there twice; mend that place"),
        ("[" * 100_000, "s.json", "it is nested too deeply"),
        ("[]", "s.json", "it must hold an object such as"),
        ("", "s.yaml", "its name must end in .toml or .json; rename it"),
    ],
    ids=["toml", "twice in toml", "json", "twice in json", "deep", "list", "yaml"],
)
def test_a_file_that_cannot_be_parsed_is_told_with_its_place(text, name, message):
    said = told(text, name)
    assert said.startswith(f"style templates {name}: ") and message in said


def test_a_file_that_cannot_be_read_is_told_with_the_setting():
    for name in ("gone.toml", "a\0b.json"):
        with pytest.raises(ConfigurationError, match="correct IMAGE_STYLE_TEMPLATES"):
            load_styles(name)
    Path("folder.toml").mkdir()
    with pytest.raises(ConfigurationError, match="it cannot be read"):
        load_styles("folder.toml")
    Path("latin.toml").write_bytes(b"[\xe9]")
    with pytest.raises(ConfigurationError, match="no UTF-8 text"):
        load_styles("latin.toml")


# Whatever a file holds

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=4,
)
keys = st.sampled_from(["prompt", "size", "steps", "guidance_scale", "strength", "loras", "like"])
names = st.sampled_from(["cinematic", "Cinematic", "my look"]) | st.text(max_size=8)
documents = anything | st.dictionaries(
    names, anything | st.dictionaries(keys | st.text(max_size=8), anything, max_size=3), max_size=3
)
quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@quick
@given(documents)
@example({"a": {"steps": 10**400}})
@example({"a": {"guidance_scale": 10**400}})
@example({3: {}})
def test_whatever_a_document_holds_it_is_read_or_told_of(document):
    try:
        templates = read_templates(document, "styles.json")
    except ConfigurationError as error:
        assert str(error).startswith("style templates styles.json: ")
        return
    for template in templates.values():
        assert "a fox" in template.apply(ImageGenerationRequest("a fox")).prompt


@quick
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "prompt": st.tuples(st.text(), st.text()).map("{prompt}".join),
            "negative_prompt": st.none() | st.text(),
            "size": st.lists(st.integers(1, 10**6), min_size=2, max_size=2),
            "steps": st.integers(1, 10**6),
            "guidance_scale": st.floats(allow_nan=False, allow_infinity=False),
            "strength": st.floats(0, 1),
            "loras": st.lists(st.tuples(st.text(), st.floats(-2, 2)).map(list), max_size=2),
        },
    ),
    st.text(),
)
def test_what_a_file_says_is_what_a_request_gets(parts, prompt):
    template = read_templates({"mine": parts}, "styles.json")["mine"]
    made = template.apply(ImageGenerationRequest(prompt, source_image_url="a.png"))
    before, after = parts.get("prompt", "{prompt}").split("{prompt}", 1)
    if "{prompt}" not in after and "{prompt}" not in before:
        assert made.prompt == before + prompt + after
    for name in ("steps", "guidance_scale", "strength", "negative_prompt"):
        assert getattr(made, name) == parts.get(name)
    assert [list(pair) for pair in made.loras] == parts.get("loras", [])
    given_parts = {name for name in parts if parts[name] not in (None, [])}
    assert made.from_template == given_parts - {"prompt", "size"}
    own = ImageGenerationRequest("", steps=1, guidance_scale=2, loras=[("l", 1)])
    kept = template.apply(own)
    assert (kept.steps, kept.guidance_scale, kept.loras) == (1, 2.0, (("l", 1.0),))


@given(st.text(alphabet="{}prompt0.!s ", max_size=30))
@settings(max_examples=50, deadline=None)
def test_braces_in_the_users_text_stay_as_they_are(text):
    template = StyleTemplate(prompt="{a} {prompt} {0} {}")
    assert template.apply(ImageGenerationRequest(text)).prompt == f"{{a}} {text} {{0}} {{}}"
