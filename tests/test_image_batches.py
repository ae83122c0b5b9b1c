"""Batches: what counts as a request, order, progress, executors, Ctrl-C, and going on later."""

from __future__ import annotations

import pickle
import queue
import threading
from concurrent.futures import CancelledError, Executor, Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import count
from pathlib import Path

import pytest

from image_batches.batch import MOST_IN_FLIGHT, run_batch
from image_batches.progress import BatchProgress
from image_provider import (
    ImageGenerationRequest,
    ImageGenerationResult,
    ImageStyle,
    ProgressUpdate,
    ProviderUnavailableError,
)
from tests.fakes.provider import FakeProvider, png, success
from tests.test_image_generator import make_generator


def by_seed(request):
    """Fails for odd seeds."""
    if request.seed % 2:
        error = ProviderUnavailableError(f"down for {request.seed}")
        return ImageGenerationResult.failed(error, "fake")
    return success("fake", request.seed)


def seeds_of(results):
    return [result.images[0]["seed"] if result.success else result.error for result in results]


class Late(Executor):
    """Runs nothing before it has had a batch's first load for a while."""

    def __init__(self):
        self.most = 0
        self._ends = queue.SimpleQueue()
        self._is_overloaded = threading.Event()
        self._runner = threading.Thread(target=self._run, daemon=True)

    def submit(self, fn, /, *args, **kwargs):
        future = Future()
        self._ends.put(lambda: future.set_result(fn(*args, **kwargs)))
        self.most = max(self.most, self._ends.qsize())
        if self.most == MOST_IN_FLIGHT and not self._runner.is_alive():
            self._runner.start()
        if self.most > MOST_IN_FLIGHT:
            self._is_overloaded.set()
        return future

    def _run(self):
        self._is_overloaded.wait(0.2)
        while True:
            self._ends.get()()


class Inline(Executor):
    """Runs everything in `submit`."""

    def submit(self, fn, /, *args, **kwargs):
        future = Future()
        future.set_result(fn(*args, **kwargs))
        return future


def run_alone(requests, make, **options):
    return run_batch(requests, make, lambda threads: None, 1, **options)


# What is given and what comes back


def test_results_stand_in_order_and_failures_in_their_place():
    generator = make_generator(FakeProvider("fake", by_seed))
    requests = ({"prompt": "a fox", "seed": seed} for seed in range(6))
    expected = [0, "down for 1", 2, "down for 3", 4, "down for 5"]
    assert seeds_of(generator.generate_many(requests)) == expected


def test_requests_dicts_and_prompts_are_made_as_generate_makes_them():
    provider = FakeProvider()
    generator = make_generator(provider)
    style = ImageStyle.CINEMATIC
    given = [
        ImageGenerationRequest("a fox", style=style),
        {"prompt": "a fox", "style": "cinematic"},
        "a fox",
    ]
    generator.generate_many(given, Inline())
    generator.generate("a fox", "cinematic")
    generator.generate("a fox")
    assert provider.requests[0] == provider.requests[1] == provider.requests[3]
    assert provider.requests[2] == provider.requests[4]


def test_the_cache_serves_a_batch_unless_it_is_told_not_to():
    provider = FakeProvider()
    generator = make_generator(provider)
    generator.generate("a fox", seed=3)
    requests = [
        {"prompt": "a fox", "seed": 3},
        {"prompt": "a fox", "seed": 3, "use_cache": False},
        ImageGenerationRequest("a fox", seed=3),
    ]
    results = generator.generate_many(requests)
    assert [(result.metadata or {}).get("cached") for result in results] == [True, None, True]
    assert results[0].recipe == results[2].recipe and len(provider.requests) == 2


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"prompt": "a fox", "width": 0}, "width must be 1 or more"),
        ({"prompt": "a fox", "colour": "red"}, "no field of a request: colour"),
        ({"seed": 3}, "it has no prompt"),
        ({"prompt": "a fox", "style": "noir"}, "unknown style 'noir'"),
        (7, "it is of type int; give a request, a dict or a prompt"),
    ],
)
def test_what_is_no_request_fails_in_its_place(given, told):
    provider = FakeProvider()
    first, wrong = make_generator(provider).generate_many(["a fox", given])
    assert first.success and wrong.error_type == "invalid_request"
    assert wrong.error.startswith(f"request 1 (counted from 0): {told}")
    assert len(provider.requests) == 1


