"""Guarded sessions where the environment has a proxy, and many threads that use one."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from hosted_providers import FluxProvider
from image_io.guarding import InvalidIPAddress, OpenHosts
from image_io.http import HttpSession
from image_provider import ImageGenerationError, InvalidRequestError

NOT_PUBLIC = "not on the public internet"


class Proxy(ThreadingHTTPServer):
    """An HTTP proxy that answers everything itself, and tunnels nowhere; keeps what it is asked."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[str] = []
        self.clients: set[tuple[str, int]] = set()
        self.url = f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Proxy
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.server.asked.append(f"GET {self.path}")
        self.server.clients.add(self.client_address)
        self.send_response(200)
        self.send_header("Content-Length", "7")
        self.end_headers()
        self.wfile.write(b"picture")

    def do_CONNECT(self) -> None:
        self.server.asked.append(f"CONNECT {self.path}")
        self.send_error(403)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    with Proxy() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        for name in ("http_proxy", "https_proxy"):
            monkeypatch.setenv(name, server.url)
        yield server
        server.shutdown()


@contextlib.contextmanager
def guarded(proxied: bool = False, opened: OpenHosts = frozenset()) -> Iterator[HttpSession]:
    with contextlib.closing(
        HttpSession("results", guarded=True, proxied=proxied, opened=opened)
    ) as session:
        yield session


def test_a_proxy_is_given_the_name_that_it_alone_may_resolve(proxy):
    with guarded(proxied=True) as session:
        assert session.get("http://pictures.invalid/a.png").body == b"picture"
        with pytest.raises(ImageGenerationError, match="proxy"):
            session.get("https://pictures.invalid/a.png")

    assert set(proxy.asked) == {"GET http://pictures.invalid/a.png", "CONNECT pictures.invalid:443"}


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "10.0.0.1",
        "169.254.169.254",
        "[::1]",
        "2130706433",
        "localhost",
        "a.localhost.",
    ],
)
def test_a_proxy_is_not_asked_for_private_addresses(proxy, host):
    with guarded(proxied=True) as session, pytest.raises(InvalidRequestError, match=NOT_PUBLIC):
        session.get(f"http://{host}/a.png")

    assert proxy.asked == []


def test_a_host_that_needs_no_proxy_is_looked_at(proxy, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with guarded(proxied=True) as session, pytest.raises(InvalidRequestError, match=NOT_PUBLIC):
        session.get(f"{proxy.url}/a.png")

    assert proxy.asked == []


def test_urls_of_strangers_do_not_go_through_a_proxy(proxy, monkeypatch):
    def private(host: str, *_: object, **__: object) -> str:
        raise InvalidIPAddress(host)

    monkeypatch.setattr("requests_hardened.ip_filter_adapter.filter_host", private)
    with guarded() as session, pytest.raises(InvalidRequestError, match=NOT_PUBLIC):
        session.get("http://intranet.example/a.png")

    assert proxy.asked == []


def test_results_of_hosted_providers_are_fetched_through_the_proxy(proxy):
    provider = FluxProvider("a key")
    with pytest.raises(ImageGenerationError, match="proxy"):
        provider._transport.download("https://delivery.eu.bfl.ai/a.png")
    provider.close()

    assert set(proxy.asked) == {"CONNECT delivery.eu.bfl.ai:443"}


def test_a_forked_process_opens_its_own_connection_to_the_proxy(proxy):
    with guarded(proxied=True) as session:
        for _ in range(2):
            session.get("http://pictures.invalid/a.png")
        assert len(proxy.clients) == 1
        session.after_fork()
        session.get("http://pictures.invalid/a.png")
    assert len(proxy.clients) == 2


@pytest.mark.parametrize("through_proxy", [True, False])
def test_connections_of_many_threads_are_kept(proxy, monkeypatch, caplog, through_proxy):
    caplog.set_level(logging.WARNING)
    opened, url = frozenset(), "http://pictures.invalid/a.png"
    if not through_proxy:
        opened, url = frozenset({("127.0.0.1", proxy.server_port)}), f"{proxy.url}/a.png"
        monkeypatch.setenv("no_proxy", "127.0.0.1")
    started = threading.Barrier(24)

    def fetch(_: int) -> bytes:
        started.wait(10)
        return session.get(url).body

    with guarded(proxied=True, opened=opened) as session, ThreadPoolExecutor(24) as pool:
        assert list(pool.map(fetch, range(24))) == [b"picture"] * 24

    assert [record.getMessage() for record in caplog.records] == []
