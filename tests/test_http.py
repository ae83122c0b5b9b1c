"""The HTTP door: what it sends where, what it makes of answers, and what it never shows."""

from __future__ import annotations

import contextlib
import gzip
import logging
import socket
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests
import responses
import urllib3.exceptions
from requests_hardened.ip_filter import InvalidIPAddress

from image_io.concealing import shown_url
from image_io.http import (
    MAX_REDIRECTS,
    HttpResponse,
    HttpSession,
    error_for_status,
    map_request_error,
    origin,
    retry_after,
)
from image_provider import (
    AuthenticationError,
    ConfigurationError,
    ContentRejectedError,
    ImageGenerationError,
    InvalidRequestError,
    NotConnectedError,
    ProviderTimeoutError,
    ProviderUnavailableError,
    RateLimitedError,
)

BASE = "https://api.example"
KEY = "sk-planted-key"


@pytest.fixture
def session() -> Iterator[HttpSession]:
    keyed = HttpSession("vendor", BASE, {"Authorization": f"Bearer {KEY}"})
    yield keyed
    keyed.close()


@pytest.fixture
def web() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock() as mock:
        yield mock


def answered(status: int, **headers: str) -> HttpResponse:
    return HttpResponse(status, headers, b"", f"{BASE}/path?query=1")


# --- answers ---


def test_answer_is_read_whole_with_lower_case_header_names(session, web):
    web.get(f"{BASE}/a", json={"b": 1}, headers={"X-Request-Id": "r1"})
    response = session.get("/a", params={"c": "d e"})
    assert (response.status, response.json(), response.headers["x-request-id"]) == (
        200,
        {"b": 1},
        "r1",
    )
    assert web.calls[0].request.url == f"{BASE}/a?c=d+e"


def test_body_stays_out_of_the_repr_of_an_answer():
    assert "secret" not in repr(HttpResponse(200, {}, b"secret"))


@pytest.mark.parametrize("body", [b"<html>", b"", b"\xff", b"[" * 100_000])
def test_answer_that_is_not_json_says_what_it_is(body):
    response = HttpResponse(200, {"content-type": "text/html"}, body, f"{BASE}/a?key={KEY}")
    with pytest.raises(ProviderUnavailableError, match="not answer with JSON but with text/html"):
        response.json()
    assert response.json_or_none() is None


@pytest.mark.parametrize(
    ("status", "error_class", "retryable"),
    [
        (301, ProviderUnavailableError, True),
        (400, InvalidRequestError, False),
        (401, AuthenticationError, False),
        (402, AuthenticationError, False),
        (403, AuthenticationError, False),
        (404, InvalidRequestError, False),
        (408, ProviderUnavailableError, True),
        (413, InvalidRequestError, False),
        (422, InvalidRequestError, False),
        (429, RateLimitedError, True),
        (500, ProviderUnavailableError, True),
        (503, ProviderUnavailableError, True),
        (529, ProviderUnavailableError, True),
    ],
)
def test_error_status_becomes_the_right_error(session, web, status, error_class, retryable):
    web.get(f"{BASE}/a", status=status, headers={"x-request-id": "r1"}, body="details")
    with pytest.raises(ImageGenerationError) as caught:
        session.get(f"{BASE}/a", params={"token": KEY})
    error = caught.value
    assert type(error) is error_class
    assert (error.status, error.request_id, error.retryable) == (status, "r1", retryable)
    assert str(error).startswith(f"vendor: {BASE}/a answered {status}")
    assert KEY not in str(error)


def test_rate_limit_carries_the_seconds_to_wait():
    error = error_for_status(answered(429, **{"retry-after": "7"}), "vendor")
    assert isinstance(error, RateLimitedError)
    assert error.retry_after == 7.0


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "2"}, 2.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "9"}, 9.0),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after": "Fri, 31 Dec 1999 23:59:59 GMT"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({}, None),
    ],
)
def test_retry_after_is_read_in_seconds_or_milliseconds(headers, seconds):
    assert retry_after(answered(429, **headers)) == seconds


