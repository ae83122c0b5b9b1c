"""What stands in each box of a drawn graph: its rows, as text of known width and height.

Owns the choice of words, the wrapping and cutting of long values and the types of links, as far as
object_info or the name of an input tells them. Pure: from a graph to rows, nothing of HTML or of
where a box stands. Lengths are in characters of a fixed-width font, heights in pixels.
"""

from __future__ import annotations

import json
import textwrap
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from comfyui.binding import Binding
from comfyui.graph import Graph, Link, Node, as_link, links_of, title_of
from comfyui.object_info import ANY, NodeInfo, ObjectInfo
from comfyui.validation import WorkflowProblem

COLUMNS = 34
"""Characters that a row has room for."""
LINE = 18.0
HEADER = 48.0
PADDING = 8.0
_MAX_LINES = 6
_MAX_WHOLE = 4000
# Bold letters are wider than those of the rows, the class's are smaller.
_TITLE_COLUMNS = 28
_CLASS_COLUMNS = 37

# The types that these inputs take in nearly every class, for where there is no object_info.
_TYPES_BY_NAME = {
    "model": "MODEL",
    "clip": "CLIP",
    "clip_vision": "CLIP_VISION",
    "vae": "VAE",
    "control_net": "CONTROL_NET",
    "positive": "CONDITIONING",
    "negative": "CONDITIONING",
    "conditioning": "CONDITIONING",
    "samples": "LATENT",
    "latent_image": "LATENT",
    "image": "IMAGE",
    "images": "IMAGE",
    "pixels": "IMAGE",
    "mask": "MASK",
    "guider": "GUIDER",
    "noise": "NOISE",
    "sampler": "SAMPLER",
    "sigmas": "SIGMAS",
}
_UNTOLD_TYPES = {ANY, "COMFY_MATCHTYPE_V3", "COMFY_AUTOGROW_V3"}


class RowKind(Enum):
    """What a row shows."""

    OUTPUT = "output"
    LINK = "link"
    VALUE = "value"
    PROBLEM = "problem"


@dataclass(frozen=True)
class Row:
    """One input, output or problem of a node.

    `aside` stands beside the name, `lines` below it; `whole` is all there is to say, for whoever
    points at the row. `parameter` names what a request set here. `slot` is the output's number,
    `link` where a linked input comes from, `type` what goes along the link ("" where unknown).
    """

    kind: RowKind
    name: str
    aside: str = ""
    lines: tuple[str, ...] = ()
    whole: str = ""
    parameter: str = ""
    is_wrong: bool = False
    slot: int = 0
    link: Link | None = None
    type: str = ""

    @property
    def height(self) -> float:
        """Pixels."""
        return LINE * (1 + len(self.lines))


@dataclass(frozen=True)
class Box:
    """A node as it is drawn; `about` stands below the title, `whole` has both in full."""

    node_id: str
    title: str
    about: str
    whole: str
    rows: tuple[Row, ...]

    @property
    def is_wrong(self) -> bool:
        """Whether a problem was found in the node."""
        return any(row.is_wrong for row in self.rows)

    @property
    def height(self) -> float:
        """Pixels."""
        return HEADER + sum(row.height for row in self.rows) + PADDING

    def rows_with_tops(self) -> Iterator[tuple[Row, float]]:
        """The rows, and how far each is below the box's top, in pixels."""
        top = HEADER
        for row in self.rows:
            yield row, top
            top += row.height


def make_boxes(
    graph: Graph,
    bindings: Sequence[Binding],
    problems: Sequence[WorkflowProblem],
    object_info: ObjectInfo | None,
) -> list[Box]:
    """One box a node, in the order of the graph."""
    return _Boxes(graph, bindings, problems, object_info).make()


