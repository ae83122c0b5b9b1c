"""The provider's low-level methods: one call each, for programs that do the waiting themselves.

Owns which of several servers a call goes to: the one that has the job or the file. Everything here
raises ImageGenerationError; nothing chooses or changes a workflow.
"""

from __future__ import annotations

import logging
import os
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from comfyui.cancelling import CancelToken
from comfyui.client import ComfyUIClient
from comfyui.graph import Graph, find_by_class, plain_graph
from comfyui.jobs import Job
from comfyui.live_jobs import LiveJobs
from comfyui.looking import knows
from comfyui.outputs import parse_outputs
from comfyui.placing import Placement, as_given
from comfyui.repeating import repeated
from comfyui.results import fetch_file, select_outputs
from comfyui.server import Server
from comfyui.servers import Servers
from comfyui.submission import Submission
from comfyui.tracker import JobTracker
from comfyui.workflow import Workflow
from image_provider import (
    ImageGenerationError,
    InvalidRequestError,
    ProviderTimeoutError,
    ProviderUnavailableError,
)

logger = logging.getLogger(__name__)

_MODEL_FOLDERS = ("checkpoints", "diffusion_models")
_UPLOAD_ROUNDS = 4

Answer = TypeVar("Answer")


class LowLevelMethods:
    """A part of ComfyUIProvider, which has the attributes."""

    _servers: Servers
    _live: LiveJobs
    _extra_data: Mapping[str, Any]

    def queue_prompt(self, prompt_json: Graph, client_id: str | None = None) -> str:
        """Queues a graph under a client id as given, without a socket; its prompt id.

        Without one it is queued under an id that nobody listens to, since a job that has none is
        told to everybody. Raises WorkflowError for what is no graph, and for nodes that may not be
        run, before anything is sent.
        """
        graph = plain_graph(prompt_json)
        workflow = Workflow.from_dict(graph)
        fitting = Placement(self._servers, as_given(lambda server: workflow))
        with self._servers.at_work(fitting.fit) as server:
            server.refuse_forbidden(graph)
            tracker = JobTracker(str(uuid.uuid4()), {})
            sent_as = server.client.sockets.new_client_id() if client_id is None else client_id
            try:
                Submission(server.client, tracker, CancelToken()).send(
                    graph, sent_as, self._extra_data
                )
            except (ProviderUnavailableError, ProviderTimeoutError):
                server.doubt()
                raise
        self._servers.remember(server, [tracker.prompt_id])
        return tracker.prompt_id

    def get_history(self, prompt_id: str) -> dict[str, Any]:
        """The server's JSON for one prompt as it is; {} when no server knows it."""
        servers = self._servers.holding(_checked_id(prompt_id))
        found = _first_answer(servers, lambda client: client.history(prompt_id))
        if found is None:
            return {}
        server, history = found
        entry = history.get(prompt_id)
        files = parse_outputs(entry.get("outputs")) if isinstance(entry, dict) else []
        self._servers.remember(server, [prompt_id, *(file.place for file in files)])
        return history

    def get_image(self, filename: str, subfolder: str = "", folder_type: str = "output") -> bytes:
        """A file of the server, byte for byte."""
        place = (filename, subfolder, folder_type)
        found = _first_answer(
            self._servers.holding(place),
            lambda client: repeated(lambda: client.view(*place), client),
        )
        return b"" if found is None else found[1]

    def upload_image(self, input_path: str | os.PathLike[str], filename: str | None = None) -> str:
        """Uploads a file as it is, to every server; its name there, as LoadImage takes it.

        `filename` may have a folder before it: "sub/name.png". The file is the caller's own choice:
        IMAGE_SOURCE_ROOTS binds requests, not this.
        """
        path = Path(input_path)
        try:
            data = path.read_bytes()
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise InvalidRequestError(f"{input_path} cannot be read: {reason}") from error
        clients = [server.client for server in self._servers.answering()]
        return _upload_to_all(clients, data, filename or path.name)

    def find_node_by_class_type(self, workflow_json: Graph, class_type: str) -> str | None:
        """The id of the first node of a class in file order."""
        return find_by_class(workflow_json, class_type)

    def get_available_models(self) -> list[str]:
        """The checkpoints and diffusion models of the servers, sorted, each once."""
        clients = [server.client for server in self._servers.answering()]
        return sorted({name for c in clients for f in _MODEL_FOLDERS for name in c.models(f)})

    def wait_for_completion(self, prompt_id: str, timeout: float = 300) -> list[bytes]:
        """Waits up to `timeout` seconds for a queued prompt; its files' bytes, in graph order.

        Raises ProviderTimeoutError after it has cancelled the job.
        """
        with self._live.job() as token:
            client = self._server_of(_checked_id(prompt_id)).client
            waiting = Job(client, {}, prompt_id=prompt_id, timeout=timeout, token=token)
            files, graph = waiting.attend().outputs, _graph_of(client, prompt_id)
            return [fetch_file(client, file, token) for file in select_outputs(files, graph)]

    def _server_of(self, prompt_id: str) -> Server:
        """The server that has a prompt; any of them when none says so."""
        servers = self._servers.holding(prompt_id)
        if len(servers) == 1:
            return servers[0]
        found = _first_answer(servers, lambda client: knows(client, prompt_id))
        return servers[0] if found is None else found[0]


def _graph_of(client: ComfyUIClient, prompt_id: str) -> Graph:
    """The graph that a prompt was queued with, as the history tells it; else an empty one."""
    try:
        history = repeated(lambda: client.history(prompt_id), client)
    except ImageGenerationError as error:
        logger.warning("the order of the files is not known: %s", error)
        return {}
    match history.get(prompt_id):
        case {"prompt": [_, _, dict(graph), *_]}:
            return graph
    return {}


def _checked_id(prompt_id: object) -> str:
    if not isinstance(prompt_id, str):
        raise TypeError(f"prompt_id must be a str, not {type(prompt_id).__name__}")
    return prompt_id


def _first_answer(
    servers: list[Server], ask: Callable[[ComfyUIClient], Answer]
) -> tuple[Server, Answer] | None:
    """The first answer that tells something, and whose it is; None when none does.

    Raises the first failure when every server fails.
    """
    failures = []
    for server in servers:
        try:
            answer = ask(server.client)
        except ImageGenerationError as error:
            failures.append(error)
        else:
            if answer:
                return server, answer
    if len(failures) == len(servers):
        raise failures[0]
    return None


def _upload_to_all(clients: list[ComfyUIClient], data: bytes, name: str) -> str:
    """The one name under which every server has the file.

    A server takes another name when the given one is taken by other bytes; then the others are
    given that name too.
    """
    for _ in range(_UPLOAD_ROUNDS):
        stored = []
        for client in clients:
            folder, _, own_name = name.rpartition("/")
            name = client.upload_image(data, own_name, folder)
            stored.append(name)
        if len(set(stored)) == 1:
            return name
    raise InvalidRequestError(
        f"the servers store the file under different names ({', '.join(stored)}); give a filename "
        "that none of them has"
    )
