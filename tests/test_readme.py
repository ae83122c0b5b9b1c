"""What the README shows, run as it stands there, against the embedded server."""

from __future__ import annotations

import re

import pytest

from tests.document_support import ROOT, blocks, cli_lines, run_cli, run_python, write_files

README = ROOT / "README.md"
TEXT = README.read_text(encoding="utf-8")
PYTHON = list(blocks(README, "python"))
COMMANDS = [line for block in blocks(README, "sh") for line in block.text.splitlines()]
LINES = [line for _, line in cli_lines(blocks(README, "sh"))]


@pytest.fixture
def embedded(monkeypatch, comfyui_server):
    monkeypatch.setenv("COMFYUI_SERVER_ADDRESS", comfyui_server.address)


@pytest.mark.parametrize("block", PYTHON, ids=str)
def test_python_block_runs(block, capsys, embedded):
    run_python(block)

    printed = capsys.readouterr().out
    assert printed.strip()
    assert "False" not in printed


@pytest.mark.parametrize("line", [line for line in LINES if " serve" not in line])
def test_command_line_runs(line, capsys, embedded):
    write_files(README)
    assert run_cli(line, capsys).strip()


def test_every_command_shown_is_one_that_is_run_here_or_by_ci():
    run_by_ci = {"python3 dev.py test"}
    set_up = {
        'python3 dev.py demo "a red fox in the snow"',
        "python -m image_cli serve --port 8188",
    }
    assert set(COMMANDS) - set(LINES) <= run_by_ci | set_up
    assert set(COMMANDS) >= run_by_ci | set_up
    assert "python3 dev.py test" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_architecture_table_names_every_module():
    table = TEXT.split("## Architecture at a glance")[1].split("\n## ")[0]
    named = set(re.findall(r"`([\w/]+\.py)`", table)) | {
        f"comfyui/{name}" for name in re.findall(r"`(\w+\.py)`", table)
    }
    top = {path.name for path in ROOT.glob("*.py")}
    comfyui = {f"comfyui/{path.name}" for path in (ROOT / "comfyui").glob("[a-z]*.py")}
    assert top | comfyui <= named
    assert all(
        f"`{folder}/`" in table for folder in ("comfyui/embedded", "hosted_providers", "image_io")
    )
