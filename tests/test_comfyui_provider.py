"""The provider over real sockets, against the embedded server."""

from __future__ import annotations

import inspect
import json
import logging
import pickle
import socket
import threading
import urllib.error
import urllib.request
from concurrent.futures import CancelledError
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import numpy
import pytest
from PIL import Image

from comfyui.embedded import EmbeddedOptions, EmbeddedServer, FailNode, StepGate
from comfyui.embedded.options import DEFAULT_MODELS
from comfyui_provider import ComfyUIProvider
from image_provider import (
    FEATURES,
    ImageGenerationRequest,
    InvalidRequestError,
    ProviderTimeoutError,
    ProviderUnavailableError,
    WorkflowError,
)
from tests.hosted_support import png
from tests.key_watch import planted
from tests.web_support import web, whole

assert web  # the fixture

pytestmark = pytest.mark.usefixtures("short_pauses")

ONLY_CHECKPOINTS = {"checkpoints": ("first.safetensors", "second.safetensors")}


@contextmanager
def serving(**options):
    """An embedded server with these options, and a provider for it."""
    with (
        EmbeddedServer(options=EmbeddedOptions(step_seconds=0, **options)) as server,
        ComfyUIProvider(server.address) as provider,
    ):
        yield server, provider


@pytest.fixture
def provider(comfyui_server):
    with ComfyUIProvider(comfyui_server.address) as made:
        yield made


def request(prompt="a red fox", **fields):
    """A small text-to-image request with a seed."""
    return ImageGenerationRequest(
        prompt, **{"width": 64, "height": 64, "steps": 2, "seed": 5} | fields
    )


def sourced(source, **fields):
    return ImageGenerationRequest("a red fox", seed=5, source_image_url=str(source), **fields)


def done(result):
    assert result.success, result.error
    return result


def pixels(data):
    return numpy.asarray(Image.open(BytesIO(data)).convert("RGB")).astype(int)


def picture(path, size=(64, 48), color=(200, 60, 20)):
    Image.new("RGB", size, color).save(path)
    return path


