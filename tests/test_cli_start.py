"""What the command says before it does anything: its version, and what it lacks to start."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata

import pytest

from comfyui import embedded
from image_cli import main
from image_commands import version
from tests.document_support import ROOT, tomllib

VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]


def test_a_copy_of_the_project_tells_its_version(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"image-cli {VERSION}\n"


def test_the_version_is_that_of_pip_where_no_project_is(monkeypatch, tmp_path):
    monkeypatch.setattr(version, "_PROJECT", tmp_path / "pyproject.toml")
    monkeypatch.setattr(version, "_DISTRIBUTION", "requests")
    assert version.library_version() == metadata.version("requests")
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "mine"\nversion = "9"\n', "utf-8")
    assert version.library_version() == metadata.version("requests")
    monkeypatch.setattr(version, "_DISTRIBUTION", "comfyui-image-generator-that-nobody-has")
    assert version.library_version() == "unknown"


def test_a_python_without_the_packages_is_told_which_one_has_them():
    done = subprocess.run(
        [sys.executable, "-S", "-m", "image_cli", "doctor"],  # -S: without site-packages
        cwd=ROOT,
        capture_output=True,
        encoding="utf-8",
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: rich is not installed for this Python ({sys.executable}")
    assert ".venv" in done.stderr and "pip install ." in done.stderr
    assert "Traceback" not in done.stderr


def test_the_embedded_server_without_aiohttp_says_how_to_get_it(monkeypatch):
    monkeypatch.delitem(sys.modules, "comfyui.embedded.server", raising=False)
    monkeypatch.delattr(embedded, "server", raising=False)
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    with pytest.raises(ImportError, match="needs aiohttp.*pip install aiohttp.*'.\\[embedded\\]'"):
        embedded.__getattr__("EmbeddedServer")
