"""Checks a posted graph as ComfyUI 0.26.0 does, with its error JSON word for word.

Pure but for one question, whether an input file exists. Seen in the recordings 026_validation_*
and, for what those lack, validation_* of 0.3.64. Like the real one it converts numbers given as
text in place. Does not queue or run anything.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from comfyui.embedded.catalog import UPLOAD_CLASSES, InputSpec, NodeCatalog
from comfyui.embedded.graph import Graph

ErrorJson = dict[str, Any]

LONGEST_LIST_SHOWN = 20
_CONVERTERS: dict[str, Callable[[Any], Any]] = {
    "INT": int,
    "FLOAT": float,
    "STRING": str,
    "BOOLEAN": bool,
}


@dataclass(frozen=True)
class Validation:
    """The verdict: an error, or the outputs that can run, and the nodes that cannot."""

    error: ErrorJson | None
    outputs: list[str] = field(default_factory=list)
    node_errors: dict[str, ErrorJson] = field(default_factory=dict)


def validate_prompt(
    graph: Graph,
    catalog: NodeCatalog,
    file_exists: Callable[[str], bool],
    targets: list[str] | None = None,
) -> Validation:
    """Check `graph`; `targets` limits which output nodes count.

    Raises what a graph of the wrong JSON type raises (the route answers 500 then).
    """
    wanted = []
    for node_id in graph:
        problem = _class_problem(node_id, graph, catalog)
        if problem is not None:
            return Validation(problem)
        is_output = catalog.is_output_node(graph[node_id]["class_type"])
        if is_output and (targets is None or node_id in targets):
            wanted.append(node_id)
    if not wanted:
        return Validation(_error("prompt_no_outputs", "Prompt has no outputs", "", {}))
    return _validate_outputs(wanted, _GraphChecker(graph, catalog, file_exists))


def _class_problem(node_id: str, graph: Graph, catalog: NodeCatalog) -> ErrorJson | None:
    node: Any = graph[node_id]
    title = node.get("_meta", {}).get("title")
    if "class_type" not in node:
        name = title or f"ID #{node_id}"
        class_type = None
        message = (
            f"Node '{name}' has no class_type. "
            "The workflow may be corrupted or a custom node is missing."
        )
    elif node["class_type"] not in catalog:
        class_type = node["class_type"]
        title = title or class_type
        message = f"Node '{title}' not found. The custom node may not be installed."
    else:
        return None
    extra = {"node_id": node_id, "class_type": class_type, "node_title": title}
    return _error("missing_node_type", message, f"Node ID '#{node_id}'", extra)


def _validate_outputs(wanted: list[str], checker: _GraphChecker) -> Validation:
    good: list[str] = []
    details: list[str] = []
    node_errors: dict[str, ErrorJson] = {}
    for output in wanted:
        if checker.check_output(output):
            good.append(output)
            continue
        details += [f"{e['message']}: {e['details']}" for e in checker.errors.get(output, [])]
        for node_id, errors in checker.errors.items():
            if errors:
                entry = node_errors.setdefault(node_id, checker.entry(node_id))
                entry["dependent_outputs"].append(output)
    if good:
        return Validation(None, good, node_errors)
    message = "Prompt outputs failed validation"
    error = _error("prompt_outputs_failed_validation", message, "\n".join(details), {})
    return Validation(error, [], node_errors)


class _GraphChecker:
    """Walks upstream from the outputs and remembers the errors of each node."""

    def __init__(
        self, graph: Graph, catalog: NodeCatalog, file_exists: Callable[[str], bool]
    ) -> None:
        self.errors: dict[str, list[ErrorJson]] = {}
        self._graph = graph
        self._catalog = catalog
        self._file_exists = file_exists
        self._valid: dict[str, bool] = {}

    def entry(self, node_id: str) -> ErrorJson:
        """A node's part of `node_errors`, without outputs yet."""
        return {
            "errors": self.errors[node_id],
            "dependent_outputs": [],
            "class_type": self._graph[node_id]["class_type"],
        }

    def check_output(self, node_id: str) -> bool:
        """Whether an output node and all upstream of it are valid."""
        try:
            return self._check(node_id)
        except Exception as error:  # noqa: BLE001 - whatever a bad graph causes is reported
            extra = {"exception_type": type(error).__qualname__, "traceback": _frames(error)}
            message = "Exception when validating node"
            self._settle(
                node_id, False, [_error("exception_during_validation", message, str(error), extra)]
            )
            return False

    def _check(self, node_id: str) -> bool:
        if node_id in self._valid:
            return self._valid[node_id]
        inputs = self._graph[node_id]["inputs"]
        self._valid[node_id] = False  # what a cycle finds when it comes round
        errors: list[ErrorJson] = []
        upstream_valid = True
        class_type = self._graph[node_id]["class_type"]
        for spec in self._catalog.inputs(class_type):
            if spec.name not in inputs:
                if spec.required:
                    errors.append(_missing(spec))
            elif isinstance(inputs[spec.name], list):
                error, valid = self._check_link(spec, inputs[spec.name])
                errors += error
                upstream_valid = upstream_valid and valid
            else:
                errors += _check_value(spec, inputs, _checks_itself(class_type, spec))
        errors += self._custom_errors(class_type, inputs)
        return self._settle(node_id, upstream_valid and not errors, errors)

    def _settle(self, node_id: str, valid: bool, errors: list[ErrorJson]) -> bool:
        self._valid[node_id] = valid
        self.errors[node_id] = errors
        return valid

    def _check_link(self, spec: InputSpec, link: list[Any]) -> tuple[list[ErrorJson], bool]:
        if len(link) != 2:
            message = "Bad linked input, must be a length-2 list of [node_id, slot_index]"
            extra = _about(spec, received_value=link)
            return [_error("bad_linked_input", message, spec.name, extra)], True
        source, slot = link
        received = self._catalog.outputs(self._graph[source]["class_type"])[slot]
        if not _types_meet(received, spec.type):
            details = f"{spec.name}, received_type({received}) mismatch input_type({spec.type})"
            message = "Return type mismatch between linked nodes"
            extra = _about(spec, received_type=received, linked_node=link)
            return [_error("return_type_mismatch", message, details, extra)], True
        try:
            return [], self._check(source)
        except Exception as error:  # noqa: BLE001 - reported at the node that holds the bad link
            extra = _about(
                spec,
                exception_message=str(error),
                exception_type=type(error).__qualname__,
                traceback=_frames(error),
                linked_node=link,
            )
            message = "Exception when validating inner node"
            inner = _error("exception_during_inner_validation", message, str(error), extra)
            return [], self._settle(source, False, [inner])

    def _custom_errors(self, class_type: str, inputs: dict[str, Any]) -> list[ErrorJson]:
        image = inputs.get("image")
        if class_type not in UPLOAD_CLASSES or not isinstance(image, str):
            return []
        if self._file_exists(image):
            return []
        message = "Custom validation failed for node"
        details = f"image - Invalid image file: {image}"
        return [_error("custom_validation_failed", message, details, {"input_name": "image"})]


