"""A batch as one HTML page: every picture with its prompt, and what failed in its place.

Owns the document and its style sheet. The page is inert: it has no script, its policy lets none run
and nothing be fetched from a network, and every word of a prompt or an error is escaped. Which file
or data a picture is shown by is handed in.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any, NamedTuple

from comfyui.page_markup import Markup, tag
from image_batches.contact_sheets import EMBEDDED_NOTE, Cell, cells_of, counted
from image_provider import ImageGenerationRequest, ImageGenerationResult

_SHORT = 140
"""Characters of a prompt that are shown at once; more is folded away."""
_NARROWEST, _WIDEST = 0.75, 1.8
"""Width ÷ height that the places of the pictures may have."""
_OWN_DIRECTION = {"dir": "auto"}
"""For words of the user's: right to left where they are so, and alone with their marks of it."""

_STYLE = """
:root {
  color-scheme: light dark;
  --page: #f3f4f7; --card: #ffffff; --ground: #e6e9f0; --edge: #cfd4df; --text: #1c2130;
  --soft: #565e70; --wrong: #b3122b; --link: #1d5fc2;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #15171c; --card: #20242c; --ground: #0e1014; --edge: #3a4150; --text: #e8eaf0;
    --soft: #a2abbd; --wrong: #ff8291; --link: #8ab8ff;
  }
}
* { box-sizing: border-box; }
body { margin: 0; padding: 20px 24px 48px; background: var(--page); color: var(--text);
  font: 15px/1.45 system-ui, "Segoe UI", Roboto, "Helvetica Neue", "DejaVu Sans", sans-serif; }
h1 { margin: 0; font-size: 22px; overflow-wrap: anywhere; }
header p { margin: 4px 0 8px; color: var(--soft); }
fieldset { margin: 0 0 8px; padding: 0; border: 0; }
label { margin-right: 16px; cursor: pointer; }
main { display: grid; gap: 16px; margin-top: 12px;
  grid-template-columns: repeat(auto-fill, minmax(min(260px, 100%), 1fr)); }
article { display: flex; flex-direction: column; overflow: hidden; background: var(--card);
  border: 1px solid var(--edge); border-radius: 10px; content-visibility: auto;
  contain-intrinsic-size: auto 360px; }
.place { position: relative; display: flex; align-items: center; justify-content: center;
  min-height: 0; padding: 12px; aspect-ratio: var(--place); background: var(--ground);
  color: var(--soft); }
.place img { position: absolute; inset: 0; width: 100%; height: 100%; object-fit: scale-down; }
.told { padding: 10px 14px 12px; overflow-wrap: anywhere; }
.told p, .prompt { margin: 0 0 4px; }
h2 { display: inline; margin: 0; margin-inline-end: 6px; font-size: 15px; }
details { margin: 0 0 4px; }
summary { cursor: pointer; }
.more { color: var(--soft); font-size: 13px; }
.failed .place, .error { color: var(--wrong); font-weight: 600; text-align: center; }
.error { text-align: left; font-weight: 400; }
a { color: var(--link); }
a:focus-visible, summary:focus-visible, input:focus-visible {
  outline: 3px solid var(--link); outline-offset: -3px; }
body:has(#failed:checked) article:not(.failed) { display: none; }
@media (max-width: 600px) {
  body { padding: 14px 12px 32px; }
  .place { aspect-ratio: auto; min-height: 80px; }
  a.place { padding: 0; min-height: 60px; }
  a.place img { position: static; width: auto; height: auto; max-width: 100%; }
}
@media print {
  article { break-inside: avoid; content-visibility: visible; }
  fieldset { display: none; }
}
"""


class Shown(NamedTuple):
    """How a picture is shown: `source` of the small one, `link` to the file; None where none is."""

    source: str | None
    link: str | None


