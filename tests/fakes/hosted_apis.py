"""OpenAI Images and Black Forest Labs on this machine: what a test makes of them, over sockets.

Owns the shapes of their answers; a job of Black Forest Labs is ready when it is asked for. Knows
nothing of the providers.
"""

from __future__ import annotations

import json
import threading
from collections import Counter, defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.fakes.provider import png
from tests.hosted_support import answers
from tests.key_watch import planted

OPENAI = "POST /v1/images/generations"
FLUX = "POST /v1/flux-2-pro"
POLL = "GET /v1/get_result"
SAMPLE = "GET /sample.png"
RECORDED = {"openai": answers("openai"), "bfl": answers("black_forest_labs")}

Answer = tuple[int, Any, dict[str, str]]


class HostedApis:
    """Both vendors at `url`; a context manager. `asked` counts requests, as "POST /v1/…"."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self._refusals: defaultdict[str, list[Answer]] = defaultdict(list)
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> HostedApis:
        serve = self._server.serve_forever
        threading.Thread(target=serve, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def settings(self) -> dict[str, str]:
        """The settings that lead the providers here."""
        return {
            "OPENAI_API_KEY": planted("of-openai"),
            "OPENAI_BASE_URL": f"{self.url}/v1",
            "BLACK_FOREST_LABS_API_KEY": planted("of-bfl"),
            "BFL_BASE_URL": self.url,
        }

    def answer(
        self, request: str, status: int, body: Any, times: int = 1, **headers: str | int
    ) -> None:
        """The next requests get this; `Retry_After=3` is the header Retry-After."""
        named = {name.replace("_", "-"): str(value) for name, value in headers.items()}
        with self._lock:
            self._refusals[request] += [(status, body, named)] * times

    def answer_to(self, request: str, query: str, body: Any) -> Answer:
        """What this request gets; the seed of a picture is that which was asked for."""
        with self._lock:
            self.asked[request] += 1
            if self._refusals[request]:
                return self._refusals[request].pop(0)
        match request:
            case "POST /v1/images/generations":
                return 200, RECORDED["openai"]["success"], {}
            case "POST /v1/flux-2-pro":
                seed = body.get("seed", 0)
                poll = f"{self.url}/v1/get_result?{seed}"
                return 200, {**RECORDED["bfl"]["submitted"], "polling_url": poll}, {}
            case "GET /v1/get_result":
                result = {"sample": f"{self.url}/sample.png?{query}", "seed": int(query)}
                return 200, {**RECORDED["bfl"]["ready"], "result": result}, {}
            case "GET /sample.png":
                return 200, png(int(query)), {}
        return 404, {"detail": "no such thing"}, {}


class _Server(ThreadingHTTPServer):
    request_queue_size = 128  # connections of many threads at once, none of which waits


def _handler(apis: HostedApis) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(None)

        def do_POST(self) -> None:
            self._answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def _answer(self, body: Any) -> None:
            path, _, query = self.path.partition("?")
            status, answer, headers = apis.answer_to(f"{self.command} {path}", query, body)
            data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(data))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    return Handler
