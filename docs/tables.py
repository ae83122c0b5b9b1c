"""The tables of the documentation that the code itself holds, in Markdown.

Owns how they look and the words of their heads; what stands in them is read from the code and from
env.example at every build. Pure but for that file. `fill` puts them into a page.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import NamedTuple

from comfyui.claims import PARAMETERS, TITLES
from comfyui.node_roles import MASK_LOADERS, MODEL_FILES, NEGATIVE_PROMPT, PICTURE_LOADERS
from comfyui.node_roles import TEXT_INPUTS as TEXTS
from comfyui.placeholders import PLACEHOLDERS
from comfyui.tracing import CFG_INPUTS, SEED_INPUTS
from hosted_providers.table import VENDORS, markdown, models_of, table
from image_errors import ERROR_CLASSES, ImageGenerationError
from image_provider_router import FALLBACK_ERROR_TYPES
from style_templates import STYLE_TEMPLATES

ENV_EXAMPLE = Path(__file__).resolve().parent.parent / "env.example"

_MARK = re.compile(r"^<!-- table: (\w+) -->$", re.MULTILINE)
_SETTING = re.compile(r"#?(?P<name>[A-Z][A-Z0-9_]+)=(?P<value>.*)")


class Place(NamedTuple):
    """Where the links lead for a parameter: to which nodes, and to which of their inputs."""

    nodes: str
    inputs: tuple[str, ...]


PLACES: Mapping[str, Place] = {
    "prompt": Place("the text encoder behind `positive`", TEXTS),
    "negative_prompt": Place("the text encoder behind `negative`", (*TEXTS, NEGATIVE_PROMPT)),
    "model": Place("the loader behind the sampler's `model`", MODEL_FILES),
    "seed": Place("every sampler that adds noise, or its noise node", SEED_INPUTS),
    "steps": Place("every sampler, or the scheduler of its sigmas", ("steps",)),
    "guidance_scale": Place(
        "a guidance node on the way to `positive`, else the sampler or its guider",
        ("guidance", *CFG_INPUTS),
    ),
    "strength": Place("the samplers that start from a picture, or their scheduler", ("denoise",)),
    "width": Place("the node that makes the empty latent", ("width", "empty_latent_width")),
    "height": Place("the node that makes the empty latent", ("height", "empty_latent_height")),
    "source_image_url": Place(
        "the loader of the picture that the sampler starts from",
        tuple(dict.fromkeys(PICTURE_LOADERS.values())),
    ),
    "mask_image_url": Place(
        "the loader of the mask, or the source's own file",
        tuple(dict.fromkeys(MASK_LOADERS.values())),
    ),
}
"""The nodes in words, the inputs as the binding knows them."""


def fill(page: str) -> str:
    """The page with its tables; raises KeyError for a table that there is none of."""
    return _MARK.sub(lambda mark: TABLES[mark[1]](), page)


def parameters() -> str:
    """Where each field of a request goes in a workflow."""
    heads = "field of the request", "goes to", "input", "title of a node", "placeholder"
    words = {parameter: word for word, parameter in PLACEHOLDERS.items()}
    rows = (
        (
            f"`{parameter}`",
            PLACES[parameter].nodes,
            _codes(PLACES[parameter].inputs),
            _titles(parameter),
            f"`%{words[parameter]}%`" if parameter in words else "–",
        )
        for parameter in PARAMETERS
    )
    return table(heads, rows)


def _titles(parameter: str) -> str:
    telling = TITLES.get(parameter)
    if telling is None:
        return "–"
    certain = ", ".join(title.capitalize() for title in telling.titles)
    hints = ", ".join(title.capitalize() for title in telling.hints)
    return "; ".join(part for part in (certain, f"({hints})" if hints else "") if part)


def errors() -> str:
    """The error tree, and whether another provider is asked."""
    heads = "`error_type`", "what happened", "exception, and what it carries", "fallback"
    common = {field.name for field in fields(ImageGenerationError)}
    rows = []
    for word, error_class in ERROR_CLASSES.items():
        own = [field.name for field in fields(error_class) if field.name not in common]
        falls_back = "yes" if word in FALLBACK_ERROR_TYPES else "no"
        carried = f": {_codes(own)}" if own else ""
        exception = f"`{error_class.__name__}`{carried}"
        rows.append((f"`{word}`", _sentence(error_class), exception, falls_back))
    return table(heads, rows)


def _sentence(documented: type) -> str:
    return " ".join((documented.__doc__ or "").split("\n\n")[0].split())


class SettingLine(NamedTuple):
    """A setting as env.example shows it; `value` is its default, or an example of one."""

    section: str
    name: str
    value: str
    is_set: bool
    meaning: str


def setting_lines(text: str) -> Iterator[SettingLine]:
    """The settings of env.example, with the comments above each."""
    section, comments = "", list[str]()
    for line in text.splitlines():
        setting = _SETTING.fullmatch(line)
        if setting is not None:
            is_set = not line.startswith("#")
            yield SettingLine(
                section, setting["name"], setting["value"], is_set, " ".join(comments)
            )
            comments = []
        elif line.startswith("# --- "):
            section, comments = line.strip("# -"), []
        elif line.startswith("# "):
            comments.append(line[2:])
        else:
            comments = []


def settings() -> str:
    """Every setting, its default and its meaning, by section."""
    sections: dict[str, list[tuple[str, str, str]]] = {}
    for line in setting_lines(ENV_EXAMPLE.read_text("utf-8")):
        default = f"`{line.value}`" if line.is_set else "unset"
        meaning = line.meaning
        if not line.is_set and line.value:
            meaning = f"{meaning} For example `{line.value}`."
        sections.setdefault(line.section, []).append((f"`{line.name}`", default, meaning))
    heads = "setting", "default", "meaning"
    return "\n\n".join(
        f"## {section}\n\n{table(heads, rows)}" for section, rows in sections.items()
    )


def styles() -> str:
    """What each style adds to a request."""
    rows = (
        (
            f"`{style.value}`",
            template.prompt.replace("{prompt}", "*your words*"),
            template.negative_prompt or "–",
            "×".join(map(str, template.size)) if template.size else "–",
        )
        for style, template in STYLE_TEMPLATES.items()
    )
    return table(("style", "prompt", "negative prompt", "size"), rows)


def models() -> str:
    """What each hosted model takes, a table for each vendor."""
    return "\n\n".join(
        f"## {vendor.title}: `{vendor.name}`\n\n{models_of(vendor)}" for vendor in VENDORS
    )


def _codes(names: list[str] | tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in names)


TABLES: Mapping[str, Callable[[], str]] = {
    make.__name__: make for make in (parameters, errors, settings, styles, models)
} | {"providers": markdown}
