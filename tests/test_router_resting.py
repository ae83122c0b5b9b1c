"""Whom the router passes over since it rests, and whom it asks all the same."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor

import pytest

from image_provider import (
    AuthenticationError,
    ConfigurationError,
    GenerationFailedError,
    ImageGenerationRequest,
    ProviderUnavailableError,
    RateLimitedError,
)
from tests.fakes.clock import Clock
from tests.fakes.provider import FakeProvider, success
from tests.router_support import FOX, asked, attempts, make_router

DOWN = ProviderUnavailableError("down")
BUSY = RateLimitedError("slow down", retry_after=30)


@pytest.fixture
def clock():
    return Clock()


def test_one_that_failed_is_passed_over_for_a_while_and_then_asked_again(clock, caplog):
    router = make_router(FakeProvider("a", DOWN, success("a")), FakeProvider("b"), clock=clock)
    assert router.generate(FOX).provider == "b"
    clock.now += 2
    caplog.clear()
    result = router.generate(FOX)
    assert asked(router) == {"a": 1, "b": 2}
    assert attempts(result) == [("a", "unavailable", "rests for 3 s more, after: down")]
    assert result.metadata["attempts"][0]["seconds"] == 0
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage() == "a rests for 3 s more, after: down; trying b"
    clock.now += 3
    result = router.generate(FOX)
    assert result.provider == "a" and "attempts" not in result.metadata


def test_a_rate_limited_one_is_asked_again_when_it_said(clock):
    router = make_router(FakeProvider("a", BUSY, success("a")), FakeProvider("b"), clock=clock)
    for _ in range(3):
        assert router.generate(FOX).provider == "b"
        clock.now += 9.99
    assert asked(router)["a"] == 1
    clock.now += 0.03
    assert router.generate(FOX).provider == "a"


def test_one_that_rests_is_asked_when_nobody_else_is_left(clock):
    broken = GenerationFailedError("broken")
    router = make_router(
        FakeProvider("a", DOWN, success("a")), FakeProvider("b", success("b"), broken), clock=clock
    )
    router.generate(FOX)
    result = router.generate(FOX)
    assert result.provider == "a"
    assert attempts(result) == [
        ("a", "unavailable", "rests for 5 s more, after: down"),
        ("b", "generation_failed", "broken"),
    ]


def test_one_that_was_passed_over_first_is_listed_once_when_all_fail(clock):
    broken = GenerationFailedError("broken")
    router = make_router(
        FakeProvider("a", DOWN), FakeProvider("b", success("b"), broken), clock=clock
    )
    router.generate(FOX)
    assert router.generate(FOX).error == "no provider could do it. a: down; b: broken"


def test_when_all_rest_they_are_asked_in_order(clock):
    router = make_router(FakeProvider("a", DOWN), FakeProvider("b", DOWN), clock=clock)
    for _ in range(2):
        result = router.generate(FOX)
        assert attempts(result) == [("a", "unavailable", "down"), ("b", "unavailable", "down")]
    assert asked(router) == {"a": 2, "b": 2}


def test_when_all_rest_those_that_said_how_long_come_last_and_the_soonest_back_first(clock):
    busy = [RateLimitedError("slow down", retry_after=seconds) for seconds in (90, 3)]
    made = [success(name) for name in "abc"]
    scripts = zip([*busy, DOWN], made, strict=True)
    router = make_router(
        *(FakeProvider(name, *script) for name, script in zip("abc", scripts, strict=True)),
        clock=clock,
    )
    assert [kind for _, kind, _ in attempts(router.generate(FOX))] == [
        "rate_limited",
        "rate_limited",
        "unavailable",
    ]
    assert router.select_provider(FOX).provider_name == "c"
    for name in "cba":
        assert router.generate(FOX).provider == name
        del router.providers[name]


def test_a_lone_one_is_asked_whether_it_rests_or_not(clock):
    router = make_router(FakeProvider("a", BUSY), clock=clock)
    for _ in range(2):
        assert router.generate(FOX).error == "slow down"
    assert asked(router) == {"a": 2}


def test_one_that_alone_has_what_is_needed_is_asked_whether_it_rests_or_not(clock):
    router = make_router(
        FakeProvider("a", BUSY, success("a")), FakeProvider("b", features=[]), clock=clock
    )
    router.generate(FOX)
    assert router.generate(ImageGenerationRequest("a fox", workflow="w.json")).provider == "a"
    assert asked(router) == {"a": 2, "b": 1}


def test_one_asked_for_by_name_is_asked_and_its_success_ends_the_rest(clock):
    router = make_router(FakeProvider("a", BUSY, success("a")), FakeProvider("b"), clock=clock)
    router.generate(FOX)
    assert router.generate(ImageGenerationRequest("a fox", provider="a")).provider == "a"
    assert router.generate(FOX).provider == "a"
    assert router.get_available_providers()["a"]["available"]


def test_a_fault_of_settings_or_keys_makes_nobody_rest(clock):
    router = make_router(
        FakeProvider("a", AuthenticationError("bad key")),
        FakeProvider("b", ConfigurationError("no folder")),
        FakeProvider("c"),
        clock=clock,
    )
    for _ in range(2):
        assert router.generate(FOX).provider == "c"
    assert asked(router) == {"a": 2, "b": 2, "c": 2}


def test_who_rests_and_for_how_long_is_told(clock):
    router = make_router(FakeProvider("a", BUSY), FakeProvider("b"), clock=clock)
    router.generate(FOX)
    clock.now += 10
    told = router.get_available_providers()
    assert told["a"]["available"] is False
    assert told["a"]["reason"] == "rests for 20 s more, after: slow down"
    assert told["a"]["features"] and told["b"]["available"]
    clock.now += 20
    assert router.get_available_providers()["a"]["available"]


def test_select_takes_one_that_rests_last(clock):
    asleep = FakeProvider("c", unavailable="it sleeps")
    router = make_router(FakeProvider("a", DOWN), FakeProvider("b"), asleep, clock=clock)
    router.generate(FOX)
    assert router.select_provider(FOX).provider_name == "b"
    named = ImageGenerationRequest("a fox", provider="a")
    assert router.select_provider(named).provider_name == "a"
    del router.providers["b"]
    assert router.select_provider(FOX).provider_name == "a"


def test_what_somebody_else_wished_for_is_not_told(clock):
    down = ProviderUnavailableError("no room for my secret wish")
    router = make_router(FakeProvider("a", down), FakeProvider("b"), clock=clock)
    router.generate(ImageGenerationRequest("my secret wish"))
    ((_, _, message),) = attempts(router.generate(FOX))
    assert message == "rests for 5 s more, after: no room for […]"


def test_many_threads_ask_one_that_rests_no_more(clock):
    router = make_router(FakeProvider("a", BUSY), FakeProvider("b"), clock=clock)
    router.generate(FOX)
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(router.generate, [FOX] * 64))
    assert {result.provider for result in results} == {"b"}
    assert asked(router) == {"a": 1, "b": 65}
