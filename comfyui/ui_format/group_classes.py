"""The class that the editor makes of a group node's definition.

Owns which inputs and widgets of the nodes inside the group node has, under which names and in which
order, and which of its outputs are whose. Facts: ComfyUI_frontend 1.27.10, 1.35.9 and 1.45.19,
extensions/core/groupNode.ts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from comfyui.object_info import ANY, COMBO, InputInfo, NodeInfo, ObjectInfo
from comfyui.ui_format import primitives, reroutes
from comfyui.ui_format.definitions import editor_inputs
from comfyui.ui_format.group_definitions import GroupDefinition, GroupLink, group_name
from comfyui.ui_format.javascript import in_key_order
from comfyui.ui_format.model import Node
from comfyui.ui_format.saved import TOP
from comfyui.ui_format.subgraphs import MAX_NODES
from comfyui.ui_format.widgets import CONTROL, SEEDS, is_widget_type
from image_provider import WorkflowError

_VALUE = "value"
"""The one input of a Primitive node."""

Place = tuple[int, int]
"""A node inside, by its number, and a slot of it."""


class _Spec(NamedTuple):
    """An input as object_info has it: its type, or a list to choose from, and its settings."""

    type: Any
    settings: dict[str, Any]


@dataclass(eq=False)
class GroupClass:
    """A group node's class, and what its parts are inside."""

    definition: GroupDefinition
    info: NodeInfo
    inputs: Mapping[Place, int]
    """For an input of a node inside the number of the group node's that feeds it."""
    outputs: list[Place]
    widgets: list[tuple[str, int, str]]
    """A widget of the group node, and the node and widget inside that take its value."""


class GroupClasses:
    """Those of a file, each made when a node first needs it."""

    def __init__(self, document: Mapping[str, Any], object_info: ObjectInfo) -> None:
        extra = document.get("extra")
        self._saved = extra.get("groupNodes") if isinstance(extra, Mapping) else None
        self._object_info = object_info
        self._made: dict[str, GroupClass] = {}
        self._inner_nodes = 0

    def get(self, node_type: str) -> GroupClass | None:
        """That of one more node of this type.

        Raises WorkflowError for a definition that is none, or when the file has become too much.
        """
        name = group_name(node_type) if self._saved else None
        if name is None:
            return None
        if not isinstance(self._saved, Mapping):
            raise TOP.malformed("extra.groupNodes is not an object")
        if name not in self._saved:
            return None
        if name not in self._made:
            definition = GroupDefinition(name, self._saved[name])
            self._made[name] = _Draft(definition, self._object_info).finished()
        made = self._made[name]
        self._inner_nodes += len(made.definition.node_entries)
        if self._inner_nodes > MAX_NODES:
            what = f"the file has more than {MAX_NODES} nodes in its group nodes"
            raise WorkflowError(f"{what}; delete some of them in the editor")
        return made


