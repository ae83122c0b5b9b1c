"""What tests do to the entries of a cache by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any


def change_entry(file: Path, change: Callable[[Any], object]) -> None:
    """Changes what the first line of an `entry.json` holds, and leaves the other lines alone."""
    line, rest = file.read_text("utf-8").split("\n", 1)
    first = json.loads(line.removesuffix(",") + "}")
    change(first)
    file.write_text(json.dumps(first).removesuffix("}") + ",\n" + rest, "utf-8")
