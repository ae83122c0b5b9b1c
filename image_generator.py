"""ImageGenerator: what applications call.

Owns the request that a call makes, the style's template laid over it, and the cache around the
router. Knows no HTTP and no provider.
"""

from __future__ import annotations

import logging
from dataclasses import fields, replace
from typing import Any, Literal

from config import Config
from image_cache import ImageCache, cache_key
from image_provider import (
    DEFAULT_SIZE,
    MASK_KEY,
    SOURCE_KEY,
    ImageGenerationError,
    ImageGenerationRequest,
    ImageGenerationResult,
    ImageStyle,
)
from image_provider_router import ImageProviderRouter
from provider_asking import Candidate
from style_templates import apply_style

logger = logging.getLogger(__name__)

UseCache = bool | Literal["any"]
_NO_PIXELS = frozenset(
    {"on_progress", "from_template", "provider", "source_image_url", "mask_image_url"}
)
_FURTHER_FIELDS = frozenset(field.name for field in fields(ImageGenerationRequest)) - {
    "prompt",
    "style",
    "from_template",
}


class ImageGenerator:
    """Pictures from a prompt: `ImageGenerator().generate("a red fox", style="cinematic")`.

    Raises ConfigurationError when a setting or the routing file cannot be read.
    """

    def __init__(self, config: Config | None = None) -> None:
        self.config = config if config is not None else Config()
        self.router = ImageProviderRouter(self.config)
        self._cache = ImageCache(
            self.config.get_image_cache_dir(), self.config.get_image_cache_max_bytes()
        )

    def __enter__(self) -> ImageGenerator:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes every provider."""
        self.router.close()

    def generate(
        self,
        prompt: str,
        style: str | ImageStyle | None = None,
        width: int = DEFAULT_SIZE,
        height: int = DEFAULT_SIZE,
        seed: int | None = None,
        num_images: int = 1,
        negative_prompt: str | None = None,
        source_image_url: str | None = None,
        mask_image_url: str | None = None,
        strength: float | None = None,
        use_cache: UseCache = True,
        **kwargs: Any,
    ) -> ImageGenerationResult:
        """Makes pictures of width×height pixels; a failure is a result with `error`, not a raise.

        `kwargs` are further fields of ImageGenerationRequest. `use_cache` looks up and stores
        pictures that have a seed, "any" those without one too. The result's `recipe["request"]` has
        these arguments, to call it with again. Raises TypeError or ValueError for arguments that no
        request could have.
        """
        request = self._request(
            prompt,
            style,
            width=width,
            height=height,
            seed=seed,
            num_images=num_images,
            negative_prompt=negative_prompt,
            source_image_url=source_image_url,
            mask_image_url=mask_image_url,
            strength=strength,
            **kwargs,
        )
        return _as_called(self._generate(apply_style(request), use_cache), request)

    def generate_from_flux_prompt(
        self,
        flux_prompt: str,
        style: str | ImageStyle | None = None,
        **kwargs: Any,
    ) -> ImageGenerationResult:
        """`generate` with the prompt taken word for word; the style only guides the routing."""
        use_cache = kwargs.pop("use_cache", True)
        request = self._request(flux_prompt, style, **kwargs)
        return _as_called(self._generate(request, use_cache), request)

    def get_available_styles(self) -> list[str]:
        """The names of the styles."""
        return [style.value for style in ImageStyle]

    def get_available_providers(self) -> dict[str, dict[str, Any]]:
        """Every provider by name, with `available` and the `reason` when it is not."""
        return self.router.get_available_providers()

    def _request(
        self, prompt: str, style: str | ImageStyle | None, **kwargs: Any
    ) -> ImageGenerationRequest:
        unknown = sorted(set(kwargs) - _FURTHER_FIELDS)
        if unknown:
            raise TypeError(f"no field of a request: {', '.join(unknown)}")
        return ImageGenerationRequest(prompt, style=ImageStyle.parse(style), **kwargs)

    def _generate(
        self, request: ImageGenerationRequest, use_cache: UseCache
    ) -> ImageGenerationResult:
        if use_cache not in (True, False, "any"):
            raise ValueError(f'use_cache must be True, False or "any", not {use_cache!r}')
        if use_cache == "any" or (use_cache and request.seed is not None):
            return self._generate_cached(request)
        return self.router.generate(request)

    def _generate_cached(self, request: ImageGenerationRequest) -> ImageGenerationResult:
        try:
            request, hashes = _with_loaded_images(request, self.config)
            if hashes is None:
                return self.router.generate(request)
            candidates = self.router.resolve(request)
        except ImageGenerationError as error:
            return ImageGenerationResult.failed(error, request.provider or "router")
        key = _key(candidates[0], hashes)
        kept = self._cache.load(key) if key is not None else None
        if kept is not None:
            kept.metadata = {**(kept.metadata or {}), "cached": True}
            return kept
        result = self.router.generate(request)
        self._keep(result, candidates, hashes)
        return result

    def _keep(
        self, result: ImageGenerationResult, candidates: list[Candidate], hashes: dict[str, str]
    ) -> None:
        """Stores a result under whom it is by, which is not the first one after a fallback."""
        if not (result.success and result.images and all(i.get("bytes") for i in result.images)):
            return
        if (result.metadata or {}).get("warnings"):
            return  # made otherwise than asked, for example with another workflow
        for candidate in candidates:
            if candidate.provider.provider_name == result.provider:
                key = _key(candidate, hashes)
                if key is not None:
                    self._cache.store(key, result)
                return


def _as_called(
    result: ImageGenerationResult, request: ImageGenerationRequest
) -> ImageGenerationResult:
    """The result with the caller's own request in its recipe, before template, routing or cache."""
    if result.recipe:
        result.recipe = {**result.recipe, "request": request.to_plain()}
    return result


