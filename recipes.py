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

from batch_resume import batch_entry
from comfyui.loading import MAX_BYTES
from comfyui.picture_metadata import embedded_workflows, is_picture
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
    """How one picture was made: a workflow's graph, or else the arguments of `generate`."""

    graph: dict[str, Any] | None = None
    request: dict[str, Any] | None = None


def recipe_of(file: str) -> Recipe:
    """The recipe of a picture; raises InvalidRequestError when nothing tells it."""
    path = Path(file)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be read: {error.strerror or error}") from error
    graph = _embedded_graph(data) if is_picture(data) else None
    if graph is not None:
        return Recipe(graph=graph)
    for entry in (cache_entry(path), batch_entry(path)):
        for image in entry.get("images", ()) if entry is not None else ():
            if entry is not None and image.get("file") == path.name and entry.get("recipe"):
                return Recipe(request=_request(entry["recipe"], image.get("seed")))
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
        return generator.generate(**arguments, use_cache=False, on_progress=on_progress)
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


def _request(recipe: Mapping[str, Any], seed: int | None) -> dict[str, Any]:
    """The arguments for one picture of a result, by the same provider and model."""
    request = {**recipe["request"], "num_images": 1, "provider": recipe["provider"]}
    if seed is not None:
        request["seed"] = seed
    if recipe.get("model") and not recipe.get("workflow"):
        request.setdefault("model", recipe["model"])
    return request