def half_mask(path, size=(64, 48)):
    """Black, and white (may change) in the right half."""
    mask = Image.new("L", size, 0)
    mask.paste(255, (size[0] // 2, 0, *size))
    mask.save(path)
    return path


def call_server(server, path, body=None):
    data = None if body is None else json.dumps(body).encode()
    made = urllib.request.Request(server.url + path, data)
    with urllib.request.urlopen(made, timeout=10) as answer:
        text = answer.read()
    return json.loads(text) if text else None


def queued_graphs(provider, result):
    """The graphs that the server ran for a result, in order."""
    ids = result.metadata["prompt_ids"]
    return [provider.get_history(prompt_id)[prompt_id]["prompt"][2] for prompt_id in ids]


# The contract


def test_the_constructor_has_the_names_and_defaults_of_the_contract():
    parameters = inspect.signature(ComfyUIProvider).parameters
    assert {name: parameters[name].default for name in list(parameters)[:4]} == {
        "server_address": "127.0.0.1:8188",
        "workflow_dir": "workflows/comfyui",
        "temp_dir": "temp_uploads",
        "client_id": None,
    }
    assert ComfyUIProvider.provider_name == "comfyui"


def test_the_methods_have_the_names_and_defaults_of_the_contract():
    def defaults(name):
        parameters = list(inspect.signature(getattr(ComfyUIProvider, name)).parameters.values())
        return {p.name: p.default for p in parameters[1:]}

    none = inspect.Parameter.empty
    assert defaults("execute_comfy_workflow") == {
        "workflow_file_path": none,
        "pos_prompt": none,
        "neg_prompt": "",
        "seed": None,
        "steps": None,
        "cfg": None,
        "width": 1024,
        "height": 1024,
        "input_image_path": None,
        "denoise_weight": None,
        "mode_switch_value": "T2I",
    }
    assert defaults("queue_prompt") == {"prompt_json": none, "client_id": None}
    assert defaults("get_history") == {"prompt_id": none}
    assert defaults("get_image") == {"filename": none, "subfolder": "", "folder_type": "output"}
    assert defaults("upload_image") == {"input_path": none, "filename": None}
    assert defaults("find_node_by_class_type") == {"workflow_json": none, "class_type": none}
    assert defaults("get_available_models") == {}
    assert defaults("wait_for_completion") == {"prompt_id": none, "timeout": 300}
    assert defaults("run_workflow") == {"graph": none, "on_progress": None}
    assert defaults("submit") == {"request": none}
    assert defaults("build_workflow") == {"request": none}
    assert defaults("check") == {"workflow": None}


def test_every_feature_is_there(provider):
    assert provider.get_supported_features() == dict.fromkeys(FEATURES, True)


# Text to image


def test_text_becomes_a_picture_of_the_size_with_the_seed(provider, comfyui_server):
    result = done(provider.generate(request(width=96, height=64)))
    (image,) = result.images
    assert Image.open(BytesIO(image["bytes"])).format == "PNG"
    assert Image.open(BytesIO(image["bytes"])).size == (96, 64)
    assert (image["seed"], image["mime_type"], image["width"], image["height"]) == (
        *(5, "image/png", 96, 64),
    )
    assert image["url"].startswith(f"{comfyui_server.url}/view?filename={image['filename']}")
    assert (result.provider, result.model) == ("comfyui", "flux1-dev.safetensors")
    assert result.metadata["server"] == "embedded"
    assert result.metadata["workflow"] == "t2i_flux.json"
    assert result.metadata["ignored"] == result.metadata["warnings"] == []
    assert result.metadata["elapsed_seconds"] >= 0


def test_the_bytes_are_those_of_the_server(provider):
    image = done(provider.generate(request())).images[0]
    assert provider.get_image(image["filename"]) == image["bytes"]


def test_the_metadata_tells_where_each_value_went(provider):
    bindings = done(provider.generate(request())).metadata["bindings"]
    assert {(b["parameter"], b["node_id"], b["input_name"]) for b in bindings} == {
        ("prompt", "4", "text"),
        ("seed", "8", "seed"),
        ("steps", "8", "steps"),
        ("width", "7", "width"),
        ("height", "7", "height"),
    }
    assert not any("a red fox" in str(binding) for binding in bindings)


def test_the_recipe_makes_the_picture_again(provider):
    result = done(
        provider.generate(request(guidance_scale=2.0, loras=[("example_lora.safetensors", 1)]))
    )
    recipe = json.loads(json.dumps(result.recipe))
    assert (recipe["seeds"], recipe["provider"]) == ([5], "comfyui")
    by_request = done(provider.generate(ImageGenerationRequest(**recipe["request"])))
    by_graph = done(provider.run_workflow(recipe["workflow"]))
    for again in (by_request, by_graph):
        assert (pixels(again.images[0]["bytes"]) == pixels(result.images[0]["bytes"])).all()


def test_a_recipe_keeps_apart_what_was_not_given(provider):
    recipe = done(provider.generate(ImageGenerationRequest("fox", workflow="t2i_checkpoint.json")))
    assert recipe.recipe["request"].keys() == {"prompt", "workflow", "num_images"}
    assert (recipe.images[0]["width"], recipe.images[0]["height"]) == (512, 512)


def test_a_default_workflow_takes_1024_when_no_size_is_given():
    with serving(models=ONLY_CHECKPOINTS) as (_, provider):
        graph = provider.build_workflow(ImageGenerationRequest("fox"))
    assert graph["4"]["inputs"] == {"width": 1024, "height": 1024, "batch_size": 1}


def test_a_named_workflow_keeps_its_size_unless_one_is_given(provider):
    def size(**fields):
        named = ImageGenerationRequest("fox", workflow="t2i_checkpoint.json", **fields)
        inputs = provider.build_workflow(named)["4"]["inputs"]
        return inputs["width"], inputs["height"]

    assert size() == (512, 512)
    assert size(width=1024) == (1024, 512)
    assert size(width=1024, height=1024) == (1024, 1024)


@pytest.mark.parametrize(
    ("workflow", "used", "multiple"),
    [("t2i_flux.json", [96, 64], 16), ("t2i_checkpoint.json", [104, 64], 8)],
)
def test_a_size_is_rounded_as_the_model_needs_and_the_metadata_says_so(
    provider, workflow, used, multiple
):
    result = done(provider.generate(request(width=101, height=67, workflow=workflow)))
    assert [result.images[0]["width"], result.images[0]["height"]] == used
    note = {"asked": [101, 67], "used": used, "multiple_of": multiple}
    assert result.metadata["size"] == note


def test_progress_ends_at_one_and_never_falls(provider):
    updates = []
    done(provider.generate(request(num_images=2, on_progress=updates.append)))
    fractions = [update.fraction for update in updates]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    assert [u.stage for u in updates if u.fraction == 1.0] == ["done"]
    assert updates[0].stage == "queued"
    sampling = [u for u in updates if u.step is not None and u.class_type == "KSampler"]
    assert {(u.node_title, u.total_steps) for u in sampling} == {("Sampler", 2)}


def test_a_callback_that_raises_does_not_hurt_the_job(provider, caplog):
    def on_progress(update):
        raise ValueError("mine")

    done(provider.generate(request(on_progress=on_progress)))
    assert "on_progress raised" in caplog.text


# Seeds


def test_four_images_can_each_be_made_again_alone(provider):
    result = done(provider.generate(request(num_images=4)))
    assert [image["seed"] for image in result.images] == [5, 6, 7, 8]
    assert len({image["bytes"] for image in result.images}) == 4
    for image in result.images:
        alone = done(provider.generate(request(seed=image["seed"]))).images[0]
        assert (pixels(alone["bytes"]) == pixels(image["bytes"])).all()


def test_the_largest_seed_is_followed_by_zero(provider):
    result = done(provider.generate(request(seed=2**64 - 1, num_images=2)))
    assert [image["seed"] for image in result.images] == [2**64 - 1, 0]


def test_a_seed_that_is_not_given_is_drawn_and_told(provider):
    results = [done(provider.generate(request(seed=None))) for _ in range(2)]
    seeds = [result.images[0]["seed"] for result in results]
    assert seeds[0] != seeds[1]
    for seed, result in zip(seeds, results, strict=True):
        assert queued_graphs(provider, result)[0]["8"]["inputs"]["seed"] == seed
        assert 0 <= seed < 2**53


def test_the_batch_of_the_workflow_is_left_as_it_is(provider):
    result = done(provider.generate(request(num_images=2, extra={"7.batch_size": 2})))
    assert [image["seed"] for image in result.images] == [5, 5, 6, 6]


# Image to image


def test_image_to_image_keeps_the_size_of_the_source(provider, tmp_path):
    result = done(provider.generate(sourced(picture(tmp_path / "s.png", (96, 64)))))
    assert (result.images[0]["width"], result.images[0]["height"]) == (96, 64)
    assert result.metadata["workflow"] == "i2i_flux.json"
    assert result.metadata["ignored"] == []
    assert "size" not in result.metadata


def test_an_explicit_size_scales_the_source(provider, tmp_path):
    source = picture(tmp_path / "s.png", (96, 64))
    both = done(provider.generate(sourced(source, width=64, height=128)))
    assert (both.images[0]["width"], both.images[0]["height"]) == (64, 128)
    one = done(provider.generate(sourced(source, width=192)))
    assert (one.images[0]["width"], one.images[0]["height"]) == (192, 128)


def test_an_odd_source_is_rounded_and_the_metadata_says_so(provider, tmp_path):
    result = done(provider.generate(sourced(picture(tmp_path / "s.png", (100, 70)))))
    assert (result.images[0]["width"], result.images[0]["height"]) == (96, 64)
    assert result.metadata["size"]["asked"] == [100, 70]


def test_a_smaller_strength_stays_closer_to_the_source(provider, tmp_path):
    source = picture(tmp_path / "s.png", (128, 128))

    def distance(**fields):
        result = done(provider.generate(sourced(source, **fields)))
        return abs(pixels(result.images[0]["bytes"]) - pixels(source.read_bytes())).mean()

    assert distance(strength=0.1) < distance(strength=0.5) < distance() < distance(strength=1.0)


@pytest.mark.parametrize("kind", ["path", "bytes", "pil", "data URI"])
def test_a_source_may_be_a_path_bytes_a_picture_or_a_data_uri(provider, tmp_path, kind):
    import base64

    path = picture(tmp_path / "s.png")
    data = path.read_bytes()
    fields = {
        "path": {"source_image_url": str(path)},
        "bytes": {"extra": {"source_image": data}},
        "pil": {"extra": {"source_image": Image.open(BytesIO(data))}},
        "data URI": {
            "source_image_url": f"data:image/png;base64,{base64.b64encode(data).decode()}"
        },
    }[kind]
    result = done(provider.generate(ImageGenerationRequest("fox", strength=0.0, **fields)))
    assert (pixels(result.images[0]["bytes"]) == pixels(data)).all()
    assert result.metadata["ignored"] == []
    json.dumps(result.recipe)


def test_what_is_transparent_in_a_source_becomes_white(provider, tmp_path):
    Image.new("RGBA", (64, 64), (10, 20, 30, 0)).save(tmp_path / "s.png")
    result = done(provider.generate(sourced(tmp_path / "s.png", strength=0.0)))
    assert (pixels(result.images[0]["bytes"]) == 255).all()


def test_a_source_that_is_not_there_is_an_error_naming_it(provider, comfyui_server):
    result = provider.generate(sourced("gone.png"))
    assert (result.success, result.error_type) == (False, "invalid_request")
    assert 'source image "gone.png"' in result.error
    assert comfyui_server.stats.posts == 0


def test_a_workflow_that_loads_no_picture_refuses_a_source(provider, tmp_path):
    result = provider.generate(sourced(picture(tmp_path / "s.png"), workflow="t2i_flux.json"))
    assert result.error_type == "invalid_request"
    assert "t2i_flux.json loads no picture" in result.error


# Inpainting


@pytest.mark.parametrize("workflow", [None, "inpaint_checkpoint.json"])
def test_only_what_is_white_in_the_mask_changes(provider, tmp_path, workflow):
    source = picture(tmp_path / "s.png")
    mask = half_mask(tmp_path / "m.png")
    result = done(
        provider.generate(sourced(source, mask_image_url=str(mask), steps=30, workflow=workflow))
    )
    before, after = pixels(source.read_bytes()), pixels(result.images[0]["bytes"])
    assert (after[:, :32] == before[:, :32]).all()
    assert (after[:, 32:] != before[:, 32:]).any(axis=2).mean() > 0.9
    assert result.metadata["workflow"] == (workflow or "inpaint_flux.json")


def test_a_mask_of_another_size_is_stretched_over_the_source(provider, tmp_path):
    source = picture(tmp_path / "s.png", (128, 64))
    mask = half_mask(tmp_path / "m.png", (32, 32))
    result = done(provider.generate(sourced(source, mask_image_url=str(mask), steps=30)))
    changed = (pixels(result.images[0]["bytes"]) != pixels(source.read_bytes())).any(axis=2)
    assert not changed[:, :60].any()
    assert changed[:, 68:].mean() > 0.9


def test_a_source_with_transparency_is_inpainted_there_when_such_a_workflow_is_asked_for(
    provider, tmp_path
):
    source = Image.new("RGBA", (64, 48), (200, 60, 20, 255))
    source.paste((0, 0, 0, 0), (32, 0, 64, 48))
    source.save(tmp_path / "s.png")
    result = done(
        provider.generate(sourced(tmp_path / "s.png", workflow="inpaint_flux.json", steps=30))
    )
    after = pixels(result.images[0]["bytes"])
    assert (after[:, :32] == (200, 60, 20)).all()
    assert (after[:, 32:] != (200, 60, 20)).any(axis=2).mean() > 0.9


def test_inpainting_an_opaque_source_without_a_mask_is_an_error(provider, tmp_path):
    result = provider.generate(sourced(picture(tmp_path / "s.png"), workflow="inpaint_flux.json"))
    assert result.error_type == "invalid_request"
    assert "mask" in result.error


def test_a_mask_for_a_workflow_that_takes_none_is_an_error(provider, tmp_path):
    result = provider.generate(
        sourced(
            picture(tmp_path / "s.png"),
            mask_image_url=str(half_mask(tmp_path / "m.png")),
            workflow="i2i_flux.json",
        )
    )
    assert result.error_type == "invalid_request"
    assert "i2i_flux.json takes no mask" in result.error


def test_a_mask_without_a_source_is_an_error(provider, tmp_path):
    mask = half_mask(tmp_path / "m.png")
    result = provider.generate(ImageGenerationRequest("fox", mask_image_url=str(mask)))
    assert result.error_type == "invalid_request"


@pytest.mark.parametrize("channel", ["red", "alpha"])
def test_a_mask_loader_of_its_own_gets_the_mask_whatever_channel_it_reads(
    provider, tmp_path, channel
):
    source = picture(tmp_path / "s.png")
    graph = {
        "1": {"class_type": "LoadImage", "inputs": {"image": "x.png"}},
        "2": {"class_type": "LoadImageMask", "inputs": {"image": "x.png", "channel": channel}},
        "3": {"class_type": "ImageInvert", "inputs": {"image": ["1", 0]}},
        "4": {
            "class_type": "ImageCompositeMasked",
            "inputs": {
                "destination": ["1", 0],
                "source": ["3", 0],
                "x": 0,
                "y": 0,
                "resize_source": False,
                "mask": ["2", 0],
            },
        },
        "5": {"class_type": "SaveImage", "inputs": {"images": ["4", 0], "filename_prefix": "x"}},
    }
    (tmp_path / "workflows" / "comfyui").mkdir(parents=True)
    (tmp_path / "workflows" / "comfyui" / "mask.json").write_text(json.dumps(graph), "utf-8")
    mask = half_mask(tmp_path / "m.png")
    result = done(
        provider.generate(sourced(source, mask_image_url=str(mask), workflow="mask.json"))
    )
    before, after = pixels(source.read_bytes()), pixels(result.images[0]["bytes"])
    assert (after[:, :32] == before[:, :32]).all()
    assert (after[:, 32:] == 255 - before[:, 32:]).all()


# Parameters


def test_a_negative_prompt_is_left_by_none_and_cleared_by_nothing(provider):
    def text(negative_prompt):
        return provider.build_workflow(
            request(workflow="t2i_checkpoint.json", negative_prompt=negative_prompt)
        )["3"]["inputs"]["text"]

    assert "blurry" in text(None)
    assert text("") == ""
    assert text("hats") == "hats"


def test_a_model_of_the_diffusion_family_goes_into_its_loader(provider):
    result = done(provider.generate(request(model="flux1-fill-dev.safetensors")))
    assert result.model == "flux1-fill-dev.safetensors"
    assert result.metadata["workflow"] == "t2i_flux.json"


def test_a_model_that_is_a_checkpoint_takes_the_checkpoint_workflow(provider):
    result = done(provider.generate(request(model="sd_xl_base_1.0.safetensors")))
    assert result.model == "sd_xl_base_1.0.safetensors"
    assert result.metadata["workflow"] == "t2i_checkpoint.json"
    assert result.metadata["warnings"] == []


def test_a_model_that_the_server_lacks_is_an_error_naming_its_folder(provider, comfyui_server):
    result = provider.generate(request(model="gone.safetensors"))
    assert (result.error_type, comfyui_server.stats.posts) == ("workflow", 0)
    assert "gone.safetensors" in result.error
    assert "models/diffusion_models" in result.error


def test_a_lora_changes_the_picture_and_one_that_is_not_there_is_an_error(provider):
    plain = done(provider.generate(request()))
    with_lora = done(provider.generate(request(loras=[("example_lora.safetensors", 0.7)])))
    assert with_lora.images[0]["bytes"] != plain.images[0]["bytes"]
    (graph,) = queued_graphs(provider, with_lora)
    assert graph["8"]["inputs"]["model"] == ["11", 0]
    refused = provider.generate(request(loras=[("gone.safetensors", 1.0)]))
    assert refused.error_type == "workflow"
    assert "models/loras" in refused.error


def test_what_finds_no_place_is_told_and_warned_of(provider, caplog):
    result = done(provider.generate(request(negative_prompt="hats", extra={"99.x": 1})))
    told = {entry["parameter"] for entry in result.metadata["ignored"]}
    assert told == {"negative_prompt", "extra['99.x']"}
    warned = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert any("ignores negative_prompt" in message for message in warned)


def test_nobody_is_warned_of_what_a_template_gave(provider, caplog):
    asked = request(negative_prompt="hats", from_template=frozenset({"negative_prompt"}))
    result = done(provider.generate(asked))
    assert [entry["parameter"] for entry in result.metadata["ignored"]] == ["negative_prompt"]
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]


def test_nobody_is_warned_of_a_size_and_seed_that_were_not_given(comfyui_server, tmp_path, caplog):
    graph = {
        "1": {
            "class_type": "EmptyImage",
            "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 0},
        },
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}},
    }
    (tmp_path / "plain.json").write_text(json.dumps(graph), encoding="utf-8")
    with ComfyUIProvider(
        comfyui_server.address, tmp_path, default_workflow="plain.json"
    ) as provider:
        result = done(provider.generate(ImageGenerationRequest("fox", from_template={"prompt"})))
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]
    assert result.images[0]["seed"] is None


