"""One job from POST to its end, over real sockets: files, failures, cancelling and time limits.

The embedded server is on the other side. What goes wrong between the two is in test_job_faults.py.
"""

from __future__ import annotations

import threading
from dataclasses import replace
from itertools import count

import pytest
import requests
import responses

from comfyui.cancelling import CancelToken, cancel_and_watch
from comfyui.client import Limits
from comfyui.embedded import FailNode, StepGate
from comfyui.futures import start
from comfyui.jobs import FinishedJob, Job
from comfyui.tracker import JobState, JobTracker
from image_provider import (
    GenerationCancelledError,
    GenerationFailedError,
    ImageGenerationResult,
    InvalidRequestError,
    ProviderTimeoutError,
    ProviderUnavailableError,
    WorkflowError,
)
from tests.fakes.proxy import FaultProxy
from tests.job_support import (
    IMPATIENT,
    LIMITS,
    NOWHERE,
    PATIENCE,
    QUICK,
    URL,
    Clock,
    TimelessToken,
    Watch,
    at_work,
    background,
    client_of,
    graph,
    history_of,
    messages_of,
    queue_of,
    server_with,
)

pytestmark = pytest.mark.usefixtures("short_pauses")


@pytest.fixture
def client(comfyui_server):
    with client_of(comfyui_server.address) as client:
        yield client


@pytest.fixture
def http():
    """A server of which only HTTP answers, and only what a test registers."""
    with responses.RequestsMock() as mock:
        yield mock


# The good case


def test_job_ends_with_its_files_and_tells_its_progress(comfyui_server, client):
    watch = Watch()
    finished = Job(client, graph(), on_change=watch).run()
    assert [file.filename for file in finished.outputs] == ["job_00001_.png"]
    assert client.view_output(finished.outputs[0]).startswith(b"\x89PNG")
    assert watch.seen[0][0] is JobState.SUBMITTED
    assert {change[3] for change in watch.seen if change[2] == "3"} >= {1, 2, 3}
    fractions = [change[4] for change in watch.seen]
    assert fractions == sorted(fractions)
    assert fractions[-1] == pytest.approx(0.99)
    assert comfyui_server.stats.posts == 1


def test_place_in_the_queue_is_told_long_before_a_silence_is_over():
    gate, watch = StepGate("3"), Watch()
    limits = Limits(silence=3600)
    with server_with(on_step=gate) as server, client_of(server.address, limits) as client:
        client.post_prompt(graph(1))
        assert gate.wait_reached()
        with background() as go:
            future = go(Job(client, graph(2), on_change=watch).run)
            watch.wait_for_position(1)
            gate.open()
            assert future.result(PATIENCE).outputs


def test_end_is_told_by_the_socket_without_asking(comfyui_server):
    with client_of(comfyui_server.address, Limits(silence=3600)) as client:
        assert Job(client, graph()).run().outputs


def test_cached_job_ends_with_its_old_files(client):
    first = Job(client, graph()).run()
    second = Job(client, graph()).run()
    assert second.prompt_id != first.prompt_id
    assert second.outputs == first.outputs


def test_preview_names_the_sampler(client):
    previews = []
    Job(client, graph(), on_change=lambda tracker: previews.append(tracker.preview)).run()
    shown = {preview.node_id for preview in previews if preview is not None}
    assert shown == {"3"}


def test_idle_socket_is_used_again_by_the_next_job(comfyui_server, client):
    for seed in range(3):
        Job(client, graph(seed)).run()
    assert comfyui_server.stats.websockets == 1


def test_two_jobs_at_once_have_a_socket_each_and_their_own_files():
    gate = StepGate("3")
    with at_work(on_step=gate) as (server, client, go):
        jobs = [Job(client, graph(seed)) for seed in (1, 2)]
        futures = [go(job.run) for job in jobs]
        assert gate.wait_reached()
        gate.open()
        results = [future.result(PATIENCE) for future in futures]
        assert server.stats.websockets == 2
        assert {result.prompt_id for result in results} == {j.tracker.prompt_id for j in jobs}
        assert {file.filename for result in results for file in result.outputs} == {
            "job_00001_.png",
            "job_00002_.png",
        }


def test_picture_of_save_image_websocket_comes_over_the_socket(client):
    finished = Job(client, graph(output="SaveImageWebsocket")).run()
    assert finished.outputs == []
    assert [(i.node_id, i.mime_type) for i in finished.socket_images] == [("9", "image/png")]
    assert finished.socket_images[0].data.startswith(b"\x89PNG")


