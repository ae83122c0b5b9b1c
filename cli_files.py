"""What commands read and write: workflow files, what a server can run, files put in place whole.

Owns the options that say where the server's node classes come from, and the names that a user may
give for a workflow. Knows no command.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

from comfyui.library import WorkflowLibrary
from comfyui.object_info import ObjectInfo
from comfyui.workflow import Workflow
from config import Config
from image_provider import ConfigurationError, WorkflowError

FILE_HELP = "a file of yours, or a name in the workflow folder"


def add_info_options(parser: argparse.ArgumentParser) -> None:
    """Adds `--server` and `--object-info`."""
    known = parser.add_mutually_exclusive_group()
    known.add_argument(
        "--server",
        action="store_true",
        help="ask the ComfyUI at COMFYUI_SERVER_ADDRESS what it can run",
    )
    known.add_argument(
        "--object-info", metavar="F", help="take that from a saved answer of /object_info instead"
    )


def object_info(args: argparse.Namespace) -> ObjectInfo | None:
    """What a server can run, from where the options say; None when they say nothing."""
    if args.server:
        return _ask_server()
    if args.object_info is None:
        return None
    name = args.object_info
    try:
        return ObjectInfo.from_dict(json.loads(Path(name).read_bytes()))
    except OSError as error:
        raise ConfigurationError(f"{name} cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(
            f"{name} is not JSON ({error}); save the answer of http://SERVER/object_info there"
        ) from error
    except WorkflowError as error:
        raise ConfigurationError(f"{name} cannot be used: {error}") from error


def _ask_server() -> ObjectInfo:
    from comfyui.client import ComfyUIClient, Limits
    from comfyui.servers import Servers

    config = Config()
    limits = Limits(
        connect=config.get_seconds("COMFYUI_CONNECT_TIMEOUT"),
        read=config.get_seconds("COMFYUI_READ_TIMEOUT"),
    )
    servers = Servers(
        config.get_comfyui_server_address(),
        config.get("COMFYUI_API_KEY"),
        lambda address: ComfyUIClient(address, config.get_comfyui_client_id(), limits),
    )
    try:
        return servers.pick().object_info()
    finally:
        servers.close()


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


def write_whole(file: str, text: str) -> None:
    """Puts a whole file in place, or none; raises ConfigurationError when it cannot."""
    path = Path(file)
    draft = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        try:
            # Half a surrogate pair, which UTF-8 lacks, is written as JSON writes it.
            draft.write_text(text, encoding="utf-8", errors="backslashreplace", newline="\n")
            os.replace(draft, path)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be written: {error.strerror or error}") from error
