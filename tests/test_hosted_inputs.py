"""Source images and masks: in a size that the vendor takes, whatever the caller's have."""

from __future__ import annotations

import json
import os
from io import BytesIO
from typing import Any

import pytest
import responses
from PIL import Image

from hosted_providers import FluxProvider
from image_provider import ImageGenerationRequest, ImageGenerationResult
from tests.fakes.clock import Clock
from tests.hosted_support import KEY, PICTURE, answers, decoded, png

BFL = answers("black_forest_labs")
LIMIT = 20_000_000
"""Bytes of an input at Black Forest Labs (blackforest 0.2.0)."""


def edit(model: str, source: bytes, **fields: Any) -> tuple[dict[str, Any], ImageGenerationResult]:
    """What is sent to Black Forest Labs for an edit, and the result."""
    with responses.RequestsMock() as mocked:
        mocked.post(f"https://api.bfl.ai/v1/{model}", json=BFL["submitted"])
        mocked.get("https://api.us1.bfl.ai/v1/get_result", json=BFL["ready"])
        mocked.get(BFL["ready"]["result"]["sample"], body=PICTURE)
        clock = Clock()
        provider = FluxProvider(KEY, model=model, clock=clock, sleep=clock.sleep)
        pictures = {"source_image": source, **fields.pop("extra", {})}
        result = provider.generate(ImageGenerationRequest("a fox", extra=pictures, **fields))
        provider.close()
        assert result.success, result.error
        return json.loads(mocked.calls[0].request.body or ""), result


@pytest.mark.parametrize(
    ("size", "sent"), [((1, 1), (256, 256)), ((4000, 100), (10240, 256)), ((300, 257), (300, 257))]
)
def test_a_source_that_is_too_small_is_enlarged(size, sent):
    body, result = edit("flux-2-pro", png(*size))

    assert decoded(body["input_image"]).size == sent
    scaled = {"parameter": "source_image_url", "asked": list(size), "used": list(sent)}
    assert (result.metadata or {}).get("adjusted", []) == ([] if size == sent else [scaled])


def test_a_source_of_noise_fits_into_the_vendors_limit():
    noise = BytesIO()
    Image.frombytes("RGB", (3600, 2400), os.urandom(3600 * 2400 * 3)).save(noise, "BMP")

    body, _ = edit("flux-2-pro", noise.getvalue())

    assert 5_900_000 * 3 < len(body["input_image"]) * 3 // 4 <= LIMIT
    assert decoded(body["input_image"]).size == (3000, 2000)


def test_image_and_mask_of_an_inpainting_have_one_size_within_the_limits():
    mask = png(40, 40, 255, "L")

    body, result = edit(
        "flux-pro-1.0-fill", png(), width=100, height=50, extra={"mask_image": mask}
    )

    assert decoded(body["image"]).size == decoded(body["mask"]).size == (512, 256)
    assert (result.metadata or {})["size"] == {"asked": [100, 50], "used": [512, 256]}


@responses.activate
def test_a_size_beyond_all_measure_is_not_painted_here():
    responses.post("https://queue.fal.run/fal-ai/flux/dev/image-to-image", status=500)

    result = FluxProvider(KEY, "fal").generate(
        ImageGenerationRequest(
            "a fox",
            width=10**9,
            height=1,
            strength=0.5,
            extra={"source_image": png()},
        )
    )

    assert result.metadata is not None
    assert result.metadata["size"] == {"asked": [10**9, 1], "used": [16384, 1]}
