"""When urllib3 sends a GET again: after a broken connection and, if asked to, to a busy server.

Owns which answers are repeated and the pauses between. POST is never repeated: one that broke off
may have been acted on. A pause that is too long is not begun: its answer is handed on at once.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import Any

import urllib3.exceptions
from urllib3.util.retry import Retry

from image_io.trust import certificate_error

logger = logging.getLogger(__name__)

BUSY_STATUSES = frozenset({429, 502, 503, 504})
"""What a server or a proxy in front of it answers that may be free a moment later; no 500."""
FIRST_PAUSE = 0.25
"""Seconds before the first repetition, doubled before each further one."""
LONGEST_PAUSE = 5.0
"""Seconds; for a server that asks for more with Retry-After is not waited."""


class Deadline(threading.local):
    """Until when the request of the calling thread may wait, by its session's clock."""

    at: float = math.inf


class ConnectionRetry(Retry):
    """Repeats a GET whose connection broke, which a kept one may.

    Not one that was slow, or whose server is not to be trusted.
    """

    @classmethod
    def twice(cls) -> ConnectionRetry:
        """As it is for every session; what a status means is left to the session."""
        return cls(
            total=2,
            connect=0,
            read=2,
            redirect=0,
            status=0,
            allowed_methods=["GET"],
            respect_retry_after_header=False,
        )

    def increment(self, *args: Any, **options: Any) -> ConnectionRetry:
        error = options.get("error")
        if isinstance(error, urllib3.exceptions.ReadTimeoutError):
            raise error
        if isinstance(error, Exception) and certificate_error(error):
            raise error
        return super().increment(*args, **options)


class BusyRetry(ConnectionRetry):
    """Also repeats a GET that was answered with one of BUSY_STATUSES.

    The last answer is handed on as it is, for the session to make an error of.
    """

    _sleep: Callable[[float], None] = time.sleep
    _clock: Callable[[], float] = time.monotonic
    _deadline = Deadline()

    @classmethod
    def times(
        cls,
        number: int,
        deadline: Deadline,
        clock: Callable[[], float],
        sleep: Callable[[float], None],
    ) -> BusyRetry:
        """Repeats such a GET up to `number` times."""
        made = cls(
            total=2 + number,
            connect=0,
            read=2,
            redirect=0,
            status=number,
            allowed_methods=["GET"],
            status_forcelist=BUSY_STATUSES,
            raise_on_status=False,
            respect_retry_after_header=False,
        )
        made._sleep, made._clock, made._deadline = sleep, clock, deadline
        return made

    def new(self, **options: Any) -> BusyRetry:
        made = super().new(**options)
        made._sleep, made._clock, made._deadline = self._sleep, self._clock, self._deadline
        return made

    def increment(self, *args: Any, **options: Any) -> BusyRetry:
        response = options.get("response")
        if response is not None and response.status in self.status_forcelist:
            pause = self._pause(response, self._repetitions() + 1)
            if pause > min(LONGEST_PAUSE, self._deadline.at - self._clock()):
                raise _no_more()
            logger.debug("answered %d, asking again in %.2f s", response.status, pause)
        made: BusyRetry = super().increment(*args, **options)  # type: ignore[assignment]
        return made

    def sleep(self, response: Any = None) -> None:
        """Called on what `increment` gave."""
        if response is not None and response.status in self.status_forcelist:
            self._sleep(self._pause(response, self._repetitions()))

    def _repetitions(self) -> int:
        return sum(entry.status in self.status_forcelist for entry in self.history)

    def _pause(self, response: Any, number: int) -> float:
        """Seconds before repetition `number`, 1 for the first."""
        own = float(FIRST_PAUSE * 2 ** (number - 1))
        return seconds_asked(response.headers.get("Retry-After", "")) or own


def _no_more() -> urllib3.exceptions.MaxRetryError:
    """What urllib3 takes for the end of the repetitions; nobody reads what it says."""
    pool: Any = None
    return urllib3.exceptions.MaxRetryError(pool, "")


def seconds_asked(value: str) -> float | None:
    """The seconds of a Retry-After header, a number or a date (RFC 9110, 10.2.3), or None."""
    try:
        seconds = float(value)
    except ValueError:
        return _seconds_until(value)
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _seconds_until(date: str) -> float | None:
    """None for what is no date, or is past."""
    try:
        seconds = parsedate_to_datetime(date).timestamp() - time.time()
    except (ValueError, TypeError, OverflowError, OSError):
        return None
    return seconds if seconds > 0 else None
