"""LoRAs in a graph: the loaders that are there, and new ones directly behind the model loader.

Pure; changes the graph it is given. Facts: nodes.py LoraLoader (model and clip in and out) and
LoraLoaderModelOnly (model alone).
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any

from comfyui.following import DeadEnd, Found, Spot
from comfyui.graph import Consumer, Graph, Link, as_link, consumers, upstream
from comfyui.node_roles import is_text_encoder

_STRENGTHS = ("strength_model", "strength_clip", "lora_model_strength", "lora_clip_strength")
_ON_MODEL = "LoraLoaderModelOnly"
_ON_BOTH = "LoraLoader"


class LoraChain:
    """The LoRAs on the model of one loader; each new one is applied after those before it.

    A new loader stands where the chains of model and clip begin, before what the workflow has on
    them: at their ends model and clip could already depend on each other.
    """

    def __init__(
        self,
        graph: Graph,
        loader_id: str,
        running: list[str],
        fixed: Container[tuple[str, str]] = (),
    ) -> None:
        """`running` are the nodes that feed an output; the inputs in `fixed` stay as they are."""
        self._graph = graph
        self._loaders = {
            lora: (i, key) for i in reversed(running) for lora, key in _loras_of(graph[i]["inputs"])
        }
        self._fixed = fixed
        self._consumers = consumers(graph)
        self._next_id = len(graph) + 1
        self._model = Link(loader_id, 0)
        self._clip = self._clip_origin(loader_id, running)

    def apply(self, name: str, strength: float) -> Found:
        """Loads a LoRA by its file name, with the loader that has it or with a new one."""
        if name in self._loaders:
            node_id, key = self._loaders[name]
            self._set_strength(node_id, name, strength)
            return Spot(node_id, key, f"{self._name(node_id)} loads this LoRA")
        loader = self._name(self._model.node_id)
        if not self._takers(self._model):
            return DeadEnd(f"the request itself says what takes the model of {loader}")
        return Spot(self._insert(name, strength), "lora_name", f"inserted behind {loader}")

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

    def _clip_origin(self, loader_id: str, running: list[str]) -> Link | None:
        """The output that the clip of all text encoders comes from; None when there are several."""
        encoders = [i for i in running if is_text_encoder(self._graph[i])]
        origins = self._clip_origins(encoders)
        origin = origins.pop() if len(origins) == 1 else None
        if origin is None or origin.node_id == loader_id:
            return origin
        feeds = upstream(self._graph, [origin.node_id]), upstream(self._graph, [loader_id])
        return None if loader_id in feeds[0] or origin.node_id in feeds[1] else origin

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

    def _insert(self, name: str, strength: float) -> str:
        node_id = self._free_id()
        inputs = {"lora_name": name, "strength_model": strength, "model": list(self._model)}
        class_type = _ON_MODEL
        self._model = self._redirect(self._model, Link(node_id, 0), "model")
        if self._clip is not None:
            class_type = _ON_BOTH
            inputs |= {"strength_clip": strength, "clip": list(self._clip)}
            self._clip = self._redirect(self._clip, Link(node_id, 1), "clip")
        self._graph[node_id] = {
            "class_type": class_type,
            "inputs": inputs,
            "_meta": {"title": f"LoRA {name}"},
        }
        self._loaders[name] = node_id, "lora_name"
        return node_id

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
