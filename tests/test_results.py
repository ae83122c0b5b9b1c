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
from image_provider import (
    AuthenticationError,
    GenerationFailedError,
    ImageGenerationResult,
    ProviderUnavailableError,
)
from tests.job_support import TimelessToken
from tests.key_watch import planted

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
    client = ComfyUIClient(
        parse_address(f"http://user:{planted('word')}@gpu-box:9000/comfy"), "prefix"
    )
    return fetch_images(client, job, graph or GRAPH, seed, TimelessToken())


@pytest.fixture
def http():
    with responses.RequestsMock() as mock:
        yield mock


def names(files: list[OutputFile]) -> list[str]:
    return [each.filename for each in select_outputs(files, GRAPH)]


def test_saved_files_count_before_previews_in_the_order_of_the_graph():
    files = [file("9", "c"), file("7", "p", "temp"), file("12", "a"), file("12", "b")]
    assert names(files) == ["a", "b", "c"]


def test_previews_count_when_nothing_is_saved():
    assert names([file("7", "p2", "temp"), file("7", "p1", "temp")]) == ["p2", "p1"]


def test_files_of_nodes_that_the_graph_does_not_name_come_last():
    assert names([file("9.0.1", "x"), file("9", "a")]) == ["a", "x"]


def test_previews_of_a_kind_of_which_none_is_saved_are_not_left_out(caplog):
    files = [
        file("7", "heard.flac", "temp", "audio"),
        file("7", "seen.png", "temp"),
        file("7", "compared.png", "temp", "a_images"),
        file("9", "saved.png"),
        file("9", "cut.mp4", "temp", "gifs"),
        file("12", "film.mp4", "output", "video"),
    ]
    with caplog.at_level("DEBUG", "comfyui.results"):
        assert names(files) == ["saved.png", "film.mp4", "heard.flac", "cut.mp4"]
    assert [record.getMessage().split(":")[0] for record in caplog.records] == ["node 7"] * 2
    assert "'seen.png' is left out" in caplog.text


def test_pictures_come_before_all_other_files():
    files = [file("12", "a.flac", kind="audio"), file("9", "z.png"), file("7", "m.glb", kind="3d")]
    assert names(files) == ["z.png", "a.flac", "m.glb"]


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
            "node_id": "9",
            "batch_index": 0,
        }
    ]


@pytest.mark.parametrize(
    ("key", "name", "body", "kind", "mime_type"),
    [
        ("audio", "a.flac", b"fLaC and music", "audio", "audio/flac"),
        ("3d", "a.glb", b"glTF\2\0\0\0", "3d", "model/gltf-binary"),
        ("3d", "a.obj", b"o mesh", "3d", "model/obj"),
        ("video", "a.mp4", b"\0\0\0\x20ftypisom", "video", "video/mp4"),
        ("images", "a", b"\0\0\0\x20ftypisom", "video", "video/mp4"),
        ("gifs", "a.gif", b"GIF89a\1\0\1\0\0\0\0;", "gifs", "image/gif"),
        ("latents", "a.latent", b"\x10\0\0\0{}", "latents", "application/octet-stream"),
        ("files", "a.md", b"# words", "files", "text/markdown"),
        ("its own", "a.xyz", b"1 2 3", "its own", "application/octet-stream"),
    ],
)
def test_files_of_every_kind_come_back_with_it(http, key, name, body, kind, mime_type):
    http.get(f"{BASE}/view", body=body)
    (entry,) = fetch(finished(file("9", name, kind=key)))
    assert (entry["bytes"], entry["kind"], entry["mime_type"]) == (body, kind, mime_type)
    if key != "gifs":
        assert (entry["width"], entry["height"]) == (None, None)
    assert entry["url"] == f"{BASE}/view?filename={name}&subfolder=sub&type=output"
    assert list(entry)[-3:] == ["kind", "node_id", "batch_index"]


def test_a_picture_of_an_unknown_kind_is_still_one(http):
    http.get(f"{BASE}/view", body=b"v/1\1\2\0\0\0")
    (image,) = fetch(finished(file("9", "a.exr")))
    assert "kind" not in image and image["width"] is None


