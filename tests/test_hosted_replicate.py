"""Replicate: wait, poll, upload, cancel; its statuses and errors."""

from __future__ import annotations

import json
import random

import pytest
import responses
from PIL import Image

from hosted_providers import FluxProvider
from image_provider import ImageGenerationRequest
from tests.fakes.clock import Clock
from tests.hosted_support import KEY, PICTURE, Progress, answers, decoded, write_png

API = "https://api.replicate.com/v1"
PRO = f"{API}/models/black-forest-labs/flux-2-pro/predictions"
DEV = f"{API}/models/black-forest-labs/flux-dev/predictions"
FILL = f"{API}/models/black-forest-labs/flux-fill-pro/predictions"
POLL = f"{API}/predictions/pred1"
PICTURE_URL = "https://replicate.delivery/xezq/picture.png"
ANSWERS = answers("replicate")


def prediction(*names: str, **changes: object) -> dict[str, object]:
    """A prediction: the starting one with the named answers laid over it."""
    body = dict(ANSWERS["starting"])
    for name in names:
        body.update(ANSWERS[name])
    return {**body, **changes}


@pytest.fixture
def provider():
    clock = Clock()
    made = FluxProvider(KEY, host="replicate", clock=clock, sleep=clock.sleep)
    yield made
    made.close()


@responses.activate
def test_text_to_image_that_is_ready_within_the_wait(provider):
    responses.post(PRO, json=prediction("succeeded"), status=201)
    responses.get(PICTURE_URL, body=PICTURE)

    result = provider.generate(ImageGenerationRequest("a fox", seed=5))

    sent = responses.calls[0].request
    assert json.loads(sent.body) == {
        "input": {
            "prompt": "a fox",
            "seed": 5,
            "output_format": "png",
            "aspect_ratio": "custom",
            "width": 1024,
            "height": 1024,
        }
    }
    assert (sent.headers["Authorization"], sent.headers["Prefer"]) == (f"Bearer {KEY}", "wait")
    assert result.success and result.provider == "flux_replicate"
    assert (result.images[0]["bytes"], result.images[0]["url"]) == (PICTURE, PICTURE_URL)
    assert result.images[0]["seed"] == 5
    assert result.metadata["calls"][0]["usage"] == {"predict_time": 3.5, "image_count": 1}
    assert "Authorization" not in responses.calls[1].request.headers


@responses.activate
def test_an_unfinished_prediction_is_polled(provider):
    responses.post(PRO, json=prediction(), status=201)
    responses.get(POLL, json=prediction(status="processing"))
    responses.get(POLL, json=prediction("succeeded"))
    responses.get(PICTURE_URL, body=PICTURE)
    progress = Progress()

    result = provider.generate(ImageGenerationRequest("a fox", on_progress=progress))

    assert result.success
    assert progress.stages == ["queued", "running", "downloading", "done"]
    assert responses.calls[1].request.headers["Authorization"] == f"Bearer {KEY}"


@responses.activate
def test_strength_goes_to_flux_dev_which_follows_the_source_and_is_made_exact(provider, tmp_path):
    responses.post(DEV, json=prediction("succeeded", output=[PICTURE_URL, PICTURE_URL]))
    responses.get(PICTURE_URL, body=PICTURE)
    source = write_png(tmp_path, "source.png", width=64, height=48)

    result = provider.generate(
        ImageGenerationRequest(
            "a fox", source_image_url=source, strength=0.6, seed=5, steps=20, num_images=2
        )
    )

    inputs = json.loads(responses.calls[0].request.body)["input"]
    assert decoded(inputs.pop("image")).size == (64, 48)
    assert inputs == {
        "prompt": "a fox",
        "seed": 5,
        "output_format": "png",
        "num_outputs": 2,
        "num_inference_steps": 20,
        "prompt_strength": 0.6,
        "go_fast": False,
    }
    assert len(result.images) == 2


@responses.activate
def test_pictures_that_the_vendor_held_back_are_reported(provider, tmp_path):
    responses.post(DEV, json=prediction("succeeded", output=[PICTURE_URL]))
    responses.get(PICTURE_URL, body=PICTURE)

    result = provider.generate(
        ImageGenerationRequest("a fox", num_images=2, model="black-forest-labs/flux-dev")
    )

    inputs = json.loads(responses.calls[0].request.body)["input"]
    assert inputs["aspect_ratio"] == "1:1"
    assert result.metadata["size"] == {"asked": [1024, 1024], "used": "1:1"}
    assert (len(result.images), result.metadata["missing_images"]) == (1, 1)


