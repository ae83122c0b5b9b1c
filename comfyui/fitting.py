"""What a server lacks for a graph: whether it runs whole there, in part, or not at all.

Owns which problems keep a server from a graph, what stands in for missing nodes, and the error that
lists it all. Pure: works on graphs and an ObjectInfo; who asks servers is not known here.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Literal, NamedTuple

from comfyui.graph import Graph, output_nodes, upstream
from comfyui.missing_nodes import bypass_missing
from comfyui.object_info import ObjectInfo
from comfyui.replacements import Replacements, left_to_server
from comfyui.validation import WorkflowProblem
from comfyui.workflow import Workflow
from image_provider import WorkflowError

OnMissingNode = Literal["bypass", "error"]
"""What becomes of a node that the server lacks: passed through where it can be, or refused."""
_LEFT_TO_THE_SERVER = frozenset({"missing_file", "unknown_node"})
"""It looks for input files itself, and newer ones replace classes that were renamed."""
_FOLDERS = {"[output]": "output", "[input]": "input", "[temp]": "temp"}


class Rank(IntEnum):
    """How much of a graph a server runs; less is better."""

    WHOLE = 0
    PARTLY = 1
    """Something else stands in for what it lacks, or an output is left out."""
    NOT = 2


@dataclass(frozen=True)
class Fit:
    """How a graph fits a server; `lacks` are sentences."""

    rank: Rank
    lacks: tuple[str, ...] = ()

    def without(self, files: Sequence[str]) -> Fit:
        """The same on a server that has not got these input files."""
        if not files:
            return self
        told = (f"the file {name!r} is not among the server's files" for name in files)
        return Fit(Rank.NOT, (*self.lacks, *told))


class InputFile(NamedTuple):
    """A file that a graph loads and the server's lists do not tell of; `place` as /view takes it.

    The place is (filename, subfolder, type).
    """

    name: str
    place: tuple[str, str, str]


def fit_as_given(graph: Graph, info: ObjectInfo, replacements: Replacements) -> Fit:
    """How a graph fits that is sent as it is."""
    problems = Workflow(graph).validate(info, replacements)
    if any(problem.kind == "unknown_node" for problem in problems):
        return Fit(Rank.NOT, _messages(problems))
    return _fit(graph, info, problems)


def fit_of(
    graph: Graph,
    info: ObjectInfo,
    replacements: Replacements,
    on_missing: OnMissingNode,
    name: str,
    brought: Container[tuple[str | None, str | None]] = (),
    warnings: Sequence[str] = (),
) -> Fit:
    """How a graph of the workflow `name` fits that goes without missing nodes.

    The files of the inputs in `brought` (node id, input) are uploaded with it. `warnings` tell what
    stands in for what the server lacks already.
    """
    try:
        graph, notes = do_without_missing(graph, info, on_missing, name, replacements)
    except WorkflowError as error:
        return fit_of_error(error)
    problems = [
        problem
        for problem in Workflow(graph).validate(info, replacements)
        if problem.kind != "missing_file" or (problem.node_id, problem.input_name) not in brought
    ]
    return _fit(graph, info, problems, [*warnings, *notes])


def fit_of_error(error: WorkflowError) -> Fit:
    """How a workflow fits that cannot even be made ready for the server."""
    listed = all(isinstance(problem, WorkflowProblem) for problem in error.problems)
    told = _messages(error.problems) if listed else ()
    return Fit(Rank.NOT, told or (str(error),))


def _fit(
    graph: Graph, info: ObjectInfo, problems: list[WorkflowProblem], notes: Sequence[str] = ()
) -> Fit:
    lacks = (*notes, *_messages(problems))
    if problems and not _has_sound_output(graph, info, problems):
        return Fit(Rank.NOT, lacks)
    return Fit(Rank.PARTLY if lacks else Rank.WHOLE, lacks)


def _messages(problems: Sequence[WorkflowProblem]) -> tuple[str, ...]:
    return tuple(problem.message for problem in problems)


def files_out_of_lists(graph: Graph, info: ObjectInfo) -> Iterator[InputFile]:
    """The files in folders, or of other folders than the input one, that nodes of a graph load."""
    for node in graph.values():
        known = info.get(node["class_type"])
        for name, value in node["inputs"].items():
            entry = known.inputs.get(name) if known is not None else None
            if entry is not None and entry.upload and isinstance(value, str):
                place = _place_out_of_lists(value)
                if place is not None:
                    yield InputFile(value, place)


def _place_out_of_lists(value: str) -> tuple[str, str, str] | None:
    """The place of "sub/x.png" or "x.png [output]"; None for what is listed, and for hashes."""
    path, _, mark = value.rpartition(" ")
    folder_type = _FOLDERS.get(mark)
    subfolder, slash, filename = (path if folder_type else value).replace("\\", "/").rpartition("/")
    if value.startswith("blake3:") or (folder_type is None and not slash):
        return None
    return filename, subfolder, folder_type or "input"


@contextmanager
def naming(name: str) -> Iterator[None]:
    """A WorkflowError raised in the block tells which workflow it is, once."""
    try:
        yield
    except WorkflowError as error:
        if error.file is not None:
            raise
        message = f"workflow {name}: {error}"
        raise replace(error, message=message, file=name) from error.__cause__


def do_without_missing(
    graph: Graph,
    info: ObjectInfo,
    on_missing: OnMissingNode,
    name: str,
    replacements: Replacements,
) -> tuple[Graph, list[str]]:
    """The graph without the nodes that the server lacks, and a sentence for each of them.

    Those that the server itself replaces stay. Raises WorkflowError for one that nothing can stand
    in for, or for any with "error".
    """
    kept = left_to_server(graph, replacements)
    if on_missing == "error":
        found = Workflow(graph).validate(info, replacements)
        problems = [problem for problem in found if problem.kind == "unknown_node"]
        if problems:
            raise refused(name, problems)
    with naming(name):
        done = bypass_missing(graph, info, kept)
    for node_id in kept:
        # Servers of the first versions that replace fail without it (KeyError, so HTTP 500).
        done.graph[node_id].setdefault("_meta", {})
    return done.graph, [str(node) for node in done.bypassed]


def blocking_problems(workflow: Workflow, info: ObjectInfo) -> list[WorkflowProblem]:
    """What the server would certainly refuse: it runs a graph in which one output is sound."""
    problems = [p for p in workflow.validate(info) if p.kind not in _LEFT_TO_THE_SERVER]
    return [] if _has_sound_output(workflow.graph, info, problems) else problems


def _has_sound_output(graph: Graph, info: ObjectInfo, problems: list[WorkflowProblem]) -> bool:
    faulty = {problem.node_id for problem in problems}
    outputs = output_nodes(graph, info)
    return any(faulty.isdisjoint(upstream(graph, [node_id])) for node_id in outputs)


def refused(name: str, problems: list[WorkflowProblem]) -> WorkflowError:
    """The error that lists every problem of a workflow."""
    first = problems[0]
    return WorkflowError(
        f"workflow {name}: " + "; ".join(problem.message for problem in problems),
        file=name,
        node_id=first.node_id,
        class_type=first.class_type,
        input_name=first.input_name,
        problems=problems,
    )
