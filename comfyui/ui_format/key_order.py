"""The order of an object's keys in JavaScript, which is not that of a dict."""

from __future__ import annotations

from typing import TypeVar

T = TypeVar("T")


def in_key_order(entries: dict[str, T]) -> dict[str, T]:
    """The entries in the order that JavaScript gives the keys of an object: whole numbers first."""
    numbers = sorted((key for key in entries if _is_index(key)), key=int)
    if not numbers:
        return entries
    return {key: entries[key] for key in [*numbers, *(k for k in entries if not _is_index(k))]}


def _is_index(key: str) -> bool:
    is_number = key.isascii() and key.isdecimal() and len(key) <= 10
    return is_number and str(int(key)) == key and int(key) < 2**32 - 1
