"""What makes a result again: request, seeds, provider, model and the graph that was queued."""

from __future__ import annotations

import json
from dataclasses import fields
from enum import Enum
from typing import TYPE_CHECKING, Any

from image_provider import DefaultSize, ImageGenerationRequest

if TYPE_CHECKING:
    from comfyui.generation import Generation

_LEFT_OUT = frozenset({"on_progress", "from_template"})


def make_recipe(
    request: ImageGenerationRequest, generation: Generation, model: str | None
) -> dict[str, Any]:
    """The recipe of one generation, plain data throughout."""
    return {
        "request": plain_request(request),
        "seeds": [image["seed"] for image in generation.images],
        "provider": "comfyui",
        "model": model,
        "workflow": generation.first_graph,
    }


def plain_request(request: ImageGenerationRequest) -> dict[str, Any]:
    """The fields of a request that were given, as JSON can hold them.

    Images given as bytes or objects are left out; a recipe does not carry pictures.
    """
    plain = {}
    for item in fields(request):
        value = getattr(request, item.name)
        is_given = value is not None and not isinstance(value, DefaultSize)
        if item.name in _LEFT_OUT or not is_given or value in ((), {}):
            continue
        if item.name == "extra":
            value = {key: entry for key, entry in value.items() if _is_plain(entry)}
        plain[item.name] = value.value if isinstance(value, Enum) else value
    return plain


def _is_plain(value: object) -> bool:
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return False
    return True
