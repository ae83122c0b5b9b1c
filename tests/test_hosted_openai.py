"""OpenAI Images: what is sent, what comes back, what each error becomes."""

from __future__ import annotations

import json
from io import BytesIO

import pytest
import responses
from PIL import Image

from hosted_providers import OpenAIImagesProvider
from hosted_providers.capabilities import OPENAI
from hosted_providers.common import Call, InputImage
from hosted_providers.openai import build_request
from image_provider import ImageGenerationRequest
from tests.fakes.clock import Clock
from tests.hosted_support import KEY, PICTURE, answers, write_png

GENERATIONS = "https://api.openai.com/v1/images/generations"
EDITS = "https://api.openai.com/v1/images/edits"
ANSWERS = answers("openai")


@pytest.fixture
def provider():
    clock = Clock()
    made = OpenAIImagesProvider(KEY, clock=clock, sleep=clock.sleep)
    yield made
    made.close()


@responses.activate
def test_text_to_image_sends_exactly_this(provider):
    responses.post(GENERATIONS, json=ANSWERS["success"], headers={"x-request-id": "req_1"})

    result = provider.generate(ImageGenerationRequest("a fox"))

    sent = responses.calls[0].request
    assert json.loads(sent.body) == {
        "model": "gpt-image-2",
        "prompt": "a fox",
        "n": 1,
        "size": "1024x1024",
    }
    assert sent.headers["Authorization"] == f"Bearer {KEY}"
    assert result.success
    assert (result.provider, result.model) == ("openai", "gpt-image-2")
    assert result.images == [
        {
            "bytes": PICTURE,
            "url": None,
            "seed": None,
            "mime_type": "image/png",
            "width": 8,
            "height": 6,
            "filename": "openai-01.png",
        }
    ]
    assert result.metadata == {
        "ignored": [],
        "request_id": "req_1",
        "calls": [{"id": None, "request_id": "req_1", "usage": ANSWERS["success"]["usage"]}],
    }


def form_of(request) -> dict[str, bytes]:
    """The parts of a multipart body by their names."""
    boundary = request.headers["Content-Type"].partition("boundary=")[2].encode()
    parts = {}
    for part in request.body.split(b"--" + boundary)[1:-1]:
        head, _, content = part.partition(b"\r\n\r\n")
        parts[head.partition(b'name="')[2].partition(b'"')[0].decode()] = content[:-2]
    return parts


@responses.activate
def test_a_source_that_is_too_large_is_scaled_down_with_its_mask(provider, tmp_path, monkeypatch):
    monkeypatch.setenv("IMAGE_SOURCE_MAX_SIDE", "1024")
    responses.post(EDITS, json=ANSWERS["success"])
    source = write_png(tmp_path, "source.png", width=2048, height=1536)
    mask = write_png(tmp_path, "mask.png", width=512, height=384, color="white")
    request = ImageGenerationRequest("a hat", source_image_url=source, mask_image_url=mask)

    result = provider.generate(request)

    parts = form_of(responses.calls[0].request)
    sizes = {name: Image.open(BytesIO(parts[name])).size for name in ("image", "mask")}
    assert sizes == {"image": (1024, 768), "mask": (1024, 768)}
    assert parts["size"] == b"1024x768"
    assert result.metadata["adjusted"] == [
        {"parameter": "source_image_url", "asked": [2048, 1536], "used": [1024, 768]}
    ]


@responses.activate
def test_image_to_image_is_a_multipart_edit(provider, tmp_path):
    responses.post(EDITS, json=ANSWERS["success"])
    source = write_png(tmp_path, "source.png", width=1024, height=768, color="blue")

    result = provider.generate(ImageGenerationRequest("make it red", source_image_url=source))

    parts = form_of(responses.calls[0].request)
    picture = Image.open(BytesIO(parts.pop("image")))
    assert (picture.size, picture.mode, picture.getpixel((0, 0))) == (
        (1024, 768),
        "RGB",
        (0, 0, 255),
    )
    assert parts == {
        "model": b"gpt-image-2",
        "prompt": b"make it red",
        "n": b"1",
        "size": b"1024x768",
    }
    assert result.success


@responses.activate
def test_a_white_mask_becomes_transparent_where_it_was_white(provider, tmp_path):
    responses.post(EDITS, json=ANSWERS["success"])
    source = write_png(tmp_path, "source.png", width=1024, height=1024)
    mask = Image.new("L", (1024, 1024), 0)
    mask.paste(255, (0, 0, 512, 1024))
    mask.save(tmp_path / "mask.png")

    provider.generate(
        ImageGenerationRequest(
            "a hat", source_image_url=source, mask_image_url=str(tmp_path / "mask.png")
        )
    )

    alpha = Image.open(BytesIO(form_of(responses.calls[0].request)["mask"])).getchannel("A")
    assert (alpha.getpixel((10, 10)), alpha.getpixel((1000, 10))) == (0, 255)