def test_texts_come_last_as_files_that_can_be_saved(http, tmp_path):
    http.get(f"{BASE}/view", body=png())
    texts = {"9": ["über", ""], "12": ["half \ud83d"]}
    images = fetch(FinishedJob("p", [file("9", "a.png")], [], {}, texts))
    assert [image["filename"] for image in images] == [
        "a.png",
        "12-1.txt",
        "9-1.txt",
        "9-2.txt",
    ]
    assert images[2] == {
        "bytes": "über".encode(),
        "url": None,
        "seed": 7,
        "mime_type": "text/plain",
        "width": None,
        "height": None,
        "filename": "9-1.txt",
        "kind": "text",
        "node_id": "9",
        "batch_index": 0,
    }
    result = ImageGenerationResult(True, images, "comfyui", None)
    paths = result.save(tmp_path)
    assert [path.name for path in paths] == [
        "comfyui-00001-7.png",
        "comfyui-00002-7.txt",
        "comfyui-00003-7.txt",
        "comfyui-00004-7.txt",
    ]
    assert [path.read_bytes() for path in paths[1:]] == [b"half ?", "über".encode(), b""]


def test_a_job_that_gave_texts_alone_gives_them():
    (entry,) = fetch(FinishedJob("p", [], [], {}, {"5": ["words"]}))
    assert (entry["bytes"], entry["kind"], entry["node_id"]) == (b"words", "text", "5")


def test_each_entry_tells_its_node_and_its_place_among_the_nodes_own(http):
    http.get(f"{BASE}/view", body=png())
    http.get(f"{BASE}/view", body=png())
    http.get(f"{BASE}/view", body=png())
    http.get(f"{BASE}/view", body=b"OggS")
    files = [file("9", "a"), file("12", "b"), file("9", "c"), file("9", "d.ogg", kind="audio")]
    images = fetch(FinishedJob("p", files, [], {}, {"9": ["w"]}))
    assert [(image["filename"], image["node_id"], image["batch_index"]) for image in images] == [
        ("b", "12", 0),
        ("a", "9", 0),
        ("c", "9", 1),
        ("d.ogg", "9", 0),
        ("9-1.txt", "9", 0),
    ]


def test_an_empty_text_file_is_no_broken_one(http):
    http.get(f"{BASE}/view", body=b"")
    (entry,) = fetch(finished(file("9", "a.txt", kind="files")))
    assert (entry["bytes"], entry["mime_type"]) == (b"", "text/plain")


def test_pictures_of_the_socket_follow_the_files_and_have_no_url(http):
    http.get(f"{BASE}/view", body=png())
    pictures = tuple(NodeImage("p", "5", png(width), "image/png") for width in (1, 2))
    images = fetch(finished(file("9", "a.png"), socket_images=pictures))
    assert [image["filename"] for image in images] == ["a.png", "5-01.png", "5-02.png"]
    assert [image["width"] for image in images] == [4, 1, 2]
    assert images[1]["url"] is None
    assert [(image["node_id"], image["batch_index"]) for image in images[1:]] == [
        ("5", 0),
        ("5", 1),
    ]


def test_pictures_of_the_socket_stand_among_the_pictures(http):
    http.get(f"{BASE}/view", body=png())
    http.get(f"{BASE}/view", body=b"fLaC")
    files = (file("9", "a.png"), file("7", "a.flac", kind="audio"))
    socket = (NodeImage("p", "7", png(1), "image/png"),)
    images = fetch(finished(*files, socket_images=socket))
    assert [image["filename"] for image in images] == ["7-01.png", "a.png", "a.flac"]


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


@pytest.mark.parametrize("status", [400, 403])
def test_file_outside_the_folders_of_the_server_is_named(http, status):
    http.get(f"{BASE}/view", status=status)
    words = rf"does not hand out the file 'm\.glb' of node 9 \(HTTP {status}\)"
    with pytest.raises(ProviderUnavailableError, match=words):
        fetch(finished(file("9", "m.glb", kind="3d")))


def test_a_refused_key_is_told_as_such(http):
    http.get(f"{BASE}/view", status=401)
    with pytest.raises(AuthenticationError, match="COMFYUI_API_KEY"):
        fetch(finished(file("9", "a.png")))


@pytest.mark.parametrize(
    ("class_type", "advice"),
    [("PreviewAny", "needs a SaveImage node"), ("SaveImageWebsocket", "over the WebSocket alone")],
)
def test_job_without_any_file_is_a_failure_that_says_why(class_type, advice):
    with pytest.raises(GenerationFailedError, match=advice):
        fetch(finished(), {"1": {"class_type": class_type, "inputs": {}}})
