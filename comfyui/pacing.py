"""When the server is asked for news of a job. Pure but for the clock that it is given."""

from __future__ import annotations

from collections.abc import Callable

from comfyui.client import Limits

_FIRST_INTERVAL = 0.1
"""Seconds to the first look when no socket tells of news; doubled each time."""
_LONGER = 1.5
"""How much longer each further pause is while a job waits behind others."""


class Pace:
    """Seconds until the next look: after a silence, or sooner where nothing else brings news.

    While others are before the job in the queue the pauses grow, up to `Limits.queue_interval`.
    """

    def __init__(self, limits: Limits, clock: Callable[[], float]) -> None:
        self._limits = limits
        self._clock = clock
        self.last_look = clock()
        self._ceiling = limits.silence
        self._interval = _FIRST_INTERVAL
        self._is_due = False

    def seconds_left(self, is_told: bool) -> float:
        """Seconds until the server is to be asked; `is_told`: news come by themselves."""
        pause = self._ceiling if is_told else min(self._interval, self._ceiling)
        if self._is_due:
            pause = min(pause, _FIRST_INTERVAL)
        return self.last_look + pause - self._clock()

    def news(self) -> None:
        """Something was heard: the silence begins anew."""
        self.last_look = self._clock()
        self._ceiling = self._limits.silence

    def asked(self, *, waits_behind_others: bool) -> None:
        """The server is asked now; the next time is later."""
        self.last_look = self._clock()
        self._is_due = False
        self._interval *= 2
        longest = self._limits.queue_interval if waits_behind_others else self._limits.silence
        self._ceiling = max(self._limits.silence, min(self._ceiling * _LONGER, longest))

    def hasten(self) -> None:
        """There is a reason to look again soon."""
        self._interval = _FIRST_INTERVAL
        self._ceiling = self._limits.silence

    def make_due(self) -> None:
        """Something has changed on the server: one look soon may tell."""
        self._is_due = True
