"""A request that several providers made together: what one had finished, the next need not make.

Owns what is left to ask for after a failure, and how the parts become one result. A provider tells
in a failed result's `metadata["finished"]` how many of the pictures asked for it has made; without
that the next one makes all anew. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from image_provider import MAX_SEED, ImageGenerationRequest, ImageGenerationResult


def number_finished(failure: ImageGenerationResult) -> int:
    """How many of the pictures asked for are in a failed result; 0 when it does not say."""
    told = (failure.metadata or {}).get("finished")
    return told if isinstance(told, int) and failure.images else 0


def what_is_left(
    request: ImageGenerationRequest, failures: Sequence[ImageGenerationResult]
) -> ImageGenerationRequest:
    """The request for the pictures that are missing after these failures, with their own seeds."""
    done = sum(map(number_finished, failures))
    if not 0 < done < request.num_images:
        return request
    seed = None if request.seed is None else (request.seed + done) % (MAX_SEED + 1)
    return replace(request, num_images=request.num_images - done, seed=seed)


def joined(
    failures: Sequence[ImageGenerationResult], last: ImageGenerationResult
) -> ImageGenerationResult:
    """The last result with the pictures that were finished before it; of several, it tells whose.

    `metadata["parts"]` and `recipe["parts"]` have an entry for each one that made some. A success
    without a word of how many were finished before has all of its pictures itself.
    """
    parts = [each for each in failures if each.images and each is not last]
    if last.success:
        parts = [each for each in parts if number_finished(each)]
    if not parts:
        return last
    made = [*parts, last] if last.images else parts
    images = [image for part in made for image in part.images]
    if len(made) == 1:
        last.images, last.recipe, last.model = images, made[0].recipe, made[0].model
        return last
    told = [
        {"provider": part.provider, "model": part.model, "images": len(part.images)}
        for part in made
    ]
    last.metadata = {**(last.metadata or {}), "parts": told}
    last.recipe = _joined_recipe([part.recipe for part in made if part.recipe])
    last.images = images
    return last


def _joined_recipe(recipes: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """The last one, with the seeds of all; each stands in `parts` as it was."""
    if not recipes:
        return None
    seeds = [seed for recipe in recipes for seed in recipe.get("seeds") or ()]
    return {**recipes[-1], "seeds": seeds, "parts": list(recipes)}
