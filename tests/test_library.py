"""Workflows by name: what is found, what is refused, and what the refusal tells."""

from __future__ import annotations

import gc
import hashlib
import json
import sys
import weakref
from pathlib import Path

import pytest

from comfyui.library import WorkflowLibrary
from comfyui.object_info import ObjectInfo
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
        ("sub\\..\\..\\outside.json", "leads out of the workflow folder"),
        ("../flows/a.json", "leads out of the workflow folder"),
        ("a\x1b[31m.json", "no file can have this name"),
        ("\u202ea.json", "no file can have this name"),
        ("\ud800.json", "no file can have this name"),
    ],
)
def test_other_names_are_refused_with_what_there_is(library, name, why):
    for ask in (library.load, library.hashes):
        with pytest.raises(WorkflowError) as caught:
            ask(name)
        assert why in str(caught.value)
        assert "a.json, sub/b.json" in str(caught.value)
        assert caught.value.file == name


ELSEWHERE = ["CON", "con.json", "aux.json", "LPT1", "sub/NUL.json", "COM1.png.json", "com².json"]
ELSEWHERE += [
    "prn .json",
    "CONIN$.json",
    "a.json.",
    "a.json ",
    "a.json:x",
    "a.json::$DATA",
    "aux/a",
]


@pytest.mark.parametrize("name", ELSEWHERE)
def test_names_that_windows_reads_otherwise_are_refused_everywhere(library, tmp_path, name):
    if sys.platform != "win32":
        (tmp_path / "flows" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "flows" / name).write_text(json.dumps(GRAPH), encoding="utf-8")
    with pytest.raises(WorkflowError, match="on Windows .* is something else"):
        library.load(name)


@pytest.mark.parametrize(
    "name",
    ["confirm.json", "auxiliary.json", "com10.json", "my con.json", ".a.json", "a b (2).json"]
    + ["fuchs 🦊 größe.json", "v1.2.json", "$x;y&z'.json", "sub/con1/a.json"],
)
def test_names_that_only_look_like_those_are_loaded(library, tmp_path, name):
    (tmp_path / "flows" / name).parent.mkdir(exist_ok=True)
    (tmp_path / "flows" / name).write_text(json.dumps(GRAPH), encoding="utf-8")
    assert library.load(name).graph == GRAPH


def test_a_refusal_is_short_and_tells_in_its_detail_alone_where_the_folder_is(library, tmp_path):
    for name in ("gone.json", "../outside.json", "x" * 100_000, "/x"):
        with pytest.raises(WorkflowError) as caught:
            library.load(name)
        assert str(tmp_path) not in str(caught.value)
        assert str(tmp_path / "flows") in str(caught.value.detail)
        assert len(str(caught.value)) < 500


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")
def test_a_bindings_file_that_is_a_link_out_of_the_folder_is_refused(library, tmp_path):
    (tmp_path / "secret.json").write_text('{"prompt": ["1.text"]}', encoding="utf-8")
    beside = tmp_path / "flows" / "a.bindings.json"
    beside.unlink()
    beside.symlink_to(tmp_path / "secret.json")
    for ask in (library.load, library.hashes):
        with pytest.raises(WorkflowError, match="leads out"):
            ask("a.json")


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
    before = library.hashes("a.json").workflow
    changed = json.dumps(GRAPH | {"2": GRAPH["1"]}).encode()
    (tmp_path / "flows" / "a.json").write_bytes(changed)
    assert library.load("a.json").graph.keys() == {"1", "2"}
    assert library.hashes("a.json").workflow == hashlib.sha256(changed).hexdigest() != before


def test_a_workflow_is_parsed_once_for_the_same_files_and_lists(library, tmp_path):
    info = ObjectInfo.from_dict({})
    first = library.load("a.json", info)
    assert library.load("a.json", info) is first
    assert library.load("a.json", ObjectInfo.from_dict({})) is not first
    beside = tmp_path / "flows" / "a.bindings.json"
    beside.write_text('{"prompt": ["1.text"]}', encoding="utf-8")
    bound = library.load("a.json", info)
    assert bound.overrides == {"prompt": ["1.text"]}
    (tmp_path / "flows" / "a.json").write_text(json.dumps(GRAPH | {"2": GRAPH["1"]}), "utf-8")
    changed = library.load("a.json", info)
    assert (changed.graph.keys(), changed.overrides) == ({"1", "2"}, bound.overrides)


def test_a_workflow_that_names_the_time_is_converted_each_time(library, tmp_path):
    info = ObjectInfo.from_dict({})
    dated = {"1": {"class_type": "SaveImage", "inputs": {"filename_prefix": "%date:hhmmss%"}}}
    (tmp_path / "flows" / "a.json").write_text(json.dumps(dated), encoding="utf-8")
    assert library.load("a.json", info) is not library.load("a.json", info)


def test_what_is_remembered_goes_with_the_lists_and_does_not_pile_up(library, tmp_path):
    info, seen = ObjectInfo.from_dict({}), []
    for number in range(200):
        (tmp_path / "flows" / f"{number}.json").write_text(json.dumps(GRAPH), encoding="utf-8")
        seen.append(weakref.ref(library.load(f"{number}.json", info)))
    gc.collect()
    assert 0 < sum(workflow() is not None for workflow in seen) < 100
    del info
    gc.collect()
    assert not any(workflow() for workflow in seen)


def test_a_bindings_file_has_a_content_of_its_own(library, tmp_path):
    beside = tmp_path / "flows" / "a.bindings.json"
    beside.write_bytes(b'{"prompt": ["1.text"]}')
    assert library.hashes("a.json").bindings == hashlib.sha256(beside.read_bytes()).hexdigest()
    beside.unlink()
    assert library.hashes("a.json").bindings is None


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
