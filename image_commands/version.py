"""Which version of the library this is, for `--version`, `doctor` and reports of a fault.

Owns where that is written: beside the code in a copy of the project, else in what pip installed.
"""

from __future__ import annotations

import argparse
import re
from importlib import metadata
from pathlib import Path
from typing import Any

_DISTRIBUTION = "comfyui-image-generator"
_PROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"
_LINE = re.compile(r'^name = "comfyui-image-generator"\nversion = "(.+)"$', re.MULTILINE)


def library_version() -> str:
    """Such as `0.1.0`; `unknown` for code that was copied without either."""
    found = _LINE.search(_PROJECT.read_text("utf-8")) if _PROJECT.is_file() else None
    return found[1] if found else installed_version(_DISTRIBUTION) or "unknown"


def installed_version(package: str) -> str | None:
    """The version of a package that pip installed; None for one that it did not."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


class ShowVersion(argparse.Action):
    """Looks the version up when it is asked for, and not at each start."""

    def __init__(self, option_strings: list[str], dest: str, **others: Any) -> None:
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, **others)

    def __call__(self, parser: argparse.ArgumentParser, *rest: Any) -> None:
        """Prints it, and ends the command."""
        print(f"image-cli {library_version()}")
        parser.exit()
