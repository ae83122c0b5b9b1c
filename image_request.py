"""The request: what a caller asks for, and how a generation reports its progress.

Owns the fields, their checks, and what tells a given value from a default. Others take these names
from `image_provider.py`. Standard library only.
"""

from __future__ import annotations

import json
import operator
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from enum import Enum
from math import inf, isfinite
from typing import Any, TypeVar

_Number = TypeVar("_Number", int, float)

SOURCE_KEY = "source_image"
"""Key of `extra` for the picture to start from, as bytes or a Pillow image."""
MASK_KEY = "mask_image"
"""Key of `extra` for the mask, likewise."""

MAX_SEED = 2**64 - 1
"""The largest seed; ComfyUI's samplers take 64 bits, unsigned (nodes.py, KSampler)."""


class ImageStyle(Enum):
    """The kinds of picture that a style template and the routing know."""

    FAST_DRAFT = "fast_draft"
    PHOTOREAL = "photoreal"
    BRAND_LAYOUT = "brand_layout"
    PORTRAIT = "portrait"
    PRODUCT = "product"
    LOGO_TEXT = "logo_text"
    ARTISTIC = "artistic"
    CINEMATIC = "cinematic"

    @classmethod
    def parse(cls, value: ImageStyle | str | None) -> ImageStyle | None:
        """A style from its name, in any case; raises ValueError with the names there are."""
        if value is None or isinstance(value, ImageStyle):
            return value
        if not isinstance(value, str):
            raise TypeError(f"style must be a str or an ImageStyle, not {type(value).__name__}")
        try:
            return cls(value.strip().lower())
        except ValueError:
            names = ", ".join(style.value for style in cls)
            raise ValueError(f"unknown style {value!r}; there are: {names}") from None


class DefaultSize(int):
    """A width or height that nobody gave: equals its number and can be told from a given one."""


DEFAULT_SIZE = DefaultSize(1024)


@dataclass
class ProgressUpdate:
    """What a running generation reports; `fraction` runs from 0.0 to 1.0 and never falls."""

    stage: str = "queued"
    fraction: float = 0.0
    queue_position: int | None = None
    node_id: str | None = None
    node_title: str | None = None
    class_type: str | None = None
    step: int | None = None
    total_steps: int | None = None
    eta_seconds: float | None = None
    preview: bytes | None = field(default=None, repr=False)


ProgressCallback = Callable[[ProgressUpdate], object]


