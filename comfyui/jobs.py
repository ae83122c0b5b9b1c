"""One job on one server: submit, wait for its end, and cancel it when it must not go on.

Owns the wait: the socket gives latency and progress, /history and /queue decide. Every wait ends:
with the finished job, with a failure, or with a time limit after which the job was cancelled. A
prompt is sent once; when the answer is lost, the server is asked whether it has it.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from comfyui.client import ComfyUIClient
from comfyui.events import JobEnded, NodeFailure, NodeImage, parse_frame
from comfyui.failures import describe_work, failed_job
from comfyui.graph import Graph
from comfyui.sockets import JobSocket, SocketLost
from comfyui.tracker import JobState, JobTracker, OutputFile
from image_provider import (
    GenerationCancelledError,
    ImageGenerationError,
    ProviderTimeoutError,
    ProviderUnavailableError,
)

logger = logging.getLogger(__name__)

# The history can be written a moment after the last event (5 of 60 times on 0.3.64).
_HISTORY_DELAYS = (0.0, 0.005, 0.02, 0.05, 0.1, 0.2)
_CANCEL_TRIES = 20
_CANCEL_FAILURES = 2
_CANCEL_LATENCY = 0.25
"""Seconds after which a thread that waits for the socket notices that it was cancelled."""
_FIRST_INTERVAL = 0.1
"""Seconds to the first look at the server when no socket tells of news; doubled each time."""


class CancelToken:
    """Set from any thread to end a job; what waits for it wakes up."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def cancel(self) -> None:
        """Asks for the end."""
        self._event.set()

    @property
    def cancelled(self) -> bool:
        return self._event.is_set()

    def wait(self, seconds: float) -> None:
        """Waits for `seconds`, or until the end is asked for."""
        self._event.wait(seconds)


@dataclass(frozen=True)
class FinishedJob:
    """A job that succeeded: its files, what came over the socket alone, and texts by node id."""

    prompt_id: str
    outputs: list[OutputFile]
    socket_images: list[NodeImage] = field(repr=False)
    node_errors: Mapping[str, Any]
    texts: Mapping[str, list[str]] = field(default_factory=dict)


