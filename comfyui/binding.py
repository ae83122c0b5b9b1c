"""Writes a request's values into the inputs of a graph that take them, and says why there.

Owns the rules of each parameter; where the inputs are is found by `comfyui/tracing.py`. Pure: works
on a copy, knows no files and no sockets. A value of None leaves what the graph has, and a parameter
that found no place is listed as ignored with the reason, never dropped in silence.
"""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from comfyui.graph import Graph, Node, find_by_title
from comfyui.loras import LoraChain
from comfyui.object_info import ObjectInfo
from comfyui.tracing import DeadEnd, Found, Spot, Tracer
from image_provider import MAX_SEED, WorkflowError

if TYPE_CHECKING:
    from comfyui.workflow import Workflow
    from image_provider import ImageGenerationRequest


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
    """A parameter that found no place, and why."""

    parameter: str
    reason: str


@dataclass
class BoundWorkflow:
    """A graph with a request's values in it."""

    graph: Graph
    bindings: list[Binding] = field(default_factory=list)
    ignored: list[Ignored] = field(default_factory=list)

    def ignore(self, parameter: str, reason: str) -> None:
        """Notes that a parameter found no place."""
        self.ignored.append(Ignored(parameter, reason))

    def write(self, parameter: str, spot: Spot, value: Any) -> None:
        """Sets one input and notes it."""
        node = self.graph[spot.node_id]
        node["inputs"][spot.input_name] = value
        self.bindings.append(
            Binding(parameter, spot.node_id, node["class_type"], spot.input_name, value, spot.path)
        )


def bind(
    workflow: Workflow, request: ImageGenerationRequest, object_info: ObjectInfo | None = None
) -> BoundWorkflow:
    """The request's values on a copy of the workflow's graph; `extra` wins over inference.

    `source_image_url` and `mask_image_url` are written as they are: whoever sends the graph names
    files of the server there. Raises WorkflowError when several inputs have the same claim.
    """
    bound = BoundWorkflow(workflow.graph)
    _bind_extra(bound, request.extra, object_info, workflow.source)
    _Binder(bound, Tracer(bound.graph, object_info), workflow.source).bind(request)
    return bound


