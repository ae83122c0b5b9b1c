"""The contract between applications, the router and every image provider.

Owns: the request, the result, the progress update, the styles and the `ImageProvider` base class;
gives the errors of `image_errors.py` too. Knows nothing of HTTP, ComfyUI, vendors or settings;
standard library only.
"""

from __future__ import annotations

import operator
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from io import BytesIO
from math import inf, isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from image_errors import (
    ERROR_CLASSES,
    AllProvidersFailedError,
    AuthenticationError,
    ConfigurationError,
    ContentRejectedError,
    GenerationCancelledError,
    GenerationFailedError,
    ImageGenerationError,
    InvalidRequestError,
    ProviderAttempt,
    ProviderTimeoutError,
    ProviderUnavailableError,
    RateLimitedError,
    WorkflowError,
)

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = [
    "DEFAULT_SIZE",
    "ERROR_CLASSES",
    "FEATURES",
    "MAX_SEED",
    "AllProvidersFailedError",
    "AuthenticationError",
    "ConfigurationError",
    "ContentRejectedError",
    "DefaultSize",
    "GenerationCancelledError",
    "GenerationFailedError",
    "ImageGenerationError",
    "ImageGenerationRequest",
    "ImageGenerationResult",
    "ImageProvider",
    "ImageStyle",
    "InvalidRequestError",
    "ProgressCallback",
    "ProgressUpdate",
    "ProviderAttempt",
    "ProviderTimeoutError",
    "ProviderUnavailableError",
    "RateLimitedError",
    "WorkflowError",
]

_Number = TypeVar("_Number", int, float)

FEATURES = (
    "img2img",
    "inpainting",
    "upscaling",
    "variations",
    "seeds",
    "negative_prompts",
    "control_net",
    "custom_nodes",
)
"""The feature words of `get_supported_features` and of the routing file."""

MAX_SEED = 2**64 - 1
"""The largest seed; ComfyUI's samplers take 64 bits, unsigned (nodes.py, KSampler)."""


class ImageStyle(Enum):
    """The kinds of picture that a style template and the routing know."""

    FAST_DRAFT = "fast_draft"
    PHOTOREAL = "photoreal"
    BRAND_LAYOUT = "brand_layout"
    PORTRAIT = "portrait"
    PRODUCT = "product"
    LOGO_TEXT = "logo_text"
    ARTISTIC = "artistic"
    CINEMATIC = "cinematic"

    @classmethod
    def parse(cls, value: ImageStyle | str | None) -> ImageStyle | None:
        """A style from its name, in any case; raises ValueError with the names there are."""
        if value is None or isinstance(value, ImageStyle):
            return value
        if not isinstance(value, str):
            raise TypeError(f"style must be a str or an ImageStyle, not {type(value).__name__}")
        try:
            return cls(value.strip().lower())
        except ValueError:
            names = ", ".join(style.value for style in cls)
            raise ValueError(f"unknown style {value!r}; there are: {names}") from None


class DefaultSize(int):
    """A width or height that nobody gave: equals its number and can be told from a given one."""


DEFAULT_SIZE = DefaultSize(1024)


@dataclass
class ProgressUpdate:
    """What a running generation reports; `fraction` runs from 0.0 to 1.0 and never falls."""

    stage: str = "queued"
    fraction: float = 0.0
    queue_position: int | None = None
    node_id: str | None = None
    node_title: str | None = None
    class_type: str | None = None
    step: int | None = None
    total_steps: int | None = None
    eta_seconds: float | None = None
    preview: bytes | None = field(default=None, repr=False)


ProgressCallback = Callable[[ProgressUpdate], object]


