"""What the tests of the router share: a router over given providers, and what came of asking it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from config import Config
from image_provider import ImageGenerationRequest, ImageGenerationResult, ImageProvider
from image_provider_router import ImageProviderRouter

FOX = ImageGenerationRequest("a fox")


def make_router(
    *providers: ImageProvider,
    config: Config | None = None,
    clock: Callable[[], float] = time.monotonic,
    **rules: Any,
) -> ImageProviderRouter:
    """A router over these providers alone; the first is the default, the chain has them all."""
    router = ImageProviderRouter(config or Config({}, None), clock=clock)
    router.close()
    router.providers = {provider.provider_name: provider for provider in providers}
    names = list(router.providers)
    router.routing_rules |= {"default_provider": names[0], "fallback_chain": names, **rules}
    return router


def asked(router: Any) -> dict[str, int]:
    """How many requests each fake provider got."""
    return {name: len(provider.requests) for name, provider in router.providers.items()}


def attempts(result: ImageGenerationResult) -> list[tuple[str, str, str]]:
    """Provider, error type and message of each attempt."""
    told = (result.metadata or {})["attempts"]
    return [(each["provider"], each["error_type"], each["message"]) for each in told]
