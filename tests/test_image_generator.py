"""What applications call: the request that a call makes, templates, and the cache around it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from config import Config
from image_generator import ImageGenerator
from image_provider import (
    ConfigurationError,
    ImageGenerationRequest,
    ImageStyle,
    ProgressUpdate,
    ProviderUnavailableError,
)
from tests.fakes.provider import FakeProvider, png, success
from tests.hosted_support import write_png

CACHE = Path("cache/images")


def make_generator(*providers, **environ):
    """A generator over fakes alone; the first is the default, the chain has them all."""
    generator = ImageGenerator(Config(environ, None))
    generator.router.close()
    generator.router.providers = {provider.provider_name: provider for provider in providers}
    names = [provider.provider_name for provider in providers]
    generator.router.routing_rules |= {"default_provider": names[0], "fallback_chain": names}
    return generator


def sent(provider):
    (request,) = provider.requests
    return request


def entries():
    return list(CACHE.glob("*/*/entry.json"))


# The request that a call makes


def test_every_argument_reaches_the_provider():
    provider = FakeProvider()
    make_generator(provider).generate(
        "a fox",
        "cinematic",
        512,
        256,
        7,
        2,
        "dogs",
        "https://example.org/a.png",
        "https://example.org/m.png",
        0.5,
        False,
        steps=8,
        guidance_scale=3,
        model="m",
        workflow="w.json",
        loras=[("l", 1)],
        extra={"3.seed": 1},
        provider="fake",
        on_progress=print,
    )
    request = sent(provider)
    assert request == ImageGenerationRequest(
        request.prompt,
        "dogs",
        512,
        256,
        7,
        8,
        3.0,
        ImageStyle.CINEMATIC,
        "https://example.org/a.png",
        "https://example.org/m.png",
        0.5,
        2,
        "fake",
        "m",
        "w.json",
        [("l", 1)],
        {"3.seed": 1},
    )
    assert request.prompt.startswith("a fox, film still")
    assert request.on_progress is print


def test_a_size_that_was_not_given_stays_so():
    provider = FakeProvider()
    make_generator(provider).generate("a fox", use_cache=False)
    assert sent(provider).explicit_size == (None, None)


@pytest.mark.parametrize("name", ["colour", "from_template", "prompts"])
def test_an_unknown_argument_is_a_type_error(name):
    generator = make_generator(FakeProvider())
    for generate in (generator.generate, generator.generate_from_flux_prompt):
        with pytest.raises(TypeError, match=f"no field of a request: {name}"):
            generate("a fox", **{name: "x"})


@pytest.mark.parametrize(
    "arguments", [{"style": "noir"}, {"width": 0}, {"strength": 2}, {"use_cache": "always"}]
)
def test_a_wrong_value_is_a_value_error(arguments):
    with pytest.raises(ValueError):
        make_generator(FakeProvider()).generate("a fox", **arguments)


def test_a_flux_prompt_is_taken_word_for_word():
    provider = FakeProvider()
    make_generator(provider).generate_from_flux_prompt("{a} fox", "cinematic", num_images=2)
    request = sent(provider)
    assert (request.prompt, request.negative_prompt) == ("{a} fox", None)
    assert (request.style, request.num_images) == (ImageStyle.CINEMATIC, 2)
    assert request.explicit_size == (None, None)


def test_a_failure_is_a_result():
    result = make_generator(FakeProvider("a", ProviderUnavailableError("down"))).generate("a fox")
    assert (result.success, result.error_type, result.error) == (False, "unavailable", "down")


def test_a_setting_that_cannot_be_used_is_told_when_the_generator_is_built(monkeypatch):
    monkeypatch.setenv("COMFYUI_READ_TIMEOUT", "soon")
    with pytest.raises(ConfigurationError, match="COMFYUI_READ_TIMEOUT"):
        ImageGenerator()


# Styles of the user's own


STYLES = """
["my look"]
like = "portrait"
prompt = "{prompt}, my look"
negative_prompt = "dogs"
steps = 3
loras = [["ink.safetensors", 0.8]]

