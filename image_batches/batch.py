"""Many requests as one batch: `ImageGenerator.generate_many`.

Owns what counts as a request, how many are at work at once, the order of the results, and the end
by Ctrl-C. `resume.py` remembers what was made, `progress.py` tells of it. Knows no provider and no
settings: what makes one request, and what ends it, is handed in.
"""

from __future__ import annotations

import logging
import os
import pickle
import queue
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import CancelledError, Executor, Future, wait
from dataclasses import dataclass, fields, replace
from itertools import islice
from typing import Any

from image_batches.progress import BatchCallback, Report
from image_batches.resume import BatchStore
from image_batches.threads import BatchThreads
from image_provider import (
    GenerationCancelledError,
    GenerationFailedError,
    ImageGenerationError,
    ImageGenerationRequest,
    ImageGenerationResult,
    InvalidRequestError,
    ProgressUpdate,
)

logger = logging.getLogger(__name__)

MOST_IN_FLIGHT = 1_000
"""Requests that a given executor has at once: enough for every worker of a large cluster."""
_AHEAD = 2
"""Requests that our own threads have at once, for each of them."""
_AWAKE_SECONDS = 0.5
"""On Windows a wait is not ended by Ctrl-C, so none is longer."""
_CANCEL_ROUNDS, _CANCEL_SECONDS = 100, 0.1
"""How often running jobs are cancelled until they have ended, and the pause between."""
_TOLD_ROUND = 10
"""When the caller is told of the wait: a hosted model's answer may take it."""
_FIELDS = frozenset(field.name for field in fields(ImageGenerationRequest)) - {"from_template"}
_NOBODY = "router"
"""Whose failure it is when no provider was asked."""

Make = Callable[..., ImageGenerationResult]
"""What makes one request, given it and `use_cache`."""
Cancel = Callable[[list[threading.Thread]], None]
"""What ends the jobs that these threads wait for."""


Build = Callable[..., ImageGenerationRequest]


@dataclass(frozen=True)
class BatchItem:
    """One request of a batch; `problem` says why what was given is none."""

    request: ImageGenerationRequest
    use_cache: Any = True
    problem: InvalidRequestError | None = None


