"""fal: the queue's URLs, COMPLETED that may be a failure, cancelling."""

from __future__ import annotations

import json
from io import BytesIO

import pytest
import responses
from PIL import Image

from hosted_providers import FluxProvider
from image_provider import ImageGenerationRequest
from tests.fakes.clock import Clock
from tests.hosted_support import KEY, PICTURE, Progress, answers, decoded, write_png

QUEUE = "https://queue.fal.run"
ANSWERS = answers("fal")
STATUS = ANSWERS["submitted"]["status_url"]
RESULT = ANSWERS["submitted"]["response_url"]
CANCEL = ANSWERS["submitted"]["cancel_url"]
PICTURE_URL = ANSWERS["result"]["images"][0]["url"]


@pytest.fixture
def provider():
    clock = Clock()
    made = FluxProvider(KEY, host="fal", clock=clock, sleep=clock.sleep)
    yield made
    made.close()


def answer_with(*statuses: str, model: str = "fal-ai/flux-2", result: str = "result") -> None:
    responses.post(f"{QUEUE}/{model}", json=ANSWERS["submitted"])
    for name in statuses:
        status = 200 if name.startswith("completed") else 202
        responses.get(STATUS, json=ANSWERS[name], status=status)
    responses.get(RESULT, json=ANSWERS[result])
    responses.get(PICTURE_URL, body=PICTURE)


@responses.activate
def test_text_to_image_from_the_queue_to_bytes(provider):
    answer_with("in_queue", "in_progress", "completed")
    progress = Progress()

    result = provider.generate(
        ImageGenerationRequest(
            "a fox", seed=99, steps=20, guidance_scale=2.0, num_images=1, on_progress=progress
        )
    )

    sent = responses.calls[0].request
    assert json.loads(sent.body) == {
        "prompt": "a fox",
        "num_images": 1,
        "seed": 99,
        "output_format": "png",
        "num_inference_steps": 20,
        "guidance_scale": 2.0,
        "image_size": {"width": 1024, "height": 1024},
    }
    assert sent.headers["Authorization"] == f"Key {KEY}"
    assert result.success and (result.provider, result.model) == ("flux_fal", "fal-ai/flux-2")
    assert (result.images[0]["bytes"], result.images[0]["seed"]) == (PICTURE, 99)
    assert progress.stages == ["queued", "running", "downloading", "done"]
    assert [update.queue_position for update in progress if update.stage == "queued"] == [None, 1]
    assert "Authorization" not in responses.calls[-1].request.headers


@responses.activate
def test_image_to_image_with_strength_goes_to_the_model_that_has_it(provider, tmp_path):
    answer_with("completed", model="fal-ai/flux/dev/image-to-image")
    source = write_png(tmp_path, "source.png", width=64, height=48, color="blue")

    result = provider.generate(
        ImageGenerationRequest("a fox", source_image_url=source, strength=0.6, width=128, height=96)
    )

    body = json.loads(responses.calls[0].request.body)
    assert decoded(body.pop("image_url")).size == (128, 96)
    assert body == {"prompt": "a fox", "num_images": 1, "output_format": "png", "strength": 0.6}
    assert result.metadata["ignored"] == [] and "size" not in result.metadata


@responses.activate
def test_image_to_image_without_strength_is_an_edit(provider, tmp_path):
    answer_with("completed", model="fal-ai/flux-2/edit")
    source = write_png(tmp_path, "source.png", width=640, height=512)

    result = provider.generate(ImageGenerationRequest("a fox", source_image_url=source))

    body = json.loads(responses.calls[0].request.body)
    assert [decoded(picture).size for picture in body["image_urls"]] == [(640, 512)]
    assert body["image_urls"][0].startswith("data:image/png;base64,")
    assert body["image_size"] == {"width": 640, "height": 512}
    assert result.model == "fal-ai/flux-2/edit"


