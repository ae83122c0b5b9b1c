"""A posted graph: links, the order in which nodes run, and the keys of their cached results.

Pure. The order is the one ComfyUI shows (comfy_execution/graph.py of 0.3.64 and every
recording): nodes become known depth-first from the outputs, and among those that are ready one
close to an output goes first. Does not run anything.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any, TypedDict


class GraphNode(TypedDict):
    """A node of an API-format graph."""

    class_type: str
    inputs: dict[str, Any]


Graph = dict[str, GraphNode]


def is_link(value: object) -> bool:
    """Whether an input is [node id, slot] and not a plain value."""
    return (
        isinstance(value, list)
        and len(value) == 2
        and isinstance(value[0], str)
        and isinstance(value[1], (int, float))
    )


class ExecutionOrder:
    """Hands out the nodes that the wanted outputs need, one at a time, in ComfyUI's order."""

    def __init__(
        self,
        graph: Graph,
        is_cached: Callable[[str], bool],
        is_output: Callable[[str], bool],
    ) -> None:
        self._graph = graph
        self._is_cached = is_cached
        self._is_output = is_output
        self._waits_for: dict[str, set[str]] = {}
        self._needed_by: dict[str, list[str]] = {}

    def add_output(self, node_id: str) -> None:
        """Add an output node and everything upstream of it that is not cached."""
        stack = [node_id]
        links: list[tuple[str, str]] = []
        while stack:
            current = stack.pop()
            if current in self._waits_for:
                continue
            self._waits_for[current] = set()
            self._needed_by[current] = []
            for value in self._graph[current]["inputs"].values():
                if is_link(value) and not self._is_cached(value[0]):
                    stack.append(value[0])
                    links.append((value[0], current))
        for source, target in links:
            if source not in self._waits_for[target]:
                self._waits_for[target].add(source)
                self._needed_by[source].append(target)

    def next_node(self) -> str | None:
        """The node to run now, None when all are done; call `done` before asking again."""
        ready = [node_id for node_id, sources in self._waits_for.items() if not sources]
        return self._pick(ready) if ready else None

    def done(self, node_id: str) -> None:
        """Take a node out and free those that waited for it."""
        del self._waits_for[node_id]
        for target in self._needed_by.pop(node_id):
            self._waits_for[target].discard(node_id)

    def _pick(self, ready: list[str]) -> str:
        for distance in range(3):
            for node_id in ready:
                if self._reaches_output(node_id, distance):
                    return node_id
        return ready[0]

    def _reaches_output(self, node_id: str, distance: int) -> bool:
        if distance == 0:
            return self._is_output(node_id)
        return any(self._reaches_output(n, distance - 1) for n in self._needed_by[node_id])


def cache_keys(graph: Graph, fingerprint: Callable[[GraphNode], str]) -> dict[str, str]:
    """For each node a key that is equal when its class, its inputs and all upstream are equal.

    `fingerprint` adds what a node reads from outside the graph (the bytes of a file).
    """
    keys: dict[str, str] = {}

    def key_of(node_id: str) -> str:
        if node_id not in keys:
            keys[node_id] = ""  # a cycle ends here; such a graph never runs
            keys[node_id] = _digest(graph[node_id])
        return keys[node_id]

    def _digest(node: GraphNode) -> str:
        inputs: list[object] = [
            [name, "link", key_of(value[0]), value[1]]
            if is_link(value) and value[0] in graph
            else [name, value]
            for name, value in sorted(node["inputs"].items())
        ]
        text = json.dumps([node["class_type"], fingerprint(node), inputs])
        return hashlib.sha256(text.encode()).hexdigest()

    for node_id, node in graph.items():
        if "inputs" in node:
            key_of(node_id)
    return keys
