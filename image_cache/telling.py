"""What goes wrong in a cache, told once: a full disk is the same news for each of 10,000 pictures.

Owns what counts as the same cause and the words for it. Touches no file.
"""

from __future__ import annotations

import logging

logger = logging.getLogger(__name__)

_LATER = "more of this kind are told at DEBUG"


class Teller:
    """Tells of a cause at WARNING the first time and at DEBUG after that; safe for many threads."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._told: dict[tuple[str, type[Exception], int | None], object] = {}

    def not_cached(self, error: Exception) -> None:
        """Tells why a result was not stored, and what to do about it."""
        if not isinstance(error, OSError):  # no disk can be blamed for it
            return self._tell("store", error, f"the result was not cached: {error}")
        return self._tell(
            "store",
            error,
            f"the result was not cached in {self._folder}: {error.strerror or error}; "
            "make room there or allow writing, set IMAGE_CACHE_DIR to another folder, or "
            "IMAGE_CACHE_MAX_BYTES=0 for no cache; pictures are made all the same",
        )

    def broken(self, path: str, error: Exception) -> None:
        """Tells that an entry cannot be used."""
        what = error.strerror if isinstance(error, OSError) and error.strerror else error
        self._tell(
            "load",
            error,
            f"the cache entry {path} is broken and left out, until a new one replaces it: {what}; "
            "the command cache verify --repair removes what is broken",
        )

    def _tell(self, doing: str, error: Exception, message: str) -> None:
        mine, cause = object(), (doing, type(error), getattr(error, "errno", None))
        if self._told.setdefault(cause, mine) is mine:
            logger.warning("%s (%s)", message, _LATER)
        else:
            logger.debug("%s", message)
