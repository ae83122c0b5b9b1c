"""Where the source picture and the mask are loaded.

Owns what a picture is in a graph for: the one that the sampler starts from, a reference, a control
picture, a mask. Links are followed with `comfyui/tracing.py`. Pure: reads a graph, changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from typing import NamedTuple

from comfyui.following import TEXT, DeadEnd, Found, Spot, Way, takers_in
from comfyui.graph import Link, Node, links_of, upstream
from comfyui.node_roles import LATENT_INPUTS, mask_input, mask_inputs, picture_input, picture_inputs
from comfyui.object_info import ObjectInfo
from comfyui.tracing import Tracer

_TO_MASK = re.compile(r"Image\w*ToMask")
_TO_PICTURE = "MaskToImage"
_RESHAPING = re.compile(r"Scale|Resize|Crop|Invert|Flip|Rotate|Blur|Grow|Feather|Threshold")
"""Classes that give the picture which they take, in another form."""
_MASK_PARTS = ("destination", "source")
"""What MaskComposite puts together."""
_CONDITIONING = ("cond", "positive", "negative")


class _Step(NamedTuple):
    """An output on the way back from what takes a mask; `as_picture` before it becomes one."""

    link: Link
    way: Way
    as_picture: bool


class Pictures:
    """The look-ups over one graph, by the tracer of a binding."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        self._graph = tracer.graph
        self._info = tracer.object_info

    @cached_property
    def source(self) -> Found:
        """Where the picture is named that a sampler starts from, else a reference, else any."""
        way = self._source_loader
        return self._nowhere(picture_input) if way is None else self._held(way)

    @cached_property
    def _source_loader(self) -> Way | None:
        tracer = self._tracer
        starts = [Way(node_id, tracer.name(node_id)) for node_id in tracer.samplers]
        conditioning = [way for way, _ in tracer.conditioning(tracer.samplers, "positive")]
        references = [way for way in conditioning if "control_net" not in self._inputs(way.node_id)]
        # What is nearest to the text was given first.
        references.sort(key=lambda way: -way.steps)
        for way in self._loaders([*starts, *references]):
            return way
        for node_id in tracer.running:
            users = tracer.users(node_id, 0)
            # What only becomes a mask is no picture.
            if self._loads(node_id) and not (users and all(map(_TO_MASK.search, users))):
                return Way(node_id, tracer.name(node_id))
        return None

    @cached_property
    def mask(self) -> Found:
        """Where the mask of what a sampler changes is named; another mask where it has none.

        It is in the source's own file where its alpha is the mask. A mask that keeps a text to a
        region of the picture says nothing of what may change.
        """
        tracer = self._tracer
        changing = tracer.along(tracer.samplers, LATENT_INPUTS, "LATENT", self._takes_mask)
        ways = list(changing) or self._other_masks()
        for found in self._mask_loaders(ways, set()):
            return found
        return self._nowhere(mask_input)

    def _other_masks(self) -> Iterator[Way]:
        """The nodes that take a mask which is none of a region's."""
        regional = set[tuple[Link, bool]]()
        for _ in self._mask_loaders(filter(self._keeps_to_region, self._masked), regional):
            pass
        steps = {link.node_id for link, _ in regional}
        for way in self._masked:
            if way.node_id not in steps and not self._keeps_to_region(way):
                yield way

    @cached_property
    def _masked(self) -> list[Way]:
        """The nodes that take a mask, in file order."""
        running = self._tracer.running
        taking = (node_id for node_id in running if self._takes_mask(self._graph[node_id]))
        return [Way(node_id, self._tracer.name(node_id)) for node_id in taking]

    def _takes_mask(self, node: Node) -> bool:
        return bool(mask_inputs(node, self._info))

    def _keeps_to_region(self, way: Way) -> bool:
        """Whether a node takes a mask for a text alone, as ConditioningSetMask does."""
        node = self._graph[way.node_id]
        names = [name for name, _ in links_of(node)]
        shows = picture_inputs(node, self._info) or set(LATENT_INPUTS) & {*names}
        return not shows and any(name.startswith(_CONDITIONING) for name in names)

    def _loaders(self, starts: Iterable[Way]) -> Iterator[Way]:
        """The loaders of pictures behind these nodes, the main picture of each first."""
        seen = set[str]()
        for start in starts:
            waiting = [start]
            while waiting:
                way = waiting.pop()
                if way.node_id in seen:
                    continue
                seen.add(way.node_id)
                if self._loads(way.node_id):
                    yield way
                    continue
                node = self._graph[way.node_id]
                names = self._tracer.carrying(way.node_id, LATENT_INPUTS, "LATENT")
                for name in reversed([*names, *picture_inputs(node, self._info)]):
                    followed = self._tracer.follow(way, name)
                    if followed is not None:
                        waiting.append(followed[1])

    def _mask_loaders(self, ways: Iterable[Way], seen: set[tuple[Link, bool]]) -> Iterator[Found]:
        """Where the masks that these nodes take are loaded; `seen` has what was passed."""
        own = self._source_loader.node_id if self._source_loader is not None else None
        for start in ways:
            node = self._graph[start.node_id]
            waiting = list(self._steps(start, mask_inputs(node, self._info), False))
            for step in waiting:  # grows while it is walked
                if (step.link, step.as_picture) in seen:
                    continue
                seen.add((step.link, step.as_picture))
                node_id, node = step.link.node_id, self._graph[step.link.node_id]
                name = mask_input(node, self._info)
                if name is not None:
                    yield self._tracer.holder(step.way, name, TEXT)
                elif not self._loads(node_id):
                    waiting += self._further(step)
                elif step.as_picture:
                    if node_id != own:  # a mask of what the source shows is not given
                        yield self._held(step.way)
                elif step.link.slot > 0:
                    how = " (its mask is the picture's alpha)" if node_id == own else ""
                    yield self._held(step.way, how)

    def _further(self, step: _Step) -> Iterator[_Step]:
        node = self._graph[step.link.node_id]
        class_type = node["class_type"]
        if not step.as_picture and _TO_MASK.search(class_type) is None:
            parts = [name for name in _MASK_PARTS if name in node["inputs"]]
            names = dict.fromkeys([*mask_inputs(node, self._info), *parts])
            return self._steps(step.way, names, False)
        if step.as_picture and class_type == _TO_PICTURE:
            return self._steps(step.way, mask_inputs(node, self._info), False)
        is_passing = not step.as_picture or _RESHAPING.search(class_type) is not None
        names = dict.fromkeys(picture_inputs(node, self._info) if is_passing else ())
        return self._steps(step.way, names, True)

    def _steps(self, way: Way, names: Iterable[str], as_picture: bool) -> Iterator[_Step]:
        for name in names:
            followed = self._tracer.follow(way, name)
            if followed is not None:
                yield _Step(*followed, as_picture)

    def _inputs(self, node_id: str) -> dict[str, object]:
        return self._graph[node_id]["inputs"]

    def _loads(self, node_id: str) -> bool:
        return picture_input(self._graph[node_id], self._info) is not None

    def _held(self, way: Way, how: str = "") -> Found:
        """Where the name of the file that a loader takes is kept."""
        name = picture_input(self._graph[way.node_id], self._info) or "image"
        found = self._tracer.holder(way, name, TEXT)
        return Spot(*found.key, f"{found.path}{how}") if how and isinstance(found, Spot) else found

    def _nowhere(self, loads: Callable[[Node, ObjectInfo | None], str | None]) -> DeadEnd:
        """Why there is no place: no loader, or one that a switch leaves out."""
        graph, running = self._graph, {*self._tracer.running}
        for node_id in upstream(graph, self._tracer.outputs):
            if node_id not in running and loads(graph[node_id], self._info) is not None:
                takers, waiting = takers_in(graph), [node_id]
                for taker in waiting:  # grows while it is walked
                    if taker in running:
                        one, switch = self._tracer.name(node_id), self._tracer.name(taker)
                        return DeadEnd(f"{one} loads one, but {switch} leaves it out")
                    waiting += (i for i in takers.pop(taker, ()))
        return DeadEnd("no node of the workflow loads one")