def test_prompts_are_logged_at_debug_only(provider, caplog):
    caplog.set_level(logging.DEBUG)
    done(provider.generate(request("a secret wish")))
    assert {r.levelname for r in caplog.records if "a secret wish" in r.getMessage()} == {"DEBUG"}


# Which workflow


def test_a_server_without_flux_uses_its_first_checkpoint_with_a_warning(tmp_path, caplog):
    with serving(models=ONLY_CHECKPOINTS) as (_, provider):
        result = done(provider.generate(request()))
        changed = done(provider.generate(sourced(picture(tmp_path / "s.png"))))
    assert result.model == "first.safetensors"
    assert result.metadata["workflow"] == "t2i_checkpoint.json"
    (warning,) = result.metadata["warnings"]
    for word in ("flux1-dev.safetensors", "ae.safetensors", "first.safetensors"):
        assert word in warning
    assert warning in caplog.text
    assert changed.metadata["workflow"] == "i2i_checkpoint.json"


def test_a_server_without_any_model_is_told_which_files_go_where():
    with serving(models={}) as (server, provider):
        result = provider.generate(request())
        assert (result.error_type, server.stats.posts) == ("workflow", 0)
    for part in (
        *("flux1-dev.safetensors", "models/diffusion_models"),
        *("clip_l.safetensors", "t5xxl_fp16.safetensors", "models/text_encoders"),
        *("ae.safetensors", "models/vae", "models/checkpoints"),
    ):
        assert part in result.error


