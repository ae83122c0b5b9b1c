"""Which answers a session asks for again, when, and how long it waits for that."""

from __future__ import annotations

import time
from collections.abc import Iterator
from email.utils import formatdate
from itertools import pairwise

import pytest
import responses
from hypothesis import given
from hypothesis import strategies as st

from comfyui.address import parse_address
from comfyui.client import ComfyUIClient, Limits
from image_io.http import HttpSession
from image_io.retrying import LONGEST_PAUSE, seconds_asked
from image_provider import (
    ImageGenerationError,
    ProviderTimeoutError,
    ProviderUnavailableError,
    RateLimitedError,
)
from tests.fakes.clock import Clock
from tests.fakes.proxy import FaultProxy, http_answer

BASE = "https://api.example"
BUSY = [429, 502, 503, 504]


class Rig:
    """A session that repeats twice, in front of it a proxy that answers, and the time it slept."""

    def __init__(self, proxy: FaultProxy) -> None:
        self.proxy = proxy
        self.clock = Clock()
        self.session = HttpSession(
            "it",
            f"http://{proxy.address}",
            busy_repeats=2,
            clock=self.clock,
            sleep=self.clock.sleep,
        )
        self.pauses = self.clock.sleeps

    def answer(self, *answers: bytes) -> None:
        for each in answers:
            self.proxy.answer("GET /a", each)
            self.proxy.answer("POST /a", each)


@pytest.fixture
def rig(comfyui_server) -> Iterator[Rig]:
    with FaultProxy(comfyui_server.address) as proxy:
        made = Rig(proxy)
        yield made
        made.session.close()


@pytest.mark.parametrize("status", BUSY)
def test_a_get_that_finds_the_server_busy_is_repeated_with_growing_pauses(rig, status):
    rig.answer(http_answer(status, b"busy"), http_answer(status), http_answer(200, b"done"))
    assert rig.session.get("/a").body == b"done"
    assert rig.pauses == [0.25, 0.5]
    assert rig.proxy.count("GET /a") == 3


@pytest.mark.parametrize(
    ("status", "error_class"), [(429, RateLimitedError), (503, ProviderUnavailableError)]
)
def test_a_server_that_stays_busy_is_told_as_such(rig, status, error_class):
    rig.answer(*[http_answer(status, b"busy", "Retry-After: 1")] * 4)
    with pytest.raises(error_class, match=f"/a answered {status}") as caught:
        rig.session.get("/a")
    assert caught.value.status == status
    assert getattr(caught.value, "retry_after", 1.0) == 1.0
    assert (rig.pauses, rig.proxy.count("GET /a")) == ([1.0, 1.0], 3)


@pytest.mark.parametrize("status", [400, 404, 408, 413, 500, 501])
@pytest.mark.parametrize("header", [(), ("Retry-After: 1",)])
def test_other_answers_are_not_repeated(rig, status, header):
    rig.answer(http_answer(status, b"", *header), http_answer(200))
    with pytest.raises(ImageGenerationError) as caught:
        rig.session.get("/a")
    assert (caught.value.status, rig.pauses, rig.proxy.count("GET /a")) == (status, [], 1)


@pytest.mark.parametrize("status", BUSY)
def test_a_post_is_never_repeated(rig, status):
    rig.answer(http_answer(status, b"", "Retry-After: 1"), http_answer(200))
    with pytest.raises(ImageGenerationError) as caught:
        rig.session.post("/a", json_body={})
    assert (caught.value.status, rig.pauses, rig.proxy.count("POST /a")) == (status, [], 1)


def test_what_the_server_asks_for_is_waited_for(rig):
    in_three_seconds = formatdate(time.time() + 3, usegmt=True)
    rig.answer(
        http_answer(503, b"", "Retry-After: 2"),
        http_answer(429, b"", f"Retry-After: {in_three_seconds}"),
        http_answer(200, b"done"),
    )
    assert rig.session.get("/a").body == b"done"
    first, second = rig.pauses
    assert first == 2 and 1 < second <= 3


@pytest.mark.parametrize("header", ["0", "-1", "soon", "nan", ""])
def test_a_header_that_tells_nothing_leaves_the_pause_as_it_is(rig, header):
    rig.answer(http_answer(503, b"", f"Retry-After: {header}"), http_answer(200, b"done"))
    assert rig.session.get("/a").body == b"done"
    assert rig.pauses == [0.25]


