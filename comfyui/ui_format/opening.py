"""From a saved file to the graphs that the editor has in hand once it is open.

Owns what becomes of a saved node: the slots and widgets of its class as the server describes it
now, with the links and values of the file, whatever version of the class that was saved with.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from itertools import zip_longest
from typing import Any

from comfyui.object_info import Editor, ObjectInfo
from comfyui.ui_format import (
    dynamic,
    group_nodes,
    host_values,
    primitives,
    reroutes,
    subgraphs,
    undescribed,
)
from comfyui.ui_format.definitions import editor_inputs, new_node
from comfyui.ui_format.group_classes import GroupClass, GroupClasses
from comfyui.ui_format.model import (
    UNSET,
    Document,
    Graph,
    InputSlot,
    Node,
    OutputSlot,
    Subgraph,
    Widget,
)
from comfyui.ui_format.saved import SavedGraph, last_node_id, read_graph, read_subgraphs
from comfyui.ui_format.widgets import has_control

_SAMPLERS = ("KSampler", "KSamplerAdvanced")
_OLD_SAMPLER = "sample_"


def open_document(
    saved: Mapping[str, Any], object_info: ObjectInfo, now: datetime | None = None
) -> Document:
    """The file as the editor has it after loading; raises WorkflowError for what is no graph."""
    root, definitions = read_graph(saved), read_subgraphs(saved)
    document = Document(
        object_info=object_info,
        now=now or datetime.now(),
        editor=subgraphs.editor_of(object_info.editor, root, definitions),
    )
    if document.editor >= Editor.V1_45:
        subgraphs.renumber(root, definitions, last_node_id(saved))
    document.subgraphs = {
        entry.id: Subgraph(id=entry.id, name=entry.name, inputs=entry.inputs, outputs=entry.outputs)
        for entry in definitions.values()
    }
    ordered = subgraphs.inner_first(definitions)
    subgraphs.refuse_too_large(root, ordered)
    # Older editors open the definitions as they come, whichever needs which.
    for entry in ordered if document.editor >= Editor.V1_45 else definitions.values():
        subgraph = document.subgraphs[entry.id]
        _fill(subgraph, entry.graph, document)
        subgraph.is_filled = True
        for node in subgraph.waiting:
            subgraphs.promote_late(node)
    _fill(document, root, document, GroupClasses(saved, object_info))
    _settle(document)
    return document


def _fill(
    graph: Graph, saved: SavedGraph, document: Document, groups: GroupClasses | None = None
) -> None:
    graph.links = saved.links
    for entry in saved.nodes:
        if entry.id in graph.nodes:
            place = saved.place._replace(node_id=entry.id, class_type=entry.type)
            raise place.malformed(f"two nodes have the id {entry.id}")
        graph.nodes[entry.id] = _node(entry, document, groups)


def _node(saved: Node, document: Document, groups: GroupClasses | None) -> Node:
    subgraph = document.subgraphs.get(saved.type)
    if subgraph is not None:
        node = subgraphs.new_instance(subgraph, saved.id)
    elif saved.type in document.object_info:
        node = new_node(document.object_info[saved.type], saved.id, document.editor)
    else:
        group = groups.get(saved.type) if groups is not None else None
        if group is not None:
            return _group_node(saved, group, document)
        return _undescribed(saved, document)
    _configure(node, saved, document.editor)
    return node


def _group_node(saved: Node, group: GroupClass, document: Document) -> Node:
    node = new_node(group.info, saved.id, document.editor)
    node.is_virtual = True
    _configure(node, saved, document.editor)
    inner = []
    for entry in group.definition.new_nodes():
        if entry.type in document.object_info:
            inner.append(_node(entry, document, None))
        else:
            inner.append(_undescribed(entry, document))
    node.group = group_nodes.new_group(group, inner)
    return node


def _undescribed(node: Node, document: Document) -> Node:
    """A node as it was saved: only the editor has it, or the server does not, or nobody asked."""
    node.title = node.title or node.type
    node.is_virtual = undescribed.is_editor_only(node.type)
    if not node.is_virtual:
        undescribed.give_widgets(node, document.editor)
    return node


def _configure(node: Node, saved: Node, editor: Editor) -> None:
    node.mode, node.properties = saved.mode, saved.properties
    node.title = saved.title or _class_title(node)
    node.inputs = _merged_inputs(node.inputs, saved.inputs)
    node.outputs = _merged_outputs(node.outputs, saved.outputs)
    dynamic.grow(node, editor)
    if node.subgraph is not None:
        if node.subgraph.is_filled:
            subgraphs.promote(node, editor)
        else:
            node.subgraph.waiting.append(node)
    values = _aligned(node, saved.widgets_values, editor)
    if isinstance(values, Mapping):
        for widget in list(node.widgets):
            if widget.name in values:
                widget.set(node, values[widget.name])
    elif values:
        _apply(node, values, editor)
    if node.subgraph is not None and editor is Editor.V1_35:
        subgraphs.arrange_proxies(node, saved.widgets_values)
    elif node.subgraph is not None and editor >= Editor.V1_48:
        host_values.take(node, saved.widgets_values)


def _class_title(node: Node) -> str:
    if node.subgraph is not None:
        return node.subgraph.name
    return node.info.display_name if node.info is not None else node.type


def _merged_inputs(declared: list[InputSlot], saved: list[InputSlot]) -> list[InputSlot]:
    """The inputs of the class with the links of the file, then those that only the file has."""
    by_name = {slot.name: slot for slot in saved}
    for slot in declared:
        before = by_name.get(slot.name)
        if before is not None:
            slot.link, slot.label = before.link, before.label
            slot.widget = slot.widget or before.widget
    names = {slot.name for slot in declared}
    return declared + [slot for slot in saved if slot.name not in names]


def _merged_outputs(declared: list[OutputSlot], saved: list[OutputSlot]) -> list[OutputSlot]:
    merged = []
    for slot, before in zip_longest(declared, saved):
        if slot is not None and before is not None:
            slot.links = before.links
        merged.append(slot if slot is not None else before)
    return merged


def _aligned(node: Node, values: Any, editor: Editor) -> Any:
    """The saved values without those of inputs that are no widgets any more (`forceInput`)."""
    if not isinstance(values, list) or node.info is None:
        return values
    names = {widget.name for widget in node.widgets}
    forced: list[bool] = []
    for info in editor_inputs(node.info, editor):
        is_forced = bool(info.settings.get("forceInput"))
        if info.name in names or is_forced:
            forced += [is_forced, False] if has_control(info) else [is_forced]
    if len(forced) != len(values):
        return values
    return [value for value, is_forced in zip(values, forced, strict=True) if not is_forced]


def _apply(node: Node, values: list[Any], editor: Editor) -> None:
    # A value can bring widgets along, which then take the next ones; before 1.35 it could not.
    widgets = node.widgets if editor > Editor.V1_27 else list(node.widgets)
    position = 0
    for widget in widgets:  # grows while it is walked
        if not widget.is_saved:
            continue
        if position >= len(values):
            break
        widget.set(node, values[position])
        position += 1


# Once everything is there


def _settle(document: Document) -> None:
    graphs = document.graphs
    for graph in graphs:
        for node in graph.nodes.values():
            _number_slots(graph, node)
    for graph in graphs:
        for node in graph.nodes.values():
            if node.info is not None:
                _drop_inputs_without_widget(graph, node)
    for graph in graphs:
        for node in graph.nodes.values():
            if node.type == primitives.TYPE:
                primitives.give_widget(graph, node, document.editor)
    for graph in graphs:
        for node in graph.nodes.values():
            for widget in node.widgets:
                _mend(node, widget, document.editor)
    for graph in graphs:
        reroutes.settle(graph)
        for node in graph.nodes.values():
            if node.type == primitives.TYPE:
                primitives.take_from_reroute(graph, node, document.editor)
    for graph in graphs:
        for node in graph.nodes.values():
            if node.growing and document.editor is Editor.V1_35:
                dynamic.close_gaps(node)
            if node.match_groups:
                dynamic.match_types(node, _origin_types(graph, node))


def _number_slots(graph: Graph, node: Node) -> None:
    """Links follow the inputs that name them: these may stand elsewhere than when saved."""
    for number, slot in enumerate(node.inputs):
        link = graph.link(slot.link)
        if link is not None:
            link.target_slot = number


def _drop_inputs_without_widget(graph: Graph, node: Node) -> None:
    names = {widget.name for widget in node.widgets}
    kept = [slot for slot in node.inputs if slot.widget is None or slot.widget in names]
    if len(kept) < len(node.inputs):
        staying = {slot.link for slot in kept}
        links = {slot.link for slot in node.inputs if slot.link is not None}
        graph.cut(links - staying)
        node.inputs = kept
        _number_slots(graph, node)


def _mend(node: Node, widget: Widget, editor: Editor) -> None:
    """What the editor mends of old files."""
    value = widget.value
    is_sampler = node.type in _SAMPLERS and widget.name == "sampler_name"
    if is_sampler and isinstance(value, str) and value.startswith(_OLD_SAMPLER):
        widget.set(node, value.removeprefix(_OLD_SAMPLER))
    is_empty = value is None or value is UNSET
    if is_empty and editor >= Editor.V1_45 and widget.kind == "combo" and widget.options:
        widget.set(node, widget.options[0])


def _origin_types(graph: Graph, node: Node) -> dict[str, str]:
    types = ((slot.name, graph.origin_type(slot)) for slot in node.inputs)
    return {name: slot_type for name, slot_type in types if slot_type}
