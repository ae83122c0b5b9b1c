"""What is done to a good input: a document loses, doubles and changes values, bytes flip.

Random bytes find little, since a parser refuses them at once; what comes close to the real thing
gets deeper.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from copy import deepcopy
from typing import Any

from tests.fuzzing.choosing import Choices

MOST_CHANGES = 4
MOST_BYTES = 1_000_000
"""Of an input: a larger one would take its time honestly."""
_ODD_TEXTS = (
    "",
    "a",
    "0",
    "4",
    "null",
    " ",
    "\0",
    "\ud800",
    "\x1b[31mred\r\n",
    "ÿ漢\u202e",
    "%s{prompt}{",
    "../../../etc/passwd",
    "C:\\x",
    "nan",
    "1e999",
    "9" * 5000,
    "x" * 70_000,
    "http://[::1",
    "https://user:password@host:99999/",
    "data:,",
)
_ODD_VALUES: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    1,
    2,
    2**31,
    2**63,
    10**400,
    -(10**30),
    0.5,
    -0.0,
    1e308,
    float("inf"),
    float("-inf"),
    float("nan"),
    [],
    {},
    [[]],
    [None],
    [{}],
    {"": None},
    {"a": {"a": 1}},
    ["4", 0],
    [4, -1],
    ["4", 10**30],
    *_ODD_TEXTS,
)
_DEPTHS = (3, 60, 110, 200, 350, 500, 2_000, 8_000, 30_000)
_NEAR = 700, 300
"""Levels at which Python gives up in one function and not yet in another: from, and how many."""
_NEST = re.compile(r'"@nest (\d{1,5}) (list|dict)@"')

Place = tuple[Any, Any]
"""A list or dict, and the index or key of a value in it."""


def mutated_json(seed: bytes, choices: Choices) -> bytes:
    """The document with some of its values changed, now and then its bytes as well."""
    root = [json.loads(seed)]
    for _ in range(choices.below(MOST_CHANGES + 1)):
        _CHANGES[choices.below(len(_CHANGES))](_place(root, choices), root, choices)
    text = json.dumps(root[0] if root else None)
    data = _NEST.sub(lambda found: _nested(int(found[1]), found[2]), text).encode("ascii")
    if choices.one_in(16):
        data = _changed_bytes(data, choices)
    return data if len(data) <= MOST_BYTES else seed


def mutated_bytes(seed: bytes, choices: Choices) -> bytes:
    """The bytes with some flipped, cut, doubled, replaced or put in."""
    for _ in range(choices.below(MOST_CHANGES + 1)):
        seed = _changed_bytes(seed, choices)
    return seed


def _nested(depth: int, kind: str) -> str:
    first, last = ("[", "]") if kind == "list" else ('{"a":', "}")
    return first * depth + "1" + last * depth


def _place(root: list[Any], choices: Choices) -> Place:
    """A value somewhere: each level is gone down with the same chance."""
    container: Any = root or [None]
    while True:
        keys = list(container) if isinstance(container, dict) else range(len(container))
        key = choices.one_of(keys)
        child = container[key]
        if not isinstance(child, (list, dict)) or not child or choices.one_in(5):
            return container, key
        container = child


def _drop(place: Place, root: list[Any], choices: Choices) -> None:
    container, key = place
    if container is not root:
        del container[key]


def _replace(place: Place, root: list[Any], choices: Choices) -> None:
    container, key = place
    container[key] = deepcopy(choices.one_of(_ODD_VALUES))


def _double(place: Place, root: list[Any], choices: Choices) -> None:
    container, key = place
    value = deepcopy(container[key])
    if isinstance(container, list):
        if container is not root:
            container.insert(key, value)
    else:
        container[choices.one_of([*container, *_ODD_TEXTS])] = value


def _retype(place: Place, root: list[Any], choices: Choices) -> None:
    container, key = place
    value = container[key]
    if isinstance(value, dict):
        changed: list[Any] = [list(value.values()), list(value), [value], str(len(value))]
    elif isinstance(value, list):
        changed = [dict(zip(map(str, range(len(value))), value, strict=True)), [value], value[:1]]
    elif isinstance(value, str):
        changed = [len(value), [value], {value: value}, list(value[:50]), [*value.partition("_")]]
    else:
        changed = [str(value), [value], {"value": value}, not value]
    container[key] = choices.one_of(changed)


def _grow(place: Place, root: list[Any], choices: Choices) -> None:
    container, key = place
    value = container[key]
    if isinstance(value, (int, float)):
        factor = choices.one_of((2, -1, 1000, 2**32, 10**20))
        container[key] = value * factor
    elif isinstance(value, (str, list)):
        container[key] = value * choices.one_of((2, 3, 50))


def _nest(place: Place, root: list[Any], choices: Choices) -> None:
    container, key = place
    depth = choices.one_of((*_DEPTHS, 0)) or _NEAR[0] + choices.below(_NEAR[1])
    container[key] = f"@nest {depth} {choices.one_of(('list', 'dict'))}@"


def _graft(place: Place, root: list[Any], choices: Choices) -> None:
    """A value of another place."""
    container, key = place
    other, at = _place(root, choices)
    container[key] = deepcopy(other[at])


def _rename(place: Place, root: list[Any], choices: Choices) -> None:
    container, key = place
    if isinstance(container, dict):
        value = container.pop(key)
        container[choices.one_of([*container, *_ODD_TEXTS])] = value


def _edit(place: Place, root: list[Any], choices: Choices) -> None:
    """A text with another one in it."""
    container, key = place
    value = container[key]
    if isinstance(value, str):
        at = choices.below(len(value) + 1)
        rest = value[at + choices.below(3) :]
        container[key] = value[:at] + choices.one_of(_ODD_TEXTS) + rest


_CHANGES: tuple[Callable[[Place, list[Any], Choices], None], ...] = (
    _drop,
    _replace,
    _double,
    _retype,
    _grow,
    _nest,
    _graft,
    _rename,
    _edit,
    _replace,
    _graft,
)

_ODD_BYTES = (
    b"\0",
    b"\xff",
    b"\0\0\0\0",
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff",
    b"\x80\0\0\0",
    b"\0\0\xff\xff",
    b"\r\n",
    b'"',
    b"[",
    b"{",
    b"%",
    b":",
    b"@",
    b"/",
    b",",
    b"=",
    b"\xed\xa0\x80",
    b"\xef\xbb\xbf",
    b"\xff\xfe",
    b"[" * 2000,
    b"9" * 5000,
)


def _changed_bytes(data: bytes, choices: Choices) -> bytes:
    at = choices.below(len(data) + 1)
    length = choices.one_of((1, 4, 16, 1 + choices.below(len(data) + 1)))
    piece, rest = data[at : at + length], data[at + length :]
    match choices.below(7):
        case 0:
            return (
                data[:at]
                + bytes(byte ^ 1 << choices.below(8) for byte in piece[:1])
                + data[at + 1 :]
            )
        case 1:
            return data[:at] + rest
        case 2:
            return data[:at]
        case 3:
            return data[:at] + piece + piece + rest
        case 4:
            return data[:at] + choices.one_of(_ODD_BYTES) + data[at:]
        case 5:
            odd = choices.one_of(_ODD_BYTES)
            return data[:at] + odd + data[at + len(odd) :]
        case _:
            other = choices.below(len(data) + 1)
            return data[:at] + data[other : other + length] + rest
