"""The one exception tree, and the word by which each error is known.

Owns what an error carries beside its message, and what no message has. Applications import these
names from `image_provider`. Knows nothing of providers; standard library only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

LONGEST_MESSAGE = 10_000
"""Characters; what is longer is a stranger's name or a server's list, and its end tells nothing."""


class ProviderAttempt(NamedTuple):
    """One provider that was tried, or could not be, and why; `seconds` is what the try took."""

    provider: str
    error_type: str
    message: str
    seconds: float = 0.0


@dataclass(eq=False, repr=False, kw_only=True)
class ImageGenerationError(Exception):
    """Anything that keeps a picture from being made; the router acts on `error_type` alone.

    The message may be shown to a stranger: it has no control characters, keys, traces or paths but
    those of the caller. `detail` is for whoever runs the program: what was left out of it.
    `status` is an HTTP status; `retryable` says that the same request may succeed later.

    ImageGenerationError
    ├── ConfigurationError        configuration        a setting or file of ours is wrong
    ├── AuthenticationError       authentication       bad key, no credit
    ├── InvalidRequestError       invalid_request      the request makes no sense to this provider
    ├── ContentRejectedError      content_rejected     refused by a moderation filter
    ├── RateLimitedError          rate_limited         .retry_after (seconds)
    ├── ProviderUnavailableError  unavailable          .retry_after; away, restarted, overloaded
    ├── ProviderTimeoutError      timeout              a time limit passed; the job was cancelled
    ├── WorkflowError             workflow             .file .node_id .class_type …
    ├── GenerationFailedError     generation_failed    .node_id .class_type .detail
    ├── GenerationCancelledError  cancelled            interrupted or deleted
    └── AllProvidersFailedError   all_providers_failed .attempts
    """

    error_type: ClassVar[str] = "generation_failed"

    message: str = field(kw_only=False)
    provider: str | None = None
    status: int | None = None
    request_id: str | None = None
    retryable: bool = False
    detail: str | None = None

    def __post_init__(self) -> None:
        self.message = printable(self.message)
        super().__init__(self.message)


class ConfigurationError(ImageGenerationError):
    """A setting, key or file of ours is missing or wrong."""

    error_type = "configuration"


class AuthenticationError(ImageGenerationError):
    """The key was refused, or the account has no credit."""

    error_type = "authentication"


class InvalidRequestError(ImageGenerationError):
    """The request makes no sense to this provider; another one is not asked."""

    error_type = "invalid_request"


class ContentRejectedError(ImageGenerationError):
    """A moderation filter refused the prompt or the picture."""

    error_type = "content_rejected"


@dataclass(eq=False, repr=False, kw_only=True)
class RateLimitedError(ImageGenerationError):
    """Too many requests; `retry_after` is seconds, None when the provider does not say."""

    error_type = "rate_limited"
    retryable: bool = True
    retry_after: float | None = None


@dataclass(eq=False, repr=False, kw_only=True)
class ProviderUnavailableError(ImageGenerationError):
    """Not reachable, overloaded, or restarted with the job gone.

    `retry_after` is the seconds until it is worth asking again, None when nobody says.
    """

    error_type = "unavailable"
    retryable: bool = True
    retry_after: float | None = None


class NotConnectedError(ProviderUnavailableError):
    """No connection came about, so nothing was sent: the request may go to another server."""


class SourceUnavailableError(ProviderUnavailableError):
    """The host of a source picture or mask cannot be reached; no fault of the provider's."""


@dataclass(eq=False, repr=False, kw_only=True)
class ProviderTimeoutError(ImageGenerationError):
    """A time limit passed; the message says which one and what the job was doing."""

    error_type = "timeout"
    retryable: bool = True


@dataclass(eq=False, repr=False, kw_only=True)
class WorkflowError(ImageGenerationError):
    """A workflow cannot be loaded, bound or queued; `problems` lists every one that was found."""

    error_type = "workflow"
    file: str | None = None
    node_id: str | None = None
    class_type: str | None = None
    input_name: str | None = None
    problems: Sequence[Any] = ()


@dataclass(eq=False, repr=False, kw_only=True)
class GenerationFailedError(ImageGenerationError):
    """The job was accepted and failed; names the node where there is one."""

    error_type = "generation_failed"
    node_id: str | None = None
    class_type: str | None = None


class GenerationCancelledError(ImageGenerationError):
    """The job was interrupted, or deleted while it waited."""

    error_type = "cancelled"


@dataclass(eq=False, repr=False, kw_only=True)
class AllProvidersFailedError(ImageGenerationError):
    """No provider could serve the request; `attempts` says why for each."""

    error_type = "all_providers_failed"
    attempts: Sequence[ProviderAttempt] = ()


def printable(text: str, longest: int = LONGEST_MESSAGE) -> str:
    """The text as a terminal or log may have it: cut, and without control characters."""
    shown = text if len(text) <= longest else f"{text[: longest - 1]}…"
    if shown.isprintable():
        return shown
    return "".join(c if c.isprintable() or c in "\n\t" else "�" for c in shown)


ERROR_CLASSES: Mapping[str, type[ImageGenerationError]] = {
    error_class.error_type: error_class for error_class in ImageGenerationError.__subclasses__()
}
"""The exception class of every `error_type` word."""
