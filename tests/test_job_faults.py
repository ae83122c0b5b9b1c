"""What goes wrong around a job: sockets and servers that fail. It ends, and ran at most once."""

from __future__ import annotations

import json
import threading
from dataclasses import replace

import pytest
import requests
import responses

from comfyui.client import Limits
from comfyui.embedded import EmbeddedOptions, EmbeddedServer, StepGate
from comfyui.job_errors import JobNotAccepted, JobTurnedAway
from comfyui.jobs import Job
from comfyui.tracker import JobTracker
from image_provider import ProviderUnavailableError
from tests.fakes.proxy import FaultProxy
from tests.job_support import (
    IMPATIENT,
    LIMITS,
    NOWHERE,
    PATIENCE,
    QUICK,
    URL,
    Clock,
    OnWarning,
    TimelessToken,
    Watch,
    background,
    client_of,
    graph,
    history_of,
    server_with,
)

pytestmark = pytest.mark.usefixtures("short_pauses")


@pytest.fixture
def gate():
    return StepGate("3", step=2)


@pytest.fixture
def proxied(gate):
    """A gated server behind a proxy: (server, proxy, client)."""
    with (
        server_with(on_step=gate) as server,
        FaultProxy(server.address) as proxy,
        client_of(proxy.address) as client,
    ):
        yield server, proxy, client
        gate.open()


@pytest.fixture
def http():
    """A server of which only HTTP answers, and only what a test registers."""
    with responses.RequestsMock() as mock:
        yield mock


# A socket that fails


def test_result_comes_without_a_socket_when_it_is_refused(proxied, gate, caplog):
    server, proxy, client = proxied
    proxy.websockets = "refuse"
    gate.open()
    assert Job(client, graph()).run().outputs
    assert "going on without live progress" in caplog.text
    assert (server.stats.posts, server.stats.websockets) == (1, 0)


def test_result_is_recovered_from_history_when_the_socket_closes_mid_run(proxied, gate, caplog):
    watch = Watch()
    server, proxy, client = proxied
    with background() as go:
        future = go(Job(client, graph(), on_change=watch).run)
        watch.wait_for_step(1)
        proxy.cut(others=False)
        gate.open()
        assert future.result(PATIENCE).outputs
    assert "going on by asking the server" in caplog.text
    assert server.stats.posts == 1


def test_result_comes_when_the_socket_is_silent_and_that_socket_is_not_used_again(proxied, gate):
    server, proxy, client = proxied
    proxy.websockets = "hold"
    gate.open()
    assert Job(client, graph()).run().outputs
    proxy.websockets = "pass"
    assert Job(client, graph(2)).run().outputs
    assert (server.stats.posts, server.stats.websockets) == (2, 2)


def test_job_whose_progress_nobody_can_see_is_not_taken_for_stalled(gate):
    clock = Clock()
    with (
        server_with(on_step=gate) as server,
        FaultProxy(server.address) as proxy,
        client_of(proxy.address, LIMITS, clock) as client,
        background() as go,
    ):
        proxy.websockets = "refuse"
        future = go(Job(client, graph()).run)
        assert gate.wait_reached()
        assert proxy.wait_for_more("GET /queue", 2)  # by then it is seen to run
        clock.added = LIMITS.stall + 1
        assert proxy.wait_for_more("GET /queue", 3)
        gate.open()
        assert future.result(PATIENCE).outputs


def test_picture_that_is_still_on_its_way_after_the_end_is_waited_for(proxied, gate):
    _, proxy, client = proxied
    proxy.websockets = "hold"
    gate.open()

    def release_at_the_end(tracker: JobTracker) -> None:
        if tracker.state.is_end:
            proxy.release()

    job = Job(client, graph(output="SaveImageWebsocket"), on_change=release_at_the_end)
    assert len(job.run().socket_images) == 1


def test_cut_socket_of_an_idle_time_is_replaced(proxied, gate):
    server, proxy, client = proxied
    gate.open()
    Job(client, graph(1)).run()
    proxy.cut(others=False)
    assert Job(client, graph(2)).run().outputs
    assert server.stats.websockets == 2


# A server that fails


def test_lost_answer_to_the_post_does_not_run_the_job_twice(proxied, gate, caplog):
    server, proxy, client = proxied
    proxy.cut_reply_to = ("POST /prompt", 0)
    gate.open()
    assert Job(client, graph()).run().outputs
    assert "the answer to POST /prompt was lost" in caplog.text
    assert server.stats.posts == 1


