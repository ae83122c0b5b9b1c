"""The design's rules that a reader of the imports can check: who may know whom, and how much.

An import inside a function or under TYPE_CHECKING counts like any other.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = (
    *("comfyui", "hosted_providers", "image_batches", "image_cache", "image_commands"),
    *("image_io", "image_routing"),
)
LONGEST_MODULE = 400
LONGEST_FUNCTION = 50

# A room is a module or package; those it may import stand beside it. The longest name that fits
# a module is its room.
MAY_IMPORT: dict[str, set[str]] = {
    "image_errors": set(),
    "image_request": set(),
    "image_provider": {"image_errors", "image_request"},
    "setting_checks": set(),
    "image_config": {"image_provider", "setting_checks"},
    "config": {"image_config"},
    "image_io": {"image_provider"},
    "comfyui": {"image_provider", "image_io"},
    "comfyui.embedded": {"image_provider", "image_io", "comfyui"},
    "hosted_providers": {"image_provider", "image_io"},
    "comfyui_provider": {"image_provider", "image_io", "comfyui"},
    "image_routing": {"image_provider"},
    "image_routing.built_in": {
        "image_provider",
        "image_config",
        "image_io",
        "comfyui",
        "hosted_providers",
        "comfyui_provider",
    },
    "style_templates": {"image_provider"},
    "style_files": {"image_provider", "style_templates"},
    "image_provider_router": {
        "image_provider",
        "image_config",
        "image_routing",
        "image_routing.built_in",
        "style_files",
    },
    "image_cache": {"image_provider"},
    "image_batches": {"image_provider", "image_io", "image_cache"},
    "image_generator": {
        "image_provider",
        "image_config",
        "image_io",
        "image_routing",
        "image_provider_router",
        "image_batches",
        "image_cache",
        "style_files",
    },
    "image_commands": {
        "image_provider",
        "image_config",
        "comfyui",
        "comfyui_provider",
        "image_routing",
        "image_routing.built_in",
        "image_provider_router",
        "image_batches",
        "image_cache",
        "image_generator",
        "style_files",
    },
    "image_cli": {"image_provider", "comfyui.embedded", "image_commands"},
}
# What a single module may import beyond its room's rule.
EXCEPTIONS = {
    "comfyui.servers": {"comfyui.embedded"},  # starts one for the address "embedded"
    "comfyui.node_rules": {"image_config"},  # COMFYUI_*_NODES binds however a provider is built
    "image_io.source_images": {"image_config"},  # IMAGE_SOURCE_* binds however it is called
}
COMMANDS = (
    "image_cli.py",
    *(f"image_commands/{path.name}" for path in sorted((ROOT / "image_commands").glob("*.py"))),
)
# Libraries that one place owns, so that their errors are mapped there and nowhere else.
OWNERS: dict[str, str | tuple[str, ...]] = {
    "requests": (
        "image_io/guarding.py",
        "image_io/http.py",
        "image_io/sessions.py",
        "image_io/trust.py",
    ),
    "requests_hardened": "image_io/guarding.py",
    "urllib3": ("image_io/http.py", "image_io/retrying.py"),
    "websocket": "comfyui/sockets.py",
    "aiohttp": "comfyui/embedded/",
    "argcomplete": "image_commands/completion.py",
    "dotenv": "image_config.py",
    "rich": COMMANDS,
}
PRINTERS = (*COMMANDS, "hosted_providers/table.py")
PURE_MODULES = {
    f"comfyui/{name}.py"
    for name in ("binding", "events", "fitting", "object_info", "survey", "time_left", "workflow")
}
PURE_MODULES |= {
    f"comfyui/ui_format/{path.name}" for path in (ROOT / "comfyui/ui_format").glob("*.py")
}
IMPURE = {"http", "image_io", "requests", "socket", "threading", "time", "websocket"}
IMPURE |= {"urllib.request"}
IMPURE |= {"comfyui.client", "comfyui.sockets"}
CLIENT_SIDE = {"comfyui.client", "comfyui.jobs", "comfyui.server", "comfyui.servers"}
CLIENT_SIDE |= {"comfyui.sockets"}
VENDORS = ("openai", "black_forest_labs", "fal", "together", "replicate")
MACHINE_PATH = re.compile(r"(?<![\w.])/(home|Users|root|work|tmp)/\w|\b[A-Z]:[\\/]+Users\b")


class Import(NamedTuple):
    """One imported module, by its full name, and the line that asks for it."""

    module: str
    line: int


def code_files() -> list[Path]:
    """Every module of the library; not dev.py and setup.py, which run without it."""
    files = [path for path in ROOT.glob("*.py") if path.name not in ("dev.py", "setup.py")]
    for package in PACKAGES:
        files += (ROOT / package).rglob("*.py")
    return sorted(files)


def local(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def module_name(path: Path) -> str:
    return local(path).removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def is_inside(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def room_of(module: str) -> str | None:
    """The room that a module of ours belongs to; None for other people's modules."""
    return max((room for room in MAY_IMPORT if is_inside(module, room)), key=len, default=None)


@cache
def parsed(path: Path) -> ast.Module:
    """A module's syntax, read once for all tests."""
    return ast.parse(path.read_text("utf-8"))