class _Binder:
    """The rules of the parameters over one graph; what `extra` has set stays as it is."""

    def __init__(self, bound: BoundWorkflow, tracer: Tracer, source: str | None) -> None:
        self.bound = bound
        self.graph = bound.graph
        self.tracer = tracer
        self.source = source
        self.fixed = {(binding.node_id, binding.input_name) for binding in bound.bindings}

    def bind(self, request: ImageGenerationRequest) -> None:
        self._texts(request.prompt, request.negative_prompt)
        self._model(request.model)
        self._loras(request.loras)
        self._seed(request.seed)
        self._steps(request.steps)
        self._guidance(request.guidance_scale)
        self._strength(request.strength)
        self._size(*request.explicit_size)
        self._image(request.source_image_url)
        self._mask(request.mask_image_url)

    def _texts(self, prompt: str, negative_prompt: str | None) -> None:
        positive = self.tracer.texts("positive")
        self._text("prompt", prompt, positive)
        if negative_prompt is None:
            return
        taken = {spot.key for found in positive.values() for spot in _spots(found)}
        negative = self.tracer.texts("negative")
        for encoder, found in negative.items():
            if taken & {spot.key for spot in _spots(found)}:
                name = self.tracer.name(encoder)
                negative[encoder] = [DeadEnd(f"{name} holds the text of the prompt")]
        self._text("negative_prompt", negative_prompt, negative)

    def _text(self, parameter: str, text: str, encoders: dict[str, list[Found]]) -> None:
        texts: dict[str, str] = {}
        for encoder, found in encoders.items():
            free = [spot for spot in _spots(found) if spot.key not in self.fixed]
            if free:
                texts[encoder] = repr(sorted({repr(self._value(spot)) for spot in free}))
        if len(set(texts.values())) > 1:  # encoders of one text keep having one
            raise self._ambiguous(parameter, encoders, list(texts))
        found = [item for items in encoders.values() for item in items]
        self._write_all(parameter, text, found, "no sampler has a text encoder on this side")

    def _ambiguous(
        self, parameter: str, encoders: dict[str, list[Found]], candidates: list[str]
    ) -> WorkflowError:
        places = ", ".join(self.tracer.name(encoder) for encoder in candidates)
        first = next(spot for spot in _spots(encoders[candidates[0]]))
        return WorkflowError(
            f"workflow {self.source or 'given'}: {parameter} could go to {places}, which have "
            "different texts; set all but one of them yourself, for example "
            f'extra={{"{first.node_id}.{first.input_name}": "…"}}',
            file=self.source,
            node_id=first.node_id,
            class_type=self.graph[first.node_id]["class_type"],
            input_name=first.input_name,
        )

    def _seed(self, seed: int | None) -> None:
        if seed is None:
            return
        found = self.tracer.seeds()
        # Samplers that had one seed keep having one; others get the next, and the next.
        numbers: dict[str, int] = {}
        for spot in _spots(found):
            if spot.key not in self.fixed:
                offset = numbers.setdefault(repr(self._value(spot)), len(numbers))
                self.bound.write("seed", spot, (seed + offset) % (MAX_SEED + 1))
        if not numbers:
            self._write_all("seed", seed, found, "no sampler that adds noise was found")

    def _steps(self, steps: int | None) -> None:
        if steps is None:
            return
        ranges = [(spot, self._value(spot), self._value(of)) for spot, of in self._ranges()]
        found = self.tracer.steps()
        self._write_all("steps", steps, found, "no sampler or scheduler with steps was found")
        # A sampler that runs a part of the steps keeps its share of them.
        for spot, number, before in ranges:
            if isinstance(number, int) and isinstance(before, int) and 0 < number < before:
                self.bound.write("steps", spot, (number * steps + before // 2) // before)

    def _ranges(self) -> list[tuple[Spot, Spot]]:
        ranges = {spot.key: (spot, of) for spot, of in self.tracer.step_ranges()}
        return [pair for pair in ranges.values() if self.fixed.isdisjoint(s.key for s in pair)]

    def _guidance(self, scale: float | None) -> None:
        if scale is not None:
            found = self.tracer.guidance() or self.tracer.cfg()
            self._write_all("guidance_scale", scale, found, "no guidance or cfg input was found")

    def _strength(self, strength: float | None) -> None:
        if strength is not None:
            nothing = "no sampler with denoise starts from a picture"
            self._write_all("strength", strength, self.tracer.denoise(), nothing)

    def _size(self, width: int | None, height: int | None) -> None:
        if width is not None:
            self._write_all("width", width, self.tracer.size("width"), "there is no empty latent")
        if height is None:
            return
        found = self.tracer.size("height")
        shared = {spot.key for spot in _spots(found)} & self._written("width")
        if shared and width != height:
            reason = "width and height are one value in this workflow, and it has the width"
            self.bound.ignore("height", reason)
        else:
            self._write_all("height", height, found, "there is no empty latent")

    def _written(self, parameter: str) -> set[tuple[str, str]]:
        bindings = (entry for entry in self.bound.bindings if entry.parameter == parameter)
        return {(entry.node_id, entry.input_name) for entry in bindings}

    def _model(self, model: str | None) -> None:
        if model is not None:
            found = self.tracer.model_files()
            self._write_all("model", model, found, "no model loader was found")

    def _loras(self, loras: Iterable[tuple[str, float]]) -> None:
        loras = tuple(loras)
        if not loras:
            return
        loaders = self.tracer.model_loaders()
        if not loaders:
            self.bound.ignore("loras", "no model loader was found")
            return
        chain = LoraChain(self.graph, loaders[0], self.tracer.running)
        for name, strength in loras:
            node_id, reason = chain.apply(name, strength)
            class_type = self.graph[node_id]["class_type"]
            self.bound.bindings.append(
                Binding("loras", node_id, class_type, "lora_name", (name, strength), reason)
            )

    def _image(self, image: str | None) -> None:
        if image is not None:
            self._write_first("source_image_url", image, self.tracer.source_image())

    def _mask(self, mask: str | None) -> None:
        if mask is not None:
            self._write_first("mask_image_url", mask, self.tracer.mask_image())

    def _write_first(self, parameter: str, value: str, spot: Spot | None) -> None:
        nothing = "no node of the workflow loads one"
        self._write_all(parameter, value, [DeadEnd(nothing) if spot is None else spot], nothing)

    def _write_all(self, parameter: str, value: Any, found: list[Found], nothing: str) -> None:
        spots = _spots(found)
        free = [spot for spot in spots if spot.key not in self.fixed]
        for spot in free:
            self.bound.write(parameter, spot, value)
        if not free:
            reasons = [item.reason for item in found if isinstance(item, DeadEnd)]
            reasons += [f"extra sets {spot.node_id}.{spot.input_name}" for spot in spots]
            self.bound.ignore(parameter, "; ".join(dict.fromkeys(reasons or [nothing])))

    def _value(self, spot: Spot) -> Any:
        return self.graph[spot.node_id]["inputs"].get(spot.input_name)


def _spots(found: Iterable[Found]) -> list[Spot]:
    return [item for item in found if isinstance(item, Spot)]


def _bind_extra(
    bound: BoundWorkflow,
    extra: dict[str, Any],
    object_info: ObjectInfo | None,
    source: str | None,
) -> None:
    for key, value in extra.items():
        parameter = f"extra[{key!r}]"
        spot = _extra_spot(bound.graph, key, object_info, source)
        if spot is None:
            bound.ignore(parameter, "it names no node of the workflow and an input of it")
        else:
            bound.write(parameter, spot, deepcopy(value))


def _extra_spot(
    graph: Graph, key: str, object_info: ObjectInfo | None, source: str | None
) -> Spot | None:
    """The input that `node id.input`, else `node title.input` names; both may have dots."""
    dots = [index for index in range(len(key) - 1, -1, -1) if key[index] == "."]
    splits = [(key[:index], key[index + 1 :]) for index in dots]
    for node_id, name in splits:
        if node_id in graph and _has_input(graph[node_id], name, object_info):
            return Spot(node_id, name, f"extra names node {node_id}")
    for title, name in splits:
        node_ids = [
            i for i in find_by_title(graph, title) if _has_input(graph[i], name, object_info)
        ]
        if len(node_ids) > 1:
            raise WorkflowError(
                f"workflow {source or 'given'}: extra key {key!r}: nodes {', '.join(node_ids)} "
                f"share the title {title!r}; name one by its id, for example {node_ids[0]}.{name}",
                file=source,
                node_id=node_ids[0],
                class_type=graph[node_ids[0]]["class_type"],
                input_name=name,
            )
        if node_ids:
            return Spot(node_ids[0], name, f"extra names the title {title!r}")
    return None


def _has_input(node: Node, name: str, object_info: ObjectInfo | None) -> bool:
    if name in node["inputs"]:
        return True
    known = object_info.get(node["class_type"]) if object_info is not None else None
    return known is not None and name in known.inputs
