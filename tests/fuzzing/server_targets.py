"""What a ComfyUI server says: frames of its sockets, and the answers of its endpoints."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from functools import partial
from io import BytesIO
from typing import Any, cast

import requests
from urllib3 import HTTPResponse

from comfyui.address import parse_address
from comfyui.client import ComfyUIClient
from comfyui.events import parse_frame
from comfyui.failures import describe_work, failed_job
from comfyui.graph import Graph
from comfyui.object_info import ObjectInfo
from comfyui.prompt_errors import describe_node_errors
from comfyui.replacements import left_to_server, read_replacements
from comfyui.results import select_outputs
from comfyui.server import Server
from comfyui.status import server_status
from comfyui.tracker import (
    JobTracker,
    extra_data_in_history,
    extra_data_in_queue,
)
from comfyui.versions import version_notes, version_warnings
from image_io.http import HttpResponse, retry_after
from tests.fuzzing import seeds
from tests.fuzzing.target import Target, as_json, parsed

PROMPT_ID = "cad332a6-384a-4724-af7d-45c807c4b3a6"
_GRAPH = json.dumps(seeds.read("recordings/t2i_success.json")["log"][2]["request_json"]["prompt"])
_SYSTEM = {"system": {"comfyui_version": "0.26.0"}, "devices": []}


class Answers(requests.adapters.HTTPAdapter):
    """Answers every request that begins with one of the paths, and all others with {}."""

    def __init__(self, status: int = 200, **bodies: bytes) -> None:
        super().__init__()
        self._status, self._bodies = status, bodies

    def send(self, request: Any, *args: Any, **options: Any) -> requests.Response:
        """The answer, read as if it had come over a socket."""
        path = request.path_url.lstrip("/").split("/")[0].split("?")[0]
        body = self._bodies.get(path, b"{}")
        headers = {"Content-Type": "application/json", "Content-Length": str(len(body))}
        raw = HTTPResponse(BytesIO(body), headers, self._status, preload_content=False)
        return self.build_response(request, raw)


def client_of(answers: Answers) -> ComfyUIClient:
    """A client whose server gives these answers."""
    client = ComfyUIClient(parse_address("127.0.0.1:8188"), "fuzz")
    client._http._session.mount("http://", answers)
    return client


def graph() -> Graph:
    """The workflow that the jobs of the inputs ran."""
    return cast(Graph, json.loads(_GRAPH))


def tracker() -> JobTracker:
    """A job that was sent a moment ago."""
    return JobTracker(PROMPT_ID, {node_id: node["class_type"] for node_id, node in graph().items()})


def _look_at(job: JobTracker) -> None:
    """What is made of a tracker while a job runs and when it has ended."""
    assert 0.0 <= job.fraction <= 1.0
    describe_work(job, graph())
    failed_job(job, graph())
    select_outputs(job.outputs, graph())
    assert job.is_sampling in (True, False)


def _events(data: bytes) -> None:
    """A whole conversation; one that is no list counts as one message."""
    messages = parsed(data)
    job = tracker()
    for message in messages if isinstance(messages, list) else [messages]:
        job.feed(parse_frame(json.dumps(message)))
        _look_at(job)
    job.end_without_history()
    _look_at(job)


def _text_frame(data: bytes) -> None:
    job = tracker()
    job.feed(parse_frame(data.decode("utf-8", "replace")))
    _look_at(job)


def _binary_frame(data: bytes) -> None:
    job = tracker()
    job.feed(parse_frame(data))
    _look_at(job)


def _history(data: bytes) -> None:
    client = client_of(Answers(history=data))
    job = tracker()
    job.feed_history(client.history(PROMPT_ID).get(PROMPT_ID))
    _look_at(job)
    extra_data_in_history(client.recent_history(10))


def _queue(data: bytes) -> None:
    client = client_of(Answers(queue=data))
    answer = client.queue()
    job = tracker()
    job.feed_queue(answer)
    _look_at(job)
    extra_data_in_queue(answer)
    client.cancel(PROMPT_ID)


def _status(data: bytes) -> None:
    status = server_status(Server(client_of(Answers(system_stats=data))))
    assert all(isinstance(device, str) for device in status.devices)


def _queue_length(data: bytes) -> None:
    answers = Answers(system_stats=as_json(_SYSTEM)[0], prompt=data)
    assert isinstance(server_status(Server(client_of(answers))).queue_length, int)


def _version(data: bytes) -> None:
    version = parsed(data)
    list(version_notes(version))
    list(version_warnings(version))


def _accepted(data: bytes) -> None:
    accepted = client_of(Answers(prompt=data)).post_prompt(graph(), prompt_id=PROMPT_ID)
    describe_node_errors(accepted.node_errors, graph())


def _refused(data: bytes) -> None:
    client_of(Answers(400, prompt=data)).post_prompt(graph())


def _lists(data: bytes) -> None:
    client = client_of(Answers(models=data, node_replacements=data))
    assert all(isinstance(name, str) for name in client.model_folders())
    assert all(isinstance(name, str) for name in client.models("vae"))
    info = ObjectInfo(seeds.node_classes())
    left_to_server(graph(), read_replacements(client.node_replacements(), info))


def _upload(data: bytes) -> None:
    assert isinstance(client_of(Answers(upload=data)).upload_image(b"", "a.png"), str)


def _retry_after(data: bytes) -> None:
    headers = dict.fromkeys(("retry-after", "retry-after-ms"), data.decode("latin-1"))
    seconds = retry_after(HttpResponse(429, headers, b""))
    assert seconds is None or 0 <= seconds < float("inf")


def _conversations() -> list[bytes]:
    """The text messages of each recording, as one job's."""
    found = []
    for log in seeds.recordings():
        texts = [entry["text"] for entry in log if "text" in entry]
        for old in {text["data"].get("prompt_id") for text in texts if "data" in text} - {None}:
            texts = json.loads(json.dumps(texts).replace(old, PROMPT_ID))
        if texts:
            found.append(json.dumps(texts).encode("ascii"))
    return found


