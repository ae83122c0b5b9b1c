"""Wrong inputs, as a user makes them: what the message says, and that nothing was sent."""

from __future__ import annotations

import json
import logging

import pytest
import responses

from hosted_providers import FluxProvider, OpenAIImagesProvider
from image_provider import ConfigurationError, ImageGenerationRequest, RateLimitedError
from tests.fakes.clock import Clock
from tests.hosted_support import KEY, answers, write_png

GENERATIONS = "https://api.openai.com/v1/images/generations"
REPLICATE = "https://api.replicate.com/v1/models/black-forest-labs"
OPENAI = answers("openai")


def sent(number: int = 0) -> dict[str, object]:
    return json.loads(responses.calls[number].request.body or "")


@responses.activate
def test_a_prompt_that_is_too_long_is_told_with_both_lengths():
    result = OpenAIImagesProvider(KEY).generate(ImageGenerationRequest("fox " * 10_000))

    assert result.error_type == "invalid_request"
    assert result.error == (
        "the prompt has 40,000 characters and gpt-image-2 takes 32,000; shorten it"
    )
    assert len(responses.calls) == 0


@responses.activate
def test_a_mask_without_a_source_says_what_to_give(tmp_path):
    mask = write_png(tmp_path, "mask.png")

    for provider in (OpenAIImagesProvider(KEY), FluxProvider(KEY, "together")):
        result = provider.generate(ImageGenerationRequest("a fox", mask_image_url=mask))
        assert result.error == "a mask needs a source image; give source_image_url too"
    assert len(responses.calls) == 0


@responses.activate
def test_a_value_out_of_the_models_range_is_the_nearest_one_and_reported(caplog):
    responses.post(f"{REPLICATE}/flux-schnell/predictions", status=500)

    result = FluxProvider(KEY, "replicate").generate(
        ImageGenerationRequest("a fox", model="black-forest-labs/flux-schnell", steps=30)
    )

    assert sent()["input"]["num_inference_steps"] == 4
    assert result.metadata["adjusted"] == [{"parameter": "steps", "asked": 30, "used": 4}]
    assert "takes steps 4 for 30" in caplog.text


@responses.activate
def test_a_strength_of_nothing_is_the_least_that_there_is(tmp_path):
    responses.post("https://queue.fal.run/fal-ai/flux/dev/image-to-image", status=500)

    FluxProvider(KEY, "fal").generate(
        ImageGenerationRequest(
            "a fox", source_image_url=write_png(tmp_path, "source.png"), strength=0.0, steps=20
        )
    )

    assert (sent()["strength"], sent()["num_inference_steps"]) == (0.01, 20)


def test_a_strength_out_of_range_is_refused_by_the_request():
    with pytest.raises(ValueError, match=r"strength must be between 0\.0 and 1\.0, not 1\.5"):
        ImageGenerationRequest("a fox", strength=1.5)


@responses.activate
def test_options_of_the_model_are_sent_and_others_reported():
    responses.post("http://localhost:9/v1/images/generations", json=OPENAI["success"])
    provider = OpenAIImagesProvider(KEY, base_url="http://localhost:9/v1", model="dall-e-3")

    result = provider.generate(
        ImageGenerationRequest("a fox", extra={"quality": "hd", "3.steps": 9}, num_images=2)
    )

    assert sent(0) == sent(1)
    assert sent() == {
        "model": "dall-e-3",
        "prompt": "a fox",
        "n": 1,
        "size": "1024x1024",
        "response_format": "b64_json",
        "quality": "hd",
    }
    assert result.metadata["ignored"] == [
        {
            "parameter": "extra",
            "reason": "dall-e-3 does not take 3.steps; its options: quality, style",
        }
    ]


@responses.activate
@pytest.mark.parametrize("value", ["ultra", 1, True, None])
def test_an_option_of_another_value_is_refused_with_the_choices(value):
    result = OpenAIImagesProvider(KEY).generate(
        ImageGenerationRequest("a fox", extra={"quality": value})
    )

    assert result.error == (
        "extra['quality'] for gpt-image-2 must be one of 'auto', 'low', 'medium', 'high'"
    )


@responses.activate
def test_a_compatible_servers_own_model_gets_the_size_that_was_asked_for():
    responses.post("http://localhost:9/v1/images/generations", json=OPENAI["success"])
    provider = OpenAIImagesProvider(KEY, base_url="http://localhost:9/v1", model="sd-turbo")

    result = provider.generate(ImageGenerationRequest("a fox", width=512, height=500))

    assert sent()["size"] == "512x500"
    assert "size" not in result.metadata


@pytest.mark.parametrize("base_url", ["api.example.com/v1", "localhost:8000", "//host/v1"])
def test_a_base_url_without_scheme_is_told_with_its_setting(base_url):
    with pytest.raises(ConfigurationError) as told:
        OpenAIImagesProvider(KEY, base_url=base_url)

    assert str(told.value) == (
        "OpenAI Images: the base URL (OPENAI_BASE_URL) must be a whole one with http:// or "
        "https:// in front, such as https://api.openai.com/v1"
    )


