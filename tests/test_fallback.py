"""Who stands in for whom, over real sockets: ComfyUI, Black Forest Labs and OpenAI on loopback."""

from __future__ import annotations

import logging
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from comfyui.client import Limits
from comfyui.embedded import EmbeddedOptions, EmbeddedServer, StepGate
from comfyui_provider import ComfyUIProvider
from config import Config
from image_io.masks import encode_png
from image_provider import AllProvidersFailedError, ImageGenerationRequest
from image_provider_router import ImageProviderRouter
from tests.fakes.clock import Clock
from tests.fakes.hosted_apis import FLUX, OPENAI, POLL, RECORDED, HostedApis
from tests.fakes.proxy import FaultProxy, http_answer
from tests.key_watch import planted
from tests.router_support import attempts

pytestmark = pytest.mark.usefixtures("short_pauses")

FOX = ImageGenerationRequest("a red fox", width=64, height=64, seed=7)
QUICK = {"COMFYUI_SILENCE": "0.05", "COMFYUI_UNREACHABLE_TIMEOUT": "0.2"}
OVERLOADED = RECORDED["openai"]["error_overloaded"]
TOO_MANY = RECORDED["bfl"]["http_429"]


class ShiftedClock:
    """The real time, and the seconds that a test is ahead of it."""

    ahead = 0.0

    def __call__(self):
        return time.monotonic() + self.ahead


@pytest.fixture
def apis():
    with HostedApis() as apis:
        yield apis


