"""One request on one server: upload; then bind, check, submit, wait, fetch, for each picture.

Owns the order of these steps and what the result tells of them. Which workflow and which server it
is has been decided before. Knows no settings and no other provider.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from comfyui.binding import BoundWorkflow
from comfyui.cancelling import CancelToken
from comfyui.choosing import Choice
from comfyui.following import Found, Spot
from comfyui.graph import Graph, output_nodes, upstream
from comfyui.jobs import Job
from comfyui.missing_nodes import bypass_missing
from comfyui.object_info import ObjectInfo
from comfyui.prompt_errors import describe_node_errors
from comfyui.replacements import Replacements, left_to_server
from comfyui.reporting import ProgressReporter, describe_bindings, report_ignored
from comfyui.results import fetch_images
from comfyui.servers import Server, Servers
from comfyui.source_upload import Prepared
from comfyui.tracing import Tracer
from comfyui.validation import WorkflowProblem
from comfyui.workflow import Workflow
from image_provider import ImageGenerationRequest, WorkflowError

logger = logging.getLogger(__name__)

PROVIDER = "comfyui"
OnMissingNode = Literal["bypass", "error"]
"""What becomes of a node that the server lacks: passed through where it can be, or refused."""
_LEFT_TO_THE_SERVER = frozenset({"missing_file", "unknown_node"})
"""It looks for input files itself, and newer ones replace classes that were renamed."""


@dataclass(frozen=True)
class Plan:
    """What is run: a workflow, the images it needs, and a seed for each picture.

    Without `seeds` the workflow's graph is queued once, as it is.
    """

    choice: Choice
    prepared: Prepared
    seeds: list[int] = field(default_factory=list)


class Generation:
    """A plan at work; `images` and `metadata` fill as it goes and outlive a failure."""

    def __init__(
        self,
        server: Server,
        plan: Plan,
        token: CancelToken,
        extra_data: Mapping[str, Any],
        on_missing: OnMissingNode = "bypass",
    ) -> None:
        self._name = plan.choice.name
        self._on_missing = on_missing
        self._server = server
        self._client = server.client
        self._plan = plan
        self._request = plan.prepared.request
        self._token = token
        self._extra_data = extra_data
        self._reporter: ProgressReporter | None = None
        if self._request.on_progress is not None:
            jobs = max(1, len(plan.seeds))
            self._reporter = ProgressReporter(self._request.on_progress, jobs, self._client.clock)
        self.images: list[dict[str, Any]] = []
        self.first_graph: Graph | None = None
        self.metadata: dict[str, Any] = {
            "server": server.name,
            "workflow": plan.choice.name,
            "prompt_ids": [],
            "ignored": [],
            "warnings": list(plan.choice.warnings),
            **plan.prepared.notes,
        }

    @property
    def model(self) -> str | None:
        """The model file that the graph loads; None when it loads none."""
        return model_of(self.first_graph) if self.first_graph is not None else None

    def recipe(self, request: ImageGenerationRequest) -> dict[str, Any]:
        """What makes the pictures again, plain data: `request` as the caller gave it, the rest."""
        return {
            # With the numbers of `extra` as they were sent: NumPy's own have no plain form.
            "request": replace(request, extra=self._request.extra).to_plain(),
            "seeds": [image["seed"] for image in self.images if image.get("kind") != "text"],
            "provider": PROVIDER,
            "model": self.model,
            "workflow": self.first_graph,
        }

    def remember(self, servers: Servers) -> None:
        """Tells which server has the jobs and files of this one."""
        urls = [image["url"] for image in self.images if image["url"] is not None]
        files = [self._client.address.file_of(url) for url in urls]
        servers.remember(self._server, [*self.metadata["prompt_ids"], *files])

    def run(self) -> None:
        """Makes every picture; raises ImageGenerationError at the first that fails."""
        with naming(self._name):
            self._run()

    def _run(self) -> None:
        if not self._plan.seeds:
            self._run_graph(self._plan.choice.workflow.graph)
            return
        for warning in self._plan.choice.warnings:
            logger.warning("%s", warning)
        self._upload()
        info = self._server.object_info()
        for number, seed in enumerate(self._plan.seeds):
            bound = self._plan.choice.workflow.bind(replace(self._request, seed=seed), info)
            replaced = self._server.replacements(bound.graph)
            graph, notes = do_without_missing(
                bound.graph, info, self._on_missing, self._name, replaced
            )
            if number == 0:
                self._note_binding(bound)
                self.metadata["warnings"] += notes
                for note in notes:
                    logger.warning("%s", note)
                self._check(graph)
            self._run_graph(graph)

    def _upload(self) -> None:
        """Sends the images; where the server chose another name, the request takes that."""
        stored = {
            name: self._client.upload_image(data, name)
            for name, data in self._plan.prepared.uploads.items()
        }
        source, mask = self._request.source_image_url, self._request.mask_image_url
        self._request = replace(
            self._request,
            source_image_url=stored.get(source, source) if source is not None else None,
            mask_image_url=stored.get(mask, mask) if mask is not None else None,
        )

    def _note_binding(self, bound: BoundWorkflow) -> None:
        for binding in bound.bindings:
            logger.debug("%s = %r: %s", binding.parameter, binding.value, binding.reason)
        # Nobody is told that a seed which was drawn here found no place.
        was_drawn = self._request.seed is None
        ignored = [e for e in bound.ignored if not (was_drawn and e.parameter == "seed")]
        self.metadata["bindings"] = describe_bindings(bound.bindings)
        self.metadata["ignored"] = report_ignored(ignored, self._request, PROVIDER)

    def _check(self, graph: Graph) -> None:
        """Refuses what the server would; its lists are read again first, they may be old."""
        workflow = Workflow(graph)
        problems = blocking_problems(workflow, self._server.object_info())
        if problems:
            problems = blocking_problems(workflow, self._server.object_info(fresh=True))
        if problems:
            raise refused(self._name, problems)

    def _run_graph(self, graph: Graph) -> None:
        if self.first_graph is None:
            self.first_graph = graph
        reporter = self._reporter
        job = Job(
            self._client,
            graph,
            extra_data=self._extra_data,
            on_change=None if reporter is None else lambda job: reporter.job_changed(job, graph),
            token=self._token,
        )
        finished = job.run()
        self.metadata["prompt_ids"].append(finished.prompt_id)
        self.metadata["warnings"] += describe_node_errors(finished.node_errors, graph)
        if finished.texts:
            self.metadata.setdefault("texts", []).append(dict(finished.texts))
        if reporter is not None:
            reporter.downloading()
        self.images += fetch_images(self._client, finished, graph, seed_of(graph), self._token)
        if reporter is not None:
            reporter.job_done()


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
    graph = workflow.graph
    faulty = {problem.node_id for problem in problems}
    for node_id in output_nodes(graph, info):
        if faulty.isdisjoint(upstream(graph, [node_id])):
            return []
    return problems


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


def seed_of(graph: Graph) -> int | None:
    """The seed that the first sampler of a graph uses; None when it has none."""
    value = _value_at(graph, Tracer(graph).seeds())
    return value if isinstance(value, int) else None


def model_of(graph: Graph) -> str | None:
    """The model file that the first sampler of a graph uses; None when it loads none."""
    value = _value_at(graph, Tracer(graph).model_files())
    return value if isinstance(value, str) else None


def _value_at(graph: Graph, found: list[Found]) -> Any:
    spot = next((item for item in found if isinstance(item, Spot)), None)
    return None if spot is None else graph[spot.node_id]["inputs"].get(spot.input_name)
