"""Black Forest Labs: submit, poll, download; its statuses and errors."""

from __future__ import annotations

import json

import pytest
import responses

from hosted_providers import FluxProvider
from hosted_providers.black_forest_labs import build_request
from hosted_providers.capabilities import BFL
from hosted_providers.common import Call, InputImage
from hosted_providers.sizes import PixelSizes
from image_provider import ImageGenerationRequest
from tests.fakes.clock import Clock
from tests.hosted_support import DATA, KEY, PICTURE, Progress, answers, decoded, write_png

SUBMIT = "https://api.bfl.ai/v1/flux-2-pro"
FILL = "https://api.bfl.ai/v1/flux-pro-1.0-fill"
POLL = "https://api.us1.bfl.ai/v1/get_result"
SAMPLE = "https://delivery-us1.bfl.ai/results/ab/job-1/sample.png"
ANSWERS = answers("black_forest_labs")
OPENAPI = json.loads((DATA / "bfl_openapi.json").read_text(encoding="utf-8"))["endpoints"]


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def provider(clock):
    made = FluxProvider(KEY, clock=clock, sleep=clock.sleep)
    yield made
    made.close()


def answer_with(*polls: str, submit: str = SUBMIT) -> None:
    responses.post(submit, json=ANSWERS["submitted"])
    for name in polls:
        responses.get(POLL, json=ANSWERS[name])
    responses.get(SAMPLE, body=PICTURE, content_type="image/png")


@responses.activate
def test_text_to_image_from_submission_to_bytes(provider, clock):
    answer_with("pending", "unknown_status", "pending", "ready")
    progress = Progress()

    result = provider.generate(
        ImageGenerationRequest("a fox", width=1000, height=600, seed=7, on_progress=progress)
    )

    assert json.loads(responses.calls[0].request.body) == {
        "prompt": "a fox",
        "seed": 7,
        "output_format": "png",
        "width": 1008,
        "height": 608,
    }
    assert result.success and result.provider == "flux_bfl" and result.model == "flux-2-pro"
    assert result.images == [
        {
            "bytes": PICTURE,
            "url": ANSWERS["ready"]["result"]["sample"],
            "seed": 4242,
            "mime_type": "image/png",
            "width": 8,
            "height": 6,
            "filename": "flux_bfl-01.png",
        }
    ]
    assert result.metadata["size"] == {"asked": [1000, 600], "used": [1008, 608]}
    assert result.metadata["calls"] == [
        {
            "id": "job-1",
            "request_id": "job-1",
            "usage": {"cost": 3.0, "input_mp": 0.0, "output_mp": 1.05},
        }
    ]
    assert progress.stages == ["queued", "running", "queued", "running", "downloading", "done"]
    fractions = [update.fraction for update in progress]
    assert fractions == sorted(fractions) and fractions[-1] == 1.0
    assert len(clock.sleeps) == 3


@responses.activate
def test_the_key_goes_to_the_vendor_and_not_to_the_result_host(provider):
    answer_with("ready")

    provider.generate(ImageGenerationRequest("a fox"))

    keyed = {
        call.request.url.split("?")[0]: "x-key" in call.request.headers for call in responses.calls
    }
    assert keyed == {SUBMIT: True, POLL: True, SAMPLE: False}
    assert not any(KEY in str(call.request.headers) for call in responses.calls[-1:])


@pytest.mark.parametrize(
    "polling_url",
    [
        "https://bfl.ai.example.com/v1/get_result?id=job-1",
        "https://notbfl.ai/v1/get_result?id=job-1",
        "http://api.bfl.ai/v1/get_result?id=job-1",
        "https://example.com\\@api.bfl.ai/v1/get_result?id=job-1",
        "https://example.com#@api.bfl.ai/",
        "https://user@api.bfl.ai/v1/get_result",
        "file:///etc/passwd",
    ],
)
@responses.activate
def test_a_polling_url_of_somebody_else_is_not_asked(provider, polling_url):
    responses.post(SUBMIT, json={**ANSWERS["submitted"], "polling_url": polling_url})

    result = provider.generate(ImageGenerationRequest("a fox"))

    assert result.error_type == "generation_failed"
    assert len(responses.calls) == 1