@pytest.fixture
def nowhere():
    """An address where nobody listens, and nobody else will."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{bound.getsockname()[1]}"


@pytest.fixture
def make_router(apis):
    """Routers over these APIs and a ComfyUI at `address`, by the built-in rules."""
    with ExitStack() as stack:

        def make(address, clock=None, **settings):
            values = {**apis.settings, "COMFYUI_SERVER_ADDRESS": address, **QUICK, **settings}
            router = ImageProviderRouter(Config(values, None), clock=clock or time.monotonic)
            stack.callback(router.close)
            for server in router.providers["comfyui"]._servers.all():
                if clock is not None:
                    server.client.clock = clock
            return router

        yield make


@pytest.mark.parametrize("provider", ["comfyui", "flux", "openai"])
def test_settings_that_are_passed_close_local_files_for_every_provider(
    make_router, comfyui_server, apis, provider
):
    Path("fox.png").write_bytes(encode_png(Image.new("RGB", (64, 64))))
    request = replace(FOX, source_image_url="fox.png", provider=provider)

    closed = make_router(comfyui_server.address, IMAGE_SOURCE_ROOTS="").generate(request)

    assert closed.error_type == "invalid_request" and "not accepted here" in closed.error
    if provider != "openai":  # whose stand-in reads no forms
        opened = make_router(comfyui_server.address).generate(request)
        assert opened.success, opened.error


def test_flux_stands_in_for_a_comfyui_that_is_away(make_router, nowhere, apis):
    router = make_router(nowhere)

    result = router.generate(FOX)

    assert (result.provider, result.images[0]["seed"]) == ("flux_bfl", 7)
    ((provider, kind, message),) = attempts(result)
    assert (provider, kind) == ("comfyui", "unavailable") and nowhere in message
    assert apis.asked[FLUX] == 1 and OPENAI not in apis.asked
    told = router.get_available_providers()
    assert not told["comfyui"]["available"] and "rests for" in told["comfyui"]["reason"]
    assert told["flux_bfl"]["available"]


def test_openai_stands_in_for_a_flux_that_is_rate_limited_until_it_may_be_asked(
    make_router, nowhere, apis
):
    clock = Clock()
    router = make_router(nowhere, clock)
    router.routing_rules |= {"default_provider": "flux", "fallback_chain": ["openai"]}
    apis.answer(FLUX, 429, TOO_MANY, Retry_After=60)  # longer than a provider itself waits

    first = router.generate(FOX)
    clock.now += 59.9
    second = router.generate(FOX)

    assert (first.provider, second.provider) == ("openai", "openai")
    assert attempts(first)[0][:2] == ("flux_bfl", "rate_limited")
    assert attempts(second)[0][:2] == ("flux_bfl", "rate_limited")
    assert "rests for 1 s more, after: Black Forest Labs answered 429" in attempts(second)[0][2]
    assert apis.asked[FLUX] == 1
    clock.now += 0.2
    assert router.generate(FOX).provider == "flux_bfl"
    assert apis.asked[FLUX] == 2


@pytest.mark.parametrize("moderated", ["request_moderated", "content_moderated"])
def test_content_that_one_vendor_rejects_is_offered_to_no_other(
    make_router, nowhere, apis, moderated
):
    router = make_router(nowhere)
    apis.answer(POLL, 200, RECORDED["bfl"][moderated])

    result = router.generate(FOX)

    assert (result.provider, result.error_type) == ("flux_bfl", "content_rejected")
    kinds = [kind for _, kind, _ in attempts(result)]
    assert kinds == ["unavailable", "content_rejected"]
    assert OPENAI not in apis.asked


def test_when_all_are_down_each_is_listed_with_its_reason(make_router, nowhere, apis):
    router = make_router(nowhere)
    apis.answer(FLUX, 503, {"detail": "under maintenance"})
    apis.answer(OPENAI, 500, OVERLOADED)

    result = router.generate(FOX)

    assert result.error_type == "all_providers_failed"
    for part in (
        f"comfyui: ComfyUI at {nowhere}",
        "flux_bfl: Black Forest Labs answered 503: under maintenance",
        "openai: OpenAI Images answered 500: The server is overloaded",
    ):
        assert part in result.error
    with pytest.raises(AllProvidersFailedError) as caught:
        result.raise_for_error()
    told = [(a.provider, a.error_type, a.message) for a in caught.value.attempts]
    assert told == attempts(result)


def test_when_all_rest_those_that_said_for_how_long_are_asked_last(make_router, nowhere, apis):
    router = make_router(nowhere, Clock())
    apis.answer(FLUX, 429, TOO_MANY, times=2, Retry_After=600)
    apis.answer(OPENAI, 429, OVERLOADED, times=2, Retry_After=300)
    before = [provider for provider, _, _ in attempts(router.generate(FOX))]
    after = [provider for provider, _, _ in attempts(router.generate(FOX))]
    assert before == ["comfyui", "flux_bfl", "openai"]
    assert after == ["comfyui", "openai", "flux_bfl"]


def test_a_failure_has_the_pictures_that_were_finished_and_progress_that_never_fell(
    make_router, comfyui_server, nowhere, apis
):
    def vanish(update):
        seen.append(update.fraction)
        if update.fraction > 0.6:  # of three pictures
            proxy.switch_to(nowhere)

    seen = []
    request = ImageGenerationRequest(
        "a red fox", width=64, height=64, seed=7, num_images=3, on_progress=vanish
    )
    apis.answer(FLUX, 503, {"detail": "under maintenance"})
    apis.answer(OPENAI, 500, OVERLOADED)
    with FaultProxy(comfyui_server.address) as proxy:
        result = make_router(proxy.address).generate(request)

    assert (result.provider, result.error_type) == ("router", "all_providers_failed")
    seeds = [image["seed"] for image in result.images]
    assert seeds and seeds == [7, 8, 9][: len(seeds)]
    assert result.recipe["provider"] == "comfyui"
    assert seen == sorted(seen)


def test_pictures_that_comfyui_had_finished_are_not_made_again(
    make_router, comfyui_server, nowhere, apis
):
    def vanish(update):
        if update.fraction > 0.6:  # of three pictures
            proxy.switch_to(nowhere)

    request = ImageGenerationRequest(
        "a red fox", width=64, height=64, seed=7, num_images=3, on_progress=vanish
    )
    with FaultProxy(comfyui_server.address) as proxy:
        result = make_router(proxy.address).generate(request)

    assert (result.success, result.provider) == (True, "flux_bfl")
    made = {part["provider"]: part["images"] for part in result.metadata["parts"]}
    assert made["comfyui"] >= 1 and made["comfyui"] + made["flux_bfl"] == 3
    assert apis.asked[FLUX] == made["flux_bfl"]
    assert [image["seed"] for image in result.images] == [7, 8, 9]


def test_a_comfyui_that_is_started_is_used_within_seconds(make_router, comfyui_server, apis):
    clock = ShiftedClock()
    router = make_router(comfyui_server.address, clock)
    comfyui_server.stop()
    for _ in range(6):  # so often that a rest by the clock alone would be a minute
        clock.ahead += 60
        assert router.generate(FOX).provider == "flux_bfl"

    comfyui_server.start()
    clock.ahead += 6

    result = router.generate(FOX)
    assert (result.provider, result.images[0]["seed"]) == ("comfyui", 7)
    assert "attempts" not in result.metadata
    assert apis.asked[FLUX] == 6


def test_a_comfyui_that_goes_away_with_a_job_is_used_again_when_it_is_back(
    make_router, nowhere, apis
):
    def vanish(event):
        if event.step == 1:
            proxy.switch_to(nowhere)

    clock = ShiftedClock()
    with (
        EmbeddedServer(options=EmbeddedOptions(step_seconds=0, on_step=vanish)) as server,
        FaultProxy(server.address) as proxy,
    ):
        router = make_router(proxy.address, clock)
        first = router.generate(FOX)
        assert first.provider == "flux_bfl"
        assert attempts(first)[0][:2] == ("comfyui", "unavailable")
        server.options = EmbeddedOptions(step_seconds=0)
        proxy.switch_to(server.address)
        server.stop()
        server.start()
        clock.ahead += 6

        result = router.generate(FOX)

    assert result.provider == "comfyui" and result.success
    assert apis.asked[FLUX] == 1


def test_a_proxy_that_answers_503_counts_as_away(make_router, comfyui_server, apis):
    with FaultProxy(comfyui_server.address) as proxy:
        clock = ShiftedClock()
        router = make_router(proxy.address, clock)
        busy = http_answer(503, b"", "Retry-After: 30")
        proxy.answer("GET /system_stats", busy, times=20)
        assert router.generate(FOX).provider == "flux_bfl"
        proxy.reset(comfyui_server.address)
        clock.ahead += 31
        assert router.generate(FOX).provider == "comfyui"


def test_after_a_time_limit_one_stands_in_and_no_second(make_router, apis):
    with ExitStack() as stack:
        slow = {}
        for name in ("first", "second"):
            gate = StepGate("SaveImage")
            options = EmbeddedOptions(step_seconds=0, on_step=gate)
            server = stack.enter_context(EmbeddedServer(options=options))
            limits = Limits(total=0.3, silence=0.05, unreachable=0.2)
            slow[name] = ComfyUIProvider(server.address, limits=limits)
            stack.callback(gate.open)
        router = make_router("127.0.0.1:1")
        router.providers |= slow
        router.routing_rules |= {
            "default_provider": "first",
            "fallback_chain": ["second", "openai"],
        }

        result = router.generate(FOX)

        assert result.error_type == "timeout"
        told = [(provider, kind) for provider, kind, _ in attempts(result)]
        assert told == [("first", "timeout"), ("second", "timeout")]
        assert result.metadata["attempts"][0]["seconds"] >= 0.3
        assert OPENAI not in apis.asked


def test_warnings_name_both_providers_and_no_prompt_or_key(make_router, nowhere, apis, caplog):
    router = make_router(nowhere)
    echo = {"detail": f"no capacity for 'a red fox' of {planted('of-bfl')}"}
    apis.answer(FLUX, 503, echo)

    assert router.generate(FOX).provider == "openai"

    said = [r.getMessage() for r in caplog.records if r.name == "image_provider_router"]
    assert len(said) == 2
    assert said[0].startswith("comfyui failed (unavailable): ") and "trying flux_bfl" in said[0]
    assert said[1].startswith("flux_bfl failed (unavailable): Black Forest Labs answered 503")
    assert "no capacity for" in said[1] and said[1].endswith("; trying openai")
    told = " ".join(r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING)
    assert "red fox" not in told and planted("of-bfl") not in told


def test_many_threads_get_their_own_pictures_while_comfyui_goes_away(make_router, nowhere, apis):
    jobs = []

    def vanish(event):
        if event.step == 0 and event.class_type == "SaveImage":
            jobs.append(event.prompt_id)
            if len(jobs) == 5:
                proxy.switch_to(nowhere)

    options = EmbeddedOptions(step_seconds=0, on_step=vanish)
    requests = [
        ImageGenerationRequest("a red fox", width=64, height=64, seed=seed) for seed in range(24)
    ]
    with (
        EmbeddedServer(options=options) as server,
        FaultProxy(server.address) as proxy,
        ThreadPoolExecutor(8) as pool,
    ):
        router = make_router(proxy.address)
        results = list(pool.map(router.generate, requests))

    assert all(result.success for result in results), results
    assert [result.images[0]["seed"] for result in results] == list(range(24))
    served = [result.provider for result in results]
    assert set(served) == {"comfyui", "flux_bfl"}
    assert apis.asked[FLUX] == served.count("flux_bfl") >= 19


def test_many_threads_leave_a_rate_limited_flux_alone(make_router, nowhere, apis):
    router = make_router(nowhere)
    router.routing_rules |= {"default_provider": "flux", "fallback_chain": ["openai"]}
    apis.answer(FLUX, 429, TOO_MANY, times=100, Retry_After=600)
    router.generate(FOX)

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(router.generate, [FOX] * 32))

    assert {result.provider for result in results} == {"openai"}
    assert (apis.asked[FLUX], apis.asked[OPENAI]) == (1, 33)
