"""How far a batch is, and what its caller is told of that.

Owns the counts, the overall fraction and the time left. Knows nothing of how requests are made.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class BatchProgress:
    """How far a batch is; `done`, `failed` and `fraction` (0.0-1.0) never fall.

    `done` counts the failed ones and those that the resume file had. `current` is the place of the
    request that this update is about, counted from 0; None at the start.
    """

    total: int
    done: int = 0
    failed: int = 0
    fraction: float = 0.0
    eta_seconds: float | None = None
    current: int | None = None


BatchCallback = Callable[[BatchProgress], object]


class Report:
    """What is told of a batch, by one thread."""

    def __init__(
        self, total: int, callback: BatchCallback | None, clock: Callable[[], float]
    ) -> None:
        self._callback, self._clock = callback, clock
        self._started = clock()
        self._made = 0
        self._partly: dict[int, float] = {}
        self._last = BatchProgress(total)
        self._has_raised = False

    @property
    def is_heard(self) -> bool:
        return self._callback is not None

    def begin(self, resumed: int) -> None:
        """Tells of what the resume file had."""
        self._tell(None, done=resumed)

    def step(self, place: int, fraction: float) -> None:
        """Tells how far a request is; one that a second provider begins anew does not fall back."""
        if fraction > self._partly.get(place, 0.0):
            self._partly[place] = fraction
            self._tell(place)

    def end(self, place: int, success: bool) -> None:
        """Tells that a request has ended."""
        self._partly.pop(place, None)
        self._made += 1
        done, failed = self._last.done + 1, self._last.failed + (not success)
        self._tell(place, done=done, failed=failed)

    def _tell(self, place: int | None, **counts: int) -> None:
        if self._callback is None:
            return
        told = replace(self._last, current=place, **counts)
        partly = sum(self._partly.values())
        left = told.total - told.done - partly
        fraction = 1.0 if told.done == told.total else 1.0 - left / told.total
        self._last = replace(
            told,
            fraction=max(self._last.fraction, fraction),
            eta_seconds=self._eta(left, partly),
        )
        try:
            self._callback(self._last)
        except Exception:  # noqa: BLE001 - a caller's callback cannot end the batch
            level = logging.DEBUG if self._has_raised else logging.WARNING
            logger.log(level, "on_progress raised; the batch goes on", exc_info=True)
            self._has_raised = True

    def _eta(self, left: float, partly: float) -> float | None:
        """Seconds, by what this run has made; None before its first end."""
        if left <= 0:
            return 0.0
        if not self._made:
            return None
        return (self._clock() - self._started) / (self._made + partly) * left
