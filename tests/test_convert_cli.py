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


def test_a_picture_with_a_broken_graph_has_the_editors_file_still():
    picture("made.png", workflow=read(copied("plain")))
    notes = PngImagePlugin.PngInfo()
    notes.add_text("prompt", "{broken")
    notes.add_text("workflow", json.dumps(read("plain.json")))
    Image.new("RGB", (1, 1)).save("made.png", pnginfo=notes)
    assert convert("made.png", "-o", "api.json", *INFO) == 0
    assert read("api.json") == PLAIN


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
    assert "plain.json is a file to convert, and would be written over" in capsys.readouterr().err
    assert Path("plain.json").read_bytes() == before
    assert convert("plain.json", copied("muted"), "-o", "plain.json", *INFO) == 2
    assert "plain.json is a file; give a folder for 2 files" in capsys.readouterr().err


def test_no_file_is_written_over_before_it_is_read(capsys):
    Path("a").mkdir()
    Path("b").mkdir()
    copied("plain", "a/x.json")
    before = Path(copied("muted", "b/x.json")).read_bytes()
    assert convert("a/x.json", "b/x.json", "-o", "b", *INFO) == 1
    assert "x.json is a file to convert" in capsys.readouterr().err
    assert Path("b/x.json").read_bytes() == before
    assert read("b/x_2.json")


def test_a_folder_means_its_workflows(capsys):
    Path("flows").mkdir()
    copied("plain", "flows/one.json")
    Path("flows/one.bindings.json").write_text("{}", "utf-8")
    Path("flows/README.md").touch()
    picture("flows/two.png", prompt=PLAIN)
    assert convert("flows", "-o", "out", *INFO) == 0
    assert sorted(path.name for path in Path("out").iterdir()) == ["one.json", "two.json"]
    Path("none").mkdir()
    assert convert("none", "-o", "out", *INFO) == 2
    assert "there is no workflow in that folder" in capsys.readouterr().err


@pytest.mark.parametrize("output", ["-", ""])
def test_an_output_without_a_name_is_wrong_usage(output, capsys):
    assert convert(copied("plain"), "-o", output, *INFO) == 2
    assert "-o needs the name of a file or folder" in capsys.readouterr().err
    assert not Path("-").exists()


def test_a_value_that_json_does_not_have_spoils_its_own_file_alone(capsys):
    document = read(copied("plain"))
    next(node for node in document["nodes"] if node["id"] == 5)["widgets_values"][3] = float("nan")
    Path("nan.json").write_text(json.dumps(document), "utf-8")
    assert convert("nan.json", "plain.json", "-o", "out", *INFO) == 1
    assert "error: nan.json: a value in it is NaN" in capsys.readouterr().err
    assert [path.name for path in Path("out").iterdir()] == ["plain.json"]


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
