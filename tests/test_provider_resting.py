"""How long a provider that failed is left alone, and what ends that sooner."""

from __future__ import annotations

import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from image_provider import (
    AuthenticationError,
    ConfigurationError,
    ContentRejectedError,
    GenerationFailedError,
    ImageGenerationResult,
    ProviderTimeoutError,
    ProviderUnavailableError,
    RateLimitedError,
    SourceUnavailableError,
)
from image_routing.resting import FIRST_REST, LONGEST_ASKED_REST, LONGEST_REST, Rest, Resting
from tests.fakes.clock import Clock
from tests.fakes.provider import FakeProvider, success


class Away(FakeProvider):
    """Tells whether it is there, and counts how often it is asked."""

    away = True
    looks = 0
    look_seconds = 0.0

    def __init__(self, clock):
        super().__init__("a")
        self.clock = clock

    def unavailable_reason(self):
        self.looks += 1
        self.clock.now += self.look_seconds
        return "nobody answers" if self.away else None


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def resting(clock):
    return Resting(clock)


@pytest.fixture
def provider():
    return FakeProvider("a")


def fail(resting, provider, error, clock, seconds=1.0):
    """An attempt that begins a second from now and fails `seconds` later."""
    clock.now += 1
    started = clock.now
    clock.now += seconds
    result = ImageGenerationResult.failed(error, "a")
    resting.note("a", provider, result, started, str(error))


def left(resting, provider):
    rest = resting.rest_of("a", provider)
    return rest and rest.seconds_left


