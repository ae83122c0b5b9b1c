"""Where the parameters of a generation live in a graph, found by following links from the samplers.

Owns the knowledge of which inputs carry conditioning, models, latents and plain values between
nodes. Pure: reads a graph, changes nothing. A `Spot` is an input that can be written, with the path
that led to it; a `DeadEnd` says why there is none. Nodes that feed no output do not count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from comfyui.graph import Graph, Link, Node, as_link, links_of, output_nodes, upstream
from comfyui.object_info import ObjectInfo

TEXT_INPUTS = (
    *("text", "text_g", "text_l", "prompt", "user_prompt"),
    *("clip_l", "clip_g", "t5xxl", "llama", "bert", "mt5xl", "qwen25_7b"),
)
"""The inputs of text encoders that hold a prompt (nodes.py and comfy_extras of 0.26.0)."""
_SEED_INPUTS = ("seed", "noise_seed", "noise")
_LATENT_INPUTS = ("latent_image", "samples", "latent", "latents", "samples1")
_PICTURE_INPUTS = (*_LATENT_INPUTS, "pixels", "image", "images", "destination", "input_image")
_MODEL_INPUTS = ("model", "model1", "unet")
_MODEL_FILES = ("ckpt_name", "unet_name", "model_name", "checkpoint")
_PICTURE_LOADERS = ("LoadImage", "LoadImageOutput")
_MASK_LOADER = "LoadImageMask"
_TO_MASK = "ImageToMask"
_SIZE_FOLLOWERS = ("CLIPTextEncodeSDXL", "ModelSamplingFlux")
"""Classes that are told the size of the latent once more."""


class Kind(NamedTuple):
    """A kind of plain value: the inputs of value nodes that hold one, and its types."""

    inputs: tuple[str, ...]
    types: tuple[type, ...]


TEXT = Kind(("value", "text", "string", "prompt"), (str,))
NUMBER = Kind(("value", "int", "float", "number", "seed", "noise_seed"), (int, float))


@dataclass(frozen=True)
class Spot:
    """A writable input, and the links that were followed to it."""

    node_id: str
    input_name: str
    path: str

    @property
    def key(self) -> tuple[str, str]:
        """Node and input: the same for the same place, by whatever path."""
        return self.node_id, self.input_name


@dataclass(frozen=True)
class DeadEnd:
    """Why following the links led to no input that could be written."""

    reason: str


Found = Spot | DeadEnd


class Way(NamedTuple):
    """A node and how it was reached; put into words only where somebody reads them."""

    node_id: str
    words: str
    before: Way | None = None

    def __str__(self) -> str:
        words, way = [], self
        while way.before is not None:
            words.append(way.words)
            way = way.before
        return "".join([way.words, *reversed(words)])


class Tracer:
    """The look-ups over one graph; built once for a binding."""

    def __init__(self, graph: Graph, object_info: ObjectInfo | None = None) -> None:
        self.graph = graph
        self._object_info = object_info
        outputs = output_nodes(graph, object_info)
        running = set(upstream(graph, outputs)) if outputs else set(graph)
        self.running = [node_id for node_id in graph if node_id in running]
        """The nodes that feed an output, in file order."""
        self.samplers = [node_id for node_id in self.running if is_sampler(graph[node_id])]
        samplers = set(self.samplers)
        self.first_samplers = [
            node_id
            for node_id in self.samplers
            if samplers.isdisjoint(upstream(graph, [node_id])[1:])
        ]
        """Those that refine no other sampler's work."""

    def texts(self, side: str) -> dict[str, list[Found]]:
        """The texts behind one side, "positive" or "negative", of every sampler, by encoder."""
        found: dict[str, list[Found]] = {}
        for start in self._conditioned(self.samplers):
            for way in self._conditioning(start, side):
                node = self.graph[way.node_id]
                if node["class_type"] == "ConditioningZeroOut":
                    found[way.node_id] = [DeadEnd(f"{way} is zeroed out: there is no {side} text")]
                elif is_text_encoder(node):
                    names = [name for name in TEXT_INPUTS if name in node["inputs"]]
                    found[way.node_id] = [self.holder(way, name, TEXT) for name in names]
        return found

    def guidance(self) -> list[Found]:
        """The `guidance` inputs that the positive conditioning passes through."""
        return _unique(
            self.holder(way, "guidance", NUMBER)
            for start in self._conditioned(self.samplers)
            for way in self._conditioning(start, "positive")
            if "guidance" in self.graph[way.node_id]["inputs"]
        )

    def cfg(self) -> list[Found]:
        """`cfg` on each sampler or on its guider."""
        return _unique(
            self.holder(node_id, "cfg", NUMBER)
            for node_id in self._conditioned(self.samplers)
            if "cfg" in self.graph[node_id]["inputs"]
        )

    def seeds(self) -> list[Found]:
        """The seed of every sampler that adds noise, on itself or on its noise node."""
        return _unique(
            self.holder(node_id, name, NUMBER)
            for node_id in self.samplers
            if self.graph[node_id]["inputs"].get("add_noise") not in ("disable", False)
            for name in _SEED_INPUTS
            if name in self.graph[node_id]["inputs"]
        )

    def steps(self) -> list[Found]:
        """`steps` of each sampler, or of the scheduler that makes its sigmas."""
        return _unique(found for i in self.samplers for found in self._schedule(i, "steps"))

    def step_ranges(self) -> Iterator[tuple[Spot, Spot]]:
        """Inputs that name a step, each with where the number of all steps is."""
        for node_id in self.samplers:
            for name in ("start_at_step", "end_at_step"):
                if {name, "steps"} <= self.graph[node_id]["inputs"].keys():
                    spot = self.holder(node_id, name, NUMBER)
                    steps = self.holder(node_id, "steps", NUMBER)
                    if isinstance(spot, Spot) and isinstance(steps, Spot):
                        yield spot, steps

    def denoise(self) -> list[Found]:
        """`denoise` of each sampler that starts from a picture; not of one that refines another."""
        return _unique(
            found
            for node_id in self.first_samplers
            if not self._latents_of(node_id)
            for found in self._schedule(node_id, "denoise")
        )

    def empty_latents(self) -> list[str]:
        """The nodes that make the empty latent which a sampler starts from."""
        return list(dict.fromkeys(i for s in self.samplers for i in self._latents_of(s)))

    def size(self, name: str) -> list[Found]:
        """`width` or `height` of the empty latents, and of what follows the same size."""
        latents = self.empty_latents()
        found = [self.holder(node_id, name, NUMBER) for node_id in latents]
        sizes = [self.graph[node_id]["inputs"].get(name) for node_id in latents]
        for node_id in self.running:
            node = self.graph[node_id]
            if node["class_type"] in _SIZE_FOLLOWERS:
                for follower in (name, f"target_{name}"):
                    if follower in node["inputs"] and node["inputs"][follower] in sizes:
                        found.append(self.holder(node_id, follower, NUMBER))
        return _unique(found)

    def model_loaders(self) -> list[str]:
        """The nodes that load the model of each sampler that refines no other's work."""
        starts = (*self.first_samplers, *self._conditioned(self.first_samplers))
        ways = (way for start in starts for way in self._along(start, _MODEL_INPUTS, loads_model))
        return list(dict.fromkeys(way.node_id for way in ways))

    def model_files(self) -> list[Found]:
        """The inputs of the model loaders that name a file."""
        return [
            self.holder(node_id, name, TEXT)
            for node_id in self.model_loaders()
            for name in _MODEL_FILES
            if name in self.graph[node_id]["inputs"]
        ]

    def source_image(self) -> Spot | None:
        """The loader of the picture that a sampler starts from; else the first that loads one."""
        for start in self.samplers:
            for way in self._along(start, _PICTURE_INPUTS, is_picture_loader):
                return Spot(way.node_id, "image", f"{way}.image")
        for node_id in self.running:
            # What ImageToMask alone takes is no picture but a mask.
            if is_picture_loader(self.graph[node_id]) and self._users(node_id, 0) - {_TO_MASK}:
                return Spot(node_id, "image", f"{self.name(node_id)}.image")
        return None

    def mask_image(self) -> Spot | None:
        """The loader of the mask; the source's own where its alpha is the mask."""
        source = self.source_image()
        own = [source.node_id] if source is not None else []
        loaders = [i for i in self.running if is_picture_loader(self.graph[i]) and i not in own]
        alone = [i for i in self.running if is_picture_loader(self.graph[i], (_MASK_LOADER,))]
        by_alpha = [i for i in (*own, *loaders) if self._users(i, 1)]
        by_color = [i for i in loaders if _TO_MASK in self._users(i, 0)]
        for node_id in (*alone, *by_alpha, *by_color):
            how = " (its mask is the picture's alpha)" if node_id in own else ""
            return Spot(node_id, "image", f"{self.name(node_id)}.image{how}")
        return None

    def holder(self, at: str | Way, name: str, kind: Kind) -> Found:
        """Where the value of an input is kept: there, or behind the links that it arrives by."""
        node_id = at if isinstance(at, str) else at.node_id
        trail, seen = f"{self.name(at) if isinstance(at, str) else at}.{name}", {node_id}
        while (link := as_link(self.graph[node_id]["inputs"].get(name))) is not None:
            if link.node_id not in self.graph or link.node_id in seen:
                return DeadEnd(f"{trail} links to a node that is not there, or to itself")
            node_id = link.node_id
            seen.add(node_id)
            inputs = self.graph[node_id]["inputs"]
            names = [key for key in kind.inputs if key in inputs and _may_hold(inputs[key], kind)]
            if len(names) != 1:
                return DeadEnd(f"{trail} is computed by {self.name(node_id)}")
            name = names[0]
            trail += f" → {self.name(node_id)}.{name}"
        return Spot(node_id, name, trail)

    def name(self, node_id: str) -> str:
        """Class and id, as paths show a node."""
        return f"{self.graph[node_id]['class_type']} {node_id}"

    def _users(self, node_id: str, slot: int) -> set[str]:
        """The classes of the nodes that take this output."""
        link = Link(node_id, slot)
        nodes = (self.graph[i] for i in self.running)
        return {n["class_type"] for n in nodes if any(used == link for _, used in links_of(n))}

    def _conditioned(self, samplers: Iterable[str]) -> list[str]:
        """The nodes that take the conditioning: the samplers themselves or their guiders."""
        found = []
        for node_id in samplers:
            guider = as_link(self.graph[node_id]["inputs"].get("guider"))
            found.append(guider.node_id if guider and guider.node_id in self.graph else node_id)
        return list(dict.fromkeys(found))

    def _conditioning(self, start: str, side: str) -> Iterator[Way]:
        """Every node on one side's conditioning, the nearest first, up to the text encoders."""
        waiting, seen = [(Way(start, self.name(start)), side)], set()
        for way, wanted in waiting:  # grows while it is walked
            inputs = self.graph[way.node_id]["inputs"]
            for name in _conditioning_inputs(inputs, wanted):
                link = as_link(inputs[name])
                if link is None or link.node_id not in self.graph or (link, wanted) in seen:
                    continue
                seen.add((link, wanted))
                following = self.graph[link.node_id]
                next_way = self._step(way, name, link.node_id)
                yield next_way
                if following["class_type"] == "ConditioningZeroOut" or is_text_encoder(following):
                    continue
                has_sides = {"positive", "negative"} <= following["inputs"].keys()
                waiting.append((next_way, self._side_of(link) if has_sides else wanted))

    def _side_of(self, link: Link) -> str:
        """Which side a node that takes both gives here: positive first, then negative."""
        before = link.slot
        known = self._object_info and self._object_info.get(self.graph[link.node_id]["class_type"])
        if known:
            before = sum(output.type == "CONDITIONING" for output in known.outputs[: link.slot])
        return "positive" if before == 0 else "negative"

    def _schedule(self, sampler: str, name: str) -> Iterator[Found]:
        for way in self._along(sampler, ("sigmas",), lambda node: name in node["inputs"]):
            yield self.holder(way, name, NUMBER)

    def _latents_of(self, sampler: str) -> list[str]:
        return [way.node_id for way in self._along(sampler, _LATENT_INPUTS, is_empty_latent)]

    def _along(
        self, start: str, names: tuple[str, ...], wanted: Callable[[Node], bool]
    ) -> Iterator[Way]:
        """The nearest nodes that are wanted, from `start` on along inputs of these names."""
        waiting, seen = [Way(start, self.name(start))], {start}
        for way in waiting:  # grows while it is walked
            node = self.graph[way.node_id]
            if wanted(node):
                yield way
                continue
            for name in names:
                link = as_link(node["inputs"].get(name))
                if link is not None and link.node_id in self.graph and link.node_id not in seen:
                    seen.add(link.node_id)
                    waiting.append(self._step(way, name, link.node_id))

    def _step(self, way: Way, input_name: str, node_id: str) -> Way:
        return Way(node_id, f".{input_name} → {self.name(node_id)}", way)


