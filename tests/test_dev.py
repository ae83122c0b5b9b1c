"""dev.py, run as its users run it: as a command, in a copy of a project folder."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import signal
import site
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
DevCommand = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with dev.py, requirements that ask for nothing, and a demo that prints its words."""
    folder = tmp_path / "a project"
    folder.mkdir()
    shutil.copy(ROOT / "dev.py", folder)
    for file in ROOT.glob("requirements*.txt"):
        (folder / file.name).write_text("# nothing\n", encoding="utf-8")
    (folder / "image_cli.py").write_text("import sys; print(sys.argv[1:])", encoding="utf-8")
    return folder


@pytest.fixture
def dev(project: Path) -> DevCommand:
    def run_dev(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "dev.py", *arguments],
            cwd=project,
            env={**os.environ, **environment},
            capture_output=True,
            encoding="utf-8",
        )

    return run_dev


def make_venv(project: Path, *, with_pip: bool = False) -> None:
    """A real `.venv` at little cost: it borrows what it has from the running Python.

    Unless `with_pip`, a pip that installs nothing, at once, stands in for the borrowed one.
    """
    venv.create(project / ".venv", symlinks=os.name != "nt")
    folder = next((project / ".venv").rglob("site-packages"))
    if not with_pip:
        (folder / "pip").mkdir()
        for name in ("__init__.py", "__main__.py"):
            (folder / "pip" / name).touch()
    (folder / "borrowed.pth").write_text("\n".join(site.getsitepackages()), encoding="utf-8")


def test_dev_is_read_by_python_3_6_so_that_it_can_say_what_it_needs():
    assert ast.parse((ROOT / "dev.py").read_text("utf-8"), feature_version=(3, 6)).body


def test_an_old_python_is_told_which_one_is_needed(project: Path):
    # The rest of an old Python is not needed: the version is looked at before anything else.
    code = (
        "import runpy, sys; sys.version_info = (3, 9, 18); sys.argv = ['dev.py', 'test'];"
        "runpy.run_path('dev.py', run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=project, capture_output=True, encoding="utf-8"
    )
    assert done.returncode == 1
    assert "Python 3.10 or newer is needed; this is 3.9.18" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (project / ".venv").exists()


@pytest.mark.parametrize(
    "arguments", [(), ("deploy",), ("check", "--fast"), ("docs", "x"), ("run",)]
)
def test_an_unknown_command_shows_the_usage(dev: DevCommand, project: Path, arguments):
    done = dev(*arguments)
    assert done.returncode == 2
    assert "dev.py demo PROMPT" in done.stderr
    assert not (project / ".venv").exists()


def test_a_python_without_venv_is_told_what_to_install(dev: DevCommand, tmp_path: Path):
    # A module found before the standard library's: what is left where Debian took venv out.
    (tmp_path / "venv.py").write_text("raise SystemExit('No module named venv')", "utf-8")
    done = dev("test", PYTHONPATH=str(tmp_path))
    assert done.returncode == 1
    assert "No module named venv" in done.stderr
    assert "sudo apt install python3-venv" in done.stderr
    assert "Traceback" not in done.stderr


def test_second_run_sets_nothing_up(dev: DevCommand, project: Path):
    make_venv(project)
    first, second = dev("demo", "a red fox"), dev("demo", "a red fox", "--steps", "4")
    assert "Setting up .venv" in first.stderr
    assert first.stdout.strip() == "['demo', '-o', 'outputs', 'a red fox']"
    assert second.stderr == ""
    assert second.stdout.strip() == "['demo', '-o', 'outputs', 'a red fox', '--steps', '4']"


def test_the_demo_runs_in_the_callers_folder_and_takes_no_module_from_there(
    project: Path, tmp_path: Path
):
    make_venv(project)
    code = "import os, sys, beside; print(os.getcwd(), sys.argv[3])"
    (project / "image_cli.py").write_text(code, "utf-8")
    (project / "beside.py").touch()
    (tmp_path / "beside.py").write_text("raise SystemExit('a module of the caller')", "utf-8")
    outputs = {tmp_path: os.path.join(project.name, "outputs"), project / "tests": None}
    for folder, shown in outputs.items():
        folder.mkdir(exist_ok=True)
        done = subprocess.run(
            [sys.executable, str(project / "dev.py"), "demo"],
            cwd=folder,
            capture_output=True,
            encoding="utf-8",
        )
        assert done.stdout.strip() == f"{folder} {shown or project / 'outputs'}", done.stderr


def test_changed_requirements_are_installed(dev: DevCommand, project: Path):
    make_venv(project)
    dev("demo")
    (project / "requirements.txt").write_text("# something else\n", encoding="utf-8")
    assert "Setting up .venv" in dev("demo").stderr


def test_what_the_tests_installed_is_enough_for_the_demo_but_not_the_reverse(
    dev: DevCommand, project: Path
):
    make_venv(project)
    dev("demo")
    assert "Setting up .venv with requirements-dev.txt (once" in dev("test", "--version").stderr
    assert dev("demo").stderr == ""


def test_what_the_documentation_needs_is_enough_for_all(dev: DevCommand, project: Path):
    make_venv(project)
    (project / "sphinx.py").touch()
    assert "Setting up .venv" in dev("docs").stderr
    for command in ("docs", "demo"):
        assert dev(command).stderr == ""
    assert dev("test", "--version").stderr == ""


