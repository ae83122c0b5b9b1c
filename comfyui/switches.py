"""Nodes that hand on one of their inputs: which one, as the graph stands.

Owns the switches of ComfyUI and of popular packs, by the names of their inputs, and plain
pass-through nodes. Pure. A switch whose choice is computed hands on nothing that is known here.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from comfyui.graph import Graph, Node, as_link

_BOOLEAN_SWITCHES = (
    ("switch", "on_true", "on_false"),  # ComfySwitchNode (comfy_extras/nodes_logic.py)
    ("boolean", "on_true", "on_false"),  # Switch any (Crystools), easy ifElse
    ("boolean", "true_value", "false_value"),
    ("cond", "tt_value", "ff_value"),  # ImpactConditionalBranch
)
_INDEX_SWITCHES = (
    ("select", re.compile(r"input(\d+)$")),  # ImpactSwitch
    ("index", re.compile(r"value(\d+)$")),  # easy anythingIndexSwitch
    ("Input", re.compile(r"[a-z_]+?(\d+)$")),  # CR Image Input Switch and its like (Comfyroll)
)
_PASS_THROUGH = {"Reroute": "", "PreviewAny": "source"}
_ANY = re.compile(r"any_\d+$")  # Any Switch (rgthree): the first that is connected


class Switch(NamedTuple):
    """The input by which a node chooses, and what it chooses from: input and the choosing value."""

    selector: str
    choices: dict[str, object]


def switch_of(node: Node) -> Switch | None:
    """How a node chooses between its inputs; None for one that does not."""
    inputs = node["inputs"]
    for name, when_true, when_false in _BOOLEAN_SWITCHES:
        if name in inputs and (when_true in inputs or when_false in inputs):
            pairs = ((when_true, True), (when_false, False))
            return Switch(name, {key: value for key, value in pairs if key in inputs})
    for name, pattern in _INDEX_SWITCHES:
        if name in inputs:
            found = [(key, pattern.match(key)) for key in inputs]
            numbered: dict[str, object] = {key: int(match[1]) for key, match in found if match}
            if numbered:
                return Switch(name, numbered)
    return None


def handed_on(graph: Graph, node_id: str) -> str | None:
    """The input whose value a node hands on unchanged; None when it does no such thing."""
    node = graph[node_id]
    inputs = node["inputs"]
    if node["class_type"] in _PASS_THROUGH:
        name = _PASS_THROUGH[node["class_type"]] or next(iter(inputs), "")
        return name if name in inputs else None
    if inputs and all(map(_ANY.match, inputs)):
        return next((name for name in sorted(inputs) if as_link(inputs[name]) is not None), None)
    switch = switch_of(node)
    if switch is None:
        return None
    chosen = held_value(graph, inputs[switch.selector])
    chosen = (type(chosen), chosen)  # True is no 1
    return next((key for key, v in switch.choices.items() if (type(v), v) == chosen), None)


def held_value(graph: Graph, value: object) -> object:
    """A plain value, or the one that a primitive node behind the link holds; None when computed."""
    seen: set[str] = set()
    while (link := as_link(value)) is not None:
        if link.node_id not in graph or link.node_id in seen:
            return None
        seen.add(link.node_id)
        node = graph[link.node_id]
        name = _PASS_THROUGH.get(node["class_type"], "value") or next(iter(node["inputs"]), "")
        value = node["inputs"].get(name)
    return value