@responses.activate
def test_image_to_image_sends_plain_base64_and_keeps_the_source_size(provider, tmp_path):
    answer_with("ready")
    source = write_png(tmp_path, "source.png", width=320, height=256, color="blue")

    result = provider.generate(
        ImageGenerationRequest("a fox", source_image_url=source, strength=0.5)
    )

    body = json.loads(responses.calls[0].request.body)
    picture = decoded(body.pop("input_image"))
    assert (picture.size, picture.getpixel((0, 0))) == ((320, 256), (0, 0, 255))
    assert body == {"prompt": "a fox", "output_format": "png", "width": 320, "height": 256}
    assert result.metadata["ignored"] == [
        {"parameter": "strength", "reason": "flux-2-pro does not take it"}
    ]


@responses.activate
def test_inpainting_goes_to_the_fill_model_with_a_white_mask(provider, tmp_path):
    answer_with("ready", submit=FILL)
    source = write_png(tmp_path, "source.png", width=320, height=256)
    mask = write_png(tmp_path, "mask.png", width=160, height=128, color=255, mode="L")

    result = provider.generate(
        ImageGenerationRequest(
            "a hat",
            source_image_url=source,
            mask_image_url=mask,
            steps=30,
            guidance_scale=40.0,
            seed=3,
        )
    )

    body = json.loads(responses.calls[0].request.body)
    assert decoded(body.pop("image")).size == (320, 256)
    sent_mask = decoded(body.pop("mask"))
    assert (sent_mask.mode, sent_mask.size, sent_mask.getpixel((5, 5))) == ("L", (320, 256), 255)
    assert body == {
        "prompt": "a hat",
        "seed": 3,
        "output_format": "png",
        "steps": 30,
        "guidance": 40.0,
    }
    assert result.model == "flux-pro-1.0-fill"


@responses.activate
def test_several_images_are_several_jobs_with_seeds_of_their_own(provider):
    answer_with("ready")

    result = provider.generate(ImageGenerationRequest("a fox", num_images=3, seed=10))

    sent = [json.loads(call.request.body) for call in responses.calls if call.request.body]
    assert [body["seed"] for body in sent] == [10, 11, 12]
    assert len(result.images) == 3


@pytest.mark.parametrize(
    ("name", "error_type", "part"),
    [
        ("request_moderated", "content_rejected", "Derivative Works Filter"),
        ("content_moderated", "content_rejected", "Safety Filter"),
        ("error", "generation_failed", "worker died"),
        ("not_found", "unavailable", "no longer knows"),
    ],
)
@responses.activate
def test_terminal_statuses_end_the_wait(provider, name, error_type, part):
    answer_with("pending", name)

    result = provider.generate(ImageGenerationRequest("a fox"))

    assert (result.success, result.error_type) == (False, error_type)
    assert part in (result.error or "")
    assert len(responses.calls) == 3


@pytest.mark.parametrize(
    ("status", "body", "error_type", "part"),
    [
        (422, ANSWERS["http_422"], "invalid_request", "body.width"),
        (402, ANSWERS["http_402"], "authentication", "Insufficient credits"),
        (400, {"detail": "Invalid base64 image"}, "invalid_request", "Invalid base64 image"),
        (401, {"detail": "Not authenticated"}, "authentication", "check the key (BLACK_FOREST"),
        (403, {"detail": "Not authenticated"}, "authentication", "Not authenticated"),
        (404, {"detail": "Not Found"}, "invalid_request", "check the model id flux-2-pro"),
        (429, ANSWERS["http_429"], "rate_limited", "Too many active tasks"),
        (500, {"detail": "oops"}, "unavailable", "oops"),
        (503, {"message": "maintenance"}, "unavailable", "maintenance"),
    ],
)
@responses.activate
def test_a_refused_submission_is_not_repeated(provider, status, body, error_type, part):
    responses.post(SUBMIT, json=body, status=status)

    result = provider.generate(ImageGenerationRequest("a fox"))

    assert result.error_type == error_type
    assert part in (result.error or "")
    assert len(responses.calls) == 1


