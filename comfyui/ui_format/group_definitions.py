"""What an editor file says of its old group nodes, read with care: anybody may have written it.

Owns the shape of extra.groupNodes: for each name the nodes inside, the links between them, what is
used from outside too, and what the user renamed or hid. Knows no node classes; what the editor
makes of a definition is in `comfyui/ui_format/group_classes.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from comfyui.object_info import ANY
from comfyui.ui_format.model import Node
from comfyui.ui_format.saved import SavedPlace, objects, read_node, shown, slot_number, slot_type

_PREFIXES = ("workflow>", "workflow/")
"""Before the name in a node's type; the second is that of editors before 1.2.63."""
_LINK_KEYS = ("origin", "origin_slot", "target", "target_slot")


class GroupLink(NamedTuple):
    """Between two nodes inside, by their numbers; `origin` is None for one from outside."""

    origin: int | None
    origin_slot: int
    target: int
    target_slot: int
    type: str


class GroupDefinition:
    """One definition. `node_entries` and `config` are as saved; nodes go by their number."""

    def __init__(self, name: str, saved: object) -> None:
        self.name = name
        self.place = SavedPlace(f"group node {name!r}")
        if not isinstance(saved, Mapping):
            raise self.place.malformed("its definition in extra.groupNodes is not an object")
        if not isinstance(saved.get("nodes"), list):
            raise self.place.malformed("nodes is not a list")
        self.node_entries = list(objects(saved["nodes"], self.place, "nodes"))
        self.nodes = self.new_nodes()
        """As they were saved."""
        self.links = list(self._links(saved.get("links")))
        inner = [link for link in self.links if link.origin is not None]
        self.into = {(link.target, link.target_slot): link for link in inner}
        self.fed = {link.target for link in inner}
        self.out_of: dict[tuple[int, int], list[GroupLink]] = {}
        self.external = dict(self._external(saved.get("external")))
        """The outputs that are also used outside, with their types."""
        self._config = saved.get("config")
        for link in inner:
            assert link.origin is not None
            self.out_of.setdefault((link.origin, link.origin_slot), []).append(link)

    def new_nodes(self) -> list[Node]:
        """The nodes inside once more, for one group node to have as its own."""
        return [
            read_node({**entry, "id": number}, self.place)
            for number, entry in enumerate(self.node_entries)
        ]

    def primitive_widget(self, number: int) -> str | None:
        """The widget that a Primitive node was made for."""
        outputs = self.node_entries[number].get("outputs")
        widget = outputs[0].get("widget") if outputs else None
        name = widget.get("name") if isinstance(widget, Mapping) else None
        return name if isinstance(name, str) else None

    def new_name(self, number: int, side: str, key: str) -> str | None:
        """What the user calls an input or output (`side`) of a node."""
        name = self._custom(number, side, key).get("name")
        if name is None or isinstance(name, str):
            return name
        raise self.place.malformed(f"config calls {side} {key} of node {number} {shown(name)}")

    def is_shown(self, number: int, side: str, key: str) -> bool | None:
        """Whether the user wants it on the group node; None where he did not say."""
        visible = self._custom(number, side, key).get("visible")
        return None if visible is None else bool(visible)

    def _custom(self, number: int, side: str, key: str) -> Mapping[str, Any]:
        found: Any = self._config
        for step in (str(number), side, key):
            found = found.get(step) if isinstance(found, Mapping) else None
        return found if isinstance(found, Mapping) else {}

    def _links(self, saved: object) -> Iterator[GroupLink]:
        if not isinstance(saved, list):
            raise self.place.malformed("links is not a list")
        for entry in saved:
            if not isinstance(entry, list) or len(entry) < len(_LINK_KEYS):
                keys = ", ".join(_LINK_KEYS)
                raise self.place.malformed(f"a link is {shown(entry)}; a link is {keys}, …, type")
            origin, origin_slot, target, target_slot = map(slot_number, entry[:4])
            is_inner = entry[0] is not None
            if origin_slot is None or target_slot is None or (is_inner and origin is None):
                raise self.place.malformed(f"link {shown(entry)} has numbers that are none")
            for number in (origin, target):
                if number is not None and not 0 <= number < len(self.nodes):
                    raise self.place.malformed(f"link {shown(entry)} has a node that is not in it")
            link_type = slot_type(entry[5]) if len(entry) > 5 else ANY
            if target is not None:
                yield GroupLink(origin, origin_slot, target, target_slot, link_type)

    def _external(self, saved: object) -> Iterator[tuple[tuple[int, int], str]]:
        if saved is None:
            return
        if not isinstance(saved, list):
            raise self.place.malformed("external is not a list")
        for entry in saved:
            values = entry[:2] if isinstance(entry, list) else []
            numbers = [number for number in map(slot_number, values) if number is not None]
            if not isinstance(entry, list) or len(numbers) < 2:
                raise self.place.malformed(f"external holds {shown(entry)}, no node, slot and type")
            if len(entry) > 2 and entry[2]:
                yield (numbers[0], numbers[1]), slot_type(entry[2])


def group_name(node_type: str) -> str | None:
    """The name of the definition that nodes of this type stand for; None for other nodes."""
    for prefix in _PREFIXES:
        if node_type.startswith(prefix):
            return node_type.removeprefix(prefix)
    return None
