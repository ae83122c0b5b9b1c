"""The worker: takes jobs from the queue, runs their nodes, tells the client.

Owns the order of a job's messages, the cache of node results between jobs, and what ends up in
the history. Order and shapes as in the recordings t2i_success, 026_cached, 026_interrupt and
026_exec_error. Does not know HTTP.
"""

from __future__ import annotations

import hashlib
import itertools
import logging
import time
import traceback
from dataclasses import dataclass
from typing import Any

from comfyui.embedded import nodes_image, nodes_sampling
from comfyui.embedded.catalog import UPLOAD_CLASSES, NodeCatalog
from comfyui.embedded.context import (
    JobInterrupted,
    NodeContext,
    NodeFunction,
    Shown,
    SimulatedFailure,
)
from comfyui.embedded.files import Folders
from comfyui.embedded.graph import ExecutionOrder, GraphNode, cache_keys, is_link
from comfyui.embedded.hub import SocketHub
from comfyui.embedded.jobs import HistoryEntry, Job, JobQueue
from comfyui.embedded.options import EmbeddedOptions
from comfyui.embedded.progress import ProgressBoard
from comfyui.embedded.stats import ServerStats

logger = logging.getLogger(__name__)

NODE_FUNCTIONS: dict[str, NodeFunction] = {**nodes_image.NODES, **nodes_sampling.NODES}


@dataclass(frozen=True)
class Workshop:
    """What all jobs of one server share."""

    options: EmbeddedOptions
    catalog: NodeCatalog
    folders: Folders
    queue: JobQueue
    hub: SocketHub
    stats: ServerStats


Cache = dict[str, Shown]
"""Cache key of a node -> its result; `ui` is empty for nodes that show nothing."""


def work(shop: Workshop) -> None:
    """Run jobs until the queue stops; the body of the worker thread."""
    cache: Cache = {}
    while (job := shop.queue.take()) is not None:
        if shop.queue.should_forget_cache():
            cache.clear()
        shop.hub.executing_client = job.client_id
        result = JobRun(shop, job, cache).run()
        shop.hub.executing_node = None
        # History first, then the last two messages: a client may rely on that (history_race).
        shop.queue.finish(job, result)
        if job.client_id is not None:
            done = {"node": None, "prompt_id": job.prompt_id}
            shop.hub.post("executing", done, job.client_id)