def test_a_model_that_was_put_there_since_is_found_at_once():
    with serving(models={}) as (server, provider):
        assert not provider.generate(request()).success
        server.stop()
        options = EmbeddedOptions(step_seconds=0, models=ONLY_CHECKPOINTS)
        with EmbeddedServer(int(server.address.rpartition(":")[2]), options):
            assert done(provider.generate(request())).model == "first.safetensors"


def test_a_configured_workflow_is_not_replaced():
    with (
        EmbeddedServer(options=EmbeddedOptions(step_seconds=0, models=ONLY_CHECKPOINTS)) as server,
        ComfyUIProvider(server.address, default_workflow="t2i_flux.json") as provider,
    ):
        result = provider.generate(request())
    assert result.error_type == "workflow"
    assert "flux1-dev.safetensors" in result.error


def test_a_configured_workflow_is_the_default(comfyui_server):
    with ComfyUIProvider(
        comfyui_server.address, default_workflow="t2i_checkpoint.json"
    ) as provider:
        assert done(provider.generate(request())).metadata["workflow"] == "t2i_checkpoint.json"


@pytest.mark.parametrize(
    "name",
    [
        "../secret.json",
        "sub/../../secret.json",
        "/etc/passwd",
        "C:\\secret.json",
        "C:secret.json",
        "\\\\host\\share\\secret.json",
        "//host/share/secret.json",
        "nul\0l.json",
        "gone.json",
        "",
        ".",
    ],
)
def test_names_that_lead_out_of_the_folder_or_nowhere_are_refused(comfyui_server, tmp_path, name):
    (tmp_path / "secret.json").write_text("{}", encoding="utf-8")
    folder = tmp_path / "flows"
    (folder / "sub").mkdir(parents=True)
    (folder / "t2i_flux.json").write_text("{}", encoding="utf-8")
    with ComfyUIProvider(comfyui_server.address, folder) as provider:
        result = provider.generate(request(workflow=name or " "))
    assert result.error_type == "workflow"
    assert "t2i_flux.json" in result.error
    assert comfyui_server.stats.posts == 0


