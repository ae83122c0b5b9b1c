"""What goes wrong between a client and its server, one thing at a time, through the provider.

Whatever it is: the right picture where one can be had, else an error that says what happened; no
job runs twice, none is left behind, and every wait ends.
"""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import count

import pytest

from comfyui_provider import ComfyUIProvider
from image_provider import ImageGenerationResult
from tests.fakes.proxy import http_answer
from tests.fault_support import LIMITS, Rig, seed_in
from tests.job_support import NOWHERE, PATIENCE, background, graph

pytestmark = pytest.mark.usefixtures("short_pauses")

HALF_A_PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(20)


@pytest.fixture
def rig():
    with Rig() as made:
        yield made


def assert_right(result: ImageGenerationResult, rig: Rig, seed: int = 7, runs: int = 1) -> None:
    """The job's own picture, byte for byte as the server saved it; it ran `runs` times in all."""
    assert result.error is None
    [image] = result.images
    assert seed_in(image["bytes"]) == seed
    saved = rig.server.data_dir / "output" / image["filename"]
    assert image["bytes"] == saved.read_bytes()
    assert_once(rig, runs)


def assert_failed(result: ImageGenerationResult, rig: Rig, error_type: str, text: str) -> None:
    """An error of this kind that says `text`; nothing ran twice."""
    assert (result.success, result.error_type, result.images) == (False, error_type, [])
    assert text in (result.error or "")
    assert_once(rig, None)


def assert_once(rig: Rig, jobs: int | None) -> None:
    assert rig.left_behind() == []
    assert set(rig.own_runs().values()) <= {1}
    if jobs is not None:
        assert len(rig.own_runs()) == jobs


def wait_little_for_a_sign(monkeypatch) -> None:
    """For a socket that is silent: no sign comes, however long it is waited for."""
    monkeypatch.setattr("comfyui.feed._SHORTEST_WAIT", 0.05)


def test_no_fault(rig):
    assert_right(rig.run(7), rig)
    fractions = [update.fraction for update in rig.updates]
    assert (fractions, fractions[-1]) == (sorted(fractions), 1.0)
    assert rig.proxy.count("POST /prompt") == 1


# The socket


def test_socket_refused_altogether(rig):
    rig.proxy.websockets = "refuse"
    assert_right(rig.run(7), rig)


def test_socket_silent_after_connect(rig):
    rig.proxy.websockets = "hold"
    assert_right(rig.run(7), rig)


def test_socket_silent_from_the_middle_on(rig):
    rig.at_step(2, lambda: setattr(rig.proxy, "websockets", "hold"))
    assert_right(rig.run(7), rig)


def test_socket_closed_in_the_middle(rig):
    rig.at_step(2, lambda: rig.proxy.cut(others=False))
    assert_right(rig.run(7), rig)


def test_socket_closed_and_every_new_one_too(rig):
    def close_and_refuse() -> None:
        rig.proxy.websockets = "refuse"
        rig.proxy.cut(others=False)

    rig.at_step(2, close_and_refuse)
    assert_right(rig.run(7), rig)


# The server goes away


def test_server_not_there():
    with ComfyUIProvider(NOWHERE, limits=LIMITS) as provider:
        result = provider.run_workflow(graph())
    assert (result.success, result.error_type) == (False, "unavailable")
    assert NOWHERE in (result.error or "")
    assert "Start ComfyUI there" in (result.error or "")


def test_server_restarted_in_the_middle(rig):
    rig.at_step(2, rig.restart)
    result = rig.run(7)
    assert_failed(result, rig, "unavailable", "")
    # Unless the answer to the POST was still on its way, and went down with the server.
    assert re.search("it was restarted|answer to POST /prompt was lost", result.error or "")
    assert len(rig.own_runs()) == 1


def test_server_restarted_while_the_job_waited(rig):
    rig.block()
    with background() as go:
        future = go(lambda: rig.run(7))
        assert rig.proxy.wait_for_more("GET /queue", 1)
        rig.restart()
        assert_failed(future.result(PATIENCE), rig, "unavailable", "it was restarted")
    assert not rig.own_runs()


def test_server_restarted_behind_a_socket_that_does_not_notice(rig, monkeypatch):
    """It waited, so it may have been removed; but nobody answers on its socket any more."""
    wait_little_for_a_sign(monkeypatch)
    rig.block()
    with background() as go:
        future = go(lambda: rig.run(7))
        assert rig.proxy.wait_for_more("GET /queue", 1)
        rig.proxy.websockets = "hold"
        rig.proxy.switch_to(rig.other.address, cut_websockets=False)
        result = future.result(PATIENCE)
    assert (result.error_type, "it was restarted" in (result.error or "")) == ("unavailable", True)


