"""The editor's own format (UI format) to API format, exactly as the official editor exports it.

`opening` makes of a saved file what the editor has in hand after loading it, `exporting` writes
that as API format. Pure: no files, no sockets. The editor is ComfyUI_frontend; where its
generations differ, the one that goes with the server's object_info is followed.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from comfyui.graph import Graph
from comfyui.object_info import ObjectInfo
from comfyui.ui_format.exporting import export
from comfyui.ui_format.opening import open_document
from comfyui.ui_format.saved import is_ui_format

__all__ = ["convert", "is_ui_format"]


def convert(
    document: Mapping[str, Any],
    object_info: ObjectInfo | None,
    now: datetime | None = None,
    *,
    keep_unknown: bool = False,
) -> Graph:
    """The API-format graph of an editor file.

    Without `object_info` only what the file alone tells is converted. `now` is the time that
    %date:…% in file names stands for; `keep_unknown` leaves nodes that the server lacks in the
    graph. Raises WorkflowError naming the nodes for what cannot be converted.
    """
    info = ObjectInfo({}) if object_info is None else object_info
    return export(open_document(document, info, now), keep_unknown=keep_unknown)
