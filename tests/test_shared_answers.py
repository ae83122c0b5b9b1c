"""Many threads that ask at once are given one answer, and never one that is older than they."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from comfyui.shared_answers import SharedAnswer

PATIENCE = 10


class Source:
    """Counts the questions; the first one waits until it is let go."""

    def __init__(self, fails: bool = False) -> None:
        self.questions = 0
        self.asked = threading.Event()
        self.go_on = threading.Event()
        self._fails = fails

    def __call__(self) -> int:
        self.questions += 1
        self.asked.set()
        assert self.go_on.wait(PATIENCE)
        if self._fails:
            raise ValueError(f"question {self.questions}")
        return self.questions


class CountedLock:
    """Tells when so many threads wait for it, or have it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.comers = threading.Semaphore(0)

    def __enter__(self) -> None:
        self.comers.release()
        self._lock.acquire()

    def __exit__(self, *exc_info: object) -> None:
        self._lock.release()


def test_each_question_alone_is_asked():
    source = Source()
    source.go_on.set()
    shared = SharedAnswer(source)
    assert [shared.get(), shared.get()] == [1, 2]


@pytest.mark.parametrize("fails", [False, True])
def test_threads_that_come_during_a_question_share_the_next_one(fails):
    source = Source(fails)
    shared, lock = SharedAnswer(source), CountedLock()
    shared._lock = lock
    with ThreadPoolExecutor(9) as pool:
        first = pool.submit(shared.get)
        assert source.asked.wait(PATIENCE)
        others = [pool.submit(shared.get) for _ in range(8)]
        for _ in range(9):
            assert lock.comers.acquire(timeout=PATIENCE)
        source.go_on.set()
        if fails:
            assert str(first.exception(PATIENCE)) == "question 1"
            assert {str(other.exception(PATIENCE)) for other in others} == {"question 2"}
        else:
            assert first.result(PATIENCE) == 1
            assert {other.result(PATIENCE) for other in others} == {2}