@responses.activate
def test_inpainting_sends_source_and_mask_of_one_size(provider, tmp_path):
    answer_with("completed", model="fal-ai/flux-pro/v1/fill")
    source = write_png(tmp_path, "source.png", width=64, height=48)
    mask = write_png(tmp_path, "mask.png", width=32, height=24, color="white")

    result = provider.generate(
        ImageGenerationRequest(
            "a hat", source_image_url=source, mask_image_url=mask, seed=1, width=128, height=96
        )
    )

    body = json.loads(responses.calls[0].request.body)
    assert decoded(body.pop("image_url")).size == decoded(body.pop("mask_url")).size == (128, 96)
    assert body == {"prompt": "a hat", "num_images": 1, "seed": 1, "output_format": "png"}
    assert result.success


@responses.activate
def test_a_model_with_negative_prompts_gets_them(provider, tmp_path):
    answer_with("completed", model="fal-ai/flux-general/inpainting")
    source = write_png(tmp_path, "source.png", width=512, height=512)

    provider.generate(
        ImageGenerationRequest(
            "a hat",
            negative_prompt="feathers",
            source_image_url=source,
            mask_image_url=write_png(tmp_path, "mask.png", color="white"),
            strength=0.8,
            model="fal-ai/flux-general/inpainting",
        )
    )

    body = json.loads(responses.calls[0].request.body)
    assert (body["negative_prompt"], body["strength"]) == ("feathers", 0.8)


@responses.activate
def test_five_images_are_two_calls_and_the_second_has_the_next_seeds(provider):
    answer_with("completed")

    provider.generate(ImageGenerationRequest("a fox", num_images=5, seed=100))

    sent = [json.loads(call.request.body) for call in responses.calls if call.request.body]
    assert [(body["num_images"], body["seed"]) for body in sent] == [(4, 100), (1, 104)]


@pytest.mark.parametrize(
    ("status", "name", "error_type", "part"),
    [
        (422, "refused", "content_rejected", "flagged by a content checker"),
        (422, "invalid", "invalid_request", "body.image_size.width"),
        (500, "crashed", "generation_failed", "the generation failed: Unprocessable Entity"),
        (503, "platform", "unavailable", "Runner disconnected"),
        (504, "late", "unavailable", "Request timed out"),
    ],
)
@responses.activate
def test_a_completed_job_may_have_failed(provider, status, name, error_type, part):
    responses.post(f"{QUEUE}/fal-ai/flux-2", json=ANSWERS["submitted"])
    responses.get(STATUS, json=ANSWERS["completed_with_error"])
    responses.get(RESULT, json=ANSWERS[name], status=status)

    result = provider.generate(ImageGenerationRequest("a fox"))

    assert result.error_type == error_type
    assert part in (result.error or "")
    assert len([call for call in responses.calls if call.request.url == RESULT]) == 1


@responses.activate
def test_a_blacked_out_picture_is_a_refusal(provider):
    answer_with("completed")
    responses.replace(
        responses.GET, RESULT, json={**ANSWERS["result"], "has_nsfw_concepts": [True]}
    )

    assert provider.generate(ImageGenerationRequest("a fox")).error_type == "content_rejected"


@pytest.mark.parametrize(
    ("status", "name", "error_type", "part"),
    [
        (401, "no_key", "authentication", "check the key (FAL_KEY)"),
        (403, "forbidden", "authentication", "Exhausted balance"),
        (404, "not_found", "invalid_request", "check the model id fal-ai/flux-2"),
        (422, "refused", "content_rejected", "change the prompt"),
        (429, "crashed", "rate_limited", "try again later"),
        (500, "crashed", "unavailable", "it was not sent again"),
    ],
)
@responses.activate
def test_a_refused_submission_is_not_repeated(provider, status, name, error_type, part):
    responses.post(f"{QUEUE}/fal-ai/flux-2", json=ANSWERS[name], status=status)

    result = provider.generate(ImageGenerationRequest("a fox"))

    assert result.error_type == error_type
    assert part in (result.error or "")
    assert len(responses.calls) == 1


