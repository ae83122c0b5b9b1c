"""Answers of any form: a generation ends with a result, whatever a vendor sends."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import responses

from hosted_providers import FluxProvider, OpenAIImagesProvider
from hosted_providers.provider import HostedProvider
from image_provider import ImageGenerationRequest
from tests.fakes.clock import Clock
from tests.hosted_support import KEY, PICTURE, answers

ODD: tuple[Any, ...] = (None, True, 7, 0.5, "", "text", [], ["text"], {}, {"a": {}}, [None])

# Vendor, the answer to the POST, those to the GETs in their order.
FLOWS = {
    "openai": (answers("openai")["success"], []),
    "together": (answers("together")["success"], []),
    "bfl": (answers("black_forest_labs")["submitted"], ["pending", "ready"]),
    "fal": (answers("fal")["submitted"], ["in_queue", "completed", "result"]),
    "replicate": (answers("replicate")["starting"], ["succeeded"]),
}
FILES = {"bfl": "black_forest_labs"}
ERRORS = {
    "openai": answers("openai")["error_field"],
    "together": answers("together")["error_field"],
    "bfl": answers("black_forest_labs")["http_422"],
    "fal": answers("fal")["refused"],
    "replicate": answers("replicate")["http_422"],
}


def flow(vendor: str) -> list[Any]:
    """Every answer of one generation that goes well."""
    first, names = FLOWS[vendor]
    told = answers(FILES.get(vendor, vendor))
    rest = [{**first, **told[name]} if vendor == "replicate" else told[name] for name in names]
    return [first, *rest]


def provider(vendor: str) -> HostedProvider:
    clock = Clock()
    if vendor == "openai":
        return OpenAIImagesProvider(KEY, clock=clock, sleep=clock.sleep)
    return FluxProvider(KEY, vendor, clock=clock, sleep=clock.sleep)


def variations(value: Any) -> Iterator[Any]:
    """The value with each of its parts, and itself, replaced by each of ODD, or left out."""
    yield from ODD
    if isinstance(value, (dict, list)):
        for key in value if isinstance(value, dict) else range(len(value)):
            for part in variations(value[key]):
                changed = copy.copy(value)
                changed[key] = part
                yield changed
            changed = copy.copy(value)
            del changed[key]
            yield changed


def run(vendor: str, replies: list[Any], status: int = 200) -> Any:
    """The result of a generation with these answers; the last one is repeated."""
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mocked:
        left = list(replies)

        def answer(request: Any) -> tuple[int, dict[str, str], bytes]:
            if "picture.png" in request.url or "sample.png" in request.url:
                return 200, {}, PICTURE
            body = left.pop(0) if len(left) > 1 else left[0]
            return status, {"content-type": "application/json"}, json.dumps(body).encode()

        for method in ("GET", "POST", "PUT"):
            mocked.add_callback(method, re.compile(".*"), callback=answer)
        made = provider(vendor)
        result = made.generate(ImageGenerationRequest("a fox"))
        made.close()
        return result


@pytest.mark.parametrize("vendor", FLOWS)
def test_the_flow_itself_gives_a_picture(vendor):
    assert run(vendor, flow(vendor)).get_image_bytes() == PICTURE


@pytest.mark.parametrize(
    ("vendor", "number"),
    [(vendor, number) for vendor in FLOWS for number in range(len(flow(vendor)))],
)
def test_a_part_of_another_type_ends_in_a_result(vendor, number):
    for changed in variations(flow(vendor)[number]):
        replies = flow(vendor)
        replies[number] = changed

        result = run(vendor, replies)

        assert result.success or result.error, changed
        assert result.success is (result.get_image_bytes() is not None), changed


@pytest.mark.parametrize("status", [400, 429, 503])
@pytest.mark.parametrize("vendor", ERRORS)
def test_an_error_of_another_form_is_what_its_status_says(vendor, status):
    words = {400: "invalid_request", 429: "rate_limited", 503: "unavailable"}
    for changed in variations(ERRORS[vendor]):
        result = run(vendor, [changed], status)

        assert result.error_type in (words[status], "content_rejected"), changed
