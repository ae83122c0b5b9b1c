"""One request at work: upload; then bind, check, submit, wait, fetch, for each picture.

Owns the order of these steps and what the result tells of them. Which workflow and which server it
is has been decided before; when a server did not take a job, the rest can be made on another. Knows
no settings and no other provider.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from comfyui.binding import BoundWorkflow
from comfyui.cancelling import CancelToken
from comfyui.choosing import Choice
from comfyui.fitting import (
    OnMissingNode,
    blocking_problems,
    do_without_missing,
    naming,
    refused,
)
from comfyui.following import Found, Spot
from comfyui.graph import Graph
from comfyui.job_errors import NOT_ACCEPTED
from comfyui.jobs import FinishedJob, Job
from comfyui.object_info import ObjectInfo
from comfyui.prompt_errors import describe_node_errors
from comfyui.repeating import repeated
from comfyui.reporting import ProgressReporter, describe_bindings, report_ignored
from comfyui.results import fetch_images
from comfyui.server import Server
from comfyui.servers import Servers
from comfyui.source_upload import Prepared
from comfyui.tracing import Tracer
from comfyui.workflow import Workflow
from image_provider import (
    ImageGenerationError,
    ImageGenerationRequest,
    ImageGenerationResult,
    ProviderTimeoutError,
    ProviderUnavailableError,
    RateLimitedError,
    printable,
)

logger = logging.getLogger(__name__)

PROVIDER = "comfyui"


class NotSent(Exception):
    """The server failed, and certainly has no job of this that was not finished before."""

    def __init__(self, error: ImageGenerationError) -> None:
        super().__init__(str(error))
        self.error = error


@dataclass(frozen=True)
class Plan:
    """What is run: a workflow, the images it needs, and a seed for each picture.

    Without `seeds` the workflow's graph is queued once, as it is.
    """

    choice: Choice
    prepared: Prepared
    seeds: list[int] = field(default_factory=list)


class Generation:
    """One request at work; `images` and `metadata` fill as it goes and outlive a failure."""

    def __init__(
        self,
        token: CancelToken,
        extra_data: Mapping[str, Any],
        on_missing: OnMissingNode = "bypass",
    ) -> None:
        self._token = token
        self._extra_data = extra_data
        self._on_missing = on_missing
        self._reporter: ProgressReporter | None = None
        self._kept: list[tuple[Server, FinishedJob, list[str]]] = []
        self._number_finished = 0
        self.images: list[dict[str, Any]] = []
        self.first_graph: Graph | None = None
        self.metadata: dict[str, Any] = {}

    def run_on(self, server: Server, plan: Plan) -> None:
        """Makes every picture that is not made yet; raises ImageGenerationError at a failure.

        Raises NotSent where another server may make the rest; then this can be called for that one.
        """
        self._begin(server, plan)
        with naming(self._name):
            self._run()

    def _begin(self, server: Server, plan: Plan) -> None:
        self._server, self._client = server, server.client
        self._plan, self._name = plan, plan.choice.name
        self._request = plan.prepared.request
        if self._reporter is None and self._request.on_progress is not None:
            jobs = max(1, len(plan.seeds))
            self._reporter = ProgressReporter(self._request.on_progress, jobs, self._client.clock)
        if not self._kept:
            self.first_graph, self.metadata = None, {}
        self.metadata |= {
            "server": server.name,
            "workflow": plan.choice.name,
            "prompt_ids": self.metadata.get("prompt_ids", []),
            "ignored": [],
            "warnings": _joined(self.metadata.get("warnings", []), plan.choice.warnings),
            **plan.prepared.notes,
        }
        servers = dict.fromkeys([*(kept for kept, _, _ in self._kept), server])
        if len(servers) > 1:
            self.metadata["servers"] = [str(each.client.address) for each in servers]

    @property
    def model(self) -> str | None:
        """The model file that the graph loads; None when it loads none."""
        return model_of(self.first_graph) if self.first_graph is not None else None

    def recipe(self, request: ImageGenerationRequest, model: str | None) -> dict[str, Any]:
        """What makes the pictures again, plain data: `request` as the caller gave it, the rest."""
        return {
            # With the numbers of `extra` as they were sent: NumPy's own have no plain form.
            "request": replace(request, extra=self._request.extra).to_plain(),
            "seeds": [image["seed"] for image in self.images if image.get("kind") != "text"],
            "provider": PROVIDER,
            "model": model,
            "workflow": self.first_graph,
        }

    def remember(self, servers: Servers) -> None:
        """Tells which server has the jobs and files of this one."""
        for server, job, urls in self._kept:
            files = [server.client.address.file_of(url) for url in urls]
            servers.remember(server, [job.prompt_id, *files])

    def result(
        self, request: ImageGenerationRequest, failure: ImageGenerationError | None, seconds: float
    ) -> ImageGenerationResult:
        """What the caller gets, of a failure too: the pictures that were finished are in it."""
        has_begun = bool(self.metadata)
        metadata = {**self.metadata, "elapsed_seconds": round(seconds, 3)}
        model = self.model if has_begun else request.model
        if failure is not None:
            failure.provider = PROVIDER
            if self._number_finished:
                metadata["finished"] = self._number_finished
            result = ImageGenerationResult.failed(failure, PROVIDER, model, metadata)
        else:
            result = ImageGenerationResult(True, [], PROVIDER, model, metadata=metadata)
        if has_begun:
            result.images = self.images
            result.recipe = self.recipe(request, model)
        told = (PROVIDER, len(result.images), seconds, result.error_type or "ok")
        logger.info("%s: %d image(s) in %.1f s, %s", *told)
        return result

    def _run(self) -> None:
        if not self._plan.seeds:
            self._run_graph(self._plan.choice.workflow.graph)
            return
        for warning in self._plan.choice.warnings:
            logger.warning("%s", printable(warning))
        with nothing_sent():
            self._upload()
            info = self._server.object_info()
        already = len(self._kept)
        for number, seed in enumerate(self._plan.seeds[already:]):
            self._token.check()
            with nothing_sent():
                graph = self._graph(seed, info, is_first=number == 0)
            self._run_graph(graph)

    def _graph(self, seed: int, info: ObjectInfo, *, is_first: bool) -> Graph:
        """The graph for one picture; the first one here is looked into, and told of."""
        bound = self._plan.choice.workflow.bind(replace(self._request, seed=seed), info)
        replaced = self._server.replacements(bound.graph)
        graph, notes = do_without_missing(bound.graph, info, self._on_missing, self._name, replaced)
        if is_first:
            self._note_binding(bound)
            self.metadata["warnings"] = _joined(self.metadata["warnings"], notes)
            for note in notes:
                logger.warning("%s", printable(note))
            self._check(graph)
        return graph

    def _upload(self) -> None:
        """Sends the images; where the server chose another name, the request takes that."""
        stored = {
            name: repeated(
                partial(self._client.upload_image, data, name), self._client, self._token
            )
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
        with nothing_sent():
            self._server.refuse_forbidden(graph)
        reporter = self._reporter
        job = Job(
            self._client,
            graph,
            extra_data=self._extra_data,
            on_change=None if reporter is None else lambda job: reporter.job_changed(job, graph),
            token=self._token,
        )
        try:
            finished = job.run()
        except NOT_ACCEPTED as error:
            raise NotSent(error) from error
        urls: list[str] = []
        self._kept.append((self._server, finished, urls))
        self._note_end(finished, graph)
        if reporter is not None:
            reporter.downloading()
        images = fetch_images(self._client, finished, graph, seed_of(graph), self._token)
        self.images += images
        self._number_finished += 1
        urls += [image["url"] for image in images if image["url"] is not None]
        if reporter is not None:
            reporter.job_done()

    def _note_end(self, finished: FinishedJob, graph: Graph) -> None:
        self.metadata["prompt_ids"].append(finished.prompt_id)
        told = describe_node_errors(finished.node_errors, graph)
        self.metadata["warnings"] = _joined(self.metadata["warnings"], told)
        if finished.texts:
            self.metadata.setdefault("texts", []).append(dict(finished.texts))


@contextmanager
def nothing_sent() -> Iterator[None]:
    """A server that does not answer in the block has no job of it."""
    try:
        yield
    except (ProviderUnavailableError, ProviderTimeoutError, RateLimitedError) as error:
        raise NotSent(error) from error


def _joined(first: list[str], second: list[str]) -> list[str]:
    """Both lists of warnings, each once and fit for a terminal: they name nodes and files."""
    return list(dict.fromkeys(map(printable, [*first, *second])))


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