def test_an_absolute_path_needs_permission(comfyui_server, provider, tmp_path):
    bundled = Path(__file__).parent.parent / "workflows" / "comfyui" / "t2i_checkpoint.json"
    asked = request(workflow=str(bundled))
    assert provider.generate(asked).error_type == "workflow"
    with ComfyUIProvider(comfyui_server.address, allow_absolute_workflows=True) as open_provider:
        done(open_provider.generate(asked))


# Building without sending


def test_what_is_built_is_what_is_queued(provider, comfyui_server, tmp_path):
    source, mask = picture(tmp_path / "s.png"), half_mask(tmp_path / "m.png")
    for asked in (
        request(loras=[("example_lora.safetensors", 0.5)]),
        sourced(source, mask_image_url=str(mask), strength=0.9),
        request(model="sd_xl_base_1.0.safetensors", negative_prompt="x"),
    ):
        posts, uploads = comfyui_server.stats.posts, comfyui_server.stats.uploads
        built = provider.build_workflow(asked)
        assert (comfyui_server.stats.posts, comfyui_server.stats.uploads) == (posts, uploads)
        assert queued_graphs(provider, done(provider.generate(asked)))[0] == built


def free_address():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def test_a_workflow_is_built_without_a_server():
    with ComfyUIProvider(free_address()) as provider:
        graph = provider.build_workflow(ImageGenerationRequest("fox"))
        again = provider.build_workflow(ImageGenerationRequest("fox"))
    assert graph["4"]["inputs"]["text"] == "fox"
    assert graph["8"]["inputs"]["seed"] != again["8"]["inputs"]["seed"]


def test_source_roots_may_be_one_folder(tmp_path):
    inside, outside = tmp_path / "in", tmp_path / "out"
    for folder in (inside, outside):
        folder.mkdir()
        picture(folder / "fox.png")
    with ComfyUIProvider(free_address(), source_roots=str(inside)) as provider:
        provider.build_workflow(sourced(inside / "fox.png"))
        with pytest.raises(InvalidRequestError):
            provider.build_workflow(sourced(outside / "fox.png"))
    with pytest.raises(TypeError, match="source_roots must be"):
        ComfyUIProvider(source_roots=5)


def test_sources_may_come_from_a_host_that_the_constructor_opens(comfyui_server, web):
    web.answer = lambda place: whole(png(width=200, height=100))
    asked = sourced(f"http://localhost:{web.port}/fox.png", steps=1)
    address = comfyui_server.address
    opened = {"source_hosts": f"localhost:{web.port}", "source_max_side": 64}
    with ComfyUIProvider(address) as closed, ComfyUIProvider(address, **opened) as provider:
        assert "IMAGE_SOURCE_HOSTS" in closed.generate(asked).error
        assert web.asked == []
        result = done(provider.generate(asked))
    assert (result.images[0]["width"], result.images[0]["height"]) == (64, 32)
    assert result.metadata["adjusted"] == [
        {"parameter": "source_image_url", "asked": [200, 100], "used": [64, 32]}
    ]
    with pytest.raises(ValueError, match="no host or host:port"):
        ComfyUIProvider(source_hosts="http://localhost")


