"""The switches that make a workflow text-to-image or image-to-image. Pure.

Found by what their branches lead to (a picture loader or an empty latent), by titles ("I2I"), or by
the word that they hold ("txt2img").
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import Enum

from comfyui.following import FLAG, Follower, Spot, downstream
from comfyui.graph import Graph, Node, as_link, output_nodes, title_of, upstream
from comfyui.node_roles import is_empty_latent, known, picture_input
from comfyui.object_info import ObjectInfo
from comfyui.switches import handed_on, switch_of


class _Mode(Enum):
    T2I = "text-to-image"
    I2I = "image-to-image"


# T2I, txt2img, text-to-image; I2I, img2img, image-to-image.
_WORD = re.compile(
    r"\b(t|txt|text|i|img|image)([ _-]?(?:2|to)[ _-]?)(i|img|image)\b", re.IGNORECASE
)
_AS_TEXT = {"i": "t", "img": "txt", "image": "text"}
_EDIT = re.compile(r"\bimage[ _-]?edit(ing)?\b", re.IGNORECASE)
_ASKING = re.compile(r"\b(mode|switch|enable|use|is|on|to)\b|[?:\s]+", re.IGNORECASE)
_OFFERED = re.compile(r"option\d+$")  # CustomCombo (comfy_extras/nodes_logic.py)
# Classes whose text can be the choice of a mode; a text elsewhere may be a prompt.
_CHOOSING = re.compile(r"switch|primitive|combo|mode", re.IGNORECASE)


def find_mode(
    graph: Graph, wants_picture: bool, object_info: ObjectInfo | None = None
) -> dict[Spot, object]:
    """The inputs that choose another mode than the one that is wanted, with the right values."""
    return _Modes(graph, _Mode.I2I if wants_picture else _Mode.T2I, object_info).found()


class _Modes:
    """One look over one graph."""

    def __init__(self, graph: Graph, wanted: _Mode, object_info: ObjectInfo | None) -> None:
        self._graph = graph
        self._wanted = wanted
        self._object_info = object_info
        self._follower = Follower(graph)
        self._leading: dict[_Mode, set[str]] = {}

    def found(self) -> dict[Spot, object]:
        nodes = upstream(self._graph, output_nodes(self._graph, self._object_info))
        self._leading = self._led_to(nodes)
        found: dict[Spot, object] = {}
        for node_id in nodes:
            for name, value in (*self._switched(node_id), *self._named(node_id)):
                spot = self._follower.holder(node_id, name, FLAG)
                if isinstance(spot, Spot):
                    found.setdefault(spot, value)
        return found

    def _switched(self, node_id: str) -> Iterator[tuple[str, object]]:
        """The selector of a switch whose other branch is the wanted one."""
        node, active = self._graph[node_id], handed_on(self._graph, node_id)
        switch = switch_of(node)
        if switch is None or active is None:
            return
        if self._mode_behind(node, active) in (None, self._wanted):
            return
        for name, value in switch.choices.items():
            if self._mode_behind(node, name) is self._wanted:
                yield switch.selector, value
                return

    def _mode_behind(self, node: Node, name: str) -> _Mode | None:
        link = as_link(node["inputs"].get(name))
        if link is None or link.node_id not in self._graph:
            return None
        modes = [mode for mode, leading in self._leading.items() if link.node_id in leading]
        title = title_of(self._graph[link.node_id])
        return modes[0] if len(modes) == 1 else _one_named(title)

    def _named(self, node_id: str) -> Iterator[tuple[str, object]]:
        """What is switched on by a title such as "I2I", or holds the word of a mode."""
        node = self._graph[node_id]
        title = title_of(node)
        mode = _one_named(title)
        is_flag = mode is not None and not _ASKING.sub("", _EDIT.sub("", _WORD.sub("", title)))
        for name, value in node["inputs"].items():
            if isinstance(value, bool):
                if is_flag and value != (mode is self._wanted):
                    yield name, not value
            elif isinstance(value, str) and not _OFFERED.match(name):
                word = self._word(node, name, value)
                if word is not None:
                    yield name, word
                    if "index" in node["inputs"] and word in _offers(node):
                        yield "index", _offers(node).index(word)

    def _word(self, node: Node, name: str, value: str) -> str | None:
        """The word of the wanted mode in place of another's: the one on offer, or T2I for I2I."""
        mode = _one_named(value)
        if mode is None or mode is self._wanted:
            return None
        described = known(node, self._object_info)
        declared = described.inputs.get(name) if described is not None else None
        for option in _offers(node) or (declared and declared.options) or ():
            if isinstance(option, str) and _one_named(option) is self._wanted:
                return option
        match = _WORD.fullmatch(value)
        if match is None or _CHOOSING.search(node["class_type"]) is None:
            return None
        last = match[3]
        first = last if self._wanted is _Mode.I2I else _AS_TEXT[last.lower()]
        return f"{_in_case_of(match[1], first)}{match[2]}{last}"

    def _led_to(self, nodes: list[str]) -> dict[_Mode, set[str]]:
        """For each mode: the nodes that what makes it leads to, and that itself.

        What another switch leaves out leads nowhere. A latent that has its size from a picture is
        made for it.
        """
        graph, info = self._graph, self._object_info
        takers: dict[str, list[str]] = {}
        for node_id in nodes:
            for _, link in self._follower.active_links(node_id):
                takers.setdefault(link.node_id, []).append(node_id)
        pictures = [i for i in nodes if picture_input(graph[i], info) is not None]
        pictured = {*pictures, *downstream(pictures, takers)}
        empty = [i for i in nodes if is_empty_latent(graph[i], info) and i not in pictured]
        return {_Mode.T2I: {*empty, *downstream(empty, takers)}, _Mode.I2I: pictured}


def _one_named(text: str) -> _Mode | None:
    """The mode that a text speaks of, when it is one."""
    starts = {match[1].lower() for match in _WORD.finditer(text)}
    modes = {_Mode.I2I if start in _AS_TEXT else _Mode.T2I for start in starts}
    if _EDIT.search(text) is not None:
        modes.add(_Mode.I2I)
    return modes.pop() if len(modes) == 1 else None


def _offers(node: Node) -> list[object]:
    return [value for name, value in node["inputs"].items() if _OFFERED.match(name)]


def _in_case_of(model: str, word: str) -> str:
    if model.islower():
        return word.lower()
    return word.upper() if model.isupper() else word.capitalize()
