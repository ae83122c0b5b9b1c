"""What keeps a server from running a graph, said before it is asked to.

Owns the server's rules as far as /object_info tells them (execution.py, validate_prompt and
validate_inputs), and the sentences for people. Only nodes that feed an output node are looked into,
as the server does; a class it does not have is refused anywhere. Where a class may have rules of
its own (those of custom packs, files in folders that the server does not list, inputs that come and
go with a choice) nothing is said: the server decides. Time grows linearly with the graph.
"""

from __future__ import annotations

import difflib
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from comfyui.cycles import find_cycles
from comfyui.graph import Graph, Link, as_link, described, title_of
from comfyui.node_packs import pack_of_node
from comfyui.object_info import ANY, COMBO, InputInfo, NodeInfo, ObjectInfo

ProblemKind = Literal[
    "unknown_node",
    "missing_input",
    "wrong_type",
    "out_of_range",
    "not_in_list",
    "missing_model",
    "missing_file",
    "bad_link",
    "cycle",
    "no_output",
]

_Found = tuple[ProblemKind, str]

_MATCH_TYPE = "COMFY_MATCHTYPE_V3"
_MAX_SUGGESTIONS = 20
_SHOWN = 80
"""Characters of a value that a message repeats."""

# Inputs that their class checks itself, so that neither list nor range holds
# (comfy_extras/nodes_logic.py; comfy_api_nodes/nodes_kling.py).
_OWN_RULES = {
    ("CustomCombo", "choice"),
    *(
        ("KlingCameraControls", name)
        for name in (
            "camera_control_type",
            "horizontal_movement",
            "vertical_movement",
            "pan",
            "tilt",
            "roll",
            "zoom",
        )
    ),
}


@dataclass(frozen=True)
class WorkflowProblem:
    """One thing that keeps a graph from running; `message` is a sentence with the remedy.

    `node_id`, `class_type` and `title` are None for the graph as a whole, `input_name` is None for
    a node as a whole.
    """

    kind: ProblemKind
    node_id: str | None
    class_type: str | None
    title: str | None
    input_name: str | None
    message: str


def validate(
    graph: Graph, object_info: ObjectInfo, replacements: Container[str] = ()
) -> list[WorkflowProblem]:
    """All problems at once, in the order of the graph; empty when nothing speaks against it.

    Classes in `replacements` are no problem: the server replaces them.
    """
    return list(_Validation(graph, object_info, replacements).problems())


def node_problem(
    graph: Graph, node_id: str, kind: ProblemKind, input_name: str | None, what: str
) -> WorkflowProblem:
    """A problem of a node, or of an input of it; `what` is put behind the place."""
    class_type, title = graph[node_id]["class_type"], title_of(graph[node_id])
    place = described(node_id, class_type, title) + (f", {input_name}" if input_name else "")
    return WorkflowProblem(kind, node_id, class_type, title, input_name, f"{place}: {what}")


def linked_to_nowhere(link: Link) -> str:
    """What is said of a link to a node that is not there."""
    what = f"is linked to node {link.node_id}, which is not in the workflow"
    return f"{what}; link one that is, or export the workflow again"


