"""Decisions that are read off bytes, so that whoever can make bytes can steer the mutations.

Random bytes, Hypothesis and a coverage-guided fuzzer all do. When the bytes are used up, every
choice is the first one: fewer bytes make a simpler input.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Choices:
    """A reader of bytes; the same bytes make the same choices."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def below(self, limit: int) -> int:
        """A number from 0 to `limit` - 1."""
        if limit <= 1:
            return 0
        width = 1 if limit <= 0x100 else 2 if limit <= 0x10000 else 4
        taken = self._data[self._at : self._at + width]
        self._at += width
        return int.from_bytes(taken, "big") % limit

    def one_of(self, values: Sequence[T]) -> T:
        """One of the values, of which there must be some."""
        return values[self.below(len(values))]

    def one_in(self, number: int) -> bool:
        """True once in `number` times; never when the bytes are used up."""
        return self.below(number) == number - 1
