"""What a shell offers for an argument: the names that are known without asking a server.

A completer takes what is typed so far and never fails: where there is nothing to offer, it gives
nothing.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Container, Iterable, Iterator

from image_provider import ImageGenerationError

_ANY = ()


def by_name(prefix: str, action: argparse.Action, **kwargs: object) -> Iterable[str]:
    """For an argument without a completer of its own: by what its help calls it.

    Nothing for numbers, and for texts that only the user knows.
    """
    if action.metavar in ("FILE", "F", "OUT"):
        return files(prefix)
    return folders(prefix) if action.metavar == "DIR" else ()


def files(prefix: str = "", **kwargs: object) -> Iterable[str]:
    """The files and folders that begin with what is typed so far."""
    return _entries(prefix, _ANY)


def folders(prefix: str = "", **kwargs: object) -> Iterable[str]:
    """The folders that do."""
    return (entry for entry in _entries(prefix, _ANY) if entry.endswith("/"))


def _entries(prefix: str, suffixes: Container[str]) -> Iterator[str]:
    """Those of the suffixes, or all; a folder ends with a slash, so that what is in it comes next.

    Files with a dot before their name are hidden until one is typed; a ~ stays as it was typed.
    """
    above = prefix[: prefix.rfind("/") + 1]
    try:
        found = sorted(os.scandir(os.path.expanduser(above) or "."), key=lambda entry: entry.name)
    except OSError:
        return
    for entry in found:
        name = above + entry.name
        if not name.startswith(prefix) or (entry.name.startswith(".") and prefix == above):
            continue
        if entry.is_dir():
            yield f"{name}/"
        elif not suffixes or os.path.splitext(name)[1].lower() in suffixes:
            yield name


def model_folders(prefix: str = "", **kwargs: object) -> Iterable[str]:
    """The folders under models/ that workflows load from."""
    from comfyui.model_folders import FOLDERS

    return FOLDERS


def workflow_names(prefix: str = "", **kwargs: object) -> Iterable[str]:
    """The names in the workflow folder, and files that can hold a workflow."""
    from comfyui.library import WORKFLOW_SUFFIXES, WorkflowLibrary
    from image_config import Config

    try:
        names = WorkflowLibrary(Config().get_comfyui_workflow_dir()).names()
    except (ImageGenerationError, OSError):
        names = []
    return [*names, *_entries(prefix, WORKFLOW_SUFFIXES)]


def provider_names(prefix: str = "", **kwargs: object) -> Iterable[str]:
    """The names that a request's provider may have."""
    from image_routing.built_in import BUILT_IN

    return [*BUILT_IN, "flux"]


def style_names(prefix: str = "", **kwargs: object) -> Iterable[str]:
    """The styles, those of the user's own file too."""
    from image_config import Config
    from style_files import load_styles

    try:
        return load_styles(Config().get_image_style_templates()).names
    except ImageGenerationError:
        return ()
