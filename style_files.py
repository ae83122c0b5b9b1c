"""The user's file of style templates, TOML or JSON: read, and told of when it is broken.

Owns its form, and that all that is wrong with it is said at once. Knows no provider and no setting.

    [cinematic]                                # parts of a built-in style
    negative_prompt = "cartoon"
    steps = 30

    ["ink wash"]                               # a style of the user's own
    like = "artistic"                          # what is left out here, and for providers
    prompt = "{prompt}, ink wash on rice paper"
    size = [832, 1216]
    loras = [["ink.safetensors", 0.8]]
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from image_provider import ConfigurationError, ImageGenerationRequest, ImageStyle
from style_templates import PLACE, STYLE_TEMPLATES, Styles, StyleTemplate

_PARAMETERS = ("steps", "guidance_scale", "strength", "loras")
_KEYS = ("prompt", "negative_prompt", "size", *_PARAMETERS)
_BUILT_IN = {style.value: template for style, template in STYLE_TEMPLATES.items()}
_LONGEST_NAME = 60
_REMEDY = "correct IMAGE_STYLE_TEMPLATES, or leave it unset"


def load_styles(path: str | os.PathLike[str] | None) -> Styles:
    """The styles with those of a file; the built-in ones where `path` is None.

    Raises ConfigurationError naming the file and everything that is wrong with it.
    """
    if path is None:
        return Styles()
    file = Path(path)
    return Styles(read_templates(_read(file), file.name))


def read_templates(document: object, file: str) -> dict[str, StyleTemplate]:
    """The templates of plain data by their names; raises ConfigurationError with all problems."""
    if not isinstance(document, Mapping):
        raise _broken(file, 'it must hold an object such as {"my style": {"prompt": "{prompt}"}}')
    reader = _Reader()
    # The built-in ones first: a style of the user's own may be like one of them.
    for name in sorted(document, key=lambda name: name not in _BUILT_IN):
        reader.read(name, document[name])
    if reader.problems:
        raise _broken(file, "; ".join(reader.problems))
    return reader.templates


def _broken(file: str, why: str) -> ConfigurationError:
    return ConfigurationError(f"style templates {file}: {why}")


# The file


def _read(file: Path) -> object:
    parse = {".toml": _toml, ".json": _json}.get(file.suffix.lower())
    if parse is None:
        raise _broken(file.name, "its name must end in .toml or .json; rename it")
    try:
        text = file.read_text(encoding="utf-8-sig")  # editors on Windows write a byte order mark
    except FileNotFoundError as error:
        raise _broken(file.name, f"there is no such file ({file}); {_REMEDY}") from error
    except UnicodeDecodeError as error:
        raise _broken(file.name, "it is no UTF-8 text; save it as UTF-8") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise _broken(file.name, f"it cannot be read ({reason}); {_REMEDY}") from error
    return _parsed(parse, text, file.name)


def _parsed(parse: Callable[[str], object], text: str, name: str) -> object:
    try:
        return parse(text)
    except RecursionError as error:
        raise _broken(name, "it is nested too deeply; a style is one table") from error
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise _broken(name, f"{where}: {error.msg}; mend that place") from error
    except ValueError as error:  # of TOML with its place, of JSON a key or a number
        raise _broken(name, f"{error}; mend that place") from error


def _toml(text: str) -> object:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    return tomllib.loads(text)


def _json(text: str) -> object:
    return json.loads(text, object_pairs_hook=_without_duplicates)


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    parsed: dict[str, Any] = {}
    for key, value in pairs:
        if key in parsed:
            raise ValueError(f"the key {key!r} is there twice")
        parsed[key] = value
    return parsed


# The templates


class _Reader:
    """Reads one style after another, and collects what is wrong."""

    def __init__(self) -> None:
        self.templates: dict[str, StyleTemplate] = {}
        self.problems: list[str] = []

    def read(self, name: object, entry: object) -> None:
        """Adds a style, or what is wrong with it."""
        problem = self._wrong_name(name)
        if problem is None and not isinstance(entry, Mapping):
            problem = f'must be a table of its own, such as prompt = "{PLACE}, film still"'
        if problem is not None:
            self.problems.append(f"{_shown(name)}: {problem}")
            return
        assert isinstance(name, str) and isinstance(entry, Mapping)
        before = len(self.problems)
        template = self._base(name, entry)
        for key, value in entry.items():
            if key != "like":
                template = self._with(template, name, key, value)
        if len(self.problems) == before:
            self.templates[name] = template

    def _wrong_name(self, name: object) -> str | None:
        if not isinstance(name, str) or not name.strip() or name != name.strip():
            return "a style's name must be a text without blanks around it"
        if len(name) > _LONGEST_NAME or not name.isprintable():
            return f"a style's name has at most {_LONGEST_NAME} characters, all of them printable"
        if name not in _BUILT_IN and name.lower() in _BUILT_IN:
            return f"write {name.lower()!r}, as the built-in style is called"
        if name.lower() in map(str.lower, self.templates):
            return "another style has this name, in capitals or small letters"
        return None

    def _base(self, name: str, entry: Mapping[str, Any]) -> StyleTemplate:
        """What holds for all that a style leaves out."""
        if name in _BUILT_IN:
            if "like" in entry:
                self.problems.append(f"{name}.like: is for styles of your own; remove it")
            return _BUILT_IN[name]
        like = entry.get("like")
        if like is None:
            return StyleTemplate()
        if not isinstance(like, str) or like not in _BUILT_IN:
            known = ", ".join(_BUILT_IN)
            self.problems.append(f"{_place(name, 'like')}: must be one of {known}")
            return StyleTemplate()
        base = self.templates.get(like, _BUILT_IN[like])
        return replace(base, like=ImageStyle(like))

    def _with(self, template: StyleTemplate, name: str, key: object, value: Any) -> StyleTemplate:
        """The template with one part more; as it is, with a problem noted, for a wrong one."""
        try:
            return _with_part(template, key, value)
        except (TypeError, ValueError) as error:
            self.problems.append(f"{_place(name, key)}: {error}")
            return template


def _with_part(template: StyleTemplate, key: object, value: Any) -> StyleTemplate:
    """Raises TypeError or ValueError, saying why, for a part that no template has."""
    if key == "prompt":
        return replace(template, prompt=_prompt(value))
    if key == "negative_prompt":
        return replace(template, negative_prompt=_field("negative_prompt", value))
    if key == "size":
        return replace(template, size=_size(value))
    if key in _PARAMETERS:
        others = {name: kept for name, kept in template.parameters.items() if name != key}
        added = {} if value is None else {str(key): _field(str(key), value)}
        return replace(template, parameters={**others, **added})
    raise ValueError(f"is unknown; there are: {', '.join((*_KEYS, 'like'))}")


def _prompt(value: object) -> str:
    if value is None:
        return PLACE
    if not isinstance(value, str):
        raise TypeError(f"must be a text, not {type(value).__name__}")
    if PLACE not in value:
        raise ValueError(f"must hold {PLACE}, where the prompt of a request goes")
    return value


def _size(value: object) -> tuple[int, int] | None:
    if value is None:
        return None
    if not isinstance(value, list) or len(value) != 2:
        raise TypeError("must be [width, height] in pixels, such as [1344, 768]")
    return _field("width", value[0]), _field("height", value[1])


def _field(name: str, value: Any) -> Any:
    """A value as a request takes it, by the request's own checks."""
    return getattr(ImageGenerationRequest("", **{name: value}), name)


def _place(name: str, key: object) -> str:
    return f"{_shown(name)}.{key}"


def _shown(name: object) -> str:
    """A name on one line, as it may be looked for in the file."""
    text = str(name)
    return text if text.replace("_", "").isalnum() else json.dumps(text, ensure_ascii=False)
