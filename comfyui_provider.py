"""ComfyUIProvider: pictures from a ComfyUI server, by any workflow.

The story of one generation: choose a workflow and a server that suits it (`comfyui/placing.py`),
load the images (`_prepared`), then bind, check, upload, submit, wait and fetch
(`comfyui/generation.py`). Each step is in `comfyui/`; here they come together. Knows no HTTP or
WebSocket library, no environment and no other provider.
"""

from __future__ import annotations

import logging
import os
import secrets
import threading
import time
import uuid
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from comfyui.address import ServerAddress
from comfyui.cancelling import CancelToken
from comfyui.choosing import Choice, WorkflowChooser, mode_of, with_default_size
from comfyui.client import ORG_KEY, ComfyUIClient, Limits
from comfyui.fitting import OnMissingNode, do_without_missing, naming
from comfyui.futures import GenerationFuture, start
from comfyui.generation import PROVIDER, Generation, Plan
from comfyui.graph import Graph, plain_graph
from comfyui.library import WorkflowLibrary
from comfyui.live_jobs import LiveJobs
from comfyui.low_level import LowLevelMethods
from comfyui.node_rules import FROM_SETTINGS as RULES_FROM_SETTINGS
from comfyui.node_rules import Classes, node_rules
from comfyui.object_info import ObjectInfo
from comfyui.placing import Order, Placement, as_given
from comfyui.server import EMBEDDED, Server
from comfyui.servers import Servers
from comfyui.source_upload import OwnFile, prepare
from comfyui.status import ServerStatus, server_status
from comfyui.ui_format import is_ui_format
from comfyui.workflow import Hashes, Workflow
from image_io.source_images import (
    FROM_SETTINGS,
    Hosts,
    MaxSide,
    Roots,
    as_hosts,
    as_max_side,
    as_roots,
    source_loader,
)
from image_provider import (
    DEFAULT_SIZE,
    FEATURES,
    MAX_SEED,
    ImageGenerationError,
    ImageGenerationRequest,
    ImageGenerationResult,
    ImageProvider,
    ImageStyle,
    InvalidRequestError,
    ProgressCallback,
    WorkflowError,
)

logger = logging.getLogger(__name__)

_DRAWN_SEED_BITS = 53
"""A drawn seed stays whole in the editor, which keeps numbers as 64-bit floats."""
_AT_ONCE = 2
"""Jobs for each server that keep it busy: the next one waits there while one is fetched."""
_MODES = ("T2I", "I2I", "INPAINT")
_PREVIEW_METHODS = ("auto", "latent2rgb", "taesd", "none")