class _Draft:
    """A class while it is made, node by node; inputs that were widgets once come last.

    Editor 1.45 has forgotten the old form of a choice, ["a", "b"], and takes it for no widget: what
    it exports then has values in the wrong places, and no server takes it. So every generation is
    read as 1.35 does.
    """

    def __init__(self, definition: GroupDefinition, object_info: ObjectInfo) -> None:
        self._definition = definition
        self._object_info = object_info
        self._required: dict[str, _Spec] = {}
        self._times: dict[str, int] = {}
        self._inputs: dict[Place, int] = {}
        self._outputs: list[tuple[Place, str]] = []
        self._widgets: dict[str, tuple[int, str]] = {}
        self._values: dict[int, tuple[_Spec, str | None]] = {}
        self._driven: dict[int, list[tuple[int, str]]] = {}

    def finished(self) -> GroupClass:
        converted = []
        for number, node in enumerate(self._definition.nodes):
            declared = self._declared(number, node)
            if declared is not None:
                inputs, outputs = declared
                converted.append((number, inputs, *self._add_inputs(number, node, inputs)))
                self._add_outputs(number, outputs)
        for number, inputs, first, names in converted:
            self._add_converted(number, inputs, first, names)
        return GroupClass(
            self._definition,
            self._info(),
            self._inputs,
            [place for place, _ in self._outputs],
            [
                (name, *target)
                for name, place in self._widgets.items()
                for target in self._targets(*place)
            ],
        )

    def _info(self) -> NodeInfo:
        node_type = f"workflow>{self._definition.name}"
        required = in_key_order(self._required)
        entry = {
            "input": {"required": {name: list(spec) for name, spec in required.items()}},
            "output": [output_type for _, output_type in self._outputs],
            "display_name": self._definition.name,
        }
        return ObjectInfo({node_type: entry})[node_type]

    def _targets(self, number: int, name: str) -> list[tuple[int, str]]:
        if self._definition.nodes[number].type == primitives.TYPE:
            return self._driven.get(number, [])
        return [(number, name)]

    # What a node inside has

    def _declared(self, number: int, node: Node) -> tuple[dict[str, _Spec], list[str]] | None:
        """Its inputs and the types of its outputs; None for nodes that add nothing."""
        if node.type in self._object_info:
            info = self._object_info[node.type]
            inputs = editor_inputs(info, self._object_info.editor)
            outputs = [output.type for output in info.outputs]
            return {entry.name: _spec(entry) for entry in inputs}, outputs
        links = self._definition.out_of.get((number, 0), [])
        if node.type == primitives.TYPE and links:
            spec = _Spec(self._primitive_type(number, links[0]), {})
            self._values[number] = (spec, None)
            return {_VALUE: spec}, [links[0].type]
        if node.type == reroutes.TYPE:
            is_fed = number in self._definition.fed
            if is_fed and links and (number, 0) not in self._definition.external:
                return None
            reroute_type = self._reroute_type(number, links)
            return {reroute_type: _Spec(reroute_type, {"forceInput": True})}, [reroute_type]
        return None

    def _primitive_type(self, number: int, link: GroupLink) -> Any:
        """The type of its value; for a choice the list that the input it is linked to has."""
        target = self._definition.nodes[link.target].type
        widget = self._definition.primitive_widget(number)
        if link.type != COMBO or widget is None or target not in self._object_info:
            return link.type
        info = self._object_info[target].inputs.get(widget)
        if info is None:
            return COMBO
        return _spec(info).type

    def _reroute_type(self, number: int, links: list[GroupLink]) -> str:
        definition = self._definition
        if links:
            targets = ((definition.nodes[link.target].inputs, link.target_slot) for link in links)
            types = (inputs[slot].type for inputs, slot in targets if slot < len(inputs))
            return next((found for found in types if found != ANY), ANY)
        link = definition.into.get((number, 0))
        if link is not None and link.origin is not None:
            outputs = definition.nodes[link.origin].outputs
            return outputs[link.origin_slot].type if link.origin_slot < len(outputs) else ANY
        outside = (link.type for link in definition.links if link.target == number)
        found = next(outside, ANY)
        return definition.external.get((number, 0), ANY) if found == ANY else found

    # Inputs and widgets

    def _add_inputs(
        self, number: int, node: Node, inputs: Mapping[str, _Spec]
    ) -> tuple[int, list[str]]:
        """Adds what is no widget that was made an input of its node.

        Gives the slot at which those begin, and their names.
        """
        slots, converted = [], {}
        places = {
            slot.name: place
            for place, slot in reversed(list(enumerate(node.inputs)))
            if slot.widget == slot.name
        }
        for name, spec in inputs.items():
            if not (isinstance(spec.type, list) or is_widget_type(spec.type)):
                slots.append(name)
            elif name in places:
                converted[places[name]] = name
            else:
                outer = self._require(number, node, name, spec)
                self._widgets[outer] = (number, name)
                if number in self._values:
                    self._values[number] = (spec, outer)
        for slot, name in enumerate(slots):
            self._add_slot((number, slot), node, name, inputs[name])
        # The editor sorts their places as texts: the tenth comes before the second.
        return len(slots), [converted[place] for place in sorted(converted, key=str)]

    def _add_slot(self, place: Place, node: Node, name: str, spec: _Spec) -> None:
        link = self._definition.into.get(place)
        if link is not None:
            self._drive(link, name, spec)
            return
        outer, outer_spec = self._named(place[0], node, name, spec)
        if self._definition.is_shown(place[0], "input", name) is not False:
            self._required[outer] = outer_spec
            self._inputs[place] = len(self._inputs)

    def _add_converted(
        self, number: int, inputs: Mapping[str, _Spec], first: int, names: list[str]
    ) -> None:
        node = self._definition.nodes[number]
        for slot, name in enumerate(names, first):
            link = self._definition.into.get((number, slot))
            if link is not None:
                self._drive(link, name, inputs[name])
                continue
            outer = self._require(number, node, name, inputs[name])
            self._widgets[outer] = (number, name)
            self._inputs[number, slot] = len(self._inputs)

    def _require(self, number: int, node: Node, name: str, spec: _Spec) -> str:
        outer, outer_spec = self._named(number, node, name, spec)
        self._required[outer] = outer_spec
        return outer

    def _named(self, number: int, node: Node, name: str, spec: _Spec) -> tuple[str, _Spec]:
        """An input's name on the group node: with that of its node where it is there already."""
        label = next((slot.label for slot in node.inputs if slot.name == name), None)
        outer = self._definition.new_name(number, "input", name)
        outer = outer if outer is not None else label if label is not None else name
        prefix, counted = "", outer
        if (number in self._values and node.title) or outer in self._times:
            prefix = f"{node.title or node.type} "
            outer = counted = f"{prefix}{name}"
            if outer in self._times:
                outer = f"{prefix}{self._times[outer]} {name}"
        self._times[counted] = self._times.get(counted, 1) + 1
        if name in SEEDS:
            return outer, _Spec(spec.type, {**spec.settings, CONTROL: f"{prefix}{CONTROL}"})
        return outer, spec

    def _drive(self, link: GroupLink, name: str, spec: _Spec) -> None:
        """Notes that a Primitive node, where it is one, gives an input its value."""
        if link.origin is None or link.origin not in self._values:
            return
        value, outer = self._values[link.origin]
        settings = dict(spec.settings)
        if outer is not None:
            settings |= {CONTROL: True, "control_prefix": outer[: -len(f" {_VALUE}")]}
            self._required[outer] = value._replace(settings=settings)
        self._values[link.origin] = (value._replace(settings=settings), outer)
        self._driven.setdefault(link.origin, []).append((link.target, name))

    # Outputs

    def _add_outputs(self, number: int, types: list[str]) -> None:
        definition = self._definition
        for slot, output_type in enumerate(types):
            place = (number, slot)
            is_shown = definition.is_shown(number, "output", str(slot))
            if is_shown is None:
                is_shown = place not in definition.out_of or place in definition.external
            if is_shown:
                self._outputs.append((place, output_type))


def _spec(info: InputInfo) -> _Spec:
    is_old = info.type == COMBO and info.options is not None and "options" not in info.settings
    return _Spec(list(info.options or ()) if is_old else info.type, dict(info.settings))