class JobRun:
    """One job from `execution_start` to its entry in the history."""

    def __init__(self, shop: Workshop, job: Job, cache: Cache) -> None:
        self._shop = shop
        self._job = job
        self._cache = cache
        self._keys = cache_keys(job.graph, self._fingerprint)
        self._board = ProgressBoard(shop.hub, job.prompt_id, job.client_id)
        self._messages: list[tuple[str, dict[str, Any]]] = []
        self._executed: list[str] = []
        self._current: str = ""
        self._current_inputs: dict[str, Any] = {}

    def run(self) -> HistoryEntry:
        """Run the nodes that the outputs need; returns the job's part of the history."""
        self._message("execution_start", {})
        self._keep_only_own_results()
        cached = [n for n in self._job.graph if self._keys.get(n) in self._cache]
        self._message("execution_cached", {"nodes": cached})
        try:
            self._run_nodes()
        except JobInterrupted:
            self._message("execution_interrupted", self._position(), broadcast=True)
            return self._history(completed=False)
        except Exception as error:  # noqa: BLE001 - whatever a node raises is the job's failure
            logger.info("node %s of %s raised %r", self._current, self._job.prompt_id, error)
            self._message("execution_error", {**self._position(), **self._details(error)})
            return self._history(completed=False)
        self._message("execution_success", {})
        return self._history(completed=True)

    def _run_nodes(self) -> None:
        order = ExecutionOrder(self._job.graph, self._is_cached, self._is_output)
        for output in self._job.outputs:
            order.add_output(output)
        while (node_id := order.next_node()) is not None:
            self._current = node_id
            if self._is_cached(node_id):
                self._resend(node_id)
            else:
                self._run_node(node_id)
            order.done(node_id)

    def _run_node(self, node_id: str) -> None:
        job, class_type = self._job, self._job.graph[node_id]["class_type"]
        self._board.start(node_id)
        self._current_inputs = self._inputs(node_id)
        if job.client_id is not None:
            self._shop.hub.executing_node = node_id
            self._send("executing", {"node": node_id, "display_node": node_id})
        shop = self._shop
        context = NodeContext(
            job, node_id, class_type, shop.options, shop.queue, self._board, shop.folders
        )
        context.enter()
        result = NODE_FUNCTIONS[class_type](context, **self._current_inputs)
        shown = result if isinstance(result, Shown) else Shown({}, result)
        if shown.ui:
            self._send_executed(node_id, shown.ui)
        self._cache[self._keys[node_id]] = shown
        self._board.finish(node_id)
        self._executed.append(node_id)
        self._shop.stats.nodes_executed += 1

    def _resend(self, node_id: str) -> None:
        self._send_executed(node_id, self._cache[self._keys[node_id]].ui or None)
        self._board.finish(node_id)

    def _inputs(self, node_id: str) -> dict[str, Any]:
        node = self._job.graph[node_id]
        known = {spec.name for spec in self._shop.catalog.inputs(node["class_type"])}
        return {
            name: self._cache[self._keys[value[0]]].outputs[value[1]] if is_link(value) else value
            for name, value in node["inputs"].items()
            if name in known
        }

    def _is_cached(self, node_id: str) -> bool:
        return self._keys[node_id] in self._cache

    def _is_output(self, node_id: str) -> bool:
        return self._shop.catalog.is_output_node(self._job.graph[node_id]["class_type"])

    def _keep_only_own_results(self) -> None:
        """ComfyUI keeps the results of the last graph only."""
        own = set(self._keys.values())
        for key in [key for key in self._cache if key not in own]:
            del self._cache[key]

    def _fingerprint(self, node: GraphNode) -> str:
        if node["class_type"] == "SaveImageWebsocket":
            return str(next(_always_new))
        image = node["inputs"].get("image")
        if node["class_type"] not in UPLOAD_CLASSES or not isinstance(image, str):
            return ""
        if not self._shop.folders.input_exists(image):
            return ""
        return hashlib.sha256(self._shop.folders.input_path(image).read_bytes()).hexdigest()

    def _position(self) -> dict[str, Any]:
        node_type = self._job.graph[self._current]["class_type"]
        return {
            "node_id": self._current,
            "node_type": node_type,
            "executed": list(self._executed),
        }

    def _details(self, error: Exception) -> dict[str, Any]:
        return {
            "exception_message": f"{error}\n",
            "exception_type": _type_name(error),
            "traceback": traceback.format_tb(error.__traceback__),
            "current_inputs": {n: [_plain(v)] for n, v in self._current_inputs.items()},
            "current_outputs": list(self._job.graph),
        }

    def _message(self, event: str, data: dict[str, Any], *, broadcast: bool = False) -> None:
        """Send a message that is also kept in the history."""
        full = {"prompt_id": self._job.prompt_id, **data, "timestamp": int(time.time() * 1000)}
        if event == "execution_cached":
            full = {"nodes": data["nodes"], **full}
        self._messages.append((event, full))
        if self._job.client_id is not None or broadcast:
            self._shop.hub.post(event, full, self._job.client_id)

    def _send(self, event: str, data: dict[str, Any]) -> None:
        if self._job.client_id is not None:
            full = {**data, "prompt_id": self._job.prompt_id}
            self._shop.hub.post(event, full, self._job.client_id)

    def _send_executed(self, node_id: str, ui: dict[str, Any] | None) -> None:
        self._send("executed", {"node": node_id, "display_node": node_id, "output": ui})

    def _history(self, *, completed: bool) -> HistoryEntry:
        outputs = {
            node_id: self._cache[key].ui
            for node_id, key in self._keys.items()
            if key in self._cache and self._cache[key].ui
        }
        return {
            "outputs": outputs,
            "status": {
                "status_str": "success" if completed else "error",
                "completed": completed,
                "messages": self._messages,
            },
            "meta": {node_id: _meta(node_id) for node_id in outputs},
        }


_always_new = itertools.count()


def _meta(node_id: str) -> dict[str, str | None]:
    return {
        "node_id": node_id,
        "display_node": node_id,
        "parent_node": None,
        "real_node_id": node_id,
    }


def _type_name(error: Exception) -> str:
    if isinstance(error, SimulatedFailure):
        return error.exception_type
    kind = type(error)
    if kind.__module__ == "builtins":
        return kind.__qualname__
    return f"{kind.__module__}.{kind.__qualname__}"


def _plain(value: object) -> object:
    return value if isinstance(value, (int, float, str, bool, type(None))) else str(value)
