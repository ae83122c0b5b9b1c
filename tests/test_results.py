"""What of a finished job counts, in which order, and what is told of each file."""

from __future__ import annotations

import io
from typing import Any

import pytest
import responses
from PIL import Image

from comfyui.address import parse_address
from comfyui.client import ComfyUIClient
from comfyui.events import NodeImage
from comfyui.jobs import FinishedJob
from comfyui.outputs import OutputFile
from comfyui.results import fetch_images, select_outputs
from image_provider import GenerationFailedError, ProviderUnavailableError
from tests.job_support import TimelessToken

BASE = "http://gpu-box:9000/comfy"
GRAPH: Any = {
    "12": {"class_type": "SaveImage", "inputs": {}},
    "7": {"class_type": "PreviewImage", "inputs": {}},
    "9": {"class_type": "SaveImage", "inputs": {}},
}


def png(width: int = 4, height: int = 3) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), "teal").save(buffer, format="PNG")
    return buffer.getvalue()


def file(node_id: str, name: str, folder_type: str = "output", kind: str = "images") -> OutputFile:
    return OutputFile(node_id, kind, name, "sub", folder_type)


def finished(*outputs: OutputFile, socket_images: tuple[NodeImage, ...] = ()) -> FinishedJob:
    return FinishedJob("p", list(outputs), list(socket_images), {})


def fetch(job: FinishedJob, graph: Any = None, seed: int | None = 7) -> list[dict[str, Any]]:
    client = ComfyUIClient(parse_address("http://user:hush@gpu-box:9000/comfy"), "prefix")
    return fetch_images(client, job, graph or GRAPH, seed, TimelessToken())


@pytest.fixture
def http():
    with responses.RequestsMock() as mock:
        yield mock


def test_saved_files_count_before_previews_in_the_order_of_the_graph():
    files = [file("9", "c"), file("7", "p", "temp"), file("12", "a"), file("12", "b")]
    assert [each.filename for each in select_outputs(files, GRAPH)] == ["a", "b", "c"]


def test_job_that_gave_texts_alone_has_no_images_and_has_not_failed():
    assert fetch(FinishedJob("p", [], [], {}, {"5": ["words"]})) == []


def test_previews_count_when_nothing_is_saved():
    files = [file("7", "p2", "temp"), file("7", "p1", "temp")]
    assert [each.filename for each in select_outputs(files, GRAPH)] == ["p2", "p1"]


def test_files_of_nodes_that_the_graph_does_not_name_come_last():
    files = [file("9.0.1", "x"), file("9", "a")]
    assert [each.filename for each in select_outputs(files, GRAPH)] == ["a", "x"]


def test_image_is_handed_on_byte_for_byte_with_its_facts(http):
    data = png() + b"and what follows the end"
    http.get(f"{BASE}/view", body=data)
    assert fetch(finished(file("9", "a b.png"))) == [
        {
            "bytes": data,
            "url": f"{BASE}/view?filename=a+b.png&subfolder=sub&type=output",
            "seed": 7,
            "mime_type": "image/png",
            "width": 4,
            "height": 3,
            "filename": "a b.png",
        }
    ]


def test_file_that_is_no_image_says_its_kind(http):
    http.get(f"{BASE}/view", body=b"fLaC and music")
    (image,) = fetch(finished(file("9", "a.flac", kind="audio")))
    assert (image["kind"], image["mime_type"], image["width"]) == ("audio", "audio/flac", None)


def test_pictures_of_the_socket_follow_the_files_and_have_no_url(http):
    http.get(f"{BASE}/view", body=png())
    pictures = tuple(NodeImage("p", "5", png(width), "image/png") for width in (1, 2))
    images = fetch(finished(file("9", "a.png"), socket_images=pictures))
    assert [image["filename"] for image in images] == ["a.png", "5-01.png", "5-02.png"]
    assert [image["width"] for image in images] == [4, 1, 2]
    assert images[1]["url"] is None


@pytest.mark.parametrize("body", [png()[:-5], png()[:-20] + b"x" * 20, b""])
def test_broken_file_is_named_and_never_handed_on(http, body):
    http.get(f"{BASE}/view", body=body)
    with pytest.raises(ProviderUnavailableError, match=r"'a\.png' arrived broken"):
        fetch(finished(file("9", "a.png")))


@pytest.mark.parametrize(
    "failure", [{"status": 500}, {"status": 503}, {"body": png()[:-5]}, {"body": b""}]
)
def test_file_that_fails_once_is_asked_for_again(http, failure):
    http.get(f"{BASE}/view", **failure)
    http.get(f"{BASE}/view", body=png())
    (image,) = fetch(finished(file("9", "a.png")))
    assert image["bytes"] == png()


def test_file_that_the_server_no_longer_has_is_asked_for_once(http):
    http.get(f"{BASE}/view", status=404)
    with pytest.raises(ProviderUnavailableError, match="no longer has"):
        fetch(finished(file("9", "a.png")))
    assert len(http.calls) == 1


@pytest.mark.parametrize(
    ("class_type", "advice"),
    [("PreviewAny", "needs a SaveImage node"), ("SaveImageWebsocket", "over the WebSocket alone")],
)
def test_job_without_any_file_is_a_failure_that_says_why(class_type, advice):
    with pytest.raises(GenerationFailedError, match=advice):
        fetch(finished(), {"1": {"class_type": class_type, "inputs": {}}})