@dataclass
class _Validation:
    graph: Graph
    object_info: ObjectInfo
    replacements: Container[str] = ()
    suggestions_left: int = _MAX_SUGGESTIONS
    option_sets: dict[tuple[str, str], frozenset[Any]] = field(default_factory=dict)

    def problems(self) -> Iterator[WorkflowProblem]:
        outputs = [i for i in self.graph if (known := self._class(i)) and known.is_output_node]
        running = self._running(outputs)
        cycles = {path[0]: path for path in self._cycles(running)}
        for node_id in self.graph:
            known = self._class(node_id)
            if known is None:
                if self.graph[node_id]["class_type"] not in self.replacements:
                    yield self._unknown_node(node_id)
            elif node_id in running:
                yield from self._inputs(node_id, known)
            if node_id in cycles:
                yield self._cycle(cycles[node_id])
        if not outputs and not self._may_have_output():
            yield WorkflowProblem(
                "no_output",
                *(None, None, None, None),
                "no node of the workflow gives a result; add one that does, such as SaveImage",
            )

    def _class(self, node_id: str) -> NodeInfo | None:
        return self.object_info.get(self.graph[node_id]["class_type"])

    def _running(self, outputs: Iterable[str]) -> dict[str, list[str]]:
        """The nodes that feed an output, each with the nodes it takes from."""
        found: dict[str, list[str]] = {}
        waiting = list(outputs)
        while waiting:
            node_id = waiting.pop()
            if node_id not in found:
                found[node_id] = [
                    link.node_id for link in self._live_links(node_id) if link.node_id in self.graph
                ]
                waiting.extend(found[node_id])
        return found

    def _cycles(self, running: Mapping[str, list[str]]) -> Iterator[list[str]]:
        """Cycles among these nodes, each from its first node in file order."""
        order = {node_id: number for number, node_id in enumerate(self.graph)}
        for path in find_cycles(running):
            first = path.index(min(path, key=order.__getitem__))
            yield path[first:] + path[:first]

    def _live_links(self, node_id: str) -> Iterator[Link]:
        """Links that the server follows: not those of inputs which the class does not have."""
        known = self._class(node_id)
        for name, value in self.graph[node_id]["inputs"].items():
            link = as_link(value)
            if link is not None and (known is None or name.split(".")[0] in known.inputs):
                yield link

    def _may_have_output(self) -> bool:
        """Whether a node of unknown class, which may be an output, stands at an end."""
        used = {link.node_id for node_id in self.graph for link in self._live_links(node_id)}
        return any(self._class(node_id) is None and node_id not in used for node_id in self.graph)

    def _inputs(self, node_id: str, known: NodeInfo) -> Iterator[WorkflowProblem]:
        values = self.graph[node_id]["inputs"]
        for name, info in known.inputs.items():
            if info.type.startswith("COMFY_") and info.type != _MATCH_TYPE:
                continue  # stands for inputs that come and go
            if name not in values:
                found = _missing_input(info)
            elif isinstance(values[name], list):
                found = self._link(values[name], known, info)
            else:
                found = self._value(_unwrapped(values[name]), known, info)
            if found is not None:
                yield self._problem(node_id, found[0], name, found[1])

    def _link(self, value: list[Any], known: NodeInfo, info: InputInfo) -> _Found | None:
        link = as_link(value)
        if link is None:
            return "bad_link", f"{_shown(value)} is no link; a link is [node id, output slot]"
        if link.node_id not in self.graph:
            return "bad_link", linked_to_nowhere(link)
        source = self._class(link.node_id)
        if source is None:
            return None
        where = f"node {link.node_id} {source.class_type}"
        if not -len(source.outputs) <= link.slot < len(source.outputs):
            count = len(source.outputs)
            what = f"is linked to output {link.slot} of {where}, which has {count}"
            return "bad_link", f"{what} (the first is 0); link another output"
        given = source.outputs[link.slot].type
        # Custom packs may accept types by a rule of their own (VALIDATE_INPUTS, input_types).
        if known.is_custom or _fits(given, info.type):
            return None
        return "wrong_type", f"takes {info.type}, and {where} gives {given}; link another output"

    def _value(self, value: Any, known: NodeInfo, info: InputInfo) -> _Found | None:
        try:
            value = _converted(value, info.type)
        except (TypeError, ValueError, OverflowError):
            return "wrong_type", f"{_shown(value)} is not {_TYPE_WORDS[info.type]}; set one"
        own_rules = known.is_custom or (known.class_type, info.name) in _OWN_RULES
        if not own_rules and not _in_range(value, info):
            return "out_of_range", f"{_shown(value)} is outside {_range_words(info)}; set one in it"
        if info.options is None or self._is_listed(value, known, info):
            return None
        if info.upload:
            return self._missing_file(value, info)
        if info.model_folder:
            return "missing_model", self._missing_model(value, info.options, info.model_folder)
        if own_rules or not self._holds_to_list(info):
            return None
        there = self._closest(value, info.options) or _first(info.options)
        return "not_in_list", f"{_shown(value)} is not one of the server's values; {there}"

    def _is_listed(self, value: Any, known: NodeInfo, info: InputInfo) -> bool:
        options = info.options or ()
        if isinstance(value, list) and info.settings.get("multiselect") is True:
            return all(self._is_listed(item, known, info) for item in value)
        try:
            key = (known.class_type, info.name)
            if key not in self.option_sets:
                self.option_sets[key] = frozenset(options)
            return value in self.option_sets[key]
        except TypeError:  # an option or the value cannot be hashed
            return value in options

    def _holds_to_list(self, info: InputInfo) -> bool:
        new_form = "options" in info.settings
        return info.type == COMBO and (not new_form or self.object_info.checks_new_combos)

    def _missing_file(self, value: Any, info: InputInfo) -> _Found | None:
        # The server lists the top of its input folder only; it also takes "sub/x.png",
        # "x.png [output]" and "blake3:…" (folder_paths.py, annotated_filepath).
        if isinstance(value, str) and any(mark in value for mark in "/\\:["):
            return None
        there = self._closest(value, info.options or ())
        remedy = f"upload it, or put it in ComfyUI's input folder{there and '; ' + there}"
        return "missing_file", f"{_shown(value)} is not among the server's files; {remedy}"

    def _missing_model(self, value: Any, options: tuple[Any, ...], folder: str) -> str:
        there = self._closest(value, options) or _first(options)
        return f"{_shown(value)} is not on the server; {there}; put it in models/{folder}"

    def _unknown_node(self, node_id: str) -> WorkflowProblem:
        class_type = self.graph[node_id]["class_type"]
        pack = pack_of_node(self.graph[node_id])
        if pack is not None:
            remedy = f"install the custom nodes {pack}"
        else:
            there = self._closest(class_type, self.object_info)
            remedy = f"custom node pack missing? {there + '; ' if there else ''}"
            remedy += "install the pack that has it"
        what = f"the server has no class {_shown(class_type)}; {remedy} and restart the server"
        return self._problem(node_id, "unknown_node", None, what)

    def _cycle(self, path: list[str]) -> WorkflowProblem:
        nodes = [f"{node_id} {self.graph[node_id]['class_type']}" for node_id in path]
        shown = [*nodes[:10], "…"] if len(nodes) > 10 else nodes
        way = " ← ".join([*shown, nodes[0]])
        return self._problem(path[0], "cycle", None, f"feeds itself: {way}; cut one of the links")

    def _closest(self, value: object, options: Iterable[Any]) -> str:
        """ "closest: …", or nothing; comparing is slow, so only the first few problems get it."""
        if not isinstance(value, str) or len(value) > 200 or self.suggestions_left == 0:
            return ""
        self.suggestions_left -= 1
        names = [option for option in options if isinstance(option, str)]
        close = difflib.get_close_matches(value, names)
        return f"closest: {', '.join(close)}" if close else ""

    def _problem(
        self, node_id: str, kind: ProblemKind, input_name: str | None, what: str
    ) -> WorkflowProblem:
        return node_problem(self.graph, node_id, kind, input_name, what)


