"""Paints a picture from a prompt and a seed without any model: layered paper hills under a sky.

Pure and deterministic: the same scene gives the same bytes on the same versions of numpy and
Pillow. Words of colour and of things in the prompt choose the palette, the seed the composition.
Does not know latents, masks or captions.
"""

from __future__ import annotations

import colorsys
import hashlib
import math
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from comfyui.embedded.values import Images

Plane = NDArray[np.floating[Any]]
Colour = NDArray[np.floating[Any]]

CANVAS = 640
"""Longest side in pixels that is painted; larger pictures are scaled up from it."""

_WORD_COLOURS: dict[str, str] = {
    "red": "d1332e", "crimson": "a8102c", "scarlet": "d62718", "rose": "d9537a",
    "pink": "ee8fb0", "orange": "ee7d22", "fox": "e2702a", "autumn": "c95f1e",
    "sunset": "f08a4b", "fire": "e8501c", "copper": "b5683a", "brown": "8a5a3a",
    "wood": "8d6238", "yellow": "f2c335", "gold": "e0ab32", "golden": "e0ab32",
    "sand": "dcbf8a", "desert": "d9a763", "lemon": "f4dc4f", "green": "4b9a57",
    "forest": "2f6b46", "leaf": "5da84f", "grass": "6fae4c", "emerald": "1f8f6b",
    "jungle": "2a7c4c", "mint": "9fd8bd", "teal": "2b8f91", "turquoise": "3dbdb7",
    "cyan": "45bcd6", "blue": "3a6fc4", "ocean": "1f6c9c", "sea": "2a7fa6",
    "water": "4a93bd", "river": "4f95ba", "sky": "86bfe6", "ice": "bfe0ee",
    "navy": "22345f", "indigo": "43408f", "purple": "7a4aa6", "violet": "8458b8",
    "lavender": "b9a3dd", "magenta": "c23d8f", "white": "f3f4f6", "snow": "eaf1f7",
    "snowy": "eaf1f7", "winter": "cfe0ec", "cloud": "dfe6ec", "mist": "cdd6da",
    "silver": "bcc4cb", "grey": "8b9299", "gray": "8b9299", "stone": "90908a",
    "city": "6b7686", "black": "24262b", "night": "1d2547", "space": "1b1c3f",
    "moon": "dfe3ee",
}  # fmt: skip


@dataclass(frozen=True)
class Scene:
    """All that decides what a painting looks like, its size apart."""

    prompt: str
    negative: str
    seed: int
    steps: int
    variation: str = ""
    """Anything else of the graph that may vary it slightly (LoRAs, cfg, guidance, sampler)."""


@dataclass(frozen=True)
class _Palette:
    sky_top: Colour
    sky_low: Colour
    light: Colour
    far: Colour
    near: Colour
    accent: Colour


def paint(scene: Scene, width: int, height: int) -> Images:
    """The scene as a height×width×3 picture."""
    scale = min(1.0, CANVAS / max(width, height))
    canvas_size = max(8, round(width * scale)), max(8, round(height * scale))
    canvas = _compose(scene, *canvas_size)
    if canvas_size != (width, height):
        resized = Image.fromarray(canvas).resize((width, height), Image.Resampling.BICUBIC)
        canvas = np.asarray(resized)
    return _grain(canvas, scene)


def noisy(picture: Images, seed: int, done: float) -> Images:
    """A picture as it looks when a fraction `done` (0 to 1) of the sampling is behind it."""
    noise = _generator("preview", seed).integers(0, 256, picture.shape, dtype=np.uint8)
    weight = int(256 * done**0.7)
    mixed = picture.astype(np.uint16) * weight + noise.astype(np.uint16) * (256 - weight)
    return (mixed >> 8).astype(np.uint8)


def _generator(*parts: object) -> np.random.Generator:
    digest = hashlib.sha256(repr(parts).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "big"))


def _compose(scene: Scene, width: int, height: int) -> Images:
    rng = _generator("layout", scene.prompt, scene.seed)
    detail = _generator("detail", scene.negative, scene.variation)
    palette = _palette(scene, rng, detail)
    shorter = min(width, height)
    x = (np.arange(width, dtype=np.float32) / shorter)[None, :]
    y = (np.arange(height, dtype=np.float32) / height)[:, None]
    soft = (1.5 + 40.0 * math.exp(-scene.steps / 4.0)) / height
    picture = _sky(x, y, palette, rng, detail)
    _sun(picture, x, y, palette, rng, height / shorter)
    _hills(picture, x, y, palette, rng, detail, soft)
    return (np.clip(picture, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)


def _palette(scene: Scene, rng: np.random.Generator, detail: np.random.Generator) -> _Palette:
    theme = _generator("theme", scene.prompt)
    unwanted = set(_words(scene.negative))
    named = [_hex(_WORD_COLOURS[w]) for w in dict.fromkeys(_words(scene.prompt))
             if w in _WORD_COLOURS and w not in unwanted]  # fmt: skip
    hue = float(theme.random())
    accent = named[0] if named else _hsv(hue, 0.72, 0.86)
    ground = named[-1] if len(named) > 1 else _hsv(hue + 0.38 + 0.2 * float(rng.random()), 0.4, 0.6)
    sky_hue = float(rng.choice([0.56, 0.6, 0.07, 0.93, 0.75])) + 0.03 * float(rng.standard_normal())
    dusk = float(rng.random())
    shift = 0.05 * float(detail.standard_normal())
    low = _hsv(sky_hue + 0.45 * dusk + shift, 0.16 + 0.22 * dusk, 0.96)
    top = _hsv(sky_hue + shift, 0.35 + 0.35 * dusk, 0.86 - 0.42 * dusk)
    return _Palette(
        sky_top=top * 0.85 + ground * 0.15,
        sky_low=low * 0.8 + accent * 0.2,
        light=np.minimum(accent * 0.35 + 0.68, 1.0).astype(np.float32),
        far=low * 0.55 + ground * 0.45,
        near=ground * (0.45 + 0.2 * float(rng.random())) + top * 0.25,
        accent=accent,
    )


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z]+", text.lower())


