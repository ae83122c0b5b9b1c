"""Providers that rest: one that just failed as unavailable or rate limited is left alone a while.

Owns for how long, and when a rest ends early. It is memory alone: whether a provider that rests is
asked all the same is for the router to say. Safe for many threads. Knows no HTTP and no settings.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from image_provider import ImageGenerationResult, ImageProvider, SourceUnavailableError

logger = logging.getLogger(__name__)

RESTING_ERROR_TYPES = frozenset({"unavailable", "rate_limited"})
"""Failures that pass by themselves."""
FIRST_REST = 5.0
"""Seconds of the first rest, doubled for each further failure in a row."""
LONGEST_REST = 60.0
"""Seconds that a rest grows to."""
LONGEST_ASKED_REST = 24 * 3600.0
"""Seconds; a Retry-After for longer is taken for a mistake."""
_LOOK_SECONDS = 2.0
"""How often a provider that tells whether it is there is looked at."""
_LOOKING_SHARE = 0.1
"""The share of the time that looks may take: a host that is away may answer none for seconds."""


class Rest(NamedTuple):
    """What is left of a rest, and the failure that it began with."""

    seconds_left: float
    error_type: str
    message: str
    is_asked_for: bool = False
    """The provider said itself how long (Retry-After); else it is a guess of ours."""

    def __str__(self) -> str:
        return f"rests for {math.ceil(self.seconds_left)} s more, after: {self.message}"


@dataclass
class _Entry:
    """Times are the clock's seconds; `tells_itself`: the provider said that it was not there."""

    provider: ImageProvider
    failures: int
    since: float
    until: float
    error_type: str
    message: str
    is_asked_for: bool
    tells_itself: bool
    next_look: float


class Resting:
    """Who rests, and for how long."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._entries: dict[str, _Entry] = {}

    def __reduce__(self) -> Any:
        return Resting, ()  # another process has another clock, and no news of its own yet

    def note(
        self,
        name: str,
        provider: ImageProvider,
        result: ImageGenerationResult,
        started: float,
        message: str,
    ) -> None:
        """Takes note of how an attempt ended that began at `started`, by the clock.

        `message` is what others are told of a failure.
        """
        if result.success:
            self._end(name, started)
        elif isinstance(result.exception, SourceUnavailableError):
            pass  # whoever is asked would need that picture; others' requests do not
        elif result.error_type in RESTING_ERROR_TYPES:
            self._begin(name, provider, result, started, message)

    def rest_of(self, name: str, provider: ImageProvider, *, look: bool = False) -> Rest | None:
        """The rest that a provider has now, or None.

        One that said itself that it was not there is asked now and then whether it is back, with
        `look` at once: the rest ends when it is.
        """
        with self._lock:
            entry = self._entries.get(name)
            now = self._clock()
            if entry is None or entry.provider is not provider or now >= entry.until:
                return None
            must_look = entry.tells_itself and (look or now >= entry.next_look)
            if must_look:
                entry.next_look = math.inf  # other threads do not wait for this one's answer
        if must_look and self._is_back(name, entry, now):
            return None
        left = max(0.0, entry.until - now)
        return Rest(left, entry.error_type, entry.message, entry.is_asked_for)

    def _is_back(self, name: str, entry: _Entry, now: float) -> bool:
        is_back = False
        try:
            is_back = not _says_that_it_is_away(entry.provider)
        finally:  # Ctrl-C ends this look, not the next ones
            with self._lock:
                after = self._clock()
                entry.next_look = after + max(_LOOK_SECONDS, (after - now) / _LOOKING_SHARE)
                if is_back and self._entries.get(name) is entry:
                    del self._entries[name]
        return is_back

    def _end(self, name: str, started: float) -> None:
        """A success that began before a rate limit was met says nothing of what may follow."""
        with self._lock:
            entry = self._entries.get(name)
            if entry and (entry.error_type != "rate_limited" or started >= entry.since):
                del self._entries[name]

    def _begin(
        self,
        name: str,
        provider: ImageProvider,
        result: ImageGenerationResult,
        started: float,
        message: str,
    ) -> None:
        asked = _asked_rest(result)
        is_away = asked is None and result.error_type == "unavailable"
        tells_itself = is_away and _says_that_it_is_away(provider)
        with self._lock:
            now = self._clock()
            before = self._entries.get(name)
            failures, until, is_asked_for = 1, now, asked is not None
            if before is not None and before.provider is provider:
                # Those that were under way together fail together, and count once.
                failures = before.failures + (started > before.since)
                until = before.until
                is_asked_for |= before.is_asked_for and until > now
            seconds = min(FIRST_REST * 2 ** min(failures - 1, 32), LONGEST_REST)
            self._entries[name] = _Entry(
                provider,
                failures,
                since=now,
                until=max(until, now + (seconds if asked is None else asked)),
                error_type=result.error_type or "",
                message=message,
                is_asked_for=is_asked_for,
                tells_itself=tells_itself,
                next_look=now + _LOOK_SECONDS,
            )


def _asked_rest(result: ImageGenerationResult) -> float | None:
    """The seconds that the provider asked for (Retry-After); None when it did not, or for none."""
    seconds = getattr(result.exception, "retry_after", None)
    if not isinstance(seconds, int | float) or not seconds > 0:
        return None
    return float(min(seconds, LONGEST_ASKED_REST))


def _says_that_it_is_away(provider: ImageProvider) -> bool:
    try:
        return provider.unavailable_reason() is not None
    except Exception:  # noqa: BLE001 - a fault in a provider's code is told when it is asked
        logger.debug("a provider does not tell whether it is there", exc_info=True)
        return False
