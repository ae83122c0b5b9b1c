"""From the state of jobs to what callers see: progress updates and what was ignored."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from comfyui.binding import Binding, Ignored
from comfyui.graph import Graph, title_of
from comfyui.time_left import TimeLeft
from comfyui.tracker import JobState, JobTracker
from image_provider import (
    ImageGenerationRequest,
    ProgressCallback,
    ProgressUpdate,
    printable,
)

logger = logging.getLogger(__name__)


class ProgressReporter:
    """Progress over all jobs of one request, as one fraction that never falls."""

    def __init__(
        self,
        callback: ProgressCallback,
        jobs: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._callback = callback
        self._jobs = jobs
        self._done = 0
        self._fraction = 0.0
        self._clock = clock
        self._left = TimeLeft(jobs)
        self._preview: object = None
        self._told: ProgressUpdate | None = None
        self._has_raised = False

    def job_changed(self, tracker: JobTracker, graph: Graph) -> None:
        """Reports how the job stands that is at work now; its end is `downloading`, or an error."""
        if tracker.state.is_end:
            return
        stage = "running" if tracker.state is JobState.RUNNING else "queued"
        preview = tracker.preview.data if tracker.preview not in (None, self._preview) else None
        self._preview = tracker.preview
        node = graph.get(tracker.node_id or "")
        eta = self._note(tracker) if stage == "running" else self._left.seconds(self._clock())
        if tracker.queue_position is not None and tracker.queue_position > 1:
            eta = None  # nobody knows how long the jobs of others take
        self._report(
            ProgressUpdate(
                stage=stage,
                fraction=self._advance(tracker.fraction),
                queue_position=tracker.queue_position,
                node_id=tracker.node_id,
                node_title=None if node is None else printable(title_of(node)),
                class_type=tracker.class_of(tracker.node_id),
                step=tracker.step,
                total_steps=tracker.total_steps,
                eta_seconds=eta,
                preview=preview,
            )
        )

    def downloading(self) -> None:
        """Reports that a job has ended and its files are fetched."""
        eta = self._left.seconds(self._clock())
        self._report(ProgressUpdate("downloading", self._advance(0.99), eta_seconds=eta))

    def job_done(self) -> None:
        """Takes note that one job's files are here, and reports the end of the last one."""
        self._done += 1
        self._left.job_done(self._clock())
        if self._done == self._jobs:
            self._report(ProgressUpdate("done", self._advance(0.0)))

    def _note(self, tracker: JobTracker) -> float | None:
        """Takes a running job into the estimate; the seconds left."""
        now = self._clock()
        self._left.begun(now)
        if tracker.is_sampling and tracker.step is not None:
            self._left.step_done(now, tracker.fraction, tracker.node_id, tracker.step)
        self._left.moved(now, tracker.fraction)
        return self._left.seconds(now)

    def _advance(self, of_job: float) -> float:
        self._fraction = max(self._fraction, min(1.0, (self._done + of_job) / self._jobs))
        return self._fraction

    def _report(self, update: ProgressUpdate) -> None:
        """Calls back, unless it would say the same again: servers tell of a step in two ways."""
        told = replace(update, eta_seconds=None, preview=None)
        if told == self._told and update.preview is None:
            return
        self._told = told
        try:
            self._callback(update)
        except Exception:  # noqa: BLE001 - a caller's callback cannot hurt the job
            level = logging.DEBUG if self._has_raised else logging.WARNING
            logger.log(level, "on_progress raised; the job goes on", exc_info=True)
            self._has_raised = True


def report_ignored(
    ignored: list[Ignored], request: ImageGenerationRequest, provider: str
) -> list[dict[str, str]]:
    """What found no place, for the metadata; a WARNING for what the caller gave himself."""
    for entry in ignored:
        level = logging.DEBUG if entry.parameter in request.from_template else logging.WARNING
        logger.log(level, "%s ignores %s: %s", provider, entry.parameter, entry.reason)
    return [{"parameter": entry.parameter, "reason": entry.reason} for entry in ignored]


def describe_bindings(bindings: list[Binding]) -> list[dict[str, Any]]:
    """The bindings for the metadata: where each value went and why; the values stay out."""
    return [
        {
            "parameter": binding.parameter,
            "node_id": binding.node_id,
            "class_type": binding.class_type,
            "input_name": binding.input_name,
            "reason": binding.reason,
        }
        for binding in bindings
    ]
