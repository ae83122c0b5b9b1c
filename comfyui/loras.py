"""LoRAs in a graph: the loaders that are there, and new ones directly behind the model loaders.

Pure; changes the graph it is given. Facts: nodes.py LoraLoader (model and clip in and out) and
LoraLoaderModelOnly (model alone).
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from comfyui.following import DeadEnd, Found, Spot
from comfyui.graph import Consumer, Graph, Link, as_link, consumers, upstream
from comfyui.node_roles import is_text_encoder

_STRENGTHS = ("strength_model", "strength_clip", "lora_model_strength", "lora_clip_strength")
_ON_MODEL = "LoraLoaderModelOnly"
_ON_BOTH = "LoraLoader"


@dataclass
class _Chain:
    """The outputs that the next LoRA behind one loader is put on."""

    model: Link
    clip: Link | None


class LoraChains:
    """The LoRAs on the models of some loaders; each new one is applied after those before it.

    A new loader stands where the chains of model and clip begin, before what the workflow has on
    them: at their ends model and clip could already depend on each other.
    """

    def __init__(
        self,
        graph: Graph,
        loader_ids: Sequence[str],
        running: list[str],
        fixed: Container[tuple[str, str]] = (),
    ) -> None:
        """`running` are the nodes that feed an output; the inputs in `fixed` stay as they are."""
        self._graph = graph
        self._loading: dict[str, list[Spot]] = {}
        """Where each file is loaded."""
        for node_id in running:
            for name, key in _loras_of(graph[node_id]["inputs"]):
                self._note(name, Spot(node_id, key, f"{self._name(node_id)} loads this LoRA"))
        self._fixed = fixed
        self._consumers = consumers(graph)
        self._next_id = len(graph) + 1
        clips = self._clips(loader_ids, running)
        self._chains = [_Chain(Link(i, 0), clips.get(i)) for i in loader_ids]

    def apply(self, name: str, strength: float) -> list[Found]:
        """Loads a LoRA by its file name, with the loaders that have it or with new ones."""
        if name in self._loading:
            for spot in self._loading[name]:
                self._set_strength(spot.node_id, name, strength)
            return [*self._loading[name]]
        return [self._insert(chain, name, strength) for chain in self._chains]

    def _note(self, name: str, spot: Spot) -> None:
        self._loading.setdefault(name, []).append(spot)

    def _name(self, node_id: str) -> str:
        return f"{self._graph[node_id]['class_type']} {node_id}"

    def _set_strength(self, node_id: str, name: str, strength: float) -> None:
        inputs = self._graph[node_id]["inputs"]
        for key, value in inputs.items():
            if (node_id, key) in self._fixed:
                continue
            if key in _STRENGTHS and inputs.get("lora_name") == name:
                inputs[key] = strength
            elif isinstance(value, dict) and value.get("lora") == name:
                value.update(on=True, strength=strength)

    def _clips(self, loader_ids: Sequence[str], running: list[str]) -> dict[str, Link]:
        """The output that the clip of the text encoders comes from, for the loader to go with it.

        Empty when they have several clips, unless each is a loader's own.
        """
        encoders = [i for i in running if is_text_encoder(self._graph[i])]
        origins = self._clip_origins(encoders)
        own = {origin.node_id: origin for origin in origins if origin is not None}
        if len(own) == len(origins) and own.keys() <= {*loader_ids}:
            return own
        origin = origins.pop() if len(origins) == 1 else None
        if origin is None:
            return {}
        first = loader_ids[0]
        feeds = upstream(self._graph, [origin.node_id]), upstream(self._graph, [first])
        return {} if first in feeds[0] or origin.node_id in feeds[1] else {first: origin}

    def _clip_origins(self, encoders: list[str]) -> set[Link | None]:
        """Where clips come from that others only pass on; None for one that comes from nowhere."""
        origins: set[Link | None] = set()
        seen: set[Link] = set()
        for encoder in encoders:
            origin, link = None, self._clip_of(encoder)
            path = set[Link]()
            while link is not None and link not in seen:
                seen.add(link)
                path.add(link)
                origin, link = link, self._clip_of(link.node_id)
            if link is None or link in path:
                origins.add(origin if link is None else None)
        return origins

    def _clip_of(self, node_id: str) -> Link | None:
        link = as_link(self._graph[node_id]["inputs"].get("clip"))
        return link if link is not None and link.node_id in self._graph else None

    def _takers(self, link: Link) -> list[Consumer]:
        """The inputs that take an output and may be led elsewhere."""
        return [
            consumer
            for consumer in self._consumers.get(link.node_id, ())
            if consumer.slot == link.slot
            and (consumer.node_id, consumer.input_name) not in self._fixed
        ]

    def _insert(self, chain: _Chain, name: str, strength: float) -> Found:
        loader = self._name(chain.model.node_id)
        if not self._takers(chain.model):
            return DeadEnd(f"the request itself says what takes the model of {loader}")
        node_id = self._free_id()
        inputs = {"lora_name": name, "strength_model": strength, "model": list(chain.model)}
        class_type = _ON_MODEL
        chain.model = self._redirect(chain.model, Link(node_id, 0), "model")
        if chain.clip is not None:
            class_type = _ON_BOTH
            inputs |= {"strength_clip": strength, "clip": list(chain.clip)}
            chain.clip = self._redirect(chain.clip, Link(node_id, 1), "clip")
        self._graph[node_id] = {
            "class_type": class_type,
            "inputs": inputs,
            "_meta": {"title": f"LoRA {name}"},
        }
        spot = Spot(node_id, "lora_name", f"inserted behind {loader}")
        self._note(name, spot)
        return spot

    def _redirect(self, before: Link, after: Link, input_name: str) -> Link:
        """Leads what took one output to another, whose own node then takes the first."""
        takers = self._takers(before)
        for consumer in takers:
            self._graph[consumer.node_id]["inputs"][consumer.input_name] = list(after)
        staying = [c for c in self._consumers.get(before.node_id, ()) if c not in takers]
        self._consumers[before.node_id] = [
            *staying,
            Consumer(after.node_id, input_name, before.slot),
        ]
        moved = [consumer._replace(slot=after.slot) for consumer in takers]
        self._consumers.setdefault(after.node_id, []).extend(moved)
        return after

    def _free_id(self) -> str:
        while str(self._next_id) in self._graph:
            self._next_id += 1
        return str(self._next_id)


def _loras_of(inputs: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The files that a loader names, with where; Power Lora Loader (rgthree) has one an entry."""
    named = [
        (value.get("lora") if isinstance(value, dict) else value, key)
        for key, value in inputs.items()
        if key == "lora_name" or isinstance(value, dict)
    ]
    return [(name, key) for name, key in named if isinstance(name, str)]
