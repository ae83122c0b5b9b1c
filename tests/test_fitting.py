"""What a server lacks for a graph: what keeps it from being sent there, and what stands in."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from comfyui.fitting import (
    Fit,
    Rank,
    blocking_problems,
    files_out_of_lists,
    fit_as_given,
    fit_of,
    fit_of_error,
    refused,
)
from comfyui.object_info import ObjectInfo
from comfyui.workflow import Workflow
from image_provider import WorkflowError

ROOT = Path(__file__).parent.parent / "workflows" / "comfyui"
DATA = Path(__file__).parent / "data" / "object_info"


@pytest.fixture(scope="module")
def info():
    return ObjectInfo.from_dict(json.loads((DATA / "0.26.0.json").read_text("utf-8")))


def save(node_id):
    return {"class_type": "SaveImage", "inputs": {"images": [node_id, 0], "filename_prefix": "x"}}


def empty(width):
    inputs = {"width": width, "height": 8, "batch_size": 1, "color": 0}
    return {"class_type": "EmptyImage", "inputs": inputs}


def kinds(graph, info):
    return [problem.kind for problem in blocking_problems(Workflow.from_dict(graph), info)]


def test_a_sound_graph_is_sent(info):
    assert kinds({"1": empty(8), "2": save("1")}, info) == []


def test_a_fault_on_the_way_to_the_only_output_blocks(info):
    assert kinds({"1": empty(0), "2": save("1")}, info) == ["out_of_range"]


def test_one_sound_output_is_enough_for_the_server(info):
    graph = {"1": empty(0), "2": save("1"), "3": empty(8), "4": save("3")}
    assert kinds(graph, info) == []


def test_a_graph_without_an_output_blocks(info):
    assert kinds({"1": empty(8)}, info) == ["no_output"]


def test_input_files_and_unknown_classes_are_left_to_the_server(info):
    graph = {"1": {"class_type": "LoadImage", "inputs": {"image": "x.png"}}, "2": save("1")}
    assert kinds(graph, info) == []
    renamed = {"1": {"class_type": "OldName", "inputs": {}}, "2": save("1")}
    assert kinds(renamed, info) == []


def test_the_refusal_lists_every_problem(info):
    workflow = Workflow.from_file(ROOT / "t2i_flux.json")
    error = refused("t2i_flux.json", blocking_problems(workflow, info))
    assert len(error.problems) == 4
    assert (error.file, error.node_id, error.input_name) == ("t2i_flux.json", "1", "unet_name")
    assert str(error).endswith(": " + "; ".join(problem.message for problem in error.problems))


# How much of a graph a server runs


def load(name):
    return {"class_type": "LoadImage", "inputs": {"image": name}}


def model(name="gone.safetensors"):
    return {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": name}}


def decoded(model_id):
    """A picture that a checkpoint's VAE makes."""
    latent = {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 64}}
    latent["inputs"]["batch_size"] = 1
    decode = {"class_type": "VAEDecode", "inputs": {"samples": ["l", 0], "vae": [model_id, 2]}}
    return {"l": latent, "d": decode, "s": save("d")}


UNKNOWN = {"class_type": "Nobodys", "inputs": {"image": ["1", 0]}}


@pytest.mark.parametrize(
    ("graph", "rank", "lacks"),
    [
        ({"1": empty(8), "2": save("1")}, Rank.WHOLE, []),
        ({"1": model(), **decoded("1")}, Rank.NOT, ["gone.safetensors"]),
        ({"1": model(), **decoded("1"), "8": empty(8), "9": save("8")}, Rank.PARTLY, ["gone"]),
        ({"1": load("gone.png"), "2": save("1")}, Rank.NOT, ["gone.png"]),
        ({"1": empty(8), "2": UNKNOWN, "3": save("2")}, Rank.NOT, ["Nobodys"]),
        # Refused by the server wherever it stands.
        ({"1": empty(8), "2": UNKNOWN, "3": save("1")}, Rank.NOT, ["Nobodys"]),
    ],
)
def test_a_graph_that_is_sent_as_it_is_runs_whole_in_part_or_not(graph, rank, lacks, info):
    found = fit_as_given(graph, info, {})
    assert found.rank is rank
    assert len(found.lacks) == len(lacks)
    assert all(word in told for word, told in zip(lacks, found.lacks, strict=True))


def test_a_class_that_the_server_replaces_is_not_lacking(info):
    graph = {"1": empty(8), "2": UNKNOWN, "3": save("2")}
    replaced = {"Nobodys": "ImageInvert"}
    assert fit_as_given(graph, info, replaced) == Fit(Rank.WHOLE)
    assert fit_of(graph, info, replaced, "bypass", "w") == Fit(Rank.WHOLE)


def test_a_node_that_is_done_without_leaves_a_part(info):
    graph = {"1": empty(8), "2": UNKNOWN, "3": save("2")}
    found = fit_of(graph, info, {}, "bypass", "w")
    assert found.rank is Rank.PARTLY
    assert "Nobodys" in found.lacks[0]
    assert fit_of(graph, info, {}, "error", "w").rank is Rank.NOT


def test_a_node_that_nothing_stands_in_for_fits_not_at_all(info):
    loader = {"class_type": "NobodysLoader", "inputs": {"file": "x"}}
    found = fit_of({"1": loader, **decoded("1")}, info, {}, "bypass", "w")
    assert found.rank is Rank.NOT
    assert "NobodysLoader" in found.lacks[0]


def test_files_that_are_brought_are_not_lacking(info):
    graph = {"1": load("new.png"), "2": save("1")}
    assert fit_of(graph, info, {}, "bypass", "w").rank is Rank.NOT
    assert fit_of(graph, info, {}, "bypass", "w", {("1", "image")}) == Fit(Rank.WHOLE)


def test_what_stands_in_for_a_model_leaves_a_part(info):
    graph = {"1": empty(8), "2": save("1")}
    found = fit_of(graph, info, {}, "bypass", "w", warnings=["another model"])
    assert found == Fit(Rank.PARTLY, ("another model",))


def test_a_missing_file_leaves_nothing():
    assert Fit(Rank.PARTLY, ("a",)).without(["x.png"]).rank is Rank.NOT
    assert Fit(Rank.PARTLY, ("a",)).without([]) == Fit(Rank.PARTLY, ("a",))


def test_an_error_fits_nowhere_and_tells_its_problems(info):
    workflow = Workflow.from_dict({"1": model(), **decoded("1")})
    problems = blocking_problems(workflow, info)
    assert fit_of_error(refused("w", problems)).lacks == tuple(p.message for p in problems)
    assert fit_of_error(WorkflowError("what", problems=["odd"])).lacks == ("what",)


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("x.png", None),
        ("a picture.png", None),
        ("blake3:00/11", None),
        ("sub/x.png", ("x.png", "sub", "input")),
        ("a/b\\x.png", ("x.png", "a/b", "input")),
        ("x.png [output]", ("x.png", "", "output")),
        ("sub/a b.png [temp]", ("a b.png", "sub", "temp")),
        ("x.png [input]", ("x.png", "", "input")),
    ],
)
def test_a_file_out_of_the_lists_is_told_as_view_takes_it(name, place, info):
    graph = {"1": load(name), "2": save("1"), "3": UNKNOWN, "4": load(["1", 0])}
    assert [file.place for file in files_out_of_lists(graph, info)] == [place] * bool(place)