@dataclass
class ImageGenerationRequest:
    """One request for pictures.

    None means "as the workflow or the provider has it". Width and height are pixels; their default
    equals 1024 but counts as not given (see `explicit_size`). Raises TypeError or ValueError for
    values that no provider could take.
    """

    prompt: str
    negative_prompt: str | None = None
    width: int = DEFAULT_SIZE
    height: int = DEFAULT_SIZE
    seed: int | None = None
    steps: int | None = None
    guidance_scale: float | None = None
    style: ImageStyle | None = None
    source_image_url: str | None = None
    mask_image_url: str | None = None
    strength: float | None = None
    num_images: int = 1
    provider: str | None = None
    model: str | None = None
    workflow: str | None = None
    loras: Sequence[tuple[str, float]] = ()
    extra: dict[str, Any] = field(default_factory=dict)
    on_progress: ProgressCallback | None = field(default=None, compare=False, repr=False)
    from_template: frozenset[str] = field(default=frozenset(), compare=False, repr=False)
    """The fields that a style template filled: when one finds no place, nobody is warned."""

    def __post_init__(self) -> None:
        if not isinstance(self.prompt, str):
            raise _wrong_type("prompt", "a str", self.prompt)
        for name in ("source_image_url", "mask_image_url"):
            if isinstance(reference := getattr(self, name), os.PathLike):
                setattr(self, name, os.fspath(reference))
        for name in _TEXTS:
            if not isinstance(text := getattr(self, name), (str, type(None))):
                raise _wrong_type(name, "a str or None", text)
        for name in ("width", "height", "num_images"):
            setattr(self, name, _whole_number(name, getattr(self, name), 1))
        if self.seed is not None:
            self.seed = _whole_number("seed", self.seed, 0, MAX_SEED)
        if self.steps is not None:
            self.steps = _whole_number("steps", self.steps, 1)
        if self.guidance_scale is not None:
            self.guidance_scale = _number("guidance_scale", self.guidance_scale)
        if self.strength is not None:
            self.strength = _within("strength", _number("strength", self.strength), 0.0, 1.0)
        self.style = ImageStyle.parse(self.style)
        self.loras = _lora_pairs(self.loras)
        if not isinstance(self.extra, Mapping) or not all(isinstance(k, str) for k in self.extra):
            raise _wrong_type("extra", "a dict with str keys", self.extra)
        self.extra = dict(self.extra)
        if not (self.on_progress is None or callable(self.on_progress)):
            raise _wrong_type("on_progress", "callable", self.on_progress)

    @property
    def explicit_size(self) -> tuple[int | None, int | None]:
        """(width, height) in pixels as the caller gave them; None for one that was not given."""
        width, height = (
            None if isinstance(side, DefaultSize) else side for side in (self.width, self.height)
        )
        return width, height

    def __copy__(self) -> ImageGenerationRequest:
        return replace(self)  # the default way takes the state of a pickle

    def __getstate__(self) -> dict[str, Any]:
        # A callback belongs to the process that gave it, and is often a lambda.
        return {**self.__dict__, "on_progress": None}


_TEXTS = ("negative_prompt", "source_image_url", "mask_image_url", "provider", "model", "workflow")


def _wrong_type(name: str, expected: str, value: object) -> TypeError:
    return TypeError(f"{name} must be {expected}, not {type(value).__name__}")


def _within(name: str, number: _Number, low: float, high: float | None) -> _Number:
    if number < low or (high is not None and number > high):
        allowed = f"{low} or more" if high is None else f"between {low} and {high}"
        raise ValueError(f"{name} must be {allowed}, not {number}")
    return number


def _whole_number(name: str, value: Any, low: int, high: int | None = None) -> int:
    if isinstance(value, DefaultSize):
        return value
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise _wrong_type(name, "a whole number", value)
    return _within(name, operator.index(value), low, high)


def _number(name: str, value: Any) -> float:
    if isinstance(value, (bool, str)) or not hasattr(value, "__float__"):
        raise _wrong_type(name, "a number", value)
    try:
        number = float(value)
    except OverflowError:
        number = inf
    if not isfinite(number):
        raise ValueError(f"{name} must be a finite number, not {number}")
    return number


def _lora_pairs(loras: object) -> tuple[tuple[str, float], ...]:
    pairs = []
    for entry in loras if isinstance(loras, (list, tuple)) else (loras,):
        if not (isinstance(entry, (list, tuple)) and len(entry) == 2 and isinstance(entry[0], str)):
            raise _wrong_type("loras", "a list of (name, strength) pairs", entry)
        pairs.append((entry[0], _number("the strength of a LoRA", entry[1])))
    return tuple(pairs)


