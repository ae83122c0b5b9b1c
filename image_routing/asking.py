"""Asking a provider: with the request as it gets it, and whatever its own code does.

Owns what is made of the answers and of its progress, and of a fault in a provider that somebody
else wrote. Knows no order, no fallback and no settings.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from image_provider import (
    GenerationFailedError,
    ImageGenerationError,
    ImageGenerationRequest,
    ImageGenerationResult,
    ImageProvider,
    ProgressCallback,
    ProgressUpdate,
)
from image_routing.rules import Route

logger = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True)
class Candidate:
    """A provider in line for a request, and the request as it would get it."""

    name: str
    provider: ImageProvider
    request: ImageGenerationRequest


def ask(name: str, question: Callable[[], T]) -> T:
    """What a provider's own code answers; a bug in it is a GenerationFailedError."""
    try:
        return question()
    except ImageGenerationError:
        raise
    except Exception as error:
        logger.warning("provider %s has a fault in its code", name, exc_info=True)
        raise GenerationFailedError(
            f"provider {name} stopped with {type(error).__name__}, a fault in its own code; the "
            "log has the traceback",
            provider=name,
        ) from error


def routed(
    request: ImageGenerationRequest, route: Route, provider: ImageProvider
) -> ImageGenerationRequest:
    """The request for one provider: the route's model and workflow, the provider's defaults."""
    defaults = {
        name: value
        for name, value in provider.get_default_parameters(request.style).items()
        if getattr(request, name, "unknown") is None
    }
    chosen = {
        name: getattr(route, name)
        for name in ("model", "workflow")
        if getattr(request, name) is None and getattr(route, name) is not None
    }
    marked = request.from_template | (defaults.keys() - chosen.keys())
    return replace(request, **{**defaults, **chosen, "from_template": marked})


def features_of(provider: ImageProvider) -> dict[str, bool]:
    """What the provider says that it can do; raises TypeError when that is no dict."""
    features = provider.get_supported_features()
    if not isinstance(features, dict):
        raise TypeError(f"get_supported_features gave a {type(features).__name__}")
    return features


def generated(candidate: Candidate) -> ImageGenerationResult:
    """What the provider makes of the request; raises TypeError for what is no sound result."""
    result = candidate.provider.generate(candidate.request)
    if not isinstance(result, ImageGenerationResult):
        raise TypeError(f"generate gave a {type(result).__name__}")
    if not (isinstance(result.images, list) and all(isinstance(i, dict) for i in result.images)):
        raise TypeError("generate gave images that are no list of dicts")
    if not (isinstance(result.metadata or {}, dict) and isinstance(result.error or "", str)):
        raise TypeError("generate gave metadata that is no dict, or an error that is no text")
    return result


def sharing_progress(line: list[Candidate]) -> list[Candidate]:
    """The candidates, so that the fraction never falls when one stands in for another."""
    callback = line[0].request.on_progress
    if callback is None or len(line) == 1:
        return line
    report = _never_falling(callback)
    return [replace(each, request=replace(each.request, on_progress=report)) for each in line]


def _never_falling(callback: ProgressCallback) -> ProgressCallback:
    highest = 0.0

    def report(update: ProgressUpdate) -> None:
        nonlocal highest
        highest = max(highest, update.fraction)
        callback(replace(update, fraction=highest))

    return report


def described(name: str, provider: ImageProvider) -> dict[str, Any]:
    """What a provider is, what it can do, and whether it can be used now; may ask the network."""
    try:
        features = ask(name, lambda: features_of(provider))
        reason = ask(name, provider.unavailable_reason)
    except ImageGenerationError as error:
        features, reason = {}, str(error)
    return description(provider.provider_name, provider.model, features, reason)


def description(
    provider: str, model: str | None, features: dict[str, bool], reason: str | None
) -> dict[str, Any]:
    """`described`, of what is known; without a `reason` the provider can be used."""
    return {
        "provider": provider,
        "model": model,
        "features": features,
        "available": reason is None,
        "reason": reason,
    }


def without(private: Iterable[str | None], message: str) -> str:
    """A message with what is private left out, as it is or as JSON and Python write it."""
    for text in {text.strip() for text in private if text} - {""}:
        for written in {text, json.dumps(text)[1:-1], repr(text)[1:-1]}:
            message = re.sub(rf"(?<!\w){re.escape(written)}(?!\w)", "[…]", message)
    return message
