"""The command `workflow`: what it prints where, what it writes, and its exit codes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import requests

from comfyui.client import ComfyUIClient
from comfyui.survey import merged, structural_problems, survey
from comfyui.workflow import Workflow
from image_cli import main

ROOT = Path(__file__).resolve().parent.parent
BUNDLED = ROOT / "workflows" / "comfyui"
OBJECT_INFO = Path(__file__).parent / "data" / "object_info" / "0.26.0.json"
NOBODY = "127.0.0.1:9"  # discard: nobody listens there
HOSTILE = "\x1b]0;owned\x07evil\ntitle\u202e [bold]x"


@pytest.fixture
def server(comfyui_server, monkeypatch):
    monkeypatch.setenv("COMFYUI_SERVER_ADDRESS", comfyui_server.address)
    return comfyui_server


def bundled(name):
    return json.loads((BUNDLED / name).read_text("utf-8"))


def write(name, document):
    text = document if isinstance(document, str) else json.dumps(document)
    Path(name).write_text(text, encoding="utf-8")
    return name


def saved_object_info(**models):
    """The answer of a 0.26.0 server that has these checkpoints."""
    info = json.loads(OBJECT_INFO.read_text("utf-8"))
    for class_type, (name, files) in models.items():
        info[class_type]["input"]["required"][name][0] = files
    return write("info.json", info)


CHECKPOINT = {"CheckpointLoaderSimple": ("ckpt_name", ["v1-5-pruned-emaonly.safetensors"])}


def exit_code(*arguments):
    try:
        return main(["workflow", *arguments])
    except SystemExit as stop:  # how argparse ends
        return stop.code


def rows(table):
    """The cells of a table that was not folded, without its head."""
    return [re.split(r"\s{2,}", line.strip()) for line in table.strip().splitlines()[1:]]


def blocks(printed):
    """What `check` prints: the lines about problems, where parameters go, what is ignored."""
    lines, *tables = printed.split("\n\n")
    told = {title: rows(rest) for title, rest in (table.split("\n", 1) for table in tables)}
    goes = told.get("Where each parameter goes:", [])
    return lines.splitlines(), goes, told.get("Ignored, because there is no place for it:", [])


# list


def test_every_file_of_the_folder_is_one_line_with_its_models(capsys):
    assert exit_code("list") == 0
    printed = capsys.readouterr()
    listed = {name: told for name, *told in rows(printed.out)}
    assert set(listed) == {path.name for path in BUNDLED.glob("*.json")}
    assert listed["t2i_checkpoint.json"] == ["API", "7", "v1-5-pruned-emaonly.safetensors"]
    models = "flux1-dev.safetensors, clip_l.safetensors, t5xxl_fp16.safetensors, ae.safetensors"
    assert listed["t2i_flux.json"] == ["API", "10", models]
    assert printed.err == ""


def test_files_that_are_no_workflow_are_listed_with_the_reason(monkeypatch, capsys):
    monkeypatch.setenv("COMFYUI_WORKFLOW_DIR", "mine")
    Path("mine").mkdir()
    write("mine/editor.json", {"nodes": [], "links": [], "version": 0.4})
    write("mine/broken.json", "{")
    write("mine/good.json", bundled("t2i_checkpoint.json"))
    assert exit_code("list") == 0
    table, reasons = capsys.readouterr().out.split("\nCannot be used as they are:\n")
    listed = rows(table)
    assert [row[:3] for row in listed[::2]] == [
        ["broken.json", "?", "?"],
        ["good.json", "API", "7"],
    ]
    assert listed[1][:2] == ["editor.json", "UI"]
    assert re.search(r"^broken\.json +workflow broken\.json: it is not JSON", reasons, re.MULTILINE)


def test_a_folder_without_workflows_is_told(monkeypatch, capsys):
    monkeypatch.setenv("COMFYUI_WORKFLOW_DIR", "nowhere")
    assert exit_code("list") == 0
    told = "There is no workflow in nowhere; COMFYUI_WORKFLOW_DIR sets that folder.\n"
    assert capsys.readouterr() == ("", told)


@pytest.mark.parametrize("arguments", [["list"], ["check", "custom_qwen_refine.json"]])
def test_tables_fit_a_terminal_of_80_columns_and_lose_nothing(arguments, monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")  # makes rich take the captured stream for a terminal
    monkeypatch.setenv("COLUMNS", "80")
    assert exit_code(*arguments) == 0
    out = re.sub(r"\x1b\[\d+m", "", capsys.readouterr().out)
    assert max(len(line.rstrip()) for line in out.splitlines()) <= 80
    assert "…" not in out
    assert "flux1-dev.safetensors" in out or "Mode (0 = T2I, 1 = I2I)" in out


def test_a_name_that_is_wider_than_the_terminal_is_folded(monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("COMFYUI_WORKFLOW_DIR", "mine")
    graph = bundled("t2i_checkpoint.json")
    graph["1"]["inputs"]["ckpt_name"] = "abcdefghij" * 12 + ".safetensors"
    Path("mine").mkdir()
    write("mine/good.json", graph)
    assert exit_code("list") == 0
    folded = "".join(capsys.readouterr().out.split())
    assert graph["1"]["inputs"]["ckpt_name"] in folded


# check


def test_a_workflow_that_the_server_can_run_has_no_problem(server, capsys):
    assert exit_code("check", "t2i_checkpoint.json", "--server") == 0
    told = capsys.readouterr()
    lines, goes, ignored = blocks(told.out)
    assert lines == ["No problem was found."]
    assert [row[:3] for row in goes] == [
        ["prompt", "2.text", "Positive prompt"],
        ["negative_prompt", "3.text", "Negative prompt"],
        ["width", "4.width", "Image size"],
        ["height", "4.height", "Image size"],
        ["seed", "5.seed", "Sampler"],
        ["steps", "5.steps", "Sampler"],
        ["guidance_scale", "5.cfg", "Sampler"],
        ["model", "1.ckpt_name", "Checkpoint"],
    ]
    assert all(len(row) == 4 for row in goes)
    assert ignored == [
        ["source_image_url", "no node of the workflow loads one"],
        ["mask_image_url", "no node of the workflow loads one"],
        [
            "strength",
            "no sampler with denoise starts from a picture: EmptyLatentImage 4 makes a new latent",
        ],
    ]
    assert told.err == ""
    assert requests.get(server.url + "/history", timeout=10).json() == {}


def replaced_graph():
    """t2i_checkpoint with a node of a class that is gone between decoder and output."""
    graph = bundled("t2i_checkpoint.json")
    graph["20"] = {"class_type": "OldScale", "inputs": {"image": ["6", 0]}}
    graph["7"]["inputs"]["images"] = ["20", 0]
    return graph


def test_a_node_that_the_server_replaces_is_told_and_no_problem(server, capsys, monkeypatch):
    write("mine.json", replaced_graph())
    assert exit_code("check", "mine.json", "--server") == 1
    assert "unknown_node: node 20 OldScale" in capsys.readouterr().out
    answer = {"OldScale": [{"new_node_id": "ImageScale", "old_node_id": "OldScale"}]}
    monkeypatch.setattr(ComfyUIClient, "node_replacements", lambda client: answer)
    assert exit_code("check", "mine.json", "--server") == 0
    lines = blocks(capsys.readouterr().out)[0]
    told = "node 20 OldScale: the server replaces it by ImageScale"
    assert lines == ["No problem was found.", f"note: {told}"]
    assert exit_code("bind", "mine.json", "--seed", "5", "--server", "-o", "out.json") == 0
    assert "20" in json.loads(Path("out.json").read_bytes())
    assert told in capsys.readouterr().err
    assert exit_code("show", "mine.json", "--html", "out.html", "--server") == 0
    assert "custom node pack missing" not in Path("out.html").read_text("utf-8")


def test_a_problem_is_one_line_with_node_title_class_input_and_remedy(capsys):
    graph = bundled("t2i_checkpoint.json")
    graph["5"]["inputs"] |= {"steps": 0, "sampler_name": "eulr"}
    write("mine.json", graph)
    code = exit_code("check", "mine.json", "--object-info", saved_object_info())
    told = capsys.readouterr()
    lines, goes, _ = blocks(told.out)
    assert (code, told.err) == (1, "")
    missing, steps, sampler = lines
    assert missing.startswith(
        "missing_model: node 1 CheckpointLoaderSimple 'Checkpoint', ckpt_name"
    )
    assert missing.endswith("put it in models/checkpoints")
    assert steps.startswith("out_of_range: node 5 KSampler 'Sampler', steps: 0 is outside")
    assert sampler.startswith("not_in_list: node 5 KSampler 'Sampler', sampler_name: eulr")
    assert "closest: euler" in sampler
    assert ["seed", "5.seed", "Sampler"] in [row[:3] for row in goes]


def test_a_saved_object_info_counts_as_the_server(capsys):
    info = saved_object_info(**CHECKPOINT)
    assert exit_code("check", "t2i_checkpoint.json", "--object-info", info) == 0
    assert capsys.readouterr().err == ""


def test_without_a_server_it_says_that_only_the_structure_was_checked(capsys):
    assert exit_code("check", "t2i_checkpoint.json") == 0
    told = capsys.readouterr()
    assert blocks(told.out)[0] == ["No problem was found."]
    assert told.err.startswith("No server was asked: only the file's structure was checked.")
    assert "--object-info" in told.err


def test_broken_links_and_cycles_are_found_without_a_server(capsys):
    graph = bundled("t2i_checkpoint.json")
    graph["6"]["inputs"]["vae"] = ["77", 2]
    graph["4"]["inputs"]["batch_size"] = ["5", 0]
    assert exit_code("check", write("mine.json", graph)) == 1
    lines, _, _ = blocks(capsys.readouterr().out)
    assert lines[0].startswith("bad_link: node 6 VAEDecode 'Decode', vae: is linked to node 77")
    assert lines[1].startswith("cycle: node ") and "feeds itself: " in lines[1]
    assert len(lines) == 2


def test_an_embedded_server_is_stopped_again(monkeypatch):
    monkeypatch.setenv("COMFYUI_SERVER_ADDRESS", "embedded")
    before = set(threading.enumerate())
    assert exit_code("check", "t2i_checkpoint.json", "--server") == 0
    assert set(threading.enumerate()) <= before


def test_a_file_beats_a_name_in_the_workflow_folder(capsys):
    write("t2i_flux.json", bundled("t2i_checkpoint.json"))
    assert exit_code("check", "t2i_flux.json") == 0
    assert "5.cfg" in capsys.readouterr().out


def test_parameters_of_one_mode_say_in_which(capsys):
    assert exit_code("check", "custom_qwen_refine.json") == 0
    _, goes, ignored = blocks(capsys.readouterr().out)
    whys = {(row[0], row[1]): row[-1] for row in goes}
    assert whys["width", "10.width"].endswith(" (without a picture)")
    assert whys["strength", "15.value"].endswith(" (with a picture)")
    assert ("source_image_url", "9.value") in whys and ("source_image_url", "11.image") in whys
    assert not whys["seed", "17.seed"].endswith(")")
    assert {row[0] for row in ignored} == {"negative_prompt", "mask_image_url"}


def test_two_places_of_equal_standing_are_a_problem_with_the_override_to_write(capsys):
    graph = bundled("t2i_checkpoint.json")
    for node in graph.values():
        node.pop("_meta", None)
    graph["20"] = {"class_type": "CLIPTextEncode", "inputs": {"text": "other", "clip": ["1", 1]}}
    both = {"conditioning_1": ["2", 0], "conditioning_2": ["20", 0]}
    graph["21"] = {"class_type": "ConditioningCombine", "inputs": both}
    graph["5"]["inputs"]["positive"] = ["21", 0]
    assert exit_code("check", write("mine.json", graph)) == 1
    (line,) = blocks(capsys.readouterr().out)[0]
    assert line.startswith("binding: workflow mine.json: prompt could go to ")
    assert "2" in line and "20" in line and "extra=" in line


def test_a_survey_leaves_the_workflow_and_tells_its_own_values():
    workflow = Workflow.from_file(BUNDLED / "t2i_checkpoint.json")
    found = survey(workflow)
    assert workflow.graph == bundled("t2i_checkpoint.json")
    values = {entry.parameter: entry.value for entry in found.bindings}
    assert (values["seed"], values["width"], values["guidance_scale"]) == (0, 512, 7.0)
    assert values["model"] == "v1-5-pruned-emaonly.safetensors"
    assert merged(found.bindings) == found.bindings


def test_nodes_that_feed_no_output_may_be_broken():
    graph = bundled("t2i_checkpoint.json")
    graph["50"] = {"class_type": "VAEDecode", "inputs": {"samples": ["99", 0]}}
    assert structural_problems(graph) == []


# What cannot be checked


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "mine.json: it is not JSON: "),
        ("[]", "mine.json: it holds a list where"),
        ('{"3": {"inputs": {}}}', "mine.json: node 3 has no class_type"),
        ('{"nodes": [], "links": []}', "Workflow > Export (API)"),
        (b"\xff\xfe\xff", "mine.json: "),
    ],
)
@pytest.mark.parametrize("action", ["check", "bind", "show"])
def test_a_file_that_is_no_workflow_is_told_on_stderr(action, content, message, capsys):
    Path("mine.json").write_bytes(content.encode() if isinstance(content, str) else content)
    options = {
        "check": [],
        "bind": ["--prompt", "x", "-o", "out.json"],
        "show": ["--html", "out.html"],
    }
    assert exit_code(action, "mine.json", *options[action]) == 1
    told = capsys.readouterr()
    assert told.out == "" and told.err.startswith("error: ") and message in told.err
    assert [path.name for path in Path().iterdir()] == ["mine.json"]


@pytest.mark.parametrize("name", ["nope.json", "../nope.json", "x" * 300, ROOT / "nope.json"])
def test_a_file_that_is_not_there_names_those_that_are(name, capsys):
    assert exit_code("check", str(name)) == 1
    told = capsys.readouterr()
    assert f"error: workflow {name}: there is no such file" in told.err
    assert "t2i_flux.json" in told.err and told.out == ""


def test_a_folder_is_no_workflow(capsys):
    Path("folder").mkdir()
    assert exit_code("check", "folder") == 1
    assert "error: workflow folder: " in capsys.readouterr().err


def test_a_server_that_is_not_there_is_told_with_the_next_step(monkeypatch, capsys):
    monkeypatch.setenv("COMFYUI_SERVER_ADDRESS", NOBODY)
    assert exit_code("check", "t2i_flux.json", "--server") == 1
    told = capsys.readouterr()
    assert told.out == "" and told.err.startswith("error: ComfyUI at 127.0.0.1:9")
    assert "COMFYUI_SERVER_ADDRESS" in told.err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "info.json cannot be read: "),
        ("<html>", "info.json is not JSON ("),
        ("[]", "info.json cannot be used: this is not a ComfyUI server's object_info"),
    ],
)
def test_an_object_info_that_cannot_be_used_is_told(content, message, capsys):
    if content is not None:
        write("info.json", content)
    assert exit_code("check", "t2i_flux.json", "--object-info", "info.json") == 1
    told = capsys.readouterr()
    assert told.out == "" and told.err.startswith(f"error: {message}")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "ACTION"),
        (["paint"], "invalid choice: 'paint'"),
        (["check"], "FILE"),
        (["check", "a.json", "--server", "--object-info", "b.json"], "not allowed with"),
        (["bind", "t2i_flux.json", "-o", "out.json"], "--prompt"),
        (["bind", "t2i_flux.json", "--prompt", "x"], "-o"),
        (["bind", "t2i_flux.json", "--prompt", "x", "-o", "o", "--set", "steps=3"], "8.cfg=4.5"),
        (["bind", "t2i_flux.json", "--prompt", "x", "-o", "o", "--size", "big"], "WIDTHxHEIGHT"),
        (["bind", "t2i_flux.json", "--prompt", "x", "-o", "o", "--strength", "2"], "strength must"),
        (["show", "t2i_flux.json"], "--html"),
    ],
)
def test_wrong_usage_is_exit_code_2(arguments, message, capsys):
    assert exit_code(*arguments) == 2
    told = capsys.readouterr()
    assert told.out == "" and message in told.err
    assert list(Path().iterdir()) == []


# bind


def test_every_parameter_is_in_the_graph_that_is_written(capsys):
    options = (
        "--negative dogs --seed 5 --steps 3 --guidance 4.5 --strength 0.4 --model m.safetensors"
    )
    pictures = "--image sub/fox.png --mask mask.png"  # one file for both: the picture stays
    code = exit_code(
        *["bind", "inpaint_checkpoint.json", "--prompt", "ein Fuchs im Schnee, größer"],
        *[*options.split(), *pictures.split(), "-o", "out.json"],
    )
    told = capsys.readouterr()
    assert (code, told.out) == (0, "out.json\n")
    expected = bundled("inpaint_checkpoint.json")
    expected["2"]["inputs"]["text"] = "ein Fuchs im Schnee, größer"
    expected["3"]["inputs"]["text"] = "dogs"
    expected["7"]["inputs"] |= {"seed": 5, "steps": 3, "cfg": 4.5, "denoise": 0.4}
    expected["1"]["inputs"]["ckpt_name"] = "m.safetensors"
    expected["4"]["inputs"]["image"] = "sub/fox.png"
    text = Path("out.json").read_bytes().decode("utf-8")
    assert json.loads(text) == expected
    assert "größer" in text and text.startswith('{\n  "1": {\n    "class_type"')
    assert text.endswith("}\n") and "\r" not in text
    assert [path.name for path in Path().iterdir()] == ["out.json"]


def test_without_a_prompt_the_text_of_the_file_stays():
    assert exit_code("bind", "t2i_checkpoint.json", "--seed", "5", "-o", "out.json") == 0
    expected = bundled("t2i_checkpoint.json")
    expected["5"]["inputs"]["seed"] = 5
    assert json.loads(Path("out.json").read_bytes()) == expected
    assert exit_code("bind", "t2i_checkpoint.json", "--size", "1024x1024", "-o", "out.json") == 0


def test_what_went_where_is_told_on_stderr(capsys):
    write("mine.json", bundled("t2i_checkpoint.json"))
    long = "a red fox " * 20
    arguments = ["--prompt", long, "--strength", "0.5", "--set", "nope.cfg=1"]
    assert exit_code("bind", "mine.json", *arguments, "-o", "out.json") == 0
    told = capsys.readouterr()
    assert told.out == "out.json\n"
    table, *warnings = told.err.split("warning: ")
    ((parameter, place, value, why),) = rows(table)
    assert (parameter, place) == ("prompt", "2.text") and "2.text" in why
    assert value == long[:59] + "…"
    assert sorted(line.partition(" is ignored: ")[0] for line in warnings) == [
        "extra['nope.cfg']",
        "strength",
    ]


def test_set_takes_json_or_a_text_and_titles_with_signs_in_them():
    graph = bundled("t2i_checkpoint.json")
    graph["5"]["_meta"]["title"] = "Mode (0 = T2I, 1 = I2I)"
    settings = ["Mode (0 = T2I, 1 = I2I).cfg=1.5", "5.sampler_name=dpmpp_2m", "5.scheduler=a=b"]
    settings += ['2.text="3"', "3.text=NaN", '4.width=["1", 0]', "4.height="]
    options = [part for setting in settings for part in ("--set", setting)]
    write("mine.json", graph)
    assert exit_code("bind", "mine.json", "--prompt", "x", *options, "-o", "out.json") == 0
    bound = json.loads(Path("out.json").read_text("utf-8"))
    sampler = bound["5"]["inputs"]
    assert (sampler["cfg"], sampler["sampler_name"], sampler["scheduler"]) == (
        1.5,
        "dpmpp_2m",
        "a=b",
    )
    assert (bound["2"]["inputs"]["text"], bound["3"]["inputs"]["text"]) == ("3", "NaN")
    assert (bound["4"]["inputs"]["width"], bound["4"]["inputs"]["height"]) == (["1", 0], "")


def test_a_size_is_made_to_fit_as_a_generation_makes_it(capsys):
    arguments = ["--prompt", "x", "--size", "1000x1000", "-o", "out.json"]
    assert exit_code("bind", "t2i_flux.json", *arguments) == 0
    size = json.loads(Path("out.json").read_text("utf-8"))["7"]["inputs"]
    assert (size["width"], size["height"]) == (1008, 1008)
    assert "The size 1000x1000 becomes 1008x1008" in capsys.readouterr().err


def test_what_a_server_would_refuse_is_a_warning(capsys):
    arguments = ["--prompt", "x", "--model", "m.safetensors", "-o", "out.json"]
    arguments += ["--object-info", saved_object_info(**CHECKPOINT)]
    assert exit_code("bind", "t2i_checkpoint.json", *arguments) == 0
    err = capsys.readouterr().err
    assert "warning: node 1 CheckpointLoaderSimple 'Checkpoint', ckpt_name: m.safetensors" in err


def test_a_node_that_the_server_lacks_is_passed_through_as_in_a_generation(capsys):
    graph = bundled("t2i_checkpoint.json")
    refiner = {"clip_in": ["1", 1], "strength": 1.0}
    graph["30"] = {"class_type": "NobodyHasThis", "inputs": refiner, "_meta": {"title": "Odd"}}
    graph["2"]["inputs"]["clip"] = ["30", 0]
    write("mine.json", graph)
    info = ["--object-info", saved_object_info(**CHECKPOINT)]
    assert exit_code("check", "mine.json", *info) == 1
    unknown, note = blocks(capsys.readouterr().out)[0]
    assert unknown.startswith("unknown_node: node 30 NobodyHasThis 'Odd': the server has no class")
    assert note.startswith("note: node 30 ") and "NobodyHasThis" in note
    assert exit_code("bind", "mine.json", "--prompt", "x", "-o", "out.json", *info) == 0
    assert "warning: " in (err := capsys.readouterr().err) and "NobodyHasThis" in err
    bound = json.loads(Path("out.json").read_text("utf-8"))
    assert "30" not in bound and bound["2"]["inputs"]["clip"] == ["1", 1]


def test_a_node_that_nothing_can_stand_in_for_is_an_error(capsys):
    graph = bundled("t2i_checkpoint.json")
    graph["1"]["class_type"] = "NobodyHasThis"
    write("mine.json", graph)
    info = ["--object-info", saved_object_info()]
    assert exit_code("check", "mine.json", *info) == 1
    (line,) = blocks(capsys.readouterr().out)[0]
    assert line.startswith("unknown_node: node 1 NobodyHasThis")
    assert exit_code("bind", "mine.json", "--prompt", "x", "-o", "out.json", *info) == 1
    told = capsys.readouterr()
    assert told.out == "" and "NobodyHasThis" in told.err and not Path("out.json").exists()


def test_half_a_surrogate_pair_survives():
    graph = bundled("t2i_checkpoint.json")
    graph["3"]["inputs"]["text"] = "\ud83d"
    assert exit_code("bind", write("mine.json", graph), "--prompt", "x", "-o", "out.json") == 0
    bound = json.loads(Path("out.json").read_bytes().decode("utf-8"))
    assert bound["3"]["inputs"]["text"] == "\ud83d"


def test_a_file_without_a_name_is_told(capsys):
    assert exit_code("bind", "t2i_flux.json", "--prompt", "x", "-o", "") == 2
    assert "error: the file to write has no name; give one" in capsys.readouterr().err


@pytest.mark.skipif(os.name == "nt", reason="links need a right there, and devices are no files")
def test_what_is_no_ordinary_file_is_written_to_and_not_replaced():
    Path("real.json").write_text("{}", "utf-8")
    links = {Path("link.json"): "real.json", Path("nothing"): os.devnull}
    for link, target in links.items():
        link.symlink_to(target)
        assert exit_code("bind", "t2i_flux.json", "--prompt", "x", "-o", str(link)) == 0
        assert link.is_symlink()
    assert "class_type" in Path("real.json").read_text("utf-8")


@pytest.mark.parametrize("out", ["nowhere/out.json", "taken"])
def test_a_file_that_cannot_be_written_is_told_and_none_is_left_behind(out, capsys):
    Path("taken").mkdir()
    assert exit_code("bind", "t2i_flux.json", "--prompt", "x", "-o", out) == 1
    told = capsys.readouterr().err
    assert f"error: {out} cannot be written: " in told and "; give the name of a file in" in told
    assert exit_code("show", "t2i_flux.json", "--html", out) == 1
    assert [path.name for path in Path().iterdir()] == ["taken"]


# show


def test_the_page_shows_the_workflows_own_values_where_parameters_go(capsys):
    assert exit_code("show", "t2i_checkpoint.json", "--html", "page.html") == 0
    assert capsys.readouterr() == ("page.html\n", "")
    page = Path("page.html").read_text("utf-8")
    assert page.startswith("<!doctype html>") and "t2i_checkpoint.json" in page
    assert bundled("t2i_checkpoint.json")["2"]["inputs"]["text"] in page
    assert "negative_prompt" in page and "no node of the workflow loads one" in page


def test_the_page_with_a_prompt_shows_the_graph_that_would_be_sent(capsys):
    arguments = ["--html", "page.html", "--prompt", "a <blue> fox"]
    arguments += ["--object-info", saved_object_info()]
    assert exit_code("show", "t2i_checkpoint.json", *arguments) == 0
    page = Path("page.html").read_text("utf-8")
    assert "a &lt;blue&gt; fox" in page
    assert "is not on the server" in page
    assert bundled("t2i_checkpoint.json")["2"]["inputs"]["text"] not in page


# Foreign text, pipes and help


@pytest.mark.parametrize("terminal", [True, False])
def test_control_characters_of_a_file_do_not_reach_the_terminal(terminal, monkeypatch, capsys):
    graph = bundled("t2i_checkpoint.json")
    for node in graph.values():
        node["_meta"] = {"title": HOSTILE}
    graph["1"]["inputs"]["ckpt_name"] = HOSTILE
    graph["6"]["inputs"]["vae"] = ["\x1b[2J", 0]
    monkeypatch.setenv("COMFYUI_WORKFLOW_DIR", "mine")
    Path("mine").mkdir()
    write("mine/evil.json", graph)
    monkeypatch.setenv("TERM", "dumb")
    if terminal:
        monkeypatch.setenv("FORCE_COLOR", "1")
        monkeypatch.setenv("NO_COLOR", "1")
    assert exit_code("list") == 0
    assert exit_code("check", "evil.json") == 1
    assert exit_code("check", "evil.json", "--object-info", saved_object_info()) == 1
    assert exit_code("bind", "evil.json", "--prompt", HOSTILE, "-o", "out.json") == 0
    told = capsys.readouterr()
    printed = re.sub(r"\x1b\[[01]m", "", told.out + told.err)  # rich's own: bold and its end
    assert "evil" in printed and "[bold]x" in printed
    assert not {"\x1b", "\x07", "\u202e", "\r"} & set(printed)
    problems = [line for line in told.out.splitlines() if line.startswith("bad_link: ")]
    assert len(problems) == 2 and all("vae" in line for line in problems)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no broken pipes")
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_has_read_enough_ends_it_quietly(unbuffered):
    reader, writer = os.pipe()
    os.close(reader)
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": unbuffered}
    argv = [sys.executable, "-m", "image_cli", "workflow", "check", "t2i_flux.json"]
    done = subprocess.run(argv, env=environ, stdout=writer, stderr=subprocess.PIPE, timeout=60)
    os.close(writer)
    assert done.returncode == 1
    assert b"Traceback" not in done.stderr and b"BrokenPipe" not in done.stderr


@pytest.mark.parametrize("action", ["list", "check", "bind", "show", "convert"])
def test_each_help_begins_its_examples_with_one_that_runs_without_a_server(action, capsys):
    assert exit_code(action, "--help") == 0
    first = re.search(r"^examples?:\n  (.+)$", capsys.readouterr().out, re.MULTILINE)[1]
    assert first.startswith(f"image-cli workflow {action}")
    words = re.findall(r'"([^"]+)"|(\S+)', first.removeprefix("image-cli workflow "))
    assert exit_code(*(quoted or word for quoted, word in words)) == 0
    assert capsys.readouterr().out
