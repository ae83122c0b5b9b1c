"""The other nodes: pictures and masks in, pictures and masks out."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from comfyui.embedded.catalog import NodeCatalog
from comfyui.embedded.execution import NODE_FUNCTIONS
from comfyui.embedded.options import DEFAULT_MODELS
from tests.embedded.driving import colour, node


def saved(graph: dict, last: list) -> dict:
    return {**graph, "9": node("SaveImage", images=last, filename_prefix="test")}


def test_every_described_class_has_a_function_and_the_other_way_round():
    catalog = NodeCatalog(DEFAULT_MODELS, list)
    assert set(catalog.all_object_info()) == set(NODE_FUNCTIONS)


def test_every_function_takes_the_inputs_that_object_info_describes():
    catalog = NodeCatalog(DEFAULT_MODELS, list)
    for class_type, function in NODE_FUNCTIONS.items():
        code = function.__code__
        names = set(code.co_varnames[1 : code.co_argcount])
        assert names == {spec.name for spec in catalog.inputs(class_type)}, class_type


@pytest.mark.parametrize(
    ("class_type", "inputs", "size"),
    [
        ("ImageScale", {"upscale_method": "lanczos", "width": 30, "height": 0, "crop": "center"},
         (30, 15)),
        ("ImageScale", {"upscale_method": "area", "width": 20, "height": 20, "crop": "center"},
         (20, 20)),
        ("ImageScaleBy", {"upscale_method": "bicubic", "scale_by": 0.5}, (32, 16)),
        ("ImageScaleToTotalPixels",
         {"upscale_method": "bilinear", "megapixels": 0.0625, "resolution_steps": 1}, (362, 181)),
        ("ImageBlur", {"blur_radius": 2, "sigma": 1.0}, (64, 32)),
    ],
)  # fmt: skip
def test_scaling_gives_the_asked_size(driver, class_type, inputs, size):
    start = {"1": node("EmptyImage", width=64, height=32, batch_size=1, color=0xFF8000)}
    start["2"] = node(class_type, image=["1", 0], **inputs)
    pixels = driver.pixels(saved(start, ["2", 0]))
    assert pixels.shape == (size[1], size[0], 3)
    assert (pixels == (255, 128, 0)).all()


def test_invert_turns_each_value_round(driver):
    graph = {**colour(0x102030), "3": node("ImageInvert", image=["1", 0])}
    assert (driver.pixels(saved(graph, ["3", 0])) == (239, 223, 207)).all()


def test_a_batch_of_two_saves_two_files(driver):
    graph = {
        "1": node("EmptyImage", width=16, height=16, batch_size=1, color=1),
        "2": node("EmptyImage", width=32, height=16, batch_size=1, color=2),
        "3": node("ImageBatch", image1=["1", 0], image2=["2", 0]),
    }
    assert len(driver.run(saved(graph, ["3", 0]))["outputs"]["9"]["images"]) == 2


@pytest.mark.parametrize(("expand", "white"), [(2, 8 * 8 - 4 * 3), (-1, 2 * 2)])
def test_a_mask_grows_and_shrinks_by_pixels(driver, expand, white):
    image = Image.new("RGB", (16, 16))
    image.paste((255, 0, 0), (6, 6, 10, 10))
    graph = {
        "1": node("LoadImageMask", image=driver.upload(image), channel="red"),
        "2": node("GrowMask", mask=["1", 0], expand=expand, tapered_corners=True),
        "3": node("MaskToImage", mask=["2", 0]),
    }
    pixels = driver.pixels(saved(graph, ["3", 0]))
    assert int((pixels[:, :, 0] == 255).sum()) == white


def test_compositing_puts_the_source_at_its_place_through_the_mask(driver):
    graph = {
        "1": node("EmptyImage", width=32, height=32, batch_size=1, color=0),
        "2": node("EmptyImage", width=16, height=16, batch_size=1, color=0xFFFFFF),
        "3": node("ImageToMask", image=["2", 0], channel="green"),
        "4": node(
            "ImageCompositeMasked", destination=["1", 0], source=["2", 0], x=24, y=4,
            resize_source=False, mask=["3", 0],
        ),
    }  # fmt: skip
    white = (driver.pixels(saved(graph, ["4", 0])) == 255).all(axis=2)
    expected = np.zeros((32, 32), dtype=bool)
    expected[4:20, 24:32] = True
    assert np.array_equal(white, expected)


def test_primitive_values_can_feed_widgets(driver):
    graph = colour()
    graph["7"] = node("PrimitiveInt", value=48)
    graph["1"]["inputs"]["width"] = ["7", 0]
    assert driver.pixels(graph, "2").shape == (64, 48, 3)


def test_filename_prefix_may_not_leave_the_folder(driver):
    graph = colour()
    graph["2"]["inputs"]["filename_prefix"] = "../../outside"
    entry = driver.run(graph)
    assert entry["status"]["status_str"] == "error"
    error = entry["status"]["messages"][-1][1]
    assert "outside" in error["exception_message"]
    assert error["node_type"] == "SaveImage"


def test_load_image_may_not_leave_the_folder(driver):
    outside = driver.server.data_dir / "secret.png"
    Image.new("RGB", (8, 8)).save(outside)
    graph = {"1": node("LoadImage", image="../secret.png")}
    response = driver.send("/prompt", {"prompt": saved(graph, ["1", 0])})
    assert response.status_code == 400
    assert "custom_validation_failed" in response.text
