"""Along the links of a graph, to where a value is kept.

Owns going past switches on their active branch, through primitives, and through what puts texts
together. Pure: reads a graph, changes nothing. A `Spot` is an input that can be written, with the
path that led to it; a `DeadEnd` says why there is none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from math import inf
from typing import NamedTuple

from comfyui.graph import Graph, Link, as_link, consumers, links_of
from comfyui.prompt_texts import fills_in, is_template, source_names, user_score
from comfyui.switches import handed_on, switch_of

_LONGEST_PATH = 30
"""Steps that a path is told in; of a longer one the first and the last ones."""


class Kind(NamedTuple):
    """A kind of plain value: the inputs of value nodes that hold one, and its types."""

    inputs: tuple[str, ...]
    types: tuple[type, ...]


TEXT = Kind(("value", "text", "string", "prompt", "wildcard_text", "positive", "negative"), (str,))
FLAG = Kind(("value", "boolean", "int", "number"), (bool, int))
NUMBER = Kind(("value", "int", "float", "number", "seed", "noise_seed"), (int, float))

# Nodes that give several values, by their slots: KSampler Config (rgthree-comfy, py/).
_VALUES_BY_SLOT = {"KSampler Config (rgthree)": ("steps_total", "refiner_step", "cfg")}
# Texts of both sides on one node, which gives them in this order: SDXLPromptStyler, easy-use.
_SIDED_TEXTS = (("text_positive", "text_negative"), ("positive", "negative"))
_FILLED_FROM = {"wildcard_text": "populated_text"}
"""Inputs that are typed into, and what a pack fills from them when it does (Impact Pack)."""


@dataclass(frozen=True, eq=False, repr=False)
class Way:
    """A node and how it was reached; put into words only where somebody reads them."""

    node_id: str
    words: str
    before: Way | None = None
    start: str = ""
    steps: int = 0

    def then(self, node_id: str, words: str) -> Way:
        """The way one step on."""
        return Way(node_id, words, self, self.start or self.words, self.steps + 1)

    def __str__(self) -> str:
        words, way = [self.words], self
        while way.before is not None and len(words) < _LONGEST_PATH:
            way = way.before
            words.append(way.words)
        if way.before is not None:
            words[-1] = words[-1][words[-1].find(" → ") :]
            words += [f" → … {way.steps - 1} more …", self.start]
        return "".join(reversed(words))


@dataclass(frozen=True)
class Spot:
    """A writable input, and in words how it was found."""

    node_id: str
    input_name: str
    path: str | Way = field(compare=False)

    @property
    def key(self) -> tuple[str, str]:
        """Node and input: the same for the same place, by whatever path."""
        return self.node_id, self.input_name


@dataclass(frozen=True)
class DeadEnd:
    """Why following the links led to no input that could be written.

    `rivals` are the inputs whose texts are put together there, when several may be the user's.
    """

    reason: str
    rivals: tuple[Spot, ...] = field(default=(), compare=False)


Found = Spot | DeadEnd


class Follower:
    """Follows the links of one graph."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._past: dict[str, tuple[str, str, str]] = {}

    def holder(self, at: str | Way, name: str, kind: Kind) -> Found:
        """Where the value of an input is kept: there, or behind the links that it arrives by.

        A text that is put together from several is kept where the user would type his part.
        """
        way = Way(at, self.name(at)) if isinstance(at, str) else at
        ended = self._kept(way, name, kind, {way.node_id})
        if not isinstance(ended, Way):
            return ended
        parts = self._parts(ended) if kind is TEXT else {}
        highest = max(parts.values(), default=None)
        best = [spot for spot, score in parts.items() if score == highest]
        if len(best) == 1:
            return best[0]
        return DeadEnd(f"{way}.{name} is computed by {self.name(ended.node_id)}", tuple(best))

    def text_holders(self, at: str | Way, name: str) -> list[Found]:
        """`holder` of a text, with the input that is filled from that one, where there is one."""
        found = self.holder(at, name, TEXT)
        if not isinstance(found, Spot) or found.input_name not in _FILLED_FROM:
            return [found]
        filled = _FILLED_FROM[found.input_name]
        if not isinstance(self.graph[found.node_id]["inputs"].get(filled), str):
            return [found]
        return [found, Spot(found.node_id, filled, f"filled from {found.path}")]

    def _kept(self, way: Way, name: str, kind: Kind, seen: set[str]) -> Found | Way:
        """Where a value is kept; the way to the node that computes it where one does."""
        node_id = way.node_id
        way = way.then(node_id, f".{name}")
        while True:
            node_id, name, passed = self.past_switches(node_id, name)
            way = way.then(node_id, passed) if passed else way
            link = as_link(self.graph[node_id]["inputs"].get(name))
            if link is None:
                return Spot(node_id, name, way)
            if link.node_id not in self.graph or link.node_id in seen:
                return DeadEnd(f"{way} links to a node that is not there, or to itself")
            node_id = link.node_id
            seen.add(node_id)
            names = self._value_inputs(link, kind)
            if len(names) != 1:
                return way.then(node_id, f" → {self.name(node_id)}")
            name = names[0]
            way = way.then(node_id, f" → {self.name(node_id)}.{name}")

    def _value_inputs(self, link: Link, kind: Kind) -> list[str]:
        """The inputs of a node that may hold the value which it gives at an output."""
        node = self.graph[link.node_id]
        names = kind.inputs
        if kind is NUMBER and node["class_type"] in _VALUES_BY_SLOT:
            names = _VALUES_BY_SLOT[node["class_type"]][link.slot : link.slot + 1]
        inputs = node["inputs"]
        if kind is TEXT:
            if fills_in(inputs):
                return []
            pairs = (pair for pair in _SIDED_TEXTS if inputs.keys() >= {*pair})
            names = next((pair[link.slot : link.slot + 1] for pair in pairs), names)
        return [key for key in names if key in inputs and _may_hold(inputs[key], kind)]

    def _parts(self, way: Way) -> dict[Spot, tuple[int, bool, float]]:
        """Every text that a node puts together, by whatever nodes between, and how it scores.

        Of equal ones the user's is what another is not put into, then what has a node of its own,
        then what is put together first.
        """
        waiting, seen, parts = [way], {way.node_id}, {}
        for way in waiting:  # grows while it is walked
            inputs = self.graph[way.node_id]["inputs"]
            for name in source_names(inputs):
                ended = self._kept(way, name, TEXT, seen)
                if isinstance(ended, Way):
                    waiting.append(ended)
                elif isinstance(ended, Spot):
                    node, rank = self.graph[ended.node_id], inf
                    if ended.node_id == way.node_id:
                        rank = way.steps
                    is_whole = not is_template(inputs, node["inputs"][ended.input_name])
                    parts[ended] = user_score(node, ended.input_name), is_whole, rank
        return parts

    def past_switches(self, node_id: str, name: str) -> tuple[str, str, str]:
        """The input that really decides: past switches, on the branch that is active."""
        first = as_link(self.graph[node_id]["inputs"].get(name))
        if first is None:
            return node_id, name, ""
        if first.node_id not in self._past:
            self._past[first.node_id] = self._walk_switches(node_id, name)
        past = self._past[first.node_id]
        return past if past[2] else (node_id, name, "")

    def _walk_switches(self, node_id: str, name: str) -> tuple[str, str, str]:
        passed, seen = [], {node_id}
        while (link := as_link(self.graph[node_id]["inputs"].get(name))) is not None:
            if link.node_id not in self.graph or link.node_id in seen:
                break
            following = handed_on(self.graph, link.node_id)
            if following is None:
                break
            node_id, name = link.node_id, following
            seen.add(node_id)
            passed.append(f" → {self.name(node_id)}.{name}")
        return node_id, name, "".join(passed)

    def active_upstream(self, node_ids: Iterable[str]) -> set[str]:
        """These nodes and all that feed them, without the branches that switches leave out."""
        waiting = [node_id for node_id in node_ids if node_id in self.graph]
        found = set(waiting)
        while waiting:
            for _, link in self.active_links(waiting.pop()):
                if link.node_id in self.graph and link.node_id not in found:
                    found.add(link.node_id)
                    waiting.append(link.node_id)
        return found

    def active_links(self, node_id: str) -> Iterator[tuple[str, Link]]:
        """The linked inputs of a node; of a switch the chosen one and what chooses."""
        node = self.graph[node_id]
        chosen = handed_on(self.graph, node_id)
        switch = None if chosen is None else switch_of(node)
        for name, link in links_of(node):
            if chosen is None or name in (chosen, switch and switch.selector):
                yield name, link

    def follow(self, way: Way, name: str) -> tuple[Link, Way] | None:
        """The node behind an input, past switches; None when there is none."""
        node_id, last, passed = self.past_switches(way.node_id, name)
        link = as_link(self.graph[node_id]["inputs"].get(last))
        if link is None or link.node_id not in self.graph:
            return None
        return link, way.then(link.node_id, f".{name}{passed} → {self.name(link.node_id)}")

    def name(self, node_id: str) -> str:
        """Class and id, as paths show a node."""
        return f"{self.graph[node_id]['class_type']} {node_id}"


def spots_of(found: Iterable[Found]) -> list[Spot]:
    """The places that can be written."""
    return [item for item in found if isinstance(item, Spot)]


def downstream(node_ids: Iterable[str], takers: Mapping[str, Iterable[str]]) -> set[str]:
    """Every node that takes from one of these, directly or by others."""
    waiting, found = list(node_ids), set[str]()
    for node_id in waiting:  # grows while it is walked
        new = set(takers.get(node_id, ())) - found
        found |= new
        waiting += new
    return found


def takers_in(graph: Graph) -> dict[str, list[str]]:
    """For every node that is linked to, the nodes that take from it."""
    return {i: [consumer.node_id for consumer in used] for i, used in consumers(graph).items()}


def _may_hold(value: object, kind: Kind) -> bool:
    return as_link(value) is not None or type(value) in kind.types