def run_batch(
    requests: Iterable[object],
    make: Make,
    cancel: Cancel,
    threads: int,
    *,
    build: Build = ImageGenerationRequest,
    executor: Executor | None = None,
    on_progress: BatchCallback | None = None,
    resume: str | os.PathLike[str] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> list[ImageGenerationResult]:
    """A result for every request, in their order; one that failed is a result, not a raise.

    `build` makes a request of the arguments of one. `threads` is how many of our own work when
    there is no `executor`. `clock` gives seconds.
    Raises TypeError for what is no collection of requests, no executor or no callback,
    ConfigurationError when `resume` cannot be used.
    """
    if not (executor is None or isinstance(executor, Executor)):
        raise TypeError(
            "executor must be an Executor of concurrent.futures, as a Dask client's get_executor() "
            f"gives one, not {type(executor).__name__}"
        )
    if not (on_progress is None or callable(on_progress)):
        raise TypeError(f"on_progress must be callable, not {type(on_progress).__name__}")
    items = read_items(requests, build)
    with BatchStore.opened(resume, [item.request for item in items]) as store:
        report = Report(len(items), on_progress, clock)
        batch = _Batch(items, _Worker(make), store, report)
        if executor is not None:
            return batch.run(executor, MOST_IN_FLIGHT, cancel)
        with BatchThreads(threads) as own:
            return batch.run(own, _AHEAD * threads, cancel)


def read_items(
    requests: Iterable[object], build: Build = ImageGenerationRequest
) -> list[BatchItem]:
    """The items of a batch; what is no request becomes one with a `problem`."""
    is_one = isinstance(requests, (str, bytes, Mapping, ImageGenerationRequest))
    if is_one or not isinstance(requests, Iterable):
        given = type(requests).__name__
        raise TypeError(f"requests must be a list or another iterable of requests, not {given}")
    return [_item(place, given, build) for place, given in enumerate(requests)]


def _item(place: int, given: object, build: Build) -> BatchItem:
    try:
        if isinstance(given, ImageGenerationRequest):
            return BatchItem(given)
        if isinstance(given, str):
            return BatchItem(ImageGenerationRequest(given))
        if isinstance(given, Mapping):
            return _item_of(dict(given), build)
        what = f"it is of type {type(given).__name__}; give a request, a dict or a prompt"
    except (TypeError, ValueError) as error:
        what = str(error)
    problem = InvalidRequestError(f"request {place} (counted from 0): {what}")
    return BatchItem(ImageGenerationRequest(""), problem=problem)


def _item_of(given: dict[str, Any], build: Build) -> BatchItem:
    """From the arguments that `generate` takes."""
    use_cache = given.pop("use_cache", True)
    unknown = sorted(str(name) for name in given if name not in _FIELDS)
    if unknown:
        raise TypeError(f"no field of a request: {', '.join(unknown)}")
    if "prompt" not in given:
        raise TypeError("it has no prompt")
    return BatchItem(build(**given), use_cache)


class _Worker:
    """Makes one request after the other; another process gets an `_Elsewhere` in its place."""

    def __init__(self, make: Make) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._threads: set[threading.Thread] = set()
        self.stopped = False

    def __reduce__(self) -> Any:
        return _Elsewhere, (pickle.dumps(self._make),)

    def __call__(
        self, request: ImageGenerationRequest, use_cache: Any, task: object
    ) -> ImageGenerationResult:
        """`task` tells it from the same request again, of which Dask would make only one."""
        thread = threading.current_thread()
        with self._lock:
            self._threads.add(thread)
        try:
            if self.stopped:
                return _cancelled()
            return _made(self._make, request, use_cache)
        finally:
            with self._lock:
                self._threads.discard(thread)

    def threads(self) -> list[threading.Thread]:
        """Those of this process that are at work."""
        with self._lock:
            return list(self._threads)


class _Elsewhere:
    """What makes a request in another process.

    It is unpickled at each call and not before: what fails there, such as a setting of that
    machine, fails the request and does not end the process.
    """

    def __init__(self, packed: bytes) -> None:
        self._packed = packed

    def __call__(
        self, request: ImageGenerationRequest, use_cache: Any, task: object
    ) -> ImageGenerationResult:
        make: Make = pickle.loads(self._packed)
        return _made(make, request, use_cache)


def _made(make: Make, request: ImageGenerationRequest, use_cache: Any) -> ImageGenerationResult:
    """What comes of a request, also where `generate` would raise because there can be none such."""
    try:
        return make(request, use_cache)
    except ValueError as error:
        logger.debug("no such request", exc_info=True)
        return ImageGenerationResult.failed(InvalidRequestError(str(error)), _NOBODY)


class _Batch:
    """One batch at work. All of it happens in the thread that runs it, but for `make`."""

    def __init__(
        self, items: list[BatchItem], worker: _Worker, store: BatchStore, report: Report
    ) -> None:
        self._items = items
        self._worker = worker
        self._store = store
        self._report = report
        self._name = uuid.uuid4().hex
        self._results: list[ImageGenerationResult | None] = [None] * len(items)
        self._futures: dict[int, Future[ImageGenerationResult]] = {}
        # A fraction tells of a request at work, a Future of one that has ended.
        self._news: queue.SimpleQueue[tuple[int, float | Future[ImageGenerationResult]]] = (
            queue.SimpleQueue()
        )

    def run(
        self, executor: Executor, most_in_flight: int, cancel: Cancel
    ) -> list[ImageGenerationResult]:
        """Every result; before anything that is raised, what runs is cancelled."""
        for place, result in self._store.made.items():
            self._results[place] = result
        self._report.begin(len(self._store.made))
        left = (place for place, result in enumerate(self._results) if result is None)
        try:
            while True:
                for place in islice(left, most_in_flight - len(self._futures)):
                    self._submit(executor, place)
                if not self._futures:
                    return [result for result in self._results if result is not None]
                self._take_news()
        except BaseException:
            self._cancel(cancel)
            raise

    def _submit(self, executor: Executor, place: int) -> None:
        item = self._items[place]
        future: Future[ImageGenerationResult] = Future()
        if item.problem is not None:
            future.set_result(ImageGenerationResult.failed(item.problem, _NOBODY))
        else:
            try:
                future = executor.submit(
                    self._worker, self._told_of(place), item.use_cache, (self._name, place)
                )
            except Exception as error:  # noqa: BLE001 - one that is broken or shut down
                future.set_exception(error)
        self._futures[place] = future
        future.add_done_callback(lambda ended: self._news.put((place, ended)))

    def _told_of(self, place: int) -> ImageGenerationRequest:
        """The request with its own progress counted in that of the batch."""
        request = self._items[place].request
        if not self._report.is_heard:
            return request
        own = request.on_progress

        def tell(update: ProgressUpdate) -> None:
            self._news.put((place, update.fraction))
            if own is not None:
                own(update)

        return replace(request, on_progress=tell)

    def _take_news(self) -> None:
        try:
            place, news = self._news.get(timeout=_AWAKE_SECONDS)
        except queue.Empty:
            return
        if isinstance(news, Future):
            self._report.end(place, self._keep(place, news).success)
        else:
            self._report.step(place, news)

    def _keep(self, place: int, future: Future[ImageGenerationResult]) -> ImageGenerationResult:
        """Notes an end. It leaves the futures last: until it is kept it can be kept again."""
        result = _result_of(future)
        if result.success:
            result = self._store.keep(place, result)
        self._results[place] = result
        del self._futures[place]
        return result

    def _cancel(self, cancel: Cancel) -> None:
        """Ends what runs in this process, and keeps what had been made by then."""
        self._worker.stopped = True
        for future in self._futures.values():
            future.cancel()
        for number in range(_CANCEL_ROUNDS):
            threads = self._worker.threads()
            if not threads:
                break
            if number == _TOLD_ROUND:
                told = (
                    "%d request(s) still run and are waited for a little; Ctrl-C again ends at once"
                )
                logger.warning(told, len(threads))
            cancel(threads)  # again each time: one may have begun its job just now
            time.sleep(_CANCEL_SECONDS)
        wait(self._futures.values(), timeout=_CANCEL_SECONDS)
        for place, future in list(self._futures.items()):
            if future.done() and not future.cancelled():
                self._keep(place, future)


def _result_of(future: Future[ImageGenerationResult]) -> ImageGenerationResult:
    """What came of a request, also where its worker failed it."""
    try:
        result = future.result()
    except CancelledError:
        return _cancelled()
    except ImageGenerationError as error:
        return ImageGenerationResult.failed(error, _NOBODY)
    except Exception as error:  # noqa: BLE001 - a failure has its place in the results
        logger.debug("a worker failed", exc_info=True)
        told = f"its worker stopped with {type(error).__name__}; the log at DEBUG has the traceback"
        failure = GenerationFailedError(told, detail=str(error))
        return ImageGenerationResult.failed(failure, _NOBODY)
    if not isinstance(result, ImageGenerationResult):
        told = f"its worker gave a {type(result).__name__}"
        return ImageGenerationResult.failed(GenerationFailedError(told), _NOBODY)
    return result


def _cancelled() -> ImageGenerationResult:
    return ImageGenerationResult.failed(
        GenerationCancelledError("the batch ended before this request was made"), _NOBODY
    )
