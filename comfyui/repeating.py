"""Asking again: for answers that were broken or lost, where asking twice changes nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from comfyui.cancelling import CancelToken
from comfyui.client import ComfyUIClient
from image_provider import (
    GenerationCancelledError,
    ProviderTimeoutError,
    ProviderUnavailableError,
)

logger = logging.getLogger(__name__)

Answer = TypeVar("Answer")

_PAUSES = (0.125, 0.5, 1.0)
"""Before each further try, as shares of `Limits.silence`."""


def repeated(
    ask: Callable[[], Answer],
    client: ComfyUIClient,
    token: CancelToken | None = None,
    *,
    times: int = len(_PAUSES),
) -> Answer:
    """What `ask` gives, asked up to `times` times more while the server fails to answer well.

    What is not there (404) stays so and is raised at once. The pauses end when `token` is
    cancelled, with GenerationCancelledError.
    """
    token = token or CancelToken()
    for pause in _PAUSES[:times]:
        try:
            return ask()
        except (ProviderUnavailableError, ProviderTimeoutError) as error:
            if error.status == 404:
                raise
            logger.warning("%s; asking again", error)
        token.wait(pause * client.limits.silence)
        if token.cancelled:
            raise GenerationCancelledError("the generation was cancelled")
    return ask()
