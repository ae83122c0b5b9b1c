"""What real servers sent, as frames to feed; each file names the server it was recorded from.

Files of `data/transcripts` hold only what the client's tests read; the others are shared with the
embedded server's replays. Pictures were not kept: each binary frame gets a stand-in.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_DATA = Path(__file__).parent.parent / "data"
PICTURES = {1: b"\xff\xd8\xff stand-in for a JPEG", 2: b"\x89PNG\r\n\x1a\n stand-in for a PNG"}


@dataclass(frozen=True)
class Transcript:
    """One recording: its first prompt, what its sockets heard, and what the history said then."""

    log: list[dict[str, Any]]

    @property
    def _post(self) -> dict[str, Any]:
        return next(entry for entry in self.log if entry.get("http") == "POST /prompt")

    @property
    def prompt_id(self) -> str:
        return self._post["json"]["prompt_id"]

    @property
    def classes(self) -> dict[str, str]:
        graph = self._post["request_json"]["prompt"]
        return {node_id: node["class_type"] for node_id, node in graph.items()}

    @property
    def history(self) -> dict[str, Any]:
        """The finished prompt's entry."""
        path = f"GET /history/{self.prompt_id}"
        answers = (entry["json"] for entry in self.log if entry.get("http") == path)
        return next(answer[self.prompt_id] for answer in answers if answer)

    def frames(self, ws: str = "A") -> list[str | bytes]:
        """What one socket received, in order."""
        return [
            _frame(entry) for entry in self.log if entry.get("ws") == ws and entry.keys() & _CONTENT
        ]


_CONTENT = {"text", "binary"}


def load(name: str) -> Transcript:
    folders = (_DATA / "transcripts", _DATA / "recordings")
    path = next(path for folder in folders if (path := folder / f"{name}.json").is_file())
    return Transcript(json.loads(path.read_text(encoding="utf-8"))["log"])


def _frame(entry: dict[str, Any]) -> str | bytes:
    if "text" in entry:
        return json.dumps(entry["text"])
    binary = entry["binary"]
    if binary["binary_event"] == 1:
        return struct.pack(">II", 1, binary["format"]) + PICTURES[binary["format"]]
    metadata = json.dumps(binary["metadata"]).encode()
    kind = 2 if binary["metadata"]["image_type"] == "image/png" else 1
    return struct.pack(">II", binary["binary_event"], len(metadata)) + metadata + PICTURES[kind]
