"""Progress as callers see it: a fraction that never falls, each preview once, no harm done."""

from __future__ import annotations

import logging

import pytest

from comfyui.binding import Binding, Ignored
from comfyui.events import JobStarted, NodeImage, NodeProgress, NodeRunning
from comfyui.reporting import ProgressReporter, describe_bindings, report_ignored
from comfyui.tracker import JobTracker
from image_provider import ImageGenerationRequest, ProgressUpdate

GRAPH = {
    "3": {"class_type": "KSampler", "inputs": {}, "_meta": {"title": "paint"}},
    "9": {"class_type": "SaveImage", "inputs": {}},
}
CLASSES = {node_id: node["class_type"] for node_id, node in GRAPH.items()}


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def recorder(jobs: int = 1) -> tuple[ProgressReporter, list[ProgressUpdate], Clock]:
    updates: list[ProgressUpdate] = []
    clock = Clock()
    return ProgressReporter(updates.append, jobs, clock), updates, clock


def test_two_jobs_make_one_fraction_that_never_falls_and_ends_at_one():
    reporter, updates, _ = recorder(jobs=2)
    for prompt_id in ("a", "b"):
        tracker = JobTracker(prompt_id, CLASSES)
        reporter.job_changed(tracker, GRAPH)
        for step in (1, 2):
            tracker.feed(NodeProgress(prompt_id, "3", step, 2))
            reporter.job_changed(tracker, GRAPH)
        reporter.downloading()
        reporter.job_done()
    assert [update.stage for update in updates] == [
        *("queued", "running", "running", "downloading"),
        *("queued", "running", "running", "downloading", "done"),
    ]
    fractions = [update.fraction for update in updates]
    assert fractions == sorted(fractions)
    assert fractions[4] == 0.5
    assert fractions[-1] == 1.0
    assert 1.0 not in fractions[:-1]


def test_queued_job_tells_its_position():
    reporter, updates, _ = recorder()
    tracker = JobTracker("a", CLASSES)
    pending = [[1, "other", {}], [2, "a", {}]]
    tracker.feed_queue({"queue_running": [], "queue_pending": pending})
    reporter.job_changed(tracker, GRAPH)
    assert (updates[0].stage, updates[0].queue_position, updates[0].fraction) == ("queued", 2, 0.0)


def test_running_node_is_told_with_title_class_and_step():
    reporter, updates, _ = recorder()
    tracker = JobTracker("a", CLASSES)
    tracker.feed(NodeProgress("a", "3", 1, 4))
    reporter.job_changed(tracker, GRAPH)
    seen = updates[0]
    assert (seen.node_id, seen.node_title, seen.class_type) == ("3", "paint", "KSampler")
    assert (seen.step, seen.total_steps) == (1, 4)


def test_node_that_is_not_in_the_graph_has_no_title():
    reporter, updates, _ = recorder()
    tracker = JobTracker("a", CLASSES)
    tracker.feed(NodeRunning("a", "3.0.1"))
    reporter.job_changed(tracker, GRAPH)
    assert (updates[0].node_title, updates[0].class_type) == (None, "KSampler")


def test_each_preview_is_handed_on_once():
    reporter, updates, _ = recorder()
    tracker = JobTracker("a", CLASSES)
    tracker.feed(JobStarted("a"))
    for event in (
        NodeImage("a", "3", b"first"),
        NodeProgress("a", "3", 1, 4),
        NodeImage("a", "3", b"second"),
    ):
        tracker.feed(event)
        reporter.job_changed(tracker, GRAPH)
    assert [update.preview for update in updates] == [b"first", None, b"second"]


def test_the_same_is_told_once():
    reporter, updates, clock = recorder()
    tracker = JobTracker("a", CLASSES)
    for step in (1, 1, 2, 2):  # `progress` and `progress_state`
        clock.now += 1.0
        tracker.feed(NodeProgress("a", "3", step, 4))
        reporter.job_changed(tracker, GRAPH)
    tracker.feed(NodeImage("a", "3", b"drawn"))
    reporter.job_changed(tracker, GRAPH)
    reporter.job_changed(tracker, GRAPH)
    assert [(update.step, update.preview) for update in updates] == [
        *((1, None), (2, None)),
        (2, b"drawn"),
    ]


