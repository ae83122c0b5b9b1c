"""pyproject.toml and the requirement files against the tree, and (opt-in) a real installation."""

from __future__ import annotations

import ast
import os
import re
import shutil
import site
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pytest needs it there too

ROOT = Path(__file__).resolve().parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
SETUPTOOLS = PYPROJECT["tool"]["setuptools"]
CODE_FOLDERS = (
    *("comfyui", "hosted_providers", "image_batches", "image_cache", "image_commands"),
    *("image_io", "image_routing"),
)
NOT_PACKAGED = ("dev.py", "setup.py")
DISTRIBUTIONS = {
    "PIL": "Pillow",
    "aiohttp": "aiohttp",
    "argcomplete": "argcomplete",
    "dotenv": "python-dotenv",
    "numpy": "numpy",
    "requests": "requests",
    "requests_hardened": "requests-hardened",
    "rich": "rich",
    "urllib3": "requests",  # comes with it, in the versions that it takes
    "websocket": "websocket-client",
}


def requirements(name: str) -> list[str]:
    """The requirement lines of a file, without comments and references to other files."""
    lines = (ROOT / name).read_text("utf-8").splitlines()
    return [line for line in lines if line and not line.startswith(("#", "-r"))]


def code_files() -> list[Path]:
    packaged = [path for folder in CODE_FOLDERS for path in (ROOT / folder).rglob("*.py")]
    return [path for path in ROOT.glob("*.py") if path.name not in NOT_PACKAGED] + packaged


def test_every_module_is_packaged():
    modules = {path.stem for path in code_files() if path.parent == ROOT}
    assert modules == set(SETUPTOOLS["py-modules"])


def test_every_package_is_packaged():
    packages = {
        path.parent.relative_to(ROOT).as_posix().replace("/", ".")
        for folder in CODE_FOLDERS
        for path in (ROOT / folder).rglob("__init__.py")
    }
    assert packages | {"workflows.comfyui"} == set(SETUPTOOLS["packages"])


def test_every_data_file_is_packaged():
    left_out = [
        path.relative_to(ROOT).as_posix()
        for package in SETUPTOOLS["packages"]
        for path in (ROOT / package.replace(".", "/")).iterdir()
        if path.is_file() and path.suffix != ".py"
        if not any(map(path.match, SETUPTOOLS["package-data"].get(package, [])))
    ]
    assert left_out == []


def test_runtime_requirements_are_ranges_from_the_oldest_versions_that_work():
    expected = {"requests>=2.32.3", "websocket-client>=1.6", "Pillow>=10", "numpy>=1.24"}
    lines = requirements("requirements.txt")
    assert expected <= set(lines)
    assert [line for line in lines if "==" in line] == []


def test_tools_are_pinned():
    assert [line for line in requirements("requirements-dev.txt") if "==" not in line] == []


def test_everything_imported_is_required():
    lines = requirements("requirements.txt") + requirements("requirements-embedded.txt")
    required = {re.split(r"[<>=]", line)[0] for line in lines}
    own = {*(path.stem for path in ROOT.glob("*.py")), *CODE_FOLDERS}
    imported = {
        name.partition(".")[0]
        for path in code_files()
        if path.name != "pytest_plugin.py"  # pytest itself imports it
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        for name in imported_names(node)
    } - own
    standard = sys.stdlib_module_names | {"tomllib"}  # tomli stands in for it on Python 3.10
    assert {DISTRIBUTIONS.get(name, name) for name in imported - standard} == required


