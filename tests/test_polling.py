"""`poll_until` with a clock that only its own sleep moves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from image_io.polling import MAX_FAILURES_IN_A_ROW, PATIENCE, poll_until
from image_provider import (
    ContentRejectedError,
    ProviderTimeoutError,
    ProviderUnavailableError,
    RateLimitedError,
)
from tests.fakes.clock import Clock


def scripted(*answers: object) -> Callable[[], Any]:
    """A fetch that gives the answers in order, raises those that are errors, repeats the last."""
    remaining: Iterator[object] = iter(answers)
    last: list[object] = []

    def fetch() -> Any:
        answer = next(remaining, last[0] if last else None)
        last[:] = [answer]
        if isinstance(answer, Exception):
            raise answer
        return answer

    return fetch


def poll(clock: Clock, fetch: Callable[[], Any], seconds: float = 60.0, **options: Any) -> Any:
    return poll_until(
        fetch,
        clock.now + seconds,
        is_done=lambda answer: answer == "done",
        clock=clock,
        sleep=clock.sleep,
        **options,
    )


def test_a_finished_job_is_returned_without_a_wait() -> None:
    clock = Clock()

    assert poll(clock, scripted("done")) == "done"
    assert clock.sleeps == []


def test_waits_grow_up_to_the_longest() -> None:
    clock = Clock()

    poll(clock, scripted(*["busy"] * 5, "done"), first_wait=1.0, growth=2.0, longest_wait=5.0)

    assert clock.sleeps == [1.0, 2.0, 4.0, 5.0, 5.0]


def test_the_job_is_looked_at_once_more_at_the_deadline() -> None:
    clock = Clock()

    result = poll(clock, scripted("busy", "busy", "done"), seconds=3.0, first_wait=2.0)

    assert result == "done"
    assert clock.sleeps == [2.0, 1.0]


def test_a_job_that_never_ends_is_a_timeout() -> None:
    clock = Clock()

    with pytest.raises(ProviderTimeoutError):
        poll(clock, scripted("busy"), seconds=7.0)

    assert sum(clock.sleeps) == pytest.approx(7.0)


def test_passing_failures_do_not_lose_the_job() -> None:
    fetch = scripted(ProviderUnavailableError("502"), "busy", ProviderTimeoutError("slow"), "done")

    assert poll(Clock(), fetch) == "done"


@pytest.mark.parametrize("error", [RateLimitedError, ProviderUnavailableError])
def test_a_busy_server_is_asked_again_when_it_says(error) -> None:
    clock = Clock()

    poll(clock, scripted(error("busy", retry_after=12.0), "done"))

    assert clock.sleeps == [12.0]


def test_a_final_failure_is_raised_at_once() -> None:
    clock = Clock()

    with pytest.raises(ContentRejectedError):
        poll(clock, scripted("busy", ContentRejectedError("no"), "done"))

    assert len(clock.sleeps) == 1


def test_a_server_that_stays_away_is_given_up_before_the_deadline() -> None:
    clock = Clock()

    with pytest.raises(ProviderUnavailableError):
        poll(clock, scripted(ProviderUnavailableError("gone")), seconds=10_000)

    assert PATIENCE <= sum(clock.sleeps) < PATIENCE + 5


def test_failures_that_take_long_are_not_counted_by_time_alone() -> None:
    clock = Clock()
    asked = []

    def fetch() -> None:
        asked.append(clock.now)
        clock.now += PATIENCE
        raise ProviderTimeoutError("slow")

    with pytest.raises(ProviderTimeoutError):
        poll(clock, fetch, seconds=10_000)

    assert len(asked) == MAX_FAILURES_IN_A_ROW


def test_only_failures_in_a_row_are_counted() -> None:
    down = ProviderUnavailableError("blip")
    answers = [*[down] * (MAX_FAILURES_IN_A_ROW + 4), "busy"] * 2

    assert poll(Clock(), scripted(*answers, "done"), seconds=1000) == "done"
