"""The fields of a request as plain data, for the key of a cache and the fingerprint of a batch.

Owns how a field is written there: what is changed here makes every stored picture a stranger. Knows
nothing of which fields count; whoever makes a key says so.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import fields
from typing import Any

from image_provider import ImageGenerationRequest


def request_parts(request: ImageGenerationRequest, without: Collection[str]) -> dict[str, Any]:
    """The fields but for those named in `without`, and which sides of the size were given.

    `extra` is the request's own: its pictures are whoever's to replace that makes a key.
    """
    parts = {
        field.name: getattr(request, field.name)
        for field in fields(request)
        if field.name not in without
    }
    parts["style"] = request.style.value if request.style is not None else None
    parts["size_given"] = [side is not None for side in request.explicit_size]
    return parts
