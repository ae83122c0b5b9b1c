"""The workflows that come with the project run on every server that has their models."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from comfyui.graph import find_by_class, links_of, output_nodes, upstream
from comfyui.object_info import ObjectInfo
from comfyui.workflow import Workflow

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "workflows" / "comfyui"
DATA = Path(__file__).parent / "data" / "object_info"
CONVERSION = ROOT.parent / "shared" / "conversion"
VERSIONS = ("0.3.64", "0.8.0", "0.26.0")
FLUX = ("t2i_flux.json", "i2i_flux.json", "inpaint_flux.json")
CHECKPOINT = ("t2i_checkpoint.json", "i2i_checkpoint.json", "inpaint_checkpoint.json")


def graph_of(name):
    return Workflow.from_file(FOLDER / name).graph


def inputs_of(graph, class_type):
    return graph[find_by_class(graph, class_type)]["inputs"]


def verdict(name, object_info_file):
    info = ObjectInfo.from_dict(json.loads(object_info_file.read_text("utf-8")))
    problems = Workflow.from_file(FOLDER / name).validate(info)
    return [p.message for p in problems if p.kind not in ("missing_model", "missing_file")]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", FLUX + CHECKPOINT)
def test_it_validates_up_to_its_files(name, version):
    assert verdict(name, DATA / f"{version}.json") == []


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", FLUX + CHECKPOINT)
def test_it_validates_against_all_classes_of_a_server(name, version):
    file = CONVERSION / version / "object_info.json"
    if not file.is_file():
        pytest.skip("the servers' full object_info is not at hand")
    assert verdict(name, file) == []


@pytest.mark.parametrize("name", FLUX + CHECKPOINT)
def test_it_is_written_as_the_editor_exports(name):
    text = (FOLDER / name).read_text("utf-8")
    graph = json.loads(text)
    assert text == json.dumps(graph, indent=2) + "\n"
    assert all(node.keys() == {"class_type", "inputs", "_meta"} for node in graph.values())


@pytest.mark.parametrize("name", FLUX + CHECKPOINT)
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


def test_the_readme_names_every_workflow_and_every_model_with_its_folder():
    readme = (FOLDER / "README.md").read_text("utf-8")
    info = ObjectInfo.from_dict(json.loads((DATA / "0.26.0.json").read_text("utf-8")))
    for name in FLUX + CHECKPOINT:
        section = readme.partition(f"## {name}")[2].partition("\n## ")[0]
        for node in graph_of(name).values():
            assert node["class_type"] in section
            for key, value in node["inputs"].items():
                folder = info[node["class_type"]].inputs[key].model_folder
                if folder is not None:
                    assert f"`models/{folder}/{value}`" in section