@responses.activate
def test_neither_key_nor_prompt_is_in_a_message_that_repeats_them(caplog):
    caplog.set_level(logging.DEBUG)
    prompt = 'a very private "prompt"'
    for text in (KEY, prompt, json.dumps(prompt), "x" * 100_000):
        error = {"message": f"Wrong: {text}", "param": None, "code": "invalid_value"}
        responses.post(GENERATIONS, json={"error": error}, status=400)

    told = [OpenAIImagesProvider(KEY).generate(ImageGenerationRequest(prompt)) for _ in range(4)]

    assert told[0].error == "OpenAI Images answered 400: Wrong: ***"
    assert told[1].error == "OpenAI Images answered 400: Wrong: (the prompt)"
    assert told[2].error == 'OpenAI Images answered 400: Wrong: "(the prompt)"'
    assert len(told[3].error or "") < 1100
    assert KEY not in caplog.text and "private" not in caplog.text
    assert str(told[0].exception) == told[0].error


def test_a_vendor_that_cannot_be_reached_says_what_to_check():
    result = FluxProvider(KEY, base_url="http://127.0.0.1:9").generate(
        ImageGenerationRequest("a fox")
    )

    assert result.error_type == "unavailable"
    assert (result.error or "").endswith("; check the network, and BFL_BASE_URL if it is set")


def repeating(status: int, retry_after: str | None, name: str = "error_rate") -> Clock:
    clock = Clock()
    headers = {} if retry_after is None else {"retry-after": retry_after}
    responses.post(GENERATIONS, json=OPENAI[name], status=status, headers=headers)
    responses.post(GENERATIONS, json=OPENAI["success"])
    return clock


@pytest.mark.parametrize("status", [429, 503])
@responses.activate
def test_a_post_is_sent_again_when_the_vendor_says_when(status):
    clock = repeating(status, "20")

    result = OpenAIImagesProvider(KEY, clock=clock, sleep=clock.sleep).generate(
        ImageGenerationRequest("a fox")
    )

    assert result.success
    assert (clock.sleeps, len(responses.calls)) == ([20.0], 2)
    assert sent(0) == sent(1)


@pytest.mark.parametrize(
    ("status", "retry_after", "name"),
    [
        (429, None, "error_rate"),
        (503, None, "error_overloaded"),
        (429, "31", "error_rate"),
        (429, "1", "error_quota"),
        (500, "1", "error_server"),
        (502, "1", "error_server"),
        (408, "1", "error_server"),
        (409, "1", "error_server"),
    ],
)
@responses.activate
def test_a_post_is_not_sent_again_otherwise(status, retry_after, name):
    clock = repeating(status, retry_after, name)

    result = OpenAIImagesProvider(KEY, clock=clock, sleep=clock.sleep).generate(
        ImageGenerationRequest("a fox")
    )

    assert not result.success
    assert (clock.sleeps, len(responses.calls)) == ([], 1)


@responses.activate
def test_a_vendor_that_stays_busy_is_left_after_two_repetitions():
    clock = Clock()
    responses.post(
        GENERATIONS, json=OPENAI["error_rate"], status=429, headers={"retry-after-ms": "1500"}
    )

    result = OpenAIImagesProvider(KEY, clock=clock, sleep=clock.sleep).generate(
        ImageGenerationRequest("a fox")
    )

    assert isinstance(result.exception, RateLimitedError)
    assert (result.exception.retry_after, clock.sleeps) == (1.5, [1.5, 1.5])
    assert len(responses.calls) == 3


@pytest.mark.parametrize("value", [None, b"50", [50], {"high": 1}, float("nan"), object()])
@responses.activate
def test_an_option_that_no_request_can_carry_is_refused_before_anything_is_sent(value, tmp_path):
    for fields in ({}, {"source_image_url": write_png(tmp_path, "source.png")}):
        result = OpenAIImagesProvider(KEY).generate(
            ImageGenerationRequest("a fox", extra={"output_compression": value}, **fields)
        )

        assert result.error == (
            "extra['output_compression'] for gpt-image-2 must be a number or a text"
        )
    assert len(responses.calls) == 0


@responses.activate
def test_an_option_with_a_number_goes_into_json_and_form(tmp_path):
    responses.post(GENERATIONS, json=OPENAI["success"])
    request = ImageGenerationRequest(
        "a fox", extra={"output_compression": 50, "output_format": "webp"}
    )

    assert OpenAIImagesProvider(KEY).generate(request).success
    assert (sent()["output_compression"], sent()["output_format"]) == (50, "webp")


@pytest.mark.parametrize(
    ("status", "body", "headers", "advice"),
    [
        (301, "", {"location": "https://example.com/"}, "check OPENAI_BASE_URL if it is set"),
        (200, "<html>welcome</html>", {}, "check OPENAI_BASE_URL if it is set"),
        (200, "{}", {}, "try again later, or use another provider"),
        (503, "{}", {"retry-after": "90"}, "try again in 90 s, or use another provider"),
        (500, "{}", {}, "try again later, or use another provider"),
    ],
)
@responses.activate
def test_an_answer_that_is_none_says_what_to_do_next(status, body, headers, advice):
    responses.post(GENERATIONS, body=body, status=status, headers=headers)

    result = OpenAIImagesProvider(KEY).generate(ImageGenerationRequest("a fox"))

    assert result.error_type == "unavailable"
    assert (result.error or "").endswith(f"; {advice}")
    assert ("billed" in (result.error or "")) is (status == 500)
