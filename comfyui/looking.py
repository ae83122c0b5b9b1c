"""Asking a server how a job stands, over HTTP. History decides, the queue says where it waits."""

from __future__ import annotations

import logging

from comfyui.client import ComfyUIClient
from comfyui.tracker import JobState, JobTracker
from image_provider import ImageGenerationError

logger = logging.getLogger(__name__)


def look(client: ComfyUIClient, tracker: JobTracker) -> bool:
    """Feeds the tracker with what the server says now; False when it does not know the job.

    The history is asked last: a job leaves the queue for it in one step, so whoever asks the queue
    last takes one that ends in between for lost. Asked first, too, it often saves the queue; when
    that fails, the queue may still know the job. Raises ImageGenerationError when there is no
    answer.
    """
    if tracker.state is not JobState.QUEUED:
        try:
            if read_history(client, tracker):
                return True
        except ImageGenerationError as error:
            if error.status is None:  # nobody is there
                raise
            logger.debug("the history was not told: %s", error)
    return tracker.feed_queue(client.queue()) or read_history(client, tracker)


def knows(client: ComfyUIClient, prompt_id: str) -> bool:
    """Whether the server has a job, waiting, running or ended."""
    return look(client, JobTracker(prompt_id, {}))


def read_history(client: ComfyUIClient, tracker: JobTracker) -> bool:
    """Feeds the tracker with the job's entry in the history; True when it has ended."""
    history = client.history(tracker.prompt_id)
    return tracker.feed_history(history.get(tracker.prompt_id))
