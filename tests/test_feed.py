"""What a job hears: its own events, then those of the queue alone, and whether anybody answers."""

from __future__ import annotations

import pytest

from comfyui.cancelling import CancelToken
from comfyui.embedded import StepGate
from comfyui.events import JobEnded, JobStarted, NodeRunning, QueueChanged
from comfyui.feed import CANCEL_LATENCY, Feed
from tests.fakes.proxy import FaultProxy
from tests.fakes.told_socket import ToldSocket, ToldSockets, message
from tests.job_support import (
    IMPATIENT,
    PATIENCE,
    Clock,
    TimelessToken,
    client_of,
    graph,
    server_with,
)


@pytest.fixture
def gate():
    return StepGate("3")


@pytest.fixture
def heard(gate):
    """A server behind a proxy, a client with a clock that can be moved, and a feed that is open."""
    clock = Clock()
    with (
        server_with(on_step=gate) as server,
        FaultProxy(server.address) as proxy,
        client_of(proxy.address, IMPATIENT, clock) as client,
    ):
        feed = Feed(client, CancelToken())
        feed.open()
        yield server, proxy, client, feed, clock
        feed.close()
        gate.open()


def wait_for(feed: Feed, kind: type, client) -> object:
    deadline = client.clock() + PATIENCE
    while client.clock() < deadline:
        event = feed.next(0.05)
        if isinstance(event, kind):
            return event
    raise AssertionError(f"no {kind.__name__} was heard")


def test_own_events_come_over_the_socket_that_the_job_was_sent_with(heard, gate):
    _, _, client, feed, _ = heard
    assert feed.tells_of_job
    sent = client.post_prompt(graph(), client_id=feed.client_id).prompt_id
    assert wait_for(feed, JobStarted, client) == JobStarted(sent)
    gate.open()
    assert wait_for(feed, JobEnded, client).prompt_id == sent


def test_what_comes_while_a_sign_is_waited_for_is_not_lost(heard, gate):
    _, _, client, feed, _ = heard
    sent = client.post_prompt(graph(), client_id=feed.client_id).prompt_id
    assert gate.wait_reached()
    assert feed.is_alive()
    assert feed.tells_of_job
    assert wait_for(feed, JobStarted, client) == JobStarted(sent)


def test_silent_socket_gives_no_sign_and_is_not_believed_until_it_is_heard_again(heard):
    _, proxy, client, feed, clock = heard
    proxy.websockets = "hold"

    def pass_the_time() -> float:
        clock.added += 0.5
        return clock()

    client.clock = pass_the_time
    assert not feed.is_alive()
    assert (feed.is_open, feed.tells_of_job) == (True, False)
    client.clock = clock
    proxy.release()
    while not feed.tells_of_job:
        feed.next(0.05)
        assert feed.is_open


def test_lost_socket_gives_no_sign(heard):
    _, proxy, _, feed, _ = heard
    proxy.cut()
    assert not feed.is_alive()
    assert not feed.is_open
    assert not Feed(heard[2], CancelToken()).is_alive()


def test_after_a_loss_a_new_socket_tells_of_the_queue_alone(heard, gate):
    server, proxy, client, feed, clock = heard
    first_id = feed.client_id
    client.post_prompt(graph(), client_id=first_id)
    assert gate.wait_reached()
    proxy.cut(others=False)
    while feed.is_open:
        feed.next(0.05)
    feed.observe()
    assert not feed.is_open, "one was just opened: the next try is later"
    clock.added += 5 * IMPATIENT.silence
    feed.observe()
    assert (feed.is_open, feed.tells_of_job) == (True, False)
    assert feed.client_id != first_id
    gate.open()
    assert wait_for(feed, QueueChanged, client).remaining == 1
    while feed.next(0.05) != QueueChanged(0):
        pass
    assert server.stats.websockets == 2


@pytest.mark.parametrize("told", [True, False])
def test_socket_is_kept_for_a_later_job_only_if_it_told_of_the_end(heard, told):
    server, _, client, feed, _ = heard
    feed.release(told)
    assert not feed.is_open
    again = Feed(client, CancelToken())
    again.open()
    assert again.is_alive()  # by now the server has counted it
    assert server.stats.websockets == (1 if told else 2)
    again.close()


def test_without_a_socket_it_is_waited_for_the_token():
    token = CancelToken()
    token.cancel()
    with client_of("127.0.0.1:1") as client:
        feed = Feed(client, token)
        feed.open()
        assert not feed.is_open
        assert feed.client_id != feed.client_id, "an id that nobody listens to"
        assert feed.next(PATIENCE * 100) is None


def test_silent_socket_is_waited_for_only_until_a_cancel_is_to_be_noticed():
    token = CancelToken()
    socket = ToldSocket(TimelessToken())
    with client_of("127.0.0.1:1") as client:
        client.sockets = ToldSockets(socket)
        feed = Feed(client, token)
        feed.open()
        assert feed.next(3600) is None
    assert socket.patience == [CANCEL_LATENCY]


def test_socket_that_tells_of_the_queue_alone_gives_nothing_else():
    """Some messages name no job: they would count as news of one that runs."""
    status = message("status", status={"exec_info": {"queue_remaining": 2}})
    with client_of("127.0.0.1:1") as client:
        token = CancelToken()
        node = message("executing", node="3")
        client.sockets = ToldSockets(ToldSocket(token, node), ToldSocket(token, node, status))
        own, other = Feed(client, token), Feed(client, token)
        own.open()
        other.observe()
        assert own.next(1) == NodeRunning(None, "3")
        assert [other.next(1), other.next(1)] == [None, QueueChanged(2)]
