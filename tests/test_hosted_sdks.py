"""What our providers send is what the vendors' own SDKs send for the same call.

The SDKs' requests are recorded in data/hosted/sdk_requests.json (by `record_sdks.py`); ours go to
the same stand-in server here. What differs, and why, is in DIFFERENCES.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from functools import cache
from io import BytesIO
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from hosted_providers import FluxProvider, OpenAIImagesProvider
from image_provider import ImageGenerationRequest
from tests.fakes.clock import Clock
from tests.hosted_support import DATA, KEY, write_png
from tests.record_sdks import StandIn

RECORDED = json.loads((DATA / "sdk_requests.json").read_text(encoding="utf-8"))["requests"]
PRO = "black-forest-labs/FLUX.2-pro"
SCHNELL = "black-forest-labs/FLUX.1-schnell"
LARGE = {"width": 1024, "height": 768}

# Case → model, and the request's fields beside the prompt; S and M are a source and a mask.
CASES: dict[str, tuple[str | None, dict[str, Any]]] = {
    "openai text": (None, {"num_images": 2}),
    "openai dall-e-3": ("dall-e-3", {"width": 1792, "height": 1024, "extra": {"quality": "hd"}}),
    "openai edit": (None, {"source_image_url": "S", "num_images": 2}),
    "openai mask": (None, {"source_image_url": "S", "mask_image_url": "M", "num_images": 2}),
    "fal text": (None, {"num_images": 2, "seed": 7, "steps": 20, "guidance_scale": 2.5, **LARGE}),
    "fal strength": (None, {"source_image_url": "S", "strength": 0.5}),
    "fal mask": (None, {"source_image_url": "S", "mask_image_url": "M", "seed": 7}),
    "together text": (PRO, {"num_images": 2, "seed": 7, **LARGE}),
    "together reference": (PRO, {"num_images": 2, "seed": 7, "source_image_url": "S", **LARGE}),
    "together negative": (
        SCHNELL,
        {"num_images": 2, "seed": 7, "negative_prompt": "blur", "steps": 4, **LARGE},
    ),
    "replicate text": (None, {"seed": 7, **LARGE}),
    "replicate strength": (None, {"source_image_url": "S", "strength": 0.5}),
    "replicate mask": (
        None,
        {"source_image_url": "S", "mask_image_url": "M", "steps": 30, "guidance_scale": 60.0},
    ),
    "replicate upload": (None, {"seed": 7, "source_image_url": "NOISE", **LARGE}),
    "replicate version": ("owner/name:abc123", {"seed": 7, **LARGE}),
}
SIZES = {"openai": (1024, 1024), "together": (1024, 768)}


def _without_accept(request: dict[str, Any]) -> None:
    # The SDKs of OpenAI and Together ask for JSON, which is what the vendors answer with anyway.
    request["headers"].pop("accept", None)


def _without_logs(request: dict[str, Any]) -> None:
    # fal's default, which its SDK writes out.
    request["path"] = request["path"].removesuffix("?logs=false")


def _without_format(request: dict[str, Any]) -> None:
    # Together's own documentation has no output_format for FLUX.1; its SDK would send any field.
    if request.get("json", {}).get("model") == SCHNELL:
        request["json"].pop("output_format", None)


DIFFERENCES = (_without_accept, _without_logs, _without_format)


@pytest.fixture
def server() -> Iterator[StandIn]:
    made = StandIn()
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


@cache
def noise_png() -> bytes:
    """Too large to be sent inside a request."""
    buffer = BytesIO()
    Image.effect_noise((1024, 768), 90).convert("RGB").save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def pictures(folder: Path, vendor: str) -> dict[str, str]:
    """The paths of what a case's letters stand for."""
    width, height = SIZES.get(vendor, (64, 48))
    noise = folder / "noise.png"
    noise.write_bytes(noise_png())
    return {
        "S": write_png(folder, "source.png", width=width, height=height),
        "M": write_png(folder, "mask.png", width=width, height=height, color=255, mode="L"),
        "NOISE": str(noise),
    }


def asked_of(server: StandIn, case: str, folder: Path) -> list[dict[str, Any]]:
    """What our provider sends in a case, in the form of the recording."""
    vendor = case.partition(" ")[0]
    model, fields = CASES[case]
    clock = Clock()
    # A job that never ends is asked for a few times.
    timing: dict[str, Any] = {"clock": clock, "sleep": lambda seconds: clock.sleep(100 * seconds)}
    if vendor == "openai":
        base_url = f"{server.url}/v1"
        provider: Any = OpenAIImagesProvider(KEY, base_url, model, **timing)
    else:
        provider = FluxProvider(KEY, vendor, model, server.url, **timing)
    paths = pictures(folder, vendor)
    given: dict[str, Any] = {
        name: paths.get(value, value) if isinstance(value, str) else value
        for name, value in fields.items()
    }
    prompt = "a hat" if "mask" in case or "edit" in case else "a fox"
    provider.generate(ImageGenerationRequest(prompt, **given))
    provider.close()
    return [json.loads(json.dumps(entry).replace(server.url, "URL")) for entry in server.seen]


def compared(requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The requests less the known differences, each question that is repeated once."""
    for request in requests:
        for remove in DIFFERENCES:
            remove(request)
    return [request for request, _ in groupby(requests) if request["path"] != "/picture.png"]


def creations(requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The requests that cost something."""
    return [entry for entry in requests if "json" in entry or "form" in entry]


def test_every_recorded_case_is_compared():
    assert RECORDED.keys() == CASES.keys()


@pytest.mark.parametrize("case", CASES)
def test_ours_is_what_the_sdk_sends(case, server, tmp_path):
    theirs = compared(RECORDED[case])
    ours = compared(asked_of(server, case, tmp_path))

    assert creations(ours) == creations(theirs)
    later = iter(ours)
    assert all(request in later for request in theirs), "in the same order"
