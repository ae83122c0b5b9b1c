"""What a sampled picture is made of: seed, source, denoise, mask, and the text in the PNG."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image, ImageDraw

from tests.embedded.driving import image_to_image, node, text_to_image


def source_picture(size=64) -> Image.Image:
    """Noise, so that every pixel can be told from its neighbours."""
    values = np.random.default_rng(5).integers(0, 256, (size, size, 3), dtype=np.uint8)
    return Image.fromarray(values)


def with_hole(image: Image.Image, box) -> Image.Image:
    """The picture with a transparent box: what LoadImage takes as the mask."""
    alpha = Image.new("L", image.size, 255)
    ImageDraw.Draw(alpha).rectangle(box, fill=0)
    masked = image.copy()
    masked.putalpha(alpha)
    return masked


def test_the_same_seed_gives_the_same_file_and_another_seed_another(driver):
    first = driver.pixels(text_to_image(seed=7))
    driver.pixels(text_to_image(seed=8))  # so that the next one is not answered from the cache
    assert np.array_equal(driver.pixels(text_to_image(seed=7)), first)
    assert not np.array_equal(driver.pixels(text_to_image(seed=9)), first)


def test_pictures_of_a_batch_differ_and_the_first_is_that_of_the_seed(driver):
    alone = driver.pixels(text_to_image(seed=7))
    graph = text_to_image(seed=7)
    graph["5"]["inputs"]["batch_size"] = 2
    entry = driver.run(graph)
    files = entry["outputs"]["9"]["images"]
    assert len({file["filename"] for file in files}) == 2
    assert np.array_equal(np.asarray(driver.picture(entry)).astype(int), alone)
    entry["outputs"]["9"]["images"].pop(0)
    assert not np.array_equal(np.asarray(driver.picture(entry)).astype(int), alone)


def test_png_carries_the_graph_the_workflow_and_the_name_of_the_server(driver):
    graph = text_to_image()
    prompt_id = driver.post(graph, extra_data={"extra_pnginfo": {"workflow": {"id": "w"}}})
    driver.until_done(prompt_id)
    picture = driver.picture(driver.get(f"/history/{prompt_id}")[prompt_id])
    assert json.loads(picture.text["prompt"]) == graph
    assert json.loads(picture.text["workflow"]) == {"id": "w"}
    assert "embedded server" in picture.text["Software"]


def test_less_denoise_keeps_more_of_the_source(driver):
    source = source_picture()
    name = driver.upload(source)
    pixels = np.asarray(source).astype(int)
    distances = [
        np.abs(driver.pixels(image_to_image(name, denoise)) - pixels).mean()
        for denoise in (0.0, 0.25, 0.5, 0.75, 1.0)
    ]
    assert distances == sorted(distances)
    assert distances[0] == 0
    assert distances[1] == pytest.approx(distances[4] / 4, abs=1.0)


def inpainting_nodes(kind: str) -> dict:
    """Nodes 11 and on: from the picture and mask of node 10 to what the sampler takes."""
    match kind:
        case "SetLatentNoiseMask":
            return {
                "12": node("VAEEncode", pixels=["10", 0], vae=["4", 2]),
                "11": node(kind, samples=["12", 0], mask=["10", 1]),
            }
        case "VAEEncodeForInpaint":
            inputs = {"pixels": ["10", 0], "vae": ["4", 2], "mask": ["10", 1]}
            return {"11": node(kind, grow_mask_by=6, **inputs)}
    inputs = {"positive": ["6", 0], "negative": ["7", 0], "vae": ["4", 2]}
    image = {"pixels": ["10", 0], "mask": ["10", 1], "noise_mask": kind.endswith("with mask")}
    return {"12": node("InpaintModelConditioning", **inputs, **image)}


@pytest.mark.parametrize(
    "kind",
    [
        "SetLatentNoiseMask",
        "VAEEncodeForInpaint",
        "InpaintModelConditioning with mask",
        "InpaintModelConditioning without mask",
    ],
)
@pytest.mark.parametrize("size", [64, 320], ids=["no caption", "caption"])
def test_inpainting_changes_masked_pixels_only(driver, kind, size):
    box = (size // 4, size // 8, size - 2, size - 4)
    source = source_picture(size)
    name = driver.upload(with_hole(source, box))
    graph = image_to_image(name, 1.0)
    del graph["11"]
    graph.update(inpainting_nodes(kind))
    if "12" in graph and "11" not in graph:
        graph["3"]["inputs"].update(positive=["12", 0], negative=["12", 1], latent_image=["12", 2])
    masked = np.zeros((size, size), dtype=bool)
    masked[box[1] : box[3] + 1, box[0] : box[2] + 1] = True
    changed = (driver.pixels(graph) != np.asarray(source)).any(axis=2)
    assert not changed[~masked].any()
    assert changed[masked].mean() > 0.95


def test_half_a_mask_changes_by_half(driver):
    source = Image.new("RGB", (64, 64), "black")
    source.putalpha(128)
    name = driver.upload(source)
    graph = image_to_image(name, 1.0)
    graph["12"] = node("SetLatentNoiseMask", samples=["11", 0], mask=["10", 1])
    graph["3"]["inputs"]["latent_image"] = ["12", 0]
    full = driver.pixels(text_to_image())
    assert np.abs(driver.pixels(graph) - full * 127 / 255).max() <= 1


def test_a_latent_is_cut_to_whole_cells_of_eight_pixels(driver):
    name = driver.upload(source_picture().crop((0, 0, 61, 50)))
    assert driver.pixels(image_to_image(name, 0.5)).shape == (48, 56, 3)


def test_flux_nodes_paint_with_their_own_sampler(driver):
    graph = {
        "1": node("UNETLoader", unet_name="flux1-dev.safetensors", weight_dtype="default"),
        "2": node(
            "DualCLIPLoader", clip_name1="clip_l.safetensors",
            clip_name2="t5xxl_fp16.safetensors", type="flux",
        ),
        "3": node("VAELoader", vae_name="ae.safetensors"),
        "4": node("CLIPTextEncode", text="a lake", clip=["2", 0]),
        "5": node("FluxGuidance", conditioning=["4", 0], guidance=3.5),
        "6": node("BasicGuider", model=["1", 0], conditioning=["5", 0]),
        "7": node("RandomNoise", noise_seed=4),
        "8": node("KSamplerSelect", sampler_name="euler"),
        "10": node("BasicScheduler", model=["1", 0], scheduler="simple", steps=4, denoise=1.0),
        "11": node("EmptySD3LatentImage", width=64, height=80, batch_size=1),
        "12": node(
            "SamplerCustomAdvanced", noise=["7", 0], guider=["6", 0], sampler=["8", 0],
            sigmas=["10", 0], latent_image=["11", 0],
        ),
        "13": node("VAEDecode", samples=["12", 0], vae=["3", 0]),
        "9": node("SaveImage", images=["13", 0], filename_prefix="flux/%width%x%height%"),
    }  # fmt: skip
    entry = driver.run(graph)
    assert driver.picture(entry).size == (64, 80)
    assert entry["outputs"]["9"]["images"][0]["filename"] == "64x80_00001_.png"