def test_output_that_is_left_out_is_told_and_the_other_one_is_made(client):
    two = graph()
    two["10"] = {
        "class_type": "EmptyImage",
        "inputs": {"width": -5, "height": 8, "batch_size": 1, "color": 0},
    }
    two["11"] = {"class_type": "PreviewImage", "inputs": {"images": ["10", 0]}}
    finished = Job(client, two).run()
    assert "10" in finished.node_errors
    assert [file.node_id for file in finished.outputs] == ["9"]


# Failures of the job


def test_refused_workflow_is_an_error_and_nothing_is_cancelled(comfyui_server):
    wrong = graph()
    wrong["3"]["inputs"]["steps"] = 0
    with (
        FaultProxy(comfyui_server.address) as proxy,
        client_of(proxy.address) as client,
        pytest.raises(WorkflowError, match="node 3 KSampler 'paint'") as caught,
    ):
        Job(client, wrong).run()
    assert (caught.value.node_id, caught.value.input_name) == ("3", "steps")
    assert proxy.count("POST") == 1


def test_graph_that_is_no_json_is_an_error_of_the_request(comfyui_server, client):
    wrong = graph()
    wrong["3"]["inputs"]["cfg"] = float("nan")
    with pytest.raises(InvalidRequestError):
        Job(client, wrong).run()
    assert comfyui_server.stats.posts == 0


@pytest.mark.parametrize(
    ("exception_type", "advice"),
    [("RuntimeError", None), ("torch.OutOfMemoryError", "a smaller size")],
)
def test_failed_node_is_named_with_title_class_and_reason(exception_type, advice):
    failure = FailNode("KSampler", "it broke", exception_type)
    with server_with(fail_node=failure) as server, client_of(server.address) as client:
        with pytest.raises(GenerationFailedError) as caught:
            Job(client, graph()).run()
        error = caught.value
        assert f"node 3 KSampler 'paint' failed: {exception_type}: it broke" in str(error)
        assert (error.node_id, error.class_type, error.detail) == ("3", "KSampler", "it broke")
        assert advice is None or advice in str(error)
        assert queue_of(server) == ([], [])


def test_job_that_somebody_interrupted_is_cancelled():
    gate = StepGate("3", step=2)
    with at_work(on_step=gate) as (server, client, go):
        job = Job(client, graph())
        future = go(job.run)
        assert gate.wait_reached()
        body = {"prompt_id": job.tracker.prompt_id}
        requests.post(f"{server.url}/interrupt", json=body, timeout=PATIENCE)
        gate.open()
        with pytest.raises(GenerationCancelledError, match="somebody interrupted"):
            future.result(PATIENCE)


def test_job_that_somebody_removed_while_it_waited_is_cancelled():
    gate = StepGate("3")
    with at_work(on_step=gate) as (server, client, go):
        first = go(Job(client, graph(1)).run)
        assert gate.wait_reached()
        watch = Watch()
        waiting = Job(client, graph(2), on_change=watch)
        second = go(waiting.run)
        watch.wait_for_position(1)
        body = {"delete": [waiting.tracker.prompt_id]}
        requests.post(f"{server.url}/queue", json=body, timeout=PATIENCE)
        with pytest.raises(GenerationCancelledError, match="somebody removed it"):
            second.result(PATIENCE)
        gate.open()
        assert first.result(PATIENCE).outputs
    assert (JobState.QUEUED, 1) in [change[:2] for change in watch.seen]


# Cancelling


def test_running_job_is_cancelled_on_the_server():
    running = threading.Event()
    with at_work(step_seconds=30) as (server, client, go):
        token = CancelToken()
        job = Job(
            client,
            graph(),
            token=token,
            on_change=lambda tracker: running.set() if tracker.node_id == "3" else None,
        )
        future = go(job.run)
        assert running.wait(PATIENCE)
        token.cancel()
        with pytest.raises(GenerationCancelledError, match="was cancelled"):
            future.result(PATIENCE)
        assert queue_of(server) == ([], [])
        assert "execution_interrupted" in messages_of(server, job.tracker.prompt_id)


def test_waiting_job_is_cancelled_on_the_server_and_the_running_one_goes_on():
    gate = StepGate("3")
    with at_work(on_step=gate) as (server, client, go):
        first_job = Job(client, graph(1))
        first = go(first_job.run)
        assert gate.wait_reached()
        watch, token = Watch(), CancelToken()
        second = go(Job(client, graph(2), on_change=watch, token=token).run)
        watch.wait_for_position(1)
        token.cancel()
        with pytest.raises(GenerationCancelledError):
            second.result(PATIENCE)
        assert queue_of(server) == ([first_job.tracker.prompt_id], [])
        gate.open()
        assert first.result(PATIENCE).outputs