def test_parser_of_the_vendor_speaks_first_and_the_status_after_it(session, web):
    web.get(f"{BASE}/a", status=400, json={"code": "moderation"})
    web.get(f"{BASE}/a", status=400, json={})

    def parse(response: HttpResponse) -> ImageGenerationError | None:
        return ContentRejectedError("refused") if response.json() else None

    with pytest.raises(ContentRejectedError):
        session.get("/a", parse_error=parse)
    with pytest.raises(InvalidRequestError):
        session.get("/a", parse_error=parse)


# --- keys and redirects ---


def test_key_goes_to_the_origin_of_the_session_alone(session, web):
    for url in (f"{BASE}/a", "https://cdn.example/a", "http://api.example/a", f"{BASE}:444/a"):
        web.get(url)
        session.get(url, headers={"X-Extra": "e"})
    sent = [
        ("Authorization" in call.request.headers, "X-Extra" in call.request.headers)
        for call in web.calls
    ]
    assert sent == [(True, True), (False, False), (False, False), (False, False)]


def test_redirect_to_another_host_goes_without_the_key_and_back_with_it(session, web):
    web.get(f"{BASE}/a", status=302, headers={"Location": "https://cdn.example/b"})
    web.get("https://cdn.example/b", status=307, headers={"Location": f"{BASE}/c"})
    web.get(f"{BASE}/c", body="picture")
    response = session.get("/a", params={"q": "1"}, follow_redirects=True)
    assert (response.body, response.url) == (b"picture", f"{BASE}/c")
    assert [call.request.url for call in web.calls][1:] == ["https://cdn.example/b", f"{BASE}/c"]
    assert ["Authorization" in call.request.headers for call in web.calls] == [True, False, True]


def test_redirect_is_an_error_unless_it_was_asked_for(session, web):
    web.get(f"{BASE}/a", status=302, headers={"Location": "https://cdn.example/b"})
    with pytest.raises(ProviderUnavailableError, match="a redirect; set the address"):
        session.get("/a")


def test_post_is_never_sent_on_to_another_place(session, web):
    web.post(f"{BASE}/a", status=307, headers={"Location": f"{BASE}/b"})
    with pytest.raises(ProviderUnavailableError, match="a redirect"):
        session.post("/a", json_body={}, follow_redirects=True)


def test_circle_of_redirects_ends(session, web):
    web.get(f"{BASE}/a", status=302, headers={"Location": "/a"})
    with pytest.raises(InvalidRequestError, match=f"more than {MAX_REDIRECTS} redirects"):
        session.get("/a", follow_redirects=True)
    assert len(web.calls) == MAX_REDIRECTS + 1


@pytest.mark.parametrize("location", ["http://[", "http://host:99999/", "file:///etc/passwd"])
def test_redirect_to_what_cannot_be_fetched_is_an_error_of_ours(session, web, location):
    web.get(f"{BASE}/a", status=302, headers={"Location": location})
    with pytest.raises((InvalidRequestError, ProviderUnavailableError)):
        session.get("/a", follow_redirects=True)


@pytest.mark.parametrize("key", ["two\r\nX-Evil: 1", "two\nlines", "nul\0", "schlüssel"])
def test_key_that_no_header_can_carry_is_refused_without_being_shown(key):
    with pytest.raises(ConfigurationError, match="the Authorization header") as caught:
        HttpSession("vendor", BASE, {"Authorization": key})
    assert key not in str(caught.value)


def test_header_of_one_request_is_held_to_the_same_rule(session):
    with pytest.raises(ConfigurationError, match="the X-Token header"):
        session.get("/a", headers={"X-Token": "a\r\nb"})


def test_cookies_of_a_server_are_not_kept(session, web):
    web.get(f"{BASE}/a", headers={"Set-Cookie": "id=1; Path=/"})
    session.get("/a")
    session.get("/a")
    assert "Cookie" not in web.calls[1].request.headers


