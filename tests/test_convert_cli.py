"""The command `workflow convert`: what it writes where, its summary and its exit codes."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import pytest
from PIL import Image, PngImagePlugin

from image_cli import main

DATA = Path(__file__).parent / "data" / "ui_format"
INFO = ["--object-info", str(DATA / "object_info.0.26.0.json")]
PLAIN = json.loads((DATA / "plain.expected.json").read_text("utf-8"))


def convert(*arguments):
    try:
        return main(["workflow", "convert", *arguments])
    except SystemExit as stop:  # how argparse ends
        return stop.code


def read(file):
    return json.loads(Path(file).read_text("utf-8"))


def copied(name, to=None):
    return shutil.copy(DATA / f"{name}.json", to or f"{name}.json")


def picture(file, **texts):
    """A picture with these documents in it, as ComfyUI writes them."""
    notes = PngImagePlugin.PngInfo()
    for keyword, document in texts.items():
        notes.add_text(keyword, json.dumps(document))
    content = io.BytesIO()
    Image.new("RGB", (1, 1)).save(content, "PNG", pnginfo=notes)
    Path(file).write_bytes(content.getvalue())
    return file


def test_a_file_is_written_where_it_is_asked_for(capsys):
    assert convert(copied("plain"), "-o", "api.json", *INFO) == 0
    assert capsys.readouterr() == ("api.json\n", "")
    assert read("api.json") == PLAIN


def test_many_files_go_into_a_folder_with_a_summary(capsys):
    Path("bad.json").write_text("{", "utf-8")
    assert convert(copied("plain"), "bad.json", copied("muted"), "-o", "out", *INFO) == 1
    printed = capsys.readouterr()
    assert printed.out.splitlines() == [str(Path("out/plain.json")), str(Path("out/muted.json"))]
    assert "error: workflow bad.json: it is not JSON" in printed.err
    assert "2 of 3 converted." in printed.err
    summary = [line.split() for line in printed.err.splitlines()[-5:-1]]
    assert summary == [
        ["file", "result", "nodes"],
        ["plain.json", "ok", "7"],
        ["bad.json", "failed"],
        ["muted.json", "ok", "7"],
    ]
    assert read("out/plain.json") == PLAIN
    assert sorted(path.name for path in Path("out").iterdir()) == ["muted.json", "plain.json"]


def test_a_picture_has_the_graph_that_made_it_else_the_editors_file():
    document = read(copied("plain"))
    picture("made.png", prompt=PLAIN, workflow={"nodes": []})
    picture("saved.png", workflow=document)
    assert convert("made.png", "saved.png", "-o", "out", *INFO) == 0
    assert read("out/made.json") == read("out/saved.json") == PLAIN


def test_patterns_are_looked_for_here_and_names_that_meet_are_numbered():
    Path("a").mkdir()
    copied("plain", "a/one.json")
    copied("plain", "a/two.json")
    copied("plain", "one.json")
    assert convert("a/*.json", "one.json", "-o", "out/", *INFO) == 0
    names = sorted(path.name for path in Path("out").iterdir())
    assert names == ["one.json", "one_2.json", "two.json"]
    assert convert("none*.json", "-o", "out", *INFO) == 1


def test_nothing_is_written_over(capsys):
    before = Path(copied("plain")).read_bytes()
    assert convert("plain.json", "-o", "plain.json", *INFO) == 1
    assert "plain.json: it would be written over" in capsys.readouterr().err
    assert Path("plain.json").read_bytes() == before
    assert convert("plain.json", copied("muted"), "-o", "plain.json", *INFO) == 2
    assert "plain.json is a file; give a folder for 2 files" in capsys.readouterr().err


def test_a_folder_that_cannot_be_made_is_told(capsys):
    Path("file").touch()
    assert convert(copied("plain"), "-o", str(Path("file") / "x" / "a.json"), *INFO) == 1
    assert "cannot be written" in capsys.readouterr().err


def test_without_a_server_the_nodes_that_need_one_are_named(capsys):
    assert convert(copied("older_values"), "-o", "out.json") == 1
    told = capsys.readouterr().err
    assert "error: workflow older_values.json: only a server knows" in told
    assert "node 5 KSampler" in told and "--object-info FILE" in told
    assert not Path("out.json").exists()


def test_a_running_server_describes_the_classes(comfyui_server, monkeypatch):
    monkeypatch.setenv("COMFYUI_SERVER_ADDRESS", comfyui_server.address)
    assert convert(copied("older_values"), "-o", "out.json", "--server") == 0
    assert read("out.json")["5"]["inputs"]["sampler_name"] == "euler"


@pytest.mark.parametrize("arguments", [[], ["plain.json"], ["a", "-o", "b", "--server", *INFO]])
def test_wrong_usage_ends_with_2(arguments, capsys):
    assert convert(*arguments) == 2
    assert "usage:" in capsys.readouterr().err
