"""What went wrong with a job, and what it was doing, in words for a person. Pure."""

from __future__ import annotations

from comfyui.graph import Graph, title_of
from comfyui.tracker import JobState, JobTracker
from image_provider import GenerationFailedError

_OUT_OF_MEMORY = "; the GPU ran out of memory: a smaller size or fewer images at once helps"


def describe_work(tracker: JobTracker, graph: Graph) -> str:
    """What the job is doing: waiting at a place in the queue, or at a step of a node."""
    if tracker.state is JobState.QUEUED:
        return f"waited in the queue at position {tracker.queue_position}"
    if tracker.node_id is None:  # without a socket, nobody tells which node it is
        return "was running" if tracker.state is JobState.RUNNING else "was not seen to begin"
    step = f", step {tracker.step}/{tracker.total_steps}" if tracker.total_steps else ""
    return f"ran {_place(tracker, graph, tracker.node_id)}{step}"


def failed_job(tracker: JobTracker, graph: Graph) -> GenerationFailedError:
    """The error of a job that the server ended with an exception."""
    failure = tracker.failure
    if failure is None:
        return GenerationFailedError("the job failed and the server does not say why")
    is_memory = "outofmemory" in failure.exception_type.lower().replace("_", "")
    what = f"{failure.exception_type}: {failure.message}" if failure.message else "no message"
    return GenerationFailedError(
        f"{_place(tracker, graph, failure.node_id)} failed: "
        f"{what}{_OUT_OF_MEMORY if is_memory else ''}",
        node_id=failure.node_id,
        class_type=failure.class_type,
        detail=failure.message,
    )


def _place(tracker: JobTracker, graph: Graph, node_id: str) -> str:
    # A node that another one expanded into is not in the graph; the server names its class.
    failed_class = tracker.failure.class_type if tracker.failure is not None else ""
    class_type = failed_class or tracker.class_of(node_id) or ""
    node = graph.get(node_id)
    title = title_of(node) if node is not None else class_type
    named = " ".join(part for part in ("node", node_id, class_type) if part)
    return named if title == class_type else f"{named} {title!r}"
