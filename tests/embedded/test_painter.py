"""The painter: deterministic, different by seed and prompt, refined by steps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from comfyui.embedded.painter import Scene, noisy, paint
from comfyui.embedded.pixels import draw_caption

FOX = Scene("a red fox in the snow", "", seed=1, steps=20)


def difference(first, second):
    return np.abs(first.astype(int) - second.astype(int)).mean()


@pytest.mark.parametrize(("width", "height"), [(64, 64), (200, 72), (8, 8), (1024, 768)])
def test_a_scene_is_painted_in_its_size_and_the_same_each_time(width, height):
    first = paint(FOX, width, height)
    assert first.shape == (height, width, 3)
    assert first.dtype == np.uint8
    assert np.array_equal(first, paint(FOX, width, height))


@pytest.mark.parametrize(
    "other",
    [
        replace(FOX, seed=2),
        replace(FOX, prompt="a blue whale in the sea"),
        replace(FOX, negative="blurry"),
        replace(FOX, variation="another lora"),
        replace(FOX, seed=2**64 - 1),
    ],
    ids=lambda scene: repr(scene)[:60],
)
def test_another_seed_prompt_negative_or_variation_is_another_picture(other):
    assert difference(paint(FOX, 128, 128), paint(other, 128, 128)) > 2


def test_more_steps_come_closer_to_the_finished_picture():
    finished = paint(replace(FOX, steps=60), 128, 128)
    distances = [
        difference(paint(replace(FOX, steps=steps), 128, 128), finished) for steps in (1, 4, 10, 20)
    ]
    assert distances == sorted(distances, reverse=True)
    assert distances[0] > distances[-1] + 5


def test_a_preview_clears_up_as_the_sampling_goes_on():
    picture = paint(FOX, 64, 64)
    distances = [difference(noisy(picture, 1, done), picture) for done in (0.1, 0.5, 1.0)]
    assert distances == sorted(distances, reverse=True)
    assert distances[-1] == 0


def test_caption_is_drawn_at_the_bottom_when_it_fits():
    plain = paint(FOX, 512, 256)
    captioned = draw_caption(plain, None)
    assert not np.array_equal(captioned[-12:], plain[-12:])
    assert np.array_equal(captioned[:200], plain[:200])


def test_caption_stays_inside_the_mask_or_is_left_out():
    plain = paint(FOX, 512, 256)
    mask = np.zeros((256, 512), dtype=np.float32)
    mask[100:140, 30:500] = 1.0
    captioned = draw_caption(plain, mask)
    changed = (captioned != plain).any(axis=2)
    assert changed.any()
    assert not changed[mask == 0].any()
    tiny = np.zeros((256, 512), dtype=np.float32)
    tiny[100:104, 100:104] = 1.0
    assert np.array_equal(draw_caption(plain, tiny), plain)
    assert np.array_equal(draw_caption(plain[:8, :8], None), plain[:8, :8])
