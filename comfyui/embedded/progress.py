"""What a running job tells its client: the state of each node, sampler steps, previews.

Owns the shape and order of `progress_state`, `progress` and preview messages. Does not decide
who is connected (the hub does) and does not run nodes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypedDict

from comfyui.embedded.hub import JPEG, PNG, SocketHub

_MIME_TYPES = {JPEG: "image/jpeg", PNG: "image/png"}


class _NodeState(TypedDict):
    value: float
    max: float
    state: str


class ProgressBoard:
    """The states of one job's nodes, announced whenever one changes."""

    def __init__(self, hub: SocketHub, prompt_id: str, client_id: str | None) -> None:
        self._hub = hub
        self._prompt_id = prompt_id
        self._client_id = client_id
        self._nodes: dict[str, _NodeState] = {}

    def start(self, node_id: str) -> None:
        """A node begins."""
        self._nodes[node_id] = {"value": 0.0, "max": 1.0, "state": "running"}
        self._announce()

    def update(self, node_id: str, value: int, total: int, preview: Callable[[], bytes]) -> None:
        """A node is at step `value`; `preview` makes a JPEG when somebody will see it."""
        image = preview() if self._hub.anyone_listens(self._client_id) else None
        self._step(node_id, value, total, image, JPEG)

    def send_result(self, node_id: str, value: int, total: int, png: bytes) -> None:
        """A picture of SaveImageWebsocket, which travels as a preview does."""
        self._step(node_id, value, total, png, PNG)

    def finish(self, node_id: str) -> None:
        """A node has ended, or its result was cached."""
        total = self._nodes[node_id]["max"] if node_id in self._nodes else 1
        self._nodes[node_id] = {"value": total, "max": total, "state": "finished"}
        self._announce()

    def _step(
        self, node_id: str, value: int, total: int, image: bytes | None, image_format: int
    ) -> None:
        """Event 4 goes before its `progress`, event 1 after (preview_metadata, t2i_success)."""
        self._nodes[node_id] = {"value": value, "max": total, "state": "running"}
        self._announce()
        with_metadata = self._hub.supports_preview_metadata(self._client_id)
        if image is not None and with_metadata:
            metadata = self._metadata(node_id, _MIME_TYPES[image_format])
            self._hub.post_preview_with_metadata(image, metadata, self._client_id)
        data = {"value": value, "max": total, "prompt_id": self._prompt_id, "node": node_id}
        self._hub.post("progress", data, self._client_id)
        if image is not None and not with_metadata:
            self._hub.post_preview(image, image_format, self._client_id)

    def _metadata(self, node_id: str, mime_type: str) -> dict[str, str | None]:
        return {
            "node_id": node_id,
            "prompt_id": self._prompt_id,
            "display_node_id": node_id,
            "parent_node_id": None,
            "real_node_id": node_id,
            "image_type": mime_type,
        }

    def _announce(self) -> None:
        nodes = {
            node_id: {
                **state,
                "node_id": node_id,
                "prompt_id": self._prompt_id,
                "display_node_id": node_id,
                "parent_node_id": None,
                "real_node_id": node_id,
            }
            for node_id, state in self._nodes.items()
        }
        data = {"prompt_id": self._prompt_id, "nodes": nodes}
        self._hub.post("progress_state", data, self._client_id)