def test_job_that_was_cancelled_before_is_never_sent(comfyui_server, client):
    token = CancelToken()
    token.cancel()
    with pytest.raises(GenerationCancelledError):
        Job(client, graph(), token=token).run()
    assert comfyui_server.stats.posts == 0


def test_ctrl_c_ends_the_job_on_the_server():
    def press(tracker: JobTracker) -> None:
        if tracker.node_id == "3":
            raise KeyboardInterrupt

    with server_with(step_seconds=30) as server, client_of(server.address) as client:
        job = Job(client, graph(), on_change=press)
        with pytest.raises(KeyboardInterrupt):
            job.run()
        assert queue_of(server) == ([], [])
        assert "execution_interrupted" in messages_of(server, job.tracker.prompt_id)


def test_cancelled_future_ends_the_job_on_the_server():
    running, ended = threading.Event(), threading.Event()
    with server_with(step_seconds=30) as server, client_of(server.address) as client:

        def make(token: CancelToken) -> ImageGenerationResult:
            try:
                Job(client, graph(), token=token, on_change=lambda _: running.set()).run()
            finally:
                ended.set()
            return pytest.fail("the job went on")

        future = start(make)
        assert running.wait(PATIENCE)
        assert future.cancel()
        assert ended.wait(PATIENCE)
        assert queue_of(server) == ([], [])


def test_interrupt_that_came_too_early_is_sent_again(http):
    cancel = http.post(f"{URL}/api/jobs/p/cancel", json={"cancelled": False})
    http.get(f"{URL}/queue", json={"queue_running": [[1, "p"]], "queue_pending": []})
    http.get(f"{URL}/queue", json={"queue_running": [], "queue_pending": []})
    with client_of(NOWHERE, QUICK) as client:
        assert cancel_and_watch(client, "p")
    assert cancel.call_count == 2


def test_job_that_may_still_be_on_its_way_is_cancelled_for_a_while(http):
    cancel = http.post(f"{URL}/api/jobs/p/cancel", json={"cancelled": False})
    http.get(f"{URL}/queue", json={})
    ticks = count()
    with client_of(NOWHERE, QUICK, lambda: next(ticks) / 10) as client:
        assert cancel_and_watch(client, "p", at_least=2.0)
    assert cancel.call_count > 3


def test_ctrl_c_before_the_answer_to_the_post_cancels_what_arrives_late(http):
    def interrupt(request):
        raise KeyboardInterrupt

    http.add_callback("POST", f"{URL}/prompt", interrupt)
    http.get(f"{URL}/queue", json={})
    ticks = count()
    limits = replace(QUICK, silence=0.5)
    with client_of(NOWHERE, limits, lambda: next(ticks) / 10) as client:
        job = Job(client, graph())
        cancel = http.post(f"{URL}/api/jobs/{job.tracker.prompt_id}/cancel", json={})
        with pytest.raises(KeyboardInterrupt):
            job.run()
    assert cancel.call_count > 1


@pytest.mark.parametrize(("failures", "succeeds"), [(1, True), (2, False)])
def test_cancel_that_fails_is_tried_once_more(http, caplog, failures, succeeds):
    for _ in range(failures):
        http.post(f"{URL}/api/jobs/p/cancel", status=500)
    if succeeds:
        http.post(f"{URL}/api/jobs/p/cancel", json={"cancelled": True})
        http.get(f"{URL}/queue", json={})
    with client_of(NOWHERE, QUICK) as client:
        assert cancel_and_watch(client, "p") is succeeds
    assert "cancelling job p failed" in caplog.text


def test_cancel_that_takes_no_effect_is_told(caplog):
    gate = StepGate("3")
    with server_with(on_step=gate) as server, client_of(server.address, IMPATIENT) as client:
        prompt_id = client.post_prompt(graph()).prompt_id
        assert gate.wait_reached()
        assert not cancel_and_watch(client, prompt_id)
        assert "still runs although it was cancelled" in caplog.text
        gate.open()


# Time limits


