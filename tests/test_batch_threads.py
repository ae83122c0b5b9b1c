"""The threads of a batch: as many as were said, daemons, and an Executor like others."""

from __future__ import annotations

import threading

import pytest

from image_batches.threads import BatchThreads


def test_so_many_work_at_once_and_no_more():
    barrier, threads = threading.Barrier(3), set()

    def work(number):
        barrier.wait(10)
        threads.add(threading.current_thread())
        return number

    with BatchThreads(3) as executor:
        futures = [executor.submit(work, number) for number in range(9)]
        assert [future.result(10) for future in futures] == list(range(9))
    assert len(threads) == 3 and all(thread.daemon for thread in threads)


def test_an_idle_thread_takes_the_next_task():
    with BatchThreads(5) as executor:
        names = set()
        for _ in range(20):
            executor.submit(lambda: names.add(threading.get_ident())).result(10)
            executor._idle.acquire(timeout=10)  # the thread is idle only after its future is done
            executor._idle.release()
    assert len(names) == 1


def test_a_failure_is_the_futures():
    with BatchThreads(1) as executor:
        future = executor.submit(lambda: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            future.result(10)


def test_a_cancelled_task_is_not_begun_and_the_end_is_not_waited_for():
    begin, end = threading.Event(), threading.Event()
    with BatchThreads(1) as executor:
        first = executor.submit(lambda: (begin.set(), end.wait(10)))
        assert begin.wait(10)
        second = executor.submit(lambda: 2)
        assert second.cancel() and not first.cancel()
    with pytest.raises(RuntimeError, match="shut down"):
        executor.submit(lambda: 3)
    end.set()
    assert first.result(10)


def test_no_thread_is_no_executor():
    with pytest.raises(ValueError, match="at least one thread"):
        BatchThreads(0)