[fast_draft]
steps = 5
"""


def with_styles(*providers, text=STYLES):
    Path("styles.toml").write_text(text, "utf-8")
    return make_generator(*providers, IMAGE_STYLE_TEMPLATES="styles.toml")


def test_a_style_of_ones_own_is_asked_for_by_its_name():
    provider = FakeProvider(defaults={"steps": 99, "guidance_scale": 4.0})
    generator = with_styles(provider)
    assert generator.get_available_styles()[-1] == "my look"
    generator.generate("a {fox}", style="My look", use_cache=False)
    request = sent(provider)
    assert (request.prompt, request.steps, request.guidance_scale) == ("a {fox}, my look", 3, 4.0)
    assert (request.style, request.style_name) == (ImageStyle.PORTRAIT, "my look")
    assert {"steps", "loras", "negative_prompt"} <= request.from_template


def test_a_style_of_ones_own_has_a_route_of_its_own_and_then_that_of_what_it_is_like():
    first, second, third = (FakeProvider(name) for name in ("a", "b", "c"))
    generator = with_styles(first, second, third)
    styles = generator.router.routing_rules["style_routing"]
    styles |= {"my look": {"provider": "c"}, "portrait": {"provider": "b"}}
    assert generator.generate("a fox", style="my look").provider == "c"
    assert generator.generate_from_flux_prompt("a fox", "my look").provider == "c"
    assert [request.prompt for request in third.requests] == ["a fox, my look", "a fox"]
    del styles["my look"]
    assert generator.generate("a fox", style="my look").provider == "b"


def test_a_route_for_a_style_that_no_file_has_is_told():
    Path("image_routing_config.json").write_text(
        json.dumps({"style_routing": {"my look": {"provider": "comfyui"}}}), "utf-8"
    )
    with pytest.raises(ConfigurationError, match="style_routing.my look: is unknown"):
        ImageGenerator(Config({}, None))
    with_styles(FakeProvider())


def test_what_a_template_sets_does_not_choose_the_provider():
    first, second = FakeProvider("a"), FakeProvider("b")
    generator = with_styles(first, second)
    generator.router.routing_rules["feature_routing"] = {
        "custom_nodes": {"provider": "b"},
        "negative_prompts": {"provider": "b"},
    }
    assert generator.generate("a fox", style="my look").provider == "a"
    assert generator.generate("a fox", loras=[("l", 1)]).provider == "b"


def test_a_template_that_changed_makes_another_entry():
    call = {"prompt": "a fox", "style": "fast_draft", "seed": 3}
    with_styles(FakeProvider()).generate(**call)
    assert with_styles(FakeProvider()).generate(**call).metadata["cached"] is True
    other = with_styles(FakeProvider(), text="[fast_draft]\nsteps = 6\n")
    assert "cached" not in other.generate(**call).metadata


def test_a_broken_file_of_templates_is_told_when_the_generator_is_built():
    with pytest.raises(ConfigurationError, match="fast_draft.steps: steps must be"):
        with_styles(FakeProvider(), text="[fast_draft]\nsteps = 0\n")


def test_nobody_is_warned_of_what_a_template_set_and_the_metadata_tells_it(comfyui_server, caplog):
    Path("styles.toml").write_text('[mine]\nnegative_prompt = "dogs"\nsteps = 2\n', "utf-8")
    with embedded(comfyui_server, IMAGE_STYLE_TEMPLATES="styles.toml") as generator:
        call = {"prompt": "a fox", "seed": 3, "width": 64, "height": 64}
        made = generator.generate(**call, style="mine")
        again = generator.generate(**made.recipe["request"], use_cache=False)
    assert made.success and made.recipe["request"] == {
        **call,
        "num_images": 1,
        "style_name": "mine",
    }
    # The FLUX workflow has no place for a negative prompt.
    assert [entry["parameter"] for entry in made.metadata["ignored"]] == ["negative_prompt"]
    assert [record for record in caplog.records if record.levelname == "WARNING"] == []
    assert again.get_image_bytes() == made.get_image_bytes()


# The cache


def test_the_same_call_with_a_seed_is_answered_from_the_cache():
    provider = FakeProvider()
    generator = make_generator(provider)
    made = generator.generate("a fox", seed=3)
    kept = generator.generate("a fox", seed=3)
    assert len(provider.requests) == 1
    assert kept.images == made.images and kept.get_image_bytes() == png(3)
    assert kept.metadata["cached"] is True and "cached" not in made.metadata


def test_a_result_with_a_text_and_a_film_is_answered_whole_or_made_again():
    def with_others(text):
        made = success("fake", 3)
        plain = {**made.images[0], "width": None, "height": None}
        made.images += [
            {**plain, "bytes": b"film", "mime_type": "video/mp4", "kind": "video"},
            {**plain, "bytes": text, "mime_type": "text/plain", "kind": "text"},
        ]
        return made

    provider = FakeProvider("fake", with_others(b"words"), with_others(b""))
    generator = make_generator(provider)
    made = generator.generate("a fox", seed=3)
    assert generator.generate("a fox", seed=3).images == made.images
    for _ in range(2):
        assert len(generator.generate("a dog", seed=3).images) == 3
    assert len(provider.requests) == 3


def test_a_later_process_finds_it_too():
    make_generator(FakeProvider()).generate("a fox", seed=3)
    provider = FakeProvider()
    assert make_generator(provider).generate("a fox", seed=3).metadata["cached"] is True
    assert provider.requests == []


@pytest.mark.parametrize(
    "other",
    [
        {"prompt": "a dog"},
        {"seed": 4},
        {"negative_prompt": ""},
        {"negative_prompt": "dogs"},
        {"width": 512},
        {"width": 1024, "height": 1024},
        {"num_images": 2},
        {"steps": 8},
        {"guidance_scale": 3.5},
        {"strength": 0.5},
        {"style": "photoreal"},
        {"model": "m"},
        {"workflow": "w.json"},
        {"loras": [("l", 0.5)]},
        {"extra": {"3.seed": 1}},
        {"extra": {"3.picture": b"bytes"}},
        {"provider": "other"},
    ],
    ids=str,
)
def test_whatever_can_change_pixels_makes_another_entry(other):
    generator = make_generator(FakeProvider(), FakeProvider("other"))
    call = {"prompt": "a fox", "seed": 3}
    generator.generate(**call)
    assert "cached" not in generator.generate(**{**call, **other}).metadata
    assert generator.generate(**{**call, **other}).metadata["cached"] is True
    assert len(entries()) == 2


def test_who_listens_and_how_the_provider_was_chosen_make_no_other_entry():
    generator = make_generator(FakeProvider())
    generator.generate("a fox", seed=3)
    again = generator.generate("a fox", seed=3, provider="fake", on_progress=print)
    assert again.metadata["cached"] is True


def test_a_picture_from_the_cache_is_told_as_done(caplog):
    generator = make_generator(FakeProvider())
    generator.generate("a fox", seed=3)
    told = []
    generator.generate("a fox", seed=3, on_progress=told.append)
    assert told == [ProgressUpdate("done", 1.0)]

    def raising(update):
        raise OSError("closed")

    assert generator.generate("a fox", seed=3, on_progress=raising).success
    assert "on_progress raised" in caplog.text


def test_without_a_seed_every_call_makes_a_new_picture_unless_any_is_asked_for():
    provider = FakeProvider()
    generator = make_generator(provider)
    for _ in range(2):
        generator.generate("a fox")
    assert len(provider.requests) == 2 and not CACHE.exists()
    for _ in range(2):
        result = generator.generate("a fox", use_cache="any")
    assert len(provider.requests) == 3 and result.metadata["cached"] is True


def test_without_the_cache_the_disk_is_not_touched(tmp_path):
    make_generator(FakeProvider()).generate("a fox", seed=3, use_cache=False)
    assert list(tmp_path.iterdir()) == []


def test_with_a_cache_of_no_bytes_nothing_is_looked_up_or_written():
    provider = FakeProvider()
    make_generator(provider).generate("a fox", seed=3)
    kept = {path: path.stat().st_mtime_ns for path in Path("cache").rglob("*")}
    off = make_generator(provider, IMAGE_CACHE_MAX_BYTES="0")
    for _ in range(2):
        assert "cached" not in off.generate("a fox", seed=3).metadata
    assert len(provider.requests) == 3 and kept
    assert {path: path.stat().st_mtime_ns for path in Path("cache").rglob("*")} == kept


def test_a_failure_is_not_kept():
    provider = FakeProvider("a", ProviderUnavailableError("down"), success("a", 3))
    generator = make_generator(provider)
    assert not generator.generate("a fox", seed=3).success
    assert generator.generate("a fox", seed=3).success


def test_what_a_stand_in_made_is_kept_under_its_own_name():
    down = ProviderUnavailableError("down")
    generator = make_generator(FakeProvider("a", down), FakeProvider("b"))
    assert generator.generate("a fox", seed=3).provider == "b"
    assert "cached" not in generator.generate("a fox", seed=3).metadata
    kept = generator.generate("a fox", seed=3, provider="b")
    assert kept.metadata["cached"] is True and "attempts" not in kept.metadata


@pytest.mark.parametrize(
    "result",
    [
        success(metadata={"warnings": ["another workflow was taken"]}),
        success(metadata={"missing_images": 1}),
        success(metadata={"parts": [{"provider": "a"}, {"provider": "b"}]}),
        success(images=[]),
        success(images=[{"bytes": None, "url": "https://example.org/a.png"}]),
    ],
    ids=["otherwise", "fewer", "by two", "nothing", "elsewhere"],
)
def test_what_is_not_the_picture_that_was_asked_for_is_not_kept(result, caplog):
    generator = make_generator(FakeProvider("fake", result))
    assert generator.generate("a fox", seed=3) is result
    assert entries() == [] and caplog.text == ""


@pytest.mark.parametrize("thing", [object(), {1, 2}], ids=["object", "set"])
def test_what_cannot_be_a_key_is_made_without_the_cache(thing):
    assert make_generator(FakeProvider()).generate("a fox", seed=3, extra={"3.x": thing}).success
    assert not CACHE.exists()


def test_an_extra_that_holds_itself_is_made_without_the_cache():
    extra = {}
    extra["3.x"] = extra
    assert make_generator(FakeProvider()).generate("a fox", seed=3, extra={"3.x": extra}).success


def test_a_picture_to_start_from_counts_by_its_content_and_is_read_once():
    provider = FakeProvider()
    generator = make_generator(provider)
    Path("a.png").write_bytes(png(1))
    Path("same.png").write_bytes(png(1))
    generator.generate("a fox", seed=3, source_image_url="a.png")
    assert sent(provider).extra["source_image"].size == (8, 8)
    same = generator.generate("a fox", seed=3, source_image_url="same.png")
    assert same.metadata["cached"] is True
    Path("a.png").write_bytes(png(2))
    assert "cached" not in generator.generate("a fox", seed=3, source_image_url="a.png").metadata


def test_a_picture_that_is_too_large_is_left_to_the_provider_and_counts_by_its_limit():
    """The provider scales it down, and tells."""
    write_png(Path(), "large.png", width=200, height=100)
    call = {"prompt": "a fox", "seed": 3, "source_image_url": "large.png"}
    provider = FakeProvider()
    make_generator(provider, IMAGE_SOURCE_MAX_SIDE="100").generate(**call)
    assert sent(provider).extra["source_image"].size == (200, 100)
    for limit, is_kept in (("100", True), ("90", False), ("0", False)):
        made = make_generator(FakeProvider(), IMAGE_SOURCE_MAX_SIDE=limit).generate(**call)
        assert ("cached" in made.metadata) is is_kept, limit


def test_a_mask_counts_by_its_content():
    generator = make_generator(FakeProvider())
    for number in range(2):
        Path("m.png").write_bytes(png(number))
        Path("a.png").write_bytes(png(9))
        pictures = {"source_image_url": "a.png", "mask_image_url": "m.png"}
        assert "cached" not in generator.generate("a fox", seed=3, **pictures).metadata


def test_folders_that_the_settings_close_stay_closed():
    provider = FakeProvider()
    Path("a.png").write_bytes(png())
    generator = make_generator(provider, IMAGE_SOURCE_ROOTS="")
    result = generator.generate("a fox", seed=3, source_image_url="a.png")
    assert result.error_type == "invalid_request" and "not accepted here" in result.error
    assert provider.requests == []


# With the embedded server


def embedded(server, **environ):
    return ImageGenerator(Config({"COMFYUI_SERVER_ADDRESS": server.address, **environ}, None))


def test_a_picture_of_the_embedded_server_is_cached_as_one(comfyui_server):
    with embedded(comfyui_server) as generator:
        made = generator.generate("a fox", seed=3, steps=2, width=64, height=64)
        kept = generator.generate("a fox", seed=3, steps=2, width=64, height=64)
    assert made.success and kept.metadata["cached"] is True
    assert kept.metadata["server"] == "embedded"
    assert kept.get_image_bytes() == made.get_image_bytes()
    assert kept.recipe == made.recipe


def test_the_request_in_a_recipe_makes_the_same_picture_again(comfyui_server):
    call = {"prompt": "a fox", "style": "cinematic", "seed": 3, "num_images": 2, "steps": 2}
    with embedded(comfyui_server) as generator:
        made, kept = generator.generate(**call), generator.generate(**call)
        assert made.recipe["request"] == kept.recipe["request"] == call
        again = generator.generate(**made.recipe["request"], use_cache=False)
    assert kept.metadata["cached"] is True and "cached" not in again.metadata
    assert [i["bytes"] for i in again.images] == [i["bytes"] for i in made.images]
    assert again.recipe == made.recipe


def test_a_flux_prompt_stands_in_its_recipe_as_it_was_given(comfyui_server):
    call = {"style": "cinematic", "seed": 3, "num_images": 1, "steps": 2}
    with embedded(comfyui_server) as generator:
        made = generator.generate_from_flux_prompt("a fox", **call)
    assert made.recipe["request"] == {"prompt": "a fox", **call}


def test_a_picture_of_the_embedded_server_never_answers_for_a_real_one(comfyui_server):
    call = {"prompt": "a fox", "seed": 3, "steps": 2, "width": 64, "height": 64}
    with embedded(comfyui_server) as generator:
        generator.generate(**call)
    comfyui_server.stop()
    with embedded(comfyui_server) as generator:  # nobody says there that it is an embedded one
        assert generator.generate(**call).error_type == "unavailable"


def test_a_workflow_file_that_changed_makes_another_entry(comfyui_server):
    bundled = Path(__file__).parent.parent / "workflows" / "comfyui" / "t2i_checkpoint.json"
    text = bundled.read_text("utf-8")
    Path("flows").mkdir()
    call = {"prompt": "a fox", "seed": 3, "steps": 2, "width": 64, "height": 64}
    with embedded(comfyui_server, COMFYUI_WORKFLOW_DIR="flows") as generator:
        Path("flows/mine.json").write_text(text, "utf-8")
        assert generator.generate(**call, workflow="mine.json").success
        Path("flows/mine.json").write_text(text + "\n", "utf-8")
        assert "cached" not in generator.generate(**call, workflow="mine.json").metadata
        assert generator.generate(**call, workflow="mine.json").metadata["cached"] is True


def test_a_bindings_file_that_changed_makes_another_entry_and_a_new_name_none(comfyui_server):
    bundled = Path(__file__).parent.parent / "workflows" / "comfyui" / "t2i_checkpoint.json"
    graph = json.loads(bundled.read_text("utf-8"))
    (prompt,) = (i for i, node in graph.items() if "ositive" in str(node.get("_meta")))
    Path("flows").mkdir()
    for name in ("mine.json", "copy.json"):
        Path("flows", name).write_text(json.dumps(graph), "utf-8")
    call = {"prompt": "a fox", "seed": 3, "steps": 2, "width": 64, "height": 64}
    with embedded(comfyui_server, COMFYUI_WORKFLOW_DIR="flows") as generator:
        assert generator.generate(**call, workflow="mine.json").success
        assert generator.generate(**call, workflow="copy.json").metadata["cached"] is True
        Path("flows/mine.bindings.json").write_text(json.dumps({"prompt": [f"{prompt}.text"]}))
        assert "cached" not in generator.generate(**call, workflow="mine.json").metadata


def test_what_a_workflow_that_changed_meanwhile_made_is_not_kept(comfyui_server):
    bundled = Path(__file__).parent.parent / "workflows" / "comfyui" / "t2i_checkpoint.json"
    text = bundled.read_text("utf-8")
    Path("flows").mkdir()
    Path("flows/mine.json").write_text(text, "utf-8")

    def change(update):
        Path("flows/mine.json").write_text(text + "\n", "utf-8")

    call = {"prompt": "a fox", "seed": 3, "steps": 2, "width": 64, "height": 64}
    with embedded(comfyui_server, COMFYUI_WORKFLOW_DIR="flows") as generator:
        made = generator.generate(**call, workflow="mine.json", on_progress=change)
    assert made.success and entries() == []


def test_a_result_of_the_same_server_can_be_the_source_of_a_request_with_a_seed(comfyui_server):
    settings = {"COMFYUI_SERVER_ADDRESS": comfyui_server.address}
    with ImageGenerator(Config(settings, env_file=None)) as generator:
        first = generator.generate("a fox", width=64, height=64, steps=1, seed=1)
        second = generator.generate(
            "a hat", source_image_url=first.get_image_url(), steps=1, seed=2, strength=0.5
        )

    assert second.success, second.error
    assert (second.images[0]["width"], second.images[0]["height"]) == (64, 64)
