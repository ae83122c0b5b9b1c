"""How the capability table is written: what one hosted model takes, and how a model is found.

Owns `Model`, `Catalog` and their look-ups; the modules beside it hold the table. Pure data.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, NamedTuple

from hosted_providers.sizes import PixelSizes, SizeRule

# More than any of the models paints. As a PNG file it stays below 50 MB, the limit of OpenAI; the
# others but Black Forest Labs tell none.
_ANY_PICTURE = PixelSizes(1, 1, 16_384, max_pixels=16_000_000, max_ratio=16_384.0)


class MaskForm(Enum):
    """How the vendor wants "may change" written; the library's own form is white."""

    WHITE = "white pixels change"
    TRANSPARENT = "transparent pixels change"


class Range(NamedTuple):
    """The least and the greatest value that a parameter may have."""

    low: float
    high: float

    def nearest(self, value: float) -> float:
        """The value, or the limit that it is beyond; a whole number stays one."""
        limit = self.low if value < self.low else self.high
        if self.low <= value <= self.high:
            return value
        return int(limit) if isinstance(value, int) else limit


@dataclass(frozen=True)
class Model:
    """One model id and what it takes.

    `fields`: request parameter → the vendor's field; a name that ends in [] is a list of one.
    The parameters are seed, steps, guidance_scale, negative_prompt, strength, source, mask, count
    (pictures a call) and format. `ranges` are limits of steps and guidance_scale where the vendor
    tells them, `longest_prompt` characters. `options` are the vendor's own fields that a request's
    `extra` may set, with the values they may have; none listed means any. `seeded` is sent when a
    seed is; `constants` always. `edit_sizes` holds in place of `sizes` when there is a source
    image; `edit_model` is the id that takes a source image in this one's place. A source image is
    scaled into `inputs`. `shutdown` is the vendor's date, ISO 8601.
    """

    id: str
    sizes: SizeRule
    fields: Mapping[str, str]
    needs_source: bool = False
    needs_mask: bool = False
    images_per_call: int = 1
    mask_form: MaskForm = MaskForm.WHITE
    formats: tuple[str, ...] = ("png", "jpeg")
    ranges: Mapping[str, Range] = field(default_factory=dict)
    longest_prompt: int | None = None
    options: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    constants: Mapping[str, Any] = field(default_factory=dict)
    seeded: Mapping[str, Any] = field(default_factory=dict)
    edit_sizes: SizeRule | None = None
    inputs: PixelSizes = _ANY_PICTURE
    edit_model: str | None = None
    shutdown: str | None = None

    def takes(self, parameter: str) -> bool:
        """True when the model has a field for the request's parameter."""
        return parameter in self.fields


@dataclass(frozen=True)
class Catalog:
    """The models of one vendor and the ids taken when nobody names one.

    `unknown` is what an id takes that resembles no known one; None stands for the model for text.
    """

    models: tuple[Model, ...]
    text: str
    strength: str | None = None
    mask: str | None = None
    unknown: Model | None = None

    def find(self, model_id: str) -> Model:
        """The model of that id; an unknown id gets what the most similar known one takes.

        Similar is the longest known id that the unknown one starts with (a dated snapshot, say).
        """
        known = {model.id: model for model in self.models}
        if model_id in known:
            return known[model_id]
        begun = max((name for name in known if model_id.startswith(name)), key=len, default=None)
        similar = known[begun] if begun else self.unknown or known[self.text]
        if model_id.endswith("/edit") and similar.edit_model is not None:
            similar = known[similar.edit_model]
        # Its own edit model, if it has one, is not known either.
        return replace(similar, id=model_id, edit_model=None)

    def defaults(self) -> dict[str, str]:
        """Task → the id that is taken for it, less the tasks that the model for text serves."""
        named = {"text": self.text, "strength": self.strength, "mask": self.mask}
        return {task: name for task, name in named.items() if name is not None}

    def ids_with(self, parameter: str) -> list[str]:
        """The ids of the models that take the parameter."""
        return [model.id for model in self.models if model.takes(parameter)]