def test_queue_limit_says_where_the_job_waited_and_takes_it_out():
    gate, clock = StepGate("3"), Clock()

    def let_an_hour_pass(tracker: JobTracker) -> None:
        if tracker.queue_position == 1:
            clock.added = 3601

    with server_with(on_step=gate) as server, client_of(server.address, LIMITS, clock) as client:
        client.post_prompt(graph(1))
        assert gate.wait_reached()
        with pytest.raises(ProviderTimeoutError) as caught:
            Job(client, graph(2), on_change=let_an_hour_pass).run()
        assert "the queue time limit of 3600 s passed" in str(caught.value)
        assert "waited in the queue at position 1" in str(caught.value)
        assert "COMFYUI_QUEUE_TIMEOUT" in str(caught.value)
        assert queue_of(server)[1] == []
        gate.open()


@pytest.mark.parametrize(("name", "seconds"), [("stall", 900), ("total", 7200)])
def test_limit_on_a_running_job_says_what_it_did_and_interrupts_it(name, seconds):
    gate, clock = StepGate("3", step=3), Clock()
    limits = replace(IMPATIENT, **{"stall": 1e9, name: seconds})

    def let_time_pass(tracker: JobTracker) -> None:
        if tracker.step == 2:
            clock.added += seconds + 1  # after the last news, too

    with server_with(on_step=gate) as server, client_of(server.address, limits, clock) as client:
        job = Job(client, graph(), on_change=let_time_pass)
        with pytest.raises(ProviderTimeoutError) as caught:
            job.run()
        assert f"the {name} time limit of {seconds} s passed" in str(caught.value)
        assert "ran node 3 KSampler 'paint', step 2/3" in str(caught.value)
        assert f"COMFYUI_{name.upper()}_TIMEOUT" in str(caught.value)
        gate.open()
        with pytest.raises(GenerationCancelledError):
            attend(client, job.tracker.prompt_id)


def test_job_that_ended_before_a_limit_passed_is_not_given_up(caplog):
    """Its socket has fallen silent, and the next look would have come too late."""
    gate, clock, watch = StepGate("3", step=2), Clock(), Watch()
    limits = Limits(connect=2, read=5, silence=3600)
    with (
        server_with(on_step=gate) as server,
        FaultProxy(server.address) as proxy,
        client_of(proxy.address, limits, clock) as client,
        background() as go,
    ):
        future = go(Job(client, graph(), on_change=watch).run)
        watch.wait_for_step(1)
        proxy.websockets = "hold"
        gate.open()
        while queue_of(server) != ([], []):
            pass
        clock.added = limits.total + 1
        assert future.result(PATIENCE).outputs
    assert server.stats.posts == 1


@pytest.mark.parametrize("step", [1, 2])
def test_time_that_a_callback_took_is_no_standstill(step):
    clock = Clock()

    def take_long(tracker: JobTracker) -> None:
        if tracker.step == step and not clock.added:
            while queue_of(server) != ([], []):
                pass
            clock.added = LIMITS.stall + 1

    with server_with() as server, client_of(server.address, LIMITS, clock) as client:
        assert Job(client, graph(), on_change=take_long).run().outputs


# Prompts that were queued before


def attend(client, prompt_id: str, timeout: float = PATIENCE) -> FinishedJob:
    return Job(client, {}, prompt_id=prompt_id, timeout=timeout).attend()


def test_queued_prompt_is_waited_for():
    gate = StepGate("3")
    with at_work(on_step=gate) as (server, client, go):
        prompt_id = client.post_prompt(graph()).prompt_id
        assert gate.wait_reached()
        future = go(lambda: attend(client, prompt_id))
        gate.open()
        assert [file.filename for file in future.result(PATIENCE).outputs] == ["job_00001_.png"]


def test_finished_prompt_is_answered_at_once(http):
    token = TimelessToken()
    http.get(f"{URL}/history/p", json=history_of("p"))
    with client_of(NOWHERE, Limits(), token.clock) as client:
        Job(client, {}, prompt_id="p", token=token).attend()
    assert token.waits == []


def test_unknown_prompt_is_an_error_that_names_it(client):
    with pytest.raises(ProviderUnavailableError, match="does not know the job no-such-id"):
        attend(client, "no-such-id")


def test_timeout_of_the_caller_cancels_the_prompt_and_is_named_as_his():
    with server_with(step_seconds=30) as server, client_of(server.address) as client:
        prompt_id = client.post_prompt(graph()).prompt_id
        with pytest.raises(ProviderTimeoutError) as caught:
            attend(client, prompt_id, 0.2)
        assert "time limit of 0.2 s" in str(caught.value)
        assert "The caller's timeout is the limit" in str(caught.value)
        assert queue_of(server) == ([], [])
        assert "execution_interrupted" in messages_of(server, prompt_id)