@responses.activate
def test_a_job_that_never_ends_is_a_timeout(provider, clock):
    answer_with("pending")

    result = provider.generate(ImageGenerationRequest("a fox"))

    assert result.error_type == "timeout"
    assert "job-1" in (result.error or "")
    assert sum(clock.sleeps) == pytest.approx(600)


@responses.activate
def test_a_poll_that_fails_once_does_not_lose_the_job(provider):
    responses.post(SUBMIT, json=ANSWERS["submitted"])
    responses.get(POLL, status=502)
    responses.get(POLL, json=ANSWERS["ready"])
    responses.get(SAMPLE, status=503)
    responses.get(SAMPLE, body=PICTURE)

    assert provider.generate(ImageGenerationRequest("a fox")).success


@responses.activate
def test_an_expired_result_is_a_failed_generation(provider):
    responses.post(SUBMIT, json=ANSWERS["submitted"])
    responses.get(POLL, json=ANSWERS["ready"])
    responses.get(SAMPLE, status=403)

    result = provider.generate(ImageGenerationRequest("a fox"))

    assert result.error_type == "generation_failed"
    assert "cannot be fetched" in (result.error or "")
    assert "key" not in (result.error or ""), "none was sent"


@responses.activate
def test_an_error_page_is_never_taken_for_a_picture(provider):
    responses.post(SUBMIT, json=ANSWERS["submitted"])
    responses.get(POLL, json=ANSWERS["ready"])
    responses.get(SAMPLE, body="<html>expired</html>")

    assert provider.generate(ImageGenerationRequest("a fox")).error_type == "generation_failed"


@responses.activate
def test_a_picture_that_broke_off_is_not_handed_out(provider):
    responses.post(SUBMIT, json=ANSWERS["submitted"])
    responses.get(POLL, json=ANSWERS["ready"])
    responses.get(SAMPLE, body=PICTURE[:-20])

    assert provider.generate(ImageGenerationRequest("a fox")).error_type == "unavailable"


@responses.activate
def test_an_answer_of_an_unknown_form_is_the_vendors_trouble(provider):
    responses.post(SUBMIT, json={"hello": "world"})

    assert provider.generate(ImageGenerationRequest("a fox")).error_type == "unavailable"


@pytest.mark.parametrize("name", OPENAPI)
def test_every_field_is_one_of_the_endpoint(name):
    model, told = BFL.find(name), OPENAPI[name]
    call = Call(
        model,
        "a fox",
        size=(64, 64) if "width" in told["fields"] else None,
        aspect_ratio="1:1" if "aspect_ratio" in told["fields"] else None,
        seed=1,
        steps=20,
        guidance_scale=3.0,
        source=InputImage(PICTURE),
        mask=InputImage(PICTURE),
    )

    sent = build_request(call).json_body or {}

    assert {*sent, *model.options} <= set(told["fields"])
    assert sent.keys() >= {"prompt", "seed", "steps", "guidance"} & set(told["fields"])
    assert isinstance(model.sizes, PixelSizes) is ("width" in told["fields"])
    for parameter, field in (("steps", "steps"), ("guidance_scale", "guidance")):
        assert tuple(model.ranges.get(parameter, ())) == tuple(told.get(field, ())) or (
            field not in told
        )
    if "side" in told:
        assert [model.sizes.min_side, model.sizes.max_side] == told["side"]
        assert model.sizes.multiple == told["multiple"]
