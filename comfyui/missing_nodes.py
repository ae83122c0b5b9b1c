"""Nodes that a server lacks: passed through where the graph makes sense without them.

Owns what may stand in for a missing node: the editor's bypass (an input of the type that the output
had), a text or number written straight into the input it was for, the branch that a switch selects.
What nothing can stand in for (a loader, a sampler) is an error that names the node's pack. Pure:
works on a copy, in time linear in the graph's size. Who is told of the bypass is the caller's
affair. Which classes a server replaces itself is not known here: those nodes are `kept`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from comfyui.graph import Graph, Link, Node, as_link, described, links_of, output_nodes, title_of
from comfyui.loading import copy_graph
from comfyui.node_packs import pack_of_node
from comfyui.object_info import ANY, COMBO, ObjectInfo
from comfyui.validation import WorkflowProblem
from image_provider import WorkflowError

_ANYTHING = (ANY, "COMFY_MATCHTYPE_V3")
_TEXTS = (
    *("prompt", "prompt_text", "user_prompt", "custom_prompt", "text", "user_text", "question"),
    *("query", "positive", "string", "value", "populated_text", "wildcard_text"),
)
_NUMBERS = ("value", "int", "float", "number", "seed", "noise_seed")


class _Values(NamedTuple):
    """The plain values that a type of input takes, and which inputs may hold one for another."""

    types: tuple[type, ...]
    names: tuple[str, ...] = ()


_VALUES = {
    "STRING": _Values((str,), _TEXTS),
    "INT": _Values((int,), _NUMBERS),
    "FLOAT": _Values((int, float), _NUMBERS),
    "BOOLEAN": _Values((bool,), ("value", "boolean")),
    COMBO: _Values((str, int, float, bool)),
    ANY: _Values((str, int, float, bool)),
}
_NO_VALUES = _Values(())
# A node with one of these that gives a latent makes it; it does not just change the one it takes.
_SAMPLING = frozenset({"steps", "cfg", "sampler_name", "scheduler", "sigmas", "guider"})
_SELECTORS = {
    *("select", "index", "input", "selector", "selection", "switch"),
    *("boolean", "condition", "cond", "mode", "choice"),
}
_BRANCHES = {
    True: ("on_true", "true", "if_true", "tt_value"),
    False: ("on_false", "false", "if_false", "ff_value"),
}
_NUMBERED = re.compile(r"(\d+)(_opt)?$")
# Takes its first input that is not empty (py/any_switch.py); in an API graph those are all.
_FIRST_OF_ALL = "Any Switch (rgthree)"
_MAX_SUGGESTIONS = 5
"""Problems that name what comes close: comparing is slow."""


class BypassedNode(NamedTuple):
    """A node that the server lacks, and in words how the graph does without it."""

    node_id: str
    class_type: str
    title: str
    how: str
    pack: str | None = None

    def __str__(self) -> str:
        source = f" (of {self.pack})" if self.pack else ""
        return f"{described(*self[:3])} is not on the server{source}: {self.how}"


@dataclass(frozen=True)
class Bypassed:
    """A graph without the nodes that the server lacks, and what became of each."""

    graph: Graph
    bypassed: list[BypassedNode]


def bypass_missing(graph: Graph, object_info: ObjectInfo, kept: Collection[str] = ()) -> Bypassed:
    """A copy of the graph that needs no class the server lacks; `kept` are node ids left alone.

    Raises WorkflowError, with a problem for each node that nothing can stand in for.
    """
    return _Bypass(copy_graph(graph), object_info, kept).run()


class _Demand(NamedTuple):
    """What is asked of a missing node: an output, as a type, for an input of this name."""

    node_id: str
    slot: int
    type: str
    input_name: str


class _Offer(NamedTuple):
    """What an input of a missing node gives instead: a Link, a plain value or another _Demand."""

    input_name: str
    value: Any


class _Bypass:
    """One run over one graph, which it changes."""

    def __init__(self, graph: Graph, object_info: ObjectInfo, kept: Collection[str]) -> None:
        self.graph = graph
        self.object_info = object_info
        unknown = [i for i, node in graph.items() if node["class_type"] not in object_info]
        self.missing = {i: graph[i] for i in unknown if i not in kept}
        self.kept = [i for i in unknown if i in kept]
        self.types = self._types_of_outputs()
        self.answers: dict[_Demand, Any] = {}
        self.used: dict[str, dict[str, None]] = {node_id: {} for node_id in self.missing}
        self.failures: dict[str, str] = {}

    def run(self) -> Bypassed:
        if not self.missing:
            return Bypassed(self.graph, [])
        running = self._relink_running(self._outputs())
        for node_id in self.graph:
            if node_id not in running and node_id not in self.missing:
                # It does not run: a link that nothing can stand in for may as well go.
                for demand in self._relink(node_id):
                    del self.graph[node_id]["inputs"][demand.input_name]
        if self.failures:
            raise self._error()
        bypassed = [self._bypassed(node_id) for node_id in self.missing]
        staying = {i: node for i, node in self.graph.items() if i not in self.missing}
        return Bypassed(staying, bypassed)

    def _outputs(self) -> list[str]:
        """The nodes that stay and give results; to have none fails those missing at the ends."""
        known = output_nodes(self.graph, self.object_info)
        outputs = [node_id for node_id in known if node_id not in self.missing] + self.kept
        if not outputs:
            used = {link.node_id for node in self.graph.values() for _, link in links_of(node)}
            ends = (node_id for node_id in self.missing if node_id not in used)
            self.failures.update(dict.fromkeys(ends, "without it the workflow has no output"))
        return outputs

    def _relink_running(self, outputs: Iterable[str]) -> set[str]:
        """Does without missing nodes wherever it counts; the nodes that feed an output then."""
        running = dict.fromkeys(outputs)
        waiting = list(running)
        for node_id in waiting:  # grows while it is walked
            for demand in self._relink(node_id):
                self._fail(node_id, demand)
            for _, link in links_of(self.graph[node_id]):
                known = link.node_id in self.graph and link.node_id not in self.missing
                if known and link.node_id not in running:
                    running[link.node_id] = None
                    waiting.append(link.node_id)
        return set(running)

    def _relink(self, node_id: str) -> list[_Demand]:
        """Gives the inputs of a node what stands in for missing nodes; what is left without."""
        inputs, left = self.graph[node_id]["inputs"], []
        for name, link in list(links_of(self.graph[node_id])):
            if link.node_id in self.missing:
                demand = self._demand(node_id, name, link)
                found = self._resolve(demand)
                if found is None:
                    left.append(demand)
                else:
                    inputs[name] = list(found) if isinstance(found, Link) else found
        return left

    def _demand(self, node_id: str, name: str, link: Link) -> _Demand:
        input_type = self._input_type(node_id, name)
        if input_type in _ANYTHING:
            input_type = self.types.get(link, ANY)
        return _Demand(link.node_id, link.slot, input_type, name)

    def _types_of_outputs(self) -> dict[Link, str]:
        """The types of the missing nodes' outputs, as the inputs of known classes tell."""
        types: dict[Link, str] = {}
        for node_id, node in self.graph.items():
            for name, link in links_of(node):
                if link.node_id in self.missing:
                    input_type = self._input_type(node_id, name)
                    if input_type not in _ANYTHING:
                        types.setdefault(link, input_type)
        return types

    def _input_type(self, node_id: str, name: str) -> str:
        known = self.object_info.get(self.graph[node_id]["class_type"])
        return known.inputs[name].type if known and name in known.inputs else ANY

    def _resolve(self, wanted: _Demand) -> Any:
        """The link or plain value that stands in for an output of a missing node, or None.

        Where that comes from a missing node again, the same is asked of it; each thing once.
        """
        way = [(wanted, iter([_Offer("", wanted)]))]
        tried: dict[_Demand, str] = {}
        while way:
            demand, offers = way[-1]
            offer = next(offers, None)
            if offer is None:
                way.pop()
                continue
            tried[demand] = offer.input_name
            found = offer.value
            if isinstance(found, _Demand):
                if found not in self.answers:
                    self.answers[found] = None  # what feeds itself gives nothing
                    way.append((found, self._offers(found)))
                    continue
                found = self.answers[found]
            if found is not None:
                for passed, _ in way[1:]:
                    self.answers[passed] = found
                    self.used[passed.node_id][tried[passed]] = None
                return found
        return None

    def _offers(self, demand: _Demand) -> Iterator[_Offer]:
        """What the inputs of a missing node could give instead, the likeliest first."""
        node = self.graph[demand.node_id]
        if _never(node, demand.type):
            return
        uncertain = []  # an output that may be anything is taken last
        for name in self._candidates(demand):
            value = node["inputs"][name]
            link = as_link(value)
            if link is None:
                if _is_value_for(demand, node, name):
                    yield _Offer(name, value)
            elif link.node_id in self.missing:
                yield _Offer(name, _Demand(link.node_id, link.slot, demand.type, name))
            elif (fits := self._fits(link, demand.type)) is not None:
                if fits:
                    yield _Offer(name, link)
                else:
                    uncertain.append(_Offer(name, link))
        yield from uncertain

    def _candidates(self, demand: _Demand) -> Iterable[str]:
        """The inputs of a missing node that may stand in for the output, the likeliest first."""
        node = self.graph[demand.node_id]
        inputs, linked = node["inputs"], [name for name, _ in links_of(node)]
        if _is_switch(node):
            return self._selected(demand.node_id)
        if demand.type == ANY:
            names = linked or list(inputs)
            return names if len(names) == 1 else []
        # The same name, then the same place (as the editor's bypass does), then any.
        same_place = linked[demand.slot : demand.slot + 1] if demand.slot >= 0 else []
        names = [demand.input_name, *_values_for(demand.type).names, *same_place, *inputs]
        return dict.fromkeys(name for name in names if name in inputs)

    def _selected(self, node_id: str) -> list[str]:
        """The inputs that a switch may pass on by its selector; none where that is not known."""
        inputs = self.graph[node_id]["inputs"]
        if self.graph[node_id]["class_type"] == _FIRST_OF_ALL:
            return [name for name in inputs if name.startswith("any_")]
        selectors = [name for name in inputs if name.lower() in _SELECTORS]
        if len(selectors) != 1:
            return []
        match self._held(inputs[selectors[0]]):
            case bool(choice):
                return [name for name in inputs if name.lower() in _BRANCHES[choice]]
            case int(number):
                numbers = {name: _NUMBERED.search(name) for name in inputs}
                return [
                    name for name, found in numbers.items() if found and int(found[1]) == number
                ]
            case str(label):
                return [name for name in inputs if name.lower() == label.lower()]
            case _:
                return []

    def _held(self, value: Any) -> Any:
        """A plain value, followed through nodes that do nothing but hold one; None if computed."""
        seen: set[str] = set()
        while (link := as_link(value)) is not None:
            node = self.graph.get(link.node_id)
            if node is None or link.node_id in seen or len(node["inputs"]) != 1:
                return None
            seen.add(link.node_id)
            (value,) = node["inputs"].values()
        return value

    def _fits(self, link: Link, wanted: str) -> bool | None:
        """Whether an output of a node that stays is of the wanted type; False for perhaps."""
        if link.node_id not in self.graph:
            return None
        known = self.object_info.get(self.graph[link.node_id]["class_type"])
        if known is None:
            return False
        if not 0 <= link.slot < len(known.outputs):
            return None
        given = known.outputs[link.slot].type
        if given in _ANYTHING:
            return False
        return True if wanted == ANY or set(_parts(given)) & set(_parts(wanted)) else None

    def _fail(self, node_id: str, demand: _Demand) -> None:
        """Notes a missing node that nothing stands in for, and the missing ones that it needs."""
        missing, wanted = self.graph[demand.node_id], demand.type
        reason = _never(missing, wanted) or "no input of it can stand in for that"
        if _is_switch(missing):
            reason = "which input it passes on is not known, or that one is not of this type"
        need = "its output" if wanted == ANY else f"{wanted} from it"
        self.failures.setdefault(
            demand.node_id, f"{self._name(node_id)} needs {need}, and {reason}"
        )
        waiting = [demand.node_id]
        for consumer in waiting:  # grows while it is walked
            for _, link in links_of(self.graph[consumer]):
                if link.node_id in self.missing and link.node_id not in self.failures:
                    self.failures[link.node_id] = f"{self._name(consumer)} needs it"
                    waiting.append(link.node_id)

    def _name(self, node_id: str) -> str:
        node = self.graph[node_id]
        return described(node_id, node["class_type"], title_of(node))

    def _bypassed(self, node_id: str) -> BypassedNode:
        node, used = self.missing[node_id], " and ".join(self.used[node_id])
        how = f"what goes into it as {used} is used instead" if used else "left out as not needed"
        pack = pack_of_node(node)
        return BypassedNode(node_id, node["class_type"], title_of(node), how, pack)

    def _error(self) -> WorkflowError:
        failed = [node_id for node_id in self.missing if node_id in self.failures]
        problems = [self._problem(i, n < _MAX_SUGGESTIONS) for n, i in enumerate(failed)]
        return WorkflowError(
            "the server lacks nodes that the workflow cannot do without: "
            + "; ".join(problem.message for problem in problems),
            node_id=problems[0].node_id,
            class_type=problems[0].class_type,
            problems=problems,
        )

    def _problem(self, node_id: str, suggest: bool) -> WorkflowProblem:
        node = self.missing[node_id]
        class_type, title = node["class_type"], title_of(node)
        pack = pack_of_node(node) or "that have it, or a newer ComfyUI,"
        message = (
            f"{self._name(node_id)}: {self.failures[node_id]}; "
            f"install the custom nodes {pack} on the server"
        )
        close = _closest(class_type, self.object_info) if suggest else []
        if close:
            message += f"; closest there: {', '.join(close)}"
        return WorkflowProblem("unknown_node", node_id, class_type, title, None, message)


def _closest(class_type: str, known: Iterable[str]) -> list[str]:
    names = {name.lower(): name for name in known}
    return [names[match] for match in difflib.get_close_matches(class_type.lower(), names)]


def _parts(types: str) -> list[str]:
    return [part.strip() for part in types.split(",")]


def _values_for(input_type: str) -> _Values:
    return next((_VALUES[part] for part in _parts(input_type) if part in _VALUES), _NO_VALUES)


def _is_value_for(demand: _Demand, node: Node, name: str) -> bool:
    """Whether a plain value of a missing node may stand in for its output."""
    values = _values_for(demand.type)
    named = name == demand.input_name or name in values.names
    chosen = named or demand.type == ANY or _is_switch(node)
    return chosen and type(node["inputs"][name]) in values.types


def _is_switch(node: Node) -> bool:
    return "switch" in node["class_type"].lower()


def _never(node: Node, wanted: str) -> str | None:
    """Why nothing stands in for a node although its inputs have the type; None where it may."""
    if wanted == "LATENT" and not _SAMPLING.isdisjoint(node["inputs"]):
        return "it is a sampler: what goes in is not sampled yet"
    if "Preprocessor" in node["class_type"]:
        return "the picture that goes in is not preprocessed yet"
    return None
