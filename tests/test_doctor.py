"""The command `doctor`: what it finds out, what it says to do, and its exit code."""

from __future__ import annotations

import json
import re
import socket
import threading
from pathlib import Path

import pytest

from comfyui.embedded import EmbeddedOptions, EmbeddedServer
from image_cli import main
from image_commands.doctor_checks import PACKAGES, diagnose
from tests.key_watch import planted, tells_a_key

ROOT = Path(__file__).resolve().parent.parent
NOBODY = "127.0.0.1:9"  # discard: nobody listens there
CHECKPOINT = {"checkpoints": ("v1-5-pruned-emaonly.safetensors",)}


def serving(models):
    with EmbeddedServer(options=EmbeddedOptions(step_seconds=0, models=models)) as server:
        yield server.address


@pytest.fixture(scope="module")
def bare():
    """The address of a server without any model."""
    yield from serving({})


@pytest.fixture(scope="module")
def of_checkpoint():
    """The address of a server with a checkpoint and nothing else."""
    yield from serving(CHECKPOINT)


@pytest.fixture
def doctor(monkeypatch, capsys):
    """Runs the command for an address and further settings; exit code and document."""

    def run(address, **settings):
        monkeypatch.setenv("COMFYUI_SERVER_ADDRESS", address)
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        return main(["doctor", "--json"]), json.loads(capsys.readouterr().out)

    return run


def problems(told):
    return [f"{each['about']}: {each['problem']} -> {each['todo']}" for each in told["problems"]]


# Whether a picture can be made


def test_all_is_well_with_a_server_that_has_the_models(doctor, comfyui_server):
    code, told = doctor(comfyui_server.address)
    assert (code, told["ok"], told["problems"]) == (0, True, [])
    assert (told["would_use"]["provider"], told["would_use"]["workflow"]) == (
        "comfyui",
        "t2i_flux.json",
    )
    (server,) = told["servers"]
    assert (server["reachable"], server["version"], server["queue_length"]) == (True, "0.26.0", 0)


def test_a_server_with_a_checkpoint_alone_will_do_and_that_is_told(doctor, of_checkpoint):
    code, told = doctor(of_checkpoint)
    assert code == 0
    assert told["would_use"]["workflow"] == "t2i_checkpoint.json"
    assert told["would_use"]["model"] == "v1-5-pruned-emaonly.safetensors"
    (problem,) = problems(told)
    assert "lacks models of t2i_flux.json" in problem


def test_a_server_without_models_is_a_failure_that_says_which_go_where(doctor, bare):
    code, told = doctor(bare)
    assert (code, told["would_use"]) == (1, None)
    listed = "\n".join(problems(told))
    for file, folder in (
        ("flux1-dev.safetensors", "models/diffusion_models"),
        ("ae.safetensors", "models/vae"),
    ):
        assert re.search(rf"{file} is not on the server.*put it in {folder}", listed)
    assert "models/checkpoints, which would do as well" in listed


def test_a_server_that_is_away_is_a_failure_that_says_how_to_start_it(doctor):
    code, told = doctor(NOBODY)
    assert (code, told["servers"][0]["reachable"]) == (1, False)
    (problem,) = problems(told)
    assert problem.startswith("127.0.0.1:9: no ComfyUI answers there -> start ComfyUI there")
    assert "StabilityMatrix on Windows" in problem and "COMFYUI_SERVER_ADDRESS" in problem
    assert {entry["error"] for entry in told["workflows"]} == {None}


def test_one_server_of_several_is_enough(doctor, of_checkpoint):
    code, told = doctor(f"{NOBODY},{of_checkpoint}")
    assert (code, told["would_use"]["server"]) == (0, of_checkpoint)
    assert problems(told)[0].startswith("127.0.0.1:9: no ComfyUI answers there")


def test_a_hosted_provider_that_stands_in_is_enough(doctor):
    code, told = doctor(NOBODY, OPENAI_API_KEY=planted("of-openai"))
    assert (code, told["would_use"]["provider"]) == (0, "openai")
    assert {entry["name"]: entry["key_set"] for entry in told["providers"]} == {
        "openai": True,
        "flux_bfl": False,
        "flux_fal": False,
        "flux_together": False,
        "flux_replicate": False,
    }


