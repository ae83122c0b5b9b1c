"""One request on its way: to the server that suits it, and on to another when that one fails it.

Owns when another server may be tried: only while it is certain that the one before has no job of
what is left, and each once. Knows no settings.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace

from comfyui.cancelling import CancelToken
from comfyui.choosing import Choice
from comfyui.fitting import (
    Fit,
    OnMissingNode,
    files_out_of_lists,
    fit_as_given,
    fit_of,
    fit_of_error,
    naming,
)
from comfyui.generation import Generation, NotSent, Plan, nothing_sent
from comfyui.object_info import ObjectInfo
from comfyui.server import Server
from comfyui.servers import Servers
from comfyui.source_upload import Prepared, plain_inputs
from comfyui.workflow import Workflow
from image_provider import (
    ImageGenerationError,
    ImageGenerationRequest,
    ProgressCallback,
    ProviderTimeoutError,
    ProviderUnavailableError,
    WorkflowError,
)

logger = logging.getLogger(__name__)

_ON_TRIAL = "picture.png"
"""Stands for the files that a request brings where only the rest of it is looked at."""
_GONE = (ProviderUnavailableError, ProviderTimeoutError)


@dataclass(frozen=True)
class Order:
    """What a caller wants made, before a server is chosen for it.

    `choose` gives the workflow by a server's lists, `plan` makes it ready and asks nothing more of
    the server. `request` is what the workflow will be bound to; None for a graph that is sent as it
    is, of which a server is asked nothing before where there is no other.
    """

    choose: Callable[[Server], Choice]
    plan: Callable[[Choice, Server], Plan]
    request: ImageGenerationRequest | None = None


def as_given(
    load: Callable[[Server], Workflow], on_progress: ProgressCallback | None = None
) -> Order:
    """The order for a graph that is queued once, as it is."""
    prepared = Prepared(ImageGenerationRequest(prompt="", on_progress=on_progress))
    return Order(
        choose=lambda server: Choice("given graph", load(server)),
        plan=lambda choice, server: Plan(choice, prepared),
    )


class Placement:
    """One order and the servers that it was tried on; used by one thread."""

    def __init__(
        self, servers: Servers, order: Order, on_missing: OnMissingNode = "bypass"
    ) -> None:
        self._servers = servers
        self._order = order
        self._on_missing = on_missing
        self._choices: dict[Server, Choice] = {}
        self._failed: dict[Server, ImageGenerationError] = {}

    def run(self, generation: Generation, token: CancelToken) -> None:
        """Makes all of it, on one server or several; raises ImageGenerationError when it fails."""
        is_made = False
        while not is_made:
            token.check()
            is_made = self._tried(generation)

    def _tried(self, generation: Generation) -> bool:
        """Whether all is made now; False where another server may make what is left."""
        with ExitStack() as stack:
            server = self._entered(stack)
            try:
                self._run_on(server, generation)
            except NotSent as failure:
                server.doubt()
                self._failed[server] = failure.error
                return False
            except _GONE:
                server.doubt()
                raise
        return True

    def _entered(self, stack: ExitStack) -> Server:
        """The next server, at work until the stack is left; raises when none is left."""
        if self._failed and all(server in self._failed for server in self._servers.all()):
            raise self._given_up([])
        try:
            server = stack.enter_context(self._servers.at_work(self.fit, self._failed))
        except _GONE as error:
            if not self._failed:
                raise
            raise self._given_up([str(error)]) from error
        if self._failed:
            last, why = list(self._failed.items())[-1]
            addresses = (last.client.address, why, server.client.address)
            logger.warning("ComfyUI at %s did not take the job: %s. It goes to %s", *addresses)
        return server

    def _given_up(self, more: list[str]) -> ImageGenerationError:
        """The last failure, with those before it; as it was when it is the only one."""
        failures = list(self._failed.values())
        told = [str(failure) for failure in failures] + more
        return failures[-1] if len(told) == 1 else replace(failures[-1], message="; ".join(told))

    def _run_on(self, server: Server, generation: Generation) -> None:
        with nothing_sent():
            choice = self.choice_on(server)
        generation.run_on(server, self._order.plan(choice, server))

    def _chosen(self, server: Server) -> Choice:
        try:
            return self._order.choose(server)
        except WorkflowError:
            if self._order.request is None:
                raise
        # The missing file may have been put there since the server was asked.
        server.object_info(fresh=True)
        return self._order.choose(server)

    def choice_on(self, server: Server) -> Choice:
        """The workflow that the order is on a server."""
        return self._choices.get(server) or self._chosen(server)

    def fit(self, server: Server, fresh: bool) -> Fit:
        """How the order fits a server, by lists that are read now if `fresh`.

        Raises WorkflowError for what is wrong with the order on any server.
        """
        self._choices.pop(server, None)
        info = server.object_info(fresh=fresh)
        try:
            choice = self._order.choose(server)
            with naming(choice.name):
                found = self._fit_of(choice, server, info)
        except WorkflowError as error:
            if error.class_type is None and not error.problems:
                raise
            return fit_of_error(error)
        self._choices[server] = choice
        return found

    def _fit_of(self, choice: Choice, server: Server, info: ObjectInfo) -> Fit:
        if self._order.request is None:
            graph = choice.workflow.graph
            found = fit_as_given(graph, info, server.replacements(graph))
        else:
            trial = _on_trial(self._order.request, choice)
            bound = choice.workflow.bind(trial, info)
            graph, taking = bound.graph, (e for e in bound.bindings if e.value == _ON_TRIAL)
            brought = {(entry.node_id, entry.input_name) for entry in taking}
            replaced = server.replacements(graph)
            found = fit_of(
                graph, info, replaced, self._on_missing, choice.name, brought, choice.warnings
            )
        return found.without(self._servers.missing_files(server, files_out_of_lists(graph, info)))


def _on_trial(request: ImageGenerationRequest, choice: Choice) -> ImageGenerationRequest:
    """The request as it will be bound, but for its pictures, of which none is loaded yet."""
    return replace(
        request,
        extra=plain_inputs(request),
        seed=request.seed or 0,
        model=choice.model or request.model,
        source_image_url=None if request.source_image is None else _ON_TRIAL,
        mask_image_url=None if request.mask_image is None else _ON_TRIAL,
    )
