"""The server's input, output and temp folders: names, where they point, and writing PNGs.

Owns ComfyUI's rules for annotated names ("x.png [input]"), for staying inside a folder and for
numbering saved files. Does not speak HTTP.
"""

from __future__ import annotations

import json
import os
import random
import string
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from comfyui.embedded.options import SELF_DESCRIPTION

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff"})
PNG_COMPRESSION = 1
"""zlib level: a picture is worth no more time here."""


class Folders:
    """input/, output/ and temp/ below one directory."""

    def __init__(self, root: Path) -> None:
        self._paths = {name: root.absolute() / name for name in ("input", "output", "temp")}
        self._counters: dict[Path, int] = {}
        letters = random.choices(string.ascii_lowercase, k=5)
        self.temp_suffix = "_temp_" + "".join(letters)
        for path in self._paths.values():
            path.mkdir(parents=True, exist_ok=True)

    def path(self, folder_type: str) -> Path:
        """The folder of that type; KeyError when there is none."""
        return self._paths[folder_type]

    def find(self, folder_type: str) -> Path | None:
        """The folder of that type, None when there is none."""
        return self._paths.get(folder_type)

    def annotated(self, name: str) -> tuple[str, Path | None]:
        """Split "x.png [output]" into the name and its folder (None: not said)."""
        for folder_type, path in self._paths.items():
            if name.endswith(f"[{folder_type}]"):
                return name[: -len(folder_type) - 3], path
        return name, None

    def input_path(self, name: str) -> Path:
        """Where LoadImage looks for `name`.

        Raises ValueError when that is outside the folders.
        """
        bare, folder = self.annotated(name)
        base = folder or self.path("input")
        if not is_inside(base, base / bare):
            raise ValueError(f"{name!r} leads outside the {base.name} folder")
        return base / bare

    def input_exists(self, name: str) -> bool:
        """Whether LoadImage can open `name`."""
        try:
            return self.input_path(name).is_file()
        except ValueError:
            return False

    def input_files(self) -> list[str]:
        """The pictures directly in input/, sorted, as LoadImage offers them."""
        entries = self.path("input").iterdir()
        return sorted(e.name for e in entries if e.suffix.lower() in IMAGE_SUFFIXES)

    def next_save(self, prefix: str, folder_type: str, width: int, height: int) -> Path:
        """The path of the next PNG for a filename_prefix, its folder made.

        Raises ValueError when the prefix leads out of the folder.
        """
        base = self.path(folder_type)
        stem = base / _fill_tokens(prefix, width, height)
        if not is_inside(base, stem.parent):
            raise ValueError(
                f"filename_prefix {prefix!r} leads outside the {folder_type} folder; "
                "use a prefix without '..' and without a leading slash"
            )
        stem.parent.mkdir(parents=True, exist_ok=True)
        if stem not in self._counters:
            self._counters[stem] = _highest_number(stem)
        self._counters[stem] += 1
        return stem.with_name(f"{stem.name}_{self._counters[stem]:05}_.png")


def is_inside(base: Path, path: Path) -> bool:
    """Whether `path` is `base` or below it once `..` is resolved."""
    return Path(os.path.normpath(path)).is_relative_to(base)


def save_png(
    image: Image.Image, path: Path, graph: Mapping[str, Any], extra_pnginfo: object
) -> None:
    """Write a PNG with ComfyUI's text chunks and one that names this server."""
    text = PngInfo()
    text.add_text("prompt", json.dumps(graph))
    if isinstance(extra_pnginfo, dict):
        for key, value in extra_pnginfo.items():
            text.add_text(key, json.dumps(value))
    text.add_text("Software", SELF_DESCRIPTION)
    image.save(path, pnginfo=text, compress_level=PNG_COMPRESSION)


def _fill_tokens(prefix: str, width: int, height: int) -> str:
    if "%" not in prefix:
        return prefix
    now = time.localtime()
    tokens = {
        "width": str(width),
        "height": str(height),
        "year": str(now.tm_year),
        "month": f"{now.tm_mon:02}",
        "day": f"{now.tm_mday:02}",
        "hour": f"{now.tm_hour:02}",
        "minute": f"{now.tm_min:02}",
        "second": f"{now.tm_sec:02}",
    }
    for name, value in tokens.items():
        prefix = prefix.replace(f"%{name}%", value)
    return prefix


def _highest_number(stem: Path) -> int:
    start = stem.name + "_"
    numbers = [
        entry.name[len(start) :].split("_")[0]
        for entry in stem.parent.iterdir()
        if entry.name.startswith(start)
    ]
    return max((int(n) for n in numbers if n.isdigit()), default=0)
