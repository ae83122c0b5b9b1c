"""What the README shows, run as it stands there, against the embedded server."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
from PIL import Image

import image_cli
from image_provider import ERROR_CLASSES
from image_provider_router import FALLBACK_ERROR_TYPES
from routing_rules import parse_rules

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


PYTHON = blocks("python")
COMMANDS = [line for block in blocks("sh") for line in block.splitlines()]
CLI = [line for line in COMMANDS if line.startswith("python -m image_cli ")]


@pytest.fixture(autouse=True)
def embedded(monkeypatch, comfyui_server):
    monkeypatch.setenv("COMFYUI_SERVER_ADDRESS", comfyui_server.address)
    return comfyui_server


@pytest.mark.parametrize("number", range(len(PYTHON)))
def test_python_block_runs(number, capsys):
    exec(compile(PYTHON[number], f"README, python block {number}", "exec"), {})

    printed = capsys.readouterr().out
    assert printed.strip()
    assert "False" not in printed


@pytest.mark.parametrize("line", [line for line in CLI if " serve" not in line])
def test_command_line_runs(line, capsys):
    Image.new("RGB", (64, 64), "orange").save("fox.png")

    assert image_cli.main(shlex.split(line)[3:]) == image_cli.OK

    printed = capsys.readouterr().out
    assert printed.strip()


def test_every_command_shown_is_one_that_is_run_here_or_by_ci():
    run_by_ci = {"python3 dev.py test"}
    set_up = {
        'python3 dev.py demo "a red fox in the snow"',
        "python -m image_cli serve --port 8188",
    }
    assert set(COMMANDS) - set(CLI) <= run_by_ci | set_up
    assert set(COMMANDS) >= run_by_ci | set_up
    assert "python3 dev.py test" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_routing_file_that_is_shown_can_be_read():
    (shown,) = blocks("json")
    rules = parse_rules(json.loads(shown), "README.md")
    assert rules.default_provider == "comfyui"
    assert rules.features["inpainting"].required


def test_error_table_has_every_word_and_tells_the_fallback_right():
    rows = re.findall(r"^\| `(\w+)` \| [^|]+ \| (yes|no|–)", README, re.MULTILINE)
    assert {word for word, _ in rows} == set(ERROR_CLASSES)
    assert {word for word, falls in rows if falls == "yes"} == FALLBACK_ERROR_TYPES


def test_architecture_table_names_every_module():
    table = README.split("## Architecture at a glance")[1].split("\n## ")[0]
    named = set(re.findall(r"`([\w/]+\.py)`", table)) | {
        f"comfyui/{name}" for name in re.findall(r"`(\w+\.py)`", table)
    }
    top = {path.name for path in ROOT.glob("*.py")}
    comfyui = {f"comfyui/{path.name}" for path in (ROOT / "comfyui").glob("[a-z]*.py")}
    assert top | comfyui <= named
    assert all(
        f"`{folder}/`" in table for folder in ("comfyui/embedded", "hosted_providers", "image_io")
    )
