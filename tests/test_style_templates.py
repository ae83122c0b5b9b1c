"""Templates over requests: what the caller gave stays."""

from __future__ import annotations

import pytest

from image_provider import ImageGenerationRequest, ImageStyle
from style_templates import STYLE_TEMPLATES, Styles, StyleTemplate


@pytest.mark.parametrize("style", ImageStyle)
def test_every_style_has_a_template_that_keeps_the_prompt(style):
    assert STYLE_TEMPLATES[style].prompt.count("{prompt}") == 1
    assert "a red fox" in Styles().apply(ImageGenerationRequest("a red fox", style=style)).prompt


@pytest.mark.parametrize("style", ImageStyle)
def test_sizes_of_styles_are_multiples_of_16(style):
    assert all(side % 16 == 0 for side in STYLE_TEMPLATES[style].size or ())


def test_without_a_style_the_request_stays_as_it_is():
    request = ImageGenerationRequest("a fox")
    assert Styles().apply(request) is request


@pytest.mark.parametrize("text", ["{}", "{prompt}", "{0.__class__}", "a {b} c }{", "%s $x \\1"])
def test_braces_in_the_users_text_are_just_text(text):
    template = StyleTemplate(prompt="before {prompt} after")
    applied = template.apply(ImageGenerationRequest(text))
    assert applied.prompt == f"before {text} after"


def test_the_templates_own_fields_are_marked_and_the_callers_are_kept():
    template = StyleTemplate(negative_prompt="dogs", size=(1344, 768))
    filled = template.apply(ImageGenerationRequest("a fox", seed=3))
    assert (filled.negative_prompt, filled.width, filled.height) == ("dogs", 1344, 768)
    assert filled.from_template == {"negative_prompt", "width", "height"}
    own = template.apply(ImageGenerationRequest("a fox", negative_prompt="cats", width=512))
    assert (own.negative_prompt, own.width, own.height) == ("cats", 512, 1024)
    assert own.from_template == set()


def test_an_empty_negative_prompt_is_an_answer():
    applied = StyleTemplate(negative_prompt="dogs").apply(
        ImageGenerationRequest("a fox", negative_prompt="")
    )
    assert applied.negative_prompt == ""


@pytest.mark.parametrize(
    "given",
    [
        {"width": 1024},
        {"source_image_url": "a.png"},
        {"extra": {"source_image": b"png"}},
        {"workflow": "mine.json"},
    ],
)
def test_a_styles_size_gives_way_to_a_size_a_source_and_a_named_workflow(given):
    request = ImageGenerationRequest("a fox", **given)
    applied = StyleTemplate(size=(768, 768)).apply(request)
    assert applied.explicit_size == request.explicit_size


def test_the_callers_request_is_not_changed():
    request = ImageGenerationRequest("a fox", style="cinematic")
    Styles().apply(request)
    assert request == ImageGenerationRequest("a fox", style="cinematic")


def test_parameters_fill_what_was_left_open_and_a_strength_needs_a_picture():
    template = StyleTemplate(parameters={"steps": 30, "strength": 0.5, "loras": (("ink", 1.0),)})
    filled = template.apply(ImageGenerationRequest("a fox"))
    assert (filled.steps, filled.strength, filled.loras) == (30, None, (("ink", 1.0),))
    assert filled.from_template == {"steps", "loras"}
    own = template.apply(ImageGenerationRequest("a fox", steps=8, source_image_url="a.png"))
    assert (own.steps, own.strength) == (8, 0.5)
    assert own.from_template == {"strength", "loras"}


def test_a_style_is_found_by_its_name_in_any_case_and_an_unknown_one_told_with_all_names():
    styles = Styles({"My look": StyleTemplate(like=ImageStyle.PORTRAIT)})
    own = {"style": ImageStyle.PORTRAIT, "style_name": "My look"}
    assert styles.fields(" my LOOK ") == styles.fields(None, "my look") == own
    assert styles.fields(style="portrait", own_name="My look") == own
    built_in = {"style": ImageStyle.CINEMATIC, "style_name": None}
    for style in ("Cinematic", ImageStyle.CINEMATIC):
        assert styles.fields(style) == built_in
    assert styles.fields(None, "cinematic") == built_in
    assert styles.fields(None) == {"style": None, "style_name": None}
    for given in (("noir",), (None, "noir")):
        with pytest.raises(ValueError, match="unknown style 'noir'; there are: .*, My look"):
            styles.fields(*given)
    with pytest.raises(TypeError, match="style must be"):
        styles.fields(3)


def test_a_request_that_names_a_style_of_ones_own_gets_all_of_it():
    template = StyleTemplate(prompt="{prompt}, mine", like=ImageStyle.PORTRAIT)
    applied = Styles({"My look": template}).apply(
        ImageGenerationRequest("a fox", style_name="MY look")
    )
    assert (applied.prompt, applied.style) == ("a fox, mine", ImageStyle.PORTRAIT)
    assert applied.style_name == "My look"
    with pytest.raises(ValueError, match="unknown style 'noir'"):
        Styles().apply(ImageGenerationRequest("a fox", style_name="noir"))
