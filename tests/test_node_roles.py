"""What a node is for, with and without object_info."""

from __future__ import annotations

import pytest

from comfyui import node_roles as roles
from comfyui.object_info import ObjectInfo
from tests.graph_support import node


def described(outputs, **inputs):
    return ObjectInfo.from_dict({"New": {"input": {"required": inputs}, "output": outputs}})


LINK = ["1", 0]
SIDES = {"positive": ["CONDITIONING"], "negative": ["CONDITIONING"]}
SIDE_LINKS = {"positive": LINK, "negative": LINK}


@pytest.mark.parametrize(
    ("outputs", "inputs", "expected"),
    [
        (["LATENT"], {"m": ["MODEL"], "x": ["LATENT"], **SIDES}, True),
        (["LATENT"], {"g": ["GUIDER"], "x": ["LATENT"]}, True),
        (["CONDITIONING", "CONDITIONING", "LATENT"], {"x": ["LATENT"], **SIDES}, False),
        (["IMAGE"], {"m": ["MODEL"], "x": ["IMAGE"], **SIDES}, False),
        (["LATENT"], {"m": ["MODEL"], "x": ["LATENT"]}, False),
    ],
)
def test_an_unknown_sampler_is_told_by_its_types(outputs, inputs, expected):
    unknown = node("New", **dict.fromkeys(inputs, LINK))
    assert roles.is_sampler(unknown, described(outputs, **inputs)) is expected
    assert roles.is_sampler(unknown) is False


def test_a_sampler_by_names_needs_no_server():
    assert roles.is_sampler(node("KSampler (Efficient)", latent_image=LINK, **SIDE_LINKS))
    assert roles.is_sampler(node("Any", latent_image=LINK, guider=LINK))
    assert not roles.is_sampler(node("ControlNetApplyAdvanced", **SIDE_LINKS))


def test_an_unknown_encoder_is_told_by_what_it_makes_of_texts():
    texts = {"words": ["STRING", {"multiline": True}], "tag": ["STRING", {}]}
    unknown = node("New", words="a", tag="b")
    encoder = described(["CONDITIONING"], **texts)
    assert roles.text_inputs(unknown, "positive", encoder) == ["words"]
    assert roles.text_inputs(unknown, "positive") == []
    adding = described(["CONDITIONING"], **texts, x=["CONDITIONING"])
    assert roles.text_inputs(unknown, "positive", adding) == []
    assert roles.text_inputs(unknown, "positive", described(["STRING"], **texts)) == []


def test_a_node_with_both_texts_gives_the_one_of_the_side():
    loader = node("Efficient Loader", positive="a", negative=LINK)
    assert roles.text_inputs(loader, "positive") == ["positive"]
    assert roles.text_inputs(loader, "negative") == ["negative"]
    assert roles.is_text_encoder(node("ControlNetApplyAdvanced", **SIDE_LINKS)) is False


def test_conditioning_is_walked_by_type_and_without_one_by_name():
    unknown = node("New", base=LINK, cond_extra=LINK)
    info = described(["CONDITIONING"], base=["CONDITIONING"], cond_extra=["FLOAT", {}])
    assert roles.conditioning_inputs(unknown, "positive", info) == ["base"]
    assert roles.conditioning_inputs(unknown, "positive") == ["cond_extra"]


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        (node("EmptySD3LatentImage", width=1, height=1), "width"),
        (node("Efficient Loader", empty_latent_width=1), "empty_latent_width"),
        (node("LatentUpscale", width=1, height=1), None),
        (node("EmptyImage", width=1, height=1), None),
    ],
)
def test_the_size_is_that_of_a_node_that_makes_a_latent(node, expected):
    assert roles.size_input(node, "width") == expected


def test_an_unknown_empty_latent_takes_no_picture():
    unknown = node("New", width=1, height=1)
    numbers = {"width": ["INT", {}], "height": ["INT", {}]}
    assert roles.is_empty_latent(unknown, described(["LATENT"], **numbers))
    assert not roles.is_empty_latent(unknown, described(["LATENT"], **numbers, x=["LATENT"]))
    assert not roles.is_empty_latent(unknown, described(["IMAGE"], **numbers))