class ComfyUIProvider(LowLevelMethods, ImageProvider):
    """Pictures from ComfyUI; one provider serves many threads.

    `server_address` is host:port, a URL, a comma-separated list, or "embedded" for a server of the
    library's own that draws procedural pictures. `api_key` is a bearer token for a proxy in front
    of the server, `comfy_org_api_key` the key that API nodes need, `ca_bundle` a PEM file with the
    certificates to believe. `limits` are in seconds.
    `preview_method` says how previews are drawn: "auto", "latent2rgb", "taesd" or "none"; None
    leaves it to the server (read for each job since 0.5.0, ComfyUI's pull request 11261).
    `on_missing_node` says what becomes of a node that the server lacks: "bypass" passes it through
    where the graph makes sense without it, with a warning; "error" refuses the workflow.
    `source_roots`, `source_hosts` and `source_max_side` stand in place of the settings
    IMAGE_SOURCE_ROOTS, IMAGE_SOURCE_HOSTS and IMAGE_SOURCE_MAX_SIDE; `allowed_nodes` and
    `denied_nodes`, classes of nodes that may and may not be run, in place of COMFYUI_ALLOWED_NODES
    and COMFYUI_DENIED_NODES.
    """

    provider_name = PROVIDER

    def __init__(
        self,
        server_address: str = "127.0.0.1:8188",
        workflow_dir: str | os.PathLike[str] = "workflows/comfyui",
        temp_dir: str | os.PathLike[str] = "temp_uploads",
        client_id: str | None = None,
        *,
        api_key: str | None = None,
        comfy_org_api_key: str | None = None,
        default_workflow: str | None = None,
        i2i_workflow: str | None = None,
        inpaint_workflow: str | None = None,
        allow_absolute_workflows: bool = False,
        source_roots: Roots | str | os.PathLike[str] | Sequence[str] = FROM_SETTINGS,
        limits: Limits | None = None,
        on_missing_node: OnMissingNode = "bypass",
        preview_method: str | None = None,
        source_hosts: Hosts | str | Sequence[str] = FROM_SETTINGS,
        source_max_side: MaxSide = FROM_SETTINGS,
        allowed_nodes: Classes = RULES_FROM_SETTINGS,
        denied_nodes: Classes = RULES_FROM_SETTINGS,
        ca_bundle: str | os.PathLike[str] | None = None,
    ) -> None:
        self._arguments = {name: value for name, value in locals().items() if name != "self"}
        if not isinstance(server_address, str):
            raise TypeError(f"server_address must be a str, not {type(server_address).__name__}")
        if preview_method is not None and preview_method not in _PREVIEW_METHODS:
            raise ValueError(f"preview_method must be one of {', '.join(_PREVIEW_METHODS)}")
        self._on_missing, self.server_address = on_missing_node, server_address
        self.temp_dir = Path(temp_dir)
        self.client_id = client_id or str(uuid.uuid4())
        self.library = WorkflowLibrary(workflow_dir, allow_absolute=allow_absolute_workflows)
        self._limits = limits or Limits()
        self._node_rules = node_rules(allowed_nodes, denied_nodes)
        sent = {ORG_KEY: comfy_org_api_key, "preview_method": preview_method}
        self._extra_data = {name: value for name, value in sent.items() if value is not None}
        self._load_source = source_loader(
            as_roots(source_roots), as_hosts(source_hosts), as_max_side(source_max_side)
        )
        self._servers = Servers(server_address, api_key, self._make_client, ca_bundle)
        self.concurrent_requests = _AT_ONCE * self._servers.number
        self._live = LiveJobs()
        named = {"t2i": default_workflow, "i2i": i2i_workflow, "inpaint": inpaint_workflow}
        self._chooser = WorkflowChooser(self.library, {k: v for k, v in named.items() if v})
        self.model = self._chooser.name_for(ImageGenerationRequest(prompt=""))

    def _make_client(self, address: ServerAddress) -> ComfyUIClient:
        return ComfyUIClient(address, self.client_id, self._limits, node_rules=self._node_rules)

    def __reduce__(self) -> Any:
        if self.rebuild is not None:
            return self.rebuild
        if self._servers.have_credentials or ORG_KEY in self._extra_data:
            raise TypeError(
                "this ComfyUIProvider was built with a key or password of its own, and these do "
                "not go into a pickle; set COMFYUI_API_KEY and let the other process build it"
            )
        return _built, (self._arguments,)

    def __repr__(self) -> str:
        return f"ComfyUIProvider({self.server_address.rsplit('@', 1)[-1]!r})"

    def __enter__(self) -> ComfyUIProvider:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends what is at work, closes connections, and stops the embedded server if one started.

        Jobs of `generate`, `submit`, `run_workflow` and `wait_for_completion` are cancelled on the
        server, and waited for up to 10 seconds. A later request opens and starts anew what it
        needs, to be closed again.
        """
        self._live.end()
        self._servers.close()

    def cancel_work_of(self, threads: Collection[threading.Thread]) -> None:
        """Cancels, on the server too, what these threads wait for."""
        self._live.cancel_of(threads)

    # Generating

    def generate(self, request: ImageGenerationRequest) -> ImageGenerationResult:
        """Makes the pictures; a failure is a result with `error` and `error_type`, not a raise."""
        order = self._order(request)
        with self._live.job() as token:
            return self._run(request, token, order)

    def submit(self, request: ImageGenerationRequest) -> GenerationFuture:
        """`generate` in the background; the Future's `cancel` also ends the job on the server.

        So do `close` and the end of the process: wait for the results before.
        """
        order = self._order(request)
        return start(lambda token: self._run(request, token, order), self._live)

    def run_workflow(
        self, graph: Graph, on_progress: ProgressCallback | None = None
    ) -> ImageGenerationResult:
        """Queues an API-format graph as it is, whatever its nodes, and waits for what it makes.

        What the editor saves is converted first, with the server's description of its nodes.
        """

        def load(server: Server) -> Workflow:
            if isinstance(graph, (str, os.PathLike)):
                raise WorkflowError(
                    "run_workflow takes a graph, a dict of nodes, and no path or text; the graph "
                    "of a file is Workflow.from_file(path).graph"
                )
            given = plain_graph(graph)
            is_saved = isinstance(given, dict) and is_ui_format(given)
            return Workflow.from_dict(given, server.object_info() if is_saved else None)

        with self._live.job() as token:
            return self._run(ImageGenerationRequest(""), token, as_given(load, on_progress))

    def execute_comfy_workflow(
        self,
        workflow_file_path: str | os.PathLike[str],
        pos_prompt: str,
        neg_prompt: str = "",
        seed: int | None = None,
        steps: int | None = None,
        cfg: float | None = None,
        width: int = DEFAULT_SIZE,
        height: int = DEFAULT_SIZE,
        input_image_path: str | os.PathLike[str] | None = None,
        denoise_weight: float | None = None,
        mode_switch_value: str = "T2I",
    ) -> ImageGenerationResult:
        """Runs a workflow file of the caller's own; the mode is "T2I", "I2I" or "INPAINT".

        An empty `neg_prompt` leaves the workflow's. IMAGE_SOURCE_ROOTS binds `input_image_path` as
        it does a request's images. Raises ValueError for an unknown mode.
        """
        if mode_switch_value not in _MODES:
            raise ValueError(f"mode_switch_value must be one of {', '.join(_MODES)}")
        image = None if mode_switch_value == "T2I" else input_image_path
        request = ImageGenerationRequest(
            pos_prompt,
            neg_prompt or None,
            width,
            height,
            seed=seed,
            steps=steps,
            guidance_scale=cfg,
            source_image_url=None if image is None else os.fspath(image),
            strength=denoise_weight,
        )

        def choose(server: Server) -> Choice:
            if mode_switch_value != "T2I" and image is None:
                raise InvalidRequestError(f"mode {mode_switch_value} needs an input_image_path")
            path, unused = Path(workflow_file_path), []
            if image is not input_image_path:
                unused.append('input_image_path is not used in mode "T2I"; pass "I2I" or "INPAINT"')
            workflow = Workflow.from_file(path, server.object_info(), keep_unknown=True)
            return Choice(path.name, workflow, warnings=unused)

        with self._live.job() as token:
            return self._run(request, token, self._order(request, choose))

    def build_workflow(self, request: ImageGenerationRequest) -> Graph:
        """The API-format graph that `generate` would queue first; nothing is sent, seeds are drawn.

        Without a server that answers, the default workflow is taken to have its models. Raises
        ImageGenerationError for what cannot be built.
        """
        _check_request(request)
        server: Server | None = None
        info: ObjectInfo | None = None
        try:
            placement = Placement(self._servers, self._order(request), self._on_missing)
            server = self._servers.pick(placement.fit)
            info = server.object_info()
        except ImageGenerationError as error:
            logger.debug("building without a server: %s", error)
        choice, seeds = self._chooser.choose(request, info), _seeds(request)
        plan = self._prepared(request, choice, info, seeds[:1], self._servers.own_file)
        seeded = replace(plan.prepared.request, seed=seeds[0])
        with naming(plan.choice.name):
            graph = plan.choice.workflow.bind(seeded, info).graph
        if server is None or info is None:
            return graph
        replaced, name = server.replacements(graph), plan.choice.name
        return do_without_missing(graph, info, self._on_missing, name, replaced)[0]

    def _order(
        self, request: ImageGenerationRequest, choose: Callable[[Server], Choice] | None = None
    ) -> Order:
        """The request as it can be given to any server: the seeds and own files stay the same."""
        _check_request(request)
        seeds, own_file = _seeds(request), cache(self._servers.own_file)
        return Order(
            choose=choose or (lambda server: self._chooser.choose(request, server.object_info())),
            plan=lambda choice, server: self._prepared(
                request, choice, server.object_info(), seeds, own_file
            ),
            request=request,
        )

    def _prepared(
        self,
        request: ImageGenerationRequest,
        choice: Choice,
        info: ObjectInfo | None,
        seeds: list[int],
        own_file: OwnFile,
    ) -> Plan:
        if choice.is_default and mode_of(request) == "t2i":
            request = with_default_size(request)
        if choice.model is not None:
            request = replace(request, model=choice.model)
        name, load = choice.name, self._load_source
        with naming(name):
            prepared = prepare(request, choice.workflow, name, load, own_file, info)
        return Plan(choice, prepared, seeds)

    def _run(
        self, request: ImageGenerationRequest, token: CancelToken, order: Order
    ) -> ImageGenerationResult:
        started = time.monotonic()
        generation = Generation(token, self._extra_data, self._on_missing)
        failure: ImageGenerationError | None = None
        try:
            Placement(self._servers, order, self._on_missing).run(generation, token)
        except ImageGenerationError as error:
            logger.debug("generation failed: %s", error.detail or error, exc_info=True)
            failure = error
        generation.remember(self._servers)
        return generation.result(request, failure, time.monotonic() - started)

    # What it can do

    def get_supported_features(self) -> dict[str, bool]:
        """Every feature; which of them a picture has is up to the workflow."""
        return dict.fromkeys(FEATURES, True)

    def get_default_parameters(self, style: ImageStyle | None = None) -> dict[str, Any]:
        """Nothing beyond the workflow's own values; a fast draft takes fewer steps."""
        return {"steps": 8} if style is ImageStyle.FAST_DRAFT else {}

    def unavailable_reason(self) -> str | None:
        """Why no server can be used now, or None; remembered for a few seconds."""
        try:
            self._servers.pick()
        except ImageGenerationError as error:
            return str(error)
        return None

    def cache_identity(self, request: ImageGenerationRequest) -> dict[str, str | None]:
        """Provider, model, the content of the workflow taken first, and "embedded" if it is one.

        The content is that of the file and of the bindings file beside it.
        """
        model, is_embedded = request.model, False
        hashes: Hashes | None = None
        try:
            placement = Placement(self._servers, self._order(request), self._on_missing)
            server = self._servers.pick(placement.fit)
            is_embedded = server.is_embedded
            choice = placement.choice_on(server)
            model, hashes = choice.model, choice.workflow.hashes
        except ImageGenerationError as error:
            logger.debug("identified without a server: %s", error)
            with suppress(WorkflowError):  # `generate` tells what is wrong with it
                hashes = self._chooser.hashes_for(request)
        return {
            "provider": self.provider_name,
            "model": model,
            "workflow": hashes.workflow if hashes else None,
            "bindings": hashes.bindings if hashes else None,
            "server": EMBEDDED if is_embedded else None,
        }

    def check(self, workflow: str | None = None) -> ServerStatus:
        """Version, devices and queue of the server, and what a workflow lacks there.

        Raises ImageGenerationError when no server can be used.
        """
        server = self._servers.pick()
        loaded = self.library.load(workflow, server.object_info()) if workflow else None
        return server_status(server, loaded)


def _check_request(request: object) -> None:
    if not isinstance(request, ImageGenerationRequest):
        raise TypeError(f"not an ImageGenerationRequest but a {type(request).__name__}")


def _seeds(request: ImageGenerationRequest) -> list[int]:
    """A seed for each picture: the request's and those after it, or after one that is drawn."""
    first = request.seed if request.seed is not None else secrets.randbits(_DRAWN_SEED_BITS)
    return [(first + number) % (MAX_SEED + 1) for number in range(request.num_images)]


def _built(arguments: dict[str, Any]) -> ComfyUIProvider:
    return ComfyUIProvider(**arguments)