def is_sampler(node: Node) -> bool:
    """True for a node that turns a latent into another by a model and conditioning."""
    inputs = node["inputs"]
    guided = as_link(inputs.get("guider")) is not None or {"positive", "negative"} <= inputs.keys()
    return guided and "latent_image" in inputs


def is_text_encoder(node: Node) -> bool:
    """True for a node that makes conditioning from text; GLIGEN's boxes only add to one."""
    inputs = node["inputs"]
    has_text = any(name in inputs for name in TEXT_INPUTS)
    from_clip = "clip" in inputs and "conditioning_to" not in inputs
    return has_text and (from_clip or "TextEncode" in node["class_type"])


def is_empty_latent(node: Node) -> bool:
    """True for EmptyLatentImage, EmptySD3LatentImage and their like."""
    class_type = node["class_type"]
    return class_type.startswith("Empty") and "Latent" in class_type and "width" in node["inputs"]


def is_picture_loader(node: Node, classes: tuple[str, ...] = _PICTURE_LOADERS) -> bool:
    """True for a node that loads a picture by its name."""
    return node["class_type"] in classes and "image" in node["inputs"]


def loads_model(node: Node) -> bool:
    """True for a node that loads a model from a file."""
    return any(name in node["inputs"] for name in _MODEL_FILES)


def _may_hold(value: object, kind: Kind) -> bool:
    return as_link(value) is not None or type(value) in kind.types


def _conditioning_inputs(inputs: Mapping[str, object], side: str) -> list[str]:
    if side in inputs:
        return [side]
    is_guider = "model" in inputs  # BasicGuider takes one conditioning, the positive one
    if "positive" in inputs or "negative" in inputs or (is_guider and side == "negative"):
        return []
    return [name for name in inputs if name.startswith("conditioning")]


def _unique(found: Iterable[Found]) -> list[Found]:
    """Each place once, however many paths lead there."""
    unique: dict[object, Found] = {}
    for item in found:
        unique.setdefault(item.key if isinstance(item, Spot) else item, item)
    return list(unique.values())
