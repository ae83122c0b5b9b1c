"""What holds for every command: examples in its help, and one JSON document with `--json`."""

from __future__ import annotations

import argparse
import json
import os
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from comfyui.embedded import EmbeddedOptions, EmbeddedServer, FailNode
from image_cli import build_parser, main

SMALL = ["--size", "64x64", "--steps", "2"]
NOBODY = "127.0.0.1:9"  # discard: nobody listens there


@pytest.fixture
def server(comfyui_server, monkeypatch):
    monkeypatch.setenv("COMFYUI_SERVER_ADDRESS", comfyui_server.address)
    return comfyui_server


def parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """A parser and those of all commands below it."""
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in dict.fromkeys(action.choices.values()):
                yield from parsers(command)


def examples(parser: argparse.ArgumentParser) -> list[str]:
    """The command lines behind "example:" in a help text."""
    told = parser.format_help().partition("example")[2]
    return [line.strip() for line in told.splitlines() if line.startswith("  image-cli ")]


def json_commands() -> list[str]:
    return [
        parser.prog
        for parser in parsers(build_parser())
        if "--json" in parser._option_string_actions
    ]


def document(capsys):
    """What went to stdout, as the one JSON document that it has to be."""
    return json.loads(capsys.readouterr().out)


# Help


@pytest.mark.parametrize("parser", list(parsers(build_parser())), ids=lambda parser: parser.prog)
def test_every_help_has_examples_of_the_command_that_parse(parser):
    lines = examples(parser)
    assert lines
    for line in lines:
        assert line.startswith(parser.prog)
        build_parser().parse_args(shlex.split(line)[1:])


# JSON


def test_commands_that_tell_something_tell_it_as_json():
    told = {name.removeprefix("image-cli ") for name in json_commands()}
    assert told >= {"generate", "demo", "providers"}
    assert told >= {"workflow list", "workflow check", "workflow bind"}


@pytest.mark.parametrize("name", json_commands())
def test_wrong_usage_is_told_as_json_too(name, capsys):
    assert main([*name.split()[1:], "--no-such-option", "--json"]) == 2
    told = document(capsys)
    assert told["error_type"] == "wrong_usage" and told["error"]


@pytest.mark.parametrize(
    "words",
    [
        ["generate", "a fox"],
        ["generate", "a fox", "--seed", "1"],
        ["providers"],
        ["workflow", "check", "t2i_flux.json", "--server"],
    ],
)
def test_settings_that_cannot_be_used_are_told_as_json(words, monkeypatch, capsys):
    monkeypatch.setenv("FLUX_HOST", "nowhere")
    assert main([*words, "--json"]) == 1
    told = document(capsys)
    assert told["error_type"] == "configuration" and "FLUX_HOST" in told["error"]


def test_pictures_are_told_by_the_paths_of_their_files(server, capsys):
    assert main(["generate", "a fox", *SMALL, "-n", "2", "--seed", "7", "--json"]) == 0
    told = document(capsys)
    assert (told["success"], told["provider"], told["error"]) == (True, "comfyui", None)
    assert told["model"] == "flux1-dev.safetensors"
    for picture, seed in zip(told["images"], (7, 8), strict=True):
        assert picture["path"] == os.path.join("outputs", f"comfyui-{seed - 6:05}-{seed}.png")
        assert Path(picture["path"]).is_file()
        assert (picture["seed"], picture["width"], picture["height"]) == (seed, 64, 64)
        assert picture["url"].startswith("http://") and "bytes" not in picture
    assert told["metadata"]["workflow"] == "t2i_flux.json"


def test_a_failed_generation_is_told_as_json(monkeypatch, capsys):
    options = EmbeddedOptions(step_seconds=0, fail_node=FailNode("SaveImage", "disk is full"))
    with EmbeddedServer(options=options) as server:
        monkeypatch.setenv("COMFYUI_SERVER_ADDRESS", server.address)
        assert main(["demo", "a fox", *SMALL, "--json"]) == 1
    told = document(capsys)
    assert (told["success"], told["images"]) == (False, [])
    assert told["error_type"] == "generation_failed" and "disk is full" in told["error"]


def test_a_server_that_is_away_is_told_as_json(monkeypatch, capsys):
    monkeypatch.setenv("COMFYUI_SERVER_ADDRESS", NOBODY)
    assert main(["generate", "a fox", "--json"]) == 1
    told = document(capsys)
    assert (told["success"], told["error_type"]) == (False, "unavailable")


def test_providers_are_told_as_json(server, monkeypatch, capsys):
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    assert main(["providers", "--json"]) == 0
    told = {entry["name"]: entry for entry in document(capsys)["providers"]}
    assert told["comfyui"]["available"] and told["openai"]["model"] == "gpt-image-2"
    assert (told["flux_fal"]["available"], told["flux_fal"]["reason"]) == (
        False,
        "no key: set FAL_KEY",
    )


def test_workflow_files_are_told_as_json(monkeypatch, capsys):
    assert main(["workflow", "list", "--json"]) == 0
    told = {entry["name"]: entry for entry in document(capsys)["workflows"]}
    assert told["t2i_checkpoint.json"] == {
        "name": "t2i_checkpoint.json",
        "format": "API",
        "nodes": 7,
        "models": ["v1-5-pruned-emaonly.safetensors"],
        "error": None,
    }
    monkeypatch.setenv("COMFYUI_WORKFLOW_DIR", "mine")
    Path("mine").mkdir()
    Path("mine/broken.json").write_text("{", "utf-8")
    assert main(["workflow", "list", "--json"]) == 0
    (broken,) = document(capsys)["workflows"]
    assert broken["nodes"] is None and "it is not JSON" in broken["error"]


def test_a_check_is_told_as_json(monkeypatch, capsys):
    with EmbeddedServer(options=EmbeddedOptions(step_seconds=0, models={})) as server:
        monkeypatch.setenv("COMFYUI_SERVER_ADDRESS", server.address)
        assert main(["workflow", "check", "t2i_checkpoint.json", "--server", "--json"]) == 1
    told = document(capsys)
    (problem,) = told["problems"]
    assert (problem["kind"], problem["input_name"]) == ("missing_model", "ckpt_name")
    assert told["server_known"] is True
    places = {
        (each["parameter"], each["class_type"], each["input_name"]) for each in told["bindings"]
    }
    assert ("seed", "KSampler", "seed") in places


def test_a_filled_in_graph_is_told_by_its_path(capsys):
    words = ["t2i_flux.json", "--prompt", "a fox", "--negative", "dogs", "--size", "130x130"]
    assert main(["workflow", "bind", *words, "-o", "fox.json", "--json"]) == 0
    told = document(capsys)
    assert told["output"] == "fox.json" and Path("fox.json").is_file()
    values = {entry["parameter"]: entry["value"] for entry in told["bindings"]}
    assert (values["prompt"], values["width"]) == ("a fox", 128)
    assert [entry["parameter"] for entry in told["ignored"]] == ["negative_prompt"]


def test_an_interruption_is_told_as_json(server, monkeypatch, capsys):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("image_generator.ImageGenerator.generate_request", interrupted)
    assert main(["generate", "a fox", "--json"]) == 130
    assert document(capsys)["error_type"] == "cancelled"
    assert requests.get(server.url + "/history", timeout=10).json() == {}
