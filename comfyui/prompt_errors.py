"""What a refusal of POST /prompt means: the 400 body → a WorkflowError that a person can act on.

Pure. Facts: execution.py validate_prompt; the bodies were recorded on 0.3.64, 0.8.0 and 0.26.0.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from comfyui.events import as_text
from comfyui.foreign_texts import for_strangers
from comfyui.graph import Graph, Node, links_of, title_of
from comfyui.validation import ProblemKind, WorkflowProblem
from image_provider import WorkflowError

if TYPE_CHECKING:
    from image_io.http import HttpResponse

_BROKEN_LINK = "exception_during_inner_validation"
_KINDS: dict[str, ProblemKind] = {
    "required_input_missing": "missing_input",
    "value_not_in_list": "not_in_list",
    "value_smaller_than_min": "out_of_range",
    "value_bigger_than_max": "out_of_range",
    "invalid_input_type": "wrong_type",
    "return_type_mismatch": "wrong_type",
    "bad_linked_input": "bad_link",
    _BROKEN_LINK: "bad_link",
    "custom_validation_failed": "missing_file",
    "missing_node_type": "unknown_node",
    "invalid_prompt": "unknown_node",
    "prompt_no_outputs": "no_output",
    "no_prompt": "no_output",
    # Without any node error this is what a cycle gets (0.3.64, 0.26.0).
    "prompt_outputs_failed_validation": "cycle",
}


def parse_refusal(response: HttpResponse, graph: Graph) -> WorkflowError | None:
    """The WorkflowError of a refused POST /prompt; None when the body is not the server's own."""
    body = response.json_or_none()
    error = body.get("error") if isinstance(body, dict) else None
    if response.status != 400 or not isinstance(body, dict) or not isinstance(error, dict):
        return None
    problems = [*_node_problems(body.get("node_errors"), graph)] or [_whole_problem(error, graph)]
    first = problems[0]
    return WorkflowError(
        "the server refused the workflow: " + "; ".join(problem.message for problem in problems),
        status=response.status,
        node_id=first.node_id,
        class_type=first.class_type,
        input_name=first.input_name,
        problems=problems,
        detail=response.body.decode("utf-8", "replace"),
    )


def describe_node_errors(node_errors: Mapping[str, Any], graph: Graph) -> list[str]:
    """A sentence for each problem of outputs that a server leaves out while it runs the others."""
    return [problem.message for problem in _node_problems(node_errors, graph)]


def _node_problems(node_errors: object, graph: Graph) -> Iterator[WorkflowProblem]:
    for node_id, entry in node_errors.items() if isinstance(node_errors, dict) else ():
        errors = entry.get("errors") if isinstance(entry, dict) else None
        for error in errors if isinstance(errors, list) else ():
            if isinstance(error, dict):
                yield _problem(error, str(node_id), graph)


def _whole_problem(error: Mapping[str, Any], graph: Graph) -> WorkflowProblem:
    """The problem of a refusal that names no node, or names it in its details alone."""
    extra = error.get("extra_info")
    node_id = as_text(extra.get("node_id")) if isinstance(extra, dict) else None
    if node_id is None:
        found = re.search(r"Node ID '#([^']+)'", str(error.get("details")))
        node_id = found.group(1) if found else None
    return _problem(error, node_id, graph)


def _problem(error: Mapping[str, Any], node_id: str | None, graph: Graph) -> WorkflowProblem:
    node = graph.get(node_id or "")
    if not isinstance(node, dict):  # a graph can be sent as it is, whatever it holds
        node = {}
    class_type = as_text(node.get("class_type"))
    title = title_of(node) if class_type else None
    input_name = _input_name(error, node, graph)
    kind = str(error.get("type"))
    place = " ".join(part for part in ("node", node_id, class_type) if part)
    if title and title != class_type:
        place += f" {title!r}"
    reason = _reason(error, kind, input_name)
    return WorkflowProblem(
        kind=_KINDS.get(kind, "wrong_type"),
        node_id=node_id,
        class_type=class_type,
        title=title,
        input_name=input_name,
        message=reason if node_id is None else f"{place}: {reason}",
    )


def _input_name(error: Mapping[str, Any], node: Node, graph: Graph) -> str | None:
    if error.get("type") == _BROKEN_LINK:
        # The server names the input of the node after this one (026_validation_bad_link).
        links = dict(links_of(node)) if isinstance(node.get("inputs"), dict) else {}
        suspects = [name for name, link in links.items() if link.node_id not in graph] or [*links]
        return suspects[0] if len(suspects) == 1 else None
    extra = error.get("extra_info")
    return as_text(extra.get("input_name")) if isinstance(extra, dict) else None


def _reason(error: Mapping[str, Any], kind: str, input_name: str | None) -> str:
    message = for_strangers(str(error.get("message") or kind)).rstrip(".")
    details = for_strangers(str(error.get("details") or ""))
    match kind:
        case "prompt_outputs_failed_validation":
            return "the workflow's outputs failed the server's check; does it link in a circle?"
        case "prompt_no_outputs" | "no_prompt":
            return "the workflow has no output node; add a SaveImage node"
        case "missing_node_type" | "invalid_prompt":
            return f"{message}. Install the custom nodes that it needs on the server"
        case _ if kind == _BROKEN_LINK:
            which = f"its input {input_name}" if input_name else "one of its inputs"
            return f"{which} links to a node or an output that is not there ({details})"
        case _:
            return f"{message} ({details})" if details else message
