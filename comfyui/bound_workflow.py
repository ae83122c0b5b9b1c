"""What binding gives: a graph with a request's values in it, and where each of them went and why.

Owns these values alone; the rules are in `comfyui/binding.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from comfyui.following import Spot
from comfyui.graph import Graph


@dataclass(frozen=True)
class Binding:
    """A value and the input it was written to; `parameter` is the request's field name."""

    parameter: str
    node_id: str
    class_type: str
    input_name: str
    value: Any
    reason: str


@dataclass(frozen=True)
class Ignored:
    """A parameter that found no place, and why.

    `is_overruled` where there is one, which something else of the request or its workflow sets.
    """

    parameter: str
    reason: str
    is_overruled: bool = False


@dataclass
class BoundWorkflow:
    """A graph with a request's values in it."""

    graph: Graph
    bindings: list[Binding] = field(default_factory=list)
    ignored: list[Ignored] = field(default_factory=list)

    def ignore(self, parameter: str, reason: str, is_overruled: bool = False) -> None:
        """Notes that a parameter found no place."""
        self.ignored.append(Ignored(parameter, reason, is_overruled))

    def note(self, parameter: str, spot: Spot, value: Any) -> None:
        """Notes where a parameter went."""
        class_type = self.graph[spot.node_id]["class_type"]
        place = (spot.node_id, class_type, spot.input_name)
        self.bindings.append(Binding(parameter, *place, value, str(spot.path)))

    def write(self, parameter: str, spot: Spot, value: Any) -> None:
        """Sets one input and notes it."""
        self.graph[spot.node_id]["inputs"][spot.input_name] = value
        self.note(parameter, spot, value)
