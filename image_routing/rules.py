"""The routing file: which provider serves which style and feature, and who stands in for whom.

Owns its shape, its defaults, what is said when it is broken, and the order of its entries for a
request. Knows no provider; names are only checked to be names.

    {"default_provider": "comfyui",
     "style_routing": {"cinematic": {"provider": "comfyui", "workflow": "t2i_flux.json"}},
     "feature_routing": {"inpainting": {"provider": "comfyui", "required": true}},
     "fallback_chain": ["comfyui", "flux", "openai"],
     "comfyui": {"provider": "comfyui", "workflow": "t2i_flux.json", "priority": 2}}
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from image_provider import FEATURES, ConfigurationError, ImageGenerationRequest, ImageStyle

DEFAULT_RULES: dict[str, Any] = {
    "default_provider": "comfyui",
    "style_routing": {},
    "feature_routing": {},
    "fallback_chain": ["comfyui", "flux", "openai"],
}
_REMEDY = "correct it, or move it away to route by the defaults"
_SECTIONS = frozenset(DEFAULT_RULES)
_ENTRY_TYPES: Mapping[str, type] = {
    "provider": str,
    "workflow": str,
    "model": str,
    "priority": int,
    "required": bool,
    "features": list,
}


@dataclass(frozen=True)
class Route:
    """One entry: a provider, and the model and workflow to use there.

    Of several entries that fit, the one with the lowest `priority` goes first, those without last.
    """

    provider: str
    workflow: str | None = None
    model: str | None = None
    priority: int | None = None
    required: bool = False
    features: tuple[str, ...] | None = None

    def over(self, own: Route) -> Route:
        """This entry, with what it leaves open taken from the provider's own entry."""
        return Route(
            own.provider,
            self.workflow or own.workflow,
            self.model or own.model,
            own.priority if self.priority is None else self.priority,
            self.required,
            own.features if self.features is None else self.features,
        )


@dataclass(frozen=True)
class RoutingRules:
    """The routing file, read."""

    default_provider: str
    styles: Mapping[str, Route]
    features: Mapping[str, Route]
    fallback_chain: tuple[str, ...]
    providers: Mapping[str, Route]

    def needs(self, request: ImageGenerationRequest) -> list[str]:
        """The features without which a provider is not asked."""
        needs = [word for word, makes_no_sense_without in _uses(request) if makes_no_sense_without]
        for word, _ in _uses(request):
            if word not in needs and word in self.features and self.features[word].required:
                needs.append(word)
        return needs

    def routes(
        self, request: ImageGenerationRequest, real_name: Callable[[str], str]
    ) -> Iterator[Route]:
        """The entries that fit a request, first to last; `real_name` knows what an alias means.

        What an entry leaves open is taken from the entry of what it names, and so on.
        """

        def whole(entry: Route) -> Route:
            seen = set()
            while entry.provider not in seen:
                name = entry.provider
                seen.add(name)
                if name in self.providers:
                    entry = entry.over(self.providers[name])
                if entry.provider == name:
                    entry = replace(entry, provider=real_name(name))
            return entry

        if request.provider is not None:
            yield whole(Route(request.provider))
            return
        used = (self.features[word] for word, _ in _uses(request) if word in self.features)
        yield from sorted(map(whole, used), key=_priority)
        for style in (request.style_name, request.style and request.style.value):
            if style is not None and style in self.styles:
                yield whole(self.styles[style])
        for name in (self.default_provider, *self.fallback_chain):
            yield whole(Route(name))


def _priority(route: Route) -> float:
    return float("inf") if route.priority is None else route.priority


def _uses(request: ImageGenerationRequest) -> Iterator[tuple[str, bool]]:
    """The features that a request uses, and whether it makes no sense without each."""
    if request.mask_image is not None:
        yield "inpainting", True
    elif request.source_image is not None:
        yield "img2img", True
    if request.workflow is not None:
        yield "custom_nodes", True
    elif (request.loras and "loras" not in request.from_template) or request.node_inputs:
        yield "custom_nodes", False
    if request.negative_prompt and "negative_prompt" not in request.from_template:
        yield "negative_prompts", False
    if request.seed is not None:
        yield "seeds", False


