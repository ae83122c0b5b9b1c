"""The threads of a batch: an Executor whose threads never keep the process alive.

Those of the standard library's are waited for at the end of the process before anything else is
told to end, so that Ctrl-C would wait for a hosted model's answer, or for a whole queue.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class BatchThreads(Executor):
    """Up to `number` daemon threads, each started when there is something for it to do."""

    def __init__(self, number: int) -> None:
        if number < 1:
            raise ValueError(f"a batch needs at least one thread, not {number}")
        self._number = number
        self._tasks: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._is_shut_down = False

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """As every Executor's; raises RuntimeError after `shutdown`."""
        future: Future[T] = Future()
        with self._lock:
            if self._is_shut_down:
                raise RuntimeError("the threads of this batch were shut down")
            self._tasks.put(lambda: _work(future, lambda: fn(*args, **kwargs)))
            if not self._idle.acquire(blocking=False) and len(self._threads) < self._number:
                thread = threading.Thread(target=self._run, name="batch", daemon=True)
                self._threads.append(thread)
                thread.start()
        return future

    def _run(self) -> None:
        while (task := self._tasks.get()) is not None:
            task()
            self._idle.release()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Lets the threads end once all is done; never waits for them, whatever `wait` says."""
        with self._lock:
            if not self._is_shut_down:
                self._is_shut_down = True
                for _ in self._threads:
                    self._tasks.put(None)


def _work(future: Future[Any], call: Callable[[], Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = call()
    except BaseException as error:  # noqa: BLE001 - it belongs to whoever asks the future
        future.set_exception(error)
    else:
        future.set_result(result)
