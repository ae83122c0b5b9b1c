"""Sends the requests of a recording to the embedded server and makes both sides comparable.

Owns the order of a replay (what was seen before a request is waited for before it is sent) and
the normaliser. What the normaliser lets pass, and nothing else, is listed in `Normaliser`.
"""

from __future__ import annotations

import io
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
import websocket
from PIL import Image

from comfyui.embedded import EmbeddedServer, StepGate

RECORDINGS = Path(__file__).parent.parent / "data" / "recordings"
TIMEOUT = 10.0
HEADERS = (
    "Content-Type", "Content-Length", "Content-Disposition", "Content-Range", "Accept-Ranges",
    "Etag", "Allow", "Transfer-Encoding",
)  # fmt: skip
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_SAVED_FILE = re.compile(r"\w+_\d{5}_\.png")
_SAVED_NAME = re.compile(r"(\w+?)_(\d{5})_\.png")
_LIST_LENGTH = re.compile(r"list of length \d+")
_TEMP_NAME = re.compile(r"ComfyUI_temp_[a-z]{5}")


def load(name: str) -> dict[str, Any]:
    return json.loads((RECORDINGS / f"{name}.json").read_text(encoding="utf-8"))


def picture(width: int = 64, height: int = 64, alpha: int | None = None) -> bytes:
    """A small PNG; with `alpha` its left half is that transparent."""
    image = Image.new("RGBA" if alpha is not None else "RGB", (width, height), "steelblue")
    if alpha is not None:
        image.paste((70, 130, 180, alpha), (0, 0, width // 2, height))
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


@dataclass
class Transcript:
    """What was seen: per socket its messages in order, and the HTTP exchanges in order."""

    sockets: dict[str, list[Any]] = field(default_factory=dict)
    http: list[Any] = field(default_factory=list)


def recorded_transcript(recording: dict[str, Any]) -> Transcript:
    seen = Transcript()
    for entry in recording["log"]:
        if "http" in entry:
            seen.http.append(entry)
        elif "event" not in entry and "send" not in entry:
            message = entry.get("text") or _binary_of(entry["binary"])
            seen.sockets.setdefault(entry["ws"], []).append(message)
    return seen


def _binary_of(binary: dict[str, Any]) -> dict[str, Any]:
    keys = ("binary_event", "format", "metadata", "image")
    return {key: binary[key] for key in keys if key in binary}


@dataclass(frozen=True)
class Hold:
    """Holds the job at the start of a node until the n-th request whose line holds a text."""

    node: str
    request: str
    count: int
    gate: StepGate


class Replay:
    """One run of a recording against a server."""

    def __init__(self, server: EmbeddedServer, recording: dict[str, Any], exact_uploads: bool):
        self.seen = Transcript()
        self._server = server
        self._recording = recording
        self._exact_uploads = exact_uploads
        self._session = requests.Session()
        self._sockets: dict[str, websocket.WebSocket] = {}
        self._own: dict[str, str] = {}

    def run(self, hold: Hold | None = None) -> Transcript:
        """Replay all of the recording."""
        try:
            for graph in self._recording.get("setup", ()):
                self.run_to_end(graph)
            countdown = hold.count if hold else 0
            expected: dict[str, int] = {}
            for entry in self._recording["log"]:
                if "http" in entry:
                    self._catch_up(expected)
                    if hold and self._has_announced(hold.node):
                        # `executing` is sent a moment before the node is entered and held.
                        assert hold.gate.wait_reached()
                    self._send_request(entry)
                    if hold and hold.request in entry["http"]:
                        countdown -= 1
                        if countdown == 0:
                            hold.gate.open()
                else:
                    self._socket_entry(entry, expected)
            self._catch_up(expected)
            self._collect_surplus()
        finally:
            for socket in self._sockets.values():
                socket.close()
            self._session.close()
        return self.seen

    def run_to_end(self, graph: dict[str, Any]) -> None:
        socket = self._connect("/ws?clientId=setup")
        body = {"prompt": graph, "client_id": "setup"}
        self._session.post(f"{self._server.url}/prompt", json=body).raise_for_status()
        while True:
            message = socket.recv()
            if isinstance(message, str) and '"node": null' in message:
                break
        socket.close()

    def _socket_entry(self, entry: dict[str, Any], expected: dict[str, int]) -> None:
        name = entry["ws"]
        if entry.get("event") == "connect":
            self._sockets[name] = self._connect(entry["url"])
            self.seen.sockets[name] = []
            self._receive(name)
        elif "send" in entry:
            self._sockets[name].send(json.dumps(entry["send"]))
        elif "event" not in entry:
            expected[name] = expected.get(name, 0) + 1

    def _has_announced(self, node: str) -> bool:
        return any(
            message["type"] == "executing" and message["data"]["node"] == node
            for messages in self.seen.sockets.values()
            for message in messages
        )

    def _connect(self, path: str) -> websocket.WebSocket:
        return websocket.create_connection(f"ws://{self._server.address}{path}", timeout=TIMEOUT)

    def _catch_up(self, expected: dict[str, int]) -> None:
        for name, count in expected.items():
            while len(self.seen.sockets[name]) < count:
                self._receive(name)

    def _collect_surplus(self) -> None:
        """Read on up to a `status` that is asked for: nothing may come before it."""
        if not self._sockets:
            return
        marks = {name: len(messages) for name, messages in self.seen.sockets.items()}
        self._session.post(f"{self._server.url}/queue", json={"clear": True})
        for name, mark in marks.items():
            while not any(_is_status(m) for m in self.seen.sockets[name][mark:]):
                self._receive(name)
            self.seen.sockets[name].pop()

    def _receive(self, name: str) -> None:
        message = self._sockets[name].recv()
        parsed = json.loads(message) if isinstance(message, str) else _decode_binary(message)
        self.seen.sockets[name].append(parsed)

    def _send_request(self, entry: dict[str, Any]) -> None:
        line = self._with_own_names(entry["http"])
        method, _, path = line.partition(" ")
        body = self._with_own_names(entry.get("request_json"))
        response = self._session.request(
            method,
            self._server.url + path,
            params=self._with_own_names(entry.get("query")),
            json=body,
            headers=self._own_headers(entry),
            files=self._files(entry.get("request_multipart_files"), entry),
            data=entry.get("request_body"),
            timeout=TIMEOUT,
        )
        self.seen.http.append(_exchange(line, entry, response))
        if "json" in entry:
            self._learn_names(json.dumps(entry["json"]), response.text)

    def _learn_names(self, recorded: str, own: str) -> None:
        """Which id and which saved file of this run stand for the recorded ones."""
        for pattern in (_UUID, _SAVED_FILE):
            self._own.update(zip(pattern.findall(recorded), pattern.findall(own), strict=False))

    def _with_own_names(self, value: Any) -> Any:
        text = json.dumps(value)
        for theirs, own in self._own.items():
            text = text.replace(theirs, own)
        return json.loads(text)

    def _own_headers(self, entry: dict[str, Any]) -> dict[str, str]:
        headers = dict(entry.get("request_headers", {}))
        if "Origin" in headers:
            own_port = self._server.address.rpartition(":")[2]
            headers["Origin"] = headers["Origin"].replace("8190", own_port)
        return headers

    def _files(self, files: dict[str, Any] | None, entry: dict[str, Any]) -> Any:
        fields = entry.get("request_multipart_fields", {})
        if files is None and not fields:
            return None
        parts: list[Any] = [(name, (None, value)) for name, value in fields.items()]
        for name, spec in (files or {}).items():
            content = self._content(spec, entry["http"])
            parts.append((name, (spec["filename"], content, spec["content_type"])))
        return parts

    def _content(self, spec: dict[str, Any], request: str) -> bytes:
        if self._exact_uploads:
            return b"x" * spec["length"]
        return picture(alpha=0 if "mask" in request else None)


def _is_status(message: Any) -> bool:
    return isinstance(message, dict) and message.get("type") == "status"


def _decode_binary(frame: bytes) -> dict[str, Any]:
    event = int.from_bytes(frame[:4], "big")
    second = int.from_bytes(frame[4:8], "big")
    if event == 1:
        return {"binary_event": 1, "format": second, "image": _about(frame[8:])}
    metadata, image = json.loads(frame[8 : 8 + second]), frame[8 + second :]
    return {"binary_event": event, "metadata": metadata, "image": _about(image)}


def _about(image_file: bytes) -> dict[str, Any]:
    image = Image.open(io.BytesIO(image_file))
    return {"format": image.format, "size": list(image.size), "mode": image.mode}


def _exchange(line: str, entry: dict[str, Any], response: requests.Response) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "http": line,
        "status": response.status_code,
        "headers": {name: response.headers[name] for name in HEADERS if name in response.headers},
    }
    if "json" in entry:
        answer["json"] = response.json()
    elif "text" in entry:
        answer["text"] = response.text
    else:
        first = response.content[:12].hex()
        answer["body"] = {"length": len(response.content), "first_bytes_hex": first}
    return answer


@dataclass
class Normaliser:
    """Replaces what may differ between two servers by what may not.

    Prompt ids and file names become their rank of appearance; job numbers their distance from
    the first; times, ETags, lengths of bodies and of long lists, and tracebacks a placeholder;
    lists whose order is that of a Python set are sorted. Keys that an older version lacks are
    given by name.
    """

    drop_keys: frozenset[str] = frozenset()
    _ranks: dict[str, str] = field(default_factory=dict)
    _first_number: float | None = None

    def transcript(self, seen: Transcript) -> dict[str, Any]:
        http = [self._http(exchange) for exchange in seen.http]
        return {"http": http, "sockets": self._tree(seen.sockets)}

    def _http(self, exchange: dict[str, Any]) -> dict[str, Any]:
        known: dict[str, Any] = {k: exchange[k] for k in ("json", "text") if k in exchange}
        headers = {n: self._header(n, v, exchange) for n, v in exchange["headers"].items()}
        if headers.get("Content-Length") == "0":
            headers.pop("Content-Type", None)  # old versions of aiohttp name a type for nothing
        if "body" in exchange:
            known["body"] = exchange["body"]["first_bytes_hex"][:8]
        line = self._text(exchange["http"])
        return self._tree({"http": line, "status": exchange["status"], "headers": headers, **known})

    def _header(self, name: str, value: str, exchange: dict[str, Any]) -> str:
        if name == "Etag":
            return "<etag>"
        if name == "Content-Range":
            return value.partition("/")[0]
        is_text = "text" in exchange or exchange["status"] == 206
        if name == "Content-Length" and value != "0" and not is_text:
            return "<length>"
        return value

    def _tree(self, value: Any, key: str = "") -> Any:
        if isinstance(value, dict):
            kept = {k: v for k, v in value.items() if k not in self.drop_keys}
            return {self._text(k): self._tree(v, k) for k, v in kept.items()}
        if isinstance(value, list):
            return self._list(value, key)
        if isinstance(value, str):
            return self._text(value)
        return self._number(value, key)

    def _list(self, value: list[Any], key: str) -> Any:
        if key == "traceback":
            return "<traceback>"
        if key in ("executed", "current_outputs"):
            return sorted(value)
        if key == "errors":
            value = sorted(value, key=lambda e: (e["extra_info"].get("input_name", ""), e["type"]))
        if len(value) == 5 and isinstance(value[2], dict):  # an entry of the queue
            return [self._number(value[0], "number"), *(self._tree(v) for v in value[1:])]
        return [self._tree(v) for v in value]

    def _number(self, value: Any, key: str) -> Any:
        if key in ("number", "priority"):
            if self._first_number is None:
                self._first_number = value
            return value - self._first_number
        return "<ms>" if key in _TIMES and isinstance(value, int) else value

    def _text(self, value: str) -> str:
        value = _UUID.sub(lambda m: self._rank("id", m[0]), value)
        value = _TEMP_NAME.sub("ComfyUI_temp_xxxxx", value)
        value = _LIST_LENGTH.sub("list of length <n>", value)
        return _SAVED_NAME.sub(lambda m: f"{m[1]}_{self._rank(m[1], m[2])}_.png", value)

    def _rank(self, kind: str, value: str) -> str:
        count = sum(1 for known in self._ranks if known.startswith(f"{kind}:"))
        return self._ranks.setdefault(f"{kind}:{value}", f"<{kind} {count + 1}>")


_TIMES = ("timestamp", "create_time", "execution_start_time", "execution_end_time")