@dataclass
class ImageGenerationResult:
    """What a generation gave: pictures, or success=False with `error` and `error_type`.

    Each image is a dict with "bytes", "url", "seed", "mime_type", "width", "height" (pixels) and
    "filename". `recipe` holds what makes it again: request, seeds, provider, model, workflow graph.
    """

    success: bool
    images: list[dict[str, Any]] = field(repr=False)
    provider: str
    model: str | None
    error: str | None = None
    metadata: dict[str, Any] | None = None
    error_type: str | None = None
    recipe: dict[str, Any] | None = field(default=None, repr=False)
    exception: ImageGenerationError | None = field(default=None, repr=False, compare=False)

    @classmethod
    def failed(
        cls,
        error: ImageGenerationError,
        provider: str,
        model: str | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> ImageGenerationResult:
        """The result that stands for an error; the traceback is dropped, it would pin frames."""
        return cls(
            success=False,
            images=[],
            provider=error.provider or provider,
            model=model,
            error=str(error),
            metadata=metadata or {},
            error_type=error.error_type,
            exception=error.with_traceback(None),
        )

    def get_image_bytes(self, index: int = 0) -> bytes | None:
        """The file of image `index`, byte for byte as the provider made it; None out of range."""
        image = self._image(index)
        return None if image is None else image.get("bytes")

    def get_image_url(self, index: int = 0) -> str | None:
        """Where image `index` can be fetched, without credentials; None if nowhere."""
        image = self._image(index)
        return None if image is None else image.get("url")

    def _image(self, index: int) -> dict[str, Any] | None:
        return self.images[index] if 0 <= index < len(self.images) else None

    def to_pil(self, index: int = 0) -> Image:
        """Image `index` decoded with Pillow; raises IndexError when there is none."""
        from PIL import Image as PillowImage

        data = self.get_image_bytes(index)
        if data is None:
            raise IndexError(f"there is no image {index}; the result has {len(self.images)}")
        return PillowImage.open(BytesIO(data))

    def save(self, directory: str | os.PathLike[str]) -> list[Path]:
        """Writes every image into `directory`, named in their order; no file is overwritten."""
        paths, folder = [], Path(directory)
        folder.mkdir(parents=True, exist_ok=True)
        for number, image in enumerate(self.images, start=1):
            if image.get("bytes") is not None:
                seed = "" if image.get("seed") is None else f"-{image['seed']}"
                stem = _UNSAFE.sub("-", f"{self.provider}-{number:02}{seed}")
                paths.append(_write_new(folder, stem, image))
        return paths

    def raise_for_error(self) -> None:
        """Raises the ImageGenerationError that this result stands for, if it failed."""
        if self.success:
            return
        if self.exception is not None:
            raise self.exception.with_traceback(None)
        error_class = ERROR_CLASSES.get(self.error_type or "", ImageGenerationError)
        raise error_class(self.error or "the generation failed", provider=self.provider)


_UNSAFE = re.compile(r"[^\w-]+", re.ASCII)
_SUFFIXES = {
    "image/png": ".png",
    "image/jpeg": ".jpg",
    "image/webp": ".webp",
    "image/gif": ".gif",
    "image/bmp": ".bmp",
    "image/tiff": ".tiff",
    "image/avif": ".avif",
    "image/heic": ".heic",
    "video/mp4": ".mp4",
    "video/quicktime": ".mov",
    "video/webm": ".webm",
    "video/x-matroska": ".mkv",
    "audio/mp4": ".m4a",
    "audio/flac": ".flac",
    "audio/mpeg": ".mp3",
    "audio/wav": ".wav",
    "audio/ogg": ".ogg",
    "model/gltf-binary": ".glb",
}


def _write_new(folder: Path, stem: str, image: Mapping[str, Any]) -> Path:
    """Writes to the first free name: `stem.png`, `stem-2.png`, …"""
    suffix = _SUFFIXES.get(image.get("mime_type") or "", ".bin")
    path, attempt = folder / f"{stem}{suffix}", 1
    while True:
        try:
            with path.open("xb") as file:
                file.write(image["bytes"])
            return path
        except FileExistsError:
            attempt += 1
            path = folder / f"{stem}-{attempt}{suffix}"


class ImageProvider(ABC):
    """A source of pictures. A provider serves many threads at once and keeps no request's state."""

    provider_name: str
    model: str | None = None

    @abstractmethod
    def generate(self, request: ImageGenerationRequest) -> ImageGenerationResult:
        """Makes the pictures; a failed generation is a result with success=False, not a raise."""

    @abstractmethod
    def get_supported_features(self) -> dict[str, bool]:
        """Which of FEATURES this provider has."""

    @abstractmethod
    def get_default_parameters(self, style: ImageStyle | None = None) -> dict[str, Any]:
        """Request fields that suit the style, by their names."""

    def unavailable_reason(self) -> str | None:
        """Why the provider cannot be used right now; None when it can. May ask the network."""
        return None

    def cache_identity(self, request: ImageGenerationRequest) -> dict[str, str | None]:
        """What beside the request decides the pixels: provider, model, a workflow's content."""
        return {"provider": self.provider_name, "model": request.model or self.model}

    def close(self) -> None:  # noqa: B027 - most providers hold nothing to close
        """Releases connections; the provider is not used after it."""
