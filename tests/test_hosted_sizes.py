"""Sizes: what comes out is always allowed, and as near as can be."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hosted_providers import capabilities
from hosted_providers.sizes import AspectRatios, FixedSizes, PixelSizes

CATALOGS = (
    capabilities.OPENAI,
    capabilities.BFL,
    capabilities.FAL,
    capabilities.TOGETHER,
    capabilities.REPLICATE,
)
PIXEL_RULES = sorted(
    {
        rule
        for catalog in CATALOGS
        for model in catalog.models
        for rule in (model.sizes, model.inputs)
        if isinstance(rule, PixelSizes)
    },
    key=repr,
)
SIDES = st.integers(1, 20_000)


@settings(deadline=None, max_examples=300)
@given(rule=st.sampled_from(PIXEL_RULES), width=SIDES, height=SIDES)
def test_every_size_becomes_one_that_the_model_takes(rule, width, height):
    sides = rule.nearest(width, height)

    assert all(side % rule.multiple == 0 for side in sides)
    assert rule.min_side <= min(sides) and max(sides) <= rule.max_side
    assert rule.min_pixels <= sides[0] * sides[1] <= rule.max_pixels
    assert max(sides) <= min(sides) * rule.max_ratio
    assert (sides[0] - sides[1]) * (width - height) >= 0, "landscape stays landscape"


@settings(deadline=None, max_examples=200)
@given(rule=st.sampled_from(PIXEL_RULES), width=SIDES, height=SIDES)
def test_a_size_that_the_model_takes_is_left_alone(rule, width, height):
    sides = rule.nearest(width, height)

    assert rule.nearest(*sides) == sides


@pytest.mark.parametrize(
    ("asked", "made"),
    [
        ((1024, 1024), (1024, 1024)),
        ((1000, 600), (1056, 640)),
        ((512, 512), (816, 816)),
        ((5000, 1000), (3840, 1280)),
        ((8000, 6000), (3312, 2480)),
    ],
)
def test_gpt_image_sizes_keep_the_shape(asked, made):
    rule = capabilities.OPENAI.find("gpt-image-2").sizes
    assert isinstance(rule, PixelSizes)
    assert rule.nearest(*asked) == made


def test_listed_sizes_and_shapes_are_chosen_by_shape():
    assert FixedSizes(((1024, 1024), (1792, 1024))).nearest(1600, 900) == (1792, 1024)
    assert AspectRatios(("1:1", "16:9", "9:16")).nearest(500, 900) == "9:16"


def test_a_dated_id_takes_what_its_model_takes():
    dated = capabilities.OPENAI.find("gpt-image-2-2026-04-21")

    assert dated.id == "gpt-image-2-2026-04-21"
    assert dated.fields == capabilities.OPENAI.find("gpt-image-2").fields


def test_an_id_that_nobody_knows_is_treated_as_the_default_model():
    unknown = capabilities.FAL.find("somebody/new-model")

    assert unknown.fields == capabilities.FAL.find("fal-ai/flux-2").fields
    assert unknown.edit_model is None


@pytest.mark.parametrize("catalog", CATALOGS)
def test_defaults_and_edit_models_are_in_the_table(catalog):
    ids = [model.id for model in catalog.models]
    named = [catalog.text, catalog.strength, catalog.mask]
    named += [model.edit_model for model in catalog.models]

    assert len(ids) == len(set(ids))
    assert {name for name in named if name} <= set(ids)


@pytest.mark.parametrize("catalog", CATALOGS)
def test_default_models_have_no_shutdown_date(catalog):
    assert all(
        catalog.find(name).shutdown is None
        for name in (catalog.text, catalog.strength, catalog.mask)
        if name
    )
