"""A TCP proxy in front of a server, for what goes wrong between a client and it.

Owns the faults: WebSockets refused, held back or cut; answers lost, cut, late or others than the
server's; a server that hangs, goes away or comes back as another. Knows of HTTP only what starts a
request. Faults act from now on.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from collections.abc import Callable
from typing import Literal

_CHUNK_BYTES = 64 * 1024


class FaultProxy:
    """Forwards to `target` ("host:port"); a context manager."""

    def __init__(self, target: str) -> None:
        self.websockets: Literal["pass", "refuse", "hold"] = "pass"
        """"hold" keeps back what the server sends after the handshake, until `release`."""
        self.cut_reply_to: tuple[str, int] | None = None
        """The start of a request, and after how many bytes its answer is cut; once."""
        self.cut_reply_with = b""
        """What the client is sent in place of the rest."""
        self.frozen = False
        """Nothing passes in either direction, nothing is closed."""
        self.delay = 0.0
        """Seconds by which every answer is late; WebSockets are not."""
        self._answers: list[tuple[str, Answer]] = []
        self._stopped = threading.Event()
        self._requests: list[str] = []
        self._more_requests = threading.Condition()
        self._target = target
        self._links: set[_Link] = set()
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> FaultProxy:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stopped.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes `accept`; not everywhere allowed
        self._listener.close()
        self.cut()
        for thread in list(self._threads):
            thread.join(5)

    def count(self, request: str) -> int:
        """How many requests started like this, as "POST /prompt"."""
        return sum(line.startswith(request) for line in self._requests)

    def wait_for_more(self, request: str, number: int, timeout: float = 10.0) -> bool:
        """Waits for so many further requests; False after `timeout` seconds."""
        wanted = self.count(request) + number
        with self._more_requests:
            return self._more_requests.wait_for(lambda: self.count(request) >= wanted, timeout)

    def answer(self, request: str, answer: Answer, times: int = 1) -> None:
        """The next requests that start like this get `answer` and never reach the server.

        With a callable, what that gives; None lets the request pass after all. An empty answer
        breaks the connection off.
        """
        self._answers += [(request, answer)] * times

    def answer_to(self, request: str) -> bytes | None:
        """What stands in for the server's answer to a request; None: nothing does."""
        for entry in self._answers:
            if request.startswith(entry[0]):
                self._answers.remove(entry)
                return entry[1]() if callable(entry[1]) else entry[1]
        return None

    def pause(self) -> None:
        """Waits as long as an answer is late."""
        self._stopped.wait(self.delay)

    def reset(self, target: str) -> None:
        """No faults any more, and `target` behind."""
        self._target, self._answers = target, []
        self.websockets, self.cut_reply_to, self.cut_reply_with = "pass", None, b""
        self.frozen, self.delay = False, 0.0

    def note(self, request: str) -> None:
        with self._more_requests:
            self._requests.append(request)
            self._more_requests.notify_all()

    def cut(self, *, websockets: bool = True, others: bool = True) -> None:
        """Breaks the connections that stand."""
        for link in list(self._links):
            if websockets if link.is_websocket else others:
                link.cut()

    def switch_to(self, target: str, *, cut_websockets: bool = True) -> None:
        """The server has gone; from now on there is another one, or none, at `target`."""
        self._target = target
        self.cut(websockets=cut_websockets)

    def release(self) -> None:
        """Lets through what was held back."""
        self.websockets = "pass"
        for link in list(self._links):
            link.release()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(client,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, client: socket.socket) -> None:
        host, port = self._target.rsplit(":", 1)
        with (
            client,
            contextlib.suppress(OSError),
            socket.create_connection((host, int(port)), timeout=5) as server,
        ):
            for side in (client, server):  # else what is sent in two parts takes 40 ms longer
                side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            link = _Link(self, client, server)
            self._links.add(link)
            try:
                link.run()
            finally:
                self._links.discard(link)


Answer = bytes | Callable[[], bytes | None]


def http_answer(status: int, body: bytes = b"", *headers: str) -> bytes:
    """A whole HTTP response that ends its connection."""
    lines = [f"HTTP/1.1 {status} .", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


class _Link:
    """One connection of a client and its twin to the server."""

    def __init__(self, proxy: FaultProxy, client: socket.socket, server: socket.socket) -> None:
        self.is_websocket = False
        self._proxy = proxy
        self._client = client
        self._server = server
        self._left: int | None = None
        self._swallows = False
        self._shook_hands = False
        self._held = b""
        self._lock = threading.Lock()

    def run(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._client, selectors.EVENT_READ, self._from_client)
            selector.register(self._server, selectors.EVENT_READ, self._from_server)
            while True:
                for key, _ in selector.select():
                    data = key.fileobj.recv(_CHUNK_BYTES)  # type: ignore[union-attr]
                    if not data or not key.data(data):
                        return

    def cut(self) -> None:
        for side in (self._client, self._server):
            with contextlib.suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)

    def release(self) -> None:
        with self._lock:
            self._client.sendall(self._held)
            self._held = b""

    def _from_client(self, data: bytes) -> bool:
        if not self.is_websocket and data.startswith((b"GET ", b"POST ")):
            line = data.split(b" HTTP/", 1)[0].decode()
            self._proxy.note(line)
            self.is_websocket = line.startswith("GET /ws")
            cut = self._proxy.cut_reply_to
            self._left = cut[1] if cut is not None and line.startswith(cut[0]) else None
            if self.is_websocket and self._proxy.websockets == "refuse":
                return False
            answer = self._proxy.answer_to(line)
            self._swallows = answer is not None
            if answer is not None:
                self._client.sendall(answer)
                if not answer:
                    return False
        if not self._proxy.frozen and not self._swallows:
            self._server.sendall(data)
        return True

    def _from_server(self, data: bytes) -> bool:
        if self._proxy.frozen:
            return True
        if not self.is_websocket:
            self._proxy.pause()
        if self._left is not None:
            self._proxy.cut_reply_to = None
            data, self._left = data[: self._left], self._left - len(data)
            self._client.sendall(data if self._left > 0 else data + self._proxy.cut_reply_with)
            return self._left > 0
        with self._lock:
            if self.is_websocket and self._shook_hands and self._proxy.websockets == "hold":
                self._held += data
            else:
                self._client.sendall(data)
        self._shook_hands = True
        return True