def imported_names(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and not node.level:
        return [node.module or ""]
    return []


def is_read_by(python: tuple[int, int], path: Path) -> bool:
    try:
        ast.parse(path.read_text("utf-8"), feature_version=python)
    except SyntaxError:
        return False
    return True


def test_code_is_read_by_the_oldest_python():
    assert [path for path in code_files() if not is_read_by((3, 10), path)] == []


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel, built from a copy so that no build folder is left in the project."""
    folder = tmp_path_factory.mktemp("wheel")
    ignored = shutil.ignore_patterns(".*", "__pycache__", "build", "dist", "*.egg-info", "tests")
    shutil.copytree(ROOT, folder / "source", ignore=ignored)
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"]
    subprocess.run([*pip, "-w", str(folder), str(folder / "source")], check=True)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scripts folder of an environment with the wheel; the rest is borrowed from this one."""
    folder = tmp_path_factory.mktemp("installed") / "venv"
    venv.create(folder, symlinks=os.name != "nt")
    packages = next(folder.rglob("site-packages"))
    (packages / "borrowed.pth").write_text("\n".join(site.getsitepackages()), encoding="utf-8")
    scripts = folder / ("Scripts" if os.name == "nt" else "bin")
    pip = [str(scripts / "python"), "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*pip, str(wheel)], check=True)
    return scripts


@pytest.mark.packaging
def test_the_wheel_has_code_workflows_and_licence_and_nothing_else(wheel: Path):
    names = set(zipfile.ZipFile(wheel).namelist())
    workflows = {
        path.relative_to(ROOT).as_posix() for path in (ROOT / "workflows/comfyui").glob("*.json")
    }
    assert workflows and workflows <= names
    assert {"image_provider.py", "comfyui/py.typed", "comfyui/embedded/object_info.json"} <= names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    tops = {name.partition("/")[0] for name in names if ".dist-info" not in name}
    modules = SETUPTOOLS["py-modules"]
    own = {name + ending for name in modules for ending in (".py", "-stubs")}
    assert tops == {*own, *CODE_FOLDERS, "workflows"}


@pytest.mark.packaging
def test_the_installed_command_makes_a_picture_in_any_folder(installed: Path, tmp_path: Path):
    done = subprocess.run(
        [installed / "image-cli", "generate", "a red fox", "--size", "64x64", "-o", "pictures"],
        cwd=tmp_path,
        env={**os.environ, "COMFYUI_SERVER_ADDRESS": "embedded"},
        capture_output=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "pictures").glob("*.png"))) == 1


@pytest.mark.packaging
def test_a_type_checker_knows_what_is_installed(installed: Path, tmp_path: Path):
    (tmp_path / "mine.py").write_text(
        "from comfyui import Workflow\n"
        "from image_generator import ImageGenerator\n"
        "reveal_type(ImageGenerator().generate('a fox'))\n"
        "reveal_type(ImageGenerator().config.get_seconds('HOSTED_JOB_TIMEOUT'))\n"
        "reveal_type(Workflow.from_file('fox.json'))\n",
        encoding="utf-8",
    )
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--python-executable"]
        + [installed / "python", "mine.py"],
        cwd=tmp_path,
        capture_output=True,
        encoding="utf-8",
    )
    assert re.findall(r'Revealed type is "(.+)"', done.stdout) == [
        "image_provider.ImageGenerationResult",
        "float",
        "comfyui.workflow.Workflow",
    ]
    assert done.returncode == 0, done.stdout


@pytest.mark.packaging
def test_the_installed_fixture_serves_other_projects(installed: Path, tmp_path: Path):
    (tmp_path / "test_mine.py").write_text(
        "from comfyui_provider import ComfyUIProvider\n"
        "from image_provider import ImageGenerationRequest\n"
        "def test_mine(comfyui_server):\n"
        "    with ComfyUIProvider(comfyui_server.address) as provider:\n"
        "        result = provider.generate(ImageGenerationRequest('a fox', width=64, height=64))\n"
        "    assert result.success, result.error\n",
        encoding="utf-8",
    )
    done = subprocess.run(
        [installed / "python", "-m", "pytest", "-q"],
        cwd=tmp_path,
        capture_output=True,
        encoding="utf-8",
    )
    assert "1 passed" in done.stdout, done.stdout
