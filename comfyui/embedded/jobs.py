"""Waiting and running jobs and the history of finished ones, safe to use from any thread.

Owns the order of the queue, the limit of the history and the flag that interrupts the running
job. Tells `on_change` whenever the number of jobs may have changed, as often as ComfyUI does.
Does not run jobs and does not know sockets.
"""

from __future__ import annotations

import heapq
import itertools
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from comfyui.embedded.graph import Graph

MAX_HISTORY = 10_000
"""Finished jobs remembered, as in ComfyUI's execution.py."""


@dataclass(order=True)
class Job:
    """A posted prompt; the lowest number runs first, then the earliest."""

    number: float
    sequence: int
    prompt_id: str = field(compare=False)
    graph: Graph = field(compare=False)
    extra_data: dict[str, Any] = field(compare=False)
    outputs: list[str] = field(compare=False)

    @property
    def client_id(self) -> str | None:
        """The socket that gets this job's events; None when the post named none."""
        return self.extra_data.get("client_id")

    def entry(self) -> list[Any]:
        """The five-part list that /queue and /history show."""
        return [self.number, self.prompt_id, self.graph, self.extra_data, self.outputs]


HistoryEntry = dict[str, Any]


class JobQueue:
    """The queue, the running job, the history and the interrupt flag."""

    def __init__(self, on_change: Callable[[], None]) -> None:
        self.interrupted = threading.Event()
        self.stopping = threading.Event()
        self._on_change = on_change
        self._lock = threading.RLock()
        self._not_empty = threading.Condition(self._lock)
        self._sequence = itertools.count()
        self._waiting: list[Job] = []
        self._running: Job | None = None
        self._history: dict[str, HistoryEntry] = {}
        self._forget_cache = False

    def put(
        self,
        number: float,
        prompt_id: str,
        graph: Graph,
        extra_data: dict[str, Any],
        outputs: list[str],
    ) -> None:
        """Add a job to the queue."""
        with self._lock:
            job = Job(number, next(self._sequence), prompt_id, graph, extra_data, outputs)
            heapq.heappush(self._waiting, job)
            self._on_change()
            self._not_empty.notify()

    def take(self) -> Job | None:
        """Wait for a job and make it the running one; None when the server stops.

        The interrupt flag is cleared under the lock: an interrupt accepted for this job from
        now on is never lost.
        """
        with self._not_empty:
            while not self._waiting and not self.stopping.is_set():
                self._not_empty.wait()
            if self.stopping.is_set():
                return None
            self._running = heapq.heappop(self._waiting)
            self.interrupted.clear()
            self._on_change()
            return self._running

    def finish(self, job: Job, result: HistoryEntry) -> None:
        """Move the running job to the history."""
        with self._lock:
            self._running = None
            if len(self._history) >= MAX_HISTORY:
                self._history.pop(next(iter(self._history)))
            # A repeated id keeps its old place, as a dict does in ComfyUI.
            self._history[job.prompt_id] = {"prompt": job.entry(), "outputs": {}, **result}
            self._on_change()

    def stop(self) -> None:
        """Interrupt the running job and let `take` return None from now on."""
        with self._lock:
            self.stopping.set()
            self.interrupted.set()
            self._not_empty.notify_all()

    def remaining(self) -> int:
        """Jobs running and waiting."""
        with self._lock:
            return len(self._waiting) + (self._running is not None)

    def running(self) -> list[Job]:
        """The running job, in a list of one or none."""
        with self._lock:
            return [] if self._running is None else [self._running]

    def waiting(self) -> list[Job]:
        """The waiting jobs in heap order, as /queue shows them."""
        with self._lock:
            return list(self._waiting)

    def clear(self) -> None:
        """Drop all waiting jobs."""
        with self._lock:
            self._waiting = []
            self._on_change()

    def delete(self, prompt_id: str) -> bool:
        """Drop one waiting job; False when there is none of that id."""
        with self._lock:
            for position, job in enumerate(self._waiting):
                if job.prompt_id == prompt_id:
                    if len(self._waiting) == 1:
                        self.clear()  # the real one counts twice here (026_jobs_cancel)
                    else:
                        self._waiting.pop(position)
                        heapq.heapify(self._waiting)
                    self._on_change()
                    return True
            return False

    def interrupt(self, prompt_id: str | None = None) -> bool:
        """Interrupt the running job, or only if it is `prompt_id`; whether one was."""
        with self._lock:
            job = self._running
            if job is None or (prompt_id is not None and job.prompt_id != prompt_id):
                return False
            self.interrupted.set()
            return True

    def cancel(self, prompt_id: str) -> bool:
        """Interrupt or delete a job in one atomic step; False when it is neither."""
        with self._lock:
            return self.interrupt(prompt_id) or self.delete(prompt_id)

    def history(self, max_items: int | None = None, offset: int = -1) -> dict[str, HistoryEntry]:
        """Finished jobs, oldest first; max_items alone gives the last ones."""
        with self._lock:
            if offset < 0 and max_items is not None:
                offset = len(self._history) - max_items
            chosen = list(self._history.items())[max(offset, 0) :]
            return dict(chosen if max_items is None else chosen[:max_items])

    def history_entry(self, prompt_id: str) -> HistoryEntry | None:
        """One finished job."""
        with self._lock:
            return self._history.get(prompt_id)

    def delete_history(self, prompt_id: str) -> None:
        """Forget one finished job."""
        with self._lock:
            self._history.pop(prompt_id, None)

    def clear_history(self) -> None:
        """Forget all finished jobs."""
        with self._lock:
            self._history = {}

    def forget_cache(self) -> None:
        """Have the worker drop its cached results before the next job."""
        with self._lock:
            self._forget_cache = True

    def should_forget_cache(self) -> bool:
        """Whether `forget_cache` was called since the last question."""
        with self._lock:
            forget, self._forget_cache = self._forget_cache, False
            return forget