@dataclass
class ImageGenerationRequest:
    """One request for pictures.

    None means "as the workflow or the provider has it". Width and height are pixels; their default
    equals 1024 but counts as not given (see `explicit_size`). Raises TypeError or ValueError for
    values that no provider could take.
    """

    prompt: str
    negative_prompt: str | None = None
    width: int = DEFAULT_SIZE
    height: int = DEFAULT_SIZE
    seed: int | None = None
    steps: int | None = None
    guidance_scale: float | None = None
    style: ImageStyle | None = None
    source_image_url: str | None = None
    mask_image_url: str | None = None
    strength: float | None = None
    num_images: int = 1
    provider: str | None = None
    model: str | None = None
    workflow: str | None = None
    loras: Sequence[tuple[str, float]] = ()
    extra: dict[str, Any] = field(default_factory=dict)
    on_progress: ProgressCallback | None = field(default=None, compare=False, repr=False)
    from_template: frozenset[str] = field(default=frozenset(), compare=False, repr=False)
    """The fields that a style template filled: when one finds no place, nobody is warned."""
    style_name: str | None = None
    """A style of the user's own, from the file of style templates; `style` is what it is like."""

    def __post_init__(self) -> None:
        if not isinstance(self.prompt, str):
            raise _wrong_type("prompt", "a str", self.prompt)
        for name in ("source_image_url", "mask_image_url"):
            if isinstance(reference := getattr(self, name), os.PathLike):
                setattr(self, name, os.fspath(reference))
        for name in _TEXTS:
            if not isinstance(text := getattr(self, name), (str, type(None))):
                raise _wrong_type(name, "a str or None", text)
        if self.workflow == "":
            raise ValueError("workflow must be the name of a workflow file, or None")
        for name in ("width", "height", "num_images"):
            setattr(self, name, _whole_number(name, getattr(self, name), 1))
        if self.seed is not None:
            self.seed = _whole_number("seed", self.seed, 0, MAX_SEED)
        if self.steps is not None:
            self.steps = _whole_number("steps", self.steps, 1)
        if self.guidance_scale is not None:
            self.guidance_scale = _number("guidance_scale", self.guidance_scale)
        if self.strength is not None:
            self.strength = _within("strength", _number("strength", self.strength), 0.0, 1.0)
        self.style = ImageStyle.parse(self.style)
        self.loras = _lora_pairs(self.loras)
        if not isinstance(self.extra, Mapping) or not all(isinstance(k, str) for k in self.extra):
            raise _wrong_type("extra", "a dict with str keys", self.extra)
        self.extra = dict(self.extra)
        if not (self.on_progress is None or callable(self.on_progress)):
            raise _wrong_type("on_progress", "callable", self.on_progress)

    @property
    def explicit_size(self) -> tuple[int | None, int | None]:
        """(width, height) in pixels as the caller gave them; None for one that was not given."""
        width, height = (
            None if isinstance(side, DefaultSize) else side for side in (self.width, self.height)
        )
        return width, height

    @property
    def source_image(self) -> object | None:
        """The picture to start from: what `extra["source_image"]` holds, else the reference."""
        given = self.extra.get(SOURCE_KEY)
        return self.source_image_url if given is None else given

    @property
    def mask_image(self) -> object | None:
        """The mask, white where the picture may change: from `extra["mask_image"]` likewise."""
        given = self.extra.get(MASK_KEY)
        return self.mask_image_url if given is None else given

    @property
    def node_inputs(self) -> dict[str, Any]:
        """What `extra` holds for the nodes of a workflow: all but the pictures."""
        return {k: v for k, v in self.extra.items() if k not in (SOURCE_KEY, MASK_KEY)}

    def to_plain(self) -> dict[str, Any]:
        """The fields that were given, as JSON can hold them; pictures in `extra` are left out."""
        plain = {}
        for item in fields(self):
            value = getattr(self, item.name)
            if item.name == "extra":
                value = {key: entry for key, entry in value.items() if _is_plain(entry)}
            if item.name not in _NOT_PLAIN and not _is_open(value):
                plain[item.name] = value.value if isinstance(value, Enum) else value
        return plain

    def __copy__(self) -> ImageGenerationRequest:
        return replace(self)  # the default way takes the state of a pickle

    def __getstate__(self) -> dict[str, Any]:
        # A callback belongs to the process that gave it, and is often a lambda.
        return {**self.__dict__, "on_progress": None}


_NOT_PLAIN = frozenset({"on_progress", "from_template"})
_TEXTS = (
    *("negative_prompt", "source_image_url", "mask_image_url"),
    *("provider", "model", "workflow", "style_name"),
)


def _wrong_type(name: str, expected: str, value: object) -> TypeError:
    return TypeError(f"{name} must be {expected}, not {type(value).__name__}")


def _within(name: str, number: _Number, low: float, high: float | None) -> _Number:
    if number < low or (high is not None and number > high):
        allowed = f"{low} or more" if high is None else f"between {low} and {high}"
        raise ValueError(f"{name} must be {allowed}, not {number}")
    return number


def _whole_number(name: str, value: Any, low: int, high: int | None = None) -> int:
    if isinstance(value, DefaultSize):
        return value
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise _wrong_type(name, "a whole number", value)
    return _within(name, operator.index(value), low, high)


def _number(name: str, value: Any) -> float:
    if isinstance(value, (bool, str)) or not hasattr(value, "__float__"):
        raise _wrong_type(name, "a number", value)
    try:
        number = float(value)
    except OverflowError:
        number = inf
    if not isfinite(number):
        raise ValueError(f"{name} must be a finite number, not {number}")
    return number


def _lora_pairs(loras: object) -> tuple[tuple[str, float], ...]:
    pairs = []
    for entry in loras if isinstance(loras, (list, tuple)) else (loras,):
        if not (isinstance(entry, (list, tuple)) and len(entry) == 2 and isinstance(entry[0], str)):
            raise _wrong_type("loras", "a list of (name, strength) pairs", entry)
        pairs.append((entry[0], _number("the strength of a LoRA", entry[1])))
    return tuple(pairs)


def _is_open(value: object) -> bool:
    """True for what leaves the choice to the workflow or the provider."""
    return value is None or isinstance(value, DefaultSize) or value in ((), {})


def _is_plain(value: object) -> bool:
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return False
    return True
