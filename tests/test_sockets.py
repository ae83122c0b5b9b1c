"""One WebSocket a job: the handshake byte by byte, frames in pieces, and the pool of idle ones."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
import websocket

from comfyui.address import parse_address
from comfyui.sockets import JobSocket, SocketLost, SocketPool
from tests.key_watch import planted

HUSH = planted("hush")

PATIENCE = 10.0
_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 1.3


class Peer:
    """The server's end of one connection, written and read by hand."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._stream = connection.makefile("rb")
        self.request = b"".join(iter(self._stream.readline, b"\r\n")).decode()

    def send(self, data: bytes) -> None:
        self._connection.sendall(data)

    def read_to_the_end(self) -> bytes:
        self._connection.settimeout(PATIENCE)
        return self._stream.read()

    def close(self) -> None:
        self._stream.close()
        self._connection.close()

    def shake_hands(self) -> None:
        key = re.search(r"Sec-WebSocket-Key: (\S+)", self.request).group(1)  # type: ignore[union-attr]
        accept = base64.b64encode(hashlib.sha1((key + _GUID).encode()).digest()).decode()
        self.send(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Accept: {accept}\r\n\r\n".encode()
        )

    def read_text(self) -> str:
        """The payload of one short masked frame."""
        length = self._stream.read(2)[1] & 0x7F
        mask, data = self._stream.read(4), self._stream.read(length)
        return bytes(byte ^ mask[i % 4] for i, byte in enumerate(data)).decode()


def frame(payload: bytes, opcode: int) -> bytes:
    return struct.pack(">BBH", 0x80 | opcode, 126, len(payload)) + payload


TEXT, BINARY, CLOSE = 1, 2, 8


@contextmanager
def peers(serve: Callable[[Peer], None]) -> Iterator[str]:
    """An address where each connection is served by `serve` in a thread of its own."""
    open_peers: list[Peer] = []

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            peer = Peer(connection)
            open_peers.append(peer)
            serve(peer)

    listener = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=accept, daemon=True).start()
    port = listener.getsockname()[1]
    try:
        yield f"127.0.0.1:{port}"
    finally:
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)  # wakes `accept`; not everywhere allowed
        listener.close()
        for peer in open_peers:
            peer.close()


class Shaken:
    """Peers that shake hands; the last one is at hand for the test."""

    def __init__(self) -> None:
        self.peers: list[Peer] = []
        self._ready = threading.Semaphore(0)

    def __call__(self, peer: Peer) -> None:
        peer.shake_hands()
        self.peers.append(peer)
        self._ready.release()

    def last(self) -> Peer:
        assert self._ready.acquire(timeout=PATIENCE)
        return self.peers[-1]


@contextmanager
def connected(address_text: str = "", token: str | None = None) -> Iterator[tuple[JobSocket, Peer]]:
    shaken = Shaken()
    with peers(shaken) as place:
        address = parse_address(f"http://{address_text}{place}/comfy", token)
        job_socket = JobSocket(address, "prefix-1", PATIENCE)
        try:
            yield job_socket, shaken.last()
        finally:
            job_socket.close()


def test_handshake_goes_below_the_prefix_with_the_client_id_and_no_origin():
    with connected() as (_, peer):
        assert peer.request.startswith("GET /comfy/ws?clientId=prefix-1 HTTP/1.1\r\n")
        assert "Origin:" not in peer.request
        assert "Authorization:" not in peer.request
        flags = {"type": "feature_flags", "data": {"supports_preview_metadata": True}}
        assert json.loads(peer.read_text()) == flags


@pytest.mark.parametrize(
    ("user", "token", "header"),
    [("", "key", "Bearer key"), ("user:pass@", None, "Basic dXNlcjpwYXNz")],
)
def test_handshake_carries_the_credentials(user, token, header):
    with connected(user, token) as (_, peer):
        assert f"Authorization: {header}\r\n" in peer.request


def test_frames_come_as_text_and_bytes_and_nothing_is_none():
    with connected() as (job_socket, peer):
        assert job_socket.receive(0) is None
        peer.send(frame(b"caf\xc3\xa9 \xff", TEXT) + frame(b"\x00\x01", BINARY))
        assert job_socket.receive(PATIENCE) == "caf\u00e9 \ufffd"
        assert job_socket.receive(PATIENCE) == b"\x00\x01"
        assert job_socket.receive(0) is None


def test_frame_that_comes_in_pieces_is_put_together():
    whole = frame(b"x" * 300, BINARY)
    with connected() as (job_socket, peer):
        for piece in (whole[:1], whole[1:3], whole[3:200]):
            peer.send(piece)
            assert job_socket.receive(0.01) is None
        peer.send(whole[200:])
        assert job_socket.receive(PATIENCE) == b"x" * 300


