"""WebSocket frames → events: what a ComfyUI server says while it works.

Owns the shapes of text and binary frames. Pure, and never fails: a frame that is unknown or broken
is no event. What events mean for a job is in `comfyui/tracker.py`.
Facts: ComfyUI's server.py, execution.py and protocol.py, seen on 0.3.64, 0.8.0 and 0.26.0.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

# Binary event types, ComfyUI's protocol.py.
_PREVIEW_IMAGE = 1
_TEXT = 3
_PREVIEW_IMAGE_WITH_METADATA = 4
_PREVIEW_FORMATS = {1: "image/jpeg", 2: "image/png"}


@dataclass(frozen=True)
class JobStarted:
    """`execution_start`."""

    prompt_id: str


@dataclass(frozen=True)
class NodesCached:
    """`execution_cached`: nodes whose results the server still has."""

    prompt_id: str
    node_ids: tuple[str, ...]


@dataclass(frozen=True)
class NodeRunning:
    """`executing` with a node; a frame sent at reconnect has no prompt id."""

    prompt_id: str | None
    node_id: str


End = Literal["success", "error", "interrupted"]


@dataclass(frozen=True)
class JobEnded:
    """The job is over: look at the history now.

    `executing` without a node ends every job and does not say how; the other messages do.
    """

    prompt_id: str
    how: End | None = None


@dataclass(frozen=True)
class NodeDone:
    """`executed`: an output node gave this, which the history will repeat."""

    prompt_id: str
    node_id: str
    output: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True)
class NodeProgress:
    """`progress`: `value` of `maximum` steps of one node."""

    prompt_id: str | None
    node_id: str | None
    value: float
    maximum: float


@dataclass(frozen=True)
class NodeStates:
    """`progress_state`: (state, value, maximum) of every node touched so far."""

    prompt_id: str
    nodes: Mapping[str, tuple[str, float, float]]


@dataclass(frozen=True)
class NodeFailure:
    """What broke: the node, and the exception as the server tells it."""

    prompt_id: str
    node_id: str
    class_type: str
    exception_type: str
    message: str


@dataclass(frozen=True)
class NodeImage:
    """A picture sent over the socket: a preview, or an output of SaveImageWebsocket."""

    prompt_id: str | None
    node_id: str | None
    data: bytes = field(repr=False)
    mime_type: str = "image/jpeg"


@dataclass(frozen=True)
class NodeText:
    """A line that a node shows while it works; it names no job."""

    node_id: str
    text: str = field(repr=False)


@dataclass(frozen=True)
class QueueChanged:
    """`status`: so many jobs run or wait on the whole server; every socket is told."""

    remaining: int


Event = (
    JobStarted
    | NodesCached
    | NodeRunning
    | NodeDone
    | NodeText
    | QueueChanged
    | JobEnded
    | NodeProgress
    | NodeStates
    | NodeFailure
    | NodeImage
)


def parse_frame(frame: str | bytes) -> Event | None:
    """The event of one WebSocket frame; None for one that is unknown, broken or of no use."""
    if isinstance(frame, bytes):
        return _parse_binary(frame)
    try:
        message = json.loads(frame)
    except (ValueError, RecursionError):
        return None
    if not isinstance(message, dict) or not isinstance(message.get("data"), dict):
        return None
    return _parse_message(message.get("type"), message["data"])


def _parse_message(kind: object, data: dict[str, Any]) -> Event | None:
    if kind == "status":
        return _parse_status(data)
    prompt_id = as_text(data.get("prompt_id"))
    if kind == "executing" and data.get("node") is not None:
        return NodeRunning(prompt_id, str(data["node"]))
    if kind == "progress":
        return _parse_progress(prompt_id, data)
    if prompt_id is None:
        return None
    match kind:
        case "execution_start":
            return JobStarted(prompt_id)
        case "execution_cached":
            return NodesCached(prompt_id, _texts(data.get("nodes")))
        case "progress_state":
            return NodeStates(prompt_id, _parse_node_states(data.get("nodes")))
        case "execution_error":
            return parse_failure(prompt_id, data)
        case "executed":
            return _parse_done(prompt_id, data)
        case "executing":
            return JobEnded(prompt_id)
        case "execution_success":
            return JobEnded(prompt_id, "success")
        case "execution_interrupted":
            return JobEnded(prompt_id, "interrupted")
        case _:
            return None


def _parse_status(data: dict[str, Any]) -> QueueChanged | None:
    status = data.get("status")
    info = status.get("exec_info") if isinstance(status, dict) else None
    remaining = info.get("queue_remaining") if isinstance(info, dict) else None
    return QueueChanged(remaining) if isinstance(remaining, int) else None


def _parse_done(prompt_id: str, data: dict[str, Any]) -> NodeDone | None:
    node_id, output = as_text(data.get("node")), data.get("output")
    if node_id is None:
        return None
    # A node without files gives null.
    return NodeDone(prompt_id, node_id, output if isinstance(output, dict) else {})


def _parse_progress(prompt_id: str | None, data: dict[str, Any]) -> NodeProgress | None:
    value, maximum = _number(data.get("value")), _number(data.get("max"))
    if value is None or maximum is None:
        return None
    return NodeProgress(prompt_id, as_text(data.get("node")), value, maximum)


def _parse_node_states(nodes: object) -> dict[str, tuple[str, float, float]]:
    states = {}
    for node_id, node in nodes.items() if isinstance(nodes, dict) else ():
        if not isinstance(node, dict):
            continue
        value, maximum = _number(node.get("value")), _number(node.get("max"))
        states[str(node_id)] = (str(node.get("state")), value or 0.0, maximum or 0.0)
    return states


def parse_failure(prompt_id: str, data: Mapping[str, Any]) -> NodeFailure:
    """The failure in an `execution_error`, from the socket or from the history's messages."""
    return NodeFailure(
        prompt_id=prompt_id,
        node_id=as_text(data.get("node_id")) or "",
        class_type=as_text(data.get("node_type")) or "",
        exception_type=as_text(data.get("exception_type")) or "Exception",
        message=(as_text(data.get("exception_message")) or "").strip(),
    )