def test_server_gone_for_good():
    with Rig(replace(LIMITS, unreachable=0.3)) as rig:
        rig.at_step(2, lambda: rig.proxy.switch_to(NOWHERE))
        result = rig.run(7)
    assert result.error_type == "unavailable"
    # Unless the answer to the POST was still on its way, and went down with the server.
    assert re.search("stopped answering while the job|nobody answers", result.error or "")


def test_every_reply_late(rig):
    rig.proxy.delay = 0.05
    assert_right(rig.run(7), rig)


# POST /prompt


def test_post_refused_with_503(rig):
    rig.proxy.answer("POST /prompt", http_answer(503))
    assert_right(rig.run(7), rig)
    assert rig.server.stats.posts == 1


def test_post_refused_with_503_again_and_again(rig):
    rig.proxy.answer("POST /prompt", http_answer(503), times=99)
    assert_failed(rig.run(7), rig, "unavailable", "503")
    assert rig.server.stats.posts == 0


def test_post_reply_lost_after_acceptance(rig):
    rig.proxy.cut_reply_to = ("POST /prompt", 0)
    assert_right(rig.run(7), rig)
    assert rig.server.stats.posts == 1


def test_post_reply_turned_into_502_after_acceptance(rig):
    rig.proxy.cut_reply_to, rig.proxy.cut_reply_with = ("POST /prompt", 0), http_answer(502)
    assert_right(rig.run(7), rig)
    assert rig.server.stats.posts == 1


def test_post_reply_lost_and_the_server_away_for_a_while(rig):
    rig.proxy.cut_reply_to = ("POST /prompt", 0)
    rig.proxy.answer("GET /history", http_answer(502), times=6)
    assert_right(rig.run(7), rig)
    assert rig.server.stats.posts == 1


def test_post_that_never_reaches_the_server(rig):
    """It may still be on its way for all that the client can know: an error, and not sent again."""
    rig.proxy.answer("POST /prompt", b"")
    rig.proxy.answer("POST /prompt", http_answer(500), times=9)
    assert_failed(rig.run(7), rig, "unavailable", "broke off")
    assert (rig.proxy.count("POST /prompt"), rig.server.stats.posts) == (1, 0)


# What the server answers


def test_view_cut(rig):
    rig.proxy.cut_reply_to = ("GET /view", 400)
    assert_right(rig.run(7), rig)
    assert rig.proxy.count("GET /view") == 2


def test_server_away_as_the_picture_is_fetched(rig):
    rig.proxy.answer("GET /view", b"", times=30)
    assert_right(rig.run(7), rig)


def test_view_that_is_whole_http_but_half_a_picture(rig):
    rig.proxy.answer("GET /view", http_answer(200, HALF_A_PICTURE))
    assert_right(rig.run(7), rig)


def test_view_answered_with_a_page_of_a_proxy(rig):
    rig.proxy.answer("GET /view", http_answer(200, b"<html>sign in</html>"))
    assert_right(rig.run(7), rig)


def test_view_answered_with_a_page_of_a_proxy_again_and_again(rig):
    rig.proxy.answer("GET /view", http_answer(200, b"<html>sign in</html>"), times=99)
    assert_failed(rig.run(7), rig, "unavailable", "something else came in place of the file")


@pytest.mark.parametrize("times", [1, 5])
def test_history_500(rig, times):
    rig.proxy.answer("GET /history", http_answer(500), times)
    assert_right(rig.run(7), rig)


def test_history_500_for_good(rig):
    """The socket told of the end and of the files, so that nothing is missing."""
    rig.proxy.answer("GET /history", http_answer(500), times=999)
    assert_right(rig.run(7), rig)


def test_history_500_for_good_and_the_socket_silent():
    with Rig(replace(LIMITS, unreachable=0.3)) as rig:
        rig.proxy.websockets = "hold"
        rig.proxy.answer("GET /history", http_answer(500), times=999)
        result = rig.run(7)
        assert_failed(result, rig, "unavailable", "answers with errors alone while the job")


