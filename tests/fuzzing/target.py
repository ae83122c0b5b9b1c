"""One parser of foreign bytes: how it is called, and what it may end in."""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from image_provider import ImageGenerationError
from tests.fuzzing.choosing import Choices
from tests.fuzzing.mutating import mutated_bytes, mutated_json

SECRET = "sk-planted-4f9a61c27be0"
"""A key that stands where some inputs have one, and must stand in no message."""
ROOT = Path(__file__).resolve().parents[2]


class NotJson(Exception):
    """An input that the library would not have parsed here: nothing was tried."""


@dataclass(frozen=True)
class Crash:
    """What should not have been; `place` is the same for all that have the same cause."""

    place: str
    what: str


@dataclass(frozen=True, eq=False)
class Target:
    """A parser under the name `name`; `run` may return, or raise one of `errors`.

    `read_seeds` gives good inputs, JSON where `is_json`: then values change, else bytes.
    """

    name: str
    run: Callable[[bytes], object]
    read_seeds: Callable[[], Sequence[bytes]]
    errors: tuple[type[Exception], ...] = (ImageGenerationError,)
    is_json: bool = True

    @cached_property
    def seeds(self) -> Sequence[bytes]:
        """The good inputs, read once."""
        return self.read_seeds()

    def input_of(self, recipe: bytes) -> bytes:
        """The input that the choices in `recipe` make of a good one; without any, the first one."""
        choices = Choices(recipe)
        seed = self.seeds[choices.below(len(self.seeds))]
        return (mutated_json if self.is_json else mutated_bytes)(seed, choices)

    def crash_of(self, data: bytes) -> Crash | None:
        """Runs the parser; None when it ends as it may."""
        try:
            self.run(data)
        except NotJson:
            return None
        except self.errors as error:
            return _wrong_message(error)
        except Exception as error:  # noqa: BLE001 - finding any other one is what this is for
            return Crash(_place_of(error), _told(error))
        return None


def _wrong_message(error: BaseException) -> Crash | None:
    """An error that says nothing, or tells a key, is none that may be raised."""
    if not str(error).strip():
        return Crash(f"{_place_of(error)} without a message", _told(error))
    if any(SECRET in str(told) for told in _chain(error)):
        return Crash(f"{_place_of(error)} with a key in its message", type(error).__name__)
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error and all that a traceback shows with it."""
    while error is not None:
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _place_of(error: BaseException) -> str:
    """The error's type, and the last line of the library that it went through."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if _is_ours(frame.filename)] or list(frames)
    if isinstance(error, RecursionError):  # where it struck is chance
        ours = ours[:4]
    last = ours[-1]
    return f"{type(error).__name__} in {Path(last.filename).name}, {last.name}"


def _is_ours(filename: str) -> bool:
    path = Path(filename)
    return (
        ROOT in path.parents
        and "tests" not in path.relative_to(ROOT).parts
        and ".venv" not in path.parts
    )


def _told(error: BaseException) -> str:
    lines = "".join(traceback.format_exception(error)).splitlines()
    shown = lines if len(lines) <= 40 else [*lines[:20], "...", *lines[-20:]]
    return "\n".join(line[:300] for line in shown)


def as_json(*documents: Any) -> list[bytes]:
    """Good inputs of a target whose inputs are JSON."""
    return [json.dumps(document).encode("ascii") for document in documents]


def parsed(data: bytes) -> Any:
    """The JSON of an input; raises NotJson, which is no crash of what takes parsed JSON."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise NotJson from error
