"""The workflows that come with the project run on every server that has their models.

The custom example needs nodes beyond ComfyUI's own, and runs in a simpler way without them.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from comfyui.graph import find_by_class, find_by_title, links_of, output_nodes, upstream
from comfyui.missing_nodes import bypass_missing
from comfyui.object_info import ObjectInfo
from comfyui.validation import validate
from comfyui.workflow import Workflow
from comfyui_provider import ComfyUIProvider
from image_provider import ImageGenerationRequest

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "workflows" / "comfyui"
DATA = Path(__file__).parent / "data" / "object_info"
CONVERSION = ROOT.parent / "shared" / "conversion"
VERSIONS = ("0.3.64", "0.8.0", "0.26.0")
FLUX = ("t2i_flux.json", "i2i_flux.json", "inpaint_flux.json")
CHECKPOINT = ("t2i_checkpoint.json", "i2i_checkpoint.json", "inpaint_checkpoint.json")
ADVANCED = "t2i_flux_advanced.json"
CUSTOM = "custom_qwen_refine.json"
CUSTOM_CLASSES = {"AILab_QwenVL_PromptEnhancer", "easy anythingIndexSwitch"}


def described(*files, version):
    """The classes of a server, from the small files here; `files` are further ones."""
    classes = json.loads((DATA / f"{version}.json").read_text("utf-8"))
    classes |= json.loads((DATA / "bundled_nodes.json").read_text("utf-8"))[version]
    for name in files:
        classes |= json.loads((DATA / name).read_text("utf-8"))
    return ObjectInfo.from_dict(classes)


def graph_of(name):
    return Workflow.from_file(FOLDER / name).graph


def inputs_of(graph, class_type):
    return graph[find_by_class(graph, class_type)]["inputs"]


def complaints(problems):
    return [p.message for p in problems if p.kind not in ("missing_model", "missing_file")]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", (*FLUX, *CHECKPOINT, ADVANCED))
def test_it_validates_up_to_its_files(name, version):
    info = described(version=version)
    assert complaints(Workflow.from_file(FOLDER / name).validate(info)) == []


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", (*FLUX, *CHECKPOINT, ADVANCED))
def test_it_validates_against_all_classes_of_a_server(name, version):
    file = CONVERSION / version / "object_info.json"
    if not file.is_file():
        pytest.skip("the servers' full object_info is not at hand")
    info = ObjectInfo.from_dict(json.loads(file.read_text("utf-8")))
    assert complaints(Workflow.from_file(FOLDER / name).validate(info)) == []


@pytest.mark.parametrize("name", (*FLUX, *CHECKPOINT, ADVANCED, CUSTOM))
def test_it_is_written_as_the_editor_exports(name):
    text = (FOLDER / name).read_text("utf-8")
    graph = json.loads(text)
    assert text == json.dumps(graph, indent=2) + "\n"
    assert all(node.keys() == {"class_type", "inputs", "_meta"} for node in graph.values())


@pytest.mark.parametrize("name", (*FLUX, *CHECKPOINT, ADVANCED, CUSTOM))
def test_every_node_is_needed_and_has_a_title_of_its_own(name):
    graph = graph_of(name)
    (output,) = output_nodes(graph)
    assert set(upstream(graph, [output])) == set(graph)
    titles = Counter(node["_meta"]["title"] for node in graph.values())
    assert set(titles.values()) == {1}
    assert "Positive prompt" in titles
    assert "Input image" in titles or "Input image and mask" in titles or name.startswith("t2i")


@pytest.mark.parametrize("name", FLUX + CHECKPOINT)
def test_there_is_one_place_for_every_parameter(name):
    graph = graph_of(name)
    places = Counter(
        key
        for node in graph.values()
        for key, value in node["inputs"].items()
        if not isinstance(value, list)
    )
    once = {"seed", "steps", "cfg", "denoise", "filename_prefix"}
    once |= {"width", "height"} if name.startswith("t2i") else {"image"}
    assert {key for key in once if places[key] != 1} == set()
    assert places["text"] == (1 if name in FLUX else 2)


@pytest.mark.parametrize("name", FLUX)
def test_flux_has_guidance_and_no_negative_text(name):
    graph = graph_of(name)
    sampler = inputs_of(graph, "KSampler")
    assert (sampler["cfg"], sampler["scheduler"], sampler["steps"]) == (1.0, "simple", 20)
    fill = name == "inpaint_flux.json"
    assert inputs_of(graph, "FluxGuidance")["guidance"] == (30.0 if fill else 3.5)
    model = "flux1-fill-dev.safetensors" if fill else "flux1-dev.safetensors"
    assert inputs_of(graph, "UNETLoader")["unet_name"] == model
    assert inputs_of(graph, "DualCLIPLoader") == {
        "clip_name1": "clip_l.safetensors",
        "clip_name2": "t5xxl_fp16.safetensors",
        "type": "flux",
    }
    assert inputs_of(graph, "VAELoader") == {"vae_name": "ae.safetensors"}
    assert find_by_class(graph, "ConditioningZeroOut")


@pytest.mark.parametrize(
    ("name", "denoise"),
    [("t2i", 1.0), ("i2i", 0.75), ("inpaint", 1.0)],
)
@pytest.mark.parametrize("family", ["flux", "checkpoint"])
def test_denoise_is_the_documented_default(name, denoise, family):
    assert inputs_of(graph_of(f"{name}_{family}.json"), "KSampler")["denoise"] == denoise


@pytest.mark.parametrize("name", ["inpaint_flux.json", "inpaint_checkpoint.json"])
def test_what_is_not_masked_stays_as_it_was(name):
    graph = graph_of(name)
    source = find_by_class(graph, "LoadImage")
    paste = dict(links_of(graph[find_by_class(graph, "ImageCompositeMasked")]))
    assert paste["destination"] == (source, 0)
    assert paste["mask"] == (source, 1)
    assert graph[paste["source"].node_id]["class_type"] == "VAEDecode"


def titled(graph, title):
    (node_id,) = find_by_title(graph, title)
    return node_id, graph[node_id]


def test_the_advanced_workflow_refines_a_larger_version_of_its_first_picture():
    graph = graph_of(ADVANCED)
    first_id, first = titled(graph, "Sampler")
    upscale_id, upscale = titled(graph, "Upscale")
    _, second = titled(graph, "Second pass")
    assert upscale["inputs"]["samples"] == [first_id, 0]
    assert upscale["inputs"]["scale_by"] == 1.5
    assert second["inputs"]["latent_image"] == [upscale_id, 0]
    for shared in ("noise", "guider", "sampler"):
        assert first["inputs"][shared] == second["inputs"][shared]
    denoise = [graph[n["inputs"]["sigmas"][0]]["inputs"]["denoise"] for n in (first, second)]
    assert denoise == [1.0, 0.5]
    size = {key: inputs_of(graph, "EmptySD3LatentImage")[key] for key in ("width", "height")}
    assert size.items() <= inputs_of(graph, "ModelSamplingFlux").items()
    assert not any("Lora" in node["class_type"] for node in graph.values())


def test_the_advanced_workflow_makes_a_picture_of_one_and_a_half_times_the_size(comfyui_server):
    request = ImageGenerationRequest(
        "a lighthouse",
        workflow=ADVANCED,
        width=128,
        height=192,
        steps=2,
        seed=7,
        guidance_scale=2.0,
        loras=[("example_lora.safetensors", 0.5)],
    )
    with ComfyUIProvider(comfyui_server.address, workflow_dir=FOLDER) as provider:
        result = provider.generate(request)
        graph = provider.build_workflow(request)
    result.raise_for_error()
    assert [(image["width"], image["height"]) for image in result.images] == [(192, 288)]
    assert result.metadata["ignored"] == []
    lora = find_by_class(graph, "LoraLoader")
    assert inputs_of(graph, "ModelSamplingFlux")["model"] == [lora, 0]


def test_the_custom_example_validates_where_its_packs_are():
    custom, info = Workflow.from_file(FOLDER / CUSTOM), described(version="0.26.0")
    assert {p.class_type for p in custom.validate(info) if p.kind == "unknown_node"} == (
        CUSTOM_CLASSES
    )
    with_packs = described("custom_nodes.json", version="0.26.0")
    assert complaints(custom.validate(with_packs)) == []
    assert {name for name in with_packs if with_packs[name].is_custom} == CUSTOM_CLASSES


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("mode", "latent", "denoise"),
    [(0, "Image size", "Denoise of T2I"), (1, "Encode", "Denoise of I2I")],
)
def test_without_its_packs_the_custom_example_keeps_prompt_and_mode(mode, latent, denoise, version):
    graph, info = graph_of(CUSTOM), described(version=version)
    titled(graph, "Mode (0 = T2I, 1 = I2I)")[1]["inputs"]["value"] = mode
    result = bypass_missing(graph, info)
    assert complaints(validate(result.graph, info)) == []
    assert {entry.class_type for entry in result.bypassed} == CUSTOM_CLASSES
    prompt_id, _ = titled(result.graph, "Positive prompt")
    assert inputs_of(result.graph, "CLIPTextEncode")["text"] == [prompt_id, 0]
    sampler = inputs_of(result.graph, "KSampler")
    assert sampler["latent_image"] == [titled(graph, latent)[0], 0]
    assert sampler["denoise"] == [titled(graph, denoise)[0], 0]


def test_without_its_packs_the_custom_example_runs(comfyui_server):
    with ComfyUIProvider(comfyui_server.address) as provider:
        graph = bypass_missing(graph_of(CUSTOM), described(version="0.26.0")).graph
        result = provider.run_workflow(graph)
    result.raise_for_error()
    assert len(result.images) == 1


def test_a_picture_turns_the_custom_example_to_image_to_image(comfyui_server):
    source = Image.new("RGB", (64, 48), (200, 60, 20))
    request = ImageGenerationRequest(
        "a lighthouse", workflow=CUSTOM, steps=2, strength=0.5, extra={"source_image": source}
    )
    with ComfyUIProvider(comfyui_server.address, workflow_dir=FOLDER) as provider:
        graph = provider.build_workflow(request)
        result = provider.generate(request)
    result.raise_for_error()
    assert [(image["width"], image["height"]) for image in result.images] == [(64, 48)]
    assert titled(graph, "Denoise of I2I")[1]["inputs"]["value"] == 0.5
    assert titled(graph, "Input image")[1]["inputs"]["image"] != "example.png"


def test_the_readme_names_every_workflow_and_every_model_with_its_folder():
    readme = (FOLDER / "README.md").read_text("utf-8")
    info = described("custom_nodes.json", version="0.26.0")
    for file in FOLDER.glob("*.json"):
        section = readme.partition(f"## {file.name}")[2].partition("\n## ")[0]
        for node in graph_of(file.name).values():
            assert node["class_type"] in section
            for key, value in node["inputs"].items():
                folder = info[node["class_type"]].inputs[key].model_folder
                if folder is not None:
                    assert f"`models/{folder}/{value}`" in section
