"""What a graph tells of itself, and what becomes of nodes that the server lacks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from comfyui.client import ComfyUIClient
from comfyui.generation import model_of, seed_of
from comfyui.workflow import Workflow
from comfyui_provider import ComfyUIProvider
from image_provider import ImageGenerationRequest, ImageStyle

ROOT = Path(__file__).parent.parent / "workflows" / "comfyui"


def save(node_id):
    return {"class_type": "SaveImage", "inputs": {"images": [node_id, 0], "filename_prefix": "x"}}


def empty(width):
    inputs = {"width": width, "height": 8, "batch_size": 1, "color": 0}
    return {"class_type": "EmptyImage", "inputs": inputs}


@pytest.mark.parametrize("name", ["t2i_flux", "i2i_checkpoint", "inpaint_flux"])
def test_a_graph_tells_its_seed_and_model(name):
    request = ImageGenerationRequest("fox", seed=9, model="M")
    graph = Workflow.from_file(ROOT / f"{name}.json").bind(request).graph
    assert (seed_of(graph), model_of(graph)) == (9, "M")


def test_a_graph_without_a_sampler_tells_nothing():
    graph = {"1": empty(8), "2": save("1")}
    assert (seed_of(graph), model_of(graph)) == (None, None)


def test_a_request_is_told_by_what_was_given_as_json_can_hold_it():
    request = ImageGenerationRequest(
        "fox",
        width=512,
        style=ImageStyle.CINEMATIC,
        loras=[("a", 0.5)],
        extra={"1.x": [1], "source_image": b"bytes", "2.y": {"deep": object()}},
        on_progress=print,
    )
    assert request.to_plain() == {
        "prompt": "fox",
        "width": 512,
        "style": "cinematic",
        "num_images": 1,
        "loras": (("a", 0.5),),
        "extra": {"1.x": [1]},
    }
    again = ImageGenerationRequest(**json.loads(json.dumps(request.to_plain())))
    assert again.explicit_size == (512, None)
    assert again.style is ImageStyle.CINEMATIC


# Nodes that the server lacks


def lacking(graph):
    """t2i_checkpoint with a prompt refiner between the text and its encoder."""
    (encoder,) = [
        i for i, n in graph.items() if n.get("_meta", {}).get("title") == "Positive prompt"
    ]
    graph["90"] = {"class_type": "NobodysRefiner", "inputs": {"text": "old"}}
    graph[encoder]["inputs"]["text"] = ["90", 0]
    return graph, encoder


def test_a_node_that_the_server_lacks_is_passed_through_and_told(comfyui_server, tmp_path, caplog):
    bundled = json.loads((ROOT / "t2i_checkpoint.json").read_text("utf-8"))
    graph, encoder = lacking(bundled)
    (tmp_path / "refined.json").write_text(json.dumps(graph), "utf-8")
    request = ImageGenerationRequest("a fox", workflow="refined.json", steps=1, seed=1)

    with ComfyUIProvider(comfyui_server.address, tmp_path) as provider:
        built = provider.build_workflow(request)
        result = provider.generate(request)

    assert result.success, result.error
    assert "90" not in built
    assert built[encoder]["inputs"]["text"] == "a fox"
    assert result.recipe["workflow"] == built
    assert [w for w in result.metadata["warnings"] if "NobodysRefiner" in w]
    assert "NobodysRefiner" in caplog.text


def test_a_node_that_the_server_replaces_is_left_to_it(comfyui_server, tmp_path, monkeypatch):
    bundled = json.loads((ROOT / "t2i_checkpoint.json").read_text("utf-8"))
    graph, encoder = lacking(bundled)
    (tmp_path / "refined.json").write_text(json.dumps(graph), "utf-8")
    request = ImageGenerationRequest("a fox", workflow="refined.json", steps=1, seed=1)
    answer = {"NobodysRefiner": [{"new_node_id": "CLIPTextEncode"}]}
    monkeypatch.setattr(ComfyUIClient, "node_replacements", lambda client: answer)

    for on_missing in ("bypass", "error"):
        with ComfyUIProvider(
            comfyui_server.address, tmp_path, on_missing_node=on_missing
        ) as provider:
            built = provider.build_workflow(request)
            result = provider.generate(request)
        assert built[encoder]["inputs"]["text"] == ["90", 0]
        assert built["90"]["inputs"]["text"] == "a fox"
        # This one only says so: it is the server that refuses.
        assert "NobodysRefiner" in result.error
        assert comfyui_server.stats.posts > 0
        assert result.metadata["warnings"] == []


def test_a_missing_node_can_be_an_error_that_names_it(comfyui_server, tmp_path):
    bundled = json.loads((ROOT / "t2i_checkpoint.json").read_text("utf-8"))
    (tmp_path / "refined.json").write_text(json.dumps(lacking(bundled)[0]), "utf-8")
    request = ImageGenerationRequest("a fox", workflow="refined.json")

    with ComfyUIProvider(comfyui_server.address, tmp_path, on_missing_node="error") as provider:
        result = provider.generate(request)

    assert result.error_type == "workflow"
    assert "NobodysRefiner" in result.error
    assert result.exception.node_id == "90"
    assert result.exception.file == "refined.json"