def save_rules(data: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Writes rules as `load_rules` reads them; the file is the old or the new one, never half."""
    file = Path(path)
    draft = file.with_name(f"{file.name}.{uuid.uuid4().hex}.tmp")
    try:
        draft.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
        os.replace(draft, file)
    except OSError as error:
        with suppress(OSError):
            draft.unlink()
        reason = error.strerror or type(error).__name__
        raise ConfigurationError(f"routing file {file.name} cannot be written: {reason}") from error


def load_rules(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The file's rules as plain data, with the defaults for what it leaves out.

    Without a file there are the defaults; a broken one is a ConfigurationError with the place.
    """
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return deepcopy(DEFAULT_RULES)
    except UnicodeDecodeError as error:
        raise ConfigurationError(
            f"routing file {file.name} is no UTF-8 text; save it as UTF-8"
        ) from error
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ConfigurationError(
            f"routing file {file.name} cannot be read: {reason}; {_REMEDY}"
        ) from error
    data = _parsed(text, file.name)
    if not isinstance(data, dict):
        raise ConfigurationError(f"routing file {file.name} must hold a JSON object; {_REMEDY}")
    return {**deepcopy(DEFAULT_RULES), **data}


def _parsed(text: str, file: str) -> Any:
    def each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        entries: dict[str, Any] = {}
        for key, value in pairs:
            if key in entries:
                raise ConfigurationError(
                    f"routing file {file} has {key!r} twice in one object; keep one of them"
                )
            entries[key] = value
        return entries

    try:
        return json.loads(text, object_pairs_hook=each_once)
    except json.JSONDecodeError as error:
        raise ConfigurationError(
            f"routing file {file}, line {error.lineno}, column {error.colno}: {error.msg}; "
            f"{_REMEDY}"
        ) from error
    except ValueError as error:  # Python reads no number of thousands of digits
        raise ConfigurationError(
            f"routing file {file} has a number that is too long; {_REMEDY}"
        ) from error
    except RecursionError as error:
        raise ConfigurationError(f"routing file {file} is nested too deeply; {_REMEDY}") from error


def parse_rules(data: Mapping[str, Any], file: str, own_styles: Iterable[str] = ()) -> RoutingRules:
    """The rules of plain data; raises ConfigurationError naming file and key.

    `own_styles` are names of styles beside the built-in ones. The data may be changed by another
    thread meanwhile.
    """
    reader = _Reader(file)
    data = dict(data)
    default = data.get("default_provider")
    if not isinstance(default, str):
        raise reader.wrong("default_provider", "must be a provider's name")
    chain = data.get("fallback_chain")
    if not isinstance(chain, list) or not all(isinstance(name, str) for name in chain):
        raise reader.wrong("fallback_chain", "must be a list of providers' names")
    words = {style.value for style in ImageStyle}.union(own_styles)
    styles = reader.section(data, "style_routing", words)
    features = reader.section(data, "feature_routing", set(FEATURES))
    own = {
        key: reader.route(key, {"provider": key, **reader.mapping(key, value)})
        for key, value in data.items()
        if key not in _SECTIONS
    }
    return RoutingRules(default, styles, features, tuple(chain), own)


class _Reader:
    def __init__(self, file: str) -> None:
        self._file = file

    def wrong(self, key: str, why: str) -> ConfigurationError:
        return ConfigurationError(f"routing file {self._file}, {key}: {why}")

    def mapping(self, key: str, value: object) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise self.wrong(key, 'must be an object such as {"provider": "comfyui"}')
        return dict(value)

    def section(self, data: Mapping[str, Any], name: str, words: set[str]) -> dict[str, Route]:
        entries = self.mapping(name, data.get(name))
        for word in entries:
            if word not in words:
                raise self.wrong(
                    f"{name}.{word}", f"is unknown; there are: {', '.join(sorted(words))}"
                )
        return {word: self.route(f"{name}.{word}", entry) for word, entry in entries.items()}

    def route(self, key: str, entry: object) -> Route:
        values = {k: v for k, v in self.mapping(key, entry).items() if v is not None}
        for name, value in values.items():
            expected = _ENTRY_TYPES.get(name)
            if expected is None:
                raise self.wrong(
                    f"{key}.{name}", f"is unknown; there are: {', '.join(_ENTRY_TYPES)}"
                )
            if not isinstance(value, expected) or (expected is int and isinstance(value, bool)):
                raise self.wrong(f"{key}.{name}", f"must be of type {expected.__name__}")
        if "provider" not in values:
            raise self.wrong(key, "names no provider")
        words = values.pop("features", None)
        return Route(**values, features=None if words is None else self._words(key, words))

    def _words(self, key: str, words: list[object]) -> tuple[str, ...]:
        for word in words:
            if word not in FEATURES:
                raise self.wrong(f"{key}.features", f"{word!r} is none of: {', '.join(FEATURES)}")
        return tuple(str(word) for word in words)
