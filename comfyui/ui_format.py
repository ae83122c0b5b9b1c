"""The editor's own format (UI format): recognised, and not yet turned into API format.

Owns what tells the two formats apart. A UI file is refused with the way to export it: its widget
values have no names, and guessing them would run something else than the editor shows.
"""

from __future__ import annotations

from typing import Any

from comfyui.graph import Graph
from comfyui.object_info import ObjectInfo
from image_provider import WorkflowError


def is_ui_format(document: dict[str, Any]) -> bool:
    """True for what the editor saves: a list of nodes beside a list of links."""
    return isinstance(document.get("nodes"), list) and "class_type" not in document


def convert(document: dict[str, Any], object_info: ObjectInfo | None) -> Graph:
    """The API-format graph of an editor file; for now always a WorkflowError with the way out."""
    raise WorkflowError(
        "it is in the editor's UI format, which cannot be queued as it is. In ComfyUI, open it and "
        "choose Workflow > Export (API), then use that file"
    )