@pytest.mark.parametrize("seconds", ["6", "3600", "1e99"])
def test_a_pause_that_is_too_long_is_not_begun(rig, seconds):
    rig.answer(http_answer(429, b"", f"Retry-After: {seconds}"), http_answer(200))
    with pytest.raises(RateLimitedError) as caught:
        rig.session.get("/a")
    assert caught.value.retry_after == float(seconds) > LONGEST_PAUSE
    assert (rig.pauses, rig.proxy.count("GET /a")) == ([], 1)


def test_a_pause_that_does_not_fit_into_the_time_allowed_is_not_begun(rig):
    rig.answer(*[http_answer(503)] * 3)
    with pytest.raises(ProviderUnavailableError) as caught:
        rig.session.get("/a", total_timeout=0.7)
    assert (caught.value.status, rig.pauses, rig.proxy.count("GET /a")) == (503, [0.25], 2)


def test_the_time_allowed_for_one_request_is_not_that_of_the_next(rig):
    rig.answer(http_answer(503), http_answer(503), http_answer(200, b"done"))
    with pytest.raises(ProviderUnavailableError):
        rig.session.get("/a", total_timeout=0.1)
    assert rig.session.get("/a").body == b"done"


def test_a_connection_that_breaks_off_is_repeated_without_a_pause(rig):
    rig.answer(b"", http_answer(503), http_answer(200, b"done"))
    assert rig.session.get("/a").body == b"done"
    assert (rig.pauses, rig.proxy.count("GET /a")) == ([0.25], 3)


@pytest.mark.parametrize("status", BUSY)
@pytest.mark.parametrize("headers", [{}, {"Retry-After": "7"}])
def test_other_sessions_repeat_nothing_and_tell_what_was_answered(status, headers):
    with responses.RequestsMock() as web:
        web.get(f"{BASE}/a", status=status, headers=headers)
        with pytest.raises(ImageGenerationError) as caught:
            HttpSession("vendor", BASE).get("/a")
        assert (caught.value.status, len(web.calls)) == (status, 1)
    if status == 429:
        assert caught.value.retry_after == (7.0 if headers else None)


@pytest.mark.usefixtures("short_pauses")
@pytest.mark.parametrize("status", BUSY)
def test_comfyui_behind_a_busy_proxy_is_asked_again(comfyui_server, status):
    with FaultProxy(comfyui_server.address) as proxy:
        proxy.answer("GET /queue", http_answer(status, b"busy"))
        client = ComfyUIClient(parse_address(proxy.address), "prefix", Limits())
        assert client.queue() == {"queue_running": [], "queue_pending": []}
        assert proxy.count("GET /queue") == 2
        client.close()


def test_a_job_is_posted_once_however_busy_the_server_is(comfyui_server):
    with FaultProxy(comfyui_server.address) as proxy:
        proxy.answer("POST /prompt", http_answer(503, b"", "Retry-After: 1"))
        client = ComfyUIClient(parse_address(proxy.address), "prefix", Limits())
        with pytest.raises(ProviderUnavailableError):
            client.post_prompt({"1": {"class_type": "EmptyImage", "inputs": {}}})
        assert proxy.count("POST /prompt") == 1
        client.close()


def test_a_server_that_hangs_after_it_was_busy_still_ends_in_time(comfyui_server):
    with FaultProxy(comfyui_server.address) as proxy:
        session = HttpSession("it", f"http://{proxy.address}", read_timeout=0.2, busy_repeats=2)

        def freeze() -> bytes:
            proxy.frozen = True
            return http_answer(503)

        proxy.answer("GET /queue", freeze)
        with pytest.raises(ProviderTimeoutError):
            session.get("/queue")
        session.close()


@given(st.text() | st.floats().map(str) | st.integers().map(str))
def test_no_header_asks_for_a_time_that_cannot_be_waited_for(value):
    seconds = seconds_asked(value)
    assert seconds is None or 0 <= seconds < float("inf")


def test_a_date_is_so_many_seconds_away():
    later = [formatdate(time.time() + n, usegmt=True) for n in (10, 20, 30)]
    seconds = [seconds_asked(date) or 0 for date in later]
    assert all(9 < b - a < 11 for a, b in pairwise(seconds))
    assert seconds_asked(formatdate(0)) is None
