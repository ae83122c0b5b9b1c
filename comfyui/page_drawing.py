"""The drawing of a graph: boxes, rows and links as one SVG element.

Owns what is drawn where; what a box says comes from `comfyui/page_boxes.py`, where it stands from
`comfyui/page_layout.py`, colours and fonts from the page's style sheet. Pure.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from comfyui.page_boxes import COLUMNS, LINE, Box, Row, RowKind, width_of
from comfyui.page_layout import Point, Wire, lay_out
from comfyui.page_markup import Markup, tag

CHAR = 7.25
"""Pixels of a character in the fixed-width font of the rows."""
INSET = 14.0
BOX_WIDTH = COLUMNS * CHAR + 2 * INSET
_MARGIN = 24.0
_BASELINE = 13.0
_DOT = 4.5
_LOOP = 130.0
"""How far a link that leads back swings out, in pixels."""

_OWN_COLOURS = (
    *("MODEL", "CLIP", "VAE", "CONDITIONING", "LATENT", "IMAGE", "MASK"),
    *("NOISE", "GUIDER", "SAMPLER", "SIGMAS", "STRING", "INT", "FLOAT", "BOOLEAN"),
    *("VIDEO", "AUDIO", "CONTROL_NET"),
)
_FIRST_SHARED = _OWN_COLOURS.index("NOISE")
"""Rarer types have one of the colours from here on."""


class Drawing(NamedTuple):
    """An SVG element, its width in pixels, and the types of its links, "" last."""

    svg: Markup
    width: float
    types: list[str]


class _Link(NamedTuple):
    """A link that can be drawn: the row that takes, and its wire."""

    box: Box
    row: Row
    wire: Wire


def draw(boxes: Sequence[Box], anchors: Mapping[str, str]) -> Drawing:
    """The boxes with their links; `anchors` are the ids of the boxes' elements by node id."""
    links = _links(boxes)
    layout = lay_out(
        {box.node_id: box.height for box in boxes}, BOX_WIDTH, [link.wire for link in links]
    )
    titles = {box.node_id: box.title for box in boxes}
    curves = [_curve(link, path, titles) for link, path in zip(links, layout.paths, strict=True)]
    drawn = [_box(box, layout.corners[box.node_id], anchors) for box in boxes]
    width, height = layout.width + 2 * _MARGIN, layout.height + 2 * _MARGIN
    svg = tag(
        "svg",
        # For fonts wider than the one that was reckoned with.
        tag("clipPath", tag("rect", width=BOX_WIDTH, height=height), id="box-width"),
        tag("g", *curves, class_="links"),
        *drawn,
        viewBox=f"{-_MARGIN:g} {-_MARGIN:g} {width:.1f} {height:.1f}",
        width=width,
        height=height,
        role="group",
        aria_label="The nodes of the workflow and the links between them",
    )
    types = dict.fromkeys(link.row.type for link in links)
    return Drawing(svg, width, sorted(types, key=lambda kind: kind == ""))


def colour_class(link_type: str) -> str:
    """The style sheet's class for a type of link; the same for a type on every page."""
    if not link_type:
        return "c"
    if link_type in _OWN_COLOURS:
        return f"c c{_OWN_COLOURS.index(link_type)}"
    number = zlib.crc32(link_type.encode("utf-8", "replace"))
    return f"c c{_FIRST_SHARED + number % (len(_OWN_COLOURS) - _FIRST_SHARED)}"


def _links(boxes: Sequence[Box]) -> list[_Link]:
    outputs = {
        (box.node_id, row.slot): top + LINE / 2
        for box in boxes
        for row, top in box.rows_with_tops()
        if row.kind is RowKind.OUTPUT
    }
    return [
        _Link(box, row, Wire(row.link.node_id, outputs[row.link], box.node_id, top + LINE / 2))
        for box in boxes
        for row, top in box.rows_with_tops()
        if row.link is not None and row.link in outputs
    ]