@responses.activate
def test_inpainting_goes_to_the_fill_model(provider, tmp_path):
    responses.post(FILL, json=prediction("succeeded"))
    responses.get(PICTURE_URL, body=PICTURE)
    source = write_png(tmp_path, "source.png", width=64, height=48)
    mask = write_png(tmp_path, "mask.png", width=64, height=48, color=255, mode="L")

    provider.generate(
        ImageGenerationRequest(
            "a hat", source_image_url=source, mask_image_url=mask, guidance_scale=60.0
        )
    )

    inputs = json.loads(responses.calls[0].request.body)["input"]
    assert decoded(inputs.pop("image")).size == (64, 48)
    assert decoded(inputs.pop("mask")).getpixel((0, 0)) == 255
    assert inputs == {"prompt": "a hat", "output_format": "png", "guidance": 60.0}


@responses.activate
def test_an_input_above_the_data_uri_limit_is_uploaded(provider, tmp_path):
    noise = random.Random(1).randbytes(400 * 300 * 3)
    Image.frombytes("RGB", (400, 300), noise).save(tmp_path / "noise.png")
    responses.post(f"{API}/files", json=ANSWERS["uploaded"], status=201)
    responses.post(PRO, json=prediction("succeeded"))
    responses.get(PICTURE_URL, body=PICTURE)

    result = provider.generate(
        ImageGenerationRequest("a fox", source_image_url=str(tmp_path / "noise.png"), num_images=2)
    )

    upload, submission = responses.calls[0].request, responses.calls[1].request
    assert [call.request.url for call in responses.calls].count(f"{API}/files") == 1
    assert b'name="content"; filename="image.png"' in upload.body
    assert json.loads(submission.body)["input"]["input_images"] == [f"{API}/files/file1"]
    assert result.success


@pytest.mark.parametrize("version", ["owner/name:abc123", "5c7d5dc6dd8b"])
@responses.activate
def test_a_version_is_named_in_the_body(provider, version):
    responses.post(f"{API}/predictions", json=prediction("succeeded"))
    responses.get(PICTURE_URL, body=PICTURE)

    provider.generate(ImageGenerationRequest("a fox", model=version))

    assert json.loads(responses.calls[0].request.body)["version"] == version


@pytest.mark.parametrize(
    ("names", "changes", "error_type", "part"),
    [
        (["failed"], {}, "generation_failed", "KeyError: 'sample'"),
        (["failed_moderation"], {}, "content_rejected", "NSFW"),
        (["failed_sensitive"], {}, "content_rejected", "E005"),
        ([], {"status": "canceled"}, "cancelled", "cancelled"),
        ([], {"status": "aborted"}, "unavailable", "deadline"),
    ],
)
@responses.activate
def test_terminal_statuses_end_the_wait(provider, names, changes, error_type, part):
    responses.post(PRO, json=prediction(), status=201)
    responses.get(POLL, json=prediction(*names, **changes))

    result = provider.generate(ImageGenerationRequest("a fox"))

    assert result.error_type == error_type
    assert part in (result.error or "")
    assert [call.request.method for call in responses.calls] == ["POST", "GET"]


@pytest.mark.parametrize(
    ("status", "error_type", "part"),
    [
        (401, "authentication", "valid authentication token"),
        (402, "authentication", "insufficient credit"),
        (403, "authentication", "not have permission"),
        (404, "invalid_request", "check the model id black-forest-labs/flux-2-pro"),
        (422, "invalid_request", "422: input.width: Must be less than or equal to 2048"),
        (429, "rate_limited", "throttled"),
        (500, "unavailable", "Internal server error"),
        (503, "unavailable", "try again later"),
    ],
)
@responses.activate
def test_errors_become_ours(provider, status, error_type, part):
    responses.post(PRO, json=ANSWERS[f"http_{status}"], status=status)

    result = provider.generate(ImageGenerationRequest("a fox"))

    assert result.error_type == error_type
    assert part in (result.error or "")
    assert len(responses.calls) == 1


@responses.activate
def test_a_prediction_that_is_given_up_is_cancelled(provider):
    responses.post(PRO, json=prediction(), status=201)
    responses.get(POLL, json=prediction(status="processing"))
    cancelled = responses.post(f"{POLL}/cancel", json=prediction(status="canceled"))

    assert provider.generate(ImageGenerationRequest("a fox")).error_type == "timeout"
    assert cancelled.call_count == 1
