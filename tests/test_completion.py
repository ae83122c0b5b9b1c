"""What shells offer: asked by a real bash, and the lines for each shell."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from image_cli import build_parser, main
from image_commands.completers import files, folders, workflow_names

ROOT = Path(__file__).resolve().parent.parent
BASH = shutil.which("bash") if os.name != "nt" else None
ASK = """
source completion.sh
for line in "$@"; do
    COMP_LINE=$line; COMP_POINT=${#line}; COMP_TYPE=9
    _python_argcomplete image-cli
    IFS=,; echo "${COMPREPLY[*]}"
done
"""


@pytest.mark.skipif(BASH is None, reason="needs bash")
def test_bash_completes_commands_options_and_names(tmp_path, capsys):
    program = tmp_path / "bin" / "image-cli"
    program.parent.mkdir()
    program.write_text(
        f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m image_cli "$@"\n', "utf-8"
    )
    program.chmod(0o755)
    assert main(["completion", "bash"]) == 0
    Path("completion.sh").write_text(capsys.readouterr().out, "utf-8")
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
    path = os.pathsep.join([str(program.parent), os.environ.get("PATH", "")])
    done = subprocess.run(
        [str(BASH), "--norc", "-c", ASK, "bash", *asked],
        env={**os.environ, "PYTHONPATH": str(ROOT), "PATH": path},
        capture_output=True,
        encoding="utf-8",
    )
    offered = [set(line.split(",")) for line in done.stdout.splitlines()]
    assert dict(zip(asked, offered, strict=True)) == asked, done.stderr


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
    assert len(actions) >= 6
    for action in actions:
        list(action.completer(prefix="no such folder/x", parsed_args=None))


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
