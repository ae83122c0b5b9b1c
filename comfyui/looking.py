"""Asking a server how a job stands, over HTTP. History decides, the queue says where it waits."""

from __future__ import annotations

from comfyui.client import ComfyUIClient
from comfyui.tracker import JobState, JobTracker


def look(client: ComfyUIClient, tracker: JobTracker) -> bool:
    """Feeds the tracker with what the server says now; False when it does not know the job.

    The history is asked last: a job leaves the queue for it in one step, so whoever asks the queue
    last takes one that ends in between for lost. Asked first, too, it often saves the queue. Raises
    ImageGenerationError when there is no answer.
    """
    return (
        (tracker.state is not JobState.QUEUED and read_history(client, tracker))
        or tracker.feed_queue(client.queue())
        or read_history(client, tracker)
    )


def read_history(client: ComfyUIClient, tracker: JobTracker) -> bool:
    """Feeds the tracker with the job's entry in the history; True when it has ended."""
    history = client.history(tracker.prompt_id)
    return tracker.feed_history(history.get(tracker.prompt_id))