def test_nothing_is_written_to_disk_for_pictures_that_are_uploaded(provider, tmp_path):
    source = picture(tmp_path / "s.png")
    mask = half_mask(tmp_path / "m.png")
    before = set(tmp_path.rglob("*"))
    done(provider.generate(sourced(source, mask_image_url=str(mask), steps=1)))
    done(provider.generate(request(extra={"source_image": source.read_bytes()}, steps=1)))
    assert set(tmp_path.rglob("*")) == before


def test_building_raises_for_what_cannot_be_built(provider):
    with pytest.raises(WorkflowError):
        provider.build_workflow(request(workflow="gone.json"))
    with pytest.raises(InvalidRequestError):
        provider.build_workflow(sourced("gone.png"))


# Workflows of the caller's own


def model_free_graph(width=8):
    return {
        "a": {
            "class_type": "EmptyImage",
            "inputs": {"width": width, "height": 8, "batch_size": 1, "color": 0xFF0000},
        },
        "b": {"class_type": "SaveImage", "inputs": {"images": ["a", 0], "filename_prefix": "x"}},
    }


def test_a_graph_runs_as_it_is(provider):
    updates = []
    result = done(provider.run_workflow(model_free_graph(), updates.append))
    assert (pixels(result.images[0]["bytes"]) == (255, 0, 0)).all()
    assert queued_graphs(provider, result) == [model_free_graph()]
    assert (result.images[0]["seed"], result.model) == (None, None)
    assert updates[-1].fraction == 1.0


def test_a_graph_that_the_server_refuses_is_an_error_naming_the_input(provider):
    result = provider.run_workflow(model_free_graph(width=0))
    assert result.error_type == "workflow"
    assert (result.exception.node_id, result.exception.input_name) == ("a", "width")
    assert "width" in result.error


@pytest.mark.parametrize("graph", [{}, [], None, {"1": {"inputs": {}}}])
def test_what_is_no_graph_is_an_error(provider, comfyui_server, graph):
    assert provider.run_workflow(graph).error_type == "workflow"
    assert comfyui_server.stats.posts == 0


@pytest.mark.parametrize("path", ["t2i_flux.json", Path("t2i_flux.json")])
def test_a_path_is_no_graph_and_where_it_belongs_is_said(provider, path):
    result = provider.run_workflow(path)
    assert result.error_type == "workflow"
    assert "the graph of a file is Workflow.from_file(path).graph" in result.error


def test_a_workflow_file_is_executed(provider, tmp_path):
    bundled = Path(__file__).parent.parent / "workflows" / "comfyui"
    result = done(
        provider.execute_comfy_workflow(
            bundled / "t2i_checkpoint.json", "a fox", "hats", 3, 2, 4.0, 64, 128
        )
    )
    (graph,) = queued_graphs(provider, result)
    assert [graph[i]["inputs"]["text"] for i in ("2", "3")] == ["a fox", "hats"]
    sampler = graph["5"]["inputs"]
    assert (sampler["seed"], sampler["steps"], sampler["cfg"]) == (3, 2, 4.0)
    assert (result.images[0]["width"], result.images[0]["height"]) == (64, 128)
    source = picture(tmp_path / "s.png")
    changed = provider.execute_comfy_workflow(
        str(bundled / "i2i_checkpoint.json"),
        "a fox",
        input_image_path=source,
        denoise_weight=0.0,
        mode_switch_value="I2I",
    )
    assert (pixels(done(changed).images[0]["bytes"]) == pixels(source.read_bytes())).all()
    transparent = Image.new("RGBA", (64, 64), (1, 2, 3, 255))
    transparent.paste((0, 0, 0, 0), (32, 0, 64, 64))
    transparent.save(tmp_path / "t.png")
    inpainted = provider.execute_comfy_workflow(
        bundled / "inpaint_checkpoint.json",
        "a fox",
        input_image_path=tmp_path / "t.png",
        mode_switch_value="INPAINT",
    )
    assert (pixels(done(inpainted).images[0]["bytes"])[:, :32] == (1, 2, 3)).all()


def test_an_unknown_mode_is_a_value_error(provider):
    with pytest.raises(ValueError, match="T2I, I2I, INPAINT"):
        provider.execute_comfy_workflow("x.json", "fox", mode_switch_value="V2V")


def test_a_mode_and_an_image_that_do_not_fit_are_told(provider, tmp_path):
    bundled = Path(__file__).parent.parent / "workflows" / "comfyui"
    needed = provider.execute_comfy_workflow(
        bundled / "i2i_flux.json", "fox", mode_switch_value="I2I"
    )
    assert needed.error_type == "invalid_request"
    unused = provider.execute_comfy_workflow(
        bundled / "t2i_checkpoint.json",
        "fox",
        steps=1,
        width=64,
        height=64,
        input_image_path=picture(tmp_path / "s.png"),
    )
    assert "input_image_path is not used" in done(unused).metadata["warnings"][0]


def test_a_workflow_file_that_is_not_there_is_an_error_naming_it(provider):
    result = provider.execute_comfy_workflow("gone.json", "fox")
    assert result.error_type == "workflow"
    assert "gone.json" in result.error


# Failures


def test_a_value_out_of_range_is_told_before_anything_is_sent(provider, comfyui_server):
    result = provider.generate(request(extra={"8.steps": 0}))
    assert (result.error_type, comfyui_server.stats.posts) == ("workflow", 0)
    (problem,) = result.exception.problems
    assert (problem.kind, problem.node_id, problem.input_name) == ("out_of_range", "8", "steps")
    assert "t2i_flux.json" in result.error


