"""What a node may use while it runs: folders, progress, and the signal to stop.

Owns the points at which a job can be interrupted, held by a test, or slowed to a believable
pace. Does not know what nodes do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from comfyui.embedded.files import Folders
from comfyui.embedded.jobs import Job, JobQueue
from comfyui.embedded.options import EmbeddedOptions, StepEvent
from comfyui.embedded.progress import ProgressBoard


class JobInterrupted(Exception):
    """The running job was asked to stop."""


class SimulatedFailure(Exception):
    """The failure that the option `fail_node` asked for."""

    def __init__(self, message: str, exception_type: str) -> None:
        super().__init__(message)
        self.exception_type = exception_type


@dataclass(frozen=True)
class Shown:
    """A node's result when it also shows files: `ui` goes into `executed` and the history."""

    ui: dict[str, Any]
    outputs: tuple[Any, ...] = ()


NodeResult = tuple[Any, ...] | Shown
NodeFunction = Callable[..., NodeResult]


@dataclass(frozen=True)
class NodeContext:
    """One node of one running job."""

    job: Job
    node_id: str
    class_type: str
    options: EmbeddedOptions
    queue: JobQueue
    board: ProgressBoard
    folders: Folders

    def enter(self) -> None:
        """Called before the node runs.

        Raises JobInterrupted or SimulatedFailure.
        """
        self._check()
        self._call_hook(0)
        failure = self.options.fail_node
        if failure is not None and failure.applies_to(self.node_id, self.class_type):
            raise SimulatedFailure(failure.message, failure.exception_type)

    def step(self, step: int, total: int, preview: Callable[[], bytes]) -> None:
        """Take sampler step `step` of `total`, in the time that the options give it.

        Raises JobInterrupted.
        """
        self._call_hook(step)
        self.queue.interrupted.wait(self.options.step_seconds)
        self._check()
        self.board.update(self.node_id, step, total, preview)

    def _check(self) -> None:
        if self.queue.interrupted.is_set():
            raise JobInterrupted

    def _call_hook(self, step: int) -> None:
        if self.options.on_step is not None:
            event = StepEvent(
                self.job.prompt_id, self.node_id, self.class_type, step, self.queue.stopping
            )
            self.options.on_step(event)
