"""Files of the editor, and pictures that ComfyUI made, run like any other workflow."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from comfyui.workflow import Workflow
from comfyui_provider import ComfyUIProvider
from image_provider import ImageGenerationRequest

DATA = Path(__file__).parent / "data" / "ui_format"


@pytest.fixture
def provider(comfyui_server):
    Path("flows").mkdir()
    with ComfyUIProvider(comfyui_server.address, workflow_dir="flows") as provider:
        yield provider


def editor_file(name="subgraph_promoted"):
    """One whose checkpoint the embedded server has."""
    text = (DATA / f"{name}.json").read_text("utf-8")
    return text.replace("sd.safetensors", "v1-5-pruned-emaonly.safetensors")


def test_an_editor_file_takes_a_request(provider):
    Path("flows/saved.json").write_text(editor_file(), "utf-8")
    request = ImageGenerationRequest(
        "a red fox", width=64, height=64, seed=5, workflow="saved.json"
    )
    result = provider.generate(request)
    result.raise_for_error()
    placed = {entry["parameter"]: entry["node_id"] for entry in result.metadata["bindings"]}
    assert placed["prompt"] == "20:6"
    assert placed["seed"] == "20:3"
    assert result.recipe["workflow"]["20:6"]["inputs"]["text"] == "a red fox"


def test_a_picture_that_was_made_can_be_made_again(provider):
    shutil.copy(DATA / "plain.json", "flows/saved.json")
    Path("flows/saved.json").write_text(editor_file("plain"), "utf-8")
    request = ImageGenerationRequest(
        "a red fox", width=64, height=64, seed=5, workflow="saved.json"
    )
    first = provider.generate(request)
    first.raise_for_error()
    Path("flows/made.png").write_bytes(first.get_image_bytes())
    assert Workflow.from_file("flows/made.png").graph["5"]["inputs"]["seed"] == 5
    again = provider.generate(ImageGenerationRequest("a red fox", seed=5, workflow="made.png"))
    again.raise_for_error()
    assert again.to_pil().tobytes() == first.to_pil().tobytes()
    other = provider.generate(ImageGenerationRequest("a hare", seed=6, workflow="made.png"))
    assert other.to_pil().tobytes() != first.to_pil().tobytes()


def test_an_editor_file_is_run_as_it_is(provider):
    result = provider.run_workflow(json.loads(editor_file()))
    result.raise_for_error()
    assert len(result.images) == 1
    assert result.recipe["workflow"]["20:6"]["inputs"]["text"] == "inner text"


def test_execute_comfy_workflow_takes_an_editor_file(provider):
    Path("mine.json").write_text(editor_file(), "utf-8")
    result = provider.execute_comfy_workflow("mine.json", "a red fox", width=64, height=64, seed=5)
    result.raise_for_error()
    assert result.recipe["workflow"]["20:6"]["inputs"]["text"] == "a red fox"


def with_a_refiner(**refiner):
    """The plain file with a text node of a pack that the server lacks before its encoder."""
    document = json.loads(editor_file("plain"))
    encoder = next(node for node in document["nodes"] if node["id"] == 2)
    text = next(slot for slot in encoder["inputs"] if slot["name"] == "text")
    text["link"] = 90
    node = {
        "id": 40,
        "type": "AlienRefiner",
        "mode": 0,
        "inputs": [{"name": "prompt", "type": "STRING", "widget": {"name": "prompt"}}],
        "outputs": [{"name": "STRING", "type": "STRING", "links": [90]}],
        "properties": {"cnr_id": "comfyui-aliens"},
        "widgets_values": ["refine me"],
        **refiner,
    }
    document["nodes"].append(node)
    document["links"].append([90, 40, 0, 2, encoder["inputs"].index(text), "STRING"])
    Path("flows/saved.json").write_text(json.dumps(document), "utf-8")
    return ImageGenerationRequest("a red fox", width=64, height=64, seed=5, workflow="saved.json")


def test_a_node_that_the_server_lacks_is_passed_through_with_its_pack(provider):
    result = provider.generate(with_a_refiner())
    result.raise_for_error()
    assert result.recipe["workflow"]["2"]["inputs"]["text"] == "a red fox"
    assert any(
        "AlienRefiner" in note and "(of comfyui-aliens)" in note
        for note in result.metadata["warnings"]
    )


def test_a_node_that_nothing_can_stand_in_for_names_its_pack(comfyui_server):
    Path("flows").mkdir()
    with ComfyUIProvider(
        comfyui_server.address, workflow_dir="flows", on_missing_node="error"
    ) as provider:
        result = provider.generate(with_a_refiner())
    assert result.error_type == "workflow"
    assert "AlienRefiner" in result.error and "comfyui-aliens" in result.error


def test_values_without_names_of_a_node_that_nobody_knows_are_an_error(provider):
    result = provider.generate(with_a_refiner(widgets_values=["refine me", 1, 2]))
    assert result.error_type == "workflow"
    assert "node 40 AlienRefiner (of comfyui-aliens)" in result.error


def test_pictures_of_the_folder_are_listed(provider):
    Path("flows/a.json").write_text(editor_file("plain"), "utf-8")
    Path("flows/b.PNG").touch()
    Path("flows/c.txt").touch()
    assert provider.library.names() == ["a.json", "b.PNG"]
