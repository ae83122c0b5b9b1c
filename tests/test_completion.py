"""What shells offer: asked by real ones where they are installed, and the lines for each."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from image_cli import build_parser, main
from image_commands.completers import by_name, files, folders, workflow_names

ROOT = Path(__file__).resolve().parent.parent
ASK_BASH = """
source completion.sh
for line in "$@"; do
    COMP_LINE=$line; COMP_POINT=${#line}; COMP_TYPE=9
    _python_argcomplete image-cli
    IFS=,; echo "${COMPREPLY[*]}"
done
"""


def needs(shell):
    missing = os.name == "nt" or shutil.which(shell) is None
    return pytest.mark.skipif(missing, reason=f"needs {shell}")


@pytest.fixture
def in_shell(tmp_path, capsys):
    """Runs a shell that has the command and an empty home; its lines lie in completion.sh."""
    program = tmp_path / "bin" / "image-cli"
    program.parent.mkdir()
    program.write_text(
        f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m image_cli "$@"\n', "utf-8"
    )
    program.chmod(0o755)
    home = tmp_path / "home"
    home.mkdir()
    path = os.pathsep.join([str(program.parent), os.environ.get("PATH", "")])

    def run(shell, *words):
        assert main(["completion", shell]) == 0
        Path("completion.sh").write_text(capsys.readouterr().out, "utf-8")
        done = subprocess.run(
            [shell, *words],
            env={**os.environ, "PYTHONPATH": str(ROOT), "PATH": path, "HOME": str(home)},
            capture_output=True,
            encoding="utf-8",
        )
        assert done.stderr == ""
        return done.stdout.splitlines()

    return run


@needs("bash")
def test_bash_completes_commands_options_and_names(in_shell):
    asked = {
        "image-cli gen": {"generate "},
        "image-cli generate 'a fox' --sty": {"--style "},
        "image-cli generate 'a fox' --style cin": {"cinematic "},
        "image-cli generate 'a fox' --provider flux_f": {"flux_fal "},
        "image-cli generate 'a fox' --workflow t2i_flux": {
            "t2i_flux.json",
            "t2i_flux_advanced.json",
        },
    }
    lines = in_shell("bash", "--norc", "-c", ASK_BASH, "bash", *asked)
    assert dict(zip(asked, [set(line.split(",")) for line in lines], strict=True)) == asked


@needs("zsh")
def test_zsh_takes_the_lines_from_an_empty_home(in_shell):
    ask = "source completion.sh; print $_comps[image-cli]; whence -w _python_argcomplete"
    assert in_shell("zsh", "-f", "-c", ask) == ["_image_cli", "_python_argcomplete: function"]


@needs("fish")
def test_fish_completes_names_and_files_in_the_home(in_shell, tmp_path):
    (tmp_path / "home" / "my pictures").mkdir()
    ask = """
        source completion.sh
        complete --do-complete "image-cli generate fox --style cin"
        complete --do-complete "image-cli generate fox -o ~/"
        complete --do-complete "image-cli generate fox --seed "
    """
    offered = in_shell("fish", "--no-config", "-c", ask)
    assert "cinematic" in offered and "~/my pictures/" in offered and len(offered) == 2


@pytest.mark.parametrize(
    ("shell", "part"),
    [
        ("bash", "complete -o nospace"),
        ("zsh", "#compdef image-cli"),
        ("fish", "complete --command image-cli"),
        ("powershell", "Register-ArgumentCompleter -Native -CommandName image-cli"),
    ],
)
def test_each_shell_gets_its_own_lines_and_is_told_where_they_go(shell, part, capsys):
    assert main(["completion", shell]) == 0
    *code, where = capsys.readouterr().out.splitlines()
    assert part in "\n".join(code)
    assert where.startswith(f"# To have it in every {shell}, ")
    assert f"image-cli completion {shell}" in where


def test_every_argument_offers_something_without_failing(monkeypatch):
    monkeypatch.setenv("FLUX_HOST", "nowhere")  # settings that cannot be used
    actions = [
        action
        for group in build_parser()._subparsers._group_actions
        for parser in group.choices.values()
        for action in parser._actions
        if hasattr(action, "completer")
    ]
    assert len(actions) >= 4
    for action in actions:
        list(action.completer(prefix="no such folder/x", parsed_args=None))


def test_what_an_argument_offers_goes_by_the_name_in_its_help(tmp_path):
    Path("pictures").mkdir()
    Path("picks.csv").touch()
    offered = {
        (command, action.metavar or action.dest): list(by_name("pic", action))
        for group in build_parser()._subparsers._group_actions
        for command, parser in group.choices.items()
        for action in parser._actions
    }
    assert offered["generate", "FILE"] == ["picks.csv", "pictures/"]
    assert offered["batch", "F"] == ["picks.csv", "pictures/"]
    assert offered["generate", "DIR"] == ["pictures/"]
    for argument in ("PROMPT", "seed", "WxH", "N", "TEXT"):
        assert offered["generate", argument] == []


def test_files_in_the_home_are_offered_as_they_are_typed(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    (tmp_path / "fox.png").touch()
    assert list(files("~/f")) == ["~/fox.png"]


def test_files_are_offered_folder_by_folder():
    Path("pictures/old").mkdir(parents=True)
    for name in ("pictures/fox.PNG", "pictures/fox.txt", "pictures/.hidden", "prompts.txt"):
        Path(name).touch()
    assert list(files("p")) == ["pictures/", "prompts.txt"]
    assert list(files("pictures/")) == ["pictures/fox.PNG", "pictures/fox.txt", "pictures/old/"]
    assert list(files("pictures/.")) == ["pictures/.hidden"]
    assert list(folders("pictures/")) == ["pictures/old/"]
    assert set(workflow_names("pictures/f")) - set(workflow_names("nowhere/")) == {
        "pictures/fox.PNG"
    }
