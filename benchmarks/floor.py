"""The least that a generation costs: one open connection, one open WebSocket, and no questions.

What a program could reach that knew nothing can go wrong: POST /prompt, wait for the end on the
socket, GET /history/{id}, GET /view. No errors, no time limits, no checks.
"""

from __future__ import annotations

import itertools
import json
import random
import uuid
from typing import Any

import requests
import websocket

_numbers = itertools.count(random.randrange(2**23))


def trivial_graph() -> dict[str, Any]:
    """A graph that takes a server next to no time, each another one, so that nothing is cached."""
    size = {"width": 64, "height": 64, "batch_size": 1}
    colour = next(_numbers) % 2**24
    return {
        "1": {"class_type": "EmptyImage", "inputs": {**size, "color": colour}},
        "2": {
            "class_type": "SaveImage",
            "inputs": {"images": ["1", 0], "filename_prefix": "benchmark"},
        },
    }


class Floor:
    """One client of a server, for one thread."""

    def __init__(self, address: str) -> None:
        self._url = f"http://{address}"
        self._client_id = str(uuid.uuid4())
        self._session = requests.Session()
        self._socket = websocket.create_connection(f"ws://{address}/ws?clientId={self._client_id}")

    def generate(self) -> bytes:
        """One trivial picture, as a file."""
        body = {"prompt": trivial_graph(), "client_id": self._client_id}
        prompt_id = self._session.post(f"{self._url}/prompt", json=body).json()["prompt_id"]
        self._wait_for(prompt_id)
        history = self._session.get(f"{self._url}/history/{prompt_id}").json()
        (file,) = history[prompt_id]["outputs"]["2"]["images"]
        return self._session.get(f"{self._url}/view", params=file).content

    def _wait_for(self, prompt_id: str) -> None:
        end = {"node": None, "prompt_id": prompt_id}
        while True:
            message = json.loads(self._socket.recv())
            if message["type"] == "executing" and end.items() <= message["data"].items():
                return

    def close(self) -> None:
        self._socket.close()
        self._session.close()
