"""Placeholders in the texts of a workflow, such as %prompt%, as other front ends write them. Pure.

A text that had them is kept in the node's `_meta`, and so is that a text is the user's, in which
they count as his words: a graph that was bound binds again as its workflow does.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from comfyui.claims import PREFIX_INPUT
from comfyui.following import Spot
from comfyui.graph import Graph
from image_provider import WorkflowError

PLACEHOLDERS = {
    "prompt": "prompt",
    "negative_prompt": "negative_prompt",
    "model": "model",
    "seed": "seed",
    "steps": "steps",
    "scale": "guidance_scale",
    "denoise": "strength",
    "width": "width",
    "height": "height",
}
_PLACEHOLDER = re.compile(f"%({'|'.join(PLACEHOLDERS)})%")
# The server itself fills %width% and %height% there (folder_paths.py, get_save_image_path).
_IN_PREFIX = re.compile(f"%({'|'.join(w for w in PLACEHOLDERS if w not in ('width', 'height'))})%")
_TEXTS = frozenset({"prompt", "negative_prompt", "model"})
_WORDY = re.compile(r"[^\W\dx_]")
_KEPT = "placeholders"


Place = tuple[str, str]
"""A node and one of its inputs."""


class Filling(NamedTuple):
    """An input whose placeholders are filled.

    `parameters` are those that it has, `placed` those of them that have their place by it: a seed
    in the name of a file is no seed of a sampler.
    """

    parameters: tuple[str, ...]
    placed: tuple[str, ...]
    spot: Spot
    text: str
    value: Any


def has_placeholder(text: object) -> bool:
    """Whether a value is a text with a placeholder in it."""
    return isinstance(text, str) and _PLACEHOLDER.search(text) is not None


def restore_placeholders(graph: Graph) -> set[Place]:
    """Puts back what was kept of a graph that was bound; the places of texts that a user gave."""
    own = set()
    for node_id, node in graph.items():
        texts = node.get("_meta", {}).pop(_KEPT, None)
        for name, text in texts.items() if isinstance(texts, dict) else ():
            if name in node["inputs"] and isinstance(text, str):
                node["inputs"][name] = text
            elif name in node["inputs"] and text is None:
                own.add((node_id, name))
    return own


def keep_placeholders(graph: Graph, texts: Mapping[Place, str], own: Iterable[Place]) -> None:
    """Notes in the graph what had placeholders, and that those of a user's text are none."""
    for node_id, name in {**texts, **dict.fromkeys(own)}:
        text = texts.get((node_id, name))
        if text is not None or has_placeholder(graph[node_id]["inputs"].get(name)):
            graph[node_id].setdefault("_meta", {}).setdefault(_KEPT, {})[name] = text


def fill_placeholders(
    graph: Graph,
    values: Mapping[str, Any],
    skipped: Container[Place],
    source: str | None,
) -> Iterator[Filling]:
    """Every input with placeholders, filled in one pass, so that none in the values counts.

    Raises WorkflowError for a placeholder that there is no value for.
    """
    for node_id, node in graph.items():
        for name, text in list(node["inputs"].items()):
            if not has_placeholder(text) or (node_id, name) in skipped:
                continue
            pattern = _IN_PREFIX if name == PREFIX_INPUT else _PLACEHOLDER
            words = tuple(dict.fromkeys(pattern.findall(text)))
            if words:
                _refuse_empty(words, values, node_id, node["class_type"], name, source)
                parameters = tuple(PLACEHOLDERS[word] for word in words)
                spot = Spot(node_id, name, f"placeholder in {node['class_type']} {node_id}.{name}")
                placed = _placed(parameters, name, text)
                yield Filling(parameters, placed, spot, text, _filled(text, pattern, values))


def _placed(parameters: tuple[str, ...], name: str, text: str) -> tuple[str, ...]:
    if name == PREFIX_INPUT:
        return ()
    in_words = _WORDY.search(_PLACEHOLDER.sub("", text)) is not None or _TEXTS & {*parameters}
    return tuple(entry for entry in parameters if entry in _TEXTS or not in_words)


def _refuse_empty(
    words: tuple[str, ...],
    values: Mapping[str, Any],
    node_id: str,
    class_type: str,
    name: str,
    source: str | None,
) -> None:
    empty = next((word for word in words if PLACEHOLDERS[word] not in values), None)
    if empty is not None:
        raise WorkflowError(
            f"workflow {source or 'given'}, node {node_id} {class_type}, {name}: the placeholder "
            f"%{empty}% has nothing to fill it; give {PLACEHOLDERS[empty]}",
            file=source,
            node_id=node_id,
            class_type=class_type,
            input_name=name,
        )


def _filled(text: str, pattern: re.Pattern[str], values: Mapping[str, Any]) -> Any:
    alone = pattern.fullmatch(text)
    if alone is not None:
        return values[PLACEHOLDERS[alone.group(1)]]
    return pattern.sub(lambda match: str(values[PLACEHOLDERS[match.group(1)]]), text)