@pytest.mark.parametrize(
    "given",
    [
        ImageGenerationRequest("a fox", style_name="noir"),
        {"prompt": "a fox", "use_cache": "yes"},
    ],
)
def test_what_generate_would_raise_for_is_a_request_that_is_wrong(given):
    first, wrong = make_generator(FakeProvider()).generate_many(["a fox", given])
    assert first.success and wrong.error_type == "invalid_request"
    assert wrong.error.startswith(("unknown style 'noir'", "use_cache must be"))


@pytest.mark.parametrize(
    "given", ["a fox", {"prompt": "a fox"}, ImageGenerationRequest("a fox"), 7, None]
)
def test_one_request_is_no_batch(given):
    told = f"must be a list or another iterable of requests, not {type(given).__name__}"
    with pytest.raises(TypeError, match=told):
        make_generator(FakeProvider()).generate_many(given)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"executor": 4}, r"executor must be .*get_executor\(\).*, not int"),
        ({"on_progress": 5}, "on_progress must be callable, not int"),
    ],
)
def test_a_wrong_argument_is_told_before_anything_is_made_or_written(wrong, told, tmp_path):
    provider = FakeProvider()
    with pytest.raises(TypeError, match=told):
        make_generator(provider).generate_many(["a fox"], resume="foxes.jsonl", **wrong)
    assert not provider.requests and list(tmp_path.iterdir()) == []


def test_an_empty_batch_is_none():
    told = []
    assert make_generator(FakeProvider()).generate_many([], on_progress=told.append) == []
    assert told == [BatchProgress(0, fraction=1.0, eta_seconds=0.0)]


# Executors


def test_a_given_executor_gets_so_many_at_once_and_no_more():
    executor = Late()
    number = 2 * MOST_IN_FLIGHT
    results = run_alone(map(str, range(number)), lambda request, _: success(), executor=executor)
    assert executor.most == MOST_IN_FLIGHT and len(results) == number


def test_a_setting_of_another_machine_that_is_wrong_fails_the_request_there(monkeypatch):
    class Pickling(Inline):
        def submit(self, fn, /, *args, **kwargs):
            fn, args = pickle.loads(pickle.dumps((fn, args)))
            with ThreadPoolExecutor(1) as executor:
                return executor.submit(fn, *args)

    generator = make_generator(FakeProvider())
    generator.router.routing_rules["default_provider"] = "of this test"
    monkeypatch.setenv("COMFYUI_READ_TIMEOUT", "soon")
    (result,) = generator.generate_many(["a fox"], Pickling())
    assert result.error_type == "configuration" and "COMFYUI_READ_TIMEOUT" in result.error


def test_the_same_request_again_is_another_task():
    tasks = []

    class Noting(Inline):
        def submit(self, fn, /, *args, **kwargs):
            tasks.append(args)
            return super().submit(fn, *args, **kwargs)

    for _ in range(2):
        run_alone(["a fox"] * 2, lambda request, _: success(), executor=Noting())
    assert len({pickle.dumps(task) for task in tasks}) == 4


def test_our_own_threads_are_as_many_as_keep_the_servers_busy():
    barrier = threading.Barrier(8)

    def wait_for_others(request):
        barrier.wait(10)
        return success()

    provider = FakeProvider("fake", wait_for_others)
    provider.concurrent_requests = 8
    assert all(result.success for result in make_generator(provider).generate_many(["a fox"] * 8))


def test_a_worker_that_stops_fails_its_request_alone():
    def make(request, use_cache):
        raise CancelledError if request.prompt == "cancelled" else OSError("no memory")

    with ThreadPoolExecutor(2) as executor:
        results = run_alone(["cancelled", "broken"], make, executor=executor)
    assert [result.error_type for result in results] == ["cancelled", "generation_failed"]
    told = "its worker stopped with OSError; the log at DEBUG has the traceback"
    assert results[1].error == told
    assert results[1].exception.detail == "no memory"


def test_an_executor_that_is_broken_fails_what_it_did_not_take():
    class Broken(Executor):
        def submit(self, fn, /, *args, **kwargs):
            raise BrokenProcessPool("a child process died")

    results = run_alone(["a", "b"], lambda request, _: success(), executor=Broken())
    assert [result.success for result in results] == [False, False]
    assert "BrokenProcessPool" in results[1].error
    assert results[1].exception.detail == "a child process died"


# Progress


def test_progress_counts_what_is_done_and_foresees_the_end():
    clock = count(0, 10)
    told = []
    run_alone(
        [ImageGenerationRequest("a fox", seed=seed) for seed in range(4)],
        lambda request, _: by_seed(request),
        executor=Inline(),
        on_progress=told.append,
        clock=lambda: next(clock),
    )
    assert told == [
        BatchProgress(4),
        BatchProgress(4, 1, 0, 0.25, 30.0, 0),
        BatchProgress(4, 2, 1, 0.5, 20.0, 1),
        BatchProgress(4, 3, 1, 0.75, 10.0, 2),
        BatchProgress(4, 4, 2, 1.0, 0.0, 3),
    ]


