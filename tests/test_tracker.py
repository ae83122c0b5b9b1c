"""`JobTracker` fed with what real servers sent, in their order and in every other."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comfyui.events import (
    JobEnded,
    JobStarted,
    NodeDone,
    NodeFailure,
    NodeImage,
    NodeProgress,
    NodeRunning,
    NodesCached,
    NodeStates,
    NodeText,
    QueueChanged,
    parse_frame,
)
from comfyui.tracker import (
    JobState,
    JobTracker,
    extra_data_in_history,
    extra_data_in_queue,
)
from tests.fakes.transcripts import PICTURES, Transcript, load

CLASSES = {"1": "CheckpointLoaderSimple", "3": "KSampler", "9": "SaveImage"}
SUCCESS = {"status": {"status_str": "success", "messages": []}, "outputs": {}}
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=10,
)


def queue(running: list[Any] | None = None, pending: list[Any] | None = None) -> dict[str, Any]:
    return {"queue_running": running or [], "queue_pending": pending or []}


def entry(number: float, prompt_id: str) -> list[Any]:
    return [number, prompt_id, {}, {}, []]


def replay(recording: Transcript) -> tuple[JobTracker, list[float]]:
    """The tracker after every frame of the recording, and the fraction after each."""
    tracker = JobTracker(recording.prompt_id, recording.classes)
    fractions = []
    for frame in recording.frames():
        tracker.feed(parse_frame(frame))
        assert not tracker.state.is_end, "only the history ends a job"
        fractions.append(tracker.fraction)
    return tracker, fractions


@pytest.mark.parametrize(
    ("name", "state", "filenames"),
    [
        ("026_success", JobState.SUCCEEDED, ["empty_00001_.png"]),
        ("026_cached", JobState.SUCCEEDED, ["empty_00002_.png"]),
        ("026_preview_image_only", JobState.SUCCEEDED, None),
        ("t2i_success", JobState.SUCCEEDED, None),
        ("flux_success", JobState.SUCCEEDED, None),
        ("026_interrupt", JobState.INTERRUPTED, []),
        ("026_exec_error", JobState.FAILED, []),
        ("save_image_websocket", JobState.SUCCEEDED, []),
    ],
)
def test_recorded_job_ends_as_its_history_says(name, state, filenames):
    recording = load(name)
    tracker, fractions = replay(recording)
    assert tracker.ended_on_socket
    assert fractions == sorted(fractions)
    assert fractions[-1] <= 0.99
    assert tracker.feed_history(recording.history)
    assert tracker.state is state
    if filenames is None:
        assert tracker.outputs
    else:
        assert [file.filename for file in tracker.outputs] == filenames


@pytest.mark.parametrize("name", ["026_success", "026_cached", "t2i_success", "flux_success"])
def test_all_nodes_of_a_successful_job_are_counted_as_done(name):
    _, fractions = replay(load(name))
    assert fractions[-1] == pytest.approx(0.99)


def test_failure_names_the_node_from_the_socket_and_from_the_history_alike():
    recording = load("026_exec_error")
    on_socket, _ = replay(recording)
    by_history = JobTracker(recording.prompt_id, recording.classes)
    by_history.feed_history(recording.history)
    assert on_socket.failure == by_history.failure
    failure = by_history.failure
    assert (failure.node_id, failure.class_type) == ("3", "LatentAdd")
    assert failure.exception_type == "RuntimeError"
    assert failure.message.endswith("at non-singleton dimension 1")


def test_preview_keeps_the_node_that_it_shows():
    tracker, _ = replay(load("preview_metadata"))
    assert (tracker.preview.node_id, tracker.preview.data) == ("3", PICTURES[1])
    assert tracker.socket_images == []


def test_pictures_of_save_image_websocket_are_outputs_and_previews_are_not():
    tracker, _ = replay(load("save_image_websocket"))
    pictures = [(image.node_id, image.mime_type, image.data) for image in tracker.socket_images]
    assert pictures == [("9", "image/png", PICTURES[2])] * 2
    assert tracker.preview.data == PICTURES[1]


@pytest.mark.parametrize(
    ("name", "ws"),
    [
        ("two_clients", "A"),
        ("two_clients", "B"),
        ("no_client_id", "A"),
        ("no_client_id", "B"),
        ("no_client_id_interrupt", "A"),
    ],
)
@pytest.mark.parametrize("waits", [False, True])
def test_events_of_another_job_change_nothing(name, ws, waits):
    recording = load(name)
    tracker = JobTracker("ours", recording.classes)
    if waits:
        tracker.feed_queue(queue([entry(1, "theirs")], [entry(2, "ours")]))
    before = (tracker.state, tracker.queue_position)
    assert len(recording.frames(ws)) > 3
    assert not any([tracker.feed(parse_frame(frame)) for frame in recording.frames(ws)])
    assert (tracker.state, tracker.queue_position) == before
    assert (tracker.fraction, tracker.preview, tracker.ended_on_socket) == (0.0, None, False)


def test_events_of_a_job_posted_without_client_id_are_still_its_own():
    tracker, fractions = replay(load("no_client_id"))
    assert tracker.state is JobState.RUNNING
    assert fractions[-1] > 0.8


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_whatever_the_order_fractions_rise_and_the_end_is_the_same(data):
    recording = load("t2i_success")
    ours = recording.prompt_id
    snapshots: list[Any] = [
        queue(),
        queue([entry(1, ours)]),
        queue([], [entry(1, "theirs"), entry(2, ours)]),
    ]
    steps = data.draw(
        st.lists(st.sampled_from([*recording.frames(), *snapshots]), max_size=60), label="steps"
    )
    tracker = JobTracker(ours, recording.classes)
    has_begun = False
    fraction = 0.0
    for step in steps:
        if isinstance(step, dict):
            tracker.feed_queue(step)
        else:
            tracker.feed(parse_frame(step))
        assert fraction <= tracker.fraction <= 0.99
        assert not tracker.state.is_end
        assert tracker.state is JobState.RUNNING or not has_begun
        has_begun = tracker.state is JobState.RUNNING
        fraction = tracker.fraction
        assert (tracker.queue_position is not None) == (tracker.state is JobState.QUEUED)
    for _ in range(2):
        assert tracker.feed_history(recording.history)
        assert tracker.state is JobState.SUCCEEDED
    outputs = list(tracker.outputs)
    for step in steps:
        if isinstance(step, dict):
            tracker.feed_queue(step)
        else:
            tracker.feed(parse_frame(step))
    assert (tracker.state, tracker.outputs) == (JobState.SUCCEEDED, outputs)


def test_queue_position_counts_in_the_order_of_numbers():
    pending = [entry(5, "ours"), entry(7, "later"), entry(-3, "first"), entry(2, "second")]
    tracker = JobTracker("ours", CLASSES)
    assert tracker.feed_queue(queue([entry(1, "runs")], pending))
    assert (tracker.state, tracker.queue_position) == (JobState.QUEUED, 3)


def test_queue_answer_that_is_older_than_the_start_is_not_believed():
    tracker = JobTracker("p", CLASSES)
    tracker.feed(JobStarted("p"))
    assert tracker.feed_queue(queue([], [entry(1, "p")]))
    assert (tracker.state, tracker.queue_position) == (JobState.RUNNING, None)


def test_job_that_runs_by_the_queue_takes_pictures_without_an_id_as_its_own():
    preview = NodeImage(None, None, b"jpeg")
    tracker = JobTracker("p", CLASSES)
    assert not tracker.feed(preview)
    tracker.feed_queue(queue([entry(1, "p")]))
    assert tracker.feed(preview)
    tracker.feed(JobEnded("p"))
    assert not tracker.feed(NodeImage(None, None, b"of the next job"))


def test_picture_that_comes_after_the_end_is_kept():
    tracker = JobTracker("p", {"9": "SaveImageWebsocket"})
    tracker.feed_history(SUCCESS)
    assert tracker.awaits_images
    tracker.feed(NodeImage("p", "9", b"png", "image/png"))
    tracker.feed(JobEnded("p"))
    assert [image.data for image in tracker.socket_images] == [b"png"]
    assert tracker.state is JobState.SUCCEEDED
    assert not tracker.awaits_images


@pytest.mark.parametrize(
    "name", ["026_success", "026_cached", "t2i_success", "026_interrupt", "026_exec_error"]
)
def test_what_the_socket_told_stands_for_a_history_that_is_gone(name):
    recording = load(name)
    by_socket, _ = replay(recording)
    by_history = JobTracker(recording.prompt_id, recording.classes)
    by_history.feed_history(recording.history)
    assert by_socket.end_without_history()
    assert by_socket.state is by_history.state
    assert by_socket.outputs == by_history.outputs
    assert by_socket.failure == by_history.failure


def test_without_a_word_of_the_end_there_is_none():
    tracker = JobTracker("p", CLASSES)
    tracker.feed(NodeRunning("p", "3"))
    tracker.feed(NodeDone("p", "9", {"images": [{"filename": "a.png"}]}))
    tracker.feed(JobEnded("p"))
    assert not tracker.end_without_history()
    assert (tracker.state, tracker.outputs) == (JobState.RUNNING, [])


def test_history_decides_also_when_the_socket_told_of_another_end():
    tracker = JobTracker("p", CLASSES)
    tracker.feed(JobEnded("p", "interrupted"))
    tracker.feed_history(SUCCESS)
    assert tracker.end_without_history()
    assert tracker.state is JobState.SUCCEEDED


def test_line_of_a_node_belongs_to_the_job_that_runs():
    tracker = JobTracker("p", CLASSES)
    assert not tracker.feed(NodeText("3", "asking"))
    tracker.feed(JobStarted("p"))
    assert tracker.feed(NodeText("3", "asking"))


def test_length_of_the_queue_is_no_news_of_a_job():
    assert not JobTracker("p", CLASSES).feed(QueueChanged(1))


def test_jobs_are_known_by_what_they_were_sent_with():
    running, waiting = [1, "a", {}, {"key": 1}, []], [2, "b", {}, {"key": 2}]
    found = extra_data_in_queue(queue([running], [waiting, [3, "c"], "d", [4, 5, {}, {}]]))
    assert found == {"a": {"key": 1}, "b": {"key": 2}}
    history = {"a": {"prompt": running}, "b": {"prompt": waiting}, "c": {"prompt": 3}, "d": None}
    assert extra_data_in_history(history) == found


@given(ANY_JSON | st.fixed_dictionaries({"queue_running": ANY_JSON, "queue_pending": ANY_JSON}))
def test_no_answer_makes_the_search_raise(answer):
    assert isinstance(extra_data_in_queue(answer), dict)
    assert isinstance(extra_data_in_history(answer), dict)


def test_sampler_weighs_more_than_a_loader():
    loaded, sampled = JobTracker("p", CLASSES), JobTracker("p", CLASSES)
    loaded.feed(NodesCached("p", ("1",)))
    sampled.feed(NodeProgress("p", "3", 1, 2))
    assert 0 < loaded.fraction < 0.1 < sampled.fraction


def test_second_pass_of_a_node_takes_nothing_back():
    tracker = JobTracker("p", CLASSES)
    tracker.feed(NodeProgress("p", "3", 4, 4))
    before = tracker.fraction
    tracker.feed(NodeProgress("p", "3", 1, 4))
    assert (tracker.fraction, tracker.step, tracker.total_steps) == (before, 1, 4)


def test_steps_belong_to_the_node_that_runs():
    tracker = JobTracker("p", CLASSES)
    tracker.feed(NodeProgress("p", "3", 4, 4))
    tracker.feed(NodeRunning("p", "9"))
    assert (tracker.node_id, tracker.step, tracker.total_steps) == ("9", None, None)


@pytest.mark.parametrize("maximum", [0, -1])
def test_progress_without_a_maximum_is_no_step(maximum):
    tracker = JobTracker("p", CLASSES)
    tracker.feed(NodeProgress("p", "3", 1, maximum))
    tracker.feed(NodeStates("p", {"3": ("running", 1, maximum)}))
    assert (tracker.step, tracker.fraction) == (None, 0.0)


def test_node_that_another_expanded_into_has_the_class_of_its_origin():
    tracker = JobTracker("p", {"57:8": "KSampler", "12": "Loop"})
    assert tracker.class_of("12.0.3") == "Loop"
    assert tracker.class_of("57:8") == "KSampler"
    assert tracker.class_of("4") is None


@pytest.mark.parametrize(
    ("history", "state"),
    [
        ({"outputs": {"9": {"images": [{"filename": "a.png"}]}}}, JobState.SUCCEEDED),
        ({"outputs": {}, "status": None}, JobState.FAILED),
        ({"status": {"status_str": "error", "messages": []}}, JobState.FAILED),
        (
            {"status": {"messages": [["execution_interrupted", {"node_id": "3"}]]}},
            JobState.INTERRUPTED,
        ),
    ],
)
def test_entry_in_the_history_ends_a_job_also_when_it_tells_little(history, state):
    tracker = JobTracker("p", CLASSES)
    assert tracker.feed_history(history)
    assert tracker.state is state


def test_end_that_was_told_once_stays():
    tracker = JobTracker("p", CLASSES)
    tracker.feed_history(SUCCESS)
    assert tracker.feed_history({"status": {"status_str": "error"}})
    assert tracker.feed_history(None)
    assert tracker.state is JobState.SUCCEEDED


@pytest.mark.parametrize("history", [None, [], "x", 0])
def test_what_is_no_entry_ends_nothing(history):
    assert not JobTracker("p", CLASSES).feed_history(history)


def test_failure_that_the_socket_told_is_kept_when_the_history_has_none():
    failure = NodeFailure("p", "3", "KSampler", "RuntimeError", "too big")
    tracker = JobTracker("p", CLASSES)
    tracker.feed(failure)
    tracker.feed_history({"status": {"status_str": "error"}})
    assert (tracker.state, tracker.failure) == (JobState.FAILED, failure)


def test_texts_alone_are_a_success():
    tracker = JobTracker("p", CLASSES)
    tracker.feed_history({"outputs": {"6": {"text": ["c"]}}})
    assert (tracker.state, tracker.texts["6"]) == (JobState.SUCCEEDED, ["c"])


def noise_around(prompt_id: str) -> st.SearchStrategy[Any]:
    """JSON with the keys that are looked for, and anything behind them."""
    keys = st.sampled_from(["status", "outputs", "messages", "status_str", "images", prompt_id])
    inner = st.dictionaries(keys, ANY_JSON, max_size=3)
    message = st.lists(st.sampled_from(["execution_error", "execution_interrupted", {}, {"a": 1}]))
    status = st.fixed_dictionaries({"messages": st.lists(message | ANY_JSON, max_size=3)})
    return ANY_JSON | inner | st.fixed_dictionaries({"status": status, "outputs": inner | ANY_JSON})


@given(noise_around("p"))
def test_no_history_makes_it_raise(history):
    tracker = JobTracker("p", CLASSES)
    assert tracker.feed_history(history) == tracker.state.is_end == isinstance(history, dict)


@given(
    ANY_JSON
    | st.dictionaries(
        st.sampled_from(["queue_running", "queue_pending"]),
        st.lists(st.lists(ANY_JSON | st.just("p"), max_size=3) | ANY_JSON, max_size=4) | ANY_JSON,
    )
)
def test_no_queue_makes_it_raise(answer):
    tracker = JobTracker("p", CLASSES)
    is_there = tracker.feed_queue(answer)
    assert is_there == (tracker.state in (JobState.RUNNING, JobState.QUEUED))


@given(
    st.lists(
        st.sampled_from(["progress", "progress_state", "executing", "execution_cached"]).flatmap(
            lambda kind: st.fixed_dictionaries(
                {
                    "type": st.just(kind),
                    "data": st.fixed_dictionaries(
                        {
                            "prompt_id": st.just("p"),
                            "node": st.sampled_from(["3", "9", "x", None, 4]),
                            "value": st.integers() | st.floats(),
                            "max": st.integers() | st.floats(),
                            "nodes": st.dictionaries(
                                st.sampled_from(["3", "9", "x"]),
                                st.fixed_dictionaries(
                                    {
                                        "state": st.sampled_from(["running", "finished", "x"]),
                                        "value": st.integers() | st.floats(),
                                        "max": st.integers() | st.floats(),
                                    }
                                ),
                            ),
                        }
                    ),
                }
            )
        ),
        max_size=8,
    )
)
def test_no_numbers_take_the_fraction_back_or_past_its_end(messages):
    tracker = JobTracker("p", CLASSES)
    fraction = 0.0
    for message in messages:
        tracker.feed(parse_frame(json.dumps(message)))
        assert fraction <= tracker.fraction <= 0.99
        fraction = tracker.fraction


def test_a_preview_that_names_no_node_is_the_running_nodes():
    tracker = JobTracker("job", {"3": "KSampler"})
    tracker.feed(NodeRunning("job", "3"))
    tracker.feed(NodeImage(None, None, b"jpeg"))

    assert (tracker.preview.prompt_id, tracker.preview.node_id) == ("job", "3")
