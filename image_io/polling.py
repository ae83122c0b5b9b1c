"""Waiting for a job that somebody else runs: ask, wait a little longer, ask again.

Owns the backoff, the deadline and what counts as a passing failure of a question. Knows no HTTP
and no vendor: `fetch` asks, `is_done` tells a final answer. Clock and sleep are given, so that no
test waits.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from image_provider import (
    ImageGenerationError,
    ProviderTimeoutError,
    ProviderUnavailableError,
    RateLimitedError,
)

logger = logging.getLogger(__name__)

MAX_FAILURES_IN_A_ROW = 8
PATIENCE = 60.0
"""Seconds that failures may go on in any number: a job that waits for us is paid for."""

Answer = TypeVar("Answer")


def poll_until(
    fetch: Callable[[], Answer],
    deadline: float,
    *,
    is_done: Callable[[Answer], bool],
    first_wait: float = 0.5,
    longest_wait: float = 5.0,
    growth: float = 1.5,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], object] = time.sleep,
) -> Answer:
    """The first answer of `fetch` that `is_done`; waits are seconds, `deadline` is on `clock`.

    A retryable error of `fetch` is looked past until there were MAX_FAILURES_IN_A_ROW of them in
    PATIENCE seconds or more; any other is raised. Asks once more at the deadline, then raises
    ProviderTimeoutError.
    """
    wait, failures, failing_since = first_wait, 0, 0.0
    while True:
        pause = wait
        try:
            answer = fetch()
        except ImageGenerationError as error:
            failing_since = failing_since if failures else clock()
            failures += 1
            over = failures >= MAX_FAILURES_IN_A_ROW and clock() - failing_since >= PATIENCE
            if over or not error.retryable:
                raise
            logger.debug("asking failed, asked again later: %s", error)
            pause = max(wait, _asked_pause(error))
        else:
            failures = 0
            if is_done(answer):
                return answer
        left = deadline - clock()
        if left <= 0:
            raise ProviderTimeoutError("the job was not finished when its time was over")
        sleep(min(pause, left))
        wait = min(wait * growth, longest_wait)


def _asked_pause(error: ImageGenerationError) -> float:
    if isinstance(error, (RateLimitedError, ProviderUnavailableError)):
        return error.retry_after or 0.0
    return 0.0
