"""Jobs that give more than pictures, from the server's history to files on disk.

The embedded server has no nodes for them: its history is handed on with their outputs added.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from tests.fakes.proxy import http_answer
from tests.fault_support import Rig
from tests.job_support import PATIENCE


@pytest.fixture
def rig() -> Iterator[Rig]:
    with Rig() as made:
        yield made


def give(rig: Rig, outputs: dict[str, Any]) -> None:
    """Has the history of the next job tell of these outputs, too."""

    def answer() -> bytes:
        history = requests.get(f"{rig.server.url}/history", timeout=PATIENCE).json()
        for entry in history.values():
            entry["outputs"] = {**entry["outputs"], **outputs}
        # Of a job that still runs, too: the server's own answer could be that of its end by now.
        return http_answer(200, json.dumps(history).encode())

    rig.proxy.answer("GET /history/", answer, times=200)


def put(rig: Rig, name: str, data: bytes, folder: str = "output") -> None:
    """A file that a node of the job would have written."""
    path = rig.server.data_dir / folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def test_everything_that_the_nodes_gave_comes_back_and_is_saved(rig, tmp_path):
    put(rig, "audio/song.flac", b"fLaC song")
    put(rig, "song.flac", b"fLaC heard", "temp")
    put(rig, "3d/mesh.glb", b"glTF mesh")
    put(rig, "film.mp4", b"\0\0\0\x20ftypisom film")
    put(rig, "words.md", b"# words")
    outputs = {
        "20": {"audio": [{"filename": "song.flac", "subfolder": "audio", "type": "output"}]},
        "21": {"audio": [{"filename": "song.flac", "subfolder": "", "type": "temp"}]},
        "22": {"result": ["3d/mesh.glb", {"position": {}}]},
        "23": {"images": [{"filename": "film.mp4", "type": "output"}], "animated": [True]},
        "24": {"text": ["seen: a fox"], "files": [{"filename": "words.md", "type": "output"}]},
    }
    give(rig, outputs)
    result = rig.run(7)
    assert result.error is None
    told = [(entry.get("kind"), entry["node_id"]) for entry in result.images]
    assert told == [
        (None, "9"),
        ("audio", "20"),
        ("3d", "22"),
        ("video", "23"),
        ("files", "24"),
        ("text", "24"),
    ]
    assert result.metadata is not None
    assert result.metadata["texts"] == [{"24": ["seen: a fox"]}]
    paths = result.save(tmp_path)
    assert [path.suffix for path in paths] == [".png", ".flac", ".glb", ".mp4", ".md", ".txt"]
    assert [path.read_bytes() for path in paths[1:]] == [
        b"fLaC song",
        b"glTF mesh",
        b"\0\0\0\x20ftypisom film",
        b"# words",
        b"seen: a fox",
    ]


def test_a_file_that_is_named_and_not_there_fails_the_job_by_its_name(rig):
    give(rig, {"22": {"result": ["3d/lost.glb"]}})
    result = rig.run(7)
    assert (result.success, result.error_type) == (False, "unavailable")
    assert "no longer has the file 'lost.glb'" in (result.error or "")


def test_a_file_outside_the_servers_folders_fails_the_job_by_its_name(rig):
    give(rig, {"22": {"result": ["/etc/mesh.glb"]}})
    result = rig.run(7)
    assert "does not hand out the file 'mesh.glb' of node 22" in (result.error or "")
