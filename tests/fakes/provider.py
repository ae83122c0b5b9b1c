"""A provider that does what a test says, and remembers what it was asked for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from io import BytesIO
from typing import Any

from PIL import Image

from image_provider import (
    FEATURES,
    ImageGenerationError,
    ImageGenerationRequest,
    ImageGenerationResult,
    ImageProvider,
    ImageStyle,
)

Outcome = ImageGenerationResult | BaseException
Script = Outcome | Callable[[ImageGenerationRequest], ImageGenerationResult]


def png(seed: int = 0) -> bytes:
    """A small PNG of its own for every seed."""
    file = BytesIO()
    Image.new("RGB", (8, 8), (seed % 256, seed // 256 % 256, 7)).save(file, "PNG")
    return file.getvalue()


def success(provider: str = "fake", seed: int | None = 0, **changes: Any) -> ImageGenerationResult:
    """A result with one picture."""
    image = {
        "bytes": png(seed or 0),
        "url": None,
        "seed": seed,
        "mime_type": "image/png",
        "width": 8,
        "height": 8,
        "filename": "picture.png",
    }
    result = ImageGenerationResult(True, [image], provider, "fake-model", metadata={})
    for name, value in changes.items():
        setattr(result, name, value)
    return result


class FakeProvider(ImageProvider):
    """Plays one outcome a request, the last one again and again; without any it succeeds.

    An ImageGenerationError becomes a failed result; anything else that is an exception is raised.
    """

    model = "fake-model"

    def __init__(
        self,
        provider_name: str = "fake",
        *script: Script,
        features: Iterable[str] = FEATURES,
        defaults: dict[str, Any] | None = None,
        unavailable: str | None = None,
    ) -> None:
        self.provider_name = provider_name
        self.requests: list[ImageGenerationRequest] = []
        self.closed = False
        self._script = list(script)
        self._features = set(features)
        self._defaults = defaults or {}
        self._unavailable = unavailable
        self._lock = threading.Lock()

    def generate(self, request: ImageGenerationRequest) -> ImageGenerationResult:
        with self._lock:
            self.requests.append(request)
            script = self._script
            outcome = (script.pop(0) if len(script) > 1 else script[0]) if script else None
        if outcome is None:
            return success(self.provider_name, request.seed)
        if isinstance(outcome, ImageGenerationError):
            return ImageGenerationResult.failed(outcome, self.provider_name, self.model)
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome(request) if callable(outcome) else outcome

    def get_supported_features(self) -> dict[str, bool]:
        return {word: word in self._features for word in FEATURES}

    def get_default_parameters(self, style: ImageStyle | None = None) -> dict[str, Any]:
        return dict(self._defaults)

    def unavailable_reason(self) -> str | None:
        return self._unavailable

    def close(self) -> None:
        self.closed = True
