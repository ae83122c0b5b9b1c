"""Asking again after a broken answer: how often, after which pauses, and when not."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from comfyui.client import Limits
from comfyui.repeating import repeated
from image_provider import (
    GenerationCancelledError,
    ImageGenerationError,
    InvalidRequestError,
    ProviderTimeoutError,
    ProviderUnavailableError,
)
from tests.job_support import NOWHERE, TimelessToken, client_of

LIMITS = Limits(silence=8)


def asking(
    *failures: ImageGenerationError, token: TimelessToken | None = None, times: int = 3
) -> tuple[Callable[[], str], list[str], TimelessToken]:
    """A question that fails so often before it is answered, what was asked, and the token."""
    asked: list[str] = []
    token = token or TimelessToken()

    def ask() -> str:
        asked.append("?")
        if len(asked) <= len(failures):
            raise failures[len(asked) - 1]
        return "the answer"

    def run() -> str:
        with client_of(NOWHERE, LIMITS) as client:
            return repeated(ask, client, token, times=times)

    return run, asked, token


def test_a_good_answer_is_taken_at_once():
    run, asked, token = asking()
    assert run() == "the answer"
    assert (len(asked), token.waits) == (1, [])


def test_failures_that_may_pass_are_asked_past_with_pauses_that_grow_with_the_silence_limit():
    run, asked, token = asking(
        ProviderUnavailableError("x", status=500),
        ProviderTimeoutError("x"),
        ProviderUnavailableError("x"),
    )
    assert run() == "the answer"
    assert (len(asked), token.waits) == (4, [1, 4, 8])


def test_a_failure_that_stays_is_raised_in_the_end():
    run, asked, token = asking(*[ProviderUnavailableError("x", status=503)] * 9, times=2)
    with pytest.raises(ProviderUnavailableError):
        run()
    assert (len(asked), token.waits) == (3, [1, 4])


@pytest.mark.parametrize(
    "error", [ProviderUnavailableError("gone", status=404), InvalidRequestError("x", status=400)]
)
def test_what_asking_again_cannot_change_is_raised_at_once(error):
    run, asked, _ = asking(error)
    with pytest.raises(type(error)):
        run()
    assert len(asked) == 1


def test_nothing_is_asked_again_once_it_is_cancelled():
    token = TimelessToken()
    token.cancel()
    run, asked, _ = asking(ProviderUnavailableError("x"), token=token)
    with pytest.raises(GenerationCancelledError):
        run()
    assert len(asked) == 1
