"""What `doctor` finds out from the ComfyUI servers: who answers, and which workflows run there.

Owns the questions and plain data for the answers. Sends no job.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from comfyui.choosing import Choice, WorkflowChooser
from comfyui.fitting import Fit, Rank, fit_of, fit_of_error
from comfyui.graph import Graph
from comfyui.library import BUNDLED_FOLDER, WorkflowLibrary
from comfyui.model_folders import model_folder
from comfyui.node_packs import pack_of_node
from comfyui.object_info import ObjectInfo
from comfyui.replacements import Replacements
from comfyui.server import Server
from comfyui.status import ServerStatus, server_status
from comfyui.validation import WorkflowProblem
from comfyui.workflow import Workflow
from image_config import Config
from image_provider import ImageGenerationError, ImageGenerationRequest, WorkflowError


@dataclass(frozen=True)
class Examined:
    """A server with how it is and what it can run, or the error that keeps it from being used."""

    server: Server
    status: ServerStatus | None = None
    info: ObjectInfo | None = None
    error: ImageGenerationError | None = None

    @property
    def address(self) -> str:
        return str(self.server.client.address)

    def plain(self) -> dict[str, Any]:
        """All of it but the classes, as plain data."""
        told = self.status
        return {
            "address": self.address,
            "reachable": told is not None,
            "version": told and told.version,
            "is_embedded": told is not None and told.is_embedded,
            "devices": list(told.devices) if told else [],
            "queue_length": told and told.queue_length,
            "notes": list(told.notes) if told else [],
            "error": None if self.error is None else str(self.error),
        }


def examine(servers: list[Server]) -> list[Examined]:
    """Asks all of them at once, so that several that are away cost the time of one."""
    with ThreadPoolExecutor(max_workers=max(1, len(servers))) as pool:
        return list(pool.map(_examine, servers))


def _examine(server: Server) -> Examined:
    try:
        return Examined(server, server_status(server), server.object_info())
    except ImageGenerationError as error:
        return Examined(server, error=error)


def chooser_of(config: Config) -> WorkflowChooser:
    """Chooses workflows as the provider that these settings build."""
    configured = {
        "t2i": config.get_changed("COMFYUI_DEFAULT_WORKFLOW"),
        "i2i": config.get_changed("COMFYUI_I2I_WORKFLOW"),
        "inpaint": config.get_changed("COMFYUI_INPAINT_WORKFLOW"),
    }
    library = WorkflowLibrary(config.get_comfyui_workflow_dir())
    return WorkflowChooser(library, {mode: name for mode, name in configured.items() if name})


def default_on(
    examined: Examined, chooser: WorkflowChooser, request: ImageGenerationRequest
) -> tuple[Choice | None, Fit]:
    """What a server would make of a request, and how that fits.

    None for the choice when the server has the models of no family. Raises WorkflowError for a
    workflow that cannot be read.
    """
    assert examined.info is not None
    try:
        choice = chooser.choose(request, examined.info)
    except WorkflowError as error:
        if not error.problems:
            raise
        return None, fit_of_error(error)
    try:
        asked = replace(request, model=choice.model)
        graph = choice.workflow.bind(asked, examined.info).graph
        fit = _fit(choice.name, graph, examined.info, examined.server.replacements(graph))
    except WorkflowError as error:
        return choice, fit_of_error(error)
    return choice, fit


def workflows(config: Config, servers: list[Examined]) -> list[dict[str, Any]]:
    """Each bundled workflow and each of the user's own, with what every server lacks for it."""
    own = WorkflowLibrary(config.get_comfyui_workflow_dir())
    libraries = {"own": own}
    if own.folder.resolve() == BUNDLED_FOLDER.resolve():
        libraries = {"bundled": own}
    else:
        libraries["bundled"] = WorkflowLibrary(BUNDLED_FOLDER)
    return [
        {"name": name, "from": origin, **_looked_into(library, name, servers)}
        for origin, library in libraries.items()
        for name in library.names()
    ]


def _looked_into(library: WorkflowLibrary, name: str, servers: list[Examined]) -> dict[str, Any]:
    """Why a file cannot be read, or how it fits each server that answers."""
    answering = [examined for examined in servers if examined.info is not None]
    try:
        if not answering:
            library.load(name)
        on = [_on_server(library, name, examined) for examined in answering]
    except ImageGenerationError as error:
        return {"error": str(error), "servers": []}
    return {"error": None, "servers": on}


def _on_server(library: WorkflowLibrary, name: str, examined: Examined) -> dict[str, Any]:
    assert examined.info is not None
    workflow = library.load(name, examined.info)
    graph, replaced = workflow.graph, examined.server.replacements(workflow.graph)
    problems = workflow.validate(examined.info, replaced)
    fit = _fit(name, graph, examined.info, replaced)
    return {
        "server": examined.address,
        "runs": fit.rank is not Rank.NOT,
        "missing_models": list(_missing_models(graph, problems)),
        "missing_nodes": list(_missing_nodes(graph, problems)),
        "lacks": list(fit.lacks),
    }


def _fit(name: str, graph: Graph, info: ObjectInfo, replaced: Replacements) -> Fit:
    """How it fits when a request brings the pictures that the file names."""
    problems = Workflow(graph).validate(info, replaced)
    brought = {(p.node_id, p.input_name) for p in problems if p.kind == "missing_file"}
    return fit_of(graph, info, replaced, "bypass", name, brought)


def _missing_models(graph: Graph, problems: list[WorkflowProblem]) -> Iterator[dict[str, Any]]:
    for problem in problems:
        if problem.kind == "missing_model" and problem.node_id and problem.input_name:
            node = graph[problem.node_id]
            folder = model_folder(node["class_type"], problem.input_name)
            yield {"file": str(node["inputs"][problem.input_name]), "folder": folder}


def _missing_nodes(graph: Graph, problems: list[WorkflowProblem]) -> Iterator[dict[str, Any]]:
    found = {
        graph[problem.node_id]["class_type"]: pack_of_node(graph[problem.node_id])
        for problem in problems
        if problem.kind == "unknown_node" and problem.node_id
    }
    for class_type, pack in found.items():
        yield {"class_type": class_type, "pack": pack}
