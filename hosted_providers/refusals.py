"""Requests that make no sense to a model, told before anything is sent or paid for.

Owns the checks and their messages: what is wrong, and what to give or ask for in its place.
"""

from __future__ import annotations

import math
import re
from typing import Any

from hosted_providers.capabilities import Catalog, Model
from image_provider import ImageGenerationRequest, InvalidRequestError

# Model ids are part of URLs: letters, digits and -._:/ with no empty or dotted step.
_MODEL_ID = re.compile(r"\w[\w.:-]*(/\w[\w.:-]*)*", re.ASCII)


def check_model_id(name: str) -> None:
    """Raises InvalidRequestError for what cannot be the id of a model."""
    if not _MODEL_ID.fullmatch(name):
        raise InvalidRequestError(
            f"{name!r} cannot be a model id: these are words of letters, digits and . _ : - with "
            "/ between"
        )


def refuse_nonsense(catalog: Catalog, model: Model, request: ImageGenerationRequest) -> None:
    """Raises InvalidRequestError for what the model cannot make a picture of."""
    _check_prompt(model, request.prompt)
    has_source, has_mask = request.source_image is not None, request.mask_image is not None
    if has_mask and not has_source:
        raise InvalidRequestError("a mask needs a source image; give source_image_url too")
    if has_mask and not model.takes("mask"):
        raise InvalidRequestError(_without(catalog, model, "mask", "inpainting"))
    if has_source and not model.takes("source"):
        raise InvalidRequestError(_without(catalog, model, "source", "image-to-image"))
    if model.needs_source and not has_source:
        raise InvalidRequestError(f"{model.id} edits a picture; give source_image_url")
    for name, value in request.node_inputs.items():
        _check_option(model, name, value)


def _check_prompt(model: Model, prompt: str) -> None:
    longest = model.longest_prompt
    if longest is not None and len(prompt) > longest:
        raise InvalidRequestError(
            f"the prompt has {len(prompt):,} characters and {model.id} takes {longest:,}; "
            "shorten it"
        )


def _check_option(model: Model, name: str, value: Any) -> None:
    allowed = model.options.get(name)
    if allowed is None:
        return  # it is reported as ignored
    if not allowed:
        # What a form or JSON can carry; whether it is in range is the vendor's to say.
        finite = isinstance(value, float) and math.isfinite(value)
        if not (isinstance(value, (str, int)) or finite):
            raise InvalidRequestError(f"extra[{name!r}] for {model.id} must be a number or a text")
        return
    # True is no 1 here: each is written differently to the vendor.
    if not any(type(value) is type(choice) and value == choice for choice in allowed):
        choices = ", ".join(repr(choice) for choice in allowed)
        raise InvalidRequestError(f"extra[{name!r}] for {model.id} must be one of {choices}")


def _without(catalog: Catalog, model: Model, parameter: str, feature: str) -> str:
    others = ", ".join(catalog.ids_with(parameter))
    advice = f"models with it: {others}" if others else "use another provider for it"
    return f"{model.id} has no {feature}; {advice}"
