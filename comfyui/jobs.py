"""One job on one server: submit, wait for its end, and cancel it when it must not go on.

Owns the wait: the socket gives latency and progress, /history and /queue decide. Every wait ends:
with the finished job, with a failure, or with a time limit after which the job was cancelled.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NoReturn

from comfyui.cancelling import CancelToken, cancel_and_watch
from comfyui.client import ComfyUIClient
from comfyui.events import Event, JobEnded, NodeFailure, NodeImage, QueueChanged
from comfyui.failures import describe_work, failed_job
from comfyui.feed import CANCEL_LATENCY, Feed
from comfyui.graph import Graph
from comfyui.looking import knows, look, read_history
from comfyui.outputs import OutputFile
from comfyui.pacing import Pace
from comfyui.submission import Submission
from comfyui.tracker import JobState, JobTracker
from image_provider import (
    GenerationCancelledError,
    ImageGenerationError,
    ProviderTimeoutError,
    ProviderUnavailableError,
)

logger = logging.getLogger(__name__)

# The history can be written a moment after the last event (5 of 60 times on 0.3.64).
_HISTORY_DELAYS = (0.0, 0.005, 0.02, 0.05, 0.1, 0.2)


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
        classes = {node_id: node["class_type"] for node_id, node in graph.items()}
        # A canonical lowercase UUID: servers from 0.26 on refuse any other id.
        self.tracker = JobTracker(prompt_id or str(uuid.uuid4()), classes)
        self._submission = Submission(client, self.tracker, self._token)
        self._feed = Feed(client, self._token)
        self._pace = Pace(self._limits, client.clock)
        self._node_errors: Mapping[str, Any] = {}
        self._started = self._last_news = client.clock()
        self._unreachable_since: float | None = None
        self._absent_since: float | None = None
        self._may_run = False

    def run(self) -> FinishedJob:
        """Submits the job and waits for its end; raises ImageGenerationError unless it succeeds."""
        with self._cancelled_on_error():
            self._feed.open()
            self._submit()
            self._wait()
            self._collect_images()
        self._feed.release(self.tracker.ended_on_socket)
        return self._finished()

    def attend(self) -> FinishedJob:
        """Waits for a job that is on the server already, by asking alone."""
        self._may_run = True
        with self._cancelled_on_error():
            self._ask()
            self._wait()
        self._feed.close()
        return self._finished()

    @contextmanager
    def _cancelled_on_error(self) -> Iterator[None]:
        """Leaves no job behind on the server, whatever ends the wait, Ctrl-C included."""
        try:
            yield
        except BaseException:
            try:
                if self._may_run:
                    # One whose POST is still on its way arrives after the order to cancel it.
                    on_its_way = self._limits.silence if self._submission.is_under_way else 0.0
                    cancel_and_watch(self._client, self.tracker.prompt_id, on_its_way)
            finally:
                self._feed.close()
            raise

    def _submit(self) -> None:
        self._may_run = True
        try:
            sent_as = self._feed.client_id
            self._node_errors = self._submission.send(self._graph, sent_as, self._extra_data)
        except ImageGenerationError:
            self._may_run = self._submission.may_run
            raise
        logger.debug("job %s queued at %s", self.tracker.prompt_id, self._client.address)
        self._pace.news()
        self._note_news()

    def _wait(self) -> None:
        while not self.tracker.state.is_end:
            self._token.check()
            self._check_limits()
            self._take(self._feed.next(self._until_look()))
            if self._until_look() <= 0:
                self._ask()
        self._may_run = False

    def _until_look(self) -> float:
        """Seconds until the server is asked; soon, where no event is to be waited for.

        A job that does not begin at once waits: nobody but the queue tells at which place.
        """
        is_new = self.tracker.state is JobState.SUBMITTED
        is_over = self.tracker.ended_on_socket
        is_doubtful = is_new or is_over or self._unreachable_since is not None
        return self._pace.seconds_left(self._feed.tells_of_job and not is_doubtful)

    def _take(self, event: Event | None) -> None:
        if isinstance(event, QueueChanged) and not self._feed.tells_of_job:
            self._pace.make_due()
        if not self.tracker.feed(event):
            return
        self._pace.news()
        self._note_news()
        if isinstance(event, (JobEnded, NodeFailure)):
            self._read_history()

    def _note_news(self) -> None:
        self._last_news = self._client.clock()
        self._unreachable_since = self._absent_since = None
        if self._on_change is not None:
            self._on_change(self.tracker)

    def _read_history(self) -> None:
        """Reads the history after the socket told of the end, until the entry is there."""
        for delay in _HISTORY_DELAYS:
            self._token.wait(delay)
            try:
                if read_history(self._client, self.tracker):
                    return
            except ImageGenerationError as error:
                self._note_unreachable(error)
            if self.tracker.state.is_end:
                return
        self._pace.hasten()

    def _ask(self) -> None:
        """One look at the server after a silence; when that fails, the next look asks again."""
        position = self.tracker.queue_position
        self._pace.asked(waits_behind_others=position is not None and position > 1)
        before = (self.tracker.state, position)
        try:
            is_known = look(self._client, self.tracker)
        except ImageGenerationError as error:
            self._note_unreachable(error)
            return
        self._unreachable_since = None
        if (self.tracker.state, self.tracker.queue_position) != before:
            self._note_news()
        if is_known:
            self._absent_since = None
            self._feed.observe()
        else:
            self._note_absent()

    def _note_absent(self) -> None:
        """The job is in neither queue nor history: once may be a history that is written late."""
        limits, clock = self._limits, self._client.clock
        if self._absent_since is None:
            self._absent_since = clock()
            self._pace.hasten()
            tells_of_job = self._feed.tells_of_job
            if self._gives_sign() and tells_of_job and not self._has_begun:
                self._give_up(is_same_server=True)  # had it begun, that would have been told
            return
        if clock() - self._absent_since < limits.silence:
            return
        if self.tracker.end_without_history():
            self._note_news()
            return
        is_same_server = self._gives_sign() or self._still_has_others()
        if self._absent_since is not None:
            self._give_up(is_same_server)

    @property
    def _has_begun(self) -> bool:
        return self.tracker.state not in (JobState.SUBMITTED, JobState.QUEUED)

    def _gives_sign(self) -> bool:
        """Whether the server answers over the socket; what it had told before is taken in."""
        is_alive = self._feed.is_alive()
        for event in self._feed.heard():  # on a busy machine, what is told may wait to be read
            self._take(event)
        return is_alive

    def _still_has_others(self) -> bool:
        """Whether the jobs before this one are still known: a restart would have lost them, too."""
        try:
            return any(knows(self._client, other) for other in self.tracker.ran_before)
        except ImageGenerationError as error:
            logger.debug("asking for other jobs failed: %s", error)
            return False

    def _give_up(self, is_same_server: bool) -> NoReturn:
        self._may_run = False
        raise self._gone(is_same_server)

    def _gone(self, is_same_server: bool) -> ImageGenerationError:
        where = f"ComfyUI at {self._client.address}"
        # A waiting job can be removed without a trace, one that runs ends in the history.
        if is_same_server and not self._has_begun:
            return GenerationCancelledError(f"{where} no longer has the job: somebody removed it")
        return ProviderUnavailableError(
            f"{where} does not know the job {self.tracker.prompt_id}: it was restarted, or the job "
            "was removed. Nothing of it is left there; send it again"
        )

    def _collect_images(self) -> None:
        """Takes in pictures that come over the socket alone and are still on their way."""
        deadline = self._client.clock() + self._limits.read
        while (
            self.tracker.state is JobState.SUCCEEDED
            and self.tracker.awaits_images
            and self._feed.tells_of_job
            and self._client.clock() < deadline
        ):
            self._token.check()
            self._take(self._feed.next(CANCEL_LATENCY))

    def _note_unreachable(self, error: ImageGenerationError) -> None:
        """The server does not tell how the job stands: for a while, that may be."""
        if self._unreachable_since is None:
            self._unreachable_since = self._pace.last_look
            self._pace.hasten()
            logger.warning("no answer about the running job: %s", error)
        passed = self._client.clock() - self._unreachable_since
        if passed >= self._limits.silence and self.tracker.end_without_history():
            self._note_news()
        elif passed >= self._limits.unreachable:
            what = "stopped answering" if error.status is None else "answers with errors alone"
            raise ProviderUnavailableError(
                f"ComfyUI at {self._client.address} {what} while the job "
                f"{describe_work(self.tracker, self._graph)} (last: {error}). Is it still running "
                f"there, as {self.tracker.prompt_id}? COMFYUI_UNREACHABLE_TIMEOUT sets how long an "
                "answer is waited for"
            ) from error

    def _check_limits(self) -> None:
        """Raises ProviderTimeoutError when one has passed, unless the server knows better."""
        if self._passed_limit() is None:
            return
        self._ask()  # the job may have ended, or begun, since the last look
        passed = self._passed_limit()
        if passed is not None and not self.tracker.state.is_end:
            raise self._timed_out(*passed)

    def _passed_limit(self) -> tuple[str, float] | None:
        """Name and seconds of a time limit that has passed."""
        clock, limits = self._client.clock, self._limits
        total = limits.total if self._timeout is None else self._timeout
        waited = clock() - self._started
        if waited > total:
            return "total", total
        if not self._has_begun:
            return ("queue", limits.queue) if waited > limits.queue else None
        # Where no events can be expected no progress is seen, however much there is.
        if not self._feed.tells_of_job or clock() - self._last_news <= limits.stall:
            return None
        stands_still = self._gives_sign() and clock() - self._last_news > limits.stall
        return ("stall", limits.stall) if stands_still else None

    def _timed_out(self, name: str, limit: float) -> ProviderTimeoutError:
        setting = f"COMFYUI_{name.upper()}_TIMEOUT sets the limit"
        if name == "total" and self._timeout is not None:
            setting = "The caller's timeout is the limit"
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