def test_the_documentation_is_built_with_warnings_as_errors_and_its_page_is_told(
    dev: DevCommand, project: Path
):
    make_venv(project)
    (project / "sphinx.py").write_text("import sys; print(sys.argv[1:], file=sys.stderr)", "utf-8")
    page = str(Path("docs", "_build", "html", "index.html"))
    done = dev("docs")
    assert (done.returncode, done.stdout.strip()) == (0, page)
    assert "'-W'" in done.stderr
    (project / "sphinx.py").write_text("raise SystemExit('page.md:3: WARNING')", "utf-8")
    failed = dev("docs")
    assert (failed.returncode, failed.stdout) == (1, "")
    assert "page.md:3: WARNING" in failed.stderr


def test_a_failed_install_shows_what_pip_said_and_is_repeated(dev: DevCommand, project: Path):
    make_venv(project, with_pip=True)
    dev("demo")
    wanted = project / "requirements.txt"
    wanted.write_text("no-such-thing==1.0\n", encoding="utf-8")
    for _ in range(2):
        done = dev("demo", PIP_NO_INDEX="1", PIP_FIND_LINKS="")
        assert done.returncode == 1
        assert "pip could not install requirements.txt" in done.stderr
        assert "No matching distribution found for no-such-thing==1.0" in done.stderr
        assert "Check the network" in done.stderr
        assert "Traceback" not in done.stderr
    wanted.write_text("# nothing\n", encoding="utf-8")
    assert "Setting up .venv" in dev("demo").stderr


def test_a_broken_venv_is_made_again(dev: DevCommand, project: Path, tmp_path: Path):
    # Its remaking is made to fail, which is quick and shows that it was tried.
    make_venv(project)
    dev("demo")
    for python in (project / ".venv").rglob("python*"):
        if python.is_file():
            python.unlink()
    (tmp_path / "venv.py").write_text("raise SystemExit('asked to make it')", "utf-8")
    assert "asked to make it" in dev("demo", PYTHONPATH=str(tmp_path)).stderr


def test_exit_code_of_the_command_is_handed_on(dev: DevCommand, project: Path):
    make_venv(project)
    (project / "tests").mkdir()
    done = dev("test", "tests")
    assert done.returncode == pytest.ExitCode.NO_TESTS_COLLECTED
    assert "no tests ran" in done.stdout


def test_a_module_of_the_project_is_run_with_its_arguments(dev: DevCommand, project: Path):
    make_venv(project)
    (project / "benchmark.py").write_text("import sys; sys.exit(int(sys.argv[1]))", "utf-8")
    assert dev("run", "benchmark", "7").returncode == 7


KNOWN = {"name": "good", "version": "1.0", "vulns": []}
SKIPPED = {"name": "odd", "skip_reason": "not found"}
FAULTY = {
    "name": "bad",
    "version": "2.0",
    "vulns": [{"id": "PYSEC-1", "fix_versions": ["2.1"]}, {"id": "PYSEC-2", "fix_versions": []}],
}


@pytest.mark.parametrize(
    ("packages", "code", "lines"),
    [
        ([KNOWN], 0, []),
        ([KNOWN, SKIPPED], 0, ["not looked up: odd"]),
        ([SKIPPED], 0, ["skipped: the list that was reached knows none of the packages"]),
        (None, 0, ["skipped: the list of known vulnerabilities cannot be reached"]),
        (
            [KNOWN, FAULTY],
            1,
            [
                "bad 2.0 has a known vulnerability: PYSEC-1, fixed in 2.1",
                "bad 2.0 has a known vulnerability: PYSEC-2, fixed in no version yet",
            ],
        ),
    ],
)
def test_known_vulnerabilities_fail_the_check_and_a_missing_list_does_not(
    dev: DevCommand, project: Path, packages, code, lines
):
    make_venv(project)
    for tool in ("ruff", "mypy"):
        (project / f"{tool}.py").touch()
    told = "raise SystemExit('no network')"
    if packages is not None:
        told = f"import sys; print({json.dumps({'dependencies': packages})!r}); sys.exit({code})"
    (project / "pip_audit.py").write_text(told, "utf-8")
    done = dev("check", "--no-tests")
    assert done.returncode == code
    assert done.stderr.partition("== pip-audit\n")[2].splitlines() == lines


def test_an_answer_of_another_form_is_no_failure_and_is_told(dev: DevCommand, project: Path):
    make_venv(project)
    (project / "pip_audit.py").write_text("print('{}')", "utf-8")
    for tool in ("ruff", "mypy"):
        (project / f"{tool}.py").touch()
    done = dev("check", "--no-tests")
    assert (done.returncode, done.stderr.splitlines()[-1][:8]) == (0, "skipped:")


def test_tools_are_pinned_to_one_version_each():
    for file in ("requirements-dev.txt", "requirements-docs.txt"):
        lines = (ROOT / file).read_text("utf-8").splitlines()
        wanted = [line for line in lines if line and not line.startswith(("#", "-r "))]
        assert wanted
        assert [line for line in wanted if not re.fullmatch(r"[\w.-]+==[\w.]+", line)] == []


@pytest.mark.skipif(os.name == "nt", reason="Windows has no signal to a group of processes")
def test_ctrl_c_waits_for_the_child_and_exits_130(dev: DevCommand, project: Path):
    make_venv(project)
    dev("demo")
    (project / "image_cli.py").write_text(
        "import threading\n"
        "try:\n"
        "    print('started', flush=True)\n"
        "    threading.Event().wait(60)\n"
        "except KeyboardInterrupt:\n"
        "    print('cancelled the job', flush=True)\n",
        encoding="utf-8",
    )
    with subprocess.Popen(
        [sys.executable, "dev.py", "demo", "a red fox"],
        cwd=project,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        start_new_session=True,
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == "started\n"
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert out == "cancelled the job\n"
    assert err == ""