def test_a_model_file_is_told_by_name_or_by_the_folder_of_its_models():
    assert roles.model_file(node("UnetLoaderGGUF", unet_name="a")) == "unet_name"
    both = node("Eff. Loader SDXL", refiner_ckpt_name="b", base_ckpt_name="a")
    assert roles.model_file(both) == "base_ckpt_name"
    loader = ObjectInfo.from_dict(
        {"DiffusersLoader": {"input": {"required": {"model_path": [["a"]]}}, "output": ["MODEL"]}}
    )
    assert roles.model_file(node("DiffusersLoader", model_path="a"), loader) == "model_path"


def test_pictures_and_masks_are_told_by_class_or_by_what_is_uploaded():
    assert roles.picture_input(node("LoadImageOutput", image="a")) == "image"
    assert roles.mask_input(node("LoadImageMask", image="a")) == "image"
    assert roles.picture_input(node("LoadImageMask", image="a")) is None
    unknown = node("New", file="a")
    upload = {"file": [["a"], {"image_upload": True}]}
    assert roles.picture_input(unknown, described(["IMAGE"], **upload)) == "file"
    assert roles.mask_input(unknown, described(["MASK"], **upload)) == "file"
    assert roles.picture_input(unknown) is None


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("image2", "image1", "image3"), ["image1", "image2", "image3"]),
        (("images.image_2", "images.image_1"), ["images.image_1", "images.image_2"]),
        (("image_2", "pixels", "vae"), ["pixels", "image_2"]),
        (("start_image", "end_image", "clip_vision_output"), ["start_image"]),
        (("destination", "source", "mask"), ["destination"]),
        (("image_size", "my_image"), []),
    ],
)
def test_the_main_picture_of_a_node_comes_first(names, expected):
    assert roles.picture_inputs(node("Any", **dict.fromkeys(names, LINK))) == expected
    assert roles.picture_inputs(node("Any", **dict.fromkeys(names, "plain"))) == []


def test_pictures_and_masks_of_unknown_names_are_told_by_type():
    info = described(["LATENT"], shown=["IMAGE"], area=["MASK"])
    unknown = node("New", shown=LINK, area=LINK)
    assert roles.picture_inputs(unknown, info) == ["shown"]
    assert roles.mask_inputs(unknown, info) == ["area"]
    assert roles.mask_inputs(node("New", mask=LINK, noise_mask=True)) == ["mask"]


@pytest.mark.parametrize(
    ("latent", "is_new"),
    [
        (node("EmptyLatentAudio", seconds=3.0), True),
        (node("StableCascade_EmptyLatentImage", width=1, height=1), True),
        (node("SVD_img2vid_Conditioning", init_image=LINK, width=1, height=1), True),
        (node("Wan22ImageToVideoLatent", vae=LINK, start_image=LINK, width=1, height=1), True),
        (node("WanDancerVideo", **SIDE_LINKS, mask=LINK, width=1, height=1), True),
        (node("InstructPixToPixConditioning", **SIDE_LINKS, pixels=LINK), True),
        (node("InpaintModelConditioning", **SIDE_LINKS, pixels=LINK, mask=LINK), False),
        (node("LTXVAddGuide", **SIDE_LINKS, latent=LINK, image=LINK), False),
        (node("VAEEncode", pixels=LINK), False),
        (node("LatentUpscale", samples=LINK, width=1, height=1), False),
    ],
)
def test_a_latent_is_new_where_it_holds_no_picture(latent, is_new):
    assert roles.makes_latent(latent) is is_new
    assert (roles.size_input(latent, "width") == "width") is (
        is_new and "width" in latent["inputs"]
    )


def test_a_node_that_gives_conditioning_beside_the_latent_makes_it():
    numbers = {"width": ["INT", {}], "height": ["INT", {}]}
    both = described(["CONDITIONING", "LATENT"], start=["IMAGE"], **numbers)
    assert roles.makes_latent(node("New", start=LINK, width=1, height=1), both)
    assert not roles.makes_latent(node("New", start=LINK, width=1, height=1))