@pytest.mark.parametrize(
    "error",
    [
        ProviderTimeoutError("x"),
        AuthenticationError("x"),
        ConfigurationError("x"),
        GenerationFailedError("x"),
        ContentRejectedError("x"),
        SourceUnavailableError("the host of the source picture is away"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_does_not_pass_by_itself_is_no_reason_to_rest(resting, provider, clock, error):
    fail(resting, provider, error, clock)
    assert resting.rest_of("a", provider) is None


@pytest.mark.parametrize("error", [ProviderUnavailableError("down"), RateLimitedError("slow")])
def test_a_rest_begins_short_doubles_and_stops_growing(resting, provider, clock, error):
    lengths = []
    for _ in range(6):
        fail(resting, provider, error, clock)
        lengths.append(left(resting, provider))
        clock.now += lengths[-1]
        assert resting.rest_of("a", provider) is None
    assert lengths == [FIRST_REST, 10, 20, 40, LONGEST_REST, LONGEST_REST]


@pytest.mark.parametrize("error_class", [ProviderUnavailableError, RateLimitedError])
def test_retry_after_says_how_long(resting, provider, clock, error_class):
    fail(resting, provider, error_class("slow down", retry_after=90), clock)
    clock.now += 89.5
    rest = resting.rest_of("a", provider)
    assert rest == Rest(0.5, error_class.error_type, "slow down", is_asked_for=True)
    assert str(rest) == "rests for 1 s more, after: slow down"
    clock.now += 0.5
    assert resting.rest_of("a", provider) is None


@pytest.mark.parametrize(
    ("retry_after", "seconds"),
    [
        (0.25, 0.25),
        (1e12, LONGEST_ASKED_REST),
        (float("inf"), LONGEST_ASKED_REST),
        (0, FIRST_REST),
        (-3, FIRST_REST),
        (float("nan"), FIRST_REST),
        (None, FIRST_REST),
        ("soon", FIRST_REST),
    ],
)
def test_a_retry_after_that_makes_no_sense_does_no_harm(
    resting, provider, clock, retry_after, seconds
):
    fail(resting, provider, RateLimitedError("x", retry_after=retry_after), clock)
    assert left(resting, provider) == seconds


def test_a_result_without_an_exception_makes_rest_too(resting, provider, clock):
    result = ImageGenerationResult(False, [], "a", None, error="x", error_type="rate_limited")
    resting.note("a", provider, result, clock.now, "x")
    assert left(resting, provider) == FIRST_REST


def test_a_success_ends_the_rest_and_its_growth(resting, provider, clock):
    for _ in range(3):
        fail(resting, provider, RateLimitedError("x", retry_after=90), clock)
    resting.note("a", provider, success("a"), clock.now, "")
    assert resting.rest_of("a", provider) is None
    fail(resting, provider, RateLimitedError("x"), clock)
    assert left(resting, provider) == FIRST_REST


def test_a_success_that_was_under_way_before_the_rate_limit_does_not_lift_it(
    resting, provider, clock
):
    started = clock.now
    fail(resting, provider, RateLimitedError("x", retry_after=90), clock)
    resting.note("a", provider, success("a"), started, "")
    assert left(resting, provider) == 90


def test_a_success_shows_that_a_provider_is_there_whenever_it_began(resting, provider, clock):
    started = clock.now
    fail(resting, provider, ProviderUnavailableError("x"), clock)
    resting.note("a", provider, success("a"), started, "")
    assert resting.rest_of("a", provider) is None


def test_attempts_that_fail_together_count_once(resting, provider, clock):
    started = clock.now
    for _ in range(8):
        clock.now += 0.1
        result = ImageGenerationResult.failed(RateLimitedError("x"), "a")
        resting.note("a", provider, result, started, "x")
    assert left(resting, provider) == FIRST_REST


def test_a_vaguer_failure_does_not_shorten_what_was_asked_for(resting, provider, clock):
    fail(resting, provider, RateLimitedError("x", retry_after=90), clock)
    fail(resting, provider, RateLimitedError("x"), clock, seconds=10)
    rest = resting.rest_of("a", provider)
    assert rest.seconds_left == 79 and rest.is_asked_for
    clock.now += 79
    fail(resting, provider, RateLimitedError("x"), clock)
    assert not resting.rest_of("a", provider).is_asked_for


def test_another_provider_of_the_name_does_not_rest(resting, provider, clock):
    fail(resting, provider, ProviderUnavailableError("x"), clock)
    assert resting.rest_of("a", FakeProvider("a")) is None
    assert resting.rest_of("b", provider) is None


# Providers that tell whether they are there


def test_one_that_tells_is_used_as_soon_as_it_says_that_it_is_back(resting, clock):
    provider = Away(clock)
    for _ in range(5):
        fail(resting, provider, ProviderUnavailableError("down"), clock)
    clock.now += 3
    assert resting.rest_of("a", provider).message == "down"
    provider.away = False
    clock.now += 3
    assert resting.rest_of("a", provider) is None
    fail(resting, provider, ProviderUnavailableError("down"), clock)
    assert left(resting, provider) == FIRST_REST


def test_it_is_not_looked_at_all_the_time(resting, clock):
    provider = Away(clock)
    for _ in range(5):
        fail(resting, provider, ProviderUnavailableError("down"), clock)
    provider.looks = 0
    for _ in range(80):
        clock.now += 0.125
        resting.rest_of("a", provider)
    assert provider.looks == 5


def test_looks_that_take_long_are_rare(resting, clock):
    provider = Away(clock)
    for _ in range(5):
        fail(resting, provider, ProviderUnavailableError("down"), clock)
    provider.look_seconds, provider.looks = 4.0, 0
    for _ in range(40):
        clock.now += 1
        resting.rest_of("a", provider)
    assert provider.looks == 1


def test_a_look_can_be_asked_for(resting, clock):
    provider = Away(clock)
    fail(resting, provider, ProviderUnavailableError("down"), clock)
    provider.away = False
    assert resting.rest_of("a", provider) is not None
    assert resting.rest_of("a", provider, look=True) is None


@pytest.mark.parametrize(
    "error", [RateLimitedError("x"), ProviderUnavailableError("x", retry_after=90)]
)
def test_to_be_there_is_not_to_be_ready(resting, clock, error):
    provider = Away(clock)
    fail(resting, provider, error, clock)
    provider.away = False
    clock.now += 4
    assert resting.rest_of("a", provider, look=True) is not None


def test_one_that_fails_although_it_says_that_it_is_there_rests_all_the_same(resting, clock):
    provider = Away(clock)
    provider.away = False
    fail(resting, provider, ProviderUnavailableError("down"), clock)
    assert resting.rest_of("a", provider, look=True) is not None


def test_a_fault_in_what_a_provider_tells_does_no_harm(resting, clock):
    provider = FakeProvider("a")
    provider.unavailable_reason = lambda: 1 / 0
    fail(resting, provider, ProviderUnavailableError("down"), clock)
    assert left(resting, provider) == FIRST_REST


def test_ctrl_c_in_a_look_ends_that_look_alone(resting, clock):
    provider = Away(clock)
    for _ in range(5):
        fail(resting, provider, ProviderUnavailableError("down"), clock)

    def interrupted():
        raise KeyboardInterrupt

    provider.unavailable_reason = interrupted
    clock.now += 3
    with pytest.raises(KeyboardInterrupt):
        resting.rest_of("a", provider)
    assert resting.rest_of("a", provider) is not None
    del provider.unavailable_reason
    provider.away = False
    clock.now += 3
    assert resting.rest_of("a", provider) is None


def test_nobody_waits_for_somebody_elses_look(resting, clock):
    provider = Away(clock)
    fail(resting, provider, ProviderUnavailableError("down"), clock)
    looked_at, goes_on = threading.Event(), threading.Event()

    def slow_look():
        looked_at.set()
        goes_on.wait(10)

    provider.unavailable_reason = slow_look
    clock.now += 3
    with ThreadPoolExecutor(1) as pool:
        look = pool.submit(resting.rest_of, "a", provider)
        assert looked_at.wait(10)
        assert resting.rest_of("a", provider).message == "down"
        goes_on.set()
        assert look.result(10) is None
    assert resting.rest_of("a", provider) is None


def test_another_process_begins_without_rests(resting, provider, clock):
    fail(resting, provider, ProviderUnavailableError("down"), clock)
    assert pickle.loads(pickle.dumps(resting)).rest_of("a", provider) is None