def _curve(link: _Link, path: Sequence[Point], titles: Mapping[str, str]) -> Markup:
    way = f"{titles[link.wire.source]} → {link.box.title}, {link.row.name}"
    start = f"M{path[0].x:.1f} {path[0].y:.1f}"
    leads_back = path[-1].x <= path[0].x
    return tag(
        "path",
        tag("title", f"{link.row.type}: {way}" if link.row.type else way),
        class_=colour_class(link.row.type) + (" back" if leads_back else ""),
        d=start + "".join(_bend(a, b) for a, b in pairwise(path)),
    )


def _bend(a: Point, b: Point) -> str:
    """A curve that is level at both ends; one that leads back swings out below."""
    if a.y == b.y and a.x < b.x:
        return f"H{b.x:.1f}"
    out, down = ((b.x - a.x) / 2, 0.0) if a.x < b.x else (_LOOP, _LOOP)
    return f"C{a.x + out:.1f} {a.y + down:.1f} {b.x - out:.1f} {b.y + down:.1f} {b.x:.1f} {b.y:.1f}"


def _box(box: Box, corner: Point, anchors: Mapping[str, str]) -> Markup:
    rows = [_row(row, top, anchors) for row, top in box.rows_with_tops()]
    return tag(
        "g",
        tag("rect", class_="card", width=BOX_WIDTH, height=box.height, rx=8),
        tag(
            "g",
            tag("title", box.whole),
            tag(
                "path",
                class_="head",
                d=f"M0 40V8a8 8 0 0 1 8-8H{BOX_WIDTH - 8:g}a8 8 0 0 1 8 8V40z",
            ),
            tag("text", box.title, class_="title", x=INSET, y=17),
            tag("text", box.about, class_="class", x=INSET, y=33),
        ),
        *rows,
        id=anchors[box.node_id],
        class_="box wrong" if box.is_wrong else "box",
        transform=f"translate({corner.x:.1f} {corner.y:.1f})",
    )


def _row(row: Row, top: float, anchors: Mapping[str, str]) -> Markup:
    parts = [tag("title", row.whole)]
    if row.parameter or row.is_wrong:
        parts.append(tag("rect", class_="band", x=1, y=top, width=BOX_WIDTH - 2, height=row.height))
    name_x, end = INSET, BOX_WIDTH - INSET
    match row.kind:
        case RowKind.OUTPUT:
            parts.append(_dot(BOX_WIDTH, top, row))
            parts.append(tag("text", row.name, class_="name end", x=end, y=top + _BASELINE))
        case RowKind.LINK:
            parts.append(_dot(0, top, row))
            aside = tag("text", row.aside, class_="from end", x=end, y=top + _BASELINE)
            anchor = anchors.get(row.link.node_id) if row.link else None
            parts.append(tag("a", aside, href=f"#{anchor}") if anchor else aside)
        case _ if row.aside:
            parts.append(tag("text", row.aside, class_="value end", x=end, y=top + _BASELINE))
    if row.kind is not RowKind.OUTPUT:
        parts.append(tag("text", row.name, class_="name", x=name_x, y=top + _BASELINE))
    if row.parameter:
        parts += _pill(row.parameter, name_x + (width_of(row.name) + 1) * CHAR, top)
    for number, line in enumerate(row.lines, start=1):
        y = top + _BASELINE + number * LINE
        parts.append(tag("text", line, class_="value", x=name_x, y=y))
    classes = ["row", row.kind.value]
    classes += ["bound"] if row.parameter else []
    classes += ["wrong"] if row.is_wrong else []
    return tag("g", *parts, class_=" ".join(classes))


def _dot(x: float, top: float, row: Row) -> Markup:
    return tag("circle", class_=colour_class(row.type), cx=x, cy=top + LINE / 2, r=_DOT)


def _pill(parameter: str, x: float, top: float) -> list[Markup]:
    width = (width_of(parameter) + 3) * CHAR
    return [
        tag("rect", class_="pill", x=x, y=top + 1.5, width=width, height=LINE - 3, rx=7.5),
        tag("text", f"← {parameter}", class_="set-by", x=x + CHAR / 2, y=top + _BASELINE),
    ]
