"""A workflow as one HTML page that a person can look at, print and pass on.

Owns the document: summary, problems, drawing, tables, style sheet. The page is complete in itself
and inert: it has no script, its policy lets none run and nothing be fetched, and every word that
comes from a workflow is escaped. Pure: the same arguments give the same page. What stands in the
boxes is decided in `comfyui/page_boxes.py`, how they are drawn in `comfyui/page_drawing.py`.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence

from comfyui.binding import Binding, Ignored
from comfyui.graph import Graph, links_of, title_of
from comfyui.object_info import ObjectInfo
from comfyui.page_boxes import as_text, make_boxes, whole_text
from comfyui.page_drawing import Drawing, colour_class, draw
from comfyui.page_markup import Markup, join, tag
from comfyui.validation import WorkflowProblem

_SMALLEST_SCALE = 0.68
"""Of the drawing when it is fitted to the window: below it nobody reads the rows."""

_STYLE = """
:root {
  color-scheme: light dark;
  --page: #f3f4f7; --card: #ffffff; --head: #e6e9f0; --edge: #b4bac8; --text: #1c2130;
  --soft: #5a6274; --set: #fdecc0; --set-edge: #b26a00; --set-text: #6b3f00; --pill: #b26a00;
  --pill-text: #ffffff; --wrong: #c4122f; --wrong-back: #fde3e6; --jump: #1d5fc2;
  --sans: system-ui, "Segoe UI", Roboto, "Helvetica Neue", "DejaVu Sans", sans-serif;
  --mono: ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", "Liberation Mono", monospace;
}
@media screen and (prefers-color-scheme: dark) {
  :root {
    --page: #15171c; --card: #20242c; --head: #2c323d; --edge: #4a5262; --text: #e8eaf0;
    --soft: #a2abbd; --set: #43330c; --set-edge: #e0a030; --set-text: #ffdf9a; --pill: #e0a030;
    --pill-text: #241800; --wrong: #ff6b7d; --wrong-back: #471a22; --jump: #8ab8ff;
  }
}
* { box-sizing: border-box; }
body { margin: 0; padding: 20px 24px 40px; background: var(--page); color: var(--text);
  font: 15px/1.5 var(--sans); }
h1 { margin: 0; font-size: 22px; overflow-wrap: anywhere; }
h2 { margin: 28px 0 8px; font-size: 17px; }
p { margin: 4px 0 10px; }
a { color: var(--jump); }
.key { display: flex; flex-wrap: wrap; gap: 4px 20px; align-items: center; color: var(--soft); }
.key b { font-weight: 600; padding: 0 8px; border-radius: 9px; }
.key .is-set { background: var(--pill); color: var(--pill-text); }
.key .is-wrong { border: 2px solid var(--wrong); color: var(--wrong); }
.key i { display: inline-block; width: 22px; height: 4px; border-radius: 2px; margin-right: 6px;
  vertical-align: middle; background: currentColor; }
.sizes { margin: 14px 0 6px; }
.sizes label { margin-right: 16px; cursor: pointer; }
.drawing { overflow: auto; max-height: 88vh; border: 1px solid var(--edge); border-radius: 8px;
  background: var(--card); background: color-mix(in srgb, var(--card) 45%, var(--page)); }
svg { display: block; margin: 0 auto; width: 100%; height: auto; min-width: var(--least);
  max-width: var(--full); }
