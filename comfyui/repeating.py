"""Asking again: for answers that were broken or lost, where asking twice changes nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable
from itertools import count
from typing import TypeVar

from comfyui.cancelling import CancelToken
from comfyui.client import ComfyUIClient
from image_provider import ProviderTimeoutError, ProviderUnavailableError

logger = logging.getLogger(__name__)

Answer = TypeVar("Answer")

_AGAIN = "%s; asking again"
_AWAY = (None, 502, 503, 504)
"""No answer at all, or a proxy's word that there is none."""
_PAUSES = (0.125, 0.5, 1.0)
"""Before each further try, as shares of `Limits.silence`."""


def repeated(
    ask: Callable[[], Answer],
    client: ComfyUIClient,
    token: CancelToken | None = None,
    *,
    times: int = len(_PAUSES),
    while_away: bool = False,
) -> Answer:
    """What `ask` gives, asked up to `times` times more while the server fails to answer well.

    What is not there (404) stays so and is raised at once. With `while_away` a server that is away
    is asked on, for as long as it may be: `Limits.unreachable`. The pauses end when `token` is
    cancelled, with GenerationCancelledError.
    """
    token = token or CancelToken()
    deadline = client.clock() + client.limits.unreachable
    for tries in count():
        try:
            return ask()
        except (ProviderUnavailableError, ProviderTimeoutError) as error:
            may_come_back = while_away and error.status in _AWAY and client.clock() < deadline
            if error.status == 404 or (tries >= times and not may_come_back):
                raise
            logger.log(logging.WARNING if tries < times else logging.DEBUG, _AGAIN, error)
        token.wait(_PAUSES[min(tries, len(_PAUSES) - 1)] * client.limits.silence)
        token.check()
    raise AssertionError("the last try returns or raises")