def imports_of(tree: ast.Module, importer: str, is_package: bool = False) -> Iterator[Import]:
    """Every import, wherever it stands; `from a import b` counts as a.b where that is a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = importer.split(".") + ([""] if is_package else [])
            base = parents[: len(parents) - node.level] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                submodule = f"{module}.{alias.name}"
                yield Import(submodule if is_module(submodule) else module, node.lineno)


def is_module(name: str) -> bool:
    path = ROOT / name.replace(".", "/")
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


@cache
def all_imports() -> list[tuple[Path, Import]]:
    return [
        (path, found)
        for path in code_files()
        for found in imports_of(parsed(path), module_name(path), path.name == "__init__.py")
    ]


def listed(offences: list[str]) -> str:
    """One to a line, as pytest shows it when it is not empty."""
    return "\n".join(offences)


@pytest.mark.parametrize(
    ("statement", "module"),
    [
        ("import image_io.http as door", "image_io.http"),
        ("def f():\n    from image_io import http", "image_io.http"),
        ("from image_io.http import open_session", "image_io.http"),
        ("from .client import ComfyUIClient", "comfyui.client"),
        ("from . import client", "comfyui.client"),
        ("from ..image_provider import ImageProvider", "image_provider"),
    ],
)
def test_an_import_is_found_however_it_is_written(statement, module):
    assert [found.module for found in imports_of(ast.parse(statement), "comfyui.jobs")] == [module]


def test_rules_speak_of_modules_that_are_there():
    files = {local(path) for path in code_files()}
    assert PURE_MODULES | set(PRINTERS) <= files
    modules = {module_name(path) for path in code_files()}
    vendors = {f"hosted_providers.{name}" for name in VENDORS}
    assert CLIENT_SIDE | vendors | EXCEPTIONS.keys() | MAY_IMPORT.keys() <= modules
    imported = {(local(path), found.module.partition(".")[0]) for path, found in all_imports()}
    assert ("image_io/http.py", "requests") in imported
    assert OWNERS.keys() <= {library for _, library in imported}


def test_every_module_has_a_room():
    offences = [
        f"{local(path)}: in no room; say in MAY_IMPORT what it may import"
        for path in code_files()
        if room_of(module_name(path)) is None
    ]
    assert listed(offences) == ""


def test_dependencies_point_one_way():
    offences = []
    for path, found in all_imports():
        importer, imported = room_of(module_name(path)), room_of(found.module)
        if importer is None or imported is None or importer == imported:
            continue
        allowed = MAY_IMPORT[importer] | EXCEPTIONS.get(module_name(path), set())
        if imported not in allowed:
            offences.append(f"{local(path)}:{found.line}: {importer} may not import {found.module}")
    assert listed(offences) == ""


def test_a_library_is_imported_by_its_owner_alone():
    offences = []
    for path, found in all_imports():
        library = found.module.partition(".")[0]
        owner = OWNERS.get(library)
        if owner and not local(path).startswith(owner):
            offences.append(f"{local(path)}:{found.line}: only {owner} may import {library}")
    assert listed(offences) == ""


def test_the_contract_needs_the_standard_library_alone():
    own = {"image_errors", "image_request"}
    allowed = {*sys.stdlib_module_names, *own, "PIL"}  # Pillow only once `to_pil` is called
    offences = [
        f"{local(path)}:{found.line}: the contract may not import {found.module}"
        for path, found in all_imports()
        if local(path) in ("image_provider.py", "image_errors.py", "image_request.py")
        and found.module.partition(".")[0] not in allowed
    ]
    assert listed(offences) == ""


def test_pure_modules_touch_no_socket_clock_or_thread():
    offences = [
        f"{local(path)}:{found.line}: a pure module may not import {found.module}"
        for path, found in all_imports()
        if local(path) in PURE_MODULES and any(is_inside(found.module, i) for i in IMPURE)
    ]
    assert listed(offences) == ""


def test_embedded_server_shares_no_code_with_the_client_that_it_tests():
    offences = [
        f"{local(path)}:{found.line}: the embedded server may not import {found.module}"
        for path, found in all_imports()
        if is_inside(module_name(path), "comfyui.embedded") and found.module in CLIENT_SIDE
    ]
    assert listed(offences) == ""


def test_hosted_vendors_do_not_know_each_other():
    vendors = {f"hosted_providers.{name}" for name in VENDORS}
    offences = [
        f"{local(path)}:{found.line}: a vendor's module may not import {found.module}"
        for path, found in all_imports()
        if module_name(path) in vendors and found.module in vendors | {"hosted_providers.flux"}
    ]
    assert listed(offences) == ""


def test_modules_and_functions_stay_short():
    offences = []
    for path in code_files():
        lines = len(path.read_text("utf-8").splitlines())
        if lines > LONGEST_MODULE:
            offences.append(f"{local(path)}: {lines} lines; at most {LONGEST_MODULE}")
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or 0) - node.lineno + 1
                if lines > LONGEST_FUNCTION:
                    offences.append(
                        f"{local(path)}:{node.lineno}: {node.name} has {lines} lines; "
                        f"at most {LONGEST_FUNCTION}"
                    )
    assert listed(offences) == ""


def test_nothing_prints_but_the_command_line():
    offences = [
        f"{local(path)}:{node.lineno}: print; only {PRINTERS} print, others log"
        for path in code_files()
        if local(path) not in PRINTERS
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Name) and node.id == "print"
    ]
    assert listed(offences) == ""


def test_no_path_of_one_machine_is_written_down():
    files = [*code_files(), ROOT / "dev.py", *(ROOT / "workflows").rglob("*.json")]
    offences = [
        f"{local(path)}:{number}: names a folder of one machine: {line.strip()[:80]}"
        for path in files
        for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1)
        if MACHINE_PATH.search(line)
    ]
    assert listed(offences) == ""
