"""What sizes a hosted model takes, and the nearest one to what was asked for.

Owns the four kinds of size rule, in pixels, width first. Pure arithmetic: no vendor, no I/O.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class PixelSizes:
    """Any width and height within limits; sides are multiples of `multiple`."""

    multiple: int
    min_side: int
    max_side: int
    min_pixels: int = 0
    max_pixels: int = 2**31
    max_ratio: float = 8.0

    def nearest(self, width: int, height: int) -> tuple[int, int]:
        """The allowed size that is closest in shape, then in area."""
        long, short = float(max(width, height)), float(min(width, height))
        short = max(short, long / self.max_ratio)
        scale = self._scale(long, short)
        for rounding in (_half_up, math.floor, math.ceil):
            sides = self._step(long * scale, rounding), self._step(short * scale, rounding)
            if self._allows(*sides):
                break
        return sides if width >= height else sides[::-1]

    def _scale(self, long: float, short: float) -> float:
        area = long * short
        wanted = min(max(area, self.min_pixels), self.max_pixels)
        scale = max(math.sqrt(wanted / area), self.min_side / short)
        return min(scale, self.max_side / long)

    def _step(self, side: float, rounding: Callable[[float], int]) -> int:
        # Whole numbers of steps stay whole after float arithmetic.
        stepped = rounding(round(side / self.multiple, 6)) * self.multiple
        low = math.ceil(self.min_side / self.multiple) * self.multiple
        high = self.max_side // self.multiple * self.multiple
        return min(max(stepped, low), high)

    def _allows(self, long: int, short: int) -> bool:
        area = long * short
        return self.min_pixels <= area <= self.max_pixels and long <= short * self.max_ratio


@dataclass(frozen=True)
class FixedSizes:
    """A list of sizes and nothing else."""

    sizes: tuple[tuple[int, int], ...]

    def nearest(self, width: int, height: int) -> tuple[int, int]:
        """The listed size that is closest in shape."""
        return min(self.sizes, key=lambda size: _shape_distance(width, height, *size))


@dataclass(frozen=True)
class AspectRatios:
    """Named shapes such as "16:9"; the model chooses the number of pixels."""

    names: tuple[str, ...]

    def nearest(self, width: int, height: int) -> str:
        """The name of the closest shape."""
        return min(self.names, key=lambda name: _shape_distance(width, height, *_sides(name)))


@dataclass(frozen=True)
class SourceSize:
    """The picture comes back in the size of the source image."""


SizeRule = PixelSizes | FixedSizes | AspectRatios | SourceSize


def _half_up(value: float) -> int:
    return math.floor(value + 0.5)


def _sides(name: str) -> tuple[int, int]:
    across, down = name.split(":")
    return int(across), int(down)


def _shape_distance(width: int, height: int, other_width: int, other_height: int) -> float:
    return abs(math.log(width / height) - math.log(other_width / other_height))
