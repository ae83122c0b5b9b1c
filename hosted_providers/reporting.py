"""What callers are told of a generation: progress, the recipe, and what an error says.

Owns no order of things (`provider.py` does) and knows no single vendor.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from image_provider import (
    AuthenticationError,
    ContentRejectedError,
    GenerationFailedError,
    ImageGenerationError,
    ImageGenerationRequest,
    InvalidRequestError,
    NotConnectedError,
    ProgressCallback,
    ProgressUpdate,
    ProviderTimeoutError,
    ProviderUnavailableError,
    RateLimitedError,
    printable,
)

if TYPE_CHECKING:
    from hosted_providers.common import Vendor

logger = logging.getLogger(__name__)

MISREAD = (KeyError, IndexError, TypeError, ValueError, AttributeError)
"""What reading an answer of another form than documented ends in."""
LONGEST_MESSAGE = 1000
_SHORTEST_SECRET = 8  # shorter prompts are words that a message may well have of its own


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
        position = queue_position if isinstance(queue_position, int) else None
        update = ProgressUpdate(stage, self._fraction, position)
        try:
            self._callback(update)
        except Exception:  # noqa: BLE001 - whatever a caller's callback raises, the job goes on
            logger.debug("the progress callback raised", exc_info=True)


@contextmanager
def understood(title: str, retryable: bool = False) -> Iterator[None]:
    """An answer of another form than documented is the vendor's trouble, not the caller's."""
    try:
        yield
    except MISREAD as error:
        raise ProviderUnavailableError(
            f"{title} answered in a form that is not known ({type(error).__name__}: {error})",
            retryable=retryable,
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


def reword(error: ImageGenerationError, text: str) -> None:
    """Gives an error another message."""
    error.message = printable(text)
    error.args = (error.message,)


def add(error: ImageGenerationError, text: str) -> None:
    """Adds to what an error says."""
    reword(error, f"{error.message.rstrip(' .')}; {text}")


def conceal(error: ImageGenerationError, prompts: Iterable[str | None]) -> None:
    """Takes the prompts out of what the error and its causes say, and whatever makes them long."""
    secrets = [text for text in prompts if text and len(text) >= _SHORTEST_SECRET]
    forms = [form for text in secrets for form in (text, json.dumps(text)[1:-1], repr(text)[1:-1])]
    cause: BaseException | None = error
    while isinstance(cause, ImageGenerationError):
        reword(cause, _concealed(cause.message, forms))
        if cause.detail is not None:
            cause.detail = _concealed(cause.detail, forms)
        cause = cause.__cause__


def _concealed(text: str, secrets: Iterable[str]) -> str:
    for secret in secrets:
        text = text.replace(secret, "(the prompt)")
    return text if len(text) <= LONGEST_MESSAGE else f"{text[:LONGEST_MESSAGE]} …"


def advice(error: ImageGenerationError, vendor: Vendor, model: str | None) -> str | None:
    """What to do next about an error of a vendor's; None where the error says it."""
    match error:
        case AuthenticationError():
            return f"check the key ({vendor.key_setting}) and the account's credit"
        case ContentRejectedError():
            return "change the prompt or the picture"
        case RateLimitedError(retry_after=None):
            return "try again later"
        case RateLimitedError():
            return f"try again in {error.retry_after:.0f} s"
        case InvalidRequestError(status=404):
            return f"check the model id {model}, and {vendor.url_setting} if it is set"
        case NotConnectedError():
            return f"check the network, and {vendor.url_setting} if it is set"
        case ProviderTimeoutError():
            return "allow more time with HOSTED_JOB_TIMEOUT, or use another provider"
        case ProviderUnavailableError(status=int(status)) if status < 400:
            return f"check {vendor.url_setting} if it is set"
        case ProviderUnavailableError(retry_after=float(seconds)):
            return f"try again in {seconds:.0f} s, or use another provider"
        case ProviderUnavailableError():
            return "try again later, or use another provider"
        case GenerationFailedError():
            return "try again, or use another provider"
    return None