def before_reads(monkeypatch: pytest.MonkeyPatch, tell: Callable[[float], object]) -> None:
    """Tells before each read, from here on, how many seconds it is ready to wait."""
    settimeout = websocket.WebSocket.settimeout

    def telling(self: websocket.WebSocket, timeout: float) -> None:
        tell(timeout)
        settimeout(self, timeout)

    monkeypatch.setattr(websocket.WebSocket, "settimeout", telling)


def test_frames_that_came_together_are_read_at_once(monkeypatch):
    with connected() as (job_socket, peer):
        peer.send(frame(b"one", TEXT) + frame(b"x" * 300, BINARY) + frame(b"three", TEXT))
        waits: list[float] = []
        before_reads(monkeypatch, waits.append)
        assert [job_socket.receive(PATIENCE) for _ in range(3)] == ["one", b"x" * 300, "three"]
        assert len(waits) == 1


def test_frame_that_trickles_in_is_not_waited_for_longer_than_was_said():
    is_over = threading.Event()
    with connected() as (job_socket, peer):

        def trickle() -> None:
            for byte in frame(b"x" * 2000, BINARY):
                if is_over.wait(0.001):
                    return
                peer.send(bytes([byte]))

        sender = threading.Thread(target=trickle)
        sender.start()
        assert job_socket.receive(0.03) is None
        is_over.set()
        sender.join(PATIENCE)


@contextmanager
def flooding(peer: Peer, start: bytes, more: bytes) -> Iterator[None]:
    """A peer that sends much more than it may, and comes to no end."""
    is_over = threading.Event()

    def flood() -> None:
        with contextlib.suppress(OSError):
            peer.send(start)
            for _ in range(200):
                if is_over.is_set():
                    return
                peer.send(more)

    sender = threading.Thread(target=flood, daemon=True)
    sender.start()
    try:
        yield
    finally:
        is_over.set()
        peer.close()
        sender.join(PATIENCE)


ENDLESS_FRAME = (struct.pack(">BBQ", 0x80 | BINARY, 127, 2**62), b"x" * 65536)
ENDLESS_PIECES = (
    struct.pack(">BBH", BINARY, 126, 4) + b"some",
    struct.pack(">BBH", 0, 126, 60_000) + b"x" * 60_000,
)


@pytest.mark.parametrize(("start", "more"), [ENDLESS_FRAME, ENDLESS_PIECES])
def test_message_without_an_end_loses_the_socket_before_the_memory(start, more, monkeypatch):
    monkeypatch.setattr("comfyui.sockets.MAX_MESSAGE_BYTES", 1_000_000)
    with connected() as (job_socket, peer), flooding(peer, start, more):
        with pytest.raises(SocketLost, match="WebSocketPayloadException"):
            for _ in range(20):
                assert job_socket.receive(0.05) is None
        job_socket.close()


def test_message_without_an_end_takes_no_longer_than_was_said(monkeypatch):
    monkeypatch.setattr("comfyui.sockets.MAX_MESSAGE_BYTES", 150_000_000)
    start, more = ENDLESS_FRAME
    with connected() as (job_socket, peer), flooding(peer, start, more * 32):
        # Whoever reads on while something comes meets the limit.
        assert job_socket.receive(0.001) is None
        assert job_socket.receive(0.001) is None, "the rest is still to come"
        job_socket.close()


def test_many_large_messages_are_none_too_large(monkeypatch):
    monkeypatch.setattr("comfyui.sockets.MAX_MESSAGE_BYTES", 70_000)
    large = struct.pack(">BBQ", 0x80 | BINARY, 127, 60_000) + b"x" * 60_000
    with connected() as (job_socket, peer):
        for _ in range(3):
            peer.send(large)
            assert job_socket.receive(PATIENCE) == b"x" * 60_000


@pytest.mark.parametrize("with_frame", [True, False])
def test_closed_socket_is_lost(with_frame):
    with connected() as (job_socket, peer):
        if with_frame:
            peer.send(frame(struct.pack(">H", 1001), CLOSE))
        peer.read_text()  # unread bytes would make the close a reset
        peer.close()
        with pytest.raises(SocketLost):
            job_socket.receive(PATIENCE)
        with pytest.raises(SocketLost):
            job_socket.receive(0)


def test_connection_ends_also_when_the_server_said_goodbye_first():
    with connected() as (job_socket, peer):
        peer.send(frame(struct.pack(">H", 1001), CLOSE))
        with pytest.raises(SocketLost):
            job_socket.receive(PATIENCE)
        job_socket.close()
        assert peer.read_to_the_end()