class _Boxes:
    def __init__(
        self,
        graph: Graph,
        bindings: Sequence[Binding],
        problems: Sequence[WorkflowProblem],
        object_info: ObjectInfo | None,
    ) -> None:
        self.graph = graph
        self.object_info = object_info
        self.bindings: dict[str, dict[str, list[Binding]]] = defaultdict(dict)
        for binding in bindings:
            self.bindings[binding.node_id].setdefault(binding.input_name, []).append(binding)
        self.problems: dict[str | None, list[WorkflowProblem]] = defaultdict(list)
        for problem in problems:
            self.problems[problem.node_id].append(problem)
        self.types = self._types_of_outputs()
        self.linked: dict[str, dict[int, str]] = defaultdict(dict)
        for link, link_type in self.types.items():
            self.linked[link.node_id][link.slot] = link_type

    def make(self) -> list[Box]:
        return [
            Box(
                node_id=node_id,
                title=shortened(title_of(node), _TITLE_COLUMNS),
                about=_about(node["class_type"], node_id),
                whole=whole_text(f"{title_of(node)}\n{node['class_type']}, node {node_id}"),
                rows=(
                    *self._outputs(node_id, node),
                    *self._inputs(node_id, node),
                    *self._problems(node_id),
                ),
            )
            for node_id, node in self.graph.items()
        ]

    def _inputs(self, node_id: str, node: Node) -> list[Row]:
        bound = self.bindings[node_id]
        values = node["inputs"] | {
            name: entries[-1].value for name, entries in bound.items() if name not in node["inputs"]
        }
        wrong = {problem.input_name for problem in self.problems[node_id]}
        rows = [
            self._input(node, name, value, bound.get(name, []), name in wrong)
            for name, value in values.items()
        ]
        return sorted(rows, key=lambda row: row.kind is RowKind.VALUE)

    def _input(
        self, node: Node, name: str, value: Any, bound: Sequence[Binding], is_wrong: bool
    ) -> Row:
        link = as_link(value)
        if link is not None:
            return self._link(node, name, link, is_wrong)
        parameter = ", ".join(dict.fromkeys(binding.parameter for binding in bound))
        text = as_text(value)
        whole = [f"{name} = {whole_text(text)}"]
        whole += [f"set by {entry.parameter}: {entry.reason}" for entry in bound]
        name = shortened(name, COLUMNS - 6)
        parameter = shortened(parameter, COLUMNS - width_of(name) - 4)
        tag = width_of(parameter) + 4 if parameter else 0
        beside = "\n" not in text and width_of(name) + tag + 2 + width_of(text) <= COLUMNS
        return Row(
            RowKind.VALUE,
            name,
            aside=text if beside else "",
            lines=() if beside else wrapped(text),
            whole="\n".join(whole),
            parameter=parameter,
            is_wrong=is_wrong,
        )

    def _link(self, node: Node, name: str, link: Link, is_wrong: bool) -> Row:
        source = self.graph.get(link.node_id)
        shown = shortened(name, COLUMNS - 6)
        room = COLUMNS - width_of(shown) - 3
        if source is None:
            whole = f"{name} comes from node {link.node_id}, which is not there"
            aside = shortened(f"no node {link.node_id}", room)
            return Row(RowKind.LINK, shown, aside, whole=whole, is_wrong=True, link=link)
        link_type = self.types[link]
        whole = f"{name} comes from {title_of(source)} (node {link.node_id}, output {link.slot})"
        return Row(
            RowKind.LINK,
            shown,
            shortened(f"from {title_of(source)}", room),
            whole=f"{whole}: {link_type}" if link_type else whole,
            is_wrong=is_wrong,
            link=link,
            type=link_type,
        )

    def _types_of_outputs(self) -> dict[Link, str]:
        """What each output that is linked to gives; "" where neither end of a link tells."""
        types: dict[Link, str] = {}
        for node in self.graph.values():
            for name, link in links_of(node):
                source = self.graph.get(link.node_id)
                if source is not None:
                    types[link] = types.get(link) or self._type(source, node, name, link.slot)
        return types

    def _type(self, source: Node, node: Node, name: str, slot: int) -> str:
        """What goes along a link: as the output says, else as the input does, else by its name."""
        giver, taker = self._info(source), self._info(node)
        types = []
        if giver is not None and 0 <= slot < len(giver.outputs):
            types.append(giver.outputs[slot].type)
        if taker is not None and name in taker.inputs:
            types.append(taker.inputs[name].type)
        types.append(_TYPES_BY_NAME.get(name, ""))
        return next((found for found in types if found not in _UNTOLD_TYPES), "")

    def _outputs(self, node_id: str, node: Node) -> list[Row]:
        known = self._info(node)
        rows = {
            slot: self._output(slot, output.name, output.type)
            for slot, output in enumerate(known.outputs if known is not None else ())
        }
        for slot, link_type in self.linked[node_id].items():
            name = rows[slot].name if slot in rows else link_type or f"output {slot}"
            rows[slot] = self._output(slot, name, link_type)
        return [rows[slot] for slot in sorted(rows)]

    def _output(self, slot: int, name: str, output_type: str) -> Row:
        output_type = "" if output_type in _UNTOLD_TYPES else output_type
        return Row(
            RowKind.OUTPUT,
            shortened(name, COLUMNS - 2),
            whole=f"output {slot}: {name}",
            slot=slot,
            type=output_type,
        )

    def _problems(self, node_id: str) -> list[Row]:
        return [
            Row(
                RowKind.PROBLEM,
                f"⚠ {problem.kind.replace('_', ' ')}",
                lines=wrapped(_said_in_place(problem)),
                whole=problem.message,
                is_wrong=True,
            )
            for problem in self.problems[node_id]
        ]

    def _info(self, node: Node) -> NodeInfo | None:
        return self.object_info.get(node["class_type"]) if self.object_info is not None else None


