"""Cycles in a directed graph: pure, iterative, of no particular kind of node."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence


def find_cycles(edges: Mapping[str, Sequence[str]]) -> list[list[str]]:
    """Cycles as the nodes along them; every cycle there is shares a node with one of these."""
    cycles: list[list[str]] = []
    done: set[str] = set()
    on_cycle: set[str] = set()
    for start in edges:
        if start in done:
            continue
        path: dict[str, Iterator[str]] = {start: iter(edges[start])}
        while path:
            node = next(reversed(path))
            target = next(path[node], None)
            if target is None:
                del path[node]
                done.add(node)
            elif target in path:
                if node not in on_cycle and target not in on_cycle:
                    nodes = list(path)
                    cycles.append(nodes[nodes.index(target) :])
                    on_cycle.update(cycles[-1])
            elif target not in done:
                path[target] = iter(edges[target])
    return cycles
