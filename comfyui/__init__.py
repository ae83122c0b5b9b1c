"""ComfyUI: workflows, what a server can run, and talking to it.

The names that applications use are here; each comes from its own module when first asked for, so
that importing one part does not load the others.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from comfyui.binding import BoundWorkflow
    from comfyui.object_info import ObjectInfo
    from comfyui.validation import WorkflowProblem
    from comfyui.workflow import Workflow

__all__ = ["BoundWorkflow", "ObjectInfo", "Workflow", "WorkflowProblem"]

_MODULES = {
    "BoundWorkflow": "binding",
    "ObjectInfo": "object_info",
    "Workflow": "workflow",
    "WorkflowProblem": "validation",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module 'comfyui' has no attribute {name!r}")
    return getattr(importlib.import_module(f"comfyui.{_MODULES[name]}"), name)
