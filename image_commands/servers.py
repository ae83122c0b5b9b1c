"""What a server can run, as the commands are told it: by a server, or by a saved answer of one.

Owns the options --server and --object-info, and what a workflow lacks by such an answer. Generates
nothing and sends no job.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from comfyui.graph import Graph
from comfyui.object_info import ObjectInfo
from comfyui.replacements import Replacements, lacks_classes, read_replacements
from comfyui.survey import structural_problems
from comfyui.validation import WorkflowProblem
from comfyui.workflow import Workflow
from image_config import Config
from image_provider import ConfigurationError, WorkflowError

if TYPE_CHECKING:
    from comfyui.server import Server
    from comfyui.servers import Servers

_Answer = TypeVar("_Answer")

_SAVE_IT = "save the answer of http://SERVER/object_info there"


def add_server_options(parser: argparse.ArgumentParser) -> None:
    """The options that say whom to ask; without one nobody is asked."""
    known = parser.add_mutually_exclusive_group()
    known.add_argument(
        "--server",
        action="store_true",
        help="ask the ComfyUI at COMFYUI_SERVER_ADDRESS what it can run",
    )
    known.add_argument(
        "--object-info", metavar="F", help="take that from a saved answer of /object_info instead"
    )


def known_classes(args: argparse.Namespace) -> ObjectInfo | None:
    """What a server can run, from where the options say; None when they say nothing."""
    if args.server:
        return _ask_server(lambda server: server.object_info())
    if args.object_info is None:
        return None
    name = args.object_info
    try:
        return ObjectInfo.from_dict(json.loads(Path(name).read_bytes()))
    except OSError as error:
        raise ConfigurationError(
            f"{name} cannot be read: {error.strerror or error}; {_SAVE_IT}"
        ) from error
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"{name} is not JSON ({error}); {_SAVE_IT}") from error
    except WorkflowError as error:
        raise ConfigurationError(f"{name} cannot be used: {error}") from error


def known_replacements(
    args: argparse.Namespace, graph: Graph, info: ObjectInfo | None
) -> Replacements:
    """What the server that was asked replaces itself; nothing where nobody asked one."""
    if info is None or not args.server or not lacks_classes(graph, info):
        return {}
    return read_replacements(_ask_server(lambda server: server.client.node_replacements()), info)


def problems_of(
    workflow: Workflow, info: ObjectInfo | None, replaced: Replacements
) -> list[WorkflowProblem]:
    """What keeps a workflow from running: on that server, or anywhere when none is known."""
    if info is None:
        return structural_problems(workflow.graph)
    return workflow.validate(info, replaced)


def without_missing(
    graph: Graph, workflow: Workflow, info: ObjectInfo | None, replaced: Replacements
) -> tuple[Graph, list[str]]:
    """The graph without the nodes that the server lacks, and a sentence for each of them."""
    if info is None:
        return graph, []
    from comfyui.fitting import do_without_missing

    name = workflow.source or "given"
    return do_without_missing(graph, info, "bypass", name, replaced)


def _ask_server(ask: Callable[[Server], _Answer]) -> _Answer:
    with open_servers(Config()) as servers:
        return ask(servers.pick())


@contextmanager
def open_servers(config: Config, longest: float | None = None) -> Iterator[Servers]:
    """The servers of the settings; none is asked for longer than `longest` seconds."""
    from comfyui.client import ComfyUIClient, Limits
    from comfyui.servers import Servers

    connect = config.get_seconds("COMFYUI_CONNECT_TIMEOUT")
    limits = Limits(
        connect=connect if longest is None else min(connect, longest),
        read=config.get_seconds("COMFYUI_READ_TIMEOUT"),
    )
    servers = Servers(
        config.get_comfyui_server_address(),
        config.get("COMFYUI_API_KEY"),
        lambda address: ComfyUIClient(address, config.get_comfyui_client_id(), limits),
        config.get("COMFYUI_CA_BUNDLE"),
    )
    try:
        yield servers
    finally:
        servers.close()
