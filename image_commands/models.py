"""The command `models`: the model files that the ComfyUI servers have, by folder."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from image_commands.completers import model_folders
from image_commands.servers import open_servers
from image_commands.shared import OK, add_command, add_json, completes, print_json, print_table, say
from image_config import Config
from image_provider import ImageGenerationError, InvalidRequestError

if TYPE_CHECKING:
    from rich.console import Console

    from comfyui.server import Server


def add_commands(commands: Any, common: argparse.ArgumentParser) -> None:
    """Adds `models`; `common` has the options that every command takes."""
    told = "list the model files that the ComfyUI servers have"
    models = add_command(commands, common, "models", told, "", "loras", "checkpoints --json")
    folder = models.add_argument(
        "folder",
        metavar="FOLDER",
        nargs="?",
        help="one folder under models/, such as checkpoints, diffusion_models, loras or vae",
    )
    completes(folder, model_folders)
    add_json(models)
    models.set_defaults(command=_models)


def _models(args: argparse.Namespace, console: Console) -> int:
    from comfyui.model_lists import current_name

    folder = None if args.folder is None else current_name(args.folder.strip("/"))
    with open_servers(Config()) as servers:
        found = [_asked(server, folder) for server in servers.all()]
        told = [entry for entry in found if entry["error"] is None]
        if not told:
            servers.answering()  # raises what each of them said
    if folder is not None and not any(entry["folders"] for entry in told):
        raise _no_folder(folder, told)
    if args.json:
        print_json({"servers": found})
        return OK
    for entry in found:
        if entry["error"] is not None:
            say(console, f"{entry['address']} is left out: {entry['error']}", "warning")
    _print_lists(told, folder, console)
    return OK


def _asked(server: Server, folder: str | None) -> dict[str, Any]:
    """The lists of one server, or why it does not give them."""
    from comfyui.model_lists import model_lists

    told: dict[str, Any] = {"address": str(server.client.address), "folders": {}, "error": None}
    try:
        server.stats()
        return {**told, "folders": model_lists(server, folder)}
    except ImageGenerationError as error:
        return {**told, "error": str(error)}


def _no_folder(folder: str, told: list[dict[str, Any]]) -> InvalidRequestError:
    where = ", ".join(entry["address"] for entry in told)
    return InvalidRequestError(
        f"{where}: there is no folder models/{folder}; without a folder, all of them are listed"
    )


def _print_lists(told: list[dict[str, Any]], folder: str | None, console: Console) -> None:
    """One line a file; the server stands before it where there are several."""
    rows = [
        (entry["address"], name, file)
        for entry in told
        for name, files in entry["folders"].items()
        for file in files
    ]
    if not rows:
        where = ", ".join(entry["address"] for entry in told)
        say(console, f"There is no model in models/{folder or ''} of {where}.")
    elif len(told) > 1:
        print_table(("server", "folder", "file"), rows)
    else:
        print_table(("folder", "file"), [row[1:] for row in rows])
