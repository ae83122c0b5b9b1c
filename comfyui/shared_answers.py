"""One answer for all threads that ask at the same time. Knows no HTTP."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Generic, NoReturn, TypeVar

Answer = TypeVar("Answer")


class SharedAnswer(Generic[Answer]):
    """Asks `ask` once for every thread that waits meanwhile; failures are shared, too.

    An answer counts for whoever came before it was asked for, and so is never older than the
    question. A hundred jobs that look at the queue at once cost the server two answers.
    """

    def __init__(self, ask: Callable[[], Answer]) -> None:
        self._ask = ask
        self._lock = threading.Lock()
        self._questions = 0
        self._answered = 0
        self._outcome: Callable[[], Answer] = ask

    def get(self) -> Answer:
        """The answer to a question put after this call; raises what `ask` raises."""
        asked_before = self._questions
        with self._lock:
            if self._answered <= asked_before:
                self._questions += 1
                self._outcome = self._settled()
                self._answered = self._questions
            outcome = self._outcome
        return outcome()

    def _settled(self) -> Callable[[], Answer]:
        try:
            answer = self._ask()
        except Exception as error:  # noqa: BLE001 - raised in every thread that asked
            return partial(_fail, error)
        return lambda: answer


def _fail(error: Exception) -> NoReturn:
    raise error.with_traceback(None)
