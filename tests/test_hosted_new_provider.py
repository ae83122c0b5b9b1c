"""new_provider.md is true: what it shows runs, and what it names is there."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

import config
from hosted_providers import flux, table
from image_routing import built_in as built_in_providers
from tests import test_architecture, test_hosted_answers, test_hosted_sdks

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "hosted_providers" / "new_provider.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n# ([\w/.]+)[^\n]*\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
OWNERS = {
    "_VENDORS": flux,
    "SETTINGS": config,
    "BUILT_IN": built_in_providers,
    "KEY_SETTINGS": built_in_providers,
    "VENDORS": table,
    "FLOWS": test_hosted_answers,
    "ERRORS": test_hosted_answers,
    "CASES": test_hosted_sdks,
}


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> dict[str, ModuleType]:
    """The modules that the blocks make, by their paths; a later block adds to an earlier one."""
    modules: dict[str, ModuleType] = {}
    for path, source in BLOCKS:
        name = path.removesuffix(".py").replace("/", ".")
        if path not in modules:
            modules[path] = ModuleType(name)
            monkeypatch.setitem(sys.modules, name, modules[path])
        exec(compile(source, f"new_provider.md, {path}", "exec"), modules[path].__dict__)
    return modules


def test_it_has_five_steps_and_every_block_is_a_file():
    assert re.findall(r"^## (\d)\.", TEXT, re.MULTILINE) == ["1", "2", "3", "4", "5"]
    assert len(BLOCKS) == TEXT.count("```python")


def test_the_provider_that_it_shows_makes_pictures(example):
    tests = example["tests/test_hosted_example.py"].__dict__
    ran = [tests[name]() for name in list(tests) if name.startswith("test_")]

    assert len(ran) == 1


def test_the_files_that_it_names_are_there():
    named = set(re.findall(r"`([\w./]+\.(?:py|md|example)|[\w/]+/)`", TEXT))
    missing = {name for name in named if not (ROOT / name).exists()}

    assert len(named) > 10
    assert missing == {"tests/test_hosted_example.py"}


@pytest.mark.parametrize("name", OWNERS)
def test_the_tables_that_it_names_are_there(name):
    assert f"`{name}`" in TEXT
    assert getattr(OWNERS[name], name)
    assert name != "VENDORS" or test_architecture.VENDORS