def test_socket_that_another_thread_closes_is_lost_to_the_one_that_waits(monkeypatch):
    is_reading = threading.Event()
    with connected() as (job_socket, _), ThreadPoolExecutor(1) as pool:
        before_reads(monkeypatch, lambda _: is_reading.set())
        waiting = pool.submit(job_socket.receive, 2 * PATIENCE)
        assert is_reading.wait(PATIENCE)
        job_socket.close()
        with pytest.raises(SocketLost):
            waiting.result(PATIENCE)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>",
        b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"no HTTP at all\r\n\r\n",
        b"",
    ],
)
def test_server_that_gives_no_websocket_is_lost_without_a_word_of_the_key(answer):
    def serve(peer: Peer) -> None:
        peer.send(answer)
        peer.close()

    with peers(serve) as place, pytest.raises(SocketLost) as caught:
        JobSocket(parse_address(place, HUSH), "prefix-1", PATIENCE)
    assert place in str(caught.value)
    assert HUSH not in str(caught.value)


def test_redirect_is_not_followed_since_the_credentials_would_go_along():
    visitors: list[Peer] = []
    with peers(visitors.append) as elsewhere:
        answer = f"HTTP/1.1 302 Found\r\nLocation: ws://{elsewhere}/ws\r\n\r\n".encode()
        with peers(lambda peer: peer.send(answer)) as place, pytest.raises(SocketLost):
            JobSocket(parse_address(place, "key"), "prefix-1", 0.5)
    assert visitors == []


def test_server_that_never_answers_is_given_up():
    with peers(lambda peer: None) as place, pytest.raises(SocketLost):
        JobSocket(parse_address(place), "prefix-1", 0.2)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@contextmanager
def pool_with_clock() -> Iterator[tuple[SocketPool, Shaken, Clock]]:
    shaken, clock = Shaken(), Clock()
    with peers(shaken) as place:
        pool = SocketPool(parse_address(place), "prefix", connect_timeout=PATIENCE, clock=clock)
        try:
            yield pool, shaken, clock
        finally:
            pool.close()


def test_every_socket_has_an_id_of_its_own_also_among_pools_with_one_prefix():
    with pool_with_clock() as (one, shaken, _), pool_with_clock() as (other, _, _):
        sockets = [one.acquire(), one.acquire(), other.acquire()]
        ids = {job_socket.client_id for job_socket in sockets}
        for job_socket in sockets:
            job_socket.close()
    assert len(ids) == 3
    assert all(re.fullmatch(r"prefix-\d+", client_id) for client_id in ids)


def test_idle_socket_is_taken_again_without_what_came_meanwhile():
    with pool_with_clock() as (pool, shaken, _):
        first = pool.acquire()
        pool.release(first)
        shaken.last().send(frame(b"old news", TEXT) * 3)
        again = pool.acquire()
        assert again is first
        assert again.receive(0) is None
        pool.release(again)


def test_idle_socket_is_taken_without_waiting_whether_more_comes(monkeypatch):
    with pool_with_clock() as (pool, _, _):
        first = pool.acquire()
        pool.release(first)
        waits: list[float] = []
        before_reads(monkeypatch, waits.append)
        assert pool.acquire() is first
        assert waits == [0.0]
        pool.release(first)


def test_idle_socket_that_many_jobs_went_by_is_replaced():
    with pool_with_clock() as (pool, shaken, _):
        first = pool.acquire()
        pool.release(first)
        shaken.last().send(frame(b"old news", TEXT) * 1000)
        again = pool.acquire()
        assert again is not first
        assert again.receive(0) is None
        pool.release(again)


def test_few_idle_sockets_are_kept_those_that_came_last():
    with pool_with_clock() as (pool, _, _):
        sockets = [pool.acquire() for _ in range(18)]
        for job_socket in sockets:
            pool.release(job_socket)
        for job_socket in sockets[:2]:
            with pytest.raises(SocketLost):
                job_socket.receive(0)
        taken = [pool.acquire() for _ in range(16)]
        assert taken == sockets[:1:-1]
        for job_socket in taken:
            pool.release(job_socket)


def test_idle_socket_that_the_server_closed_is_replaced():
    with pool_with_clock() as (pool, shaken, _):
        first = pool.acquire()
        pool.release(first)
        peer = shaken.last()
        peer.read_text()
        peer.close()
        again = pool.acquire()
        assert again.client_id != first.client_id
        pool.release(again)


def test_socket_that_was_idle_for_long_is_closed_when_another_comes_back():
    with pool_with_clock() as (pool, _, clock):
        old, young = pool.acquire(), pool.acquire()
        pool.release(old)
        clock.now = 31.0
        pool.release(young)
        with pytest.raises(SocketLost):
            old.receive(0)
        assert pool.acquire() is young
        pool.release(young)


def test_pool_that_was_closed_can_be_used_again():
    with pool_with_clock() as (pool, _, _):
        pool.close()
        first = pool.acquire()
        pool.release(first)
        assert pool.acquire() is first
        first.close()


def test_closed_pool_keeps_nothing():
    with pool_with_clock() as (pool, _, _):
        idle, busy = pool.acquire(), pool.acquire()
        pool.release(idle)
        pool.close()
        pool.release(busy)
        for job_socket in (idle, busy):
            with pytest.raises(SocketLost):
                job_socket.receive(0)
