"""Sending a job so that it runs once: what becomes of it when the answer is lost.

The server does not check prompt ids: the same one posted twice runs twice. So a job whose answer
was lost is looked for before anything else, and sent again only when it was refused on the way and
is neither in the queue nor in the history. Knows no events.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from comfyui.cancelling import CancelToken
from comfyui.client import Accepted, ComfyUIClient
from comfyui.graph import Graph
from comfyui.job_errors import JobNotAccepted, JobTurnedAway
from comfyui.looking import read_history
from comfyui.tracker import JobTracker, extra_data_in_history, extra_data_in_queue
from image_provider import (
    ImageGenerationError,
    NotConnectedError,
    ProviderTimeoutError,
    ProviderUnavailableError,
    RateLimitedError,
)

logger = logging.getLogger(__name__)

JOB_KEY = "image_job"
"""In the extra data of a job: what it is found by on a server that chooses prompt ids itself."""
_RECENT_JOBS = 100
"""Ended jobs among which one is looked for by its key."""
_REFUSED_ON_THE_WAY = frozenset({429, 503})
"""A proxy's "not now"; ComfyUI itself answers with neither."""
_TRIES = 3
"""How often a job is sent, as long as it certainly does not arrive."""
_LOOKS = 2
"""Looks for a lost job in `Limits.silence`, and tries to send one that never left."""
_SHORTEST_PAUSE = 0.01
_NOT_SENT_AGAIN = (
    "The answer to POST /prompt was lost and the server does not have the job; it was not sent "
    "again since it may still be on its way, and would run twice. Run it again when the queue is "
    "empty"
)
_NOBODY_KNOWS = (
    "The answer to POST /prompt was lost, and nobody answers whether the job was queued: look into "
    "the server's queue before you run it again"
)
_LOST = (ProviderUnavailableError, ProviderTimeoutError, RateLimitedError)


class Submission:
    """One job on its way to the server; `may_run` tells whether it may be there.

    The prompt id of the tracker becomes the one by which the server knows the job.
    """

    def __init__(self, client: ComfyUIClient, tracker: JobTracker, token: CancelToken) -> None:
        self._client = client
        self._tracker = tracker
        self._token = token
        self._key = str(uuid.uuid4())
        self.may_run = False
        self.is_under_way = False
        """True while a POST has neither been answered nor looked for."""

    def send(
        self, graph: Graph, client_id: str, extra_data: Mapping[str, Any] | None
    ) -> Mapping[str, Any]:
        """POST /prompt; the errors of outputs that will not be made, by node id.

        Raises one of NOT_ACCEPTED when the server certainly has not got the job, and any other
        ImageGenerationError for a refusal, or when that is not known.
        """
        extra = {**(extra_data or {}), JOB_KEY: self._key}
        for tries_left in reversed(range(_TRIES)):
            self._token.check()
            self.may_run = self.is_under_way = True
            try:
                accepted = self._client.post_prompt(
                    graph,
                    prompt_id=self._tracker.prompt_id,
                    client_id=client_id,
                    extra_data=extra,
                )
            except ImageGenerationError as error:
                if self._has_arrived(error):
                    logger.warning(
                        "the answer to POST /prompt was lost, but the server has the job"
                    )
                    return {}
                self._pause_or_raise(error, tries_left)
            else:
                return self._noted(accepted)
        raise AssertionError("the last try returns or raises")

    def _noted(self, accepted: Accepted) -> Mapping[str, Any]:
        # Servers before 0.3.45 choose an id of their own.
        self._tracker.prompt_id = accepted.prompt_id
        self.is_under_way = False
        return accepted.node_errors

    def _has_arrived(self, error: ImageGenerationError) -> bool:
        """Whether the job is on the server all the same; raises what makes the question idle."""
        self.may_run = isinstance(error, _LOST) and not isinstance(error, NotConnectedError)
        if isinstance(error, NotConnectedError):
            return False
        if not self.may_run:
            raise error
        found = self._find()
        if found is None:
            raise replace(error, message=f"{error}. {_NOBODY_KNOWS}") from error
        self.may_run, self.is_under_way = found, False
        return found

    def _pause_or_raise(self, error: ImageGenerationError, tries_left: int) -> None:
        """Waits before the job is sent again; raises the error where that is not to be done."""
        never_left = isinstance(error, NotConnectedError)
        if not never_left and error.status not in _REFUSED_ON_THE_WAY:
            # It broke off, so nobody can say that it is not still on its way.
            raise replace(error, message=f"{error}. {_NOT_SENT_AGAIN}") from error
        if tries_left == 0 and isinstance(error, RateLimitedError):
            wait = error.retry_after
            raise JobTurnedAway(str(error), status=error.status, retry_after=wait) from error
        if tries_left == 0:
            raise JobNotAccepted(str(error), status=error.status) from error
        logger.warning("%s; the server does not have the job, sending it again", error)
        asked_for = error.retry_after if isinstance(error, RateLimitedError) else None
        pause = self._client.limits.silence / _LOOKS if never_left else asked_for or 0.0
        self._token.wait(min(pause, self._client.limits.unreachable))

    def _find(self) -> bool | None:
        """Whether the server has the job; None when it does not answer for too long.

        It is not there only when two looks say so, some time apart: it may just arrive.
        """
        limits, clock = self._client.limits, self._client.clock
        given_up, absent_since = clock() + limits.unreachable, None
        while True:
            try:
                if self._look():
                    return True
                absent_since = clock() if absent_since is None else absent_since
                if clock() - absent_since >= limits.silence:
                    return False
            except ImageGenerationError as failure:
                logger.debug("asking for the job failed: %s", failure)
                if clock() >= given_up:
                    return None
            self._token.wait(max(_SHORTEST_PAUSE, limits.silence / _LOOKS))
            self._token.check()

    def _look(self) -> bool:
        """Asks for the job by its id, and by its key; the history is asked last, as in `look`."""
        queue = self._client.queue()
        self._know_as(extra_data_in_queue(queue))
        if self._tracker.feed_queue(queue) or read_history(self._client, self._tracker):
            return True
        recent = self._client.recent_history(_RECENT_JOBS)
        return self._know_as(extra_data_in_history(recent)) and read_history(
            self._client, self._tracker
        )

    def _know_as(self, jobs: Mapping[str, Mapping[str, Any]]) -> bool:
        """Takes over the id under which one of these jobs has our key; False when none has."""
        for prompt_id, extra_data in jobs.items():
            if extra_data.get(JOB_KEY) == self._key:
                self._tracker.prompt_id = prompt_id
                return True
        return False
