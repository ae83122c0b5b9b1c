"""Workflows by name: what is found, what is refused, and what the refusal tells."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import pytest

from comfyui.library import WorkflowLibrary
from image_provider import WorkflowError

GRAPH = {"1": {"class_type": "SaveImage", "inputs": {}, "_meta": {"title": "x"}}}


@pytest.fixture
def library(tmp_path):
    folder = tmp_path / "flows"
    (folder / "sub").mkdir(parents=True)
    for name in ("a.json", "sub/b.json", "../outside.json"):
        (folder / name).write_text(json.dumps(GRAPH), encoding="utf-8")
    (folder / "a.bindings.json").write_text("{}", encoding="utf-8")
    return WorkflowLibrary(folder)


@pytest.mark.parametrize("name", ["a.json", "sub/b.json", "sub/../a.json"])
def test_names_in_the_folder_and_below_are_loaded(library, name):
    assert library.load(name).graph == GRAPH


def test_the_names_are_those_that_load_takes(library):
    assert library.names() == ["a.json", "sub/b.json"]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("../outside.json", "leads out of the workflow folder"),
        ("sub/../../outside.json", "leads out of the workflow folder"),
        ("/outside.json", "absolute path"),
        ("C:\\outside.json", "absolute path"),
        ("c:outside.json", "absolute path"),
        ("\\outside.json", "absolute path"),
        ("\\\\host\\share\\outside.json", "absolute path"),
        ("//host/share/outside.json", "absolute path"),
        ("gone.json", "no such file"),
        ("sub", "no such file"),
        ("", "no such file"),
        ("a.json\0", "no file can have this name"),
        ("x" * 5000, ""),
    ],
)
def test_other_names_are_refused_with_what_there_is(library, name, why):
    for ask in (library.load, library.content_hash):
        with pytest.raises(WorkflowError) as caught:
            ask(name)
        assert why in str(caught.value)
        assert "a.json, sub/b.json" in str(caught.value)
        assert caught.value.file == name


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")
def test_a_link_that_leads_out_is_refused(library, tmp_path):
    (tmp_path / "flows" / "link.json").symlink_to(tmp_path / "outside.json")
    (tmp_path / "flows" / "loop.json").symlink_to(tmp_path / "flows" / "loop.json")
    with pytest.raises(WorkflowError, match="leads out"):
        library.load("link.json")
    with pytest.raises(WorkflowError):
        library.load("loop.json")


def test_absolute_paths_are_taken_when_they_are_allowed(tmp_path, library):
    outside = tmp_path / "outside.json"
    free = WorkflowLibrary(tmp_path / "flows", allow_absolute=True)
    assert free.load(str(outside)).graph == GRAPH
    with pytest.raises(WorkflowError, match="leads out"):
        free.load("../outside.json")


def test_a_changed_file_counts_at_once(library, tmp_path):
    before = library.content_hash("a.json")
    changed = json.dumps(GRAPH | {"2": GRAPH["1"]}).encode()
    (tmp_path / "flows" / "a.json").write_bytes(changed)
    assert library.load("a.json").graph.keys() == {"1", "2"}
    assert library.content_hash("a.json") == hashlib.sha256(changed).hexdigest() != before


def test_a_bindings_file_has_a_content_of_its_own(library, tmp_path):
    beside = tmp_path / "flows" / "a.bindings.json"
    beside.write_bytes(b'{"prompt": ["1.text"]}')
    assert library.bindings_hash("a.json") == hashlib.sha256(beside.read_bytes()).hexdigest()
    beside.unlink()
    assert library.bindings_hash("a.json") is None


def test_a_relative_folder_is_here_first_and_then_beside_the_installed_code(tmp_path):
    library = WorkflowLibrary("workflows/comfyui")
    assert "t2i_flux.json" in library.names()
    (tmp_path / "workflows" / "comfyui").mkdir(parents=True)
    (tmp_path / "workflows" / "comfyui" / "mine.json").write_text(json.dumps(GRAPH), "utf-8")
    assert library.names() == ["mine.json"]


def test_a_folder_that_is_nowhere_has_no_names():
    library = WorkflowLibrary(Path("no") / "such" / "folder")
    assert library.names() == []
    with pytest.raises(WorkflowError, match="no workflow at all"):
        library.load("a.json")
