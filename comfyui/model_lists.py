"""The model files of a server, by the folder under models/ that they are in.

Owns where the lists come from: the server's own, else what its loaders offer. Knows no workflow.
"""

from __future__ import annotations

from comfyui.object_info import ObjectInfo
from comfyui.repeating import repeated
from comfyui.server import Server

_NO_MODELS = frozenset({"custom_nodes"})
"""What /models lists besides (folder_paths.py)."""
_OLD_NAMES = {"unet": "diffusion_models", "clip": "text_encoders"}
"""Names that folders had before, which they may still have on the disk (folder_paths.py)."""


def current_name(folder: str) -> str:
    """What the server calls a folder: `unet` is diffusion_models."""
    return _OLD_NAMES.get(folder, folder)


def model_lists(server: Server, folder: str | None = None) -> dict[str, list[str]]:
    """The file names of every folder, or of one; {} when there is no such folder.

    Raises ImageGenerationError when the server does not tell.
    """
    client = server.client
    folders = repeated(client.model_folders, client, times=2)
    if not folders:
        return _chosen(_lists_of_loaders(server.object_info()), folder)
    wanted = [name for name in folders if name not in _NO_MODELS and folder in (None, name)]
    return {name: sorted(client.models(name)) for name in sorted(wanted)}


def _chosen(lists: dict[str, list[str]], folder: str | None) -> dict[str, list[str]]:
    return {name: files for name, files in lists.items() if folder in (None, name)}


def _lists_of_loaders(info: ObjectInfo) -> dict[str, list[str]]:
    """The files that the inputs of all loaders offer, by folder."""
    found: dict[str, set[str]] = {}
    for node in info.values():
        for entry in node.inputs.values():
            if entry.model_folder is not None:
                options = found.setdefault(entry.model_folder, set())
                options.update(value for value in entry.options or () if isinstance(value, str))
    return {name: sorted(files) for name, files in sorted(found.items())}
