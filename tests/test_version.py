"""The version of the library, as the command tells it."""

from __future__ import annotations

from importlib import metadata

import pytest

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