def test_progress_of_a_request_counts_and_never_falls():
    own, told = [], []

    def make(request, use_cache):
        for fraction in (0.5, 0.1, 0.75):  # a second provider begins anew
            request.on_progress(ProgressUpdate("running", fraction))
        return success()

    requests = [ImageGenerationRequest("a fox", on_progress=own.append)]
    run_alone(requests, make, executor=Inline(), on_progress=told.append)
    assert [update.fraction for update in told] == [0.0, 0.5, 0.75, 1.0]
    assert [update.done for update in told] == [0, 0, 0, 1]
    assert [update.fraction for update in own] == [0.5, 0.1, 0.75]


def test_progress_is_told_in_the_thread_that_called():
    threads = set()
    generator = make_generator(FakeProvider())
    generator.generate_many(["a"] * 20, on_progress=lambda _: threads.add(threading.get_ident()))
    assert threads == {threading.get_ident()}


def test_a_callback_that_raises_is_told_once_and_ends_nothing(caplog):
    def fail(progress):
        raise ValueError("mine")

    results = make_generator(FakeProvider()).generate_many(["a", "b"], on_progress=fail)
    assert all(result.success for result in results)
    assert caplog.text.count("on_progress raised; the batch goes on") == 1


# Ctrl-C, and going on


def interrupt_at(done):
    def stop(progress):
        if progress.done == done:
            raise KeyboardInterrupt

    return stop


def test_ctrl_c_ends_what_runs_keeps_what_is_made_and_is_raised():
    ended = threading.Event()

    def make(request):
        if request.prompt == "first":
            return success()
        assert ended.wait(10)
        return success("fake", 9)

    class Provider(FakeProvider):
        def cancel_work_of(self, threads):
            assert threads and threading.current_thread() not in threads
            ended.set()

    provider = Provider("fake", make)
    provider.concurrent_requests = 2
    generator = make_generator(provider)
    prompts = ["first", "second", *["never"] * 50]
    with pytest.raises(KeyboardInterrupt):
        generator.generate_many(prompts, None, interrupt_at(1), "foxes.jsonl")
    # Those that ran were waited for, and one that was finished all the same is kept.
    assert 2 <= len(provider.requests) <= 3
    lines = Path("foxes.jsonl").read_text("utf-8").splitlines()
    assert len(lines) - 1 == len(provider.requests)


def test_what_an_executor_begins_after_the_end_is_not_made():
    begun = []

    class Slow(Executor):
        def submit(self, fn, /, *args, **kwargs):
            future = Future()
            future.set_running_or_notify_cancel()
            begun.append(lambda: fn(*args, **kwargs))
            return future

    made = []
    with pytest.raises(KeyboardInterrupt):
        run_alone(
            [ImageGenerationRequest("a fox"), 7],
            lambda request, _: made.append(request),
            executor=Slow(),
            on_progress=interrupt_at(1),
        )
    assert begun[0]().error_type == "cancelled" and made == []


def test_ten_thousand_go_on_where_they_were():
    provider = FakeProvider("fake", success("fake", 3))
    generator = make_generator(provider)
    requests = [{"prompt": f"fox {number}", "use_cache": False} for number in range(10_000)]
    with pytest.raises(KeyboardInterrupt):
        generator.generate_many(requests, None, interrupt_at(6_000), "foxes.jsonl")
    began, told = len(provider.requests), []
    assert 6_000 <= began < 6_100
    results = generator.generate_many(requests, None, told.append, "foxes.jsonl")
    assert (len(results), len(provider.requests)) == (10_000, 10_000)
    assert told[0].done == began and told[-1] == BatchProgress(10_000, 10_000, 0, 1.0, 0.0, 9_999)
    assert results[0].get_image_bytes() == results[-1].get_image_bytes() == png(3)


def test_what_failed_is_made_again():
    provider = FakeProvider("fake", by_seed)
    generator = make_generator(provider)
    requests = [{"prompt": "a fox", "seed": seed, "use_cache": False} for seed in range(4)]
    generator.generate_many(requests, resume="foxes.jsonl")
    provider._script = [lambda request: success("fake", request.seed)]
    results = generator.generate_many(requests, resume="foxes.jsonl")
    assert seeds_of(results) == [0, 1, 2, 3]
    assert [request.seed for request in provider.requests[4:]] == [1, 3]