def _with_loaded_images(
    request: ImageGenerationRequest, config: Config
) -> tuple[ImageGenerationRequest, dict[str, str] | None]:
    """The request with its images fetched once, and what tells them from others.

    They keep their size: the provider scales them down, and says so. None for hashes when a URL
    cannot be fetched here: a provider may still get it, as ComfyUI's does those of its own server.
    """
    from image_io.source_images import source_loader

    hosts, max_side = config.get_image_source_hosts(), config.get_image_source_max_side()
    load = source_loader(config.get_image_source_roots(), hosts, max_side=None)
    extra, hashes = dict(request.extra), {}
    for key in (SOURCE_KEY, MASK_KEY):
        reference = getattr(request, key)
        if reference is None:
            continue
        try:
            loaded = load(reference, key.replace("_", " "))
        except ImageGenerationError as error:
            if not (isinstance(reference, str) and reference.startswith(("http://", "https://"))):
                raise
            logger.debug("not cached: %s", error)
            return request, None
        extra[key], hashes[key] = loaded.image, loaded.sha256
        if max_side is not None and max(loaded.image.size) > max_side:
            hashes[key] += f" within {max_side}"
    return replace(request, extra=extra), hashes


def _key(candidate: Candidate, hashes: dict[str, str]) -> str | None:
    """The cache key of what a provider makes of a request; None when it has no fixed one."""
    request = candidate.request
    parts = {
        field.name: getattr(request, field.name)
        for field in fields(request)
        if field.name not in _NO_PIXELS
    }
    parts["style"] = request.style.value if request.style is not None else None
    parts["size_given"] = [side is not None for side in request.explicit_size]
    parts["extra"] = {k: v for k, v in request.extra.items() if k not in hashes}
    parts["images"] = hashes
    try:
        parts["by"] = candidate.provider.cache_identity(request)
        return cache_key(parts)
    except Exception:  # noqa: BLE001 - whatever it is, pictures are made without the cache too
        logger.debug("no cache key", exc_info=True)
        return None
