"""Classes of nodes that a server replaces by others when they are queued.

Owns what GET /node_replacements means for a graph. Facts (ComfyUI, app/node_replace_manager.py): a
class is replaced where the server lacks it and has the first of its replacements; the inputs are
mapped by the server. Older servers have no such thing. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping

from comfyui.graph import Graph, described, title_of
from comfyui.object_info import ObjectInfo

Replacements = Mapping[str, str]
"""The class that takes the place of one that the server lacks, by that one's name."""


def lacks_classes(graph: Graph, object_info: ObjectInfo) -> bool:
    """Whether there is anything to replace."""
    return any(node["class_type"] not in object_info for node in graph.values())


def read_replacements(data: object, object_info: ObjectInfo) -> Replacements:
    """The answer of /node_replacements as parsed JSON; what is not understood replaces nothing."""
    found = {}
    for old, entries in data.items() if isinstance(data, Mapping) else ():
        first = entries[0] if isinstance(entries, list) and entries else None
        new = first.get("new_node_id") if isinstance(first, Mapping) else None
        if isinstance(new, str) and new in object_info and old not in object_info:
            found[old] = new
    return found


def left_to_server(graph: Graph, replacements: Replacements) -> dict[str, str]:
    """The nodes that the server replaces, each with a sentence that tells so."""
    told = {}
    for node_id, node in graph.items():
        class_type = node["class_type"]
        if class_type in replacements:
            name = described(node_id, class_type, title_of(node))
            told[node_id] = f"{name}: the server replaces it by {replacements[class_type]}"
    return told
