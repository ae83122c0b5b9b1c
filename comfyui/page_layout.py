"""Where the boxes of a drawn graph stand, and the way of each wire between them.

Owns geometry alone, in pixels from the top left corner: columns by the longest path from the left,
boxes moved towards what they feed, a lane of its own for a wire that passes a column, few crossings
by sweeps from column to column. Pure and deterministic; a cycle is a wire that leads back. Knows
nothing of what the boxes mean or how they are drawn.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

COLUMN_GAP = 72.0
_BOX_GAP = 28.0
_LANE = 14.0
_PART_GAP = 56.0
_SHELF_WIDTH = 2000.0
"""How wide parts that no wire joins may stand beside each other."""
_ROUNDS = 6
_MAX_LANES = 20_000
"""Lanes of one drawing; the wires beyond them run straight, behind the boxes."""


class Point(NamedTuple):
    """A place on the page."""

    x: float
    y: float


class Wire(NamedTuple):
    """From the right side of one box to the left side of another, each so far below its top."""

    source: str
    source_y: float
    target: str
    target_y: float


@dataclass
class Layout:
    """The top left corner of each box and the points along each wire, both in the order given."""

    corners: dict[str, Point]
    paths: list[list[Point]]
    width: float = 0.0
    height: float = 0.0


def lay_out(heights: Mapping[str, float], box_width: float, wires: Sequence[Wire]) -> Layout:
    """Places boxes of one width and these heights; every wire must begin and end at one of them."""
    layout = Layout(dict.fromkeys(heights, Point(0, 0)), [[] for _ in wires])
    parts = [_Part(boxes, box_width, wires) for boxes in _connected(heights, wires)]
    shelf_width = max((part.width for part in parts), default=0.0)
    if len(parts) > 1:
        shelf_width = max(shelf_width, min(_SHELF_WIDTH, sum(p.width + _PART_GAP for p in parts)))
    x = y = bottom = 0.0
    for part in parts:
        if x and x + part.width > shelf_width:
            x, y = 0.0, bottom + _PART_GAP
        part.put(layout, x, y)
        bottom = max(bottom, y + part.height)
        x += part.width + _PART_GAP
    layout.width, layout.height = shelf_width, bottom
    return layout


def _connected(
    heights: Mapping[str, float], wires: Sequence[Wire]
) -> Iterator[tuple[dict[str, float], list[int]]]:
    """The parts that no wire joins: boxes with their heights, and the numbers of their wires."""
    numbers: dict[str, list[int]] = {box: [] for box in heights}
    for number, wire in enumerate(wires):
        numbers[wire.source].append(number)
        numbers[wire.target].append(number)
    seen: set[str] = set()
    for first in heights:
        if first in seen:
            continue
        seen.add(first)
        boxes = [first]
        for box in boxes:  # grows while it is walked
            for number in numbers[box]:
                for end in (wires[number].source, wires[number].target):
                    if end not in seen:
                        seen.add(end)
                        boxes.append(end)
        inside = dict.fromkeys(number for box in boxes for number in numbers[box])
        yield {box: heights[box] for box in boxes}, list(inside)


class _Pull(NamedTuple):
    """A wire as one of its ends sees it: the cell at the other end, and how far down it is there
    and here."""

    cell: _Cell
    there: float
    here: float


@dataclass(eq=False)
class _Cell:
    """What takes room in a column: a box, or the lane of a wire that passes."""

    room: float
    y: float = 0.0
    left: list[_Pull] = field(default_factory=list)
    right: list[_Pull] = field(default_factory=list)


class _Part:
    """Boxes that hang together, in columns."""

    def __init__(
        self, part: tuple[dict[str, float], list[int]], box_width: float, wires: Sequence[Wire]
    ) -> None:
        boxes, numbers = part
        self.step = box_width + COLUMN_GAP
        self.box_width = box_width
        self.wires = {number: wires[number] for number in numbers}
        self.column_of = _columns(boxes, self.wires.values())
        self.cells = {box: _Cell(boxes[box] + _BOX_GAP) for box in self.column_of}
        self.columns: list[list[_Cell]] = [[] for _ in range(max(self.column_of.values()) + 1)]
        self.lanes = self._add_lanes()
        for box, column in self.column_of.items():
            self.columns[column].append(self.cells[box])
        self._arrange()
        bottom = max(column[-1].y + column[-1].room for column in self.columns)
        self.height = bottom - _BOX_GAP
        self.width = len(self.columns) * self.step - COLUMN_GAP

    def _add_lanes(self) -> dict[int, list[_Cell]]:
        """The lanes along each wire that leads forward; wires from one place share theirs."""
        along: dict[int, list[_Cell]] = {}
        shared: dict[tuple[str, float], list[_Cell]] = {}
        free = _MAX_LANES
        for number, wire in self.wires.items():
            first, last = self.column_of[wire.source], self.column_of[wire.target]
            if last <= first:
                continue
            lanes = shared.setdefault((wire.source, wire.source_y), [])
            needed = last - first - 1
            if needed - len(lanes) <= free:
                free -= max(0, needed - len(lanes))
                for column in range(first + 1 + len(lanes), last):
                    lane = _Cell(_LANE)
                    _join(*self._end(wire, lanes), lane, _LANE / 2)
                    lanes.append(lane)
                    self.columns[column].append(lane)
                along[number] = lanes[:needed]
            _join(
                *self._end(wire, along.get(number, [])),
                *(self.cells[wire.target], wire.target_y + _BOX_GAP / 2),
            )
        return along

    def _end(self, wire: Wire, lanes: Sequence[_Cell]) -> tuple[_Cell, float]:
        """How far a wire has come, and how far below the cell's top."""
        if lanes:
            return lanes[-1], _LANE / 2
        return self.cells[wire.source], wire.source_y + _BOX_GAP / 2

    def _arrange(self) -> None:
        for column in self.columns:
            _settle(column, [0.0] * len(column))
        for _ in range(_ROUNDS):
            for column in self.columns:
                _move(column, by_left=True, by_right=False)
            for column in reversed(self.columns):
                _move(column, by_left=False, by_right=True)
        for _ in range(_ROUNDS):
            for column in (*self.columns, *reversed(self.columns)):
                _move(column, by_left=True, by_right=True, reorder=False)
        top = min(column[0].y for column in self.columns)
        for column in self.columns:
            for cell in column:
                cell.y -= top

    def put(self, layout: Layout, x: float, y: float) -> None:
        """Writes the corners and paths, with the top left of the part at (x, y)."""
        for box, column in self.column_of.items():
            layout.corners[box] = Point(x + column * self.step, y + self.cells[box].y)
        for number, wire in self.wires.items():
            start, end = layout.corners[wire.source], layout.corners[wire.target]
            path = [Point(start.x + self.box_width, start.y + wire.source_y)]
            for steps, lane in enumerate(self.lanes.get(number, ()), start=1):
                left, height = start.x + steps * self.step, y + lane.y + (_LANE - _BOX_GAP) / 2
                path += [Point(left, height), Point(left + self.box_width, height)]
            layout.paths[number] = [*path, Point(end.x, end.y + wire.target_y)]


