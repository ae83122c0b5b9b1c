"""The rules of a job's wait, one at a time: each answer and each frame is written down.

Nothing is waited for in real time: a token notes how long it would have been, and that is the
clock. How it goes over real sockets is in test_jobs.py and test_job_faults.py.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import requests
import responses

from comfyui.cancelling import CancelToken, cancel_and_watch
from comfyui.client import Limits
from comfyui.feed import CANCEL_LATENCY
from comfyui.job_errors import JobNotAccepted
from comfyui.jobs import FinishedJob, Job
from comfyui.submission import Submission
from comfyui.tracker import JobTracker
from image_provider import (
    GenerationCancelledError,
    ProviderTimeoutError,
    ProviderUnavailableError,
)
from tests.fakes.told_socket import ToldSocket, ToldSockets, lose, message
from tests.job_support import (
    LIMITS,
    NOWHERE,
    QUICK,
    URL,
    TimelessToken,
    client_of,
    graph,
    history_of,
)

P = "the-job"
IMAGES = {"images": [{"filename": "job_00001_.png", "subfolder": "", "type": "output"}]}
RUNNING = {"queue_running": [[1, P]], "queue_pending": []}
NOTHING: dict[str, Any] = {}
CANCEL = f"{URL}/api/jobs/{P}/cancel"


@pytest.fixture
def http():
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        yield mock


class Rig:
    """A server of written answers, for one job at a time."""

    def __init__(self, http: responses.RequestsMock, client: Any, token: TimelessToken) -> None:
        self.http = http
        self.client = client
        self.token = token
        self.sockets = ToldSockets()
        client.sockets = self.sockets
        http.post(f"{URL}/prompt", json={"prompt_id": P})
        self.is_cancelled = False
        self.cancel = http.add_callback("POST", CANCEL, self._end)

    def socket(self, *frames: Any, **options: Any) -> ToldSocket:
        """The next socket that is opened."""
        made = ToldSocket(self.token, *frames, **options)
        self.sockets.left.append(made)
        return made

    def history(self, *answers: Any) -> responses.BaseResponse:
        """What is answered to each question for the history; the last one to all further ones."""
        return self._answer(f"{URL}/history/{P}", *answers)

    def queue(self, *answers: Any) -> responses.BaseResponse:
        """The same for the queue; it is empty once the job was cancelled."""
        return self._answer(f"{URL}/queue", *answers)

    def _end(self, request: requests.PreparedRequest) -> tuple[int, dict[str, str], str]:
        self.is_cancelled = True
        return 200, {}, "{}"

    def _answer(self, url: str, *answers: Any) -> responses.BaseResponse:
        left = list(answers)

        def answer(request: requests.PreparedRequest) -> tuple[int, dict[str, str], str]:
            if self.is_cancelled:
                return 200, {}, "{}"
            given = left.pop(0) if len(left) > 1 else left[0]
            given = given() if callable(given) else given
            return (given, {}, "") if isinstance(given, int) else (200, {}, json.dumps(given))

        return self.http.add_callback("GET", url, answer)

    def pass_time(self, seconds: float) -> Callable[[], None]:
        return lambda: self.token.waits.append(seconds)

    def run(self, output: str = "SaveImage", **options: Any) -> FinishedJob:
        return Job(
            self.client, graph(output=output), prompt_id=P, token=self.token, **options
        ).run()


@contextmanager
def rig_with(http: responses.RequestsMock, limits: Limits = Limits()) -> Iterator[Rig]:  # noqa: B008 - frozen
    token = TimelessToken()
    with client_of(NOWHERE, limits, token.clock) as client:
        yield Rig(http, client, token)


@pytest.fixture
def rig(http):
    with rig_with(http) as made:
        yield made


# The end


def test_what_the_socket_told_is_the_end_where_the_history_has_no_entry(rig):
    """It was cleared, or is full."""
    rig.socket(
        message("executed", P, node="9", output=IMAGES),
        message("execution_success", P),
    )
    rig.history(NOTHING)
    rig.queue(NOTHING)
    assert [file.filename for file in rig.run().outputs] == ["job_00001_.png"]
    assert rig.token.clock() >= Limits().silence, "it might have been written late"


def test_history_that_is_written_a_moment_after_the_end_is_read_again_at_once(rig):
    rig.socket(message("execution_success", P))
    queue = rig.queue(NOTHING)
    rig.history(NOTHING, NOTHING, history_of(P))
    assert rig.run().prompt_id == P
    assert rig.token.clock() < 0.05
    assert queue.call_count == 0


def test_job_that_has_ended_is_not_cancelled_whatever_comes_later(rig):
    rig.socket(rig.pass_time(3), rig.token.cancel)
    rig.history(history_of(P))
    with pytest.raises(GenerationCancelledError):
        rig.run("SaveImageWebsocket")
    assert rig.cancel.call_count == 0


def test_pictures_that_never_come_over_the_socket_are_waited_for_as_long_as_for_an_answer(rig):
    socket = rig.socket()
    rig.history(history_of(P))
    assert rig.run("SaveImageWebsocket").socket_images == []
    assert rig.token.clock() == pytest.approx(Limits().read, abs=1)
    assert max(socket.patience) <= CANCEL_LATENCY


# A server that is in trouble, or has lost the job


def test_trouble_is_counted_from_the_question_that_got_no_answer(rig):
    def hang() -> int:
        rig.token.waits.append(Limits().unreachable)
        return 500

    history = rig.history(500)
    rig.queue(hang, NOTHING)
    with pytest.raises(ProviderUnavailableError, match="answers with errors alone"):
        rig.run()
    assert history.call_count == 1


def test_job_that_was_absent_and_is_there_again_may_be_absent_once_more(rig):
    """An answer can be older than what is known: the job just moves from the queue on."""
    history = rig.history(*[NOTHING] * 11, history_of(P))
    rig.queue(RUNNING, NOTHING, *[RUNNING] * 6, NOTHING)
    assert rig.run().prompt_id == P
    assert history.call_count == 12, "two questions each time that it was absent"


def test_job_that_ended_as_a_limit_passed_is_not_given_up(rig):
    def take_long() -> dict[str, Any]:
        rig.token.waits.append(Limits().total + 1)
        return RUNNING

    rig.history(NOTHING, history_of(P))
    rig.queue(take_long)
    assert rig.run().prompt_id == P


# How soon the server is asked


@pytest.mark.parametrize("answers", [[NOTHING, NOTHING], [500]], ids=["absent", "in trouble"])
def test_after_an_answer_that_told_nothing_the_next_question_comes_soon(rig, answers):
    rig.history(*[NOTHING] * 6, *answers, history_of(P))
    rig.queue(*[RUNNING] * 6, answers[0])
    rig.run()
    assert rig.token.waits[-2:] == pytest.approx([2.0, 0.1])


@pytest.mark.parametrize(("place", "longest"), [(1, 2.0), (2, 5.0)])
def test_only_behind_others_the_server_is_asked_seldom(http, place, longest):
    limits = Limits(silence=2.0, queue_interval=5.0)
    with rig_with(http, limits) as rig:
        waiting = [[number, "other"] for number in range(1, place)] + [[place, P]]
        rig.history(*[NOTHING] * 2, history_of(P))
        rig.queue(*[{"queue_running": [], "queue_pending": waiting}] * 14, NOTHING)
        rig.run()
    assert max(rig.token.waits) == pytest.approx(longest)


def test_lost_socket_is_replaced_by_one_that_tells_when_to_ask(rig):
    first = rig.socket(message("execution_start", P), lose)
    changed: list[float] = []
    rig.socket(
        lambda: changed.append(rig.token.clock()),
        message("status", status={"exec_info": {"queue_remaining": 1}}),
    )
    rig.history(lambda: history_of(P) if changed else NOTHING)
    rig.queue(RUNNING)
    rig.run()
    assert first.is_closed
    assert changed, "no other one was opened"
    assert rig.token.clock() - changed[0] <= 0.1


def test_job_of_which_only_the_queue_is_told_is_not_taken_for_stalled(http):
    limits = Limits(stall=60)
    with rig_with(http, limits) as rig:
        rig.socket(message("execution_start", P), lose)
        rig.socket()
        rig.history(*[NOTHING] * 80, history_of(P))
        rig.queue(RUNNING)
        assert rig.run().prompt_id == P
    assert rig.token.clock() > 2 * limits.stall


def test_job_whose_socket_gives_no_sign_is_not_taken_for_stalled(http):
    limits = Limits(stall=60)
    with rig_with(http, limits) as rig:
        rig.socket(message("execution_start", P), answers_pings=False)
        rig.history(*[NOTHING] * 80, history_of(P))
        rig.queue(RUNNING)
        assert rig.run().prompt_id == P
    assert rig.token.clock() > 2 * limits.stall


def test_job_that_stands_still_while_its_server_gives_signs_is_given_up(http):
    limits = Limits(stall=60)
    with rig_with(http, limits) as rig:
        rig.socket(message("execution_start", P))
        rig.history(NOTHING)
        rig.queue(*[RUNNING] * 32, NOTHING)
        with pytest.raises(ProviderTimeoutError, match="the stall time limit of 60 s"):
            rig.run()
    assert rig.cancel.call_count >= 1


# Sending and cancelling


class CancelledWhileWaiting(CancelToken):
    def wait(self, seconds: float) -> None:
        self.cancel()


def test_job_that_is_looked_for_after_its_answer_was_lost_can_be_cancelled(http):
    http.post(f"{URL}/prompt", status=502)
    history = http.get(f"{URL}/history/{P}", json={})
    http.get(f"{URL}/history", json={})
    http.get(f"{URL}/queue", json={})
    with client_of(NOWHERE, LIMITS) as client:
        submission = Submission(client, JobTracker(P, {}), CancelledWhileWaiting())
        with pytest.raises(GenerationCancelledError):
            submission.send(graph(), "me", None)
        assert submission.may_run
    assert history.call_count == 1


def test_job_that_never_left_cannot_run():
    with client_of(NOWHERE, QUICK) as client:
        submission = Submission(client, JobTracker(P, {}), TimelessToken())
        with pytest.raises(JobNotAccepted, match="cannot be reached"):
            submission.send(graph(), "me", None)
    assert not submission.may_run, "nothing is to be cancelled"


def test_server_that_hangs_is_asked_once_to_cancel(http):
    cancel = http.post(CANCEL, body=requests.exceptions.ReadTimeout())
    with client_of(NOWHERE, QUICK) as client:
        assert not cancel_and_watch(client, P)
    assert cancel.call_count == 1
