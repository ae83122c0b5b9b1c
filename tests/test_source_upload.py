"""What is uploaded: the picture in its size, and the mask where the workflow takes it from."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy
import pytest
from PIL import Image

from comfyui.object_info import ObjectInfo
from comfyui.source_upload import prepare, size_multiple
from comfyui.workflow import Workflow
from image_io.source_images import source_loader
from image_provider import ImageGenerationRequest, InvalidRequestError
from tests.graph_support import node

LOAD = source_loader(roots=None, max_side=4096)
ROOT = Path(__file__).parent.parent / "workflows" / "comfyui"


def graph_of(name):
    return Workflow.from_file(ROOT / f"{name}.json").graph


def prepared(graph, source=None, mask=None, overrides=None, info=None, extra=None, **fields):
    extra = {"source_image": source, "mask_image": mask, **(extra or {})}
    request = ImageGenerationRequest("fox", extra=extra, **fields)
    graph = graph_of(graph) if isinstance(graph, str) else graph
    workflow = Workflow(graph, overrides=overrides)
    return prepare(request, workflow, "some.json", LOAD, object_info=info)


def uploaded(made, name):
    return Image.open(BytesIO(made.uploads[name]))


def plain(size=(64, 48), mode="RGB", color=(10, 20, 30)):
    return Image.new(mode, size, color)


def right_half(size):
    mask = Image.new("L", size, 0)
    mask.paste(255, (size[0] // 2, 0, *size))
    return mask


@pytest.mark.parametrize(
    ("name", "multiple"),
    [
        ("t2i_flux", 16),
        ("i2i_flux", 16),
        ("inpaint_flux", 16),
        ("t2i_checkpoint", 8),
        ("i2i_checkpoint", 8),
        ("inpaint_checkpoint", 8),
    ],
)
def test_flux_wants_multiples_of_16_and_checkpoints_of_8(name, multiple):
    assert size_multiple(graph_of(name)) == multiple


@pytest.mark.parametrize(
    ("given", "size", "note"),
    [
        ({}, (None, None), None),
        ({"width": 512, "height": 512}, (512, 512), None),
        ({"width": 100, "height": 40}, (96, 48), {"asked": [100, 40], "used": [96, 48]}),
        ({"width": 100}, (96, None), {"asked": [100, 1024], "used": [96, 1024]}),
        ({"width": 1, "height": 7}, (16, 16), {"asked": [1, 7], "used": [16, 16]}),
    ],
)
def test_a_size_that_was_given_is_rounded_and_one_that_was_not_stays_so(given, size, note):
    made = prepared("t2i_flux", **given)
    assert made.request.explicit_size == size
    expected = {} if note is None else {"size": note | {"multiple_of": 16}}
    assert made.notes == expected
    assert made.uploads == {}


@pytest.mark.parametrize(
    ("given", "size"),
    [
        ({}, (64, 48)),
        ({"width": 128}, (128, 96)),
        ({"height": 24}, (32, 24)),
        ({"width": 48, "height": 64}, (48, 64)),
    ],
)
def test_a_picture_keeps_its_size_unless_one_is_given(given, size):
    made = prepared("i2i_checkpoint", plain(), **given)
    assert uploaded(made, made.request.source_image_url).size == size
    assert made.request.explicit_size == (None, None)
    assert made.request.mask_image_url is None


@pytest.mark.parametrize(
    "given", [{"width": 60000, "height": 60000}, {"width": 16385}, {"height": 16384}]
)
def test_a_size_that_no_latent_can_have_is_refused_before_anything_is_scaled(given):
    with pytest.raises(InvalidRequestError, match="at most 16384 pixels"):
        prepared("i2i_flux", plain(), **given)


def test_numbers_of_numpy_are_taken_as_numbers():
    extra = {"8.seed": numpy.int64(3), "8.cfg": numpy.float32(0.5), "8.x": (numpy.bool_(True), "a")}
    request = ImageGenerationRequest("fox", extra=extra)
    made = prepare(request, Workflow(graph_of("t2i_flux")), "some.json", LOAD)
    assert made.request.extra == {"8.seed": 3, "8.cfg": 0.5, "8.x": [True, "a"]}
    assert [type(value) for value in made.request.extra.values()] == [int, float, list]


@pytest.mark.parametrize("value", [{1}, object(), b"x", numpy.zeros(2), {"in": [{3}]}])
def test_what_json_cannot_hold_is_refused_by_its_key(value):
    request = ImageGenerationRequest("fox", extra={"8.seed": value})
    with pytest.raises(InvalidRequestError, match=r"extra\['8\.seed'\]"):
        prepare(request, Workflow(graph_of("t2i_flux")), "some.json", LOAD)


def test_nesting_without_end_is_refused():
    endless = []
    endless.append(endless)
    with pytest.raises(InvalidRequestError, match="nested deeper"):
        prepare(
            ImageGenerationRequest("fox", extra={"8.x": endless}),
            Workflow(graph_of("t2i_flux")),
            "x",
            None,
        )


def test_a_picture_travels_without_alpha_on_white():
    made = prepared("i2i_checkpoint", plain(mode="RGBA", color=(10, 20, 30, 0)))
    picture = uploaded(made, made.request.source_image_url)
    assert (picture.mode, picture.getpixel((0, 0))) == ("RGB", (255, 255, 255))


@pytest.mark.parametrize("mask_size", [(64, 48), (32, 24), (200, 30)])
def test_the_mask_travels_as_the_alpha_of_the_picture(mask_size):
    made = prepared("inpaint_checkpoint", plain(), right_half(mask_size))
    assert made.request.source_image_url == made.request.mask_image_url
    picture = uploaded(made, made.request.source_image_url)
    assert (picture.mode, picture.size) == ("RGBA", (64, 48))
    assert picture.getpixel((4, 4)) == (10, 20, 30, 255)  # keep: opaque
    assert picture.getpixel((60, 4)) == (10, 20, 30, 0)  # change: the colours stay under it


def test_without_a_mask_what_is_transparent_may_change():
    source = plain(mode="RGBA", color=(10, 20, 30, 255))
    source.putalpha(right_half((64, 48)).point(lambda value: 255 - value))
    made = prepared("inpaint_flux", source)
    alpha = numpy.asarray(uploaded(made, made.request.mask_image_url).getchannel("A"))
    assert (alpha[:, :32] == 255).all()
    assert (alpha[:, 32:] == 0).all()


def test_picture_and_mask_are_scaled_together():
    made = prepared("inpaint_flux", plain((100, 70)), right_half((100, 70)))
    assert uploaded(made, made.request.source_image_url).size == (96, 64)
    assert made.notes["size"] == {"asked": [100, 70], "used": [96, 64], "multiple_of": 16}


def scaled(asked, used):
    return [{"parameter": "source_image_url", "asked": asked, "used": used}]


def test_a_picture_that_is_too_large_is_scaled_down_with_its_mask_and_the_result_says_so(
    monkeypatch,
):
    monkeypatch.setitem(globals(), "LOAD", source_loader(roots=None, max_side=64))
    made = prepared("inpaint_flux", plain((200, 100)), right_half((200, 100)))
    picture = uploaded(made, made.request.source_image_url)
    assert picture.size == (64, 32)
    alpha = numpy.asarray(picture.getchannel("A"))
    assert (alpha[:, :28] == 255).all() and (alpha[:, 36:] == 0).all()
    assert made.notes == {"adjusted": scaled([200, 100], [64, 32])}


def test_a_size_that_is_given_counts_for_a_picture_that_is_too_large_too(monkeypatch):
    monkeypatch.setitem(globals(), "LOAD", source_loader(roots=None, max_side=64))
    made = prepared("i2i_checkpoint", plain((200, 100)), width=128)
    assert uploaded(made, made.request.source_image_url).size == (128, 64)
    assert made.notes == {"adjusted": scaled([200, 100], [64, 32])}


def test_a_picture_beside_an_empty_latent_keeps_its_pixels_and_the_latent_takes_the_size(
    monkeypatch,
):
    graph = graph_of("t2i_flux")
    graph["20"] = node("LoadImage", image="x.png")
    graph["21"] = node("VAEEncode", pixels=["20", 0], vae=["3", 0])
    graph["22"] = node("ReferenceLatent", conditioning=["5", 0], latent=["21", 0])
    graph["8"]["inputs"]["positive"] = ["22", 0]
    made = prepared(graph, plain((50, 30)), width=100, height=100)
    assert uploaded(made, made.request.source_image_url).size == (50, 30)
    assert made.request.explicit_size == (96, 96)
    monkeypatch.setitem(globals(), "LOAD", source_loader(roots=None, max_side=25))
    made = prepared(graph, plain((50, 30)), width=96, height=96)
    assert uploaded(made, made.request.source_image_url).size == (25, 15)
    assert made.notes == {"adjusted": scaled([50, 30], [25, 15])}


def test_a_mask_loader_of_its_own_gets_the_mask_as_colour_and_as_alpha():
    graph = graph_of("inpaint_checkpoint")
    graph["20"] = node("LoadImageMask", image="x.png", channel="red")
    graph["6"]["inputs"]["mask"] = graph["9"]["inputs"]["mask"] = ["20", 0]
    made = prepared(graph, plain(), right_half((64, 48)), width=32)
    picture = uploaded(made, made.request.source_image_url)
    mask = uploaded(made, made.request.mask_image_url)
    assert (picture.mode, picture.size, mask.size) == ("RGB", (32, 24), (32, 24))
    assert mask.getpixel((4, 4)) == (0, 0, 0, 255)
    assert mask.getpixel((28, 4)) == (255, 255, 255, 0)


# Where binding puts picture and mask


def rules_graph(name):
    return Workflow.from_file(Path(__file__).parent / "data" / "workflows" / f"{name}.json").graph


def loaded_by(class_type, title=None, name="image"):
    """Image to image, with a loader that nobody knows by its class."""
    graph = graph_of("i2i_checkpoint")
    graph["4"] = {**node(class_type, **{name: "a.png"}), "_meta": {"title": title or class_type}}
    return graph


@pytest.mark.parametrize("name", ["mode", "mode_word", "mode_by_reference"])
def test_a_workflow_that_is_saved_for_text_takes_a_picture_by_its_switch(name):
    made = prepared(rules_graph(name), plain())
    assert uploaded(made, made.request.source_image_url).size == (64, 48)


def test_what_titles_the_bindings_file_or_the_server_say_of_a_loader_counts():
    info = ObjectInfo.from_dict(
        {
            "PackLoad": {
                "input": {"required": {"file": [["a.png"], {"image_upload": True}]}},
                "output": ["IMAGE"],
            }
        }
    )
    for graph, more in (
        (loaded_by("PackLoad", "Input image"), {}),
        (loaded_by("PackLoad"), {"overrides": {"source_image_url": ["4.image"]}}),
        (loaded_by("PackLoad", name="file"), {"info": info}),
    ):
        made = prepared(graph, plain(), **more)
        assert list(made.uploads) == [made.request.source_image_url]
    with pytest.raises(InvalidRequestError, match="loads no picture"):
        prepared(loaded_by("PackLoad"), plain())


def test_a_mask_loader_that_a_title_names_gets_the_mask_alone():
    graph = graph_of("inpaint_checkpoint")
    graph["20"] = {**node("LoadImage", image="m.png"), "_meta": {"title": "Mask"}}
    graph["6"]["inputs"]["mask"] = ["20", 1]
    made = prepared(graph, plain(), right_half((64, 48)))
    assert len(made.uploads) == 2
    assert uploaded(made, made.request.source_image_url).mode == "RGB"


def test_a_picture_or_mask_that_extra_sets_is_not_asked_for():
    made = prepared("inpaint_checkpoint", plain(), extra={"4.image": "there.png"})
    assert made.request.mask_image_url is None
    made = prepared("i2i_checkpoint", plain(), extra={"4.image": "there.png"})
    assert made.request.source_image_url in made.uploads


def test_a_mode_that_extra_sets_leaves_no_place_for_a_picture():
    why = r"loads no picture \(LoadImage 23 loads one, but ComfySwitchNode 4 leaves it out\)"
    with pytest.raises(InvalidRequestError, match=why):
        prepared(rules_graph("mode"), plain(), extra={"20.value": False})


def test_a_size_that_the_bindings_file_has_a_place_for_is_no_longer_the_pictures():
    graph = graph_of("i2i_checkpoint")
    graph["20"] = node("ImageScale", image=["4", 0], width=512, height=512, crop="disabled")
    graph["5"]["inputs"]["pixels"] = ["20", 0]
    places = {"width": ["20.width"], "height": ["20.height"]}
    made = prepared(graph, plain(), overrides=places, width=96, height=32)
    assert uploaded(made, made.request.source_image_url).size == (64, 48)
    assert made.request.explicit_size == (96, 32)


def test_the_same_picture_has_the_same_name():
    names = {prepared("i2i_flux", plain()).request.source_image_url for _ in range(2)}
    assert len(names) == 1
    assert names.pop().endswith(".png")


def test_pictures_do_not_stay_in_extra():
    made = prepared("i2i_flux", plain())
    assert made.request.extra == {}


@pytest.mark.parametrize(
    ("workflow", "source", "mask", "why"),
    [
        ("t2i_flux", plain(), None, "some.json loads no picture"),
        ("t2i_flux", None, right_half((8, 8)), "a mask was given without the picture"),
        ("i2i_flux", plain(), right_half((8, 8)), "some.json takes no mask"),
        ("inpaint_flux", plain(), None, "no mask image"),
        ("i2i_flux", b"no picture", None, "source image"),
        ("inpaint_flux", plain(), b"no picture", "mask image"),
    ],
)
def test_what_makes_no_sense_is_refused(workflow, source, mask, why):
    with pytest.raises(InvalidRequestError, match=why):
        prepared(workflow, source, mask)
