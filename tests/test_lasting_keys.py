"""Keys and fingerprints that are on disks already: what is here in figures must not change.

A new field of a request changes them, too: leave it out of the parts where it was not given.
"""

from __future__ import annotations

from image_batches.resume import fingerprint
from image_provider import ImageGenerationRequest
from tests.fakes.provider import FakeProvider
from tests.test_image_generator import entries, make_generator

EVERY_FIELD = {
    "negative_prompt": "dogs",
    "width": 512,
    "height": 256,
    "seed": 7,
    "steps": 8,
    "guidance_scale": 3.5,
    "style": "cinematic",
    "strength": 0.5,
    "num_images": 2,
    "provider": "fake",
    "model": "m",
    "workflow": "w.json",
    "loras": [("l", 1)],
    "extra": {"3.seed": 1},
    "on_progress": print,
}


def test_a_picture_that_was_stored_is_found():
    generator = make_generator(FakeProvider())
    keys = set()
    for given in ({"seed": 7}, EVERY_FIELD):
        generator.generate_from_flux_prompt("a fox", **given)
        keys |= {entry.parent.name for entry in entries()}
    assert keys == {
        "3fbc760bfd3880f76977c5d45b9fd5c29d50de57fa544461b080a04b46371689",
        "9ab6b1818336e129c24700618ace7d3e6c19f235322aa84192f1b66da0987074",
    }


def test_a_batch_that_was_begun_goes_on():
    of_every_field = EVERY_FIELD | {
        "source_image_url": "https://example.org/a.png",
        "mask_image_url": "https://example.org/m.png",
        "style_name": "ink",
        "extra": {"3.seed": 1, "source_image": b"1"},
    }
    requests = [ImageGenerationRequest("a fox"), ImageGenerationRequest("a fox", **of_every_field)]
    known = "33631c9f1e5ce8a1554e99835fe4e7eadbcbeafd73e69a731c0fe504b71b7027"
    assert fingerprint(requests) == known