def test_post_that_broke_off_before_a_server_that_is_away_is_an_error(proxied):
    server, proxy, _ = proxied
    with client_of(proxy.address, IMPATIENT) as client:
        proxy.switch_to(NOWHERE)
        with pytest.raises(ProviderUnavailableError, match="broke off"):
            Job(client, graph()).run()
    assert server.stats.posts == 0


def test_post_that_never_left_is_certain_not_to_run():
    with client_of(NOWHERE) as client, pytest.raises(JobNotAccepted, match="cannot be reached"):
        Job(client, graph()).run()


def test_post_that_never_left_is_sent_once_the_server_is_there():
    with server_with() as server:
        address = server.address
    back = EmbeddedServer(int(address.rpartition(":")[2]), EmbeddedOptions(step_seconds=0))
    try:
        with client_of(address) as client, OnWarning("sending it again", back.start):
            assert Job(client, graph()).run().outputs
        assert back.stats.posts == 1
    finally:
        back.stop()


def test_post_that_broke_off_is_not_sent_again_as_it_may_still_be_on_its_way(http):
    with client_of(NOWHERE, LIMITS) as client:
        job = Job(client, graph())
        post = http.post(f"{URL}/prompt", status=502)
        http.get(f"{URL}/history/{job.tracker.prompt_id}", json={})
        http.get(f"{URL}/history", json={})
        queue = http.get(f"{URL}/queue", json={})
        with pytest.raises(ProviderUnavailableError, match="502.*it was not sent again") as caught:
            job.run()
    assert not isinstance(caught.value, JobNotAccepted)
    assert post.call_count == 1
    assert queue.call_count >= 2


@pytest.mark.parametrize("status", [429, 503])
def test_post_that_a_proxy_refused_is_sent_again_once_the_server_was_asked(http, status):
    token = TimelessToken()
    with client_of(NOWHERE, Limits(), token.clock) as client:
        job = Job(client, graph(), token=token)
        ours = job.tracker.prompt_id
        http.post(f"{URL}/prompt", status=status)
        http.get(f"{URL}/history", json={})
        for _ in range(10):
            http.get(f"{URL}/history/{ours}", json={})
        http.get(f"{URL}/queue", json={})
        post = http.post(f"{URL}/prompt", json={"prompt_id": ours})
        http.get(f"{URL}/history/{ours}", json=history_of(ours))
        assert job.run().prompt_id == ours
    assert post.call_count == 1
    assert token.clock() >= Limits().silence


def test_wait_that_a_proxy_asks_for_is_kept(http):
    token = TimelessToken()
    with client_of(NOWHERE, Limits(), token.clock) as client:
        job = Job(client, graph(), token=token)
        ours = job.tracker.prompt_id
        http.post(f"{URL}/prompt", status=429, headers={"Retry-After": "7"})
        http.get(f"{URL}/history", json={})
        for _ in range(10):
            http.get(f"{URL}/history/{ours}", json={})
        http.get(f"{URL}/queue", json={})
        http.post(f"{URL}/prompt", json={"prompt_id": ours})
        http.get(f"{URL}/history/{ours}", json=history_of(ours))
        job.run()
    assert 7 in token.waits


@pytest.mark.parametrize(("status", "error"), [(429, JobTurnedAway), (503, JobNotAccepted)])
def test_post_that_a_proxy_refuses_again_and_again_is_an_error(http, status, error):
    with client_of(NOWHERE, QUICK) as client:
        job = Job(client, graph())
        post = http.post(f"{URL}/prompt", status=status)
        http.get(f"{URL}/history/{job.tracker.prompt_id}", json={})
        http.get(f"{URL}/history", json={})
        http.get(f"{URL}/queue", json={})
        with pytest.raises(error, match=str(status)):
            job.run()
    assert post.call_count == 3


