"""Which node classes a server may be given: nodes can run code and read files of its machine.

Owns the two lists, what a pattern in them means, and the error that names a node. What counts are
the classes of the graph that is sent, those that the server puts in their place included. Nodes
that a node makes while it runs are not seen here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, Literal, TypeAlias

from comfyui.graph import Graph, described
from comfyui.replacements import Replacements
from image_config import Config
from image_provider import WorkflowError

ALLOWED = "COMFYUI_ALLOWED_NODES"
DENIED = "COMFYUI_DENIED_NODES"
_MOST_TOLD = 10


class _Unsaid(Enum):
    FROM_SETTINGS = f"{ALLOWED}, {DENIED}"


FROM_SETTINGS: Final = _Unsaid.FROM_SETTINGS
Classes: TypeAlias = "str | Iterable[str] | None | Literal[_Unsaid.FROM_SETTINGS]"
"""Names of node classes, in which * stands for anything; None is no list."""


@dataclass(frozen=True)
class NodeRules:
    """The classes that may be run and those that may not; the second list outweighs the first."""

    allowed: tuple[str, ...] | None = None
    denied: tuple[str, ...] = ()
    _of: Mapping[str, re.Pattern[str]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        lists = {ALLOWED: self.allowed or (), DENIED: self.denied}
        object.__setattr__(self, "_of", {name: _pattern(each) for name, each in lists.items()})

    @property
    def is_open(self) -> bool:
        """True when there is nothing to check."""
        return self.allowed is None and not self.denied

    def check(self, graph: Graph, replacements: Replacements) -> None:
        """Raises WorkflowError naming the nodes that may not be run."""
        refused = list(self._refused(graph, replacements))
        if not refused:
            return
        node_id, class_type, _ = refused[0]
        more = len(refused) - _MOST_TOLD
        told = [sentence for _, _, sentence in refused[:_MOST_TOLD]]
        if more > 0:
            told.append(f"{more} more nodes may not be run either")
        raise WorkflowError(
            f"{'; '.join(told)}. Take such nodes out of the workflow; whoever runs this program "
            f"may change {ALLOWED} and {DENIED}",
            node_id=node_id,
            class_type=class_type,
        )

    def _refused(
        self, graph: Graph, replacements: Replacements
    ) -> Iterator[tuple[str, str | None, str]]:
        for node_id, node in graph.items():
            class_type = node.get("class_type") if isinstance(node, dict) else None
            if not isinstance(class_type, str):
                yield node_id, None, f"node {node_id} has no class_type, and so may not be run here"
                continue
            for name in filter(None, (class_type, replacements.get(class_type))):
                why = self._why_not(name)
                if why is not None:
                    as_whom = "" if name == class_type else f", which the server runs as {name},"
                    told = f"{described(node_id, class_type, class_type)}{as_whom} {why}"
                    yield node_id, class_type, told
                    break

    def _why_not(self, class_type: str) -> str | None:
        if self._of[DENIED].fullmatch(class_type):
            return f"may not be run here: its class is in {DENIED}"
        if self.allowed is not None and not self._of[ALLOWED].fullmatch(class_type):
            return f"may not be run here: its class is not in {ALLOWED}"
        return None


def node_rules(allowed: Classes, denied: Classes) -> NodeRules:
    """The rules as a caller gives them; raises TypeError for what is no list of names."""
    if allowed is FROM_SETTINGS or denied is FROM_SETTINGS:
        config = Config()
        if allowed is FROM_SETTINGS:
            allowed = config.get_comfyui_allowed_nodes()
        if denied is FROM_SETTINGS:
            denied = config.get_comfyui_denied_nodes()
    return NodeRules(_names("allowed_nodes", allowed), _names("denied_nodes", denied) or ())


def _names(argument: str, classes: object) -> tuple[str, ...] | None:
    if classes is None:
        return None
    names = classes.split(",") if isinstance(classes, str) else classes
    names = tuple(names) if isinstance(names, Iterable) else (names,)
    if not all(isinstance(name, str) for name in names):
        raise TypeError(f"{argument} must be names of node classes, or None")
    return tuple(name.strip() for name in names if name.strip())


def _pattern(names: Iterable[str]) -> re.Pattern[str]:
    parts = (".*".join(map(re.escape, name.split("*"))) for name in names)
    return re.compile("|".join(parts) or "(?!)", re.DOTALL)
