"""The contract between applications, the router and every image provider.

Owns the result and the `ImageProvider` base class, and gives the names of `image_request.py` and
`image_errors.py` too. Knows nothing of HTTP, ComfyUI, vendors or settings; standard library only.
"""

from __future__ import annotations

import os
import re
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    NotConnectedError,
    ProviderAttempt,
    ProviderTimeoutError,
    ProviderUnavailableError,
    RateLimitedError,
    SourceUnavailableError,
    WorkflowError,
    printable,
)
from image_request import (
    DEFAULT_SIZE,
    MASK_KEY,
    MAX_SEED,
    SOURCE_KEY,
    DefaultSize,
    ImageGenerationRequest,
    ImageStyle,
    ProgressCallback,
    ProgressUpdate,
)

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = [
    "DEFAULT_SIZE",
    "ERROR_CLASSES",
    "FEATURES",
    "FILE_SUFFIXES",
    "MASK_KEY",
    "MAX_SEED",
    "SOURCE_KEY",
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
    "NotConnectedError",
    "ProgressCallback",
    "ProgressUpdate",
    "ProviderAttempt",
    "ProviderTimeoutError",
    "ProviderUnavailableError",
    "RateLimitedError",
    "SourceUnavailableError",
    "WorkflowError",
    "file_suffix",
    "printable",
]

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

FILE_SUFFIXES = {
    "image/png": ".png",
    "image/jpeg": ".jpg",
    "image/webp": ".webp",
    "image/gif": ".gif",
    "image/bmp": ".bmp",
    "image/tiff": ".tiff",
    "image/avif": ".avif",
    "image/heic": ".heic",
    "image/svg+xml": ".svg",
    "video/mp4": ".mp4",
    "video/quicktime": ".mov",
    "video/webm": ".webm",
    "video/x-matroska": ".mkv",
    "video/x-msvideo": ".avi",
    "audio/mp4": ".m4a",
    "audio/flac": ".flac",
    "audio/mpeg": ".mp3",
    "audio/wav": ".wav",
    "audio/ogg": ".ogg",
    "model/gltf-binary": ".glb",
    "model/gltf+json": ".gltf",
    "model/obj": ".obj",
    "model/stl": ".stl",
    "text/plain": ".txt",
    "text/markdown": ".md",
    "text/csv": ".csv",
    "application/json": ".json",
}
"""The suffix that a file of a mime type is saved with."""

_OWN_SUFFIXES = frozenset(
    {".latent", ".safetensors", ".npy", ".npz", ".zip", ".exr", ".hdr", ".jxl", ".psd", ".tga"}
    | {".fbx", ".ply", ".usdz", ".splat", ".ksplat", ".spz", ".aac", ".opus", ".srt", ".vtt"}
)
"""Suffixes of a provider's own that are kept where the mime type tells of none; no programs."""


def _drop_frames(error: BaseException | None) -> None:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        error.__traceback__ = None
        error = error.__cause__ or error.__context__


