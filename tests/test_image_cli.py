"""The command line, in this process and as a command, against the embedded server."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import requests
from PIL import Image

from comfyui.embedded import EmbeddedOptions, EmbeddedServer, FailNode, StepGate
from image_cli import main
from tests.key_watch import planted

ROOT = Path(__file__).resolve().parent.parent
SMALL = ["--size", "64x64", "--steps", "2"]
NOBODY = "127.0.0.1:9"  # discard: nobody listens there


@pytest.fixture
def server(comfyui_server, monkeypatch):
    monkeypatch.setenv("COMFYUI_SERVER_ADDRESS", comfyui_server.address)
    return comfyui_server


def command(*arguments, **environ):
    return [sys.executable, "-m", "image_cli", *arguments], {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "PYTHONIOENCODING": "utf-8",
        **environ,
    }


def run(*arguments, **environ):
    argv, env = command(*arguments, **environ)
    return subprocess.run(argv, env=env, capture_output=True, encoding="utf-8", timeout=60)


def queued_graph(server):
    """The graph of the one job that the server has had."""
    (entry,) = requests.get(server.url + "/history", timeout=10).json().values()
    return entry["prompt"][2]


def values(graph, class_type):
    (inputs,) = (n["inputs"] for n in graph.values() if n["class_type"] == class_type)
    return inputs


def size_of(path):
    with Image.open(path) as picture:
        return picture.size


# generate


def test_paths_are_all_that_goes_to_stdout_one_a_line(server):
    done = run("generate", "a red fox", *SMALL, "-n", "2", "--seed", "7", "-o", "pictures")
    assert done.returncode == 0, done.stderr
    expected = [os.path.join("pictures", f"comfyui-0000{n}-{n + 6}.png") for n in (1, 2)]
    assert done.stdout.splitlines() == expected
    assert [size_of(path) for path in expected] == [(64, 64), (64, 64)]
    assert done.stderr == "Made by the embedded server: a procedural picture, no model ran.\n"


def test_every_option_of_a_new_picture_reaches_the_graph(server, capsys):
    options = "--size 128x64 --steps 3 --seed 5 --guidance 4.5 --model sd_xl_base_1.0.safetensors"
    assert not main(
        ["generate", "a fox", "--negative", "dogs", "--style", "cinematic", *options.split()]
        + ["--provider", "comfyui", "--workflow", "t2i_checkpoint.json", "--no-cache"]
    )
    graph = queued_graph(server)
    sampler = values(graph, "KSampler")
    assert (sampler["seed"], sampler["steps"], sampler["cfg"]) == (5, 3, 4.5)
    size = values(graph, "EmptyLatentImage")
    assert (size["width"], size["height"]) == (128, 64)
    assert values(graph, "CheckpointLoaderSimple")["ckpt_name"] == "sd_xl_base_1.0.safetensors"
    texts = [n["inputs"]["text"] for n in graph.values() if n["class_type"] == "CLIPTextEncode"]
    assert any(text.startswith("a fox, film still") for text in texts) and "dogs" in texts
    assert not Path("cache").exists()
    assert capsys.readouterr().out == os.path.join("outputs", "comfyui-00001-5.png") + "\n"


def test_a_picture_and_a_mask_reach_the_graph(server):
    Image.new("RGB", (64, 96), "red").save("fox.png")
    Image.new("L", (64, 96), 255).save("mask.png")
    options = ["--image", "fox.png", "--mask", "mask.png", "--strength", "0.4", "--steps", "2"]
    assert main(["generate", "a dog", *options, "--seed", "1"]) == 0
    graph = queued_graph(server)
    assert values(graph, "KSampler")["denoise"] == 0.4
    assert any(node["class_type"] == "LoadImage" for node in graph.values())
    assert size_of("outputs/comfyui-00001-1.png") == (64, 96)


@pytest.mark.parametrize("absolute", [True, False])
def test_a_workflow_file_of_the_callers_own_is_used_as_it_is(server, absolute):
    graph = json.loads((ROOT / "workflows" / "comfyui" / "t2i_checkpoint.json").read_text("utf-8"))
    for node in graph.values():
        if node["class_type"] == "KSampler":
            node["inputs"]["cfg"] = 1.75
    path = Path("mine", "t2i_flux.json")
    path.parent.mkdir()
    path.write_text(json.dumps(graph), "utf-8")
    given = str(path.absolute() if absolute else path)
    assert main(["generate", "a fox", *SMALL, "--workflow", given]) == 0
    assert values(queued_graph(server), "KSampler")["cfg"] == 1.75


def test_a_workflow_file_that_is_not_there_is_told_with_those_that_are(server, capsys):
    gone = str(Path("gone.json").absolute())
    assert main(["generate", "a fox", *SMALL, "--workflow", gone]) == 1
    told = capsys.readouterr().err
    assert "there is no such file" in told and "t2i_flux.json" in told


def test_the_same_seed_comes_from_the_cache(server):
    call = ["generate", "a fox", *SMALL, "--seed", "1"]
    assert main(call) == main(call) == 0
    assert len(requests.get(server.url + "/history", timeout=10).json()) == 1
    first, second = sorted(Path("outputs").iterdir())
    assert first.read_bytes() == second.read_bytes()


def test_a_server_that_is_not_there_is_told_with_the_next_step():
    done = run("generate", "a fox", COMFYUI_SERVER_ADDRESS=NOBODY)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: ComfyUI at 127.0.0.1:9")
    assert "COMFYUI_SERVER_ADDRESS" in done.stderr
    assert len(done.stderr.splitlines()) == 1 and "Traceback" not in done.stderr


def test_a_job_that_fails_names_the_node(monkeypatch, capsys):
    options = EmbeddedOptions(step_seconds=0, fail_node=FailNode("VAEDecode", "out of memory"))
    with EmbeddedServer(options=options) as server:
        monkeypatch.setenv("COMFYUI_SERVER_ADDRESS", server.address)
        assert main(["generate", "a fox", *SMALL]) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert "error: " in told.err and "VAEDecode" in told.err and "out of memory" in told.err


def test_a_warning_is_one_line_however_long(server, capsys):
    unknown = ["--workflow", "t2i_checkpoint.json", "--strength", "0.5"]
    assert main(["generate", "a fox", *SMALL, *unknown]) == 0
    (line,) = [text for text in capsys.readouterr().err.splitlines() if "strength" in text]
    assert line.startswith("warning: comfyui ignores strength: ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["generate"], "PROMPT"),
        (["generate", "a fox", "--size", "large"], "'large' is no size; write WIDTHxHEIGHT"),
        (["generate", "a fox", "--style", "noir"], "unknown style 'noir'; there are: fast_draft,"),
        (["generate", "a fox", "-n", "0"], "argument -n: '0' is no number of pictures"),
        (["generate", "a fox", "--size", "0x64"], "width must be 1 or more, not 0"),
        (["generate", "a fox", "--seed", "x"], "argument --seed: 'x' is no whole number, like 7"),
        (["generate", "a fox", "--guidance", "x"], "argument --guidance: 'x' is no number, like"),
        (["generate", "a fox", "--colour"], "arguments: --colour (see image-cli generate --help)"),
        (["cache", "info", "x"], "arguments: x (see image-cli cache info --help)"),
        (["generate", "a fox", "--seed", "-1"], "seed must be between 0 and"),
        (["generate", "a fox", "--strength", "2"], "strength must be between 0.0 and 1.0"),
        (["generate", "a fox", "--mask", "m.png"], "argument --mask: needs --image"),
        (["serve", "--port", "99999"], "argument --port: '99999' is no port"),
        (["paint"], "invalid choice: 'paint'"),
        ([], "COMMAND"),
    ],
)
def test_wrong_usage_is_exit_code_2_and_leaves_nothing(arguments, message, capsys, tmp_path):
    try:
        code = main(arguments)
    except SystemExit as stop:  # how argparse ends
        code = stop.code
    told = capsys.readouterr()
    assert (code, told.out) == (2, "")
    assert message in told.err
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_told_before_anything_is_generated(server, capsys):
    Path("taken").touch()
    assert main(["generate", "a fox", "-o", "taken"]) == 1
    assert "taken cannot be made a folder" in capsys.readouterr().err
    assert requests.get(server.url + "/history", timeout=10).json() == {}


def test_settings_that_cannot_be_used_are_told(monkeypatch, capsys):
    monkeypatch.setenv("FLUX_HOST", "nowhere")
    assert main(["providers"]) == 1
    assert "error: FLUX_HOST (environment) must be one of" in capsys.readouterr().err


def test_v_tells_of_bindings_and_calls_and_ends_with_the_command(server, capsys):
    assert main(["generate", "a fox", *SMALL, "-v"]) == 0
    told = capsys.readouterr().err
    assert "debug: steps = 2: KSampler" in told
    assert "debug: POST http" in told
    assert main(["generate", "a fox", *SMALL]) == 0
    assert "debug" not in capsys.readouterr().err


def test_control_characters_do_not_reach_the_terminal(server, monkeypatch, capsys):
    bundled = ROOT / "workflows" / "comfyui" / "t2i_checkpoint.json"
    graph = json.loads(bundled.read_text("utf-8"))
    for node in graph.values():
        node["_meta"] = {"title": "\x1b]0;owned\x07evil\ntitle\u202e"}
        if node["class_type"] == "KSampler":
            node["inputs"]["sampler_name"] = "\x1b[2Jnone"
    Path("evil.json").write_text(json.dumps(graph), "utf-8")
    monkeypatch.setenv("COMFYUI_WORKFLOW_DIR", ".")
    monkeypatch.setenv("TERM", "dumb")
    assert main(["generate", "a fox", *SMALL, "--workflow", "evil.json", "-v"]) == 1
    told = capsys.readouterr().err
    assert "evil" in told and "none" in told
    assert not {"\x1b", "\x07", "\u202e"} & set(told)


def test_a_console_that_lacks_a_character_gets_another_one(server):
    done = run("generate", "a fox", *SMALL, "-o", "größe", PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert Path("größe").is_dir() and "gr??e" in done.stdout


# Progress


def test_the_bar_shows_node_step_and_share_and_leaves_nothing_behind(server, monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")  # makes rich take the captured stream for a terminal
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["generate", "a fox", "--size", "64x64", "--steps", "20"]) == 0
    told = capsys.readouterr()
    assert "100%" in told.err
    assert told.err.endswith("no model ran.\n")
    assert "\x1b" not in told.out


def test_a_pipe_gets_no_bar(server):
    assert "%" not in run("generate", "a fox", *SMALL).stderr


@pytest.mark.parametrize(
    ("option", "setting", "sent"),
    [(["--preview"], None, "auto"), (["--preview"], "taesd", "taesd"), ([], None, None)],
)
def test_a_preview_is_asked_of_the_server_unless_the_settings_say_how(
    option, setting, sent, server, monkeypatch
):
    if setting is not None:
        monkeypatch.setenv("COMFYUI_PREVIEW_METHOD", setting)
    assert main(["generate", "a fox", *SMALL, *option]) == 0
    (entry,) = requests.get(server.url + "/history", timeout=10).json().values()
    assert entry["prompt"][3].get("preview_method") == sent


# Ctrl-C


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for one process")
def test_ctrl_c_cancels_the_job_on_the_server():
    gate = StepGate("KSampler", step=1)
    with EmbeddedServer(options=EmbeddedOptions(step_seconds=0.02, on_step=gate)) as server:
        argv, env = command(
            "generate", "a fox", "--steps", "1000", COMFYUI_SERVER_ADDRESS=server.address
        )
        process = subprocess.Popen(
            argv, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8"
        )
        assert gate.wait_reached()
        gate.open()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
        (entry,) = requests.get(server.url + "/history", timeout=10).json().values()
        queue = requests.get(server.url + "/queue", timeout=10).json()
    assert (process.returncode, out) == (130, "")
    assert err == "error: interrupted; what ran on a ComfyUI server was cancelled\n"
    assert "execution_interrupted" in [name for name, _ in entry["status"]["messages"]]
    assert queue == {"queue_running": [], "queue_pending": []}


# providers


def test_the_table_has_one_line_a_provider_when_piped(server):
    done = run("providers", OPENAI_API_KEY="k")
    assert done.returncode == 0 and done.stderr == ""
    table, reasons = done.stdout.split("\nWhy not:\n")
    assert [line.split()[:2] for line in table.splitlines()[1:]] == [
        ["comfyui", "yes"],
        ["openai", "yes"],
        ["flux_bfl", "no"],
        ["flux_fal", "no"],
        ["flux_together", "no"],
        ["flux_replicate", "no"],
    ]
    assert [line.split(None, 1)[0] for line in reasons.splitlines()] == [
        "flux_bfl",
        "flux_fal",
        "flux_together",
        "flux_replicate",
    ]
    assert "│" not in done.stdout


@pytest.mark.parametrize(
    ("columns", "whole"),
    [(80, ("black-forest-labs/flux-2-pro", "COMFYUI_SERVER_ADDRESS", "inpainting")), (40, ())],
)
def test_the_table_fits_the_terminal_and_cuts_nothing(columns, whole, monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", str(columns))
    for name in ("OPENAI_API_KEY", "FAL_KEY", "TOGETHER_API_KEY", "REPLICATE_API_TOKEN"):
        monkeypatch.setenv(name, "k")
    monkeypatch.setenv("COMFYUI_SERVER_ADDRESS", NOBODY)
    assert main(["providers"]) == 0
    out = capsys.readouterr().out.replace("\x1b[1m", "").replace("\x1b[0m", "")
    assert max(len(line.rstrip()) for line in out.splitlines()) <= columns
    assert "…" not in out
    for word in whole:
        assert word in out


# demo


def test_the_demo_uses_the_server_that_answers(server, capsys):
    assert main(["demo", "a fox", *SMALL]) == 0
    told = capsys.readouterr()
    assert f"Using the ComfyUI at {server.address}." in told.err
    assert Path(told.out.strip()).is_file()


def test_the_demo_shows_no_password(server, monkeypatch, capsys):
    monkeypatch.setenv("COMFYUI_SERVER_ADDRESS", f"http://me:{planted('word')}@{server.address}")
    assert main(["demo", "a fox", *SMALL]) == 0
    told = capsys.readouterr()
    assert planted("word") not in told.err + told.out


@pytest.mark.parametrize("address", [NOBODY, "embedded"])
def test_the_demo_tells_of_the_embedded_server_before_and_with_the_picture(
    address, monkeypatch, capsys
):
    monkeypatch.setenv("COMFYUI_SERVER_ADDRESS", address)
    assert main(["demo", "a fox", *SMALL]) == 0
    told = capsys.readouterr()
    *why, before, after = told.err.splitlines()
    assert before == "Starting the embedded server: procedural pictures, no model runs."
    assert after == "Made by the embedded server: a procedural picture, no model ran."
    assert len(why) == (address == NOBODY)
    assert all(line.startswith("No ComfyUI to use: ComfyUI at 127.0.0.1:9") for line in why)
    assert Path(told.out.strip()).parent == Path("outputs") and Path(told.out.strip()).is_file()


def test_the_demo_on_a_server_without_models_says_what_is_missing_and_where_it_goes(
    monkeypatch, capsys
):
    options = EmbeddedOptions(step_seconds=0, models={})
    with EmbeddedServer(options=options) as server:
        monkeypatch.setenv("COMFYUI_SERVER_ADDRESS", server.address)
        assert main(["demo", "a fox"]) == 1
    told = capsys.readouterr()
    assert told.out == ""
    for part in ("flux1-dev.safetensors", "models/diffusion_models", "models/checkpoints"):
        assert part in told.err


# serve


def test_a_port_that_is_taken_is_told_with_the_next_step(comfyui_server):
    port = comfyui_server.address.rpartition(":")[2]
    done = run("serve", "--port", port)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"error: port {port} on 127.0.0.1 is taken")
    assert "--port" in done.stderr


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for one process")
def test_serve_says_where_it_listens_and_ends_with_ctrl_c():
    argv, env = command("serve", "--port", "0")
    process = subprocess.Popen(argv, env=env, stderr=subprocess.PIPE, encoding="utf-8")
    watchdog = threading.Timer(30, process.kill)
    watchdog.start()
    line = process.stderr.readline()
    url = line.split()[-1]
    assert requests.get(url + "/system_stats", timeout=10).json()["system"]["embedded"] is True
    process.send_signal(signal.SIGINT)
    process.communicate()
    watchdog.cancel()
    assert process.returncode == 0


def test_the_help_has_examples(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    assert "image-cli generate" in capsys.readouterr().out