# --- what is shown ---


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://user:pw@host:8188/a/b?key=1#f", "https://host:8188/a/b"),
        ("http://[::1]:8188/a", "http://[::1]:8188/a"),
        ("http://[::1", "the URL"),
        ("http://host:port/", "the URL"),
        ("http://host/\x1b[31mred", "http://host/?[31mred"),
    ],
)
def test_shown_url_has_no_secrets_and_no_control_characters(url, shown):
    assert shown_url(url) == shown


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("HTTPS://Host/a", ("https", "host", 443)),
        ("http://host", ("http", "host", 80)),
        ("http://u:p@host:8188/", ("http", "host", 8188)),
    ],
)
def test_origin_is_scheme_host_and_port(url, expected):
    assert origin(url) == expected


# --- errors of the libraries below ---


def library_errors(module: object, root: type[Exception]) -> list[type[Exception]]:
    return [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, root) and not issubclass(value, Warning)
    ]


@pytest.mark.parametrize(
    "error_class",
    [
        *library_errors(requests.exceptions, requests.RequestException),
        *library_errors(urllib3.exceptions, urllib3.exceptions.HTTPError),
        InvalidIPAddress,
        OSError,
        ValueError,
    ],
)
def test_every_error_of_the_libraries_becomes_one_of_ours(error_class):
    error = map_request_error(error_class.__new__(error_class), f"{BASE}/a?key={KEY}", "vendor")
    assert isinstance(error, ImageGenerationError)
    assert str(error).startswith("vendor: ")
    assert KEY not in str(error)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (requests.exceptions.ConnectTimeout(), NotConnectedError),
        (requests.exceptions.ReadTimeout(), ProviderTimeoutError),
        (requests.exceptions.SSLError(), ProviderUnavailableError),
        (requests.exceptions.ProxyError(), ProviderUnavailableError),
        (requests.exceptions.InvalidURL(), InvalidRequestError),
        (requests.exceptions.InvalidJSONError(), InvalidRequestError),
        (InvalidIPAddress("10.0.0.1"), InvalidRequestError),
        (UnicodeError("label too long"), InvalidRequestError),
        (ConnectionResetError(), ProviderUnavailableError),
    ],
)
def test_error_of_a_library_becomes_the_one_that_the_router_can_act_on(error, expected):
    assert type(map_request_error(error, BASE, "vendor")) is expected


def test_address_that_a_guard_refused_is_not_told():
    text = str(map_request_error(InvalidIPAddress("10.1.2.3"), "http://intern/", "source image"))
    assert text == "source image: the host of http://intern/ is not on the public internet"


def test_error_of_ours_passes_unchanged():
    error = InvalidRequestError("too large")
    assert map_request_error(error, BASE, "vendor") is error


def test_value_that_is_no_json_is_an_invalid_request(session):
    with pytest.raises(InvalidRequestError, match="is not JSON"):
        session.post("/a", json_body={"strength": float("nan")})


# --- over real sockets ---


Answer = Callable[[socket.socket, bytes], None]


@contextlib.contextmanager
def serving(*answers: Answer) -> Iterator[tuple[str, list[bytes]]]:
    """Answers connection after connection; gives the base URL and the requests that came."""
    asked: list[bytes] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def run() -> None:
        for answer in answers:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError):
                asked.append(connection.recv(65536))
                answer(connection, asked[-1])

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", asked
    finally:
        # Wakes an accept that still waits; closing alone does not, on Linux.
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)


def sends(*parts: bytes) -> Answer:
    def answer(connection: socket.socket, _: bytes) -> None:
        for part in parts:
            connection.sendall(part)

    return answer


def whole(body: bytes, *headers: bytes) -> bytes:
    length = b"Content-Length: %d" % len(body)
    return b"\r\n".join([b"HTTP/1.1 200 OK", length, *headers, b"", body])


def until_closed(connection: socket.socket, _: bytes) -> None:
    connection.recv(1)


@contextlib.contextmanager
def local_session(base_url: str, **options) -> Iterator[HttpSession]:
    with contextlib.closing(HttpSession("server", base_url, **options)) as opened:
        yield opened