def test_a_refusal_by_the_server_names_the_workflow_once(comfyui_server, tmp_path):
    # That a picture is missing is left to the server to say.
    graph = {
        "1": {"class_type": "LoadImage", "inputs": {"image": "gone.png"}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}},
    }
    (tmp_path / "mine.json").write_text(json.dumps(graph), "utf-8")
    with ComfyUIProvider(comfyui_server.address, tmp_path) as provider:
        results = [
            provider.generate(ImageGenerationRequest("fox", workflow="mine.json")),
            provider.execute_comfy_workflow(tmp_path / "mine.json", "fox"),
        ]
    for result in results:
        assert (result.error_type, result.exception.file) == ("workflow", "mine.json")
        assert result.error.startswith("workflow mine.json: the server refused the workflow: node")
        assert (result.exception.node_id, result.exception.status) == ("1", 400)
        assert result.error.count("mine.json") == 1


def test_a_number_of_numpy_in_extra_is_queued_and_told_as_a_number(provider):
    result = done(provider.generate(request(extra={"8.steps": numpy.int64(3)})))
    assert queued_graphs(provider, result)[0]["8"]["inputs"]["steps"] == 3
    assert json.loads(json.dumps(result.recipe))["request"]["extra"] == {"8.steps": 3}


def test_what_no_input_can_be_is_an_invalid_request_naming_the_key(provider, comfyui_server):
    result = provider.generate(request(extra={"8.steps": {3}}))
    assert (result.error_type, comfyui_server.stats.posts) == ("invalid_request", 0)
    assert "extra['8.steps'] is a set" in result.error


def test_a_failure_on_the_server_names_the_node():
    with serving(fail_node=FailNode("VAEDecode", "no such thing")) as (_, provider):
        result = provider.generate(request())
    assert (result.success, result.error_type, result.images) == (False, "generation_failed", [])
    assert (result.exception.node_id, result.exception.class_type) == ("9", "VAEDecode")
    assert "no such thing" in result.error
    assert "'Decode'" in result.error
    assert result.metadata["server"] == "embedded"
    with pytest.raises(type(result.exception)):
        result.raise_for_error()


def test_pictures_that_were_finished_before_a_failure_are_kept():
    prompt_ids = []

    def fail_second_job(event):
        if event.prompt_id not in prompt_ids:
            prompt_ids.append(event.prompt_id)
        if len(prompt_ids) == 2:
            raise RuntimeError("second job")

    with serving(on_step=fail_second_job) as (_, provider):
        result = provider.generate(request(num_images=3))
    assert (result.success, result.error_type) == (False, "generation_failed")
    assert [image["seed"] for image in result.images] == [5]
    assert result.recipe["seeds"] == [5]
    assert len(prompt_ids) == 2


def test_a_job_that_somebody_interrupts_is_cancelled():
    gate = StepGate("KSampler", step=2)
    with serving(on_step=gate) as (server, provider):
        future = provider.submit(request(steps=4))
        assert gate.wait_reached()
        call_server(server, "/interrupt", {})
        gate.open()
        result = future.result(30)
    assert (result.success, result.error_type) == (False, "cancelled")
    assert "interrupted" in result.error


def generation_threads():
    return [thread for thread in threading.enumerate() if thread.name == "generation"]


def test_cancelling_the_future_ends_the_job_on_the_server():
    gate = StepGate("KSampler", step=2)
    with serving(on_step=gate) as (server, provider):
        future = provider.submit(request(steps=4, num_images=2))
        assert gate.wait_reached()
        assert future.running()
        assert future.cancel()
        gate.open()
        with pytest.raises(CancelledError):
            future.result(30)
        for thread in generation_threads():
            thread.join(30)
        assert call_server(server, "/queue") == {"queue_running": [], "queue_pending": []}
        assert server.stats.posts == 1


def test_a_submitted_request_gives_the_same_result(provider):
    future = provider.submit(request())
    assert done(future.result(30)).images[0]["seed"] == 5
    assert not future.cancel()


def test_a_server_that_is_not_there_is_an_error_with_its_address_and_the_next_step():
    address = free_address()
    with ComfyUIProvider(address) as provider:
        result = provider.generate(request())
        assert (result.success, result.error_type) == (False, "unavailable")
        assert address in result.error
        assert "COMFYUI_SERVER_ADDRESS" in result.error
        assert provider.unavailable_reason() == result.error
        with pytest.raises(ProviderUnavailableError):
            provider.queue_prompt(model_free_graph())


def test_wrong_argument_types_raise():
    with ComfyUIProvider() as provider, pytest.raises(TypeError):
        provider.generate(request(seed="5"))


# The low-level methods


def test_a_prompt_is_queued_waited_for_and_read(provider, comfyui_server):
    graph = model_free_graph()
    prompt_id = provider.queue_prompt(graph, client_id="mine/1")
    assert comfyui_server.stats.websockets == 0
    (data,) = provider.wait_for_completion(prompt_id)
    assert Image.open(BytesIO(data)).size == (8, 8)
    entry = provider.get_history(prompt_id)[prompt_id]
    assert entry["prompt"][2] == graph
    assert entry["prompt"][3]["client_id"] == "mine/1"
    assert provider.get_history("00000000-0000-4000-8000-000000000000") == {}


