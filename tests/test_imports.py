"""What an import alone must not load: only a program that uses a library pays for it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LIBRARIES = {"PIL", "aiohttp", "dotenv", "numpy", "requests", "rich", "urllib3", "websocket"}


@pytest.mark.parametrize("module", ["comfyui_provider", "image_generator"])
def test_import_loads_no_library_before_it_is_used(module):
    code = f"import sys, {module}; print(*sys.modules)"
    loaded = subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True).split()
    assert module in loaded
    assert LIBRARIES & set(loaded) == set()
