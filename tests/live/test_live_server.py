"""The main jobs against a real ComfyUI: COMFYUI_LIVE_SERVER=host:port pytest -m live tests/live.

The graphs without a model run on any server, on a CPU in moments. The bundled checkpoint workflows
run where the server has their checkpoint, with few steps and small pictures.
"""

from __future__ import annotations

import json
import os
from io import BytesIO

import numpy
import pytest
from PIL import Image

from comfyui_provider import ComfyUIProvider
from image_provider import ImageGenerationRequest, WorkflowError

pytestmark = pytest.mark.live

SIZE = (256, 192)


@pytest.fixture(scope="module")
def provider():
    with ComfyUIProvider(os.environ["COMFYUI_LIVE_SERVER"]) as made:
        yield made


@pytest.fixture(scope="module")
def checkpoint(provider):
    problems = provider.check("t2i_checkpoint.json").problems
    if problems:
        pytest.skip(problems[0].message)
    return "v1-5-pruned-emaonly.safetensors"


def node(class_type, **inputs):
    return {"class_type": class_type, "inputs": inputs}


def saved(graph):
    """The graph with its node "out" saved."""
    return graph | {"save": node("SaveImage", images=["out", 0], filename_prefix="live_test")}


def done(result):
    assert result.success, result.error
    return result


def pixels(data):
    return numpy.asarray(Image.open(BytesIO(data)).convert("RGB")).astype(int)


@pytest.fixture
def source(tmp_path):
    """A picture whose pixels all differ from their neighbours'."""
    across, down = numpy.meshgrid(numpy.arange(SIZE[0]), numpy.arange(SIZE[1]))
    colors = numpy.stack([across % 256, down % 256, (across + down) % 256], axis=2)
    path = tmp_path / "source.png"
    Image.fromarray(colors.astype(numpy.uint8)).save(path)
    return path


