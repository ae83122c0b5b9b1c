"""A generator in other processes: what goes along in its pickle, and one generator for each.

Owns that no key and no setting goes along, that a process keeps one and not one a request, and that
it is closed at the end. Knows nothing of generating.
"""

from __future__ import annotations

import logging
import os
import pickle
import threading
from collections.abc import Callable, Mapping
from typing import Any, Generic, Protocol, TypeVar

from image_provider import ImageProvider

logger = logging.getLogger(__name__)


class Closable(Protocol):
    def close(self) -> None: ...


T = TypeVar("T", bound=Closable)

_told: set[str] = set()


def packed(rules: Mapping[str, Any], providers: Mapping[str, ImageProvider]) -> bytes:
    """The routing rules, and the providers that no other process builds of its own settings.

    One that does not pickle stays here, with a warning.
    """
    added = {}
    for name, provider in providers.items():
        if provider.rebuild is not None:
            continue
        try:
            added[name] = pickle.dumps(provider)
        except Exception as error:  # noqa: BLE001 - whatever somebody's class raises
            level = logging.DEBUG if name in _told else logging.WARNING
            _told.add(name)
            logger.log(
                level,
                "provider %s does not go to other processes (%s); they use their own of that name",
                name,
                error,
            )
    return pickle.dumps((dict(rules), added))


def unpacked(pack: bytes) -> tuple[dict[str, Any], dict[str, ImageProvider]]:
    """What `packed` was given."""
    rules, added = pickle.loads(pack)
    return rules, {name: pickle.loads(provider) for name, provider in added.items()}


class PerProcess(Generic[T]):
    """What a process builds once for each pack, closed when it ends."""

    def __init__(self, build: Callable[[bytes], T]) -> None:
        self._build = build
        self._lock = threading.Lock()
        self._built: dict[tuple[int, bytes], T] = {}

    def get(self, pack: bytes) -> T:
        """What was built, or is now."""
        # An executor's process ends without atexit, but not without this.
        from multiprocessing.util import Finalize

        with self._lock:
            key = os.getpid(), pack  # a forked process does not share the connections
            if key not in self._built:
                self._built[key] = self._build(pack)
                Finalize(None, self._built[key].close, exitpriority=10)
            return self._built[key]