def _check_value(spec: InputSpec, inputs: dict[str, Any], checks_itself: bool) -> list[ErrorJson]:
    value = inputs[spec.name]
    if isinstance(value, dict) and "__value__" in value:
        value = inputs[spec.name] = value["__value__"]
    if isinstance(spec.type, str) and spec.type in _CONVERTERS:
        try:
            value = inputs[spec.name] = _CONVERTERS[spec.type](value)
        except (TypeError, ValueError, OverflowError) as error:
            message = f"Failed to convert an input value to a {spec.type} value"
            details = f"{spec.name}, {value}, {error}"
            extra = _about(spec, received_value=value, exception_message=str(error))
            return [_error("invalid_input_type", message, details, extra)]
    return [] if checks_itself else _range_errors(spec, value) or _choice_errors(spec, value)


def _checks_itself(class_type: str, spec: InputSpec) -> bool:
    return class_type in UPLOAD_CLASSES and spec.name == "image"


def _range_errors(spec: InputSpec, value: Any) -> list[ErrorJson]:
    low, high = spec.config.get("min"), spec.config.get("max")
    extra = _about(spec, received_value=value)
    if low is not None and value < low:
        message = f"Value {value} smaller than min of {low}"
        return [_error("value_smaller_than_min", message, spec.name, extra)]
    if high is not None and value > high:
        message = f"Value {value} bigger than max of {high}"
        return [_error("value_bigger_than_max", message, spec.name, extra)]
    return []


def _choice_errors(spec: InputSpec, value: Any) -> list[ErrorJson]:
    choices = spec.choices
    if choices is None or value in choices:
        return []
    extra = _about(spec, received_value=value)
    shown = str(choices)
    if len(choices) > LONGEST_LIST_SHOWN:
        shown = f"(list of length {len(choices)})"
        extra["input_config"] = None
    details = f"{spec.name}: '{value}' not in {shown}"
    return [_error("value_not_in_list", "Value not in list", details, extra)]


def _missing(spec: InputSpec) -> ErrorJson:
    message = "Required input is missing"
    return _error("required_input_missing", message, spec.name, {"input_name": spec.name})


def _about(spec: InputSpec, **more: Any) -> dict[str, Any]:
    return {"input_name": spec.name, "input_config": [spec.type, spec.config], **more}


def _error(kind: str, message: str, details: str, extra_info: dict[str, Any]) -> ErrorJson:
    return {"type": kind, "message": message, "details": details, "extra_info": extra_info}


def _frames(error: BaseException) -> list[str]:
    return traceback.format_tb(error.__traceback__)


def _types_meet(received: str, wanted: str | list[str]) -> bool:
    if isinstance(wanted, list):
        return False
    return not {t.strip() for t in received.split(",")}.isdisjoint(
        t.strip() for t in wanted.split(",")
    )
