"""Old group nodes: what stands in one of them, and what goes in and out.

Each has nodes of its own, whose ids are the group node's and their number; their widgets take the
values of its widgets when it is exported. A group node does not look through what feeds it: a
Reroute, a bypassed node or another group node before it leaves its input without a link, as in the
editor. Facts: ComfyUI_frontend 1.27.10, 1.35.9 and 1.45.19, extensions/core/groupNode.ts and
utils/executableGroupNodeDto.ts. Subgraphs have taken their place.
"""

from __future__ import annotations

from comfyui.ui_format import primitives, reroutes
from comfyui.ui_format.group_classes import GroupClass
from comfyui.ui_format.model import INPUT_NODE, Graph, Group, Link, Mode, Node
from image_provider import WorkflowError


def new_group(group_class: GroupClass, nodes: list[Node]) -> Group:
    """What a group node holds, of the nodes made for it."""
    group = Group(outputs=[(str(number), slot) for number, slot in group_class.outputs])
    for number, node in enumerate(nodes):
        group.nodes[node.id] = node
        for slot_number, slot in enumerate(node.inputs):
            source = _source(group_class, number, slot_number)
            slot.link = None if source is None else len(group.links)
            if source is not None:
                link = Link(len(group.links), *source, node.id, slot_number)
                group.links[link.id] = link
        if node.info is None and not node.is_virtual:
            # The editor opens no group node in which a class is missing, used or not.
            node.is_told, node.mode = False, Mode.ALWAYS
    group.widgets = [(name, nodes[number], inner) for name, number, inner in group_class.widgets]
    return group


def _source(group_class: GroupClass, number: int, slot: int) -> tuple[str, int] | None:
    """What feeds an input of a node inside: an input of the group node, or another node inside."""
    outer = group_class.inputs.get((number, slot))
    if outer is not None:
        return INPUT_NODE, outer
    link = group_class.definition.into.get((number, slot))
    if link is None or link.origin is None:
        return None
    # The values of Primitive nodes are written into widgets.
    is_primitive = group_class.definition.nodes[link.origin].type == primitives.TYPE
    return None if is_primitive else (str(link.origin), link.origin_slot)


def write_values(node: Node) -> None:
    """Writes the values of a group node's widgets into those inside."""
    assert node.group is not None
    own = {widget.name: widget for widget in reversed(node.widgets)}
    for name, inner, inner_name in node.group.widgets:
        widget, inner_widget = own.get(name), inner.widget(inner_name)
        if widget is not None and inner_widget is not None:
            inner_widget.set(inner, widget.value)


def fed_by(graph: Graph, instance: Node, inner: Node, slot: int) -> tuple[str, int] | None:
    """The id of the node that feeds an input inside, and its output; None for nothing.

    `graph` is what the group node stands in.
    """
    group = instance.group
    assert group is not None
    link = group.link(inner.inputs[slot].link)
    if link is None:
        return None
    if link.origin_id != INPUT_NODE:
        return f"{instance.id}:{link.origin_id}", link.origin_slot
    slots = instance.inputs[link.origin_slot : link.origin_slot + 1]
    outer = graph.link(slots[0].link) if slots else None
    if outer is None or outer.origin_id not in graph.nodes:
        return None
    return outer.origin_id, outer.origin_slot


def given_by(instance: Node, slot: int) -> tuple[str, int] | None:
    """The node inside that an output is of, by its id there, and which of its outputs it is.

    INPUT_NODE and the number of an input where Reroutes hand that on; None for nothing.
    """
    group = instance.group
    assert group is not None
    if slot >= len(group.outputs):
        what = f"something is linked to output {slot} of {instance.described}, which has no such"
        what += "; cut the link or open and save the workflow again"
        raise WorkflowError(what, node_id=instance.id, class_type=instance.type)
    found = group.outputs[slot]
    seen = set()
    while found[0] != INPUT_NODE and group.nodes[found[0]].type == reroutes.TYPE:
        if found[0] in seen:
            what = f"Reroutes in {instance.described} feed each other; cut one of the links"
            raise WorkflowError(what, node_id=instance.id, class_type=instance.type)
        seen.add(found[0])
        inputs = group.nodes[found[0]].inputs
        link = group.link(inputs[0].link) if inputs else None
        if link is None:
            return None
        found = link.origin_id, link.origin_slot
    return found
