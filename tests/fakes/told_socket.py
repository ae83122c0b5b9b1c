"""A job's sockets without a network: they tell what is written down; waiting takes no time."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable
from typing import Any

from comfyui.cancelling import CancelToken
from comfyui.sockets import SocketLost

Frame = str | bytes | Callable[[], object]
_FOR_EVER = 2000


def message(kind: str, prompt_id: str | None = None, **data: Any) -> str:
    """A frame as the server sends it."""
    own = {} if prompt_id is None else {"prompt_id": prompt_id}
    return json.dumps({"type": kind, "data": {**own, **data}})


def lose() -> object:
    """As a frame: the connection breaks."""
    raise SocketLost("the WebSocket broke: Test")


class ToldSocket:
    """Gives its frames in their order, then none; `token` notes how long it was waited for more.

    A callable among the frames is called, and counts as no news.
    """

    def __init__(self, token: CancelToken, *frames: Frame, answers_pings: bool = True) -> None:
        self.client_id = f"told-{id(self)}"
        self.pongs = 0
        self.patience: list[float] = []
        """What each `receive` was ready to wait."""
        self.is_closed = False
        self.frames = deque(frames)
        self._token = token
        self._answers_pings = answers_pings
        self._is_asked = False

    def receive(self, timeout: float) -> str | bytes | None:
        self.patience.append(timeout)
        assert len(self.patience) < _FOR_EVER, "the socket is waited for, for ever"
        if self.frames:
            frame = self.frames.popleft()
            if not callable(frame):
                return frame
            frame()
            return None
        if self._is_asked and self._answers_pings:
            self._is_asked = False
            self.pongs += 1
            return b""
        self._token.wait(timeout)
        return None

    def ping(self) -> None:
        self._is_asked = True

    def close(self) -> None:
        self.is_closed = True


class ToldSockets:
    """In place of a client's pool: gives these sockets one after another, then none."""

    def __init__(self, *sockets: ToldSocket) -> None:
        self.left = list(sockets)
        self.kept: list[ToldSocket] = []

    def acquire(self) -> ToldSocket:
        if not self.left:
            raise SocketLost("no WebSocket to here: Test")
        return self.left.pop(0)

    def new_client_id(self) -> str:
        return "told-nobody"

    def release(self, socket: ToldSocket) -> None:
        self.kept.append(socket)

    def close(self) -> None:
        self.left = []
