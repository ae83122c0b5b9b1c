"""The tables of hosted providers and models in README and documentation, from the capabilities.

`python -m hosted_providers.table` prints the README's; a test holds the README to it. Owns their
words.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from hosted_providers import black_forest_labs, fal, openai, replicate, together
from hosted_providers.capabilities import MaskForm, Model
from hosted_providers.common import Vendor
from hosted_providers.sizes import AspectRatios, FixedSizes, PixelSizes, SizeRule

VENDORS = (
    openai.VENDOR,
    black_forest_labs.VENDOR,
    fal.VENDOR,
    together.VENDOR,
    replicate.VENDOR,
)
_PARAMETERS = ("seed", "steps", "guidance_scale", "negative_prompt", "strength")
_TASKS = {"text": "", "strength": "`strength`: ", "mask": "masks: "}


def markdown() -> str:
    """The table of providers."""
    return table(_provider_heads(), map(_provider_cells, VENDORS))


def models_of(vendor: Vendor) -> str:
    """The table of what a vendor's models take, one row for those that take the same."""
    return table(_model_heads(), _all_model_cells(vendor))


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown; cells hold no line ends and no bars."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _provider_heads() -> Sequence[str]:
    return "name", "key", "own URL", "model, when none is named", "image-to-image", "masks", "seed"


def _provider_cells(vendor: Vendor) -> Sequence[str]:
    models = vendor.catalog.models
    used = "; ".join(
        f"{_TASKS[task]}{_short(name)}" for task, name in vendor.catalog.defaults().items()
    )
    has = {name: any(model.takes(name) for model in models) for name in ("source", "mask", "seed")}
    return (
        f"`{vendor.name}`",
        f"`{vendor.key_setting}`",
        f"`{vendor.url_setting}`",
        used,
        *("yes" if has[name] else "–" for name in has),
    )


def _model_heads() -> Sequence[str]:
    return "models", "pictures a call", "size", "takes", "in `extra`", "shutdown"


def _all_model_cells(vendor: Vendor) -> Iterator[Sequence[str]]:
    for cells, models in groupby(vendor.catalog.models, _model_cells):
        yield ", ".join(_short(model.id) for model in models), *cells


def _model_cells(model: Model) -> Sequence[str]:
    options = ", ".join(f"`{name}`" for name in model.options)
    return (
        str(model.images_per_call),
        _size(model.sizes),
        ", ".join(_taken(model)) or "–",
        options or "–",
        model.shutdown or "–",
    )


def _taken(model: Model) -> Iterator[str]:
    if model.takes("source"):
        yield "a source (needed)" if model.needs_source else "a source"
    elif model.edit_model is not None:
        yield f"a source, as {_short(model.edit_model)}"
    if model.takes("mask"):
        transparent = model.mask_form is MaskForm.TRANSPARENT
        yield f"a mask{' (sent as transparency)' if transparent else ''}"
    for name in _PARAMETERS:
        if model.takes(name):
            limits = model.ranges.get(name)
            yield f"`{name}`{f' {limits.low:g}–{limits.high:g}' if limits else ''}"
    if model.takes("format") or "output_format" in model.options:
        yield "/".join(model.formats)


def _size(rule: SizeRule) -> str:
    match rule:
        case PixelSizes():
            return f"{rule.min_side}–{rule.max_side}, multiples of {rule.multiple}{_area(rule)}"
        case FixedSizes():
            return ", ".join(f"{width}×{height}" for width, height in rule.sizes)
        case AspectRatios():
            return f"nearest of {len(rule.names)} shapes"
    return "that of the source"


def _area(rule: PixelSizes) -> str:
    return f", up to {rule.max_pixels / 1e6:.1f} MP" if rule.max_pixels < 2**31 else ""


def _short(model_id: str) -> str:
    """The id without the maker's name that all of a vendor's have."""
    return model_id.removeprefix("black-forest-labs/").removeprefix("fal-ai/")


if __name__ == "__main__":
    sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
    print(markdown())
