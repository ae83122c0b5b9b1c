"""What the nodes of a job gave: the files and texts in the `outputs` of a history entry.

Owns the shapes of nodes' `ui` outputs. Pure, and never fails: what is neither a file nor a text is
data for a widget of the editor. Which files count and what is told of them is `results.py`.

Facts (ComfyUI's nodes.py, comfy_api/latest/_ui.py, comfy_extras/; the server joins the lists of a
node that ran several times, execution.py):
- a file is {"filename", "subfolder", "type"}, in a list under any key: "images" (SaveImage and
  PreviewImage; SaveVideo, SaveWEBM and SaveAnimatedWEBP too, with "animated": [true]), "audio",
  "latents", "3d" (SaveGLB), "files" (SaveText), "gifs" (VideoHelperSuite, videos as well), and
  whatever a custom pack chose;
- Preview3D gives "result": [path of a model below output/, camera, …], and packs "3d": [path];
- a text is a string in "text" (PreviewAny, SaveText).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from comfyui.events import as_text

VIDEO_SUFFIXES = frozenset({".mp4", ".webm", ".mkv", ".mov", ".avi", ".m4v"})
_PICTURE_SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif"}
)
_MODEL_SUFFIXES = frozenset(
    {".glb", ".gltf", ".obj", ".fbx", ".stl", ".ply", ".usdz", ".splat", ".ksplat", ".spz"}
)
_ANNOTATED = re.compile(r"(?P<path>.*) \[(?P<type>output|temp|input)\]", re.DOTALL)


@dataclass(frozen=True)
class OutputFile:
    """A file that a node wrote, as /view takes it.

    `kind` is the key it came under ("images"), but "video" for a video under "images" and "3d" for
    a model that was named by its path.
    """

    node_id: str
    kind: str
    filename: str
    subfolder: str
    folder_type: str

    @property
    def place(self) -> tuple[str, str, str]:
        """What tells it from other files of the server: filename, subfolder and type."""
        return self.filename, self.subfolder, self.folder_type

    @property
    def is_picture(self) -> bool:
        """True for what stands under "images", and for pictures under a key of a custom pack."""
        return self.kind == "images" or (
            self.kind != "gifs" and suffix_of(self.filename) in _PICTURE_SUFFIXES
        )


def parse_outputs(outputs: object) -> list[OutputFile]:
    """Every file of a history entry's `outputs`, in its order; one that two nodes name, once."""
    files: dict[tuple[str, str, str], OutputFile] = {}
    for node_id, kind, entries in _lists(outputs):
        for number, entry in enumerate(entries):
            file = _parse_file(node_id, kind, entry)
            if file is None and (kind == "3d" or (kind == "result" and number == 0)):
                file = _parse_model_path(node_id, entry)
            if file is not None:
                files.setdefault(file.place, file)
    return list(files.values())


def parse_texts(outputs: object) -> dict[str, list[str]]:
    """The texts of a history entry's `outputs` by node id, as PreviewAny gives them."""
    texts = {}
    for node_id, kind, entries in _lists(outputs):
        found = [entry for entry in entries if isinstance(entry, str)]
        if kind == "text" and found:
            texts[node_id] = found
    return texts


def suffix_of(filename: str) -> str:
    """The suffix of a file's name with its dot, in lower case; empty where it has none."""
    stem, dot, suffix = filename.rpartition(".")
    return f".{suffix.lower()}" if dot and stem else ""


def _lists(outputs: object) -> Iterator[tuple[str, str, list[Any]]]:
    """(node id, key, entries) of everything that is a list."""
    for node_id, kinds in outputs.items() if isinstance(outputs, dict) else ():
        for kind, entries in kinds.items() if isinstance(kinds, dict) else ():
            if isinstance(entries, (list, tuple)):
                yield str(node_id), str(kind), list(entries)


def _parse_file(node_id: str, kind: str, entry: object) -> OutputFile | None:
    filename = entry.get("filename") if isinstance(entry, dict) else None
    if not isinstance(entry, dict) or not isinstance(filename, str) or not filename:
        return None
    # Half a surrogate pair, which JSON can hold and a URL cannot, becomes a question mark.
    filename = filename.encode("utf-8", "replace").decode("utf-8")
    subfolder = as_text(entry.get("subfolder")) or ""
    # /view drops a folder in front of the name, and would serve another file or none.
    folder, _, filename = filename.replace("\\", "/").rpartition("/")
    if not filename:
        return None
    return OutputFile(
        node_id=node_id,
        kind="video" if kind == "images" and suffix_of(filename) in VIDEO_SUFFIXES else kind,
        filename=filename,
        subfolder="/".join(part for part in (subfolder.rstrip("/"), folder) if part),
        folder_type=as_text(entry.get("type")) or "output",
    )


def _parse_model_path(node_id: str, path: object) -> OutputFile | None:
    """A 3D model that is named by its path below output/, or with "[temp]" behind it.

    Below the server's own folders an absolute path is served as well.
    """
    if not isinstance(path, str):
        return None
    annotated = _ANNOTATED.fullmatch(path)
    path, folder_type = (annotated["path"], annotated["type"]) if annotated else (path, "output")
    folder, slash, filename = path.replace("\\", "/").rpartition("/")
    if suffix_of(filename) not in _MODEL_SUFFIXES:
        return None
    return OutputFile(node_id, "3d", filename, folder or slash, folder_type)
