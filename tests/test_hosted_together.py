"""Together: one synchronous call, base64, no masks."""

from __future__ import annotations

import json

import pytest
import responses

from hosted_providers import FluxProvider
from image_provider import ImageGenerationRequest
from tests.hosted_support import KEY, PICTURE, Progress, answers, decoded, write_png

URL = "https://api.together.ai/v1/images/generations"
ANSWERS = answers("together")


@pytest.fixture
def provider():
    made = FluxProvider(KEY, host="together")
    yield made
    made.close()


@responses.activate
def test_text_to_image_sends_exactly_this(provider):
    responses.post(URL, json=ANSWERS["success"])
    progress = Progress()

    result = provider.generate(
        ImageGenerationRequest("a fox", width=1001, height=2000, seed=5, on_progress=progress)
    )

    sent = responses.calls[0].request
    assert json.loads(sent.body) == {
        "model": "black-forest-labs/FLUX.2-pro",
        "prompt": "a fox",
        "n": 1,
        "seed": 5,
        "output_format": "png",
        "response_format": "base64",
        "width": 960,
        "height": 1920,
    }
    assert sent.headers["Authorization"] == f"Bearer {KEY}"
    assert result.success and result.provider == "flux_together"
    assert (result.images[0]["bytes"], result.images[0]["seed"]) == (PICTURE, 5)
    assert result.metadata["request_id"] == "img-1"
    assert progress.stages == ["queued", "running", "downloading", "done"]


@responses.activate
def test_flux_2_takes_the_source_as_a_reference_image(provider, tmp_path):
    responses.post(URL, json=ANSWERS["success"])
    source = write_png(tmp_path, "source.png", width=512, height=256)

    provider.generate(ImageGenerationRequest("a fox", source_image_url=source))

    body = json.loads(responses.calls[0].request.body)
    assert [decoded(picture).size for picture in body["reference_images"]] == [(512, 256)]
    assert (body["width"], body["height"]) == (512, 256)


@responses.activate
def test_kontext_takes_the_source_as_an_image_url(provider, tmp_path):
    responses.post(URL, json=ANSWERS["success"])
    source = write_png(tmp_path, "source.png", width=512, height=256)

    provider.generate(
        ImageGenerationRequest(
            "a fox", source_image_url=source, model="black-forest-labs/FLUX.1-kontext-pro", steps=28
        )
    )

    body = json.loads(responses.calls[0].request.body)
    assert decoded(body["image_url"]).size == (512, 256)
    assert body["steps"] == 28


@responses.activate
def test_a_mask_is_refused_before_anything_is_sent(provider, tmp_path):
    source = write_png(tmp_path, "source.png")

    result = provider.generate(
        ImageGenerationRequest("a hat", source_image_url=source, mask_image_url=source)
    )

    assert result.error_type == "invalid_request"
    assert "inpainting" in (result.error or "")
    assert len(responses.calls) == 0


@pytest.mark.parametrize(
    ("status", "name", "error_type", "part"),
    [
        (400, "error_field", "invalid_request", "parameter width"),
        (401, "error_key", "authentication", "Invalid API key"),
        (403, "error_key", "authentication", "check the key (TOGETHER_API_KEY)"),
        (404, "error_model", "invalid_request", "check the model id"),
        (422, "error_refused", "content_rejected", "change the prompt"),
        (422, "error_field", "invalid_request", "parameter width"),
        (402, "error_spending", "authentication", "Spending limit"),
        (429, "error_rate", "rate_limited", "rate limit"),
        (500, "error_overloaded", "unavailable", "overloaded"),
        (503, "error_overloaded", "unavailable", "overloaded"),
    ],
)
@responses.activate
def test_errors_become_ours(provider, status, name, error_type, part):
    responses.post(URL, json=ANSWERS[name], status=status)

    result = provider.generate(ImageGenerationRequest("a fox"))

    assert result.error_type == error_type
    assert part in (result.error or "")
    assert len(responses.calls) == 1


def test_features_say_that_there_is_no_inpainting(provider):
    features = provider.get_supported_features()

    assert (features["img2img"], features["inpainting"], features["seeds"]) == (True, False, True)
