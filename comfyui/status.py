"""What `check` tells of a server, and of a workflow on it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from comfyui.servers import Server
from comfyui.validation import WorkflowProblem
from comfyui.workflow import Workflow

_TESTED = ("0.3.64", "0.26.0")
"""The oldest and the newest ComfyUI that this was tried with."""
_KEEPS_PROMPT_IDS = "0.3.45"
"""The first ComfyUI that keeps the prompt id which a client chose (server.py)."""


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
        notes=tuple(version_notes(version)),
    )


def version_notes(version: object) -> Iterator[str]:
    """What a person should know of a server of this version; nothing of a version as tested."""
    number = _number(version)
    if number is None:
        yield "it does not tell its version, as servers before 2025 do not: some of this is untried"
    elif number < _parts(_KEEPS_PROMPT_IDS):
        yield (
            f"ComfyUI {version} chooses prompt ids itself: when the answer to a job is lost on the "
            f"way, that job cannot be found again; update it to {_KEEPS_PROMPT_IDS} or newer"
        )
    elif number < _parts(_TESTED[0]):
        yield f"ComfyUI {version} is older than what was tested ({_TESTED[0]} to {_TESTED[1]})"
    elif number > _parts(_TESTED[1]):
        yield f"ComfyUI {version} is newer than what was tested ({_TESTED[0]} to {_TESTED[1]})"


def _number(version: object) -> tuple[int, ...] | None:
    """0.3.64, v0.3.64-1-gabc → (0, 3, 64); None for what is no version."""
    match = re.match(r"v?(\d{1,6})\.(\d{1,6})(?:\.(\d{1,6}))?", str(version))
    return tuple(int(part or 0) for part in match.groups()) if match is not None else None


def _parts(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def _device_names(devices: Any) -> tuple[str, ...]:
    entries = devices if isinstance(devices, list) else []
    return tuple(str(entry.get("name")) for entry in entries if isinstance(entry, dict))
