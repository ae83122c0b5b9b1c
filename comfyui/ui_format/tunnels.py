"""Get and Set nodes of custom packs: a link that is not drawn, from a Set to the Gets of its name.

Facts: ComfyUI-KJNodes (web/js/setgetnodes.js) and ComfyUI-Easy-Use; both keep the name as the first
widget value.
"""

from __future__ import annotations

from comfyui.ui_format.model import Graph, Node

_SETTERS = {"GetNode": "SetNode", "easy getNode": "easy setNode"}
TYPES = frozenset({*_SETTERS, *_SETTERS.values()})


def entrance(graph: Graph, node: Node) -> Node | None:
    """The Set node of this level that feeds a Get node."""
    setter, name = _SETTERS.get(node.type), _name(node)
    if setter is None or name is None:
        return None
    return _setters(graph).get((setter, name))


def _setters(graph: Graph) -> dict[tuple[str, str], Node]:
    if graph.tunnels is None:
        graph.tunnels = {}
        for node in graph.nodes.values():
            name = _name(node) if node.type in TYPES else None
            if name is not None:
                graph.tunnels.setdefault((node.type, name), node)
    return graph.tunnels


def _name(node: Node) -> str | None:
    values = node.widgets_values
    name = values[0] if isinstance(values, list) and values else None
    return name if isinstance(name, str) else None