@pytest.mark.parametrize(("websockets", "times"), [("pass", 7), ("hold", 2), ("refuse", 2)])
def test_history_late(rig, websockets, times, monkeypatch):
    """The queue is empty by then; the history knows nothing yet, for a whole look."""
    rig.proxy.websockets = websockets
    if websockets == "hold":
        wait_little_for_a_sign(monkeypatch)

    def be_late() -> None:
        rig.proxy.answer("GET /history", http_answer(200, b"{}"), times)

    rig.at_step(3, be_late)
    assert_right(rig.run(7), rig)


def test_history_evicted(rig):
    """Cleared by somebody as the client comes to read it; the socket had told of the files."""

    def clear() -> None:
        rig.post("/history", {"clear": True})

    rig.proxy.answer("GET /history", clear)
    assert_right(rig.run(7), rig)


def test_history_evicted_and_the_socket_read_late(rig, monkeypatch):
    """All that the socket told waits to be read when the history and the queue know nothing."""
    wait_little_for_a_sign(monkeypatch)
    rig.proxy.websockets = "hold"
    looks = count(1)

    def know_nothing() -> bytes:
        rig.wait_until_idle()
        if next(looks) == 4:
            rig.proxy.release()
        return http_answer(200, b"{}")

    rig.proxy.answer("GET /history", know_nothing, times=99)
    assert_right(rig.run(7), rig)


def test_history_evicted_and_the_socket_lost(rig, monkeypatch):
    """Nobody tells what became of the job."""
    wait_little_for_a_sign(monkeypatch)

    def lose_both() -> None:
        rig.proxy.websockets = "hold"
        rig.proxy.answer("GET /history", http_answer(200, b"{}"), times=99)

    rig.at_step(3, lose_both)
    assert_failed(rig.run(7), rig, "unavailable", "does not know the job")


# Other people's jobs, and the job's own failures


def test_foreign_jobs_and_events(rig):
    blocker = rig.block()
    rig.post("/prompt", {"prompt": graph(5), "client_id": "somebody"})
    with background() as go:
        future = go(lambda: rig.run(7))
        assert rig.proxy.wait_for_more("GET /queue", 1)
        rig.let_go()
        assert_right(future.result(PATIENCE), rig, runs=2)
    assert "execution_success" in rig.messages(blocker)
    assert max(update.queue_position or 0 for update in rig.updates) == 2


def test_fully_cached_run(rig):
    assert_right(rig.run(7), rig)
    again = rig.run(7)
    assert_right(again, rig)
    assert again.images[0]["filename"] == "job_00001_.png"


def test_execution_error(rig):
    def fail() -> None:
        raise MemoryError("not enough")

    rig.at_step(2, fail)
    result = rig.run(7)
    assert_failed(result, rig, "generation_failed", "node 3 KSampler 'paint' failed: MemoryError")


def test_validation_error(rig):
    bad = graph(7)
    bad["3"]["inputs"]["sampler_name"] = "no such sampler"
    result = rig.provider.run_workflow(bad)
    assert_failed(result, rig, "workflow", "no such sampler")


def test_interrupted_by_somebody_else(rig):
    rig.at_step(2, lambda: rig.post("/interrupt", {}))
    assert_failed(rig.run(7), rig, "cancelled", "somebody interrupted the job")


@pytest.mark.parametrize("websockets", ["pass", "hold", "refuse"])
def test_deleted_while_pending(rig, websockets, monkeypatch):
    """Without a socket, the job before it tells that the server was not restarted."""
    rig.proxy.websockets = websockets
    if websockets == "hold":
        wait_little_for_a_sign(monkeypatch)
    rig.block()
    with background() as go:
        future = go(lambda: rig.run(7))
        assert rig.proxy.wait_for_more("GET /queue", 2)  # then the first answer is there
        rig.post("/queue", {"delete": rig.left_behind()})
        assert_failed(future.result(PATIENCE), rig, "cancelled", "somebody removed it")
    assert not rig.own_runs()


# Ways of output


def test_previews_only(rig):
    result = rig.run(7, "PreviewImage")
    assert seed_in(result.images[0]["bytes"]) == 7
    assert "type=temp" in result.images[0]["url"]


def test_pictures_over_the_socket(rig):
    result = rig.run(7, "SaveImageWebsocket")
    assert (len(result.images), result.images[0]["url"]) == (1, None)
    assert_once(rig, 1)


def test_pictures_over_a_socket_that_is_lost(rig):
    rig.at_step(2, lambda: rig.proxy.cut(others=False))
    result = rig.run(7, "SaveImageWebsocket")
    assert_failed(result, rig, "generation_failed", "came over the WebSocket alone")
