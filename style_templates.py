"""What a style adds to a request: words around the prompt, a negative prompt, a size, parameters.

Owns the built-in templates, which template a style's name means, and how one is laid over a
request. What the caller gave always stays. Knows no provider: fields that a provider cannot take
are marked as the template's, so that nobody is warned about them. `style_files.py` reads templates
of a user's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from image_provider import DefaultSize, ImageGenerationRequest, ImageStyle

PLACE = "{prompt}"
"""Stands in a template's prompt where the user's own goes."""

_FLAWS = "blurry, low quality, jpeg artifacts, watermark, signature"


@dataclass(frozen=True)
class StyleTemplate:
    """`prompt` holds {prompt}; `size` is (width, height) in pixels for new pictures.

    `parameters` are further request fields that a style sets: steps, guidance_scale, strength
    (where there is a picture to start from), loras. They go before those that a provider has for
    the style (`get_default_parameters`). `like` is the built-in style that providers are told of
    for one of a user's own.
    """

    prompt: str = PLACE
    negative_prompt: str | None = None
    size: tuple[int, int] | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    like: ImageStyle | None = None

    def apply(self, request: ImageGenerationRequest) -> ImageGenerationRequest:
        """The request with what it left open filled in."""
        given = {"negative_prompt": self.negative_prompt, **self.parameters}
        if request.source_image is None:
            given.pop("strength", None)
        filled = {
            name: value
            for name, value in given.items()
            if value not in (None, ()) and getattr(request, name) in (None, ())
        }
        if self.size is not None and _leaves_size_open(request):
            filled |= {"width": self.size[0], "height": self.size[1]}
        return replace(
            request,
            # Not str.format: braces in the user's own text are just text.
            prompt=self.prompt.replace(PLACE, request.prompt),
            from_template=frozenset(request.from_template | filled.keys()),
            **filled,
        )


def _leaves_size_open(request: ImageGenerationRequest) -> bool:
    """True for a new picture of no given size, by a workflow that nobody named."""
    is_open = isinstance(request.width, DefaultSize) and isinstance(request.height, DefaultSize)
    return is_open and request.source_image is None and request.workflow is None


STYLE_TEMPLATES: dict[ImageStyle, StyleTemplate] = {
    ImageStyle.FAST_DRAFT: StyleTemplate(
        prompt="{prompt}, quick concept sketch, simple shapes, clear composition",
        size=(768, 768),
    ),
    ImageStyle.PHOTOREAL: StyleTemplate(
        prompt="{prompt}, photograph, natural light, true colours, fine detail, 50mm lens",
        negative_prompt=f"illustration, painting, cartoon, 3d render, {_FLAWS}",
    ),
    ImageStyle.BRAND_LAYOUT: StyleTemplate(
        prompt="{prompt}, clean advertising layout, generous empty space for text, flat background",
        negative_prompt=f"clutter, busy background, gibberish text, {_FLAWS}",
        size=(1216, 832),
    ),
    ImageStyle.PORTRAIT: StyleTemplate(
        prompt="{prompt}, portrait, eyes in focus, soft key light, shallow depth of field",
        negative_prompt=f"deformed face, extra fingers, crossed eyes, {_FLAWS}",
        size=(832, 1216),
    ),
    ImageStyle.PRODUCT: StyleTemplate(
        prompt="{prompt}, product photograph, studio lighting, seamless background, crisp edges",
        negative_prompt=f"hands, people, dust, scratches, {_FLAWS}",
    ),
    ImageStyle.LOGO_TEXT: StyleTemplate(
        prompt="{prompt}, vector logo, legible lettering, few colours, centred, plain background",
        negative_prompt=f"photograph, gradients, misspelled text, {_FLAWS}",
    ),
    ImageStyle.ARTISTIC: StyleTemplate(
        prompt="{prompt}, expressive painting, visible brushwork, rich palette",
        negative_prompt=f"photograph, plain, dull colours, {_FLAWS}",
    ),
    ImageStyle.CINEMATIC: StyleTemplate(
        prompt="{prompt}, film still, dramatic light, anamorphic framing, colour graded",
        negative_prompt=f"flat lighting, snapshot, {_FLAWS}",
        size=(1344, 768),
    ),
}


class Styles:
    """The styles that there are: the built-in ones, as `own` has them, and further ones of `own`.

    `own` are templates by name; the name of a built-in style stands for what takes its place.
    """

    def __init__(self, own: Mapping[str, StyleTemplate] | None = None) -> None:
        built_in = {style.value: template for style, template in STYLE_TEMPLATES.items()}
        self._templates = {**built_in, **(own or {})}
        self._by_lower = {name.lower(): name for name in self._templates}
        self.own_names = tuple(name for name in self._templates if name not in built_in)

    @property
    def names(self) -> list[str]:
        """Every style's name: those of ImageStyle in its order, then the user's own."""
        return [*(style.value for style in ImageStyle), *self.own_names]

    def fields(self, style: ImageStyle | str | None, own_name: str | None = None) -> dict[str, Any]:
        """The request's `style` and `style_name` for a style by its name, in any case.

        Raises ValueError, with the names there are, for a style that is none of them.
        """
        if isinstance(style, str):
            name = self._known(style)
            if name not in self.own_names:
                style = ImageStyle(name)
            else:
                style, own_name = None, own_name or name
        style = ImageStyle.parse(style)
        if own_name is None:
            return {"style": style, "style_name": None}
        own_name = self._known(own_name)
        if own_name not in self.own_names:
            return {"style": ImageStyle(own_name), "style_name": None}
        return {"style": style or self._templates[own_name].like, "style_name": own_name}

    def _known(self, name: str) -> str:
        known = self._by_lower.get(name.strip().lower())
        if known is None:
            raise ValueError(f"unknown style {name!r}; there are: {', '.join(self.names)}")
        return known

    def apply(self, request: ImageGenerationRequest) -> ImageGenerationRequest:
        """The request with its style's template laid over it; as it is without a style.

        Raises ValueError for a `style_name` that is unknown.
        """
        if request.style is None and request.style_name is None:
            return request
        named = replace(request, **self.fields(request.style, request.style_name))
        name = named.style_name or (named.style and named.style.value)
        return self._templates[name].apply(named) if name else named
