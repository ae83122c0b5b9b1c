"""Get and Set nodes of custom packs: a link that is not drawn, from a Set to the Gets of its name.

Facts: ComfyUI-KJNodes (web/js/setgetnodes.js) and ComfyUI-Easy-Use; both keep the name as the first
widget value.
"""

from __future__ import annotations

from comfyui.ui_format.model import Graph, Node

_SETTERS = {"GetNode": "SetNode", "easy getNode": "easy setNode"}
TYPES = frozenset({*_SETTERS, *_SETTERS.values()})


def entrance(graph: Graph, node: Node) -> Node | None:
    """The Set node that feeds a Get node."""
    setter, name = _SETTERS.get(node.type), _name(node)
    if setter is None or name is None:
        return None
    return next((n for n in graph.nodes.values() if n.type == setter and _name(n) == name), None)


def _name(node: Node) -> object:
    values = node.widgets_values
    return values[0] if isinstance(values, list) and values else None
