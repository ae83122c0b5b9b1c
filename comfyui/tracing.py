"""Where the parameters of a generation live in a graph, found by following links from the samplers.

Owns the knowledge of which inputs carry conditioning, models, latents and plain values between
nodes; what a node is for is told by `comfyui/node_roles.py`, pictures and masks are found by
`comfyui/pictures.py`. Pure: reads a graph, changes nothing.
Nodes that feed no output do not count. Every walk goes over a node once, however many lead there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import cached_property

from comfyui.following import (
    NUMBER,
    TEXT,
    DeadEnd,
    Follower,
    Found,
    Spot,
    Way,
    downstream,
    spots_of,
    takers_in,
)
from comfyui.graph import Graph, Link, Node, as_link, links_of, output_nodes
from comfyui.node_roles import (
    LATENT_INPUTS,
    NEGATIVE_PROMPT,
    PROMPT_INPUTS,
    ZERO_OUT,
    conditioning_inputs,
    has_both_sides,
    inputs_called,
    is_maker,
    is_sampler,
    is_text_encoder,
    makes_latent,
    model_file,
    size_input,
    text_inputs,
    typed_inputs,
)
from comfyui.object_info import DYNAMIC_COMBO, ObjectInfo
from comfyui.switches import held_value

SEED_INPUTS = ("seed", "noise_seed", "noise")
_NOT_KEPT = "Preview"
"""How the classes of outputs begin whose pictures are only looked at."""
CFG_INPUTS = ("cfg", "cfg_conds")
_MODEL_INPUTS = ("model", "model1", "unet")
_SIZE_FOLLOWERS = ("CLIPTextEncodeSDXL", "CLIPTextEncodeSDXLRefiner", "ModelSamplingFlux")
"""Classes that may be told the size of the latent once more."""


class Tracer(Follower):
    """The look-ups over one graph; built once for a binding."""

    def __init__(self, graph: Graph, object_info: ObjectInfo | None = None) -> None:
        super().__init__(graph)
        self.object_info = object_info
        self.outputs = output_nodes(graph, object_info)
        running = self.active_upstream(self.outputs) if self.outputs else set(graph)
        self.running = [node_id for node_id in graph if node_id in running]
        """The nodes that feed an output, in file order."""
        found = [node_id for node_id in self.running if is_sampler(graph[node_id], object_info)]
        takers = takers_in(graph)
        refining = downstream(found, takers)
        self.noisy = [node_id for node_id in found if self._adds_noise(node_id)]
        """The samplers that begin a picture, or go back on one, by adding noise."""
        noisy = set(self.noisy)
        self.samplers = [i for i in found if i in noisy or i in refining] or found
        """Those that make the picture; one that only makes a control image adds no noise."""
        refining = downstream(self.samplers, takers)
        self.first_samplers = [node_id for node_id in self.samplers if node_id not in refining]
        """Those that refine no other sampler's work."""
        self.makers = [
            i for i in self.running if not found and is_maker(graph[i], self.object_info)
        ]
        """The nodes that make it by themselves, where there is no sampler."""

    def texts(self, side: str, *, of_noisy: bool = False) -> dict[str, list[Found]]:
        """The texts behind one side, "positive" or "negative", of every sampler, by encoder.

        `of_noisy` leaves out samplers that only carry on what another began, as a refiner does.
        """
        if self.makers:
            return self._texts_of_makers(side)
        found: dict[str, list[Found]] = {}
        for way, given in self.conditioning(self.noisy if of_noisy else self.samplers, side):
            node = self.graph[way.node_id]
            if node["class_type"] == ZERO_OUT:
                found[way.node_id] = [DeadEnd(f"{way} is zeroed out: there is no {side} text")]
                continue
            names = text_inputs(node, given, self.object_info)
            if names:
                texts = [text for name in names for text in self.text_holders(way, name)]
                found[way.node_id] = _unique([*found.get(way.node_id, ()), *texts])
        return found

    def _texts_of_makers(self, side: str) -> dict[str, list[Found]]:
        names = PROMPT_INPUTS if side == "positive" else (NEGATIVE_PROMPT,)
        called = {i: inputs_called(self.graph[i], names)[:1] for i in self.makers}
        return {i: self.text_holders(i, name) for i, found in called.items() for name in found}

    def of_makers(self, *names: str) -> list[Found]:
        """The numbers of these names that the makers take, one of each."""
        called = ((i, inputs_called(self.graph[i], names)[:1]) for i in self.makers)
        return _unique(self.holder(i, name, NUMBER) for i, found in called for name in found)

    def kept(self) -> set[str]:
        """The nodes that feed an output whose pictures are not only looked at."""
        outputs = (i for i in self.outputs if not self.name(i).startswith(_NOT_KEPT))
        return self.active_upstream(outputs)

    def guidance(self) -> list[Found]:
        """The `guidance` inputs that the positive conditioning passes through."""
        if self.makers:
            return self.of_makers("guidance", "guidance_scale", "cfg_scale")
        return _unique(
            self.holder(way, "guidance", NUMBER)
            for way, _ in self.conditioning(self.samplers, "positive")
            if "guidance" in self.graph[way.node_id]["inputs"]
        )

    def cfg(self) -> list[Found]:
        """`cfg` on each sampler or on its guider."""
        return _unique(
            self.holder(node_id, name, NUMBER)
            for node_id in self._conditioned(self.samplers)
            for name in CFG_INPUTS
            if name in self.graph[node_id]["inputs"]
        )

    def seeds(self) -> list[Found]:
        """The seed of every sampler that adds noise, on itself or on its noise node."""
        if self.makers:
            return self.of_makers(*SEED_INPUTS)
        return _unique(
            self.holder(node_id, name, NUMBER)
            for node_id in self.noisy
            for name, value in self.graph[node_id]["inputs"].items()
            # A noise that is no link is no seed, but how much of it.
            if name in SEED_INPUTS and (name != "noise" or as_link(value) is not None)
        )

    def steps(self) -> list[Found]:
        """`steps` of each sampler, or of the scheduler that makes its sigmas."""
        if self.makers:
            return self.of_makers("steps")
        return _unique(self._schedule(self.samplers, "steps"))

    def step_ranges(self) -> Iterator[tuple[Spot, Spot]]:
        """Inputs that name a step, each with where the number of all steps is."""
        places = [
            (node_id, name, node_id)
            for node_id in self.samplers
            for name in ("start_at_step", "end_at_step")
        ]
        places += [(node_id, "step", scheduler) for node_id, scheduler in self._sigma_takers()]
        for node_id, name, counting in places:
            inputs, counted = self.graph[node_id]["inputs"], self.graph[counting]["inputs"]
            if name in inputs and "steps" in counted:
                spot = self.holder(node_id, name, NUMBER)
                steps = self.holder(counting, "steps", NUMBER)
                if isinstance(spot, Spot) and isinstance(steps, Spot) and spot.key != steps.key:
                    yield spot, steps

    def _sigma_takers(self) -> Iterator[tuple[str, str]]:
        """Every node that takes sigmas, directly or by others, with the scheduler they are of."""
        takers: dict[str, list[str]] = {}
        for node_id in self.running:
            followed = self.follow(Way(node_id, ""), "sigmas")
            if followed is not None:
                takers.setdefault(followed[0].node_id, []).append(node_id)
        taking = {node_id for found in takers.values() for node_id in found}
        for scheduler in [node_id for node_id in takers if node_id not in taking]:
            waiting = [*takers[scheduler]]
            for node_id in waiting:  # grows while it is walked
                yield node_id, scheduler
                waiting += takers.get(node_id, ())

    def denoise(self) -> list[Found]:
        """`denoise` of each sampler that starts from a picture; not of one that refines another."""
        found = _unique(self._schedule(self._from_pictures, "denoise"))
        if found or not self.new_latents:
            return found
        maker = self.name(self.new_latents[0])
        why = f"no sampler with denoise starts from a picture: {maker} makes a new latent"
        return [DeadEnd(why)]

    @cached_property
    def new_latents(self) -> list[str]:
        """The nodes that make the latent which the picture starts from, with no picture in it."""
        ways = self.along(self.first_samplers, LATENT_INPUTS, "LATENT", self._makes_latent)
        return list(dict.fromkeys(way.node_id for way in ways))

    def size(self, name: str) -> list[Found]:
        """`width` or `height` of the new latents, and of what follows the same size."""
        if self.makers:
            return self.of_makers(name)
        info = self.object_info
        latents = [(i, size_input(self.graph[i], name, info)) for i in self.new_latents]
        places = [(node_id, key) for node_id, key in latents if key is not None]
        found = _unique(self.holder(node_id, key, NUMBER) for node_id, key in places)
        if not spots_of(found):
            return found
        sizes = {repr(self.graph[node_id]["inputs"][key]) for node_id, key in places}
        followers = [*self._sized_schedulers(name), *self._told_size(name, sizes)]
        return _unique([*found, *(self.holder(i, key, NUMBER) for i, key in followers)])

    def _sized_schedulers(self, name: str) -> Iterator[tuple[str, str]]:
        """The schedulers that shape their sigmas for a size, such as Flux2Scheduler.

        It is that of the latent which their sampler starts from, whatever number they had.
        """
        pictured = {*self._from_pictures}
        starting = [node_id for node_id in self.first_samplers if node_id not in pictured]
        for way in self.along(starting, ("sigmas",), "SIGMAS", lambda node: _makes(node, name)):
            if way.before is not None:
                yield way.node_id, name

    def _told_size(self, name: str, sizes: set[str]) -> Iterator[tuple[str, str]]:
        """Inputs of the classes that may repeat the size, where they do."""
        for node_id in self.running:
            node = self.graph[node_id]
            if node["class_type"] in _SIZE_FOLLOWERS:
                for key in (name, f"target_{name}"):
                    if repr(node["inputs"].get(key)) in sizes:
                        yield node_id, key

    def model_loaders(self) -> list[str]:
        """The nodes that load the model of each sampler that refines no other's work."""
        starts = (*self.first_samplers, *self._conditioned(self.first_samplers))
        ways = self.along(starts, _MODEL_INPUTS, "MODEL", self._loads_model)
        return list(dict.fromkeys(way.node_id for way in ways))

    def model_files(self) -> list[Found]:
        """The inputs of the model loaders that name a file, or of the makers that name a model.

        Not one whose choice brings other inputs along.
        """
        if self.makers:
            return _unique(
                self.holder(i, "model", TEXT) for i in self.makers if self._names_model(i)
            )
        named = ((i, model_file(self.graph[i], self.object_info)) for i in self.model_loaders())
        return _unique(self.holder(i, name, TEXT) for i, name in named if name is not None)

    def _names_model(self, maker: str) -> bool:
        node = self.graph[maker]
        brings_inputs = "model" in typed_inputs(node, self.object_info, DYNAMIC_COMBO)
        return "model" in node["inputs"] and not brings_inputs

    def users(self, node_id: str, slot: int) -> set[str]:
        """The classes of the nodes that take this output."""
        return self._users.get(Link(node_id, slot), set())

    @cached_property
    def _users(self) -> dict[Link, set[str]]:
        users: dict[Link, set[str]] = {}
        for node_id in self.running:
            for _, link in links_of(self.graph[node_id]):
                users.setdefault(link, set()).add(self.graph[node_id]["class_type"])
        return users

    def _loads_model(self, node: Node) -> bool:
        return model_file(node, self.object_info) is not None

    def _conditioned(self, samplers: Iterable[str]) -> list[str]:
        """The nodes that take the conditioning: the samplers themselves or their guiders."""
        found = []
        for node_id in samplers:
            guiders = typed_inputs(self.graph[node_id], self.object_info, "GUIDER") or ["guider"]
            followed = self.follow(Way(node_id, ""), guiders[0])
            found.append(node_id if followed is None else followed[0].node_id)
        return list(dict.fromkeys(found))

    def conditioning(self, samplers: Iterable[str], side: str) -> Iterator[tuple[Way, str]]:
        """Every node on one side's conditioning, the nearest first, up to the text encoders.

        Each with the side that it gives there: a node with both can be crossed on the way.
        """
        info = self.object_info
        waiting: list[tuple[Way, str]] = []
        for start in self._conditioned(samplers):
            inputs = self.graph[start]["inputs"]
            # BasicGuider takes one conditioning, the positive one.
            if side == "positive" or {"negative", "cond2"} & inputs.keys():
                waiting.append((Way(start, self.name(start)), side))
        seen: set[tuple[Link, str]] = set()
        for way, wanted in waiting:  # grows while it is walked
            for name in conditioning_inputs(self.graph[way.node_id], wanted, info):
                followed = self.follow(way, name)
                if followed is None or (followed[0], wanted) in seen:
                    continue
                link, next_way = followed
                seen.add((link, wanted))
                node = self.graph[link.node_id]
                given = self._side_of(link) if has_both_sides(node) else wanted
                yield next_way, given
                if node["class_type"] != ZERO_OUT and not is_text_encoder(node, info):
                    waiting.append((next_way, given))

    def _side_of(self, link: Link) -> str:
        """Which side a node that takes both gives here: positive first, then negative."""
        node = self.graph[link.node_id]
        known = self.object_info and self.object_info.get(node["class_type"])
        if known:
            before = sum(output.type == "CONDITIONING" for output in known.outputs[: link.slot])
        else:  # what takes or loads a model, such as Efficient Loader, gives that first
            before = link.slot - ("model" in node["inputs"] or model_file(node) is not None)
        return "positive" if before <= 0 else "negative"

    def _schedule(self, samplers: Iterable[str], name: str) -> Iterator[Found]:
        ways = self.along(samplers, ("sigmas",), "SIGMAS", lambda node: _makes(node, name))
        return (self.holder(way, name, NUMBER) for way in ways)

    @cached_property
    def _from_pictures(self) -> list[str]:
        """The first samplers whose latent comes from none that is made anew."""
        waiting, takers, new = list(self.first_samplers), dict[str, list[str]](), []
        for node_id in waiting:  # grows while it is walked
            if self._makes_latent(self.graph[node_id]):
                new.append(node_id)
                continue
            for name in self.carrying(node_id, LATENT_INPUTS, "LATENT"):
                followed = self.follow(Way(node_id, ""), name)
                if followed is not None:
                    if followed[0].node_id not in takers:
                        waiting.append(followed[0].node_id)
                    takers.setdefault(followed[0].node_id, []).append(node_id)
        left_out = downstream(new, takers)
        started = downstream(takers, takers)
        return [i for i in self.first_samplers if i in started and i not in left_out]

    def _makes_latent(self, node: Node) -> bool:
        return makes_latent(node, self.object_info)

    def along(
        self,
        starts: Iterable[str],
        names: tuple[str, ...],
        type_name: str,
        wanted: Callable[[Node], bool],
    ) -> Iterator[Way]:
        """The nearest nodes that are wanted, from each start on along inputs of these names.

        A node without any of them is left by its inputs of the type, where its class is known.
        """
        seen = set(starts := list(dict.fromkeys(starts)))
        for start in starts:
            waiting = [Way(start, self.name(start))]
            for way in waiting:  # grows while it is walked
                if wanted(self.graph[way.node_id]):
                    yield way
                    continue
                for name in self.carrying(way.node_id, names, type_name):
                    followed = self.follow(way, name)
                    if followed is not None and followed[0].node_id not in seen:
                        seen.add(followed[0].node_id)
                        waiting.append(followed[1])

    def carrying(self, node_id: str, names: tuple[str, ...], type_name: str) -> list[str]:
        """The inputs of these names that a node has, else those of the type."""
        node = self.graph[node_id]
        named = [name for name in names if name in node["inputs"]]
        return named or typed_inputs(node, self.object_info, type_name)

    def _adds_noise(self, sampler: str) -> bool:
        inputs = self.graph[sampler]["inputs"]
        if held_value(self.graph, inputs.get("add_noise")) in ("disable", False):
            return False
        followed = self.follow(Way(sampler, ""), "noise")
        return followed is None or self.graph[followed[0].node_id]["class_type"] != "DisableNoise"


def _makes(node: Node, name: str) -> bool:
    """Whether a node has sigmas of its own by this input; one that changes others' has not."""
    return name in node["inputs"] and as_link(node["inputs"].get("sigmas")) is None


def _unique(found: Iterable[Found]) -> list[Found]:
    """Each place once, however many paths lead there."""
    unique: dict[object, Found] = {}
    for item in found:
        unique.setdefault(item.key if isinstance(item, Spot) else item, item)
    return list(unique.values())
