"""What a shell offers for an argument: the names that are known without asking a server.

A completer takes what is typed so far and never fails: where there is nothing to offer, it gives
nothing.
"""

from __future__ import annotations

from collections.abc import Iterable

from image_provider import ImageGenerationError


def model_folders(prefix: str = "", **kwargs: object) -> Iterable[str]:
    """The folders under models/ that workflows load from."""
    from comfyui.model_folders import FOLDERS

    return FOLDERS


def workflow_names(prefix: str = "", **kwargs: object) -> Iterable[str]:
    """The names in the workflow folder, and files in the folder that is typed so far."""
    from argcomplete.completers import FilesCompleter

    from comfyui.library import WORKFLOW_SUFFIXES, WorkflowLibrary
    from config import Config

    files = FilesCompleter([suffix.lstrip(".") for suffix in WORKFLOW_SUFFIXES])
    try:
        library = WorkflowLibrary(Config().get_comfyui_workflow_dir())
        return [*library.names(), *files(prefix)]
    except (ImageGenerationError, OSError):
        return []


def provider_names(prefix: str = "", **kwargs: object) -> Iterable[str]:
    """The names that a request's provider may have."""
    from built_in_providers import BUILT_IN

    return [*BUILT_IN, "flux"]
