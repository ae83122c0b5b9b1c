"""Frames as real servers sent them, and frames as nobody should: events or None, never a raise."""

from __future__ import annotations

import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfyui.events import (
    Event,
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
from tests.fakes.transcripts import PICTURES, load

TYPES = [
    "execution_start",
    "execution_cached",
    "execution_success",
    "execution_error",
    "execution_interrupted",
    "executing",
    "executed",
    "progress",
    "progress_state",
    "status",
]
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)
BYTES = st.binary(max_size=64)
KEYS = st.sampled_from(
    [
        "prompt_id",
        "node",
        "node_id",
        "node_type",
        "nodes",
        "value",
        "max",
        "exception_message",
        "output",
        "status",
    ]
)


def text(kind: str, **data: object) -> str:
    return json.dumps({"type": kind, "data": data})


def image_with_metadata(metadata: bytes, image: bytes = b"image") -> bytes:
    return struct.pack(">II", 4, len(metadata)) + metadata + image


@pytest.mark.parametrize(
    ("frame", "event"),
    [
        (text("execution_start", prompt_id="p", timestamp=1), JobStarted("p")),
        (text("execution_cached", prompt_id="p", nodes=["4", 6]), NodesCached("p", ("4", "6"))),
        (text("executing", prompt_id="p", node="3", display_node="3"), NodeRunning("p", "3")),
        (text("executing", node="3"), NodeRunning(None, "3")),
        (text("executing", prompt_id="p", node=None), JobEnded("p")),
        (text("execution_success", prompt_id="p"), JobEnded("p", "success")),
        (
            text("execution_interrupted", prompt_id="p", node_id="3"),
            JobEnded("p", "interrupted"),
        ),
        (
            text("executed", prompt_id="p", node="9", output={"images": []}),
            NodeDone("p", "9", {"images": []}),
        ),
        (text("executed", prompt_id="p", node="9", output=None), NodeDone("p", "9", {})),
        (text("status", status={"exec_info": {"queue_remaining": 2}}), QueueChanged(2)),
        (struct.pack(">II", 3, 2) + b"12step one", NodeText("12", "step one")),
        (text("progress", prompt_id="p", node="3", value=2, max=5), NodeProgress("p", "3", 2, 5)),
        (text("progress", value=2, max=5), NodeProgress(None, None, 2, 5)),
        (
            text(
                "progress_state", prompt_id="p", nodes={"3": {"value": 1, "max": 2, "state": "x"}}
            ),
            NodeStates("p", {"3": ("x", 1.0, 2.0)}),
        ),
        (
            text(
                "execution_error",
                prompt_id="p",
                node_id="3",
                node_type="KSampler",
                exception_type="RuntimeError",
                exception_message="too big\n",
            ),
            NodeFailure("p", "3", "KSampler", "RuntimeError", "too big"),
        ),
        (struct.pack(">II", 1, 1) + b"jpeg", NodeImage(None, None, b"jpeg", "image/jpeg")),
        (struct.pack(">II", 1, 2) + b"png", NodeImage(None, None, b"png", "image/png")),
        (
            image_with_metadata(b'{"prompt_id":"p","node_id":"3","image_type":"image/png"}'),
            NodeImage("p", "3", b"image", "image/png"),
        ),
    ],
)
def test_frame_becomes_its_event(frame, event):
    assert parse_frame(frame) == event


@pytest.mark.parametrize(
    "frame",
    [
        "",
        "no json",
        "null",
        "[]",
        '{"type": "executing"}',
        '{"type": "executing", "data": []}',
        '{"type": ["executing"], "data": {"prompt_id": "p"}}',
        text("executing", node=None),
        text("execution_start", prompt_id=7),
        text("crystools.monitor", prompt_id="p"),
        text("progress", prompt_id="p", value="2", max=5),
        text("progress", prompt_id="p", value=True, max=5),
        '{"type": "progress", "data": {"value": NaN, "max": 5}}',
        '{"type": "progress", "data": {"value": 1, "max": Infinity}}',
        '{"type": "progress", "data": {"value": 1, "max": 1%s}}' % ("0" * 400),
        "[" * 100_000,
        b"",
        struct.pack(">I", 1),
        struct.pack(">II", 1, 3) + b"unknown format",
        struct.pack(">II", 3, 4) + b"3",
        text("executed", prompt_id="p", node=9, output={}),
        text("executed", node="9", output={}),
        text("feature_flags", supports_preview_metadata=True),
        text("status", status=None),
        text("status", status={"exec_info": []}),
        text("status", status={"exec_info": {"queue_remaining": "2"}}),
        struct.pack(">II", 4, 4_000_000_000) + b"{}",
        image_with_metadata(b"no json"),
        image_with_metadata(b"\xff\xfe"),
        image_with_metadata(b"[]"),
    ],
)
def test_broken_unknown_or_useless_frame_is_no_event(frame):
    assert parse_frame(frame) is None


@pytest.mark.parametrize("name", ["026_success", "t2i_cached", "026_interrupt", "026_exec_error"])
def test_every_recorded_frame_is_an_event(name):
    frames = load(name).frames()
    assert len(frames) > 3
    assert [frame for frame in frames if parse_frame(frame) is None] == []


def test_recorded_preview_with_metadata_names_its_job_and_node():
    recording = load("preview_metadata")
    events = [parse_frame(frame) for frame in recording.frames()]
    previews = [event for event in events if isinstance(event, NodeImage)]
    assert previews[0] == NodeImage(recording.prompt_id, "3", PICTURES[1], "image/jpeg")


def test_image_bytes_stay_out_of_the_repr():
    assert "secret" not in repr(NodeImage("p", "3", b"secret"))


@given(st.binary(max_size=64) | st.text(max_size=64))
def test_no_bytes_and_no_text_make_it_raise(frame):
    assert isinstance(parse_frame(frame), Event | None)


@given(st.sampled_from([1, 3, 4]), st.integers(0, 2**32 - 1) | st.integers(0, 64), BYTES)
def test_no_binary_frame_makes_it_raise(event, second, rest):
    parsed = parse_frame(struct.pack(">II", event, second) + rest)
    assert isinstance(parsed, NodeImage | NodeText | None)


@given(st.sampled_from(TYPES) | ANY_JSON, st.dictionaries(KEYS, ANY_JSON) | ANY_JSON)
def test_no_json_makes_it_raise(kind, data):
    event = parse_frame(json.dumps({"type": kind, "data": data}))
    assert isinstance(event, Event | None)
