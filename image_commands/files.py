"""What commands read and write: workflow files, folders, and files put in place whole.

Owns the names that a user may give for a workflow. Knows no command.
"""

from __future__ import annotations

import os
from pathlib import Path

from comfyui.library import WorkflowLibrary
from comfyui.object_info import ObjectInfo
from comfyui.workflow import Workflow
from image_config import Config
from image_provider import ConfigurationError, ImageProvider, WorkflowError

FILE_HELP = "a file of yours, or a name in the workflow folder"


def load_workflow(file: str, info: ObjectInfo | None) -> Workflow:
    """The caller's own file, else the one of that name in the workflow folder."""
    if os.path.exists(file):  # not Path's own, which raises for a name that is too long
        return Workflow.from_file(file, info)
    library = WorkflowLibrary(Config().get_comfyui_workflow_dir())
    name, names = Path(file).as_posix(), library.names()
    if name in names:
        return library.load(name, info)
    raise WorkflowError(
        f"workflow {file}: there is no such file, and none of that name in the workflow folder "
        f"({library.folder}), which has: {', '.join(names[:20]) or 'no workflow at all'}",
        file=file,
    )


def own_workflow(name: str, comfyui: ImageProvider) -> str:
    """The whole path of a file that is there; any other name is one in the workflow folder."""
    from comfyui_provider import ComfyUIProvider

    assert isinstance(comfyui, ComfyUIProvider)
    comfyui.library.allow_absolute = True  # who types a path may read it
    return os.path.abspath(name) if os.path.isfile(name) else name


def writable_folder(folder: str) -> Path:
    """The folder for the pictures; made now, so that none is made that cannot be kept."""
    path = Path(folder)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"{folder} cannot be made a folder: {error.strerror}; choose another with -o"
        ) from error
    return path


def write_whole(file: str, text: str) -> None:
    """`put_whole` of a text, for a file that is named on the command line.

    Raises ConfigurationError when it cannot be written, ValueError for an empty name.
    """
    if not file:
        raise ValueError("the file to write has no name; give one")
    try:
        put_whole(Path(file), encoded(text))
    except OSError as error:
        raise ConfigurationError(
            f"{file} cannot be written: {error.strerror or error}; give the name of a file in a "
            "folder that is there and can be written to"
        ) from error


def encoded(text: str) -> bytes:
    """UTF-8; half a surrogate pair, which that lacks, is written as JSON writes it."""
    return text.encode("utf-8", "backslashreplace")


def put_whole(path: Path, data: bytes) -> None:
    """Puts a whole file in place, or none; raises OSError when it cannot."""
    if path.is_symlink() or (path.exists() and not path.is_file()):
        path.write_bytes(data)  # nobody wants /dev/stdout to become a file
        return
    draft = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        draft.write_bytes(data)
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)