@dataclass
class ImageGenerationResult:
    """What a generation gave: pictures, or success=False with `error` and `error_type`.

    Each image is a dict with "bytes", "url", "seed", "mime_type", "width", "height" (pixels) and
    "filename". Behind the pictures stand a workflow's other files and its texts: they have a "kind"
    and no size. `recipe` is what makes it again: request, seeds, provider, model, workflow graph.
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
        """The result that stands for an error.

        Tracebacks are dropped, of what it was made from, too: their frames would keep what is in
        them, such as pictures and keys.
        """
        _drop_frames(error)
        return cls(
            success=False,
            images=[],
            provider=error.provider or provider,
            model=model,
            error=str(error),
            metadata=metadata or {},
            error_type=error.error_type,
            exception=error,
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
        """Image `index` decoded with Pillow.

        Raises IndexError when there is none, ValueError when it has no bytes or is no picture that
        Pillow reads.
        """
        from PIL import Image as PillowImage
        from PIL import UnidentifiedImageError

        image = self._image(index)
        if image is None:
            raise IndexError(f"there is no image {index}; the result has {len(self.images)}")
        data = image.get("bytes")
        if data is None:
            raise ValueError(
                f"image {index} ({image.get('filename')}) has no bytes here; fetch it from its url"
            )
        try:
            return PillowImage.open(BytesIO(data))
        except UnidentifiedImageError as error:
            what = image.get("mime_type") or "of an unknown kind"
            raise ValueError(
                f"image {index} ({image.get('filename')}) is {what}, no picture that Pillow reads; "
                "get_image_bytes() and save() give the file"
            ) from error

    def save(self, directory: str | os.PathLike[str]) -> list[Path]:
        """Writes every image into `directory`; no file is overwritten.

        Their names go on behind those that are there, as provider-00001-seed.png: sorted by name,
        one result after another stands as it was saved. Raises OSError when the disk does not take
        one; what was written before it stays.
        """
        paths, folder = [], Path(directory)
        folder.mkdir(parents=True, exist_ok=True)
        name = _UNSAFE.sub("-", self.provider)
        for number, image in enumerate(self.images, start=_last_number(folder, name) + 1):
            if image.get("bytes") is not None:
                seed = "" if image.get("seed") is None else f"-{image['seed']}"
                stem = f"{name}-{number:05}{_UNSAFE.sub('-', seed)}"
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


def file_suffix(image: Mapping[str, Any]) -> str:
    """The suffix, with its dot, for the file of an entry of `images`; ".bin" for unknown kinds."""
    known = FILE_SUFFIXES.get(image.get("mime_type") or "")
    own = os.path.splitext(str(image.get("filename") or ""))[1].lower()
    return known or (own if own in _OWN_SUFFIXES else ".bin")


def _last_number(folder: Path, name: str) -> int:
    """The highest number of the files that `save` named so in a folder; 0 without any."""
    numbered = re.compile(rf"{re.escape(name)}-(\d{{5,18}})(?!\d)")
    found = (numbered.match(entry) for entry in os.listdir(folder))
    return max((int(match[1]) for match in found if match), default=0)


def _write_new(folder: Path, stem: str, image: Mapping[str, Any]) -> Path:
    """Writes to the first free name: `stem.png`, `stem-2.png`, …"""
    suffix = file_suffix(image)
    path, attempt = folder / f"{stem}{suffix}", 1
    while True:
        try:
            file = path.open("xb")
            break
        except FileExistsError:
            attempt += 1
            path = folder / f"{stem}-{attempt}{suffix}"
    try:
        with file:
            file.write(image["bytes"])
    except BaseException:  # a full disk, say: half a picture would look like a whole one
        path.unlink(missing_ok=True)
        raise
    return path


class ImageProvider(ABC):
    """A source of pictures. A provider serves many threads at once and keeps no request's state."""

    provider_name: str
    model: str | None = None
    concurrent_requests: int = 4
    """How many requests at once keep it busy: a batch sends no more of its own accord."""
    rebuild: tuple[Callable[..., ImageProvider], tuple[Any, ...]] | None = None
    """How another process makes this provider of its own settings; no keys go into a pickle."""

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
        """Why the provider cannot be used right now; None when it can.

        May ask the network, and answers within seconds: the router waits for it.
        """
        return None

    def cache_identity(self, request: ImageGenerationRequest) -> dict[str, str | None]:
        """What beside the request decides the pixels: provider, model, a workflow's content."""
        return {"provider": self.provider_name, "model": request.model or self.model}

    def cancel_work_of(self, threads: Collection[threading.Thread]) -> None:  # noqa: B027
        """Ends what these threads wait for in `generate`, where the provider can."""

    def close(self) -> None:  # noqa: B027 - most providers hold nothing to close
        """Releases what it holds, such as connections; a later request takes that anew."""
