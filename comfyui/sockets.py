"""WebSockets to a ComfyUI server: one a running job, each with a client id of its own.

Owns the only import of the WebSocket library, and the pool that keeps idle sockets for the next
job. Knows no events: frames come out as they arrived. A socket is used by one thread at a time.

A client id is never used twice, in this process or another, so its number is a random one: when two
sockets share an id, the server's old handler takes the new socket off its list as it ends, and that
falls silent for good (seen on 0.3.64, 0.8.0, 0.26.0).
"""

from __future__ import annotations

import json
import logging
import secrets
import threading
import time
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any

from comfyui.address import ServerAddress

if TYPE_CHECKING:
    import ssl

logger = logging.getLogger(__name__)

# Must be the first message; then previews say which job they belong to (server.py, feature flags).
_FEATURE_FLAGS = json.dumps({"type": "feature_flags", "data": {"supports_preview_metadata": True}})
_ID_BITS = 48
_MOST_OLD_FRAMES = 32
MAX_MESSAGE_BYTES = 256 * 1024 * 1024
"""Of one message, in all its frames: a picture of SaveImageWebsocket can be large."""
_READ_BYTES = 16 * 1024
"""At once; the library alone would ask the system two or three times for every frame."""
_TO_LEAVE = 0.0005
"""Seconds for the few bytes that are sent; they fit in unless nobody has read for long."""
_GRACE = 0.05
"""Seconds for what is there already, on a busy machine too."""


class SocketLost(Exception):
    """The socket is closed or broken; nothing more comes from it."""