def _columns(boxes: Iterable[str], wires: Iterable[Wire]) -> dict[str, int]:
    """The column of each box: the longest path to it, then as near to what it feeds as pays."""
    sources: dict[str, dict[str, None]] = {box: {} for box in boxes}
    for wire in wires:
        sources[wire.target][wire.source] = None
    order = {box: number for number, box in enumerate(_sources_first(sources))}
    columns: dict[str, int] = {}
    targets: dict[str, list[str]] = {box: [] for box in order}
    feeding: dict[str, list[str]] = {}
    for box in order:
        # What comes later in this order leads back, around a cycle.
        forward = [source for source in sources[box] if order[source] < order[box]]
        columns[box] = max((columns[source] + 1 for source in forward), default=0)
        feeding[box] = forward
        for source in forward:
            targets[source].append(box)
    for box in reversed(order):
        # A source that feeds nothing else can follow.
        held_by = sum(len(targets[source]) > 1 for source in feeding[box])
        if targets[box] and len(targets[box]) >= held_by:
            columns[box] = min(columns[target] for target in targets[box]) - 1
    return columns


def _sources_first(sources: Mapping[str, Iterable[str]]) -> list[str]:
    """The boxes, each after what feeds it as far as there is no cycle; depth first."""
    order: list[str] = []
    entered: set[str] = set()
    for first in sources:
        path = [] if first in entered else [(first, iter(sources[first]))]
        entered.add(first)
        while path:
            box, rest = path[-1]
            source = next((source for source in rest if source not in entered), None)
            if source is None:
                order.append(box)
                path.pop()
            else:
                entered.add(source)
                path.append((source, iter(sources[source])))
    return order


def _join(left: _Cell, left_y: float, right: _Cell, right_y: float) -> None:
    left.right.append(_Pull(right, right_y, left_y))
    right.left.append(_Pull(left, left_y, right_y))


def _move(column: list[_Cell], by_left: bool, by_right: bool, reorder: bool = True) -> None:
    """Moves the cells of a column to where their wires to the sides named are straightest."""
    wishes: dict[_Cell, float] = {}
    places: dict[_Cell, float] = {}
    for cell in column:
        pulls = [*(cell.left if by_left else ()), *(cell.right if by_right else ())]
        if pulls:
            places[cell] = sum(pull.cell.y + pull.there for pull in pulls) / len(pulls)
            wishes[cell] = places[cell] - sum(pull.here for pull in pulls) / len(pulls)
        else:
            places[cell], wishes[cell] = cell.y + cell.room / 2, cell.y
    if reorder:
        column.sort(key=places.__getitem__)
    _settle(column, [wishes[cell] for cell in column])


class _Block(NamedTuple):
    """Neighbours that touch: how many, and where the first would have to be, in sum."""

    size: int
    total: float


def _settle(column: Sequence[_Cell], wishes: Sequence[float]) -> None:
    """Puts the cells below each other, nearest to their wishes in the sum of squares.

    Pool adjacent violators: those that would overlap become one block at their mean.
    """
    blocks: list[_Block] = []
    above = 0.0
    for cell, wish in zip(column, wishes, strict=True):
        block = _Block(1, wish - above)
        above += cell.room
        while blocks and blocks[-1].total * block.size >= block.total * blocks[-1].size:
            last = blocks.pop()
            block = _Block(last.size + block.size, last.total + block.total)
        blocks.append(block)
    cells = iter(column)
    above = 0.0
    for size, total in blocks:
        for _ in range(size):
            cell = next(cells)
            cell.y = total / size + above
            above += cell.room