def _messages() -> list[bytes]:
    return as_json(*(message for seed in _conversations() for message in json.loads(seed)))


def _frames() -> list[bytes]:
    metadata = json.dumps({"prompt_id": PROMPT_ID, "node_id": "3", "image_type": "image/png"})
    return [
        struct.pack(">II", 1, 1) + seeds.picture("JPEG"),
        struct.pack(">II", 1, 2) + seeds.png(),
        struct.pack(">II", 3, 1) + b"3" + b"step 4",
        struct.pack(">II", 4, len(metadata)) + metadata.encode() + seeds.png(),
    ]


def _histories() -> list[bytes]:
    """Each recorded entry of a history, as that of our job."""
    found: dict[bytes, None] = {}
    for entry in seeds.exchanges("GET /history"):
        for told in entry["json"].values():
            found[json.dumps({PROMPT_ID: told}).encode("ascii")] = None
    return list(found)


def _queues() -> list[bytes]:
    own = [4, PROMPT_ID, {}, {"client_id": "fuzz"}, ["9"]]
    other = [3, "another", {}, {}, []]
    return as_json(
        {"queue_running": [other], "queue_pending": [own]},
        {"queue_running": [own], "queue_pending": [other]},
    )


def _texts(*texts: str) -> Callable[[], list[bytes]]:
    return lambda: [text.encode("latin-1") for text in texts]


TARGETS = (
    Target("events", _events, _conversations, ()),
    Target("text_frame", _text_frame, _messages, ()),
    Target("binary_frame", _binary_frame, _frames, (), is_json=False),
    Target("history", _history, _histories),
    Target("queue", _queue, _queues),
    Target(
        "system_stats",
        _status,
        partial(seeds.answers, "GET /system_stats"),
    ),
    Target("queue_length", _queue_length, lambda: as_json({"exec_info": {"queue_remaining": 1}})),
    Target("version", _version, lambda: as_json("0.26.0", "v0.3.64-1-gabc"), ()),
    Target("prompt_accepted", _accepted, partial(seeds.answers, "POST /prompt")),
    Target("prompt_refused", _refused, partial(seeds.answers, "POST /prompt", 400)),
    Target(
        "server_lists",
        _lists,
        lambda: as_json(
            ["a.safetensors"],
            {"OldSave": [{"new_node_id": "SaveImage", "old_node_id": "OldSave"}]},
        ),
    ),
    Target(
        "upload",
        _upload,
        lambda: as_json(
            *({"name": "a.png", "subfolder": sub, "type": "input"} for sub in ("", "s"))
        ),
    ),
    Target(
        "retry_after",
        _retry_after,
        _texts("3", "1500.5", "Wed, 21 Oct 2099 07:28:00 GMT", "Wednesday, 21-Oct-99 07:28:00 GMT"),
        (),
        is_json=False,
    ),
)
