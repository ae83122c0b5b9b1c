"""The folder of workflows: names → loaded workflows.

Owns where the folder is and which names may be asked for: those inside of it, unless absolute paths
are allowed. Where it is stands in no message: whoever may name a workflow need not know. A file is
read when it is asked for, so that a changed one counts at once. Knows no server.
"""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath, PureWindowsPath

from comfyui.object_info import ObjectInfo
from comfyui.remembering import Remembered
from comfyui.workflow import BINDINGS_SUFFIX, Hashes, Workflow, WorkflowFile
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
        self._loaded = Remembered[tuple[Path, Hashes], Workflow]()

    @property
    def folder(self) -> Path:
        """Where the workflows are."""
        # With os.path, for which what may not be looked at is not there; Path would raise.
        if not self._folder.is_absolute() and not os.path.isdir(self._folder):
            installed = _PACKAGE_ROOT / self._folder
            if os.path.isdir(installed):
                return installed
        return self._folder

    def load(self, name: str, object_info: ObjectInfo | None = None) -> Workflow:
        """The workflow of this name; raises WorkflowError with the names there are.

        A name means the same on every system: those that Windows reads as a device, a stream of a
        file or another name are refused everywhere.

        Nodes of an editor file that the server lacks stay in it: whoever runs the workflow may do
        without them.
        """
        file = WorkflowFile.read(self._path(name))
        if object_info is None or _DATE in file.data:
            return file.workflow(object_info, keep_unknown=True)
        key = file.path, file.hashes
        return self._loaded.get(
            object_info, key, lambda: file.workflow(object_info, keep_unknown=True)
        )

    def hashes(self, name: str) -> Hashes:
        """Of the workflow file and its bindings file; raises WorkflowError as `load` does."""
        return WorkflowFile.read(self._path(name)).hashes

    def has(self, name: str) -> bool:
        """Whether there is such a file; for names of our own alone, since it checks none."""
        return os.path.isfile(self.folder / name)

    def names(self) -> list[str]:
        """The workflow files in the folder and below, as `load` takes them."""
        folder = self.folder
        if not os.path.isdir(folder):
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
        folder = self.folder
        path = folder / name
        self._refuse_outside(name, path, folder)
        self._existing(name, path)
        if os.path.lexists(beside := _bindings_of(path)):
            self._refuse_outside(name, beside, folder)
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

    def _refuse_outside(self, name: str, path: Path, folder: Path) -> None:
        try:
            # Both at half the cost of `Path.resolve`, which each look into the cache waits for.
            inside = Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))
        except (OSError, ValueError) as error:
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


_DATE = b"%date:"
"""Stands in editor files for the time at which they are converted."""
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
