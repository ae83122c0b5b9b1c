"""LoRAs in a graph: the loaders that are there, and new ones directly behind the model loader.

Pure; changes the graph it is given. Facts: nodes.py LoraLoader (model and clip in and out) and
LoraLoaderModelOnly (model alone).
"""

from __future__ import annotations

from comfyui.graph import Graph, Link, as_link, consumers, upstream
from comfyui.tracing import is_text_encoder

_STRENGTHS = ("strength_model", "strength_clip")


class LoraChain:
    """The LoRAs on the model of one loader; each new one is applied after those before it.

    A new loader stands where the chains of model and clip begin, before what the workflow has on
    them: at their ends model and clip could already depend on each other.
    """

    def __init__(self, graph: Graph, loader_id: str, running: list[str]) -> None:
        """`running` are the nodes that count, those that feed an output."""
        self._graph = graph
        self._running = running
        self._model = Link(loader_id, 0)
        self._clip = self._clip_origin(loader_id)

    def apply(self, name: str, strength: float) -> tuple[str, str]:
        """Loads a LoRA by its file name; (node id, reason) of the loader that does."""
        for node_id in self._running:
            inputs = self._graph[node_id]["inputs"]
            if inputs.get("lora_name") == name:
                inputs.update({key: strength for key in _STRENGTHS if key in inputs})
                return node_id, f"{self._graph[node_id]['class_type']} {node_id} loads this LoRA"
        loader_id = self._model.node_id
        loader = f"{self._graph[loader_id]['class_type']} {loader_id}"
        return self._insert(name, strength), f"inserted behind {loader}"

    def _clip_origin(self, loader_id: str) -> Link | None:
        """The output that the clip of all text encoders comes from; None when there are several."""
        encoders = [i for i in self._running if is_text_encoder(self._graph[i])]
        origins = {self._follow_clip(node_id) for node_id in encoders}
        origin = origins.pop() if len(origins) == 1 else None
        if origin is None or origin.node_id == loader_id:
            return origin
        feeds = upstream(self._graph, [origin.node_id]), upstream(self._graph, [loader_id])
        return None if loader_id in feeds[0] or origin.node_id in feeds[1] else origin

    def _follow_clip(self, node_id: str) -> Link | None:
        origin, seen = None, set()
        while node_id not in seen:
            seen.add(node_id)
            link = as_link(self._graph[node_id]["inputs"].get("clip"))
            if link is None or link.node_id not in self._graph:
                return origin
            origin, node_id = link, link.node_id
        return None

    def _insert(self, name: str, strength: float) -> str:
        node_id = self._free_id()
        inputs = {"lora_name": name, "strength_model": strength, "model": list(self._model)}
        class_type = "LoraLoaderModelOnly"
        self._redirect(self._model, Link(node_id, 0))
        if self._clip is not None:
            class_type = "LoraLoader"
            inputs |= {"strength_clip": strength, "clip": list(self._clip)}
            self._redirect(self._clip, Link(node_id, 1))
            self._clip = Link(node_id, 1)
        self._model = Link(node_id, 0)
        self._graph[node_id] = {
            "class_type": class_type,
            "inputs": inputs,
            "_meta": {"title": f"LoRA {name}"},
        }
        self._running.append(node_id)
        return node_id

    def _redirect(self, before: Link, after: Link) -> None:
        for consumer in consumers(self._graph).get(before.node_id, ()):
            if consumer.slot == before.slot:
                self._graph[consumer.node_id]["inputs"][consumer.input_name] = list(after)

    def _free_id(self) -> str:
        number = len(self._graph) + 1
        while str(number) in self._graph:
            number += 1
        return str(number)
