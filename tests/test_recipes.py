"""A picture made again: from its own file, the cache, or the folder of a batch."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from config import Config
from image_commands.again import make_again, recipe_of
from image_generator import ImageGenerator
from image_provider import ConfigurationError, InvalidRequestError
from tests.fakes.provider import FakeProvider, success
from tests.test_image_generator import entries, make_generator

CALL = {"prompt": "a fox", "style": "cinematic", "width": 64, "height": 64, "steps": 2}


def by_request(request):
    """A result as a hosted provider's: no graph in the picture, a recipe beside it."""
    images = [
        {**success("fake", request.seed + number).images[0]} for number in range(request.num_images)
    ]
    recipe = {"seeds": [i["seed"] for i in images], "provider": "fake", "model": "fake-model"}
    plain = {"request": request.to_plain(), "workflow": None}
    return success("fake", images=images, recipe={**recipe, **plain})


def test_a_picture_of_comfyui_is_made_again_from_its_file_alone(comfyui_server, tmp_path):
    config = Config({"COMFYUI_SERVER_ADDRESS": comfyui_server.address}, None)
    with ImageGenerator(config) as generator:
        made = generator.generate(**CALL, seed=7, num_images=2, use_cache=False)
        paths = made.save(tmp_path / "elsewhere")
        results = [make_again(recipe_of(str(path)), generator) for path in paths]
    assert [result.error for result in results] == [None, None]
    pixels = [result.to_pil().tobytes() for result in results]
    assert pixels == [made.to_pil(number).tobytes() for number in range(2)]
    assert [result.images[0]["seed"] for result in results] == [7, 8]


def test_a_picture_in_the_cache_is_made_again_by_the_recipe_beside_it():
    provider = FakeProvider("fake", by_request)
    generator = make_generator(provider)
    generator.generate(**CALL, seed=7, num_images=3)
    (entry,) = entries()
    again = make_again(recipe_of(str(entry.parent / "2.png")), generator)
    assert again.success and "cached" not in again.metadata
    first, second = provider.requests
    assert (second.seed, second.num_images, second.provider) == (8, 1, "fake")
    assert (second.prompt, second.style, second.model) == (first.prompt, first.style, "fake-model")


def test_a_picture_of_a_batch_is_made_again_by_its_resume_file():
    provider = FakeProvider("fake", by_request)
    generator = make_generator(provider)
    requests = [{**CALL, "seed": seed, "use_cache": False} for seed in (7, 8)]
    results = generator.generate_many(requests, resume="foxes.jsonl")
    path = results[1].images[0].path
    assert make_again(recipe_of(str(path)), generator).success
    assert (provider.requests[-1].seed, provider.requests[-1].steps) == (8, 2)


@pytest.mark.parametrize("texts", [{}, {"prompt": "{broken"}, {"prompt": "{}"}], ids=str)
def test_a_picture_that_does_not_tell_is_an_error_that_says_so(texts):
    info = PngInfo()
    for name, text in texts.items():
        info.add_text(name, text)
    Image.new("RGB", (8, 8)).save("fox.png", pnginfo=info)
    with pytest.raises(InvalidRequestError, match=r"fox\.png does not tell how it was made"):
        recipe_of("fox.png")


def test_what_the_editor_saved_is_taken_where_the_graph_is_broken():
    info = PngInfo()
    info.add_text("prompt", '{"1": {"inputs": NaN')
    info.add_text("workflow", json.dumps({"nodes": [], "links": []}))
    Image.new("RGB", (8, 8)).save("fox.png", pnginfo=info)
    assert recipe_of("fox.png").graph == {"nodes": [], "links": []}


def test_files_beside_that_are_something_else_are_passed_over():
    folder = Path("foxes")
    folder.mkdir()
    Image.new("RGB", (8, 8)).save(folder / "fox.png")
    Path("foxes.jsonl").write_text("[1]\n{broken\n", "utf-8")
    (folder / "entry.json").write_text("[]", "utf-8")
    with pytest.raises(InvalidRequestError):
        recipe_of(str(folder / "fox.png"))


def test_a_file_that_is_not_there_is_told():
    with pytest.raises(ConfigurationError, match=r"gone\.png cannot be read: .*; give the path of"):
        recipe_of("gone.png")