def test_body_larger_than_allowed_is_not_read_on():
    with serving(sends(whole(b"x" * 100_000))) as (url, _), local_session(url) as http:
        assert_error(InvalidRequestError, "more than the 1,000 bytes", http, "/a", max_bytes=1000)


def test_large_body_is_in_memory_once():
    size, part = 16 * 1024 * 1024, bytes(64 * 1024)
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size
    answer = sends(head, *[part] * (size // len(part)))
    with serving(answer) as (url, _), local_session(url) as http:
        tracemalloc.start()
        try:
            body = http.get("/a").body
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert len(body) == size
    assert peak < 1.5 * size


def test_compressed_body_counts_by_what_it_unpacks_to():
    bomb = whole(gzip.compress(bytes(10_000_000)), b"Content-Encoding: gzip")
    with serving(sends(bomb)) as (url, _), local_session(url) as http:
        assert_error(InvalidRequestError, "more than", http, "/a", max_bytes=1_000_000)


def test_compressed_and_chunked_body_is_unpacked():
    body = gzip.compress(b"picture" * 1000)
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:9], body[9:], b""))
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n"
    with serving(sends(head, chunks)) as (url, _), local_session(url) as http:
        assert http.get("/a").body == b"picture" * 1000


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\nhalf",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nhalf",
    ],
)
def test_body_that_breaks_off_is_no_result(answer):
    with serving(sends(answer)) as (url, _), local_session(url) as http:
        assert_error(ProviderUnavailableError, "broke off", http, "/a")


def assert_error(error_class, text: str, http: HttpSession, path: str, **options) -> None:
    with pytest.raises(ImageGenerationError, match=text) as caught:
        http.get(path, **options)
    assert type(caught.value) is error_class


def test_get_is_sent_again_when_the_connection_breaks():
    with serving(sends(), sends(whole(b"ok"))) as (url, asked), local_session(url) as http:
        assert http.get("/a").body == b"ok"
    assert len(asked) == 2


def test_post_is_not_sent_again_when_the_connection_breaks():
    with serving(sends(), sends(whole(b"ok"))) as (url, asked), local_session(url) as http:
        with pytest.raises(ProviderUnavailableError, match="broke off"):
            http.post("/a", json_body={})
        assert len(asked) == 1


def test_server_that_never_answers_is_asked_once_and_is_a_timeout():
    with serving(until_closed, until_closed) as (url, asked):
        with local_session(url, read_timeout=0.05) as http:
            assert_error(ProviderTimeoutError, "did not answer in time", http, "/a")
        assert len(asked) == 1


def test_body_that_stops_coming_is_a_timeout():
    def half(connection: socket.socket, request: bytes) -> None:
        connection.sendall(whole(b"picture")[:-3])
        until_closed(connection, request)

    with serving(half) as (url, _), local_session(url, read_timeout=0.05) as http:
        assert_error(ProviderTimeoutError, "did not answer in time", http, "/a")


def test_total_time_limit_ends_a_body_that_drips():
    """Every reading of the clock is a second later; the server waits until it is given up."""

    def drip(connection: socket.socket, request: bytes) -> None:
        connection.sendall(whole(b"x" * 1000)[:-999])
        until_closed(connection, request)

    ticks = iter(range(1000))
    with (
        serving(drip) as (url, _),
        local_session(url, read_timeout=30, clock=lambda: float(next(ticks))) as http,
    ):
        assert_error(ProviderTimeoutError, "longer than allowed", http, "/a", total_timeout=1.5)


def test_time_that_redirects_used_up_is_not_given_again(session, web):
    web.get(f"{BASE}/a", status=302, headers={"Location": "/a"})
    ticks = iter(range(1000))
    with local_session(BASE, clock=lambda: float(next(ticks))) as http:
        options = {"follow_redirects": True, "total_timeout": 6.0}
        assert_error(ProviderTimeoutError, "longer than allowed", http, "/a", **options)
    assert 1 < len(web.calls) < MAX_REDIRECTS


