"""What `check` tells of a server, and of a workflow on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from comfyui.server import Server
from comfyui.validation import WorkflowProblem
from comfyui.versions import version_notes
from comfyui.workflow import Workflow


@dataclass(frozen=True)
class ServerStatus:
    """A server that answers; `devices` are its own words, `problems` those of a workflow on it.

    `notes` tell what its version means for jobs there.
    """

    address: str
    version: str | None
    devices: tuple[str, ...]
    queue_length: int
    is_embedded: bool = False
    problems: tuple[WorkflowProblem, ...] = ()
    notes: tuple[str, ...] = ()


def server_status(server: Server, workflow: Workflow | None = None) -> ServerStatus:
    """Asks a server how it is; raises ImageGenerationError when it cannot be used."""
    stats = server.stats()
    version = stats["system"].get("comfyui_version")
    problems: list[WorkflowProblem] = []
    if workflow is not None:
        info = server.object_info(fresh=True)
        problems = workflow.validate(info, server.replacements(workflow.graph))
    return ServerStatus(
        address=str(server.client.address),
        version=version if isinstance(version, str) else None,
        devices=_device_names(stats.get("devices")),
        queue_length=server.client.queue_length(),
        is_embedded=server.is_embedded,
        problems=tuple(problems),
        # The embedded server says that it is 0.26.0, and has none of the faults.
        notes=() if server.is_embedded else tuple(version_notes(version)),
    )


def _device_names(devices: Any) -> tuple[str, ...]:
    entries = devices if isinstance(devices, list) else []
    return tuple(str(entry.get("name")) for entry in entries if isinstance(entry, dict))
