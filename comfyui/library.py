"""The folder of workflows: names → loaded workflows.

Owns where the folder is and which names may be asked for: those inside of it, unless absolute paths
are allowed. Where it is stands in no message: whoever may name a workflow need not know. A file is
read when it is asked for, so that a changed one counts at once. Knows no server.
"""

from __future__ import annotations

import hashlib
import os
import re
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

        A name means the same on every system: those that Windows reads as a device, a stream of a
        file or another name are refused everywhere.

        Nodes of an editor file that the server lacks stay in it: whoever runs the workflow may do
        without them.
        """
        return Workflow.from_file(self._path(name), object_info, keep_unknown=True)

    def content_hash(self, name: str) -> str:
        """SHA-256 of the workflow file, in hex; raises WorkflowError when it cannot be read."""
        return self._hash(name, self._path(name))

    def bindings_hash(self, name: str) -> str | None:
        """The same of the bindings file beside it; None when there is none."""
        path = _bindings_of(self._path(name))
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
        if not _is_absolute(name):
            return self._confined(name)
        if not self.allow_absolute:
            raise self._refused(name, "it is an absolute path, and these are not allowed")
        return self._existing(name, Path(name))

    def _confined(self, name: str) -> Path:
        self._refuse_by_itself(name)
        path = self.folder / name
        self._refuse_outside(name, path)
        self._existing(name, path)
        self._refuse_outside(name, _bindings_of(path))
        return path

    def _existing(self, name: str, path: Path) -> Path:
        try:
            if path.is_file():
                return path
        except (OSError, ValueError) as error:
            raise self._refused(name, _NO_NAME) from error
        raise self._refused(name, "there is no such file")

    def _refuse_by_itself(self, name: str) -> None:
        """Raises WorkflowError for a name that is none on some system, or goes up too far."""
        depth = 0
        for part in re.split(r"[/\\]", name):
            depth += -1 if part == ".." else 1 if part not in ("", ".") else 0
            if depth < 0:  # were it followed, one could learn which folders there are
                raise self._refused(name, _LEADS_OUT)
            if not part.isprintable():
                raise self._refused(name, _NO_NAME)
            if _is_windows_only(part):
                raise self._refused(
                    name, f"{_NO_NAME}: on Windows {_shown(part)} is something else"
                )

    def _refuse_outside(self, name: str, path: Path) -> None:
        try:
            inside = path.resolve().is_relative_to(self.folder.resolve())
        except (OSError, ValueError, RuntimeError) as error:
            raise self._refused(name, _NO_NAME) from error
        if not inside:
            raise self._refused(name, _LEADS_OUT)

    def _refused(self, name: str, why: str) -> WorkflowError:
        there = ", ".join(self.names()[:20]) or "no workflow at all"
        return WorkflowError(
            f"workflow {_shown(name)}: {why}. The workflow folder has: {there}",
            file=name,
            detail=f"the workflow folder is {self.folder}",
        )


_NO_NAME = "no file can have this name"
_LEADS_OUT = "it leads out of the workflow folder"
_LONGEST_SHOWN = 200
_DEVICE = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³]) *", re.IGNORECASE)
"""Reserved names of Windows; each is one with any suffix, too."""


def _is_windows_only(part: str) -> bool:
    """Whether Windows takes this part of a name for a device, a stream or another name."""
    if part in ("", ".", ".."):
        return False
    return ":" in part or part[-1] in ". " or _DEVICE.fullmatch(part.split(".")[0]) is not None


def _shown(name: str) -> str:
    return repr(name if len(name) <= _LONGEST_SHOWN else f"{name[:_LONGEST_SHOWN]}…")


def _bindings_of(path: Path) -> Path:
    return path.with_suffix(BINDINGS_SUFFIX)


def _is_absolute(name: str) -> bool:
    windows = PureWindowsPath(name)
    return PurePosixPath(name).is_absolute() or bool(windows.drive or windows.root)
