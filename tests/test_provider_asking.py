"""What a provider is asked, and what may be told of its answer."""

from __future__ import annotations

import pytest

from image_provider import ImageGenerationRequest
from image_routing.asking import routed, without
from image_routing.rules import Route
from tests.fakes.provider import FakeProvider


def test_a_route_beats_the_providers_defaults_and_the_request_beats_the_route():
    provider = FakeProvider(defaults={"model": "of-provider", "steps": 8})
    request = ImageGenerationRequest("a fox")
    assert routed(request, Route("a"), provider).model == "of-provider"
    of_route = routed(request, Route("a", model="of-route", workflow="w.json"), provider)
    assert (of_route.model, of_route.workflow, of_route.steps) == ("of-route", "w.json", 8)
    assert of_route.from_template == {"steps"}
    own = ImageGenerationRequest("a fox", model="own", workflow="own.json", steps=1)
    assert routed(own, Route("a", model="of-route", workflow="w.json"), provider) == own


@pytest.mark.parametrize(
    ("private", "message", "told"),
    [
        (["a red fox"], "bad text: a red fox.", "bad text: […]."),
        (["a"], "a cat, aha", "[…] cat, aha"),
        (["sk-1.*"], 'key "sk-1.*" is wrong, sk-12 too', 'key "[…]" is wrong, sk-12 too'),
        (["two\nlines"], '{"text": "two\\nlines"}', '{"text": "[…]"}'),
        (["it's «one»"], '"it\'s \\u00abone\\u00bb"', '"[…]"'),
        ([None, "", "  "], "as it was", "as it was"),
        (["  fox "], "a fox", "a […]"),
    ],
)
def test_what_is_private_is_left_out_however_it_is_written(private, message, told):
    assert without(private, message) == told
