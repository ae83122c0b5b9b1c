"""Times of several tasks in one run, by turns, so that a busy machine slows them alike."""

from __future__ import annotations

import time
from collections.abc import Callable

TURNS = 15


def fastest(tasks: list[Callable[[], object]]) -> list[float]:
    """The shortest time of each task in seconds, of several turns."""
    times = [float("inf")] * len(tasks)
    for _ in range(TURNS):
        for number, task in enumerate(tasks):
            start = time.perf_counter()
            task()
            times[number] = min(times[number], time.perf_counter() - start)
    return times
