"""What a style adds to a request: words around the prompt, a negative prompt, a size.

Owns the built-in templates and how one is laid over a request. What the caller gave always stays.
Knows no provider: fields that a provider cannot take are marked as the template's, so that nobody
is warned about them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from image_provider import DefaultSize, ImageGenerationRequest, ImageStyle

_FLAWS = "blurry, low quality, jpeg artifacts, watermark, signature"


@dataclass(frozen=True)
class StyleTemplate:
    """`prompt` holds {prompt} once; `size` is (width, height) in pixels for new pictures."""

    prompt: str = "{prompt}"
    negative_prompt: str | None = None
    size: tuple[int, int] | None = None

    def apply(self, request: ImageGenerationRequest) -> ImageGenerationRequest:
        """The request with what it left open filled in."""
        filled = set(request.from_template)
        negative = request.negative_prompt
        if negative is None and self.negative_prompt is not None:
            negative = self.negative_prompt
            filled.add("negative_prompt")
        width, height = request.width, request.height
        if self.size is not None and _leaves_size_open(request):
            width, height = self.size
            filled |= {"width", "height"}
        return replace(
            request,
            # Not str.format: braces in the user's own text are just text.
            prompt=self.prompt.replace("{prompt}", request.prompt),
            negative_prompt=negative,
            width=width,
            height=height,
            from_template=frozenset(filled),
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


def apply_style(request: ImageGenerationRequest) -> ImageGenerationRequest:
    """The request with its style's template laid over it; as it is without a style."""
    return request if request.style is None else STYLE_TEMPLATES[request.style].apply(request)
