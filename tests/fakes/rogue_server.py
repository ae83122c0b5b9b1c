"""A ComfyUI that answers what it likes: the shapes are right, the contents are an attacker's.

Owns the answers by the first part of a path ("/history"), which a test replaces. No WebSocket: jobs
are asked after. Everything that was asked is kept, with its headers.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from tests.hosted_support import png

GRAPH: dict[str, Any] = {
    "1": {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8}},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}},
}
INFO = {
    "EmptyImage": {"input": {"required": {}}, "output": ["IMAGE"]},
    "SaveImage": {"input": {"required": {"images": ["IMAGE"]}}, "output": [], "output_node": True},
}
SUCCESS = {"status_str": "success", "completed": True, "messages": []}


class Answer(NamedTuple):
    """What goes out for a request; a body that is no bytes goes out as JSON."""

    body: Any = b""
    status: int = 200
    headers: Mapping[str, str] = {}


class Asked(NamedTuple):
    """A request that came: "GET /queue" and its headers."""

    line: str
    headers: Mapping[str, str]


class RogueServer:
    """A context manager; `answers` maps "/view" and the like to what is told there."""

    def __init__(self, **answers: Answer) -> None:
        self.answers: dict[str, Answer] = {f"/{name}": answer for name, answer in answers.items()}
        self.outputs: Any = {"2": {"images": [{"filename": "a.png", "type": "output"}]}}
        self.status: Any = SUCCESS
        self.asked: list[Asked] = []
        self._prompt_id = ""
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self._answer))
        self.address = f"127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> RogueServer:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, line: str, headers: Mapping[str, str], body: bytes) -> Answer:
        self.asked.append(Asked(line, headers))
        method, _, path = line.partition(" ")
        place = "/" + path.strip("/").partition("?")[0].partition("/")[0]
        if place in self.answers:
            return self.answers[place]
        if place == "/ws":
            return Answer(status=404)
        if line == "POST /prompt":
            self._prompt_id = json.loads(body)["prompt_id"]
        return Answer(self._usual().get(f"{method} {place}", {}))

    def _usual(self) -> dict[str, Any]:
        entry = {"prompt": [0, self._prompt_id, GRAPH, {}, ["2"]]}
        entry |= {"outputs": self.outputs, "status": self.status}
        return {
            "GET /system_stats": {"system": {"comfyui_version": "0.26.0"}, "devices": []},
            "GET /object_info": INFO,
            "GET /queue": {"queue_running": [], "queue_pending": []},
            "GET /prompt": {"exec_info": {"queue_remaining": 0}},
            "POST /prompt": {"prompt_id": self._prompt_id, "node_errors": {}},
            "GET /history": {self._prompt_id: entry},
            "GET /view": png(),
        }


def _handler(
    answer: Callable[[str, Mapping[str, str], bytes], Answer],
) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            asked = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            told = answer(f"{self.command} {self.path}", dict(self.headers), asked)
            is_bytes = isinstance(told.body, bytes)
            body = told.body if is_bytes else json.dumps(told.body).encode()
            self.send_response(told.status)
            for name, value in told.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            pass

    return Handler
