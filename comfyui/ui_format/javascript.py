"""Objects and numbers as JavaScript has them: the order of keys, and 1.0, which is 1."""

from __future__ import annotations

from typing import Any, TypeVar

T = TypeVar("T")

EXACT = 2**53
"""Up to here every whole number is a number of JavaScript's."""


def in_key_order(entries: dict[str, T]) -> dict[str, T]:
    """The entries in the order that JavaScript gives the keys of an object: whole numbers first."""
    numbers = sorted((key for key in entries if _is_index(key)), key=int)
    if not numbers:
        return entries
    return {key: entries[key] for key in [*numbers, *(k for k in entries if not _is_index(k))]}


def _is_index(key: str) -> bool:
    is_number = key.isascii() and key.isdecimal() and len(key) <= 10
    return is_number and str(int(key)) == key and int(key) < 2**32 - 1


def as_written(value: Any) -> Any:
    """A copy of a JSON value with whole numbers as such."""
    if isinstance(value, list):
        return [as_written(item) for item in value]
    if isinstance(value, dict):
        return {key: as_written(item) for key, item in value.items()}
    is_whole = isinstance(value, float) and value.is_integer() and abs(value) <= EXACT
    return int(value) if is_whole else value
