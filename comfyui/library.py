"""The folder of workflows: names → loaded workflows.

Owns where the folder is and which names may be asked for: those inside of it, unless absolute paths
are allowed. A file is read when it is asked for, so that a changed one counts at once. Knows no
server.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path, PurePosixPath, PureWindowsPath

from comfyui.object_info import ObjectInfo
from comfyui.workflow import BINDINGS_SUFFIX, Workflow
from image_provider import WorkflowError

WORKFLOW_SUFFIXES = (".json", ".png", ".webp", ".jpg", ".jpeg")
"""Of files that hold a workflow: ComfyUI writes it into the pictures that it makes, too."""

_PACKAGE_ROOT = Path(__file__).resolve().parent.parent
BUNDLED_FOLDER = _PACKAGE_ROOT / "workflows" / "comfyui"
"""The workflows that come with the library."""


class WorkflowLibrary:
    """Workflows by name, below one folder."""

    def __init__(self, folder: str | os.PathLike[str], *, allow_absolute: bool = False) -> None:
        """A relative folder is looked for here first, then beside the installed code."""
        self._folder = Path(folder)
        self.allow_absolute = allow_absolute

    @property
    def folder(self) -> Path:
        """Where the workflows are."""
        if not self._folder.is_absolute() and not self._folder.is_dir():
            installed = _PACKAGE_ROOT / self._folder
            if installed.is_dir():
                return installed
        return self._folder

    def load(self, name: str, object_info: ObjectInfo | None = None) -> Workflow:
        """The workflow of this name; raises WorkflowError with the names there are.

        Nodes of an editor file that the server lacks stay in it: whoever runs the workflow may do
        without them.
        """
        return Workflow.from_file(self._path(name), object_info, keep_unknown=True)

    def content_hash(self, name: str) -> str:
        """SHA-256 of the workflow file, in hex; raises WorkflowError when it cannot be read."""
        return self._hash(name, self._path(name))

    def bindings_hash(self, name: str) -> str | None:
        """The same of the bindings file beside it; None when there is none."""
        path = self._path(name).with_suffix(BINDINGS_SUFFIX)
        return self._hash(name, path) if path.exists() else None

    def _hash(self, name: str, path: Path) -> str:
        try:
            return hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError as error:
            raise self._refused(name, f"{path.name} cannot be read ({error.strerror})") from error

    def names(self) -> list[str]:
        """The workflow files in the folder and below, as `load` takes them."""
        folder = self.folder
        if not folder.is_dir():
            return []
        files = (path for path in folder.rglob("*") if path.suffix.lower() in WORKFLOW_SUFFIXES)
        names = (path.relative_to(folder).as_posix() for path in files)
        return sorted(name for name in names if not name.endswith(BINDINGS_SUFFIX))

    def _path(self, name: str) -> Path:
        if _is_absolute(name):
            if not self.allow_absolute:
                raise self._refused(name, "it is an absolute path, and these are not allowed")
            path = Path(name)
        else:
            path = self.folder / name
            self._refuse_outside(name, path)
        try:
            if path.is_file():
                return path
        except (OSError, ValueError) as error:
            raise self._refused(name, "no file can have this name") from error
        raise self._refused(name, "there is no such file")

    def _refuse_outside(self, name: str, path: Path) -> None:
        try:
            inside = path.resolve().is_relative_to(self.folder.resolve())
        except (OSError, ValueError, RuntimeError) as error:
            raise self._refused(name, "no file can have this name") from error
        if not inside:
            raise self._refused(name, "it leads out of the workflow folder")

    def _refused(self, name: str, why: str) -> WorkflowError:
        there = ", ".join(self.names()[:20]) or "no workflow at all"
        return WorkflowError(
            f"workflow {name!r}: {why}. The workflow folder ({self._folder}) has: {there}",
            file=name,
        )


def _is_absolute(name: str) -> bool:
    windows = PureWindowsPath(name)
    return PurePosixPath(name).is_absolute() or bool(windows.drive or windows.root)
