"""Where the user says that a parameter goes: `extra`, the file beside the workflow, titles.

Owns how a place is named ("6.text", "Sampler.seed", or a title such as "Positive prompt"); the
placeholders that a text may have are in `comfyui/placeholders.py`. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping
from pathlib import PurePath
from typing import Any, NamedTuple

from comfyui.following import NUMBER, TEXT, Follower, Kind, Spot
from comfyui.graph import Graph, Node, consumers, described, find_by_title, title_of
from comfyui.object_info import ObjectInfo
from image_provider import ImageGenerationRequest, WorkflowError

PARAMETERS = (
    "prompt",
    "negative_prompt",
    "model",
    "seed",
    "steps",
    "guidance_scale",
    "strength",
    "width",
    "height",
    "source_image_url",
    "mask_image_url",
)
"""The request fields that a value is written for; the keys of a bindings file."""

BINDINGS_SUFFIX = ".bindings.json"
_MOST_LISTED = 12
"""Nodes or inputs that a message lists."""

PREFIX_INPUT = "filename_prefix"
"""The input of nodes that save; as a key of `extra` it means all of them."""


class Telling(NamedTuple):
    """Titles that name a parameter, and the inputs of such a node that take it, best first.

    `hints` are words that a node can have for another reason, such as the width of an upscale.
    """

    titles: tuple[str, ...]
    hints: tuple[str, ...]
    inputs: tuple[str, ...]
    kind: Kind


_TEXT_NODE = ("text", "value", "prompt", "string")
TITLES = {
    "prompt": Telling(("positive prompt",), ("prompt",), _TEXT_NODE, TEXT),
    "negative_prompt": Telling(("negative prompt",), (), _TEXT_NODE, TEXT),
    "seed": Telling(("seed", "noise seed"), (), ("seed", "noise_seed", "value"), NUMBER),
    "steps": Telling((), ("steps",), ("steps", "value"), NUMBER),
    "guidance_scale": Telling((), ("guidance", "cfg"), ("guidance", "cfg", "value"), NUMBER),
    "strength": Telling((), ("strength", "denoise"), ("denoise", "value"), NUMBER),
    "width": Telling((), ("width",), ("width", "value"), NUMBER),
    "height": Telling((), ("height",), ("height", "value"), NUMBER),
    "source_image_url": Telling(("input image", "source image"), (), ("image",), TEXT),
    "mask_image_url": Telling(("mask", "input mask", "mask image"), (), ("image", "mask"), TEXT),
}
_OTHER_STRENGTH = re.compile(r"strength|lora")
"""Inputs whose strength is that of a LoRA or a control net, not of the change."""


def given_values(request: ImageGenerationRequest, left: Container[str] = ()) -> dict[str, Any]:
    """The parameters that the request has a value for, but those that are `left` as they are."""
    width, height = request.explicit_size
    values = {name: getattr(request, name) for name in PARAMETERS} | {
        "width": width,
        "height": height,
    }
    return {k: value for k, value in values.items() if value is not None and k not in left}


def read_overrides(data: object, file: str) -> dict[str, list[str]]:
    """A bindings file, `{"prompt": ["6.text"], …}`; raises WorkflowError naming file and key."""
    if not isinstance(data, dict):
        raise WorkflowError(
            f'{file} must hold an object such as {{"prompt": ["6.text"]}}', file=file
        )
    overrides = {}
    for key, places in data.items():
        if key not in PARAMETERS:
            known = ", ".join(PARAMETERS)
            raise WorkflowError(f"{file}: {key!r} is no parameter; there are: {known}", file=file)
        places = [places] if isinstance(places, str) else places
        is_list = isinstance(places, list) and all(isinstance(place, str) for place in places)
        if not (is_list and places):
            raise WorkflowError(f'{file}, {key}: must be a list such as ["6.text"]', file=file)
        overrides[key] = places
    return overrides


def bindings_file(source: str | None) -> str:
    """The name of the bindings file beside a workflow of this name."""
    return PurePath(source or "workflow").with_suffix(BINDINGS_SUFFIX).name


def overridden_spots(
    graph: Graph,
    overrides: Mapping[str, Iterable[str]],
    object_info: ObjectInfo | None,
    source: str | None,
) -> dict[str, list[Spot]]:
    """The places that the bindings file names, by parameter.

    Raises WorkflowError, naming file and key, for one that is not in the workflow.
    """
    file = bindings_file(source)
    spots: dict[str, list[Spot]] = {}
    for parameter, places in overrides.items():
        for place in dict.fromkeys(places):
            spot = named_spot(graph, place, object_info, f"{file}, {parameter}")
            if spot is None:
                raise WorkflowError(
                    f"{file}, {parameter}: {why_nowhere(graph, place, object_info)}",
                    file=file,
                    input_name=place,
                )
            path = f"{file}: {spot.path}"
            spots.setdefault(parameter, []).append(Spot(*spot.key, path))
    return spots


def named_spot(graph: Graph, key: str, object_info: ObjectInfo | None, source: str) -> Spot | None:
    """The input that `node id.input`, else `node title.input` names; both may have dots.

    Raises WorkflowError, which names `source`, for a title that several nodes have.
    """
    splits = _splits(key)
    for node_id, name in splits:
        if node_id in graph and _has_input(graph[node_id], name, object_info):
            return Spot(node_id, name, f"named as node {node_id}")
    for title, name in splits:
        node_ids = [
            i for i in find_by_title(graph, title) if _has_input(graph[i], name, object_info)
        ]
        if len(node_ids) > 1:
            raise WorkflowError(
                f"{source}: {key!r}: nodes {', '.join(node_ids)} share the title {title!r}; "
                f"name one by its id, for example {node_ids[0]}.{name}",
                file=source,
                node_id=node_ids[0],
                class_type=graph[node_ids[0]]["class_type"],
                input_name=name,
            )
        if node_ids:
            return Spot(node_ids[0], name, f"named by the title {title!r}")
    return None


def why_nowhere(graph: Graph, key: str, object_info: ObjectInfo | None) -> str:
    """What is wrong with a key for which there is no `named_spot`, and what could be meant."""
    splits = _splits(key)
    if not splits:
        return f'{key!r} is no place; write "node id.input" or "node title.input"'
    for owner, name in splits:
        node_ids = [owner] if owner in graph else find_by_title(graph, owner)
        if node_ids:
            node = graph[node_ids[0]]
            known = object_info.get(node["class_type"]) if object_info is not None else None
            inputs = {**node["inputs"], **(known.inputs if known is not None else {})}
            place = described(node_ids[0], node["class_type"], title_of(node))
            return f"{place} has no input {name!r}; it has: {_first(inputs)}"
    there = (described(i, node["class_type"], title_of(node)) for i, node in graph.items())
    return f"there is no node {splits[0][0]!r} in the workflow; it has: {_first(there)}"


def _splits(key: str) -> list[tuple[str, str]]:
    """Every way to read a key as node and input, the longest name of a node first."""
    dots = [index for index in range(len(key) - 1, -1, -1) if key[index] == "."]
    return [(key[:index], key[index + 1 :]) for index in dots]


def _first(names: Iterable[str]) -> str:
    listed = list(names)
    more = f" and {len(listed) - _MOST_LISTED} more" if len(listed) > _MOST_LISTED else ""
    return ", ".join(listed[:_MOST_LISTED]) + more if listed else "none"


def _has_input(node: Node, name: str, object_info: ObjectInfo | None) -> bool:
    if name in node["inputs"]:
        return True
    known = object_info.get(node["class_type"]) if object_info is not None else None
    return known is not None and name in known.inputs


def prefix_spots(graph: Graph) -> list[Spot]:
    """The file name prefix of every node that saves."""
    saving = (node_id for node_id, node in graph.items() if PREFIX_INPUT in node["inputs"])
    return [Spot(node_id, PREFIX_INPUT, "named for every node that saves") for node_id in saving]


def titled_spots(follower: Follower, node_ids: list[str]) -> dict[str, Spot]:
    """The input that a title claims for a parameter, where one place alone is claimed."""
    titles = {parameter: telling.titles for parameter, telling in TITLES.items()}
    return _spots_by_title(follower, node_ids, titles)


def hinted_spots(follower: Follower, node_ids: list[str]) -> dict[str, Spot]:
    """The same by titles that only suggest a parameter, for where the links leave it open."""
    hints = {parameter: telling.hints for parameter, telling in TITLES.items()}
    spots = _spots_by_title(follower, node_ids, hints)
    strength = spots.get("strength")
    if strength is not None:
        used = consumers(follower.graph).get(strength.node_id, ())
        if any(_OTHER_STRENGTH.search(consumer.input_name) for consumer in used):
            del spots["strength"]
    return spots


def _spots_by_title(
    follower: Follower, node_ids: list[str], wanted: Mapping[str, tuple[str, ...]]
) -> dict[str, Spot]:
    titled: dict[str, list[str]] = {}
    for node_id in node_ids:
        node = follower.graph[node_id]
        if node.get("_meta", {}).get("title"):
            titled.setdefault(title_of(node).strip().casefold(), []).append(node_id)
    claims = {}
    for parameter, titles in wanted.items():
        found = [node_id for title in titles for node_id in titled.get(title, ())]
        spots = (_spot_of(follower, node_id, TITLES[parameter]) for node_id in found)
        places = {spot.key: spot for spot in spots if spot is not None}
        if len(places) == 1:
            claims[parameter] = places.popitem()[1]
    return claims


def _spot_of(follower: Follower, node_id: str, telling: Telling) -> Spot | None:
    inputs = follower.graph[node_id]["inputs"]
    name = next((name for name in telling.inputs if name in inputs), None)
    if name is None:
        return None
    spot = follower.holder(node_id, name, telling.kind)
    if not isinstance(spot, Spot):
        return None
    title = title_of(follower.graph[node_id])
    return Spot(spot.node_id, spot.input_name, f"the title {title!r}: {spot.path}")
