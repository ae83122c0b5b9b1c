"""A small internet on loopback: names with the addresses of a stubbed resolver, and a server.

Owns what a guard of addresses has to be tried on. A connection to PUBLIC on one of its ports ends
at the server; one to any other address but loopback is written down and fails the test.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

PUBLIC = "93.184.215.14"
Answer = Callable[[str], "bytes | Iterator[bytes]"]
"""From "host path" of a request to the bytes of the answer, whole or bit by bit."""


def whole(body: bytes = b"", status: str = "200 OK", *headers: str) -> bytes:
    """An answer with its length and without a connection that is kept."""
    lines = (f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers)
    return "\r\n".join((*lines, "", "")).encode() + body


def moved(location: str, status: int = 302) -> bytes:
    """A redirect."""
    return whole(b"", f"{status} Moved", f"Location: {location}")


class Web:
    """Names, where connections went, and what the server was asked and answers."""

    def __init__(self) -> None:
        self.names: dict[str, list[list[str]]] = {}
        """The addresses of a name, look-up by look-up; the last ones stay."""
        self.asked: list[bytes] = []
        self.dialled: list[tuple[str, int]] = []
        self.answer: Answer = lambda place: whole(b"ok")
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._look_up, self._connect = socket.getaddrinfo, socket.socket.connect
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    @property
    def paths(self) -> list[str]:
        """The host and path of each request that came."""
        return [_place(request) for request in self.asked]

    def look_up(self, host: str, port: Any, *_: object, **__: object) -> list[Any]:
        """In place of socket.getaddrinfo: the stub's names, else numbers as the system reads."""
        answers = self.names.get(host.rstrip(".").lower(), [[host]])
        addresses = answers.pop(0) if len(answers) > 1 else answers[0]
        flags = socket.AI_NUMERICHOST  # no question leaves this machine
        found = (self._look_up(a, port, type=socket.SOCK_STREAM, flags=flags) for a in addresses)
        return [entry for entries in found for entry in entries]

    def connect(self, sock: socket.socket, address: tuple[str, int]) -> None:
        """In place of socket.socket.connect."""
        self.dialled.append(address[:2])
        there = ("127.0.0.1", self.port) if address[0] == PUBLIC else address
        self._connect(sock, there)

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError):
                self._one(connection)

    def _one(self, connection: socket.socket) -> None:
        request = b""
        while b"\r\n\r\n" not in request:
            request += connection.recv(65536) or b"\r\n\r\n"
        self.asked.append(request)
        answer = self.answer(_place(request))
        for part in [answer] if isinstance(answer, bytes) else answer:
            connection.sendall(part)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)


def _place(request: bytes) -> str:
    lines = request.decode("latin-1").split("\r\n")
    host = next((line[6:] for line in lines if line.lower().startswith("host: ")), "")
    return f"{host} {lines[0].split(' ')[1] if ' ' in lines[0] else ''}"


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    made = Web()
    made.names |= {"public.example": [[PUBLIC]], "localhost": [["127.0.0.1"]]}
    monkeypatch.setattr(socket, "getaddrinfo", made.look_up)
    monkeypatch.setattr(socket.socket, "connect", lambda sock, to: made.connect(sock, to))
    yield made
    made.close()