@pytest.mark.parametrize("has_ended", [False, True])
def test_lost_answer_of_a_server_that_chooses_ids_is_found_by_what_was_sent_with_it(
    http, has_ended
):
    sent: list[dict] = []

    def lose_answer(request):
        sent.append(json.loads(request.body))
        return 502, {}, ""

    def entries(request):
        return [1, "theirs", {}, sent[0]["extra_data"], []]

    def queue(request):
        return 200, {}, json.dumps({"queue_running": [] if has_ended else [entries(request)]})

    def recent(request):
        return 200, {}, json.dumps({"theirs": {"prompt": entries(request)}} if has_ended else {})

    http.add_callback("POST", f"{URL}/prompt", lose_answer)
    http.add_callback("GET", f"{URL}/queue", queue)
    http.get(f"{URL}/history/theirs", json=history_of("theirs"))
    with client_of(NOWHERE, QUICK) as client:
        job = Job(client, graph(), extra_data={"api_key_comfy_org": "k"})
        if has_ended:
            http.add_callback("GET", f"{URL}/history", recent)
            http.get(f"{URL}/history/{job.tracker.prompt_id}", json={})
        assert job.run().prompt_id == "theirs"
    assert len(sent) == 1
    assert sent[0]["extra_data"].keys() == {"api_key_comfy_org", "image_job"}


def test_job_that_may_have_been_accepted_is_cancelled_when_nobody_can_tell(http):
    with client_of(NOWHERE, replace(QUICK, unreachable=0.05)) as client:
        job = Job(client, graph())
        ours = job.tracker.prompt_id
        http.post(f"{URL}/prompt", status=502)
        http.get(f"{URL}/history/{ours}", status=502)
        cancel = http.post(f"{URL}/api/jobs/{ours}/cancel", json={"cancelled": True})
        http.get(f"{URL}/queue", json={})
        with pytest.raises(ProviderUnavailableError, match="502.*look into the server's queue"):
            job.run()
    assert cancel.call_count == 1


def test_restarted_server_that_no_longer_knows_the_job_is_unavailable(proxied, gate):
    watch = Watch()
    _, proxy, client = proxied
    with server_with() as restarted, background() as go:
        future = go(Job(client, graph(), on_change=watch).run)
        watch.wait_for_step(1)
        proxy.switch_to(restarted.address)
        with pytest.raises(ProviderUnavailableError, match="it was restarted") as caught:
            future.result(PATIENCE)
        assert "send it again" in str(caught.value)
        assert restarted.stats.posts == 0


def test_restart_that_the_socket_does_not_notice_is_told_from_a_removal(proxied, gate):
    """The job ran: nobody can have removed it without a trace."""
    _, proxy, client = proxied
    watch = Watch()
    with server_with() as restarted, background() as go:
        future = go(Job(client, graph(), on_change=watch).run)
        watch.wait_for_step(1)
        proxy.switch_to(restarted.address, cut_websockets=False)
        with pytest.raises(ProviderUnavailableError, match="it was restarted"):
            future.result(PATIENCE)


def test_server_that_went_away_is_given_up_with_what_the_job_did(gate):
    clock = Clock()

    def let_time_pass() -> None:
        clock.added = LIMITS.unreachable

    with (
        server_with(on_step=gate) as server,
        FaultProxy(server.address) as proxy,
        client_of(proxy.address, LIMITS, clock) as client,
        OnWarning("no answer about the running job", let_time_pass),
        background() as go,
    ):
        watch = Watch()
        future = go(Job(client, graph(), on_change=watch).run)
        watch.wait_for_step(1)
        proxy.switch_to(NOWHERE)
        with pytest.raises(
            ProviderUnavailableError, match="stopped answering.*COMFYUI_UNREACHABLE_TIMEOUT"
        ) as caught:
            future.result(PATIENCE)
        gate.open()
    assert "step 1/3" in str(caught.value)
    assert proxy.address in str(caught.value)


def test_server_that_hangs_is_given_up(gate):
    watch = Watch()
    limits = Limits(connect=0.3, read=60, silence=0.05, unreachable=0.6)
    with (
        server_with(on_step=gate) as server,
        FaultProxy(server.address) as proxy,
        client_of(proxy.address, limits) as client,
        background() as go,
    ):
        future = go(Job(client, graph(), on_change=watch).run)
        watch.wait_for_step(1)
        proxy.frozen = True
        with pytest.raises(ProviderUnavailableError, match="stopped answering"):
            future.result(PATIENCE)
        gate.open()


def test_server_that_is_away_for_a_moment_costs_nothing(proxied, gate):
    watch = Watch()
    server, proxy, client = proxied
    failed = threading.Event()
    with OnWarning("no answer about the running job", failed.set), background() as go:
        future = go(Job(client, graph(), on_change=watch).run)
        watch.wait_for_step(1)
        proxy.switch_to(NOWHERE)
        assert failed.wait(PATIENCE)
        proxy.switch_to(server.address)
        gate.open()
        assert future.result(PATIENCE).outputs
    assert server.stats.posts == 1


