"""Ending a job before its time: the token that asks for it, and the order to the server.

Owns how a job is cancelled so that it takes effect. Knows no events.
"""

from __future__ import annotations

import logging
import threading

from comfyui.client import ComfyUIClient
from comfyui.tracker import JobTracker
from image_provider import (
    GenerationCancelledError,
    ImageGenerationError,
    ProviderTimeoutError,
)

logger = logging.getLogger(__name__)

_FAILURES = 2
"""So many failed tries in a row, and nobody is there to be asked."""
_PAUSES = (0.02, 0.05, 0.125, 0.25, 0.5)
"""Between two tries, as shares of `Limits.silence`; the last one again and again."""


class CancelToken:
    """Set from any thread to end a job; what waits for it wakes up."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def cancel(self) -> None:
        """Asks for the end."""
        self._event.set()

    @property
    def cancelled(self) -> bool:
        return self._event.is_set()

    def wait(self, seconds: float) -> None:
        """Waits for `seconds`, or until the end is asked for."""
        self._event.wait(seconds)

    def check(self) -> None:
        """Raises GenerationCancelledError once the end was asked for."""
        if self.cancelled:
            raise GenerationCancelledError("the generation was cancelled")


def cancel_and_watch(client: ComfyUIClient, prompt_id: str, at_least: float = 0.0) -> bool:
    """Cancels one job until the server no longer has it; False when that cannot be seen.

    For `at_least` seconds it is cancelled again and again: it may not have arrived yet.

    An interrupt sent as the job starts is lost while the server answers 200 (19 of 150 times), and
    one that is heard takes effect at the next step only. So it is repeated, for as long as a
    server may take to answer.
    """
    pauses = CancelToken()
    settled = client.clock() + at_least
    deadline = client.clock() + client.limits.unreachable
    failures, tries = 0, 0
    while True:
        try:
            client.cancel(prompt_id)
            if not _is_active(client, prompt_id) and client.clock() >= settled:
                return True
            failures = 0
        except ImageGenerationError as error:
            logger.warning("cancelling job %s failed: %s", prompt_id, error)
            # Whoever waits for the end of a program does not wait twice for a server that hangs.
            failures += _FAILURES if isinstance(error, ProviderTimeoutError) else 1
        if failures >= _FAILURES:
            return False
        if client.clock() >= deadline:
            logger.warning("job %s still runs although it was cancelled", prompt_id)
            return False
        pauses.wait(_PAUSES[min(tries, len(_PAUSES) - 1)] * client.limits.silence)
        tries += 1


def _is_active(client: ComfyUIClient, prompt_id: str) -> bool:
    return JobTracker(prompt_id, {}).feed_queue(client.queue())