@pytest.fixture
def mask(tmp_path):
    """White, may change, in the right half."""
    image = Image.new("L", SIZE, 0)
    image.paste(255, (SIZE[0] // 2, 0, *SIZE))
    image.save(tmp_path / "mask.png")
    return tmp_path / "mask.png"


def workflow_file(folder, graph):
    path = folder / "live.json"
    path.write_text(json.dumps(graph), encoding="utf-8")
    return path


# Without any model


def test_a_graph_makes_a_picture_and_progress_ends_at_one(provider):
    updates = []
    graph = saved({"out": node("EmptyImage", width=64, height=48, batch_size=2, color=0x336699)})
    result = done(provider.run_workflow(graph, updates.append))
    assert len(result.images) == 2
    for image in result.images:
        assert (pixels(image["bytes"]) == (0x33, 0x66, 0x99)).all()
        assert (image["width"], image["height"]) == (64, 48)
    fractions = [update.fraction for update in updates]
    assert (fractions, fractions[-1]) == (sorted(fractions), 1.0)


def test_a_cached_job_brings_its_picture_again(provider):
    graph = saved({"out": node("EmptyImage", width=72, height=48, batch_size=1, color=0x102030)})
    first, second = (done(provider.run_workflow(graph)) for _ in range(2))
    assert (pixels(first.images[0]["bytes"]) == pixels(second.images[0]["bytes"])).all()


def test_an_uploaded_source_arrives_pixel_for_pixel(provider, source, tmp_path):
    graph = saved({"out": node("LoadImage", image="x.png")})
    result = done(
        provider.execute_comfy_workflow(
            workflow_file(tmp_path, graph),
            "nothing reads this",
            input_image_path=source,
            mode_switch_value="I2I",
        )
    )
    assert (pixels(result.images[0]["bytes"]) == pixels(source.read_bytes())).all()


@pytest.mark.parametrize("loader", ["LoadImage", "LoadImageMask red", "LoadImageMask alpha"])
def test_an_uploaded_mask_arrives_and_white_is_what_changes(
    provider, source, mask, tmp_path, loader
):
    class_type, _, channel = loader.partition(" ")
    graph = saved(
        {
            "in": node("LoadImage", image="x.png"),
            "inverted": node("ImageInvert", image=["in", 0]),
            "out": node(
                "ImageCompositeMasked",
                destination=["in", 0],
                source=["inverted", 0],
                x=0,
                y=0,
                resize_source=False,
                mask=["in", 1],
            ),
        }
    )
    if channel:
        graph["mask"] = node(class_type, image="x.png", channel=channel)
        graph["out"]["inputs"]["mask"] = ["mask", 0]
    workflow = workflow_file(tmp_path, graph)
    with ComfyUIProvider(os.environ["COMFYUI_LIVE_SERVER"], tmp_path) as own:
        result = done(
            own.generate(
                ImageGenerationRequest(
                    "nothing reads this",
                    source_image_url=str(source),
                    mask_image_url=str(mask),
                    workflow=workflow.name,
                )
            )
        )
    before, after = pixels(source.read_bytes()), pixels(result.images[0]["bytes"])
    half = SIZE[0] // 2
    assert (after[:, :half] == before[:, :half]).all()
    # The server's floats are cut, not rounded, to whole numbers.
    assert abs(after[:, half:] - (255 - before[:, half:])).max() <= 1


def test_a_refused_graph_names_node_and_input(provider):
    graph = saved({"out": node("EmptyImage", width=0, height=8, batch_size=1, color=0)})
    result = provider.run_workflow(graph)
    assert result.error_type == "workflow"
    assert (result.exception.node_id, result.exception.input_name) == ("out", "width")
    with pytest.raises(WorkflowError):
        provider.queue_prompt(graph)


def test_a_failing_node_is_named(provider):
    # A blur that reaches further than the picture is found when it runs only.
    graph = saved({"in": node("EmptyImage", width=8, height=8, batch_size=1, color=0)})
    graph["out"] = node("ImageBlur", image=["in", 0], blur_radius=31, sigma=1.0)
    result = provider.run_workflow(graph)
    assert result.error_type == "generation_failed"
    assert (result.exception.node_id, result.exception.class_type) == ("out", "ImageBlur")


def test_a_low_level_job_is_waited_for(provider):
    graph = saved({"out": node("EmptyImage", width=40, height=40, batch_size=1, color=0)})
    prompt_id = provider.queue_prompt(graph)
    (data,) = provider.wait_for_completion(prompt_id, timeout=60)
    assert Image.open(BytesIO(data)).size == (40, 40)
    assert prompt_id in provider.get_history(prompt_id)


def test_the_server_tells_what_it_is(provider):
    status = provider.check("t2i_checkpoint.json")
    assert status.version
    assert not status.is_embedded
    assert {p.kind for p in status.problems} <= {"missing_model"}


# With a checkpoint


def small(checkpoint, **fields):
    return ImageGenerationRequest(
        "a red fox", **{"model": checkpoint, "steps": 2, "seed": 5, **fields}
    )


def test_text_becomes_a_picture_of_the_size(provider, checkpoint):
    updates = []
    asked = small(checkpoint, width=SIZE[0], height=SIZE[1], on_progress=updates.append)
    result = done(provider.generate(asked))
    assert (result.images[0]["width"], result.images[0]["height"]) == SIZE
    assert (result.images[0]["seed"], result.model) == (5, checkpoint)
    assert updates[-1].fraction == 1.0
    assert {update.total_steps for update in updates} >= {2}


def test_each_of_several_pictures_can_be_made_again(provider, checkpoint):
    asked = small(checkpoint, width=128, height=128)
    several = small(checkpoint, width=128, height=128, num_images=2)
    result = done(provider.generate(several))
    assert [image["seed"] for image in result.images] == [5, 6]
    again = done(provider.generate(asked))
    assert (pixels(again.images[0]["bytes"]) == pixels(result.images[0]["bytes"])).all()


def test_image_to_image_keeps_the_size(provider, checkpoint, source):
    result = done(provider.generate(small(checkpoint, source_image_url=str(source), strength=0.5)))
    assert (result.images[0]["width"], result.images[0]["height"]) == SIZE
    assert result.metadata["workflow"] == "i2i_checkpoint.json"


def test_inpainting_changes_what_is_white_alone(provider, checkpoint, source, mask):
    asked = small(checkpoint, source_image_url=str(source), mask_image_url=str(mask))
    result = done(provider.generate(asked))
    before, after = pixels(source.read_bytes()), pixels(result.images[0]["bytes"])
    half = SIZE[0] // 2
    assert (after[:, :half] == before[:, :half]).all()
    assert (after[:, half:] != before[:, half:]).any(axis=2).mean() > 0.5
    assert result.metadata["workflow"] == "inpaint_checkpoint.json"
