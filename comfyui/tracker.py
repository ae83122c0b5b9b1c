"""The state machine of one job, fed with events and with history and queue snapshots.

Owns what they mean for one prompt id, and the shapes of /history and /queue entries. Pure: no
sockets, no clocks, no threads; events and snapshots may come in any order, twice, or not at all.
History decides, the socket informs: only a history entry ends a job, or, once the server has none
any more, what the socket had told of its end.
Facts: ComfyUI's execution.py (PromptQueue), seen on 0.3.64, 0.8.0 and 0.26.0.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any

from comfyui.events import (
    End,
    Event,
    JobEnded,
    NodeDone,
    NodeFailure,
    NodeImage,
    NodeProgress,
    NodeRunning,
    NodesCached,
    NodeStates,
    NodeText,
    QueueChanged,
    parse_failure,
)
from comfyui.outputs import OutputFile, parse_outputs, parse_texts


class JobState(Enum):
    """Where a job stands; the last three are ends."""

    SUBMITTED = "submitted"
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    INTERRUPTED = "interrupted"

    @property
    def is_end(self) -> bool:
        return self in (JobState.SUCCEEDED, JobState.FAILED, JobState.INTERRUPTED)


_ENDS: Mapping[End, JobState] = {
    "success": JobState.SUCCEEDED,
    "error": JobState.FAILED,
    "interrupted": JobState.INTERRUPTED,
}


def _list(value: object) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else []


_SOCKET_OUTPUT = "SaveImageWebsocket"


_SAMPLING_WEIGHT = 20.0
"""Sampling is nearly all of a generation's time; how much more, nobody tells beforehand."""


def _progress_weight(class_type: str) -> float:
    return _SAMPLING_WEIGHT if "Sampler" in class_type else 1.0


class JobTracker:
    """The state machine of one job, fed with events and with history and queue snapshots.

    `classes` maps the node ids of the graph to their class_type. Events of other jobs are ignored.
    """

    def __init__(self, prompt_id: str, classes: Mapping[str, str]) -> None:
        self.prompt_id = prompt_id
        self.state = JobState.SUBMITTED
        self.queue_position: int | None = None
        self.node_id: str | None = None
        self.step: int | None = None
        self.total_steps: int | None = None
        self.fraction = 0.0
        self.preview: NodeImage | None = None
        self.failure: NodeFailure | None = None
        self.outputs: list[OutputFile] = []
        self.texts: dict[str, list[str]] = {}
        self.socket_images: list[NodeImage] = []
        self.ended_on_socket = False
        self.ran_before: list[str] = []
        """The jobs that ran while this one was last seen to wait."""
        self._told_end: End | None = None
        self._told_outputs: dict[str, Any] = {}
        self._classes = classes
        self._weights = {node_id: _progress_weight(name) for node_id, name in classes.items()}
        self._done: dict[str, float] = {}

    def class_of(self, node_id: str | None) -> str | None:
        """The class_type of a node; an expanded node `12.0.3` counts as its origin 12."""
        if node_id is None:
            return None
        return self._classes.get(node_id) or self._classes.get(node_id.split(".", 1)[0])

    def feed(self, event: Event | None) -> bool:
        """Takes one event in; True when it says something about this job."""
        if event is None or isinstance(event, QueueChanged):
            return False
        if not self._is_own(None if isinstance(event, NodeText) else event.prompt_id):
            return False
        self._apply(event)
        return True

    def _is_own(self, prompt_id: str | None) -> bool:
        if prompt_id is not None:
            return prompt_id == self.prompt_id
        # Without an id it can be a stranger's, but not while our own job runs.
        has_begun = self.state not in (JobState.SUBMITTED, JobState.QUEUED)
        return has_begun and not self.ended_on_socket

    def _apply(self, event: Event) -> None:
        # After the end a picture of SaveImageWebsocket may still be on its way.
        if not isinstance(event, JobEnded) and not self.state.is_end:
            self.state, self.queue_position = JobState.RUNNING, None
        match event:
            case NodesCached(node_ids=node_ids):
                for node_id in node_ids:
                    self._set_done(node_id, 1.0)
            case NodeRunning(node_id=node_id):
                self._enter(node_id)
            case NodeProgress(node_id=node_id, value=value, maximum=maximum):
                self._set_step(node_id or self.node_id, value, maximum)
            case NodeStates(nodes=nodes):
                self._set_states(nodes)
            case NodeImage():
                self._take_image(event)
            case NodeDone(node_id=node_id, output=output):
                self._told_outputs[node_id] = output
                self._set_done(node_id, 1.0)
            case NodeFailure():
                self.failure = self.failure or event
                self._told_end, self.ended_on_socket = "error", True
            case JobEnded(how=how):
                self._told_end, self.ended_on_socket = self._told_end or how, True

    def _enter(self, node_id: str) -> None:
        if node_id != self.node_id:
            self.node_id, self.step, self.total_steps = node_id, None, None

    def _set_step(self, node_id: str | None, value: float, maximum: float) -> None:
        if node_id is None or maximum <= 0:
            return
        self._enter(node_id)
        self.step, self.total_steps = int(value), int(maximum)
        self._set_done(node_id, value / maximum)

    def _set_states(self, nodes: Mapping[str, tuple[str, float, float]]) -> None:
        for node_id, (state, value, maximum) in nodes.items():
            if state == "finished":
                self._set_done(node_id, 1.0)
            elif state == "running":
                self._enter(node_id)
                if maximum > 1:
                    self._set_step(node_id, value, maximum)

    def _set_done(self, node_id: str, share: float) -> None:
        if node_id not in self._weights:
            return
        self._done[node_id] = max(self._done.get(node_id, 0.0), min(1.0, share))
        done = sum(self._weights[name] * share for name, share in self._done.items())
        # Short of 1.0 until the files are here.
        self.fraction = 0.99 * done / sum(self._weights.values())

    @property
    def is_sampling(self) -> bool:
        """True while the steps are those of the nodes that take most of the time."""
        heaviest = max(self._weights.values(), default=0.0)
        node_id = (self.node_id or "").split(".", 1)[0]
        return self._weights.get(node_id) == heaviest

    @property
    def awaits_images(self) -> bool:
        """True when pictures that come over the socket alone may still be on their way."""
        return _SOCKET_OUTPUT in self._classes.values() and not self.ended_on_socket

    def _take_image(self, image: NodeImage) -> None:
        # A preview sent before the server had read our feature flags names no node.
        node_id = image.node_id or self.node_id
        image = NodeImage(self.prompt_id, node_id, image.data, image.mime_type)
        if self.class_of(node_id) != _SOCKET_OUTPUT:
            self.preview = image
        elif image.mime_type == "image/png":  # as JPEG it is of a node that ran just before
            self.socket_images.append(image)

    def feed_history(self, entry: object) -> bool:
        """Takes the job's entry of GET /history/{id} in; True when the job has ended."""
        if self.state.is_end or not isinstance(entry, dict):
            return self.state.is_end
        self.queue_position = None
        self.outputs = parse_outputs(entry.get("outputs"))
        self.texts = parse_texts(entry.get("outputs"))
        status = entry.get("status")
        if not isinstance(status, dict):  # servers of 2023: an entry is all that tells of the end
            status = {"status_str": "success"} if self.outputs or self.texts else {}
        self.state = self._end_told_by(status)
        return True

    def end_without_history(self) -> bool:
        """Takes the end for what the socket told of it; False when it told of none.

        For a job that the server had and no longer knows: its history was cleared, or is full.
        """
        if self._told_end is not None and not self.state.is_end:
            self.outputs = parse_outputs(self._told_outputs)
            self.texts = parse_texts(self._told_outputs)
            self.state = _ENDS[self._told_end]
        return self.state.is_end

    def _end_told_by(self, status: Mapping[str, Any]) -> JobState:
        if status.get("status_str") == "success":
            return JobState.SUCCEEDED
        messages = _history_messages(status.get("messages"))
        if "execution_interrupted" in messages:
            return JobState.INTERRUPTED
        if "execution_error" in messages:
            self.failure = parse_failure(self.prompt_id, messages["execution_error"])
        return JobState.FAILED

    def feed_queue(self, queue: object) -> bool:
        """Takes GET /queue in; True when the job runs or waits there."""
        running = _queue_ids(queue, "queue_running")
        waiting = _queue_ids(queue, "queue_pending")
        if self.prompt_id in running:
            if not self.state.is_end:
                self.state, self.queue_position = JobState.RUNNING, None
            return True
        if self.prompt_id not in waiting:
            return False
        self.ran_before = running
        # What has begun does not wait again: such an answer is older than what is known.
        if self.state in (JobState.SUBMITTED, JobState.QUEUED):
            self.state = JobState.QUEUED
            self.queue_position = waiting.index(self.prompt_id) + 1
        return True