body:has(#whole:checked) svg { min-width: 0; max-height: 84vh; }
body:has(#full:checked) svg { min-width: var(--full); }
text { font: 12px var(--mono); fill: var(--text); white-space: pre;
  clip-path: url(#box-width); }
.end { text-anchor: end; }
.title { font: 600 13px var(--sans); }
.class { font-size: 11px; fill: var(--soft); }
.card { fill: var(--card); stroke: var(--edge); }
.head { fill: var(--head); }
.name { fill: var(--soft); }
.from { fill: var(--soft); font-style: italic; }
a:hover .from { fill: var(--jump); text-decoration: underline; }
.bound .band { fill: var(--set); }
.bound .value { fill: var(--set-text); font-weight: 600; }
.bound .name { fill: var(--set-text); }
.pill { fill: var(--pill); }
.set-by { fill: var(--pill-text); font-weight: 600; }
.box.wrong .card { stroke: var(--wrong); stroke-width: 2.5; }
.row.wrong .band { fill: var(--wrong-back); }
.row.wrong .name, .row.wrong .value, .row.wrong .from { fill: var(--wrong); }
.problem .name { font-weight: 700; }
.box:target .card { stroke: var(--jump); stroke-width: 4; }
.c { color: #7f8898; } .c0 { color: #8a6fd8; } .c1 { color: #c29a12; } .c2 { color: #b9655a; }
.c3 { color: #e0812f; } .c4 { color: #d25c9c; } .c5 { color: #3b8bd4; } .c6 { color: #43975a; }
.c7 { color: #1f9e9a; } .c8 { color: #8c8a2e; } .c9 { color: #6c7fd0; } .c10 { color: #2fa878; }
.c11 { color: #b06fb8; } .c12 { color: #a0744a; } .c13 { color: #7d9440; } .c14 { color: #d0637a; }
.c15 { color: #5a9fb8; } .c16 { color: #a87fd6; } .c17 { color: #b58a3a; }
circle { fill: currentColor; stroke: var(--card); stroke-width: 1.5; }
.links path { fill: none; stroke: currentColor; stroke-width: 2.5; stroke-opacity: .85; }
.links path:hover { stroke-width: 5; stroke-opacity: 1; }
.links .back { stroke: var(--wrong); stroke-dasharray: 7 5; }
.table { overflow-x: auto; }
table { border-collapse: collapse; background: var(--card); font-size: 14px; }
th, td { padding: 5px 12px; border: 1px solid var(--edge); text-align: left; vertical-align: top;
  white-space: pre-line; }
th { background: var(--head); }
td:nth-child(2), td:last-child { min-width: 160px; max-width: 460px; overflow-wrap: anywhere; }
.bad { color: var(--wrong); font-weight: 600; }
@page { size: landscape; margin: 10mm; }
@media print {
  body { padding: 0; background: none; -webkit-print-color-adjust: exact;
    print-color-adjust: exact; }
  .sizes { display: none; }
  .drawing { overflow: visible; max-height: none; border: 0; background: none; }
  .drawing svg { min-width: 0; max-height: 165mm; }
  tr { break-inside: avoid; }
}
"""


def draw_page(
    workflow_name: str,
    graph: Graph,
    bindings: Sequence[Binding],
    ignored: Sequence[Ignored],
    problems: Sequence[WorkflowProblem] = (),
    object_info: ObjectInfo | None = None,
) -> str:
    """The whole page; to be written as UTF-8.

    `graph` is drawn as it is, so for bindings to show it is the bound one. With `object_info`,
    links have the colours of their types and outputs their names.
    """
    anchors = {node_id: f"n{number}" for number, node_id in enumerate(graph)}
    drawing = draw(make_boxes(graph, bindings, problems, object_info), anchors)
    nodes = _Nodes(graph, anchors)
    body = join(
        tag("h1", workflow_name),
        _summary(graph, bindings, ignored, problems, object_info),
        _drawing(drawing, bool(bindings), bool(problems)) if graph else tag("p", "It is empty."),
        _problem_table(problems, nodes),
        _binding_table(bindings, nodes),
        _ignored_table(ignored),
    )
    return _document(workflow_name, body, drawing.width)


def _document(title: str, body: Markup, width: float) -> str:
    sizes = f":root {{ --full: {width:.0f}px; --least: {width * _SMALLEST_SCALE:.0f}px; }}\n"
    style = _STYLE + sizes
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width"),
        tag("meta", name="referrer", content="no-referrer"),
        tag("title", title),
        tag("style", Markup(style)),
    )
    return f"<!doctype html>\n{tag('html', head, tag('body', body), lang='en')}\n"


def _summary(
    graph: Graph,
    bindings: Sequence[Binding],
    ignored: Sequence[Ignored],
    problems: Sequence[WorkflowProblem],
    object_info: ObjectInfo | None,
) -> Markup:
    links = sum(1 for node in graph.values() for _ in links_of(node))
    parts = [_count(len(graph), "node"), _count(links, "link")]
    inputs = {(binding.node_id, binding.input_name) for binding in bindings}
    parts += [_count(len(inputs), "input") + " set"] if inputs else []
    parts += [_count(len(ignored), "parameter") + " ignored"] if ignored else []
    text = " · ".join(parts)
    if problems:
        found = tag("a", _count(len(problems), "problem"), href="#problems", class_="bad")
        return tag("p", f"{text} · ", found)
    return tag("p", text if object_info is None else f"{text} · no problems")


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def _drawing(drawing: Drawing, has_bindings: bool, has_problems: bool) -> Markup:
    marks = [tag("span", "Each box is a node; what it makes flows along the lines to the right.")]
    marks += [tag("span", "“from …” leads to the node that an input comes from.")]
    if has_bindings:
        marks.append(tag("span", tag("b", "← parameter", class_="is-set"), " set by the request"))
    if has_problems:
        marks.append(tag("span", tag("b", "problem", class_="is-wrong"), " keeps it from running"))
    marks += [
        tag("span", tag("i", class_=colour_class(kind)), kind or "other") for kind in drawing.types
    ]
    sizes = [("fit", "fit to width"), ("whole", "all at once"), ("full", "full size")]
    return join(
        tag("div", *marks, class_="key"),
        tag("div", "Size: ", *(_size(*size) for size in sizes), class_="sizes"),
        tag("div", drawing.svg, class_="drawing", tabindex="0"),
    )


def _size(name: str, words: str) -> Markup:
    checked = {"checked": ""} if name == "fit" else {}
    return tag("label", tag("input", type="radio", name="size", id=name, **checked), f" {words}")


class _Nodes:
    """How tables name a node: by its title, as a link to its box where it has one."""

    def __init__(self, graph: Graph, anchors: Mapping[str, str]) -> None:
        self.graph = graph
        self.anchors = anchors

    def name(self, node_id: str | None) -> str:
        if node_id is None:
            return "the workflow"
        if node_id not in self.graph:
            return f"node {node_id}"
        title = title_of(self.graph[node_id])
        return tag("a", f"{title} ({node_id})", href=f"#{self.anchors[node_id]}")


def _problem_table(problems: Sequence[WorkflowProblem], nodes: _Nodes) -> Markup:
    rows = [(nodes.name(problem.node_id), problem.message) for problem in problems]
    return _table("Problems", ("Node", "What is wrong"), rows)


def _binding_table(bindings: Sequence[Binding], nodes: _Nodes) -> Markup:
    # What two samplers share is written once and found on two ways.
    ways: dict[tuple[str, str, str, str], list[str]] = {}
    for binding in bindings:
        value = whole_text(as_text(binding.value))
        row = (binding.parameter, value, nodes.name(binding.node_id), binding.input_name)
        ways.setdefault(row, []).append(binding.reason)
    rows = [(*row, "\n".join(dict.fromkeys(reasons))) for row, reasons in ways.items()]
    heads = ("Parameter", "Value", "Node", "Input", "How it was found")
    return _table("Where each parameter goes", heads, rows)


def _ignored_table(ignored: Sequence[Ignored]) -> Markup:
    rows = [(entry.parameter, entry.reason) for entry in ignored]
    return _table("Ignored: no place in this workflow", ("Parameter", "Why"), rows)


def _table(title: str, heads: Iterable[str], rows: Sequence[Iterable[str]]) -> Markup:
    """A heading and a table; nothing where there are no rows."""
    if not rows:
        return Markup()
    head = tag("tr", *(tag("th", cell) for cell in heads))
    lines = [tag("tr", *(tag("td", cell) for cell in row)) for row in rows]
    anchor = title.partition(" ")[0].strip(":").lower()
    return join(tag("h2", title, id=anchor), tag("div", tag("table", head, *lines), class_="table"))
