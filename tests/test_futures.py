"""A generation in the background: results, failures and cancelling while it runs."""

from __future__ import annotations

import threading
from concurrent.futures import CancelledError, wait

import pytest

from comfyui.cancelling import CancelToken
from comfyui.futures import GenerationFuture, start
from comfyui_provider import ComfyUIProvider
from image_provider import ImageGenerationRequest, ImageGenerationResult
from tests.job_support import PATIENCE, server_with

pytestmark = pytest.mark.usefixtures("short_pauses")

RESULT = ImageGenerationResult(True, [], "comfyui", None)


def obedient(running: threading.Event):
    """Work that ends when it is cancelled, as a job does."""

    def make(token: CancelToken) -> ImageGenerationResult:
        running.set()
        token.wait(10)
        assert token.cancelled
        return RESULT

    return make


def test_result_is_what_the_work_gave():
    future = start(lambda token: RESULT)
    assert future.result(10) is RESULT
    assert future.done()
    assert not future.running()
    assert not future.cancel()
    assert not future.cancelled()


def test_failure_of_the_work_is_raised_to_who_asks():
    def broken(token: CancelToken) -> ImageGenerationResult:
        raise ValueError("bug")

    with pytest.raises(ValueError, match="bug"):
        start(broken).result(10)


def test_running_work_is_told_to_end_and_waiters_wake():
    running, called_back = threading.Event(), threading.Event()
    future = start(obedient(running))
    future.add_done_callback(lambda _: called_back.set())
    assert running.wait(10)
    assert future.running()
    assert future.cancel()
    assert future.cancelled()
    assert not future.running()
    assert called_back.wait(10)
    assert wait([future], timeout=10).done == {future}
    with pytest.raises(CancelledError):
        future.result(10)


def test_result_that_comes_after_the_cancel_is_dropped():
    future = GenerationFuture(CancelToken())

    def make(token: CancelToken) -> ImageGenerationResult:
        future.cancel()
        return RESULT

    future.work(make)
    with pytest.raises(CancelledError):
        future.result(0)


def test_work_that_was_cancelled_before_it_began_is_not_begun():
    future = GenerationFuture(CancelToken())
    assert future.cancel()
    begun = []
    future.work(lambda token: begun.append(token) or RESULT)
    assert begun == []
    assert wait([future], timeout=0).done == {future}
    with pytest.raises(CancelledError):
        future.result(0)


def test_a_hundred_submits_at_once_take_a_thread_each_and_all_succeed():
    before, peak = threading.active_count(), []
    all_there = threading.Barrier(100, lambda: peak.append(threading.active_count()))

    def submitted(provider, seed):
        first = [True]

        def on_progress(update):
            if first:
                first.clear()
                all_there.wait(PATIENCE * 3)  # none ends before all have begun

        return provider.submit(
            ImageGenerationRequest(
                "a fox", width=64, height=64, steps=1, seed=seed, on_progress=on_progress
            )
        )

    with server_with() as server, ComfyUIProvider(server.address) as provider:
        own = threading.active_count() - before
        futures = [submitted(provider, seed) for seed in range(100)]
        results = [future.result(PATIENCE * 6) for future in futures]
        assert server.stats.posts == 100
    assert [result.images[0]["seed"] for result in results] == list(range(100))
    assert peak == [before + own + 100]