def _history_messages(messages: object) -> dict[str, dict[str, Any]]:
    pairs = messages if isinstance(messages, list) else []
    return {
        pair[0]: pair[1]
        for pair in pairs
        if isinstance(pair, list)
        and len(pair) == 2
        and isinstance(pair[0], str)
        and isinstance(pair[1], dict)
    }


def extra_data_in_queue(queue: object) -> dict[str, dict[str, Any]]:
    """What each job of GET /queue was sent with, by prompt id."""
    entries = [
        entry
        for key in ("queue_running", "queue_pending")
        for entry in _list(queue.get(key) if isinstance(queue, dict) else None)
    ]
    return dict(filter(None, map(_extra_data, entries)))


def extra_data_in_history(history: object) -> dict[str, dict[str, Any]]:
    """What each job of GET /history was sent with, by prompt id."""
    entries = history.values() if isinstance(history, dict) else ()
    prompts = [entry.get("prompt") for entry in entries if isinstance(entry, dict)]
    return dict(filter(None, map(_extra_data, prompts)))


def _extra_data(prompt: object) -> tuple[str, dict[str, Any]] | None:
    match prompt:
        case [_, str(prompt_id), _, dict(extra_data), *_]:
            return prompt_id, extra_data
    return None


def _queue_ids(queue: object, key: str) -> list[str]:
    """The prompt ids of one list of GET /queue, in the order they will run."""
    entries = queue.get(key) if isinstance(queue, dict) else None
    valid = [
        entry
        for entry in (entries if isinstance(entries, list) else [])
        if isinstance(entry, list)
        and len(entry) > 1
        and isinstance(entry[0], (int, float))
        and isinstance(entry[1], str)
    ]
    # An entry starts with its number, lowest runs first; the server lists them as a heap.
    return [entry[1] for entry in sorted(valid, key=lambda entry: entry[0])]