def _hex(code: str) -> Colour:
    return np.frombuffer(bytes.fromhex(code), dtype=np.uint8).astype(np.float32) / 255.0


def _hsv(hue: float, saturation: float, value: float) -> Colour:
    return np.array(colorsys.hsv_to_rgb(hue % 1.0, saturation, value), dtype=np.float32)


def _sky(
    x: Plane, y: Plane, palette: _Palette, rng: np.random.Generator, detail: np.random.Generator
) -> Plane:
    phase = rng.random(3) * 6.28
    wobble = detail.random(2) * 6.28
    slope = float(rng.uniform(-0.7, 0.7))
    bands = np.sin(x * 1.7 + phase[0] + 1.3 * np.sin(y * 6.0 + slope * x * 3.0 + phase[1]))
    bands = bands + 0.6 * np.sin(y * 15.0 + slope * x * 9.0 + 1.6 * np.sin(x * 2.3 + phase[2]))
    bands = bands + 0.35 * np.sin(y * 27.0 + x * 4.0 + wobble[0] + np.sin(x * 5.0 + wobble[1]))
    depth = np.clip(y * 1.25 + 0.07 * bands, 0.0, 1.0)[:, :, None]
    sky: Plane = palette.sky_top + (palette.sky_low - palette.sky_top) * depth
    return sky.astype(np.float32)


def _sun(
    picture: Plane, x: Plane, y: Plane, palette: _Palette, rng: np.random.Generator, tall: float
) -> None:
    wide = float(x[0, -1])
    radius = float(rng.uniform(0.07, 0.16))
    at_x = wide * float(rng.uniform(0.16, 0.84))
    at_y = float(rng.uniform(0.14, 0.42))
    distance = np.sqrt((x - at_x) ** 2 + ((y - at_y) * tall) ** 2)
    glow = 0.55 * np.exp(-((distance / (radius * 2.6)) ** 2))
    disc = np.clip((radius - distance) * 90.0, 0.0, 1.0)
    _blend(picture, palette.light, np.maximum(glow, disc).astype(np.float32))


def _hills(
    picture: Plane,
    x: Plane,
    y: Plane,
    palette: _Palette,
    rng: np.random.Generator,
    detail: np.random.Generator,
    soft: float,
) -> None:
    layers = int(rng.integers(4, 7))
    accent_layer = int(rng.integers(1, layers - 1))
    top = float(rng.uniform(0.42, 0.58))
    trees = float(rng.uniform(0.25, 1.0))
    for layer in range(layers):
        near = layer / (layers - 1)
        base = top + (0.93 - top) * near**1.15
        ridge = base + _ridge(x, rng, detail, near)
        outline = ridge - _trees(x, rng, near, trees) if near > 0.3 else ridge
        colour = palette.far + (palette.near - palette.far) * near
        if layer == accent_layer:
            colour = colour * 0.15 + palette.accent * 0.85
        shadow = 0.30 * np.exp(-np.clip((ridge - y) / 0.035, 0.0, 30.0))
        _blend(picture, palette.near * 0.35, shadow.astype(np.float32), y >= ridge - 0.2)
        shade = 1.06 - 0.24 * np.clip((y - ridge) / 0.30, 0.0, 1.0)
        _blend(
            picture,
            colour[None, None, :] * shade[:, :, None],
            np.clip((y - outline) / soft + 0.5, 0.0, 1.0).astype(np.float32),
        )


def _ridge(x: Plane, rng: np.random.Generator, detail: np.random.Generator, near: float) -> Plane:
    heights = np.zeros_like(x)
    for octave in range(4):
        frequency = float(rng.uniform(1.4, 2.6)) * 1.9**octave
        amplitude = 0.075 * (1.1 - 0.4 * near) / 1.9**octave
        phase = float(rng.random() * 6.28) + 0.25 * float(detail.standard_normal())
        heights = heights + amplitude * np.sin(x * frequency + phase)
    return heights


def _trees(x: Plane, rng: np.random.Generator, near: float, density: float) -> Plane:
    """How far the pointed trees of one ridge stand above it."""
    wide = float(x[0, -1])
    count = int(density * (26 - 14 * near) * wide) + 1
    tallest = np.zeros_like(x)
    for place, size in zip(rng.random(count) * wide, rng.uniform(0.5, 1.0, count), strict=True):
        height = 0.035 + 0.075 * near * size
        width = height * float(rng.uniform(0.22, 0.36))
        tallest = np.maximum(tallest, height * (1.0 - np.abs(x - place) / width))
    return tallest


def _blend(
    picture: Plane, colour: Plane, weight: Plane, where: NDArray[np.bool_] | None = None
) -> None:
    rows = slice(None)
    if where is not None:
        rows = slice(int(np.argmax(where.any(axis=1))), None)
    part = picture[rows]
    shown = colour[rows] if colour.ndim == 3 else colour
    part += (shown - part) * weight[rows][:, :, None]


def _grain(picture: Images, scene: Scene) -> Images:
    """The noise that too few steps leave behind; none is visible from about 20 steps on."""
    strength = 40.0 * math.exp(-scene.steps / 5.0)
    if strength < 1.0:
        return picture
    rng = _generator("grain", scene.seed)
    noise = rng.standard_normal(picture.shape[:2], dtype=np.float32)[:, :, None] * strength
    return np.clip(picture + noise, 0, 255).astype(np.uint8)