def _missing_input(info: InputInfo) -> _Found | None:
    if not info.required:
        return None
    want = "set a value" if info.is_widget else f"link an output of type {info.type}"
    return "missing_input", f"is required and not there; {want}"


def _unwrapped(value: Any) -> Any:
    # How a list that is no link is written (execution.py, validate_inputs).
    return value["__value__"] if isinstance(value, dict) and "__value__" in value else value


_TYPE_WORDS = {"INT": "a whole number", "FLOAT": "a number"}


def _converted(value: Any, input_type: str) -> Any:
    """The value as the server has it after its own conversion; raises as int() and float() do."""
    match input_type:
        case "INT":
            return int(value)
        case "FLOAT":
            return float(value)
        case _:
            return value


def _in_range(value: Any, info: InputInfo) -> bool:
    if not isinstance(value, (int, float)):
        return True
    below = info.minimum is not None and value < info.minimum
    above = info.maximum is not None and value > info.maximum
    return not below and not above


def _range_words(info: InputInfo) -> str:
    if info.minimum is None:
        return f"its range, {info.maximum} or less"
    if info.maximum is None:
        return f"its range, {info.minimum} or more"
    return f"its range, {info.minimum} to {info.maximum}"


def _fits(given: str, wanted: str) -> bool:
    """Whether an output may go into an input (comfy_execution/validation.py)."""
    given_types = {part.strip() for part in given.split(",")}
    wanted_types = {part.strip() for part in wanted.split(",")}
    if given_types & wanted_types or ANY in given_types | wanted_types:
        return True
    # An output that is a list of choices goes by rules that differ between versions, and the type
    # of one that matches another input is known when it runs only.
    return given == COMBO or _MATCH_TYPE in given_types | wanted_types


def _first(options: tuple[Any, ...]) -> str:
    if not options:
        return "it has none"
    shown = ", ".join(_shown(option) for option in options[:5])
    return f"it has: {shown}" + (f" and {len(options) - 5} more" if len(options) > 5 else "")


def _shown(value: object) -> str:
    text = value if isinstance(value, str) and value else repr(value)
    text = "null" if value is None else text
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