def test_a_silent_server_is_not_waited_for_as_long_as_a_generation_waits(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setenv("COMFYUI_SERVER_ADDRESS", f"{address},{address}/b")
        monkeypatch.setenv("COMFYUI_CONNECT_TIMEOUT", "60")
        hangs_up = threading.Timer(5, silent.close)  # which would be told in other words
        hangs_up.start()
        told = diagnose(longest=0.1)
        hangs_up.cancel()
    assert not told["ok"]
    assert ["did not answer in time" in problem for problem in problems(told)] == [True, True]


# What else is looked at


def test_what_each_workflow_lacks_is_told_for_each_server(doctor, of_checkpoint, comfyui_server):
    _, told = doctor(f"{of_checkpoint},{comfyui_server.address}")
    found = {entry["name"]: entry["servers"] for entry in told["workflows"]}
    assert set(found) == {path.name for path in (ROOT / "workflows/comfyui").glob("*.json")}
    poor, rich = found["t2i_flux.json"]
    assert (poor["server"], poor["runs"], rich["runs"]) == (of_checkpoint, False, True)
    assert {"file": "ae.safetensors", "folder": "vae"} in poor["missing_models"]
    assert [on["runs"] for on in found["i2i_checkpoint.json"]] == [True, True]
    _, custom = found["custom_qwen_refine.json"]
    assert {"class_type": "easy anythingIndexSwitch", "pack": "ComfyUI-Easy-Use"} in custom[
        "missing_nodes"
    ]


def test_workflows_of_ones_own_are_looked_at_beside_the_bundled_ones(doctor, comfyui_server):
    graph = json.loads((ROOT / "workflows/comfyui/t2i_checkpoint.json").read_text("utf-8"))
    graph["4"] = {"class_type": "NoSuchLoader", "inputs": {}}
    Path("mine").mkdir()
    Path("mine/own.json").write_text(json.dumps(graph), "utf-8")
    Path("mine/broken.json").write_text("{", "utf-8")
    _, told = doctor(comfyui_server.address, COMFYUI_WORKFLOW_DIR="mine")
    found = {(entry["name"], entry["from"]): entry for entry in told["workflows"]}
    (on,) = found["own.json", "own"]["servers"]
    assert (on["runs"], on["missing_nodes"][0]["class_type"]) == (False, "NoSuchLoader")
    assert found["t2i_flux.json", "bundled"]["servers"][0]["runs"]
    listed = "\n".join(problems(told))
    assert "broken.json" in listed and "it is not JSON" in listed
    # The folder has no default one: the bundled one is taken.
    assert told["ok"] and told["would_use"]["workflow"] == "t2i_flux.json"


def test_settings_are_told_with_their_source_and_without_secrets(doctor, comfyui_server):
    Path(".env").write_text(f"IMAGE_CACHE_DIR=kept\nFAL_KEY={planted('of-fal')}\n", "utf-8")
    _, told = doctor(
        f"http://me:{planted('word')}@{comfyui_server.address}", OPENAI_API_KEY=planted("of-openai")
    )
    assert not tells_a_key(json.dumps(told))
    found = {entry["name"]: (entry["value"], entry["from"]) for entry in told["settings"]}
    assert found["COMFYUI_SERVER_ADDRESS"] == (f"…@{comfyui_server.address}", "environment")
    assert found["IMAGE_CACHE_DIR"] == ("kept", ".env")
    assert found["FAL_KEY"] == ("(set, not shown)", ".env")
    assert found["COMFYUI_DEFAULT_WORKFLOW"] == ("t2i_flux.json", "default")
    assert found["TOGETHER_API_KEY"] == (None, None)


def test_settings_that_cannot_be_used_are_the_problem_and_no_crash(doctor, comfyui_server):
    code, told = doctor(comfyui_server.address, FLUX_HOST="nowhere")
    (problem,) = problems(told)
    assert code == 1
    assert problem.startswith("settings: FLUX_HOST (environment) must be one of")
    assert "env.example" in problem


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("ftp://x", "COMFYUI_SERVER_ADDRESS: 'ftp://x' is no server address"),
        (" , ", "COMFYUI_SERVER_ADDRESS: ',' is no server address: it is empty"),
    ],
)
def test_an_address_that_is_none_is_told_once(doctor, address, expected):
    code, told = doctor(address)
    (problem,) = problems(told)
    assert code == 1 and problem.startswith(expected)