def _parse_binary(frame: bytes) -> NodeImage | NodeText | None:
    if len(frame) < 8:
        return None
    event, second = struct.unpack_from(">II", frame)
    if event == _TEXT and len(frame) >= 8 + second:
        node_id, text = frame[8 : 8 + second], frame[8 + second :]
        return NodeText(node_id.decode("utf-8", "replace"), text.decode("utf-8", "replace"))
    if event == _PREVIEW_IMAGE and second in _PREVIEW_FORMATS:
        return NodeImage(None, None, frame[8:], _PREVIEW_FORMATS[second])
    if event == _PREVIEW_IMAGE_WITH_METADATA:
        return _parse_image_with_metadata(frame, second)
    return None


def _parse_image_with_metadata(frame: bytes, length: int) -> NodeImage | None:
    if len(frame) < 8 + length:
        return None
    try:
        metadata = json.loads(frame[8 : 8 + length])
    except (ValueError, RecursionError):
        return None
    if not isinstance(metadata, dict):
        return None
    return NodeImage(
        prompt_id=as_text(metadata.get("prompt_id")),
        node_id=as_text(metadata.get("node_id")),
        data=frame[8 + length :],
        mime_type=as_text(metadata.get("image_type")) or "image/jpeg",
    )


def as_text(value: object) -> str | None:
    """The value where it is text; None for anything else that JSON can hold."""
    return value if isinstance(value, str) else None


def _texts(value: object) -> tuple[str, ...]:
    return tuple(str(item) for item in value) if isinstance(value, list) else ()


def _number(value: object) -> float | None:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None