class Job:
    """One prompt from POST to its end.

    `run` or `attend` is called once, `cancel` of the token at any time and from any thread.
    `timeout` is seconds in all; None takes the client's limit.
    """

    def __init__(
        self,
        client: ComfyUIClient,
        graph: Graph,
        *,
        prompt_id: str | None = None,
        extra_data: Mapping[str, Any] | None = None,
        on_change: Callable[[JobTracker], None] | None = None,
        token: CancelToken | None = None,
        timeout: float | None = None,
    ) -> None:
        self._client = client
        self._graph = graph
        self._extra_data = extra_data
        self._on_change = on_change
        self._token = token or CancelToken()
        self._limits = client.limits
        self._timeout = timeout
        # A canonical lowercase UUID: servers from 0.26 on refuse any other id.
        classes = {node_id: node["class_type"] for node_id, node in graph.items()}
        self.tracker = JobTracker(prompt_id or str(uuid.uuid4()), classes)
        self._node_errors: Mapping[str, Any] = {}
        self._socket: JobSocket | None = None
        self._may_run = False
        self._unreachable_since: float | None = None
        self._started = self._last_news = self._last_look = client.clock()
        self._interval = _FIRST_INTERVAL

    def run(self) -> FinishedJob:
        """Submits the job and waits for its end; raises ImageGenerationError unless it succeeds."""
        with self._cancelled_on_error():
            self._socket = self._open_socket()
            self._submit()
            self._wait()
            self._collect_images()
        self._release_socket()
        return self._finished()

    def attend(self) -> FinishedJob:
        """Waits for a job that is on the server already, by asking alone."""
        self._may_run = True
        with self._cancelled_on_error():
            self._ask()
            self._wait()
        return self._finished()

    @contextmanager
    def _cancelled_on_error(self) -> Iterator[None]:
        """Leaves no job behind on the server, whatever ends the wait, Ctrl-C included."""
        try:
            yield
        except BaseException:
            try:
                if self._may_run:
                    cancel_and_watch(self._client, self.tracker.prompt_id)
            finally:
                self._drop_socket()
            raise

    def _open_socket(self) -> JobSocket | None:
        try:
            return self._client.sockets.acquire()
        except SocketLost as error:
            logger.warning("%s; going on without live progress", error)
            return None

    def _drop_socket(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _release_socket(self) -> None:
        # One that did not tell of the end may be dead without having been closed.
        if self._socket is not None and self.tracker.ended_on_socket:
            self._client.sockets.release(self._socket)
        else:
            self._drop_socket()

    def _submit(self) -> None:
        self._raise_if_cancelled()
        self._may_run = True
        try:
            accepted = self._client.post_prompt(
                self._graph,
                prompt_id=self.tracker.prompt_id,
                client_id=self._socket.client_id if self._socket is not None else None,
                extra_data=self._extra_data,
            )
        except ImageGenerationError as error:
            if not self._is_accepted_after(error):
                raise
            logger.warning("the answer to POST /prompt was lost, but the server has the job")
        else:
            self.tracker.prompt_id = accepted.prompt_id
            self._node_errors = accepted.node_errors
        logger.debug("job %s queued at %s", self.tracker.prompt_id, self._client.address)
        self._note_news()

    def _is_accepted_after(self, error: ImageGenerationError) -> bool:
        """True when the server has the job all the same: only its answer was lost.

        Sending again without asking could run the job twice.
        """
        if not isinstance(error, (ProviderUnavailableError, ProviderTimeoutError)):
            self._may_run = False
            return False
        for delay in (0.0, self._limits.silence):
            self._token.wait(delay)
            try:
                self._may_run = self._look()
            except ImageGenerationError as failure:
                logger.debug("asking for the job failed: %s", failure)
            else:
                if self._may_run:
                    return True
        return False

    def _raise_if_cancelled(self) -> None:
        if self._token.cancelled:
            raise GenerationCancelledError("the generation was cancelled")

    def _wait(self) -> None:
        while not self.tracker.state.is_end:
            self._raise_if_cancelled()
            self._check_limits()
            if self._take_news(self._until_look()):
                self._read_history()
            if self._until_look() <= 0:
                self._ask()
        self._may_run = False

    def _collect_images(self) -> None:
        """Takes in pictures that come over the socket alone and are still on their way."""
        while (
            self._socket is not None
            and self.tracker.state is JobState.SUCCEEDED
            and self.tracker.awaits_images
            and self._client.clock() - self._last_look < self._limits.read
        ):
            self._raise_if_cancelled()
            self._take_news(_CANCEL_LATENCY)

    def _until_look(self) -> float:
        """Seconds until the server is asked; without a socket soon at first, then less often."""
        interval = self._limits.silence
        if self._socket is None:
            interval = min(interval, self._interval)
        return self._last_look + interval - self._client.clock()

    def _take_news(self, patience: float) -> bool:
        """Waits up to `patience` seconds for one frame; True when it tells of the end."""
        if self._socket is None:
            self._token.wait(max(0.0, patience))
            return False
        try:
            frame = self._socket.receive(min(patience, _CANCEL_LATENCY))
        except SocketLost as error:
            logger.warning("%s; going on by asking the server", error)
            self._drop_socket()
            return False
        event = parse_frame(frame) if frame is not None else None
        if not self.tracker.feed(event):
            return False
        self._last_look = self._client.clock()
        self._note_news()
        return isinstance(event, (JobEnded, NodeFailure))

    def _note_news(self) -> None:
        self._last_news = self._client.clock()
        self._unreachable_since = None
        if self._on_change is not None:
            self._on_change(self.tracker)

    def _read_history(self) -> None:
        """Reads the history after the socket told of the end, until the entry is there."""
        for delay in _HISTORY_DELAYS:
            self._token.wait(delay)
            try:
                if self._feed_history():
                    return
            except ImageGenerationError as error:
                self._note_unreachable(error)

    def _ask(self) -> None:
        """One look at the server after a silence; when that fails, the next look asks again."""
        self._last_look = self._client.clock()
        self._interval *= 2
        try:
            is_known = self._look()
        except ImageGenerationError as error:
            self._note_unreachable(error)
            return
        if not is_known:
            self._may_run = False
            raise self._gone()

    def _look(self) -> bool:
        """Asks history, queue, history; in this order a job that ends in between is not missed."""
        before = (self.tracker.state, self.tracker.queue_position)
        is_known = (
            self._feed_history()
            or self.tracker.feed_queue(self._client.queue())
            or self._feed_history()
        )
        if (self.tracker.state, self.tracker.queue_position) != before:
            self._note_news()
        return is_known

    def _feed_history(self) -> bool:
        entry = self._client.history(self.tracker.prompt_id).get(self.tracker.prompt_id)
        self._unreachable_since = None
        return self.tracker.feed_history(entry)

    def _gone(self) -> ImageGenerationError:
        where = f"ComfyUI at {self._client.address}"
        # A waiting job can be removed without a trace, one that runs ends in the history.
        if self._socket is not None and self.tracker.state is not JobState.RUNNING:
            return GenerationCancelledError(f"{where} no longer has the job: somebody removed it")
        return ProviderUnavailableError(
            f"{where} does not know the job {self.tracker.prompt_id}: it was restarted, or the job "
            "was removed. Nothing of it is left there; send it again"
        )

    def _note_unreachable(self, error: ImageGenerationError) -> None:
        if self._unreachable_since is None:
            self._unreachable_since = self._last_look
            logger.warning("no answer about the running job: %s", error)
        if self._client.clock() - self._unreachable_since >= self._limits.unreachable:
            raise ProviderUnavailableError(
                f"ComfyUI at {self._client.address} stopped answering while the job "
                f"{describe_work(self.tracker, self._graph)}; is it still running there? "
                "COMFYUI_UNREACHABLE_TIMEOUT sets how long an answer is waited for"
            ) from error

    def _check_limits(self) -> None:
        now, limits = self._client.clock(), self._limits
        total = limits.total if self._timeout is None else self._timeout
        passed = {"total": (now - self._started, total)}
        if self.tracker.state is not JobState.RUNNING:
            passed["queue"] = (now - self._started, limits.queue)
        elif self._socket is not None:  # without one no progress is seen, however much there is
            passed["stall"] = (now - self._last_news, limits.stall)
        for name, (seconds, limit) in passed.items():
            if seconds > limit:
                raise self._timed_out(name, limit)

    def _timed_out(self, name: str, limit: float) -> ProviderTimeoutError:
        setting = f"COMFYUI_{name.upper()}_TIMEOUT sets the limit"
        if name == "total" and self._timeout is not None:
            setting = "the caller's timeout is the limit"
        return ProviderTimeoutError(
            f"the {name} time limit of {limit:g} s passed while the job "
            f"{describe_work(self.tracker, self._graph)}; it is cancelled. {setting}"
        )

    def _finished(self) -> FinishedJob:
        match self.tracker.state:
            case JobState.INTERRUPTED if self._token.cancelled:
                raise GenerationCancelledError("the generation was cancelled")
            case JobState.INTERRUPTED:
                raise GenerationCancelledError(
                    f"somebody interrupted the job on ComfyUI at {self._client.address}"
                )
            case JobState.FAILED:
                raise failed_job(self.tracker, self._graph)
        return FinishedJob(
            self.tracker.prompt_id,
            self.tracker.outputs,
            self.tracker.socket_images,
            self._node_errors,
            self.tracker.texts,
        )


def wait_for_prompt(
    client: ComfyUIClient, prompt_id: str, timeout: float
) -> tuple[FinishedJob, Graph]:
    """Waits for a prompt that was queued before; the finished job and its graph.

    Raises ImageGenerationError; after `timeout` seconds the job is cancelled first.
    """
    finished = Job(client, {}, prompt_id=prompt_id, timeout=timeout).attend()
    match client.history(prompt_id).get(prompt_id):
        case {"prompt": [_, _, dict(graph), *_]}:
            return finished, graph
    return finished, {}


def cancel_and_watch(client: ComfyUIClient, prompt_id: str) -> bool:
    """Cancels one job until the server no longer has it; False when that cannot be seen.

    An interrupt sent as the job starts is lost while the server answers 200 (19 of 150 times).
    """
    failures = 0
    for _ in range(_CANCEL_TRIES):
        try:
            client.cancel(prompt_id)
            if not _is_active(client, prompt_id):
                return True
        except ImageGenerationError as error:
            logger.warning("cancelling job %s failed: %s", prompt_id, error)
            failures += 1
            if failures == _CANCEL_FAILURES:
                return False
        time.sleep(client.limits.silence / 8)
    logger.warning("job %s still runs although it was cancelled", prompt_id)
    return False


def _is_active(client: ComfyUIClient, prompt_id: str) -> bool:
    return JobTracker(prompt_id, {}).feed_queue(client.queue())
