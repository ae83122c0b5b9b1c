"""The gallery: one page without script or network, escaped, with every picture in its place."""

from __future__ import annotations

import base64
import hashlib
import re

from image_commands.gallery import Shown, draw_gallery
from image_provider import (
    ImageGenerationRequest,
    ImageGenerationResult,
    ProviderUnavailableError,
)
from tests.fakes.provider import success

EVIL = "<script>alert(1)</script> \"quoted\" 'fox' & </title> \x00"


def shown(image):
    return Shown("data:image/jpeg;base64,AAAA", "pictures/a%20b.png")


def draw(prompts, results, show=shown):
    return draw_gallery("foxes", list(map(ImageGenerationRequest, prompts)), results, show)


def failed(message="down"):
    return ImageGenerationResult.failed(ProviderUnavailableError(message), "fake")


def test_every_picture_has_its_prompt_number_and_facts():
    pair = success("fake", 7)
    pair.images *= 2
    page = draw(["a fox", "a dog"], [success("fake", 3), pair])
    assert re.findall(r'<article id="(r[\d.]+)">', page) == ["r1", "r2.1", "r2.2"]
    assert page.count("a dog</div>") == 2 and "seed 3 · 8×8 · fake · fake-model" in page
    assert page.count('<a class="place" href="pictures/a%20b.png"><img ') == 3
    assert page.count('loading="lazy"') == 3 and 'alt="1: a fox"' in page
    assert "3 pictures</p>" in page and "failed only" not in page


def test_a_failure_stands_in_its_place_and_can_be_shown_alone():
    page = draw(["a", "b", "c"], [success(), failed("the server is away"), success()])
    assert re.findall(r'id="(r\d)"( class="failed")?', page) == [
        ("r1", ""),
        ("r2", ' class="failed"'),
        ("r3", ""),
    ]
    assert "the server is away" in page and "unavailable" in page
    assert "2 pictures, 1 failed" in page and " failed only</label>" in page


def test_nothing_of_a_prompt_or_an_error_is_markup():
    page = draw([EVIL, EVIL * 9, "c"], [success(), success(), failed(EVIL)])
    assert "<script" not in page and "\x00" not in page
    assert page.count("</title>") == 1
    assert 'alt="1: &lt;script&gt;' in page


def test_nothing_runs_and_nothing_is_fetched_from_a_network():
    page = draw(["a"], [success()])
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]+)"', page)
    style = page.partition("<style>")[2].partition("</style>")[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"style-src &#x27;sha256-{digest}&#x27;" in policy
    assert policy.startswith("default-src &#x27;none&#x27;") and "http" not in policy
    assert "http:" not in page and "https:" not in page and "prefers-color-scheme: dark" in page


def test_a_long_prompt_is_folded_and_there_whole():
    prompt = "a valley " * 60
    page = draw([prompt], [success()])
    assert '<summary dir="auto"><h2>1</h2>a valley a' in page
    assert f'<p dir="auto">{prompt}</p>' in page


def test_a_prompt_has_its_own_direction_and_no_heading_in_a_paragraph():
    page = draw(["ثعلب أحمر", "赤い狐"], [success(), success()])
    assert '<div class="prompt" dir="auto"><h2>1</h2>ثعلب أحمر</div>' in page
    assert "赤い狐</div>" in page and "<p><h2>" not in page


def test_what_is_no_picture_is_told_by_its_kind():
    film = success()
    film.images = [{"bytes": b"film", "kind": "video"}]
    page = draw(["a"], [film], lambda image: Shown(None, "pictures/a.mp4"))
    assert '<a class="place" href="pictures/a.mp4">video</a>' in page
    assert "<img" not in page
    assert '<div class="place">video</div>' in draw(["a"], [film], lambda _: Shown(None, None))


def test_the_mark_of_the_embedded_server_is_told_in_words():
    page = draw(["a"], [success(metadata={"server": "embedded"})])
    assert "embedded server, no model" in page


def test_places_have_the_shape_that_suits_most_pictures():
    wide = success()
    wide.images = [{**wide.images[0], "width": 1500, "height": 1000}]
    assert "--place: 1.500;" in draw(["a"] * 3, [success(), wide, wide])
    assert "--place: 1.000;" in draw(["a"], [failed()])
