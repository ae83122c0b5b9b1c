"""Providers that send requests to hosted services: OpenAI Images, and FLUX at four hosts.

Importing the package loads neither HTTP nor Pillow; a provider's class does, when it is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hosted_providers.flux import FluxProvider
    from hosted_providers.openai import OpenAIImagesProvider

__all__ = ["FluxProvider", "OpenAIImagesProvider"]


def __getattr__(name: str) -> Any:
    if name == "FluxProvider":
        from hosted_providers.flux import FluxProvider

        return FluxProvider
    if name == "OpenAIImagesProvider":
        from hosted_providers.openai import OpenAIImagesProvider

        return OpenAIImagesProvider
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