def test_trouble_that_is_over_does_not_count_towards_the_next(gate):
    """Two failed questions, far apart, with news from the socket between them."""
    clock = Clock()
    troubles: list[float] = []
    recovered = threading.Event()

    watch = Watch()

    def note(tracker: JobTracker) -> None:
        watch(tracker)
        if tracker.step == 3:
            clock.added = LIMITS.unreachable + 1
            recovered.set()

    later = StepGate("8")
    both = lambda event: (gate(event), later(event))  # noqa: E731
    with (
        server_with(on_step=both) as server,
        FaultProxy(server.address) as proxy,
        client_of(proxy.address, LIMITS, clock) as client,
        background() as go,
    ):
        failed = threading.Event()
        with OnWarning("no answer", lambda: (troubles.append(clock()), failed.set())):
            future = go(Job(client, graph(), on_change=note).run)
            watch.wait_for_step(1)
            proxy.switch_to(NOWHERE, cut_websockets=False)
            assert failed.wait(PATIENCE)
            failed.clear()
            gate.open()
            assert recovered.wait(PATIENCE)
            assert failed.wait(PATIENCE)
            proxy.switch_to(server.address, cut_websockets=False)
            later.open()
            assert future.result(PATIENCE).outputs
    assert len(troubles) == 2


# How often the server is asked, and what an answer means


def test_without_a_socket_the_server_is_asked_less_and_less_often(http):
    token = TimelessToken()
    with client_of(NOWHERE, Limits(), token.clock) as client:
        job = Job(client, graph(), token=token)
        ours = job.tracker.prompt_id
        http.post(f"{URL}/prompt", json={"prompt_id": ours})
        for _ in range(8):
            http.get(f"{URL}/history/{ours}", json={})
        http.get(f"{URL}/history/{ours}", json=history_of(ours))
        http.get(f"{URL}/queue", json={"queue_running": [[1, ours]]})
        job.run()
    assert token.waits == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0, 2.0, 2.0])


def test_id_that_an_older_server_chose_is_the_one_that_is_waited_for(http):
    http.post(f"{URL}/prompt", json={"prompt_id": "theirs"})
    http.get(f"{URL}/history/theirs", json=history_of("theirs"))
    with client_of(NOWHERE, QUICK) as client:
        assert Job(client, graph()).run().prompt_id == "theirs"


def test_history_that_fails_for_a_moment_is_asked_again(http):
    with client_of(NOWHERE, QUICK) as client:
        job = Job(client, graph())
        ours = job.tracker.prompt_id
        http.post(f"{URL}/prompt", json={"prompt_id": ours})
        http.get(f"{URL}/history/{ours}", status=500)
        http.get(f"{URL}/history/{ours}", json=history_of(ours))
        assert job.run().prompt_id == ours


def test_trouble_is_over_as_soon_as_the_server_answers(http):
    """Two failed questions, further apart than the limit, and answers without news between."""
    token = TimelessToken()
    with client_of(NOWHERE, Limits(), token.clock) as client:
        job = Job(client, graph(), token=token)
        ours = job.tracker.prompt_id
        http.post(f"{URL}/prompt", json={"prompt_id": ours})
        http.get(f"{URL}/queue", json={"queue_running": [[1, ours]]})
        for known in (3 * [{}], None, 20 * [{}], None, [history_of(ours)]):
            if known is None:
                http.get(f"{URL}/history/{ours}", body=requests.ConnectionError())
            for answer in known or ():
                http.get(f"{URL}/history/{ours}", json=answer)
        assert job.run().prompt_id == ours
    assert sum(token.waits) > Limits().unreachable


def test_job_that_ends_between_two_questions_is_not_taken_for_lost(http):
    with client_of(NOWHERE, QUICK) as client:
        job = Job(client, graph())
        ours = job.tracker.prompt_id
        http.post(f"{URL}/prompt", json={"prompt_id": ours})
        http.get(f"{URL}/history/{ours}", json={})
        http.get(f"{URL}/queue", json={"queue_running": [], "queue_pending": []})
        http.get(f"{URL}/history/{ours}", json=history_of(ours))
        assert job.run().prompt_id == ours
