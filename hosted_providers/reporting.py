"""What callers are told of a generation: progress, the recipe, and answers nobody understands.

Owns no order of things (`provider.py` does) and knows no vendor.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from image_provider import (
    ImageGenerationRequest,
    ProgressCallback,
    ProgressUpdate,
    ProviderUnavailableError,
)

logger = logging.getLogger(__name__)

_MISREAD = (KeyError, IndexError, TypeError, ValueError, AttributeError)


class ProgressReporter:
    """Tells a request's callback how far all its calls are; a callback that raises is ignored."""

    def __init__(self, callback: ProgressCallback | None, calls: int) -> None:
        self._callback = callback
        self._calls = calls
        self._finished = 0
        self._fraction = 0.0

    def next_call(self) -> None:
        """Counts the call that was running as finished."""
        self._finished += 1

    def report(self, stage: str, fraction: float, queue_position: int | None = None) -> None:
        """`fraction` is that of the call now running, 0.0 to 1.0."""
        if self._callback is None:
            return
        overall = min(1.0, (self._finished + fraction) / self._calls)
        self._fraction = max(self._fraction, overall)
        update = ProgressUpdate(stage, self._fraction, queue_position)
        try:
            self._callback(update)
        except Exception:  # noqa: BLE001 - whatever a caller's callback raises, the job goes on
            logger.debug("the progress callback raised", exc_info=True)


@contextmanager
def understood(title: str) -> Iterator[None]:
    """An answer of another form than documented is the vendor's trouble, not the caller's."""
    try:
        yield
    except _MISREAD as error:
        raise ProviderUnavailableError(
            f"{title} answered in a form that is not known ({type(error).__name__}: {error})",
            retryable=False,
        ) from error


def make_recipe(
    provider: str, model: str | None, request: ImageGenerationRequest, images: list[dict[str, Any]]
) -> dict[str, Any]:
    """What makes the pictures again, as far as the vendor's models can; plain data."""
    return {
        "request": request.to_plain(),
        "seeds": [image["seed"] for image in images],
        "provider": provider,
        "model": model,
        "workflow": None,
    }