class JobSocket:
    """An open socket; `client_id` is what the server knows it by."""

    def __init__(
        self,
        address: ServerAddress,
        client_id: str,
        timeout: float,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Connects within `timeout` seconds; raises SocketLost. `tls` says whom wss:// believes."""
        import ssl  # by the first socket: programs that open none do without

        import websocket

        self.client_id = client_id
        self.idle_since = 0.0
        self.pongs = 0
        """How many pings the server has answered so far."""
        self._library: Any = websocket  # it annotates only some of its methods
        options = None if tls is None else {"context": tls}
        self._socket = self._library.WebSocket(skip_utf8_validation=True, sslopt=options)
        self._gate = _Gate(self._socket, websocket)
        self._socket.frame_buffer.recv = self._gate
        timed_out = websocket.WebSocketTimeoutException
        self._nothing_yet = (timed_out, BlockingIOError, ssl.SSLWantReadError)
        try:
            self._socket.connect(
                address.websocket_url(client_id),
                timeout=timeout,
                header=[f"{name}: {value}" for name, value in address.headers.items()],
                suppress_origin=True,
                redirect_limit=0,  # a redirect would carry the credentials elsewhere
                http_no_proxy=["*"] if address.is_loopback else None,
            )
            if self._socket.getstatus() != 101:  # older versions take a redirect for success
                raise self._library.WebSocketException("not switched to WebSocket")
            self._socket.send(_FEATURE_FLAGS)
        except (self._library.WebSocketException, OSError, ValueError) as error:
            self.close()
            # Its text is the server's answer, which may repeat the credentials: not `from` it.
            raise SocketLost(f"no WebSocket to {address}: {type(error).__name__}") from None

    def receive(self, timeout: float) -> str | bytes | None:
        """The next frame, or None after `timeout` seconds without a whole one; raises SocketLost.

        The answer to a ping counts as an empty frame. What has come of a frame is kept.
        """
        self._gate.deadline = time.monotonic() + timeout
        try:
            opcode, data = self._socket.recv_data(control_frame=True)
        except self._nothing_yet:
            return None
        except (self._library.WebSocketException, OSError) as error:
            raise SocketLost(f"the WebSocket broke: {type(error).__name__}") from error
        if opcode == self._library.ABNF.OPCODE_CLOSE:
            raise SocketLost("the server closed the WebSocket")
        if opcode in (self._library.ABNF.OPCODE_PING, self._library.ABNF.OPCODE_PONG):
            self.pongs += opcode == self._library.ABNF.OPCODE_PONG
            return b""
        self._gate.passed = 0
        frame = bytes(data)
        is_text = opcode == self._library.ABNF.OPCODE_TEXT
        return frame.decode("utf-8", "replace") if is_text else frame

    def ping(self) -> None:
        """Asks the server for a sign, which counts up `pongs`; raises SocketLost."""
        try:
            self._socket.settimeout(_TO_LEAVE)
            self._socket.ping()
        except (self._library.WebSocketException, OSError) as error:
            raise SocketLost(f"the WebSocket broke: {type(error).__name__}") from error

    def drain(self) -> None:
        """Throws away what has come, without waiting for more; raises SocketLost.

        Also when it is so much that a new socket is there sooner: every job of the server, whoever
        sent it, leaves three frames.
        """
        for _ in range(_MOST_OLD_FRAMES):
            if self.receive(0) is None:
                return
        raise SocketLost("the WebSocket was idle for too many jobs")

    def close(self) -> None:
        """Closes at once, without waiting for the other side."""
        try:
            self._socket.settimeout(_TO_LEAVE)
            self._socket.close(timeout=0)
        except (self._library.WebSocketException, OSError):
            logger.debug("closing a WebSocket failed", exc_info=True)
        self._socket.shutdown()  # `close` does nothing when the server closed first


class _Gate:
    """What the WebSocket library reads through: neither time nor memory is the server's to spend.

    The library itself reads a frame whole, however long it says that it is, waits anew for each of
    its parts, and asks the system for each; what has come of it when the time ends is kept.
    """

    def __init__(self, socket: Any, library: Any) -> None:
        self._socket = socket
        self._read: Callable[[int], bytes] = socket.frame_buffer.recv
        self._library = library
        self._ahead = b""
        self.passed = 0
        """Bytes of the message that is being read."""
        self.deadline = 0.0

    def __call__(self, size: int) -> bytes:
        if not self._ahead:
            self._ahead = self._read_in_time()
        data, self._ahead = self._ahead[:size], self._ahead[size:]
        self.passed += len(data)
        if self.passed > MAX_MESSAGE_BYTES:
            raise self._library.WebSocketPayloadException("a message is too large")
        return data

    def _read_in_time(self) -> bytes:
        left = self.deadline - time.monotonic()
        if self.passed and left <= -_GRACE:
            raise self._library.WebSocketTimeoutException("the time for this frame is over")
        self._socket.settimeout(max(0.0, left))  # what is there already is read without waiting
        return self._read(_READ_BYTES)


class SocketPool:
    """Open sockets to one server; `acquire` and `release` are safe from many threads."""

    def __init__(
        self,
        address: ServerAddress,
        prefix: str,
        *,
        connect_timeout: float,
        max_idle_seconds: float = 30.0,
        max_idle: int = 16,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._address = address
        self._prefix = prefix
        self._connect_timeout = connect_timeout
        self._max_idle_seconds = max_idle_seconds
        self._max_idle = max_idle
        self._clock = clock
        self._idle: list[JobSocket] = []
        self._lock = threading.Lock()
        self._closed = False

    def acquire(self) -> JobSocket:
        """An idle socket that still lives, or a new one; raises SocketLost."""
        self._closed = False  # whoever closed it may work on
        self._close_old()
        while (kept := self._take_idle()) is not None:
            if _drained(kept):
                return kept
            kept.close()
        return JobSocket(self._address, self.new_client_id(), self._connect_timeout, self._tls)

    @cached_property
    def _tls(self) -> ssl.SSLContext | None:
        """Made once, since it reads every certificate; the same ones are believed as by HTTP."""
        if not self._address.base_url.startswith("https:"):
            return None
        from image_io.trust import tls_context

        return tls_context(self._address.ca_bundle)

    def new_client_id(self) -> str:
        """An id that no socket has or had."""
        return f"{self._prefix}-{secrets.randbits(_ID_BITS)}"

    def _take_idle(self) -> JobSocket | None:
        with self._lock:
            return self._idle.pop() if self._idle else None

    def release(self, socket: JobSocket) -> None:
        """Keeps a socket for a later job; only one that told of its job's end."""
        socket.idle_since = self._clock()
        with self._lock:
            self._idle.append(socket)
        self._close_old()

    def close(self) -> None:
        """Closes the idle sockets; those in use close when they come back."""
        self._closed = True
        self._close_old()

    def _close_old(self) -> None:
        now = self._clock()
        with self._lock:
            # The server tells each of every change of the queue: more would slow all jobs down.
            young = [s for s in self._idle[-self._max_idle :] if not self._is_old(s, now)]
            kept = [] if self._closed else young
            old = [socket for socket in self._idle if socket not in kept]
            self._idle = kept
        for socket in old:
            socket.close()

    def _is_old(self, socket: JobSocket, now: float) -> bool:
        return now - socket.idle_since > self._max_idle_seconds


def _drained(socket: JobSocket) -> bool:
    """Throws away what came while the socket was idle; False when it is dead."""
    try:
        socket.drain()
    except SocketLost:
        return False
    return True
