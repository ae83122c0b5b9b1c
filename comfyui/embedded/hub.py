"""The sockets of /ws: who is connected, and who gets which message.

Owns ComfyUI's rules for that, its same-clientId bug included (recording
026_ws_same_client_both_open: closing the old socket forgets the new one). Messages may be posted
from any thread and go out in that order. Does not know what the messages mean.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import struct
import uuid
from typing import Any

from aiohttp import ClientError, WSMessage, WSMsgType, web

from comfyui.embedded.stats import ServerStats

logger = logging.getLogger(__name__)

SERVER_FEATURES: dict[str, Any] = {
    "supports_preview_metadata": True,
    "max_upload_size": 104857600,
    "extension": {"manager": {"supports_v4": True}},
    "node_replacements": True,
    "assets": False,
}
"""What 0.26.0 answers to feature_flags and on /features (026_feature_flags)."""

PREVIEW_IMAGE = 1
PREVIEW_IMAGE_WITH_METADATA = 4
JPEG, PNG = 1, 2
CLOSE_SECONDS = 0.5


class SocketHub:
    """Connected sockets and the queue of messages to them."""

    def __init__(self, loop: asyncio.AbstractEventLoop, stats: ServerStats) -> None:
        self.executing_client: str | None = None
        """client_id of the job that runs, or ran last."""
        self.executing_node: str | None = None
        self._loop = loop
        self._stats = stats
        self._messages: asyncio.Queue[tuple[str | bytes, str | None]] = asyncio.Queue()
        self._sockets: dict[str, web.WebSocketResponse] = {}
        self._flags: dict[str, dict[str, Any]] = {}
        self._open: set[web.WebSocketResponse] = set()

    def post(self, event: str, data: dict[str, Any], client_id: str | None = None) -> None:
        """Queue a JSON message for one client, or for all sockets when `client_id` is None."""
        self._post(json.dumps({"type": event, "data": data}), client_id)

    def post_preview(self, image: bytes, image_format: int, client_id: str | None) -> None:
        """Queue an image as binary event 1: event, format, image."""
        self._stats.previews += 1
        self._post(struct.pack(">II", PREVIEW_IMAGE, image_format) + image, client_id)

    def post_preview_with_metadata(
        self, image: bytes, metadata: dict[str, Any], client_id: str | None
    ) -> None:
        """Queue an image as binary event 4: event, length of the JSON, JSON, image."""
        self._stats.previews += 1
        text = json.dumps(metadata).encode()
        header = struct.pack(">II", PREVIEW_IMAGE_WITH_METADATA, len(text))
        self._post(header + text + image, client_id)

    def anyone_listens(self, client_id: str | None) -> bool:
        """Whether a message to `client_id` would reach a socket."""
        return bool(self._sockets) if client_id is None else client_id in self._sockets

    def supports_preview_metadata(self, client_id: str | None) -> bool:
        """Whether that client asked for binary event 4 in its first message."""
        if client_id is None:
            return False
        return bool(self._flags.get(client_id, {}).get("supports_preview_metadata", False))

    async def publish(self) -> None:
        """Send queued messages for ever."""
        while True:
            message, client_id = await self._messages.get()
            if client_id is None:
                targets = list(self._sockets.values())
            else:
                socket = self._sockets.get(client_id)
                targets = [] if socket is None else [socket]
            for socket in targets:
                await _send(socket, message)

    async def serve_socket(
        self, request: web.Request, queue_status: dict[str, Any]
    ) -> web.WebSocketResponse:
        """Handle one socket from its handshake to its end."""
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self._stats.websockets += 1
        sid = request.query.get("clientId", "") or uuid.uuid4().hex
        self._sockets[sid] = socket
        self._flags[sid] = {}
        self._open.add(socket)
        try:
            await _send(socket, _text("status", {"status": queue_status, "sid": sid}))
            if self.executing_client == sid and self.executing_node is not None:
                await _send(socket, _text("executing", {"node": self.executing_node}))
            await self._listen(socket, sid)
        finally:
            # The bug: whoever closes takes away the entry of a newer socket of the same id.
            self._sockets.pop(sid, None)
            self._flags.pop(sid, None)
            self._open.discard(socket)
        return socket

    async def close(self) -> None:
        """Close every socket, replaced ones too; a peer that does not answer is not waited for."""
        closing = [s.close(code=1001, message=b"server stopped") for s in self._open]
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.gather(*closing), CLOSE_SECONDS)

    async def _listen(self, socket: web.WebSocketResponse, sid: str) -> None:
        first = True
        async for message in socket:
            flags = _feature_flags(message)
            if first and flags is not None and sid in self._sockets:
                self._flags[sid] = flags
                await _send(self._sockets[sid], _text("feature_flags", SERVER_FEATURES))
            if _is_json(message):
                first = False

    def _post(self, message: str | bytes, client_id: str | None) -> None:
        try:
            self._loop.call_soon_threadsafe(self._messages.put_nowait, (message, client_id))
        except RuntimeError:  # the loop is closed: the server has stopped
            logger.debug("message dropped, the server has stopped")


def _text(event: str, data: dict[str, Any]) -> str:
    return json.dumps({"type": event, "data": data})


async def _send(socket: web.WebSocketResponse, message: str | bytes) -> None:
    try:
        if isinstance(message, bytes):
            await socket.send_bytes(message)
        else:
            await socket.send_str(message)
    except (ClientError, ConnectionError) as error:
        logger.debug("a socket did not take a message: %s", error)


def _is_json(message: WSMessage) -> bool:
    return message.type is WSMsgType.TEXT and _parsed(message) is not None


def _feature_flags(message: WSMessage) -> dict[str, Any] | None:
    data = _parsed(message) if message.type is WSMsgType.TEXT else None
    if not isinstance(data, dict) or data.get("type") != "feature_flags":
        return None
    flags = data.get("data", {})
    return flags if isinstance(flags, dict) else {}


def _parsed(message: WSMessage) -> Any:
    try:
        return json.loads(message.data)
    except ValueError:
        return None