@responses.activate
def test_what_a_call_costs_comes_with_the_result(provider):
    answer_with("in_queue", "completed")
    responses.replace(
        responses.GET,
        RESULT,
        json={**ANSWERS["result"], "prompt": "a red fox, in detail"},
        headers={"x-fal-billable-units": "1.0", "x-fal-request-id": "req-1"},
    )

    result = provider.generate(ImageGenerationRequest("a fox"))

    usage = {"inference_time": 2.5, "billable_units": "1.0"}
    assert result.metadata["calls"] == [{"id": "req-1", "request_id": "req-1", "usage": usage}]
    assert result.images[0]["revised_prompt"] == "a red fox, in detail"


@responses.activate
def test_a_job_that_is_given_up_is_cancelled(provider):
    responses.post(f"{QUEUE}/fal-ai/flux-2", json=ANSWERS["submitted"])
    responses.get(STATUS, json=ANSWERS["in_progress"], status=202)
    cancelled = responses.put(CANCEL, json={"status": "CANCELLATION_REQUESTED"}, status=202)

    result = provider.generate(ImageGenerationRequest("a fox"))

    assert result.error_type == "timeout"
    assert cancelled.call_count == 1


@responses.activate
def test_pictures_in_extra_count_as_source_and_mask_and_stay_out_of_the_recipe(provider):
    answer_with("completed", model="fal-ai/flux-pro/v1/fill")
    source, mask = Image.new("RGB", (64, 48), "red"), Image.new("L", (64, 48), 255)
    file = BytesIO()
    source.save(file, "PNG")

    result = provider.generate(
        ImageGenerationRequest("a hat", extra={"source_image": file.getvalue(), "mask_image": mask})
    )

    sent = json.loads(responses.calls[0].request.body)
    assert decoded(sent["image_url"]).size == decoded(sent["mask_url"]).size == (64, 48)
    assert result.metadata["ignored"] == []
    assert json.loads(json.dumps(result.recipe))["request"] == {"prompt": "a hat", "num_images": 1}


def problem(kind: str) -> dict[str, object]:
    """A model's error, in the form of fal.ai/docs/errors."""
    return {"detail": [{"loc": ["body"], "msg": "it did not work", "type": kind}]}


@pytest.mark.parametrize(
    ("status", "body", "retryable", "error_type"),
    [
        (400, problem("downstream_service_error"), "true", "generation_failed"),
        (422, problem("no_media_generated"), "false", "generation_failed"),
        (422, problem("image_too_small"), "false", "invalid_request"),
        (499, {"detail": "cancelled", "error_type": "client_cancelled"}, "false", "cancelled"),
    ],
)
@responses.activate
def test_what_a_partner_or_another_caller_did_is_no_fault_of_the_request(
    provider, status, body, retryable, error_type
):
    responses.post(f"{QUEUE}/fal-ai/flux-2", json=ANSWERS["submitted"])
    responses.get(STATUS, json=ANSWERS["completed_with_error"])
    responses.get(RESULT, json=body, status=status, headers={"x-fal-retryable": retryable})

    assert provider.generate(ImageGenerationRequest("a fox")).error_type == error_type


@responses.activate
def test_guidance_is_kept_within_what_the_model_takes(provider, tmp_path):
    answer_with("completed", model="fal-ai/flux-pro/kontext")
    source = write_png(tmp_path, "source.png")

    result = provider.generate(
        ImageGenerationRequest(
            "a hat", model="fal-ai/flux-pro/kontext", source_image_url=source, guidance_scale=50.0
        )
    )

    assert json.loads(responses.calls[0].request.body)["guidance_scale"] == 20.0
    assert result.metadata["adjusted"] == [
        {"parameter": "guidance_scale", "asked": 50.0, "used": 20.0}
    ]
