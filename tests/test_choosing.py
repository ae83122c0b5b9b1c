"""Which workflow a request gets, by its images, the settings and the models of the server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from comfyui.choosing import WorkflowChooser, mode_of
from comfyui.library import WorkflowLibrary
from comfyui.object_info import ObjectInfo
from image_provider import ImageGenerationRequest, WorkflowError

DATA = Path(__file__).parent / "data" / "object_info"
FLUX_FILES = {
    ("UNETLoader", "unet_name"): ["flux1-dev.safetensors", "flux1-fill-dev.safetensors"],
    ("DualCLIPLoader", "clip_name1"): ["clip_l.safetensors", "t5xxl_fp16.safetensors"],
    ("DualCLIPLoader", "clip_name2"): ["clip_l.safetensors", "t5xxl_fp16.safetensors"],
    ("VAELoader", "vae_name"): ["ae.safetensors"],
}
CHECKPOINTS = {("CheckpointLoaderSimple", "ckpt_name"): ["b.safetensors", "a.safetensors"]}
IMAGES = {
    "t2i": {},
    "i2i": {"source_image_url": "s.png"},
    "inpaint": {"source_image_url": "s.png", "mask_image_url": "m.png"},
}


def server_with(files, version="0.26.0"):
    data = json.loads((DATA / f"{version}.json").read_text("utf-8"))
    for (class_type, name), names in files.items():
        declared = data[class_type]["input"]["required"][name]
        if declared[0] == "COMBO":
            declared[1]["options"] = names
        else:
            declared[0] = names
    return ObjectInfo.from_dict(data)


def chooser(**configured):
    return WorkflowChooser(WorkflowLibrary("workflows/comfyui"), configured)


def request(mode="t2i", **fields):
    return ImageGenerationRequest("fox", **IMAGES[mode], **fields)


@pytest.mark.parametrize(
    ("fields", "mode"),
    [
        ({}, "t2i"),
        ({"source_image_url": "s.png"}, "i2i"),
        ({"extra": {"source_image": b"x"}}, "i2i"),
        ({"source_image_url": "s.png", "mask_image_url": "m.png"}, "inpaint"),
        ({"source_image_url": "s.png", "extra": {"mask_image": b"x"}}, "inpaint"),
        ({"extra": {"source_image": None, "mask_image": None}}, "t2i"),
    ],
)
def test_the_images_decide_the_mode(fields, mode):
    assert mode_of(ImageGenerationRequest("fox", **fields)) == mode


@pytest.mark.parametrize("version", ["0.3.64", "0.8.0", "0.26.0"])
@pytest.mark.parametrize("mode", IMAGES)
def test_flux_is_the_default_where_its_models_are(mode, version):
    choice = chooser().choose(request(mode), server_with(FLUX_FILES | CHECKPOINTS, version))
    assert (choice.name, choice.model, choice.warnings) == (f"{mode}_flux.json", None, [])
    assert choice.is_default


@pytest.mark.parametrize("version", ["0.3.64", "0.8.0", "0.26.0"])
@pytest.mark.parametrize("mode", IMAGES)
def test_the_first_checkpoint_stands_in_with_a_warning(mode, version):
    choice = chooser().choose(request(mode), server_with(CHECKPOINTS, version))
    assert (choice.name, choice.model) == (f"{mode}_checkpoint.json", "b.safetensors")
    assert choice.is_default
    (warning,) = choice.warnings
    missing = "flux1-fill-dev.safetensors" if mode == "inpaint" else "flux1-dev.safetensors"
    for word in (missing, "clip_l.safetensors", "ae.safetensors", "b.safetensors"):
        assert word in warning


def test_one_missing_file_is_enough():
    files = FLUX_FILES | CHECKPOINTS | {("VAELoader", "vae_name"): ["other.safetensors"]}
    (warning,) = chooser().choose(request(), server_with(files)).warnings
    assert "(ae.safetensors)" in warning


def test_with_neither_family_the_error_lists_files_and_folders():
    with pytest.raises(WorkflowError) as caught:
        chooser().choose(request(), server_with({}))
    for part in (
        *("flux1-dev.safetensors", "models/diffusion_models"),
        *("clip_l.safetensors", "t5xxl_fp16.safetensors", "models/text_encoders"),
        *("ae.safetensors", "models/vae", "models/checkpoints"),
    ):
        assert part in str(caught.value)
    assert {problem.kind for problem in caught.value.problems} == {"missing_model"}
    assert caught.value.class_type == "UNETLoader"


def test_what_somebody_named_or_configured_is_not_replaced():
    nothing = server_with({})
    named = chooser().choose(request(workflow="t2i_flux.json"), nothing)
    assert (named.name, named.is_default) == ("t2i_flux.json", False)
    configured = chooser(t2i="t2i_checkpoint.json").choose(request(), nothing)
    assert (configured.name, configured.is_default) == ("t2i_checkpoint.json", True)


def test_a_setting_counts_for_its_own_mode_alone():
    made = chooser(t2i="t2i_checkpoint.json")
    assert made.name_for(request("i2i")) == "i2i_flux.json"
    assert made.choose(request("i2i"), server_with(CHECKPOINTS)).name == "i2i_checkpoint.json"


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("a.safetensors", "t2i_checkpoint.json"),
        ("flux1-fill-dev.safetensors", "t2i_flux.json"),
        ("unknown.safetensors", "t2i_flux.json"),
        ("flux1-dev.safetensors", "t2i_flux.json"),  # a checkpoint of this name is there, too
    ],
)
def test_a_model_that_is_asked_for_takes_its_family(model, name):
    names = ["flux1-dev.safetensors", "a.safetensors"]
    server = server_with(FLUX_FILES | {("CheckpointLoaderSimple", "ckpt_name"): names})
    choice = chooser().choose(request(model=model), server)
    assert (choice.name, choice.model, choice.warnings) == (name, model, [])


def test_without_a_server_the_default_is_taken_to_have_its_models():
    assert chooser().choose(request(), None).name == "t2i_flux.json"


@pytest.mark.parametrize("mode", IMAGES)
def test_a_folder_of_ones_own_need_not_hold_the_defaults(mode, tmp_path):
    own, bundled = WorkflowLibrary(tmp_path), WorkflowLibrary("workflows/comfyui")
    for server in (server_with(FLUX_FILES), server_with(CHECKPOINTS)):
        chosen = WorkflowChooser(own, {}).choose(request(mode), server)
        assert chosen.workflow.graph == bundled.load(chosen.name).graph
    default = chooser().name_for(request(mode))
    assert WorkflowChooser(own, {}).hashes_for(request(mode)) == bundled.hashes(default)


def test_a_folder_that_is_not_there_is_told_of_once(tmp_path, caplog):
    for folder, told in ((tmp_path, 0), (tmp_path / "gone", 1)):
        caplog.clear()
        own = WorkflowChooser(WorkflowLibrary(folder), {})
        for _ in range(2):
            own.choose(request("t2i"), server_with(FLUX_FILES))
        assert caplog.text.count("there is no workflow folder; COMFYUI_WORKFLOW_DIR") == told


def test_a_default_of_the_same_name_in_the_folder_comes_first(tmp_path):
    graph = {"1": {"class_type": "SaveImage", "inputs": {}}}
    (tmp_path / "t2i_flux.json").write_text(json.dumps(graph), "utf-8")
    own = WorkflowChooser(WorkflowLibrary(tmp_path), {})
    assert list(own.choose(request(), None).workflow.graph) == ["1"]
    assert own.hashes_for(request()) == WorkflowLibrary(tmp_path).hashes("t2i_flux.json")


def test_what_somebody_named_or_configured_is_in_the_folder_or_nowhere(tmp_path):
    own = WorkflowLibrary(tmp_path)
    named = request(workflow="t2i_checkpoint.json")
    for asked, configured in ((named, {}), (request(), {"t2i": "t2i_checkpoint.json"})):
        with pytest.raises(WorkflowError, match="no such file"):
            WorkflowChooser(own, configured).choose(asked, None)
        with pytest.raises(WorkflowError, match="no such file"):
            WorkflowChooser(own, configured).hashes_for(asked)


def test_a_folder_that_cannot_be_looked_into_is_as_one_that_is_not_there(tmp_path):
    closed = WorkflowLibrary(tmp_path / ("a" * 300))  # too long a name for any disk
    assert WorkflowChooser(closed, {}).choose(request(), None).name == "t2i_flux.json"
    for ask in (closed.load, closed.hashes):
        with pytest.raises(WorkflowError, match="no workflow at all"):
            ask("t2i_flux.json")
