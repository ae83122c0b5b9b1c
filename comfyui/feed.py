"""What a job hears: events over the socket that it was sent with; after that is lost, of the queue.

Owns the job's socket, what becomes of it, and whether it can still be believed. The server sends a
job's events only to the client id that came with it, and an id must not be used for a second socket
(`comfyui/sockets.py`). So a new socket tells of the queue alone: that something has ended.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator

from comfyui.cancelling import CancelToken
from comfyui.client import ComfyUIClient
from comfyui.events import Event, QueueChanged, parse_frame
from comfyui.sockets import JobSocket, SocketLost

logger = logging.getLogger(__name__)

CANCEL_LATENCY = 0.25
"""Seconds after which a thread that waits for the socket notices that it was cancelled."""
_SHORTEST_WAIT = 0.5
"""Seconds for a sign, however short a silence may be: the answer comes in milliseconds or never."""
_REOPEN_PAUSE = 5.0
"""Between two tries to open a socket again, as a multiple of `Limits.silence`."""


class Feed:
    """The socket of one job, or none; used by one thread."""

    def __init__(self, client: ComfyUIClient, token: CancelToken) -> None:
        self._client = client
        self._token = token
        self._socket: JobSocket | None = None
        self._is_own = False
        self._is_deaf = False
        self._heard: deque[Event] = deque()
        self._next_opening = client.clock()

    def open(self) -> None:
        """Opens the socket that the job will be sent with; without one it goes on all the same."""
        self._is_own = self._open()

    def observe(self) -> None:
        """Opens a socket that tells of the queue, unless there is one or a try was just made."""
        if self._socket is None and self._client.clock() >= self._next_opening:
            self._open()

    def _open(self) -> bool:
        pause = _REOPEN_PAUSE * self._client.limits.silence
        self._next_opening = self._client.clock() + pause
        try:
            self._socket = self._client.sockets.acquire()
        except SocketLost as error:
            logger.warning("%s; going on without live progress", error)
            return False
        return True

    @property
    def client_id(self) -> str:
        """What the job is sent with, so that the server tells this socket of it and no other.

        Without one it is sent with an id that nobody listens to: a job without any is told to
        every socket, and from 0.19 to 0.27 has no files when it was cached (ComfyUI's pull 13751).
        """
        if self._socket is not None:
            return self._socket.client_id
        return self._client.sockets.new_client_id()

    @property
    def is_open(self) -> bool:
        return self._socket is not None

    @property
    def tells_of_job(self) -> bool:
        """True while the job's own events can be expected."""
        return self._socket is not None and self._is_own and not self._is_deaf

    def next(self, patience: float) -> Event | None:
        """The next event; None after `patience` seconds, or sooner, without one.

        An observer's socket gives only QueueChanged: what else it hears is of other jobs.
        """
        if self._heard:
            return self._heard.popleft()
        if self._socket is None:
            self._token.wait(max(0.0, patience))
            return None
        try:
            frame = self._socket.receive(min(patience, CANCEL_LATENCY))
        except SocketLost as error:
            logger.warning("%s; going on by asking the server", error)
            self.close()
            return None
        self._is_deaf = self._is_deaf and frame is None
        return self._event_of(frame)

    def _event_of(self, frame: str | bytes | None) -> Event | None:
        event = parse_frame(frame) if frame is not None else None
        return event if self._is_own or isinstance(event, QueueChanged) else None

    def is_alive(self) -> bool:
        """Whether the socket still reaches the server, which then was not restarted meanwhile.

        Asks for a sign, and waits for it as long as for other news.
        """
        socket, clock = self._socket, self._client.clock
        if socket is None:
            return False
        # One that gave no sign is not waited for again, but what it has now is read.
        patience = 0.0 if self._is_deaf else max(self._client.limits.silence, _SHORTEST_WAIT)
        deadline = clock() + patience
        heard = socket.pongs
        try:
            socket.ping()
            while socket.pongs == heard:
                left = max(0.0, deadline - clock())
                frame = socket.receive(left)
                if frame is None and left == 0:
                    break
                event = self._event_of(frame)
                if event is not None:
                    self._heard.append(event)
        except SocketLost as error:
            logger.debug("%s", error)
            self.close()
            return False
        self._is_deaf = socket.pongs == heard
        return not self._is_deaf

    def heard(self) -> Iterator[Event]:
        """The events that came while a sign was waited for."""
        while self._heard:
            yield self._heard.popleft()

    def release(self, told_of_the_end: bool) -> None:
        """Keeps the socket for a later job, unless it did not tell of the end: it may be dead."""
        if self._socket is not None and self._is_own and told_of_the_end:
            self._client.sockets.release(self._socket)
            self._socket = None
        self.close()

    def close(self) -> None:
        """Closes the socket, if there is one."""
        if self._socket is not None:
            self._socket.close()
        self._socket, self._is_own, self._is_deaf = None, False, False
