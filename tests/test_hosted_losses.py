"""What was made and paid for is not lost: pictures that cannot be had, answers that go wrong."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import responses

from config import Config
from hosted_providers import FluxProvider, OpenAIImagesProvider
from image_provider import ImageGenerationRequest, ImageGenerationResult
from image_routing.built_in import BUILT_IN
from tests.fakes.clock import Clock
from tests.hosted_support import KEY, PICTURE, answers

BFL = answers("black_forest_labs")
FAL = answers("fal")
REPLICATE = answers("replicate")
POLL = "https://api.us1.bfl.ai/v1/get_result"
STATUS, RESULT, CANCEL = (
    FAL["submitted"][name] for name in ("status_url", "response_url", "cancel_url")
)
FILES = [f"https://v3b.fal.media/files/{number}.png" for number in range(3)]


def generate(host: str, **fields: Any) -> ImageGenerationResult:
    clock = Clock()
    provider = FluxProvider(KEY, host, clock=clock, sleep=clock.sleep)
    result = provider.generate(ImageGenerationRequest("a fox", **fields))
    provider.close()
    return result


def serve_fal(**result: Any) -> None:
    responses.post("https://queue.fal.run/fal-ai/flux-2", json=FAL["submitted"])
    responses.get(STATUS, json=FAL["completed"])
    responses.get(RESULT, json={**FAL["result"], **result})


@responses.activate
def test_a_picture_that_cannot_be_fetched_does_not_take_the_others_of_its_call_with_it():
    serve_fal(images=[{"url": url} for url in FILES])
    responses.get(FILES[0], body=PICTURE)
    responses.get(FILES[1], status=404)
    responses.get(FILES[2], body=PICTURE)

    result = generate("fal", num_images=3)

    assert (result.success, result.error_type) == (False, "generation_failed")
    assert [image["url"] for image in result.images] == [FILES[0], FILES[2]]
    assert [image["filename"] for image in result.images] == ["flux_fal-01.png", "flux_fal-02.png"]


@responses.activate
def test_what_a_failed_job_cost_is_told():
    responses.post("https://api.bfl.ai/v1/flux-2-pro", json=BFL["submitted"])
    responses.get(POLL, json=BFL["content_moderated"])

    result = generate("bfl")

    assert result.error_type == "content_rejected"
    assert result.exception is not None and result.exception.request_id == "job-1"
    assert result.metadata is not None
    assert result.metadata["calls"][0]["usage"]["cost"] == 3.0


@responses.activate
def test_a_file_that_comes_cut_is_asked_for_again():
    serve_fal(images=[{"url": FILES[0]}])
    responses.get(FILES[0], body=PICTURE[:-20])
    responses.get(FILES[0], body=PICTURE)

    assert generate("fal").get_image_bytes() == PICTURE


@responses.activate
def test_an_answer_of_another_form_in_between_does_not_lose_the_job():
    responses.post("https://api.bfl.ai/v1/flux-2-pro", json=BFL["submitted"])
    responses.get(POLL, json={"message": "please wait"})
    responses.get(POLL, json=BFL["ready"])
    responses.get(BFL["ready"]["result"]["sample"], body=PICTURE)

    assert generate("bfl").success


@responses.activate
def test_a_job_whose_answers_stay_unknown_is_cancelled():
    responses.post("https://queue.fal.run/fal-ai/flux-2", json=FAL["submitted"])
    responses.get(STATUS, json=[])
    cancelled = responses.put(CANCEL, status=202)

    result = generate("fal")

    assert result.error_type == "unavailable"
    assert "form that is not known" in (result.error or "")
    assert cancelled.call_count == 1


@pytest.mark.parametrize("host", ["fal", "replicate"])
@responses.activate
def test_a_job_that_the_vendor_has_lost_is_no_fault_of_the_request(host):
    if host == "fal":
        responses.post("https://queue.fal.run/fal-ai/flux-2", json=FAL["submitted"])
        responses.get(STATUS, json=FAL["not_found"], status=404)
    else:
        path = "v1/models/black-forest-labs/flux-2-pro/predictions"
        responses.post(f"https://api.replicate.com/{path}", json=REPLICATE["starting"])
        url = REPLICATE["starting"]["urls"]["get"]
        responses.get(url, json=REPLICATE["http_404"], status=404)

    result = generate(host)

    assert result.error_type == "unavailable"
    assert "no longer knows job" in (result.error or "")
    assert len(responses.calls) == 2


@responses.activate
def test_a_job_may_take_as_long_as_the_setting_says():
    responses.post("https://queue.fal.run/fal-ai/flux-2", json=FAL["submitted"])
    responses.get(STATUS, json=FAL["in_progress"], status=202)
    cancelled = responses.put(CANCEL, status=202)
    clock = Clock()

    result = FluxProvider(KEY, "fal", job_timeout=20, clock=clock, sleep=clock.sleep).generate(
        ImageGenerationRequest("a fox")
    )

    assert (result.error_type, sum(clock.sleeps)) == ("timeout", pytest.approx(20))
    assert (result.error or "").endswith(
        "; allow more time with HOSTED_JOB_TIMEOUT, or use another provider"
    )
    assert cancelled.call_count == 1


@pytest.mark.parametrize("name", ["openai", "flux_together", "flux_fal"])
@responses.activate
def test_an_answer_that_is_the_picture_may_take_as_long_as_a_job(name):
    settings = {"OPENAI_API_KEY": KEY, "TOGETHER_API_KEY": KEY, "FAL_KEY": KEY}
    provider = BUILT_IN[name](Config({**settings, "HOSTED_JOB_TIMEOUT": "1000"}, env_file=None))
    responses.post(re.compile(".*"), status=500)

    assert provider is not None
    provider.generate(ImageGenerationRequest("a fox"))

    seconds = 60.0 if name == "flux_fal" else 1000.0
    assert responses.calls[0].request.req_kwargs["timeout"] == (5.0, seconds)


@pytest.mark.parametrize("seconds", [0, -1, float("inf"), float("nan")])
def test_a_time_limit_that_is_none_is_refused(seconds):
    with pytest.raises(ValueError, match="job_timeout must be a number of seconds above 0"):
        OpenAIImagesProvider(KEY, job_timeout=seconds)


@responses.activate
def test_the_time_of_a_job_counts_from_its_submission_on():
    clock = Clock()

    def submitted(_: object) -> tuple[int, dict[str, str], str]:
        clock.now += 60  # "Prefer: wait" holds the answer back
        return 201, {}, json.dumps(REPLICATE["starting"])

    path = "v1/models/black-forest-labs/flux-2-pro/predictions"
    responses.add_callback("POST", f"https://api.replicate.com/{path}", callback=submitted)
    responses.get(REPLICATE["starting"]["urls"]["get"], json=REPLICATE["starting"])
    cancelled = responses.post(REPLICATE["starting"]["urls"]["cancel"], json={})

    result = FluxProvider(
        KEY, "replicate", job_timeout=100, clock=clock, sleep=clock.sleep
    ).generate(ImageGenerationRequest("a fox"))

    assert (result.error_type, sum(clock.sleeps)) == ("timeout", pytest.approx(40))
    assert cancelled.calls[0].request.req_kwargs["timeout"] == (5.0, 10.0), "nobody waits for it"