def draw_gallery(
    title: str,
    requests: Sequence[ImageGenerationRequest],
    results: Sequence[ImageGenerationResult],
    show: Callable[[dict[str, Any]], Shown],
) -> str:
    """The whole page, to be written as UTF-8; `show` is asked for each entry of `images`."""
    cells = cells_of(results)
    cards = [_card(cell, requests[cell.place].prompt, show) for cell in cells]
    has_failed = any(cell.image is None for cell in cells)
    header = tag(
        "header",
        tag("h1", title, **_OWN_DIRECTION),
        tag("p", counted(cells)),
        _choice() if has_failed and len(cells) > 1 else Markup(""),
    )
    body = tag("body", header, tag("main", *cards))
    return _document(title, body, _place_shape(cells))


def _choice() -> Markup:
    return tag(
        "fieldset",
        tag("label", tag("input", type="radio", name="show", id="all", checked=""), " all"),
        tag("label", tag("input", type="radio", name="show", id="failed"), " failed only"),
    )


def _document(title: str, body: Markup, place: float) -> str:
    style = f"{_STYLE}:root {{ --place: {place:.3f}; }}\n"
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    # file: for Firefox, to which a page on a disk has no 'self'.
    policy = (
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src 'self' data: file:; "
        "base-uri 'none'; form-action 'none'"
    )
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="referrer", content="no-referrer"),
        tag("title", title),
        tag("style", Markup(style)),
    )
    return f"<!doctype html>\n{tag('html', head, body, lang='en')}\n"


def _place_shape(cells: Sequence[Cell]) -> float:
    """Width ÷ height of the place of a picture: what suits most of them."""
    shapes = [
        image["width"] / image["height"]
        for image in (cell.image for cell in cells)
        if image is not None and image.get("width") and image.get("height")
    ]
    return float(min(max(median(shapes or [1.0]), _NARROWEST), _WIDEST))


def _card(cell: Cell, prompt: str, show: Callable[[dict[str, Any]], Shown]) -> Markup:
    failed = cell.image is None
    told = tag(
        "div",
        _prompt(cell.number, prompt),
        tag("p", cell.result.error or "", class_="error") if failed else Markup(""),
        tag("p", " · ".join(_facts(cell)), class_="more"),
        class_="told",
    )
    kind = {"class_": "failed"} if failed else {}
    return tag("article", _place(cell, prompt, show), told, id=f"r{cell.number}", **kind)


def _place(cell: Cell, prompt: str, show: Callable[[dict[str, Any]], Shown]) -> Markup:
    words = cell.instead
    if cell.image is None:
        return tag("div", words, class_="place")
    shown = show(cell.image)
    inside: str = words
    if shown.source is not None:
        inside = tag(
            "img",
            src=shown.source,
            alt=f"{cell.number}: {prompt}",
            loading="lazy",
            **_sides(cell.image),
        )
    if shown.link is None:
        return tag("div", inside, class_="place")
    return tag("a", inside, class_="place", href=shown.link)


def _sides(image: Mapping[str, Any]) -> dict[str, str]:
    return {side: str(image[side]) for side in ("width", "height") if image.get(side)}


def _prompt(number: str, prompt: str) -> Markup:
    head = tag("h2", number)
    if len(prompt) <= _SHORT:
        return tag("div", head, prompt, class_="prompt", **_OWN_DIRECTION)
    short = tag("summary", head, f"{prompt[:_SHORT].rsplit(' ', 1)[0]} …", **_OWN_DIRECTION)
    return tag("details", short, tag("p", prompt, **_OWN_DIRECTION))


def _facts(cell: Cell) -> list[str]:
    image, result = cell.image or {}, cell.result
    facts = [] if cell.seed is None else [f"seed {cell.seed}"]
    if image.get("width") and image.get("height"):
        facts.append(f"{image['width']}×{image['height']}")
    facts.append(result.provider)
    facts += [word for word in (result.model,) if word]
    if cell.is_embedded and cell.image is not None:
        facts.append(EMBEDDED_NOTE)
    return facts
