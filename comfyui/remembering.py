"""What was worked out from a server's lists, kept for as long as these lists are.

They are read anew about once a minute, so that nothing here grows old. Knows no server.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar
from weakref import WeakKeyDictionary

from comfyui.object_info import ObjectInfo

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

_MOST = 64
"""Values for one server: those of a batch that has a workflow for each picture do not pile up."""


class Remembered(Generic[K, V]):
    """Values by lists and key; threads that ask at once may each work a value out."""

    def __init__(self) -> None:
        self._kept: WeakKeyDictionary[ObjectInfo, dict[K, V]] = WeakKeyDictionary()

    def get(self, object_info: ObjectInfo, key: K, work_out: Callable[[], V]) -> V:
        """The value of a key, worked out now if it is not known yet."""
        kept = self._kept.setdefault(object_info, {})
        value = kept.get(key)
        if value is None:
            value = work_out()
            if len(kept) >= _MOST:
                kept.clear()
            kept[key] = value
        return value
