"""The command `models`, and where its lists come from, against embedded servers."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import responses

from comfyui.address import parse_address
from comfyui.client import ComfyUIClient
from comfyui.embedded import EmbeddedOptions, EmbeddedServer
from comfyui.model_lists import model_lists
from comfyui.server import Server
from image_cli import main

NOBODY = "127.0.0.1:9"  # discard: nobody listens there
FULL = {"checkpoints": ("b.safetensors", "a.safetensors"), "loras": ("sub/\x1b[2Jl.safetensors",)}


@pytest.fixture(scope="module")
def full():
    with EmbeddedServer(options=EmbeddedOptions(step_seconds=0, models=FULL)) as server:
        yield server


@pytest.fixture(scope="module")
def empty():
    with EmbeddedServer(options=EmbeddedOptions(step_seconds=0, models={})) as server:
        yield server


@pytest.fixture
def models(monkeypatch, capsys):
    """Runs the command for these servers; the exit code, stdout and stderr."""

    def run(addresses, *words):
        monkeypatch.setenv("COMFYUI_SERVER_ADDRESS", addresses)
        return main(["models", *words]), *capsys.readouterr()

    return run


def rows(table):
    return [re.split(r"\s{2,}", line.strip()) for line in table.splitlines()[1:]]


def test_every_file_is_one_line_with_its_folder(models, full):
    code, out, err = models(full.address)
    assert (code, err) == (0, "")
    assert rows(out) == [
        ["checkpoints", "a.safetensors"],
        ["checkpoints", "b.safetensors"],
        ["loras", "sub/�[2Jl.safetensors"],
    ]


def test_one_folder_may_be_asked_for_by_its_old_name_too(models, comfyui_server):
    names = ["flux1-dev.safetensors", "flux1-fill-dev.safetensors"]
    for folder in ("diffusion_models", "unet", "unet/"):
        _, out, _ = models(comfyui_server.address, folder)
        assert rows(out) == [["diffusion_models", name] for name in names]


def test_several_servers_are_told_apart_and_one_that_is_away_is_left_out(models, full, empty):
    code, out, err = models(f"{full.address},{empty.address},{NOBODY}", "checkpoints")
    assert code == 0
    assert rows(out) == [
        [full.address, "checkpoints", "a.safetensors"],
        [full.address, "checkpoints", "b.safetensors"],
    ]
    assert [line.startswith(f"warning: {NOBODY} is left out: ") for line in err.splitlines()] == [
        True
    ]


def test_a_folder_without_files_is_no_failure_and_one_that_is_not_there_is(models, empty):
    code, out, err = models(empty.address, "loras")
    assert (code, out) == (0, "")
    assert err == f"There is no model in models/loras of {empty.address}.\n"
    code, out, err = models(empty.address, "nowhere")
    assert (code, out) == (1, "")
    assert "there is no folder models/nowhere" in err


def test_lists_are_told_as_json(models, full):
    code, out, _ = models(f"{full.address},{NOBODY}", "--json")
    here, away = json.loads(out)["servers"]
    assert code == 0
    assert here["folders"]["checkpoints"] == ["a.safetensors", "b.safetensors"]
    assert here["folders"]["vae"] == [] and "custom_nodes" not in here["folders"]
    assert away["folders"] == {} and NOBODY in away["error"]


def test_servers_that_are_all_away_are_a_failure(models):
    code, out, err = models(NOBODY, "--json")
    assert (code, json.loads(out)["error_type"]) == (1, "unavailable")
    assert err.startswith("error: ComfyUI at 127.0.0.1:9")


@responses.activate
def test_a_server_without_lists_of_its_own_is_known_by_its_loaders():
    url = "http://127.0.0.1:8188"
    known = Path(__file__).parent / "data" / "object_info" / "0.3.64.json"
    info = json.loads(known.read_text("utf-8"))
    info["CheckpointLoaderSimple"]["input"]["required"]["ckpt_name"][0] = ["b.ckpt", "a.ckpt"]
    responses.get(f"{url}/models", status=404)
    responses.get(f"{url}/object_info", json=info)
    client = ComfyUIClient(parse_address(url), "test")
    told = model_lists(Server(client))
    assert told["checkpoints"] == ["a.ckpt", "b.ckpt"]
    assert "loras" in told and told == {name: told[name] for name in sorted(told)}
    assert model_lists(Server(client), "checkpoints") == {"checkpoints": ["a.ckpt", "b.ckpt"]}
    assert model_lists(Server(client), "nowhere") == {}
    client.close()
