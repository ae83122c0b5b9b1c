"""The pauses in a provider's calls, which another thread can end.

Owns which threads are at work, and that those which are told to end wake up. Knows no vendor.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager

from image_io.forking import begin_anew_after_fork
from image_provider import GenerationCancelledError


class Pauses:
    """The pauses of one provider; `sleep` takes the place of waiting, so that no test waits."""

    def __init__(self, sleep: Callable[[float], object] | None = None) -> None:
        self._sleep = sleep
        self.after_fork()
        begin_anew_after_fork(self)

    def after_fork(self) -> None:
        """Begins with nobody at work: in a forked process there are no other threads."""
        self._lock = threading.Lock()
        self._ends: dict[threading.Thread, threading.Event] = {}

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """What the calling thread does inside can be cancelled."""
        thread, end = threading.current_thread(), threading.Event()
        with self._lock:
            is_outermost = self._ends.setdefault(thread, end) is end
        try:
            yield
        finally:
            if is_outermost:
                with self._lock:
                    del self._ends[thread]

    def cancel(self, threads: Collection[threading.Thread]) -> None:
        """Ends what these threads do, at their next pause."""
        with self._lock:
            ends = [self._ends[thread] for thread in threads if thread in self._ends]
        for end in ends:
            end.set()

    @property
    def cancelled(self) -> bool:
        """Whether the calling thread was told to end."""
        end = self._ends.get(threading.current_thread())
        return end is not None and end.is_set()

    def check(self) -> None:
        """Raises GenerationCancelledError once the calling thread was told to end."""
        if self.cancelled:
            raise GenerationCancelledError("the generation was cancelled")

    def sleep(self, seconds: float) -> None:
        """Waits; raises GenerationCancelledError as soon as the calling thread is told to end.

        The main thread, which Ctrl-C wakes, looks at the end of the pause.
        """
        end = self._ends.get(threading.current_thread())
        if self._sleep is not None:
            self._sleep(seconds)
        elif end is None or threading.current_thread() is threading.main_thread():
            time.sleep(seconds)  # which Ctrl-C ends on Windows, too
        else:
            end.wait(seconds)
        self.check()
