"""What a saved picture can be made again from, and making it.

Owns where to look: the graph that ComfyUI writes into its pictures, then the recipe beside a file
of the cache or of a batch. Knows no command.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comfyui.loading import MAX_BYTES
from comfyui.picture_metadata import embedded_workflows, is_picture
from image_batches.resume import batch_entry
from image_cache import cache_entry
from image_generator import ImageGenerator
from image_provider import (
    ConfigurationError,
    ImageGenerationResult,
    InvalidRequestError,
    ProgressCallback,
)


@dataclass(frozen=True)
class Recipe:
    """How one picture was made: a workflow's graph, or else the arguments of `generate`.

    The prompt of a request that the cache kept `has_template`: that of its style is in it already.
    """

    graph: dict[str, Any] | None = None
    request: dict[str, Any] | None = None
    has_template: bool = False


def recipe_of(file: str) -> Recipe:
    """The recipe of a picture; raises InvalidRequestError when nothing tells it."""
    path = Path(file)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(
            f"{file} cannot be read: {error.strerror or error}; give the path of a saved picture"
        ) from error
    graph = _embedded_graph(data) if is_picture(data) else None
    if graph is not None:
        return Recipe(graph=graph)
    found = _request(cache_entry(path), path.name)
    if found is not None:
        return Recipe(request=found, has_template=True)
    found = _request(batch_entry(path), path.name)
    if found is not None:
        return Recipe(request=found)
    raise InvalidRequestError(
        f"{file} does not tell how it was made: ComfyUI writes that into its pictures, other "
        "providers do not, and it is lost when a picture is edited; a file in the cache or in the "
        "folder of a batch has it beside it. Give the prompt and the seed instead"
    )


def make_again(
    recipe: Recipe, generator: ImageGenerator, on_progress: ProgressCallback | None = None
) -> ImageGenerationResult:
    """The picture once more, never out of the cache; a failure is a result."""
    if recipe.graph is None:
        arguments = dict(recipe.request or {})
        prompt = arguments.pop("prompt")
        make = generator.generate_from_flux_prompt if recipe.has_template else generator.generate
        return make(prompt, **arguments, use_cache=False, on_progress=on_progress)
    from comfyui_provider import ComfyUIProvider

    comfyui = generator.router.providers["comfyui"]
    assert isinstance(comfyui, ComfyUIProvider)
    return comfyui.run_workflow(recipe.graph, on_progress)


def _embedded_graph(data: bytes) -> dict[str, Any] | None:
    """What ComfyUI ran; the editor's document where that is broken or not there."""
    with suppress(ValueError):
        for text in embedded_workflows(data, MAX_BYTES):
            with suppress(ValueError, RecursionError):
                document = json.loads(text)
                if document and isinstance(document, dict):
                    return document
    return None


def _request(entry: Mapping[str, Any] | None, name: str) -> dict[str, Any] | None:
    """The arguments for the picture `name` of a result alone, by the same provider and model."""
    if entry is None or not entry.get("recipe"):
        return None
    recipe = entry["recipe"]
    for image in entry.get("images", ()):
        if image.get("file") == name and recipe.get("request", {}).get("prompt") is not None:
            request = {**recipe["request"], "num_images": 1, "provider": recipe["provider"]}
            if image.get("seed") is not None:
                request["seed"] = image["seed"]
            if recipe.get("model") and not recipe.get("workflow"):
                request.setdefault("model", recipe["model"])
            return request
    return None