@responses.activate
def test_what_the_model_cannot_take_is_reported_and_not_sent(provider, caplog):
    responses.post(GENERATIONS, json=ANSWERS["success"])

    result = provider.generate(
        ImageGenerationRequest(
            "a fox",
            negative_prompt="blur",
            seed=7,
            steps=20,
            guidance_scale=3.5,
            strength=0.5,
            workflow="t2i_flux.json",
            loras=[("style", 1.0)],
            extra={"3.steps": 1},
        )
    )

    names = [report["parameter"] for report in result.metadata["ignored"]]
    assert names == [
        "negative_prompt",
        "seed",
        "steps",
        "guidance_scale",
        "strength",
        "workflow",
        "loras",
        "extra",
    ]
    assert all(report["reason"] for report in result.metadata["ignored"])
    assert [record.levelname for record in caplog.records].count("WARNING") == len(names)
    assert set(json.loads(responses.calls[0].request.body)) == {"model", "prompt", "n", "size"}


@responses.activate
def test_more_images_than_a_call_makes_become_several_calls(provider):
    ten = {**ANSWERS["success"], "data": ANSWERS["success"]["data"] * 10}
    two = {**ANSWERS["success"], "data": ANSWERS["success"]["data"] * 2}
    responses.post(GENERATIONS, json=ten)
    responses.post(GENERATIONS, json=two)

    result = provider.generate(ImageGenerationRequest("a fox", num_images=12))

    assert [json.loads(call.request.body)["n"] for call in responses.calls] == [10, 2]
    assert len(result.images) == 12


@responses.activate
def test_pictures_that_were_paid_for_survive_a_later_failure(provider):
    ten = {**ANSWERS["success"], "data": ANSWERS["success"]["data"] * 10}
    responses.post(GENERATIONS, json=ten)
    responses.post(GENERATIONS, json=ANSWERS["error_moderation"], status=400)

    result = provider.generate(ImageGenerationRequest("a fox", num_images=12))

    assert (result.success, result.error_type) == (False, "content_rejected")
    assert len(result.images) == 10
    assert len(result.metadata["calls"]) == 1


@responses.activate
def test_a_compatible_server_gets_dall_e_3_in_its_own_terms(caplog):
    responses.post("http://localhost:9/v1/images/generations", json=ANSWERS["success"])
    provider = OpenAIImagesProvider(KEY, base_url="http://localhost:9/v1", model="dall-e-3")

    result = provider.generate(ImageGenerationRequest("a fox", width=1600, height=900))

    assert json.loads(responses.calls[0].request.body) == {
        "model": "dall-e-3",
        "prompt": "a fox",
        "n": 1,
        "size": "1792x1024",
        "response_format": "b64_json",
    }
    assert result.metadata["size"] == {"asked": [1600, 900], "used": [1792, 1024]}
    assert "2026-05-12" in caplog.text
    assert provider.get_supported_features()["img2img"] is False


@pytest.mark.parametrize(
    ("status", "name", "error_type", "part"),
    [
        (400, "error_moderation", "content_rejected", "safety system"),
        (400, "error_field", "invalid_request", "parameter size"),
        (401, "error_key", "authentication", "Incorrect API key"),
        (403, "error_country", "authentication", "not supported"),
        (404, "error_model", "invalid_request", "check the model id gpt-image-2"),
        (400, "error_limit", "authentication", "hard limit"),
        (500, "error_server", "unavailable", "it was not sent again"),
        (429, "error_quota", "authentication", "quota"),
        (429, "error_rate", "rate_limited", "Rate limit reached"),
        (503, "error_overloaded", "unavailable", "overloaded"),
    ],
)
@responses.activate
def test_errors_become_ours_and_nothing_is_sent_twice(provider, status, name, error_type, part):
    responses.post(
        GENERATIONS,
        json=ANSWERS[name],
        status=status,
        headers={"retry-after": "120", "x-request-id": "req_2"},
    )

    result = provider.generate(ImageGenerationRequest("a fox"))

    assert (result.success, result.error_type, result.provider) == (False, error_type, "openai")
    assert part in (result.error or "")
    assert result.exception is not None
    assert (result.exception.status, result.exception.request_id) == (status, "req_2")
    assert getattr(result.exception, "retry_after", 120.0) == 120.0
    assert result.metadata == {"ignored": [], "request_id": "req_2"}
    assert len(responses.calls) == 1


@responses.activate
def test_a_page_of_html_in_place_of_an_answer_is_unavailable(provider):
    responses.post(GENERATIONS, body="<html>login</html>", content_type="text/html")

    assert provider.generate(ImageGenerationRequest("a fox")).error_type == "unavailable"


def test_fields_of_an_edit_are_text_and_its_files_pngs():
    model = OPENAI.find("gpt-image-2")
    picture = InputImage(PICTURE)

    request = build_request(Call(model, "p", count=2, size=(16, 32), source=picture, mask=picture))

    assert request.form == {"model": "gpt-image-2", "prompt": "p", "n": "2", "size": "16x32"}
    assert request.files == {
        "image": ("image.png", PICTURE, "image/png"),
        "mask": ("mask.png", PICTURE, "image/png"),
    }