def test_waiting_too_long_raises_and_cancels():
    gate = StepGate("KSampler", step=1)
    with serving(on_step=gate) as (server, provider):
        prompt_id = provider.queue_prompt(provider.build_workflow(request()))
        assert gate.wait_reached()
        opener = threading.Timer(0.3, gate.open)
        opener.start()
        with pytest.raises(ProviderTimeoutError):
            provider.wait_for_completion(prompt_id, timeout=0.05)
        opener.join()
        assert call_server(server, "/queue")["queue_running"] == []


def test_the_low_level_methods_raise(provider, tmp_path):
    with pytest.raises(WorkflowError):
        provider.queue_prompt(model_free_graph(width=0))
    with pytest.raises(ProviderUnavailableError):
        provider.get_image("gone.png")
    with pytest.raises(InvalidRequestError, match=r"gone\.png"):
        provider.upload_image(tmp_path / "gone.png")


def test_an_uploaded_image_has_the_name_that_load_image_takes(provider, tmp_path):
    source = picture(tmp_path / "s.png")
    name = provider.upload_image(source)
    assert name == "s.png"
    other = picture(tmp_path / "other.png", color=(0, 0, 0))
    assert provider.upload_image(other, "s.png") == "s (1).png"
    graph = {
        "1": {"class_type": "LoadImage", "inputs": {"image": name}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}},
    }
    result = done(provider.run_workflow(graph))
    assert (pixels(result.images[0]["bytes"]) == pixels(source.read_bytes())).all()


def test_the_first_node_of_a_class_is_found_in_file_order(provider):
    graph = {"9": {"class_type": "A", "inputs": {}}, "1": {"class_type": "A", "inputs": {}}}
    assert provider.find_node_by_class_type(graph, "A") == "9"
    assert provider.find_node_by_class_type(graph, "B") is None


def test_models_are_checkpoints_and_diffusion_models_sorted_and_unique():
    models = DEFAULT_MODELS | {"checkpoints": ("b", "a"), "diffusion_models": ("c", "a")}
    with serving(models=models) as (_, provider):
        assert provider.get_available_models() == ["a", "b", "c"]


def test_check_tells_of_the_server_and_of_a_workflow_on_it(comfyui_server):
    with serving(models=ONLY_CHECKPOINTS) as (server, provider):
        status = provider.check("t2i_flux.json")
        assert (status.address, status.is_embedded, status.queue_length) == (
            *(server.address, True, 0),
        )
        assert {problem.kind for problem in status.problems} == {"missing_model"}
        assert provider.check().problems == ()


# The embedded server by name


def test_the_embedded_server_is_started_by_name_and_stopped_by_close():
    provider = ComfyUIProvider("embedded")
    with provider:
        result = done(provider.generate(request()))
        url = result.get_image_url()
        assert result.metadata["server"] == "embedded"
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(url, timeout=10)


def test_closing_what_was_never_used_is_harmless():
    threads = threading.enumerate()
    ComfyUIProvider("embedded").close()
    assert threading.enumerate() == threads


# For the cache


def test_the_identity_names_the_workflow_and_model_that_would_be_used():
    with serving() as (_, flux), serving(models=ONLY_CHECKPOINTS) as (_, checkpoint):
        identities = [p.cache_identity(request()) for p in (flux, checkpoint)]
    assert identities[0]["workflow"] != identities[1]["workflow"]
    assert [i["model"] for i in identities] == [None, "first.safetensors"]
    assert [i["server"] for i in identities] == ["embedded", "embedded"]


def test_the_identity_needs_no_server_and_no_workflow():
    with ComfyUIProvider(free_address()) as provider:
        assert provider.cache_identity(request())["server"] is None
        assert provider.cache_identity(request(workflow="gone.json"))["workflow"] is None


def test_a_provider_without_keys_pickles_and_one_with_a_key_refuses():
    with ComfyUIProvider("there:1", default_workflow="t2i_checkpoint.json") as provider:
        again = pickle.loads(pickle.dumps(provider))
    assert (again.server_address, again.model) == ("there:1", "t2i_checkpoint.json")
    again.close()
    for keyed in (
        ComfyUIProvider("there:1", api_key=planted("token")),
        ComfyUIProvider(f"http://me:{planted('word')}@there:1"),
        ComfyUIProvider("there:1", comfy_org_api_key=planted("of-comfy-org")),
    ):
        with keyed, pytest.raises(TypeError, match="do not go into a pickle"):
            pickle.dumps(keyed)


@pytest.mark.parametrize("method", [None, "auto", "latent2rgb", "taesd", "none"])
def test_the_preview_method_is_sent_with_every_job(comfyui_server, method):
    with ComfyUIProvider(comfyui_server.address, preview_method=method) as provider:
        made = done(provider.generate(request()))
        queued = provider.queue_prompt(made.recipe["workflow"])
        provider.wait_for_completion(queued)
        for prompt_id in (*made.metadata["prompt_ids"], queued):
            extra_data = provider.get_history(prompt_id)[prompt_id]["prompt"][3]
            assert extra_data.get("preview_method") == method


def test_an_unknown_preview_method_is_refused():
    with pytest.raises(ValueError, match="one of auto, latent2rgb, taesd, none"):
        ComfyUIProvider(preview_method="default")


def test_a_preview_method_is_no_secret_and_goes_into_a_pickle():
    with ComfyUIProvider("there:1", preview_method="taesd") as provider:
        again = pickle.loads(pickle.dumps(provider))
    assert again._extra_data == {"preview_method": "taesd"}
    again.close()


@pytest.mark.parametrize(
    ("address", "number"), [("127.0.0.1:1", 2), ("127.0.0.1:1,127.0.0.1:2", 4), ("embedded", 2)]
)
def test_two_requests_at_once_keep_each_server_busy(address, number):
    with ComfyUIProvider(address) as provider:
        assert provider.concurrent_requests == number
