"""The command `batch`, and `generate --again`, against the embedded server."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import requests
from PIL import Image

from image_batches import BatchProgress
from image_batches.locking import opened_alone
from image_cli import main
from image_commands import batch as batch_cli
from image_commands.batch import describe
from image_commands.shared import OK, USAGE

TABLE = "prompt,size,seed,steps,provider\na fox,64x64,7,2,\na <b>dog</b>,64x96,8,2,\n"


@pytest.fixture
def server(comfyui_server, monkeypatch):
    monkeypatch.setenv("COMFYUI_SERVER_ADDRESS", comfyui_server.address)
    return comfyui_server


def write(text=TABLE, name="foxes.csv"):
    Path(name).write_text(text, "utf-8")
    return name


def test_a_file_becomes_pictures_a_sheet_and_a_gallery(server, capsys):
    assert main(["batch", write(), "-o", "out", "--jobs", "2"]) == 0
    told = capsys.readouterr()
    files = ["00001-01-comfyui-7.png", "00002-01-comfyui-8.png"]
    expected = [Path("out", "pictures", name) for name in files]
    expected += [Path("out", "contact-sheet.jpg"), Path("out", "gallery.html")]
    assert told.out.splitlines() == [str(path) for path in expected]
    assert told.err == "Made by the embedded server: procedural pictures, no model ran.\n"
    with Image.open(expected[1]) as picture:
        assert picture.size == (64, 96)
    page = expected[3].read_text("utf-8")
    assert 'href="pictures/00001-01-comfyui-7.png"' in page and "data:image/jpeg;base64," in page
    assert "&lt;b&gt;dog" in page and "embedded server, no model" in page


def test_the_same_command_makes_what_failed_and_nothing_else(server, capsys):
    text = TABLE + "a cat,64x64,9,2,openai\n"
    assert main(["batch", write(text), "-o", "out"]) == 1
    told = capsys.readouterr()
    assert "error: 3: " in told.err and "OPENAI_API_KEY" in told.err
    assert "1 of 3 failed (1 all_providers_failed); the same command makes these again" in told.err
    assert len(told.out.splitlines()) == 4
    assert main(["batch", write(text), "-o", "out"]) == 1
    assert server.stats.posts == 2
    page = Path("out/gallery.html").read_text("utf-8")
    assert "2 pictures, 1 failed" in page


def test_a_style_of_the_users_own_stands_in_a_file_like_any_other(server, capsys, monkeypatch):
    Path("styles.json").write_text('{"ink wash": {"prompt": "{prompt}, ink"}}', "utf-8")
    monkeypatch.setenv("IMAGE_STYLE_TEMPLATES", "styles.json")
    Path("herons.csv").write_text("prompt,style,size,seed\na heron,Ink Wash,64x64,1\n", "utf-8")
    Path("wrong.csv").write_text("prompt,style\na heron,oil\n", "utf-8")

    assert main(["batch", "herons.csv", "-o", "herons", "--json"]) == OK
    (made,) = json.loads(capsys.readouterr().out)["results"]
    assert main(["batch", "wrong.csv", "-o", "wrong"]) == USAGE

    with Image.open(made["files"][0]) as picture:
        assert "a heron, ink" in picture.info["prompt"]
    assert "line 2: " in capsys.readouterr().err


def test_another_file_in_the_same_folder_is_refused(server, capsys):
    assert main(["batch", write(), "-o", "out"]) == 0
    assert main(["batch", write(TABLE.replace("fox", "cow")), "-o", "out"]) == 1
    told = capsys.readouterr().err
    assert "was begun with other requests" in told and "another -o" in told
    other = ["--resume", str(Path("more", "cows.jsonl"))]
    assert main(["batch", "foxes.csv", "-o", "out", *other]) == 0
    assert 'href="../more/cows/00001-01-comfyui-7.png"' in Path("out/gallery.html").read_text(
        "utf-8"
    )


def test_bad_lines_are_told_before_anything_is_sent(server, capsys, tmp_path):
    name = write('{"prompt": "a fox"}\n{"colour": 1}\n{', "foxes.jsonl")
    assert main(["batch", name]) == 2
    told = capsys.readouterr()
    assert told.out == "" and "  line 2: " in told.err and "  line 3: " in told.err
    assert [path.name for path in tmp_path.iterdir()] == ["foxes.jsonl"]
    assert server.stats.posts == 0


def test_results_as_json_for_programs(server, capsys):
    text = TABLE + "a cat,64x64,9,2,openai\n"
    assert main(["batch", write(text), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert (told["total"], told["done"], told["failed"]) == (3, 2, 1)
    first, _, third = told["results"]
    folder = Path("outputs", "foxes")
    assert first["files"] == [str(folder / "pictures" / "00001-01-comfyui-7.png")]
    assert (first["seeds"], first["provider"], first["error"]) == ([7], "comfyui", None)
    assert (third["success"], third["error_type"]) == (False, "all_providers_failed")
    assert Path(told["gallery"]) == folder / "gallery.html"
    assert all(Path(sheet).is_file() for sheet in told["contact_sheets"])


def test_a_large_gallery_shows_the_files_themselves(server, monkeypatch):
    monkeypatch.setattr(batch_cli, "_MOST_INSIDE", 1)
    assert main(["batch", write(), "-o", "out"]) == 0
    page = Path("out/gallery.html").read_text("utf-8")
    sources = re.findall(r'<img src="([^"]+)"', page)
    assert sources == ["pictures/00001-01-comfyui-7.png", "pictures/00002-01-comfyui-8.png"]


def test_a_workflow_of_the_callers_own_is_found_from_the_current_folder(server):
    bundled = (
        Path(batch_cli.__file__).parent.parent / "workflows" / "comfyui" / "t2i_checkpoint.json"
    )
    Path("mine.json").write_text(bundled.read_text("utf-8"), "utf-8")
    name = write("prompt,workflow,size,steps\na fox,mine.json,64x64,1\n")
    assert main(["batch", name, "--no-cache"]) == 0
    assert not Path("cache").exists()


def test_ctrl_c_says_that_the_same_command_goes_on(server, monkeypatch, capsys):
    def interrupted(self, requests, executor, on_progress, resume):
        on_progress(BatchProgress(2, 1))
        raise KeyboardInterrupt

    monkeypatch.setattr(batch_cli.ImageGenerator, "generate_many", interrupted)
    assert main(["batch", write()]) == 130
    assert "1 of 2 are done; the same command goes on from there" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["gallery.html", "contact-sheet.jpg"])
def test_a_page_or_sheet_that_cannot_be_written_costs_no_picture(server, capsys, name):
    Path("out", name).mkdir(parents=True)
    assert main(["batch", write(), "-o", "out"]) == 1
    told = capsys.readouterr().err
    assert f"{name} cannot be written: " in told and "give the same command again" in told
    Path("out", name).rmdir()
    assert main(["batch", write(), "-o", "out"]) == 0
    assert server.stats.posts == 2


def test_a_second_command_for_the_same_folder_is_refused(server, capsys):
    with opened_alone(Path("out/pictures.jsonl")):
        assert main(["batch", write(), "-o", "out"]) == 1
    assert "another batch works on" in capsys.readouterr().err
    assert server.stats.posts == 0


@pytest.mark.parametrize("jobs", ["0", "two"])
def test_a_number_of_jobs_that_is_none_is_wrong_usage(jobs, capsys):
    assert main(["batch", write(), "--jobs", jobs]) == USAGE
    assert "is no number of jobs" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("progress", "told"),
    [
        (BatchProgress(100), ("  0 of 100", "")),
        (BatchProgress(100, 7, 2, 0.07, 75.4), ("  7 of 100, 2 failed", "1:15 left")),
        (BatchProgress(9, 8, 0, 0.9, 3725), ("8 of 9", "1:02:05 left")),
    ],
)
def test_what_stands_beside_the_bar(progress, told):
    assert describe(progress) == told


def test_the_help_names_every_column_and_has_an_example(capsys):
    with pytest.raises(SystemExit):
        main(["batch", "--help"])
    told = capsys.readouterr().out
    assert all(len(line) <= 80 for line in told.splitlines())
    assert "image-cli batch foxes.csv -o foxes --jobs 4" in told
    assert "guidance_scale" in told and "prompt,style,size,seed" in told


# generate --again


def test_a_picture_is_made_again_from_its_file(server, capsys):
    options = ["--size", "64x64", "--steps", "2", "--seed", "7"]
    assert main(["generate", "a fox", *options, "-o", "first"]) == 0
    (first,) = capsys.readouterr().out.splitlines()
    assert main(["generate", "--again", first, "-o", "second"]) == 0
    (second,) = capsys.readouterr().out.splitlines()
    with Image.open(first) as one, Image.open(second) as other:
        assert one.tobytes() == other.tobytes()
    assert Path(second).parent == Path("second")
    assert len(requests.get(server.url + "/history", timeout=10).json()) == 2


def test_what_cannot_be_made_again_is_told(server, capsys):
    Image.new("RGB", (8, 8)).save("fox.png")
    assert main(["generate", "--again", "fox.png"]) == 1
    assert "fox.png does not tell how it was made" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["a fox", "--again", "fox.png"], "give no PROMPT"),
        (["--again", "fox.png", "--seed", "0", "-n", "2"], "leave out --seed, -n"),
        (["--again", "fox.png", "--style", "cinematic"], "leave out --style"),
        ([], "PROMPT (or --again FILE)"),
    ],
)
def test_a_prompt_or_a_file_is_given_and_not_both(arguments, told, capsys):
    assert main(["generate", *arguments]) == USAGE
    assert told in capsys.readouterr().err