def test_connection_is_kept_and_used_again():
    def twice(connection: socket.socket, _: bytes) -> None:
        connection.sendall(whole(b"one"))
        connection.recv(65536)
        connection.sendall(whole(b"two"))

    with serving(twice) as (url, asked), local_session(url) as http:
        assert [http.get("/a").body, http.get("/b").body] == [b"one", b"two"]
    assert len(asked) == 1


def test_hundred_requests_at_once_keep_their_connections(caplog):
    at_once = threading.Barrier(100, timeout=60)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            at_once.wait()
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_):
            pass

    class Server(ThreadingHTTPServer):
        request_queue_size = 128
        daemon_threads = True

    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with (
            local_session(f"http://127.0.0.1:{server.server_port}") as http,
            ThreadPoolExecutor(100) as pool,
        ):
            answers = list(pool.map(http.get, ["/a"] * 100))
        server.shutdown()
    assert [answer.status for answer in answers] == [204] * 100
    assert [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING] == []


def test_server_that_is_not_there_cannot_be_reached():
    with serving() as (url, _):
        pass
    with local_session(url) as http:
        assert_error(NotConnectedError, "cannot be reached", http, "/a")


def test_proxy_of_the_environment_is_not_asked_for_this_machine(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with serving(sends(whole(b"ok"))) as (url, _), local_session(url) as http:
        assert http.get("/a").body == b"ok"


def test_proxy_that_does_not_answer_is_named_as_the_cause(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with local_session("http://server.example") as http:
        assert_error(ProviderUnavailableError, "through the proxy", http, "/a")


def test_guarded_session_sends_nothing_to_this_machine():
    with serving(sends(whole(b"secret"))) as (url, asked):
        with contextlib.closing(HttpSession("source image", guarded=True)) as guarded:
            assert_error(InvalidRequestError, "not on the public internet", guarded, f"{url}/a")
        assert asked == []


def with_credentials(url: str, credentials: str) -> str:
    return url.replace("http://", f"http://{credentials}@")


def authorizations(requests_sent: list[bytes]) -> list[list[bytes]]:
    return [
        [line for line in request.split(b"\r\n") if line.startswith(b"Authorization")]
        for request in requests_sent
    ]


def test_credentials_of_a_url_are_sent_and_those_of_netrc_are_not(tmp_path, monkeypatch):
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password planted")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    ok = sends(whole(b"ok", b"Connection: close"))
    with serving(ok, ok) as (url, asked), contextlib.closing(HttpSession("source")) as http:
        http.get(f"{url}/a")
        http.get(f"{with_credentials(url, 'us%40er:pw')}/a")
    assert authorizations(asked) == [[], [b"Authorization: Basic dXNAZXI6cHc="]]


def test_key_of_the_session_outweighs_the_credentials_of_its_url():
    with serving(sends(whole(b"ok"))) as (url, asked):
        headers = {"Authorization": f"Bearer {KEY}"}
        with local_session(with_credentials(url, "u:p"), headers=headers) as http:
            http.get("/a")
    assert authorizations(asked) == [[f"Authorization: Bearer {KEY}".encode()]]


def test_one_line_is_logged_for_a_call_without_query_or_credentials(caplog):
    with (
        serving(sends(whole(b"picture"))) as (url, _),
        local_session(url) as http,
        caplog.at_level(logging.DEBUG, "image_io.http"),
    ):
        http.get(f"{with_credentials(url, f'user:{KEY}')}/a?token={KEY}")
    (record,) = [record for record in caplog.records if record.name == "image_io.http"]
    assert record.levelno == logging.DEBUG
    assert record.getMessage().startswith(f"GET {url}/a: 200, ")
    assert KEY not in record.getMessage()


@pytest.mark.parametrize(
    "url", ["https://evil.example\\@api.example/x", "https://evil.example\\.api.example/x"]
)
def test_origin_is_the_host_that_a_connection_would_go_to(url):
    assert origin(url)[1] == "evil.example"