def _about(class_type: str, node_id: str) -> str:
    """Class and id on one line; of a long class the end is left out, for ids tell nodes apart."""
    node_id = shortened(node_id, _CLASS_COLUMNS // 2)
    return f"{shortened(class_type, _CLASS_COLUMNS - width_of(node_id) - 3)} · {node_id}"


def _said_in_place(problem: WorkflowProblem) -> str:
    """The message without its beginning where that names the node, in whose box it stands."""
    place, _, what = problem.message.partition(": ")
    if not what or not place.startswith(f"node {problem.node_id} "):
        return problem.message
    return f"{problem.input_name}: {what}" if problem.input_name else what


def as_text(value: object) -> str:
    """A value as a person reads it: text as it is, everything else as JSON."""
    if isinstance(value, str):
        return value or '""'
    return json.dumps(value, ensure_ascii=False, default=repr)


def whole_text(text: str) -> str:
    """A text as long as anybody reads; a picture in base64 is not."""
    if len(text) <= _MAX_WHOLE:
        return text
    return f"{text[:_MAX_WHOLE]}… ({len(text)} characters)"


def width_of(text: str) -> int:
    """The columns that a text takes in a fixed-width font; East Asian characters take two."""
    return len(text) if text.isascii() else sum(map(_char_width, text))


def _char_width(char: str) -> int:
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def shortened(text: str, columns: int) -> str:
    """The text on one line, cut to a number of columns."""
    text = " ".join(text[: 4 * columns].split()) if len(text) > columns or "\n" in text else text
    if width_of(text) <= columns:
        return text
    return _fitting(text, columns - 1) + "…"


def _fitting(text: str, columns: int) -> str:
    """As much of the beginning of a text as fits."""
    width = 0
    for index, char in enumerate(text):
        width += _char_width(char)
        if width > columns:
            return text[:index]
    return text


def wrapped(text: str) -> tuple[str, ...]:
    """The lines of a text, at most six, the last one cut where there would be more."""
    lines: list[str] = []
    enough = COLUMNS * _MAX_LINES * 2
    for paragraph in text[:enough].splitlines():
        lines += _folded(textwrap.wrap(paragraph, COLUMNS, break_on_hyphens=False))
    if len(text) > enough:
        lines.append("…")
    if len(lines) <= _MAX_LINES:
        return tuple(lines)
    return (*lines[: _MAX_LINES - 1], _fitting(lines[_MAX_LINES - 1], COLUMNS - 1) + "…")


def _folded(lines: Iterable[str]) -> Iterator[str]:
    """Lines that are too wide for their number of characters, in pieces that fit."""
    for line in lines:
        while width_of(line) > COLUMNS:
            piece = _fitting(line, COLUMNS)
            yield piece
            line = line[len(piece) :]
        yield line