def test_time_left_follows_the_pace_of_the_steps_without_what_came_before_them():
    reporter, updates, clock = recorder()
    tracker = JobTracker("a", {"3": "KSampler"})
    clock.now = 100.0  # it waited so long
    tracker.feed(JobStarted("a"))
    reporter.job_changed(tracker, GRAPH)
    for step, now in ((1, 160.0), (2, 163.0), (2, 163.0), (3, 166.0)):  # it loads for a minute
        clock.now = now
        tracker.feed(NodeProgress("a", "3", step, 10))
        reporter.job_changed(tracker, GRAPH)
    reporter.downloading()
    left = [update.eta_seconds for update in updates]
    assert left[:2] == [None, None]
    assert left[2:4] == pytest.approx([24.0, 21.0], abs=0.5)
    assert left[4] == left[3]


def test_steps_of_an_upscaler_beside_a_sampler_are_no_pace():
    reporter, updates, clock = recorder()
    tracker = JobTracker("a", {"3": "KSampler", "7": "ImageUpscaleWithModel"})
    for step in (1, 2, 3):
        clock.now += 1.0
        tracker.feed(NodeProgress("a", "7", step, 4))
        reporter.job_changed(tracker, GRAPH)
    assert [update.eta_seconds for update in updates] == [None] * 3


def test_time_left_is_not_told_while_jobs_of_others_go_first():
    reporter, updates, clock = recorder(jobs=2)
    for position in (1, 2):
        tracker = JobTracker("a", {"3": "KSampler"})
        tracker.feed_queue(
            {"queue_running": [], "queue_pending": [[0, "other", {}]] * (position - 1) + [[1, "a"]]}
        )
        reporter.job_changed(tracker, GRAPH)
        for step in (1, 2):
            clock.now += 5.0
            tracker.feed(NodeProgress("a", "3", step, 2))
            reporter.job_changed(tracker, GRAPH)
        if position == 1:
            reporter.job_done()
    queued = [update.eta_seconds for update in updates if update.stage == "queued"]
    running = [update.eta_seconds for update in updates if update.stage == "running"]
    assert queued == [None, None]
    assert running[0] is None and running[2] == 10.0  # what the first one took


def test_end_is_left_to_downloading_or_to_the_error():
    reporter, updates, _ = recorder()
    tracker = JobTracker("a", CLASSES)
    tracker.feed_history({"status": {"status_str": "error"}})
    reporter.job_changed(tracker, GRAPH)
    assert updates == []


def test_callback_that_raises_is_a_warning_once(caplog):
    def broken(update: ProgressUpdate) -> None:
        raise RuntimeError("bug of the caller")

    reporter = ProgressReporter(broken, 1)
    with caplog.at_level(logging.DEBUG):
        reporter.downloading()
        reporter.job_done()
    told = [r.levelname for r in caplog.records if "on_progress raised" in r.getMessage()]
    assert told == ["WARNING", "DEBUG"]


def test_what_the_caller_gave_is_a_warning_and_what_a_template_gave_is_not(caplog):
    request = ImageGenerationRequest("x", from_template=frozenset({"steps"}))
    ignored = [Ignored("steps", "no sampler"), Ignored("loras", "no model")]
    with caplog.at_level(logging.DEBUG):
        entries = report_ignored(ignored, request, "comfyui")
    levels = {record.getMessage(): record.levelname for record in caplog.records}
    assert levels == {
        "comfyui ignores steps: no sampler": "DEBUG",
        "comfyui ignores loras: no model": "WARNING",
    }
    assert entries[1] == {"parameter": "loras", "reason": "no model"}


def test_bindings_are_described_without_their_values():
    binding = Binding("prompt", "6", "CLIPTextEncode", "text", "a secret wish", "positive")
    assert describe_bindings([binding]) == [
        {
            "parameter": "prompt",
            "node_id": "6",
            "class_type": "CLIPTextEncode",
            "input_name": "text",
            "reason": "positive",
        }
    ]
