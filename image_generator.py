"""ImageGenerator: what applications call.

Owns the request that a call makes, the style's template laid over it, and the cache around the
router. Knows no HTTP and no provider.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterable, Mapping
from concurrent.futures import Executor
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, Literal

from image_batches import BatchCallback, run_batch
from image_batches.pickling import PerProcess, packed, unpacked
from image_cache import ImageCache, StoredResult, cache_key, request_parts
from image_config import Config
from image_provider import (
    DEFAULT_SIZE,
    MASK_KEY,
    SOURCE_KEY,
    ImageGenerationError,
    ImageGenerationRequest,
    ImageGenerationResult,
    ImageStyle,
    ProgressUpdate,
)
from image_provider_router import ImageProviderRouter
from image_routing.asking import Candidate
from style_files import load_styles

if TYPE_CHECKING:
    from PIL.Image import Image

logger = logging.getLogger(__name__)

UseCache = bool | Literal["any"]
_NO_PIXELS = frozenset(
    {"on_progress", "from_template", "provider", "source_image_url", "mask_image_url"}
)
_KEY_FORM = 3
"""Part of every key: to be raised when a request comes to mean other pixels, or entries change."""
_FURTHER_FIELDS = frozenset(field.name for field in fields(ImageGenerationRequest)) - {
    "prompt",
    "style",
    "from_template",
}


class ImageGenerator:
    """Pictures from a prompt: `ImageGenerator().generate("a red fox", style="cinematic")`.

    Raises ConfigurationError when a setting, the routing file or the file of style templates cannot
    be read.
    """

    def __init__(self, config: Config | None = None) -> None:
        self.config = config if config is not None else Config()
        self.styles = load_styles(self.config.get_image_style_templates())
        self.router = ImageProviderRouter(self.config)
        self._cache = ImageCache(
            self.config.get_image_cache_dir(), self.config.get_image_cache_max_bytes()
        )

    def __enter__(self) -> ImageGenerator:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes every provider; a later request opens anew what it needs, to be closed again."""
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
        source_image_url: str | os.PathLike[str] | None = None,
        mask_image_url: str | os.PathLike[str] | None = None,
        strength: float | None = None,
        use_cache: UseCache = True,
        **kwargs: Any,
    ) -> ImageGenerationResult:
        """Makes pictures of width×height pixels; a failure is a result with `error`, not a raise.

        `style` is one of `get_available_styles()`, by its name in any case. `kwargs` are further
        fields of ImageGenerationRequest. `use_cache` looks up and stores pictures that have a seed,
        "any" those without one too. The result's `recipe["request"]` has these arguments, to call
        it with again. Raises TypeError or ValueError for arguments that no request could have.
        """
        request = self.build_request(
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
        return self.generate_request(request, use_cache)

    def build_request(
        self, prompt: str, style: str | ImageStyle | None = None, **kwargs: Any
    ) -> ImageGenerationRequest:
        """The request that `generate` makes of its arguments, before the style's template.

        Raises TypeError or ValueError for arguments that no request could have.
        """
        unknown = sorted(set(kwargs) - _FURTHER_FIELDS)
        if unknown:
            raise TypeError(f"no field of a request: {', '.join(unknown)}")
        kwargs |= self.styles.fields(style, kwargs.get("style_name"))
        return ImageGenerationRequest(prompt, **kwargs)

    def generate_request(
        self, request: ImageGenerationRequest, use_cache: UseCache = True
    ) -> ImageGenerationResult:
        """`generate` for a request that is there already."""
        return _as_called(self._generate(self.styles.apply(request), use_cache), request)

    def generate_many(
        self,
        requests: Iterable[ImageGenerationRequest | Mapping[str, Any] | str],
        executor: Executor | None = None,
        on_progress: BatchCallback | None = None,
        resume: str | os.PathLike[str] | None = None,
    ) -> list[ImageGenerationResult]:
        """`generate` for each request, many at once: the results in order, failures among them.

        A request is an ImageGenerationRequest, a dict of `generate`'s arguments, or a prompt.
        `executor` is any of concurrent.futures, also of other processes and machines, where each
        process builds one generator of its own settings; without it threads work, as many as keep
        the servers busy. `on_progress` gets a BatchProgress, in the thread that called.
        `resume` names a file that the next call with the same requests goes on from: what has
        succeeded is not made again. Pictures are then kept in a folder beside it, and results read
        their bytes from there when asked; without it every result holds its pictures in memory.
        Ctrl-C cancels what runs and is raised. Raises TypeError for what is no collection of
        requests, no executor or no callback, ConfigurationError when `resume` is of other requests,
        another batch works on it, or it cannot be used.
        """
        providers = self.router.providers.copy().values()
        return run_batch(
            requests,
            self.generate_request,
            self._cancel_work_of,
            max((provider.concurrent_requests for provider in providers), default=1),
            build=self.build_request,
            executor=executor,
            on_progress=on_progress,
            resume=resume,
        )

    def _cancel_work_of(self, threads: list[threading.Thread]) -> None:
        for provider in self.router.providers.copy().values():
            provider.cancel_work_of(threads)

    def __reduce__(self) -> Any:
        # Settings and keys stay here; the caller's rules and providers of other people go along.
        return own_generator, (packed(self.router.routing_rules, self.router.providers),)

    @staticmethod
    def contact_sheet(results: Iterable[ImageGenerationResult], page: int = 1) -> Image:
        """A sheet of the pictures of many results, numbered; `contact_sheets.py` draws it."""
        from image_batches.contact_sheets import contact_sheet

        return contact_sheet(results, page)

    def generate_from_flux_prompt(
        self,
        flux_prompt: str,
        style: str | ImageStyle | None = None,
        **kwargs: Any,
    ) -> ImageGenerationResult:
        """`generate` with the prompt taken word for word; the style only guides the routing."""
        use_cache = kwargs.pop("use_cache", True)
        request = self.build_request(flux_prompt, style, **kwargs)
        return _as_called(self._generate(request, use_cache), request)

    def get_available_styles(self) -> list[str]:
        """The names of the styles: the built-in ones, then those of IMAGE_STYLE_TEMPLATES."""
        return self.styles.names

    def get_available_providers(self) -> dict[str, dict[str, Any]]:
        """Every provider by name, with `available` and the `reason` when it is not."""
        return self.router.get_available_providers()

    def _generate(
        self, request: ImageGenerationRequest, use_cache: UseCache
    ) -> ImageGenerationResult:
        if use_cache not in (True, False, "any"):
            raise ValueError(f'use_cache must be True, False or "any", not {use_cache!r}')
        is_wanted = use_cache == "any" or (use_cache and request.seed is not None)
        if is_wanted and self._cache.is_on:
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
            _tell_done(request)
            return kept
        result = self.router.generate(request)
        if _is_as_asked(result):
            self._keep(result, candidates, hashes, key)
        return result

    def _keep(
        self,
        result: ImageGenerationResult,
        candidates: list[Candidate],
        hashes: dict[str, str],
        asked: str | None,
    ) -> None:
        """Stores a result under whom it is by, which is not the first one after a fallback.

        `asked` is the first one's key before the generation: a workflow file that was changed
        meanwhile has another one now, and nobody knows which of the two made the pictures.
        """
        for number, candidate in enumerate(candidates):
            if candidate.provider.provider_name == result.provider:
                key = _key(candidate, hashes)
                if key is not None and (number > 0 or key == asked):
                    self._cache.store(key, _of_another_day(result))
                return


def _as_called(
    result: ImageGenerationResult, request: ImageGenerationRequest
) -> ImageGenerationResult:
    """The result with the caller's own request in its recipe, before template, routing or cache."""
    if isinstance(result, StoredResult):
        result.request = request.to_plain()
    elif result.recipe:
        result.recipe = {**result.recipe, "request": request.to_plain()}
    return result


def _of_another_day(result: ImageGenerationResult) -> ImageGenerationResult:
    """A result as it is when it comes out of the cache: who was asked in vain counts no more."""
    metadata = {**(result.metadata or {}), "cached": True}
    metadata.pop("attempts", None)
    return replace(result, metadata=metadata)


def _tell_done(request: ImageGenerationRequest) -> None:
    """Ends the progress of a picture that nobody makes: who shows a bar waits for that."""
    if request.on_progress is None:
        return
    try:
        request.on_progress(ProgressUpdate("done", 1.0))
    except Exception:  # noqa: BLE001 - a caller's callback costs no picture
        logger.warning("on_progress raised; the picture is there", exc_info=True)


def _is_as_asked(result: ImageGenerationResult) -> bool:
    """Whether all of it is here, and made as it was asked for: not with another workflow, say."""
    told = result.metadata or {}
    if not result.success or told.keys() & {"missing_images", "parts"} or told.get("warnings"):
        return False
    return bool(result.images) and all(image.get("bytes") for image in result.images)


def _with_loaded_images(
    request: ImageGenerationRequest, config: Config
) -> tuple[ImageGenerationRequest, dict[str, str] | None]:
    """The request with its images fetched once, and what tells them from others.

    They keep their size: the provider scales them down, and says so. None for hashes when a URL
    cannot be fetched here: a provider may still get it, as ComfyUI's does those of its own server.
    """
    given = ((key, getattr(request, key)) for key in (SOURCE_KEY, MASK_KEY))
    references = {key: reference for key, reference in given if reference is not None}
    if not references:
        return request, {}
    from image_io.source_images import source_loader

    hosts, max_side = config.get_image_source_hosts(), config.get_image_source_max_side()
    load = source_loader(config.get_image_source_roots(), hosts, max_side=None)
    extra, hashes = dict(request.extra), {}
    for key, reference in references.items():
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
    parts = request_parts(request, _NO_PIXELS)
    parts["extra"] = {k: v for k, v in request.extra.items() if k not in hashes}
    parts |= {"images": hashes, "form": _KEY_FORM}
    try:
        parts["by"] = candidate.provider.cache_identity(request)
        if parts["by"].get("workflow"):  # by its content: what the file is called does not count
            parts["workflow"] = request.workflow is not None
        return cache_key(parts)
    except Exception:  # noqa: BLE001 - whatever it is, pictures are made without the cache too
        logger.debug("no cache key", exc_info=True)
        return None


def own_generator(pack: bytes) -> ImageGenerator:
    """The one generator of this process for what `packed` gave in another; closed at its end."""
    return _of_this_process.get(pack)


def _built(pack: bytes) -> ImageGenerator:
    """One of the settings of this process, with the rules and providers that came along."""
    rules, providers = unpacked(pack)
    generator = ImageGenerator()
    generator.router.routing_rules = rules
    generator.router.providers.update(providers)
    return generator


_of_this_process = PerProcess(_built)
