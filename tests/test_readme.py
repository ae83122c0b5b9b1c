"""What the README shows, run as it stands there, against the embedded server."""

from __future__ import annotations

import json
import re
import shlex
import sys
from pathlib import Path

import pytest
from PIL import Image

import image_cli
from image_generator import ImageGenerator
from image_provider import ERROR_CLASSES
from image_provider_router import ENTRY_POINT_GROUP, FALLBACK_ERROR_TYPES
from provider_resting import FIRST_REST, LONGEST_REST
from routing_rules import parse_rules
from style_files import load_styles

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pytest needs it there too

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
    Path("foxes.csv").write_text(blocks("csv")[0], "utf-8")

    assert image_cli.main(shlex.split(line)[3:]) == 0

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


def test_routing_file_that_is_shown_does_what_is_said_of_it():
    (shown,) = blocks("json")
    rules = parse_rules(json.loads(shown), "README.md")
    assert rules.default_provider == "comfyui"
    assert rules.features["inpainting"].required
    Path("image_routing_config.json").write_text(shown, "utf-8")
    with ImageGenerator() as generator:
        of_style = generator.generate("a red fox", style="cinematic", width=64, height=64)
        draft = generator.generate("a red fox", provider="draft", width=64, height=64)
    assert of_style.metadata["workflow"] == "t2i_flux.json"
    assert draft.metadata["workflow"] == "t2i_checkpoint.json"


def test_what_is_said_of_rests_is_so():
    assert "else for 5\nseconds, doubled with each further failure up to a minute" in README
    assert (FIRST_REST, LONGEST_REST) == (5, 60)


def test_styles_as_shown_are_read():
    (shown,) = (block for block in blocks("toml") if "[cinematic]" in block)
    Path("styles.toml").write_text(shown, encoding="utf-8")
    assert load_styles("styles.toml").own_names == ("ink wash",)


def test_package_that_declares_a_provider_as_shown_adds_it(tmp_path, monkeypatch):
    (shown,) = (block for block in blocks("toml") if "[project" in block)
    ((group, entries),) = tomllib.loads(shown)["project"]["entry-points"].items()
    assert group == ENTRY_POINT_GROUP
    (code,) = (block for block in PYTHON if "def make_provider" in block)
    package = tmp_path / "site"
    info = package / "my_package-1.0.dist-info"
    info.mkdir(parents=True)
    (package / "my_package.py").write_text(code.split("\nwith ")[0], "utf-8")
    lines = [f"[{group}]", *(f"{name} = {value}" for name, value in entries.items())]
    (info / "entry_points.txt").write_text("\n".join(lines), "utf-8")
    (info / "METADATA").write_text("Name: my-package\nVersion: 1.0\n", "utf-8")
    monkeypatch.syspath_prepend(str(package))
    with ImageGenerator() as generator:
        result = generator.generate("anything orange", provider="plain")
        told = generator.get_available_providers()["plain"]
    sys.modules.pop("my_package")
    assert (result.provider, told["available"]) == ("plain", True)
    assert result.to_pil().size == (1024, 1024)


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