def test_style_templates_are_told_of(doctor, comfyui_server):
    Path("styles.json").write_text('{"my look": {"prompt": "{prompt}, ink"}}', "utf-8")
    routed = {"style_routing": {"my look": {"provider": "comfyui"}}}
    Path("image_routing_config.json").write_text(json.dumps(routed), "utf-8")

    _, whole = doctor(comfyui_server.address, IMAGE_STYLE_TEMPLATES="styles.json")
    Path("styles.json").write_text('{"my look": {"prompt": "ink"}}', "utf-8")
    code, broken = doctor(comfyui_server.address)

    assert code == 1
    assert whole["files"]["styles"] == {"path": "styles.json", "exists": True, "error": None}
    assert whole["files"]["routing"]["error"] is None
    assert "styles.json" in broken["files"]["styles"]["error"]
    assert any("my look" in problem["problem"] for problem in broken["problems"])


def test_a_routing_file_that_is_broken_is_told(doctor, comfyui_server):
    Path("image_routing_config.json").write_text('{"default_provider": 3}', "utf-8")
    code, told = doctor(comfyui_server.address)
    (problem,) = problems(told)
    assert code == 1
    assert "image_routing_config.json, default_provider: must be a provider's name" in problem
    assert told["files"]["routing"]["error"] is not None


def test_folders_that_cannot_be_looked_into_are_told_as_those_that_are_not_there(
    doctor, comfyui_server
):
    closed = str(Path("a" * 300).absolute())  # too long a name for any disk
    names = ("COMFYUI_WORKFLOW_DIR", "IMAGE_CACHE_DIR", "IMAGE_SOURCE_ROOTS")
    code, told = doctor(comfyui_server.address, **dict.fromkeys(names, closed))
    listed = problems(told)
    assert code == 0
    for name in (names[0], names[2]):
        assert any(problem.startswith(f"{name}: {closed} is no folder") for problem in listed)
    _, told = doctor(comfyui_server.address, IMAGE_STYLE_TEMPLATES=closed)
    styles = told["files"]["styles"]
    assert not styles["exists"] and styles["error"] is not None


def test_folders_that_are_not_there_or_cannot_be_written_to_are_told(doctor, comfyui_server):
    Path("taken").touch()
    _, told = doctor(
        comfyui_server.address, IMAGE_CACHE_DIR="taken/cache", IMAGE_SOURCE_ROOTS="gone"
    )
    listed = problems(told)
    assert listed[0].endswith("until then nothing is kept")
    assert listed[1].startswith("IMAGE_SOURCE_ROOTS: gone is no folder -> make that folder")
    assert told["ok"] and not told["cache"]["writable"]


def test_nothing_is_written(doctor, comfyui_server):
    assert doctor(comfyui_server.address)[0] == 0
    assert list(Path().iterdir()) == []


def test_the_cache_is_measured(doctor, comfyui_server):
    Path("cache/images/aa").mkdir(parents=True)
    Path("cache/images/aa/1.png").write_bytes(bytes(1000))
    _, told = doctor(comfyui_server.address)
    assert (told["cache"]["files"], told["cache"]["bytes"]) == (1, 1000)


def test_the_packages_told_of_are_those_required():
    files = (ROOT / "requirements.txt", ROOT / "requirements-embedded.txt")
    text = "\n".join(file.read_text("utf-8") for file in files)
    # Those for an older Python alone are not asked about.
    assert set(re.findall(r"^([\w-]+)>=[^;\n]+$", text, re.MULTILINE)) == set(PACKAGES)


# As people see it


def test_what_is_wrong_comes_last_with_what_to_do(monkeypatch, capsys):
    monkeypatch.setenv("COMFYUI_SERVER_ADDRESS", NOBODY)
    assert main(["doctor"]) == 1
    *_, problem, todo, _, verdict = (line.strip() for line in capsys.readouterr().out.splitlines())
    assert problem == "- 127.0.0.1:9: no ComfyUI answers there"
    assert todo.startswith("-> start ComfyUI there")
    assert verdict == "No picture can be made as things are: the problems above tell what to do."


def test_it_fits_a_terminal_of_80_columns_and_loses_nothing(bare, monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")  # makes rich take the captured stream for a terminal
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("COMFYUI_SERVER_ADDRESS", bare)
    assert main(["doctor"]) == 1
    out = re.sub(r"\x1b\[\d+m", "", capsys.readouterr().out)
    assert max(len(line.rstrip()) for line in out.splitlines()) <= 80
    assert "custom_qwen_refine.json (bundled)" in out and "lacks 4 models and 2 nodes" in out


def test_the_embedded_server_is_called_by_its_name(monkeypatch, capsys):
    monkeypatch.setenv("COMFYUI_SERVER_ADDRESS", "embedded")
    assert main(["doctor"]) == 0
    assert "(the embedded server: procedural, no model runs)" in capsys.readouterr().out
