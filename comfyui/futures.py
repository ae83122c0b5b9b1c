"""A generation in the background: a Future whose `cancel` also ends the job on the server."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from typing import TypeVar

from comfyui.cancelling import CancelToken
from comfyui.live_jobs import LiveJobs
from image_provider import ImageGenerationResult

T = TypeVar("T")


class GenerationFuture(Future[ImageGenerationResult]):
    """A Future that can be cancelled until it is done, also while the job runs.

    The standard library's refuses to cancel what runs; here the job is ended on the server. So it
    stays pending for the base class, and `running` is told apart.
    """

    def __init__(self, token: CancelToken) -> None:
        super().__init__()
        self._token = token
        self._started = False

    def cancel(self) -> bool:
        """Cancels the job, waiting or running; False when it had ended."""
        cancelled = super().cancel()
        if cancelled:
            self._token.cancel()
        return cancelled

    def running(self) -> bool:
        """True while the job is at work."""
        return self._started and not self.done()

    def work(self, make: Callable[[CancelToken], ImageGenerationResult]) -> None:
        """Runs `make` and keeps what comes of it; called once, in the thread that works."""
        self._started = True
        if self.cancelled():
            self.set_running_or_notify_cancel()
            return
        try:
            result = make(self._token)
        except BaseException as error:  # noqa: BLE001 - it belongs to whoever asks the future
            self._settle(self.set_exception, error)
        else:
            self._settle(self.set_result, result)

    def _settle(self, settle: Callable[[T], None], outcome: T) -> None:
        try:
            settle(outcome)
        except InvalidStateError:  # cancelled in the meantime: wake whoever waits
            self.set_running_or_notify_cancel()


def start(
    make: Callable[[CancelToken], ImageGenerationResult], jobs: LiveJobs | None = None
) -> GenerationFuture:
    """Starts `make` in a thread of its own, one of these jobs, and gives the Future of its result.

    The end of the process cancels it and does not wait for its result.
    """
    token, live = CancelToken(), jobs if jobs is not None else _NOBODYS
    future = GenerationFuture(token)

    def work() -> None:
        try:
            future.work(make)
        finally:
            live.leave(token)

    thread = threading.Thread(target=work, name="generation", daemon=True)
    live.enter(token, thread)  # before it starts: the process may end in between
    try:
        thread.start()
    except BaseException:
        live.leave(token)
        raise
    return future


_NOBODYS = LiveJobs()
