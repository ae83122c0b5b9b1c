"""Where the source picture and the mask are loaded, and why there is no place for one."""

from __future__ import annotations

import pytest

from comfyui.following import Spot
from comfyui.object_info import ObjectInfo
from comfyui.pictures import Pictures
from comfyui.tracing import Tracer
from tests.graph_support import node


def graph_with(**nodes):
    """Inpainting of `load`; `mask` is set on the latent."""
    return {
        "out": node("SaveImage", images=["d", 0]),
        "d": node("VAEDecode", samples=["s", 0]),
        "s": node("KSampler", positive=["p", 0], negative=["p", 0], latent_image=["m", 0]),
        "p": node("CLIPTextEncode", text="a", clip=["c", 0]),
        "m": node("SetLatentNoiseMask", samples=["e", 0], mask=["mask", 0]),
        "e": node("VAEEncode", pixels=["load", 0]),
        "load": node("LoadImage", image="a.png"),
        "mask": node("LoadImageMask", image="m.png", channel="red"),
        **nodes,
    }


def pictures(graph, info=None):
    return Pictures(Tracer(graph, info))


def place(found):
    return f"{found.node_id}.{found.input_name}" if isinstance(found, Spot) else found.reason


def test_the_way_is_told():
    found = pictures(graph_with())
    assert str(found.source.path) == (
        "KSampler s.latent_image → SetLatentNoiseMask m.samples → VAEEncode e.pixels"
        " → LoadImage load.image"
    )
    assert str(found.mask.path) == (
        "KSampler s.latent_image → SetLatentNoiseMask m.mask → LoadImageMask mask.image"
    )


@pytest.mark.parametrize(
    ("mask", "more", "expected"),
    [
        (["load", 1], {}, "load.image"),
        (["two", 1], {"two": node("LoadImage", image="b.png")}, "two.image"),
        (["x", 0], {"x": node("InvertMask", mask=["mask", 0])}, "mask.image"),
        (["x", 0], {"x": node("MaskComposite", destination=["mask", 0], x=0)}, "mask.image"),
        (["x", 0], {"x": node("ImageColorToMask", image=["two", 0], color=0)}, "two.image"),
        (["x", 0], {"x": node("SAMSegment", image=["two", 0])}, None),  # made of what it shows
        (["x", 0], {"x": node("ImageToMask", image=["load", 0])}, None),
        (
            ["x", 0],
            {"x": node("ImageToMask", image=["y", 0]), "y": node("Depth", image=["two", 0])},
            None,
        ),
        (["x", 0], {"x": node("SolidMask", value=1.0)}, None),
    ],
)
def test_a_mask_is_followed_to_what_holds_it(mask, more, expected):
    graph = graph_with(two=node("LoadImage", image="b.png"))
    graph["m"]["inputs"]["mask"] = mask
    found = pictures(graph | more).mask
    assert place(found) == (expected or "no node of the workflow loads one")


def test_a_mask_that_was_shown_as_a_picture_on_the_way_is_followed():
    graph = graph_with(
        x=node("ImageToMask", image=["y", 0]),
        y=node("ImageScale", image=["z", 0]),
        z=node("MaskToImage", mask=["mask", 0]),
    )
    graph["m"]["inputs"]["mask"] = ["x", 0]
    assert place(pictures(graph).mask) == "mask.image"


def test_where_no_sampler_changes_a_part_another_mask_is_taken():
    graph = graph_with(
        s=node("KSampler", positive=["p", 0], negative=["p", 0], latent_image=["e", 0]),
        d=node("ImageCompositeMasked", destination=["v", 0], source=["load", 0], mask=["mask", 0]),
        v=node("VAEDecode", samples=["s", 0]),
    )
    assert place(pictures(graph).mask) == "mask.image"


def test_a_name_that_arrives_by_a_link_is_set_where_it_is_kept():
    name = node("PrimitiveString", value="a.png")
    found = pictures(graph_with(load=node("LoadImage", image=["name", 0]), name=name))
    assert place(found.source) == "name.value"
    found = pictures(graph_with(load=node("LoadImage", image=["load", 0])))
    assert "to itself" in place(found.source)


def test_a_picture_that_only_becomes_a_mask_is_no_source():
    graph = {
        "first": node("LoadImage", image="m.png"),
        "x": node("ImageToMask", image=["first", 0]),
        **graph_with(
            e=node("EmptyLatentImage", width=64, height=64),
            m=node("SetLatentNoiseMask", samples=["e", 0], mask=["x", 0]),
            d=node("Adapted", samples=["s", 0], style=["load", 0]),
        ),
    }
    assert place(pictures(graph).source) == "load.image"
    del graph["d"]["inputs"]["style"]
    assert place(pictures(graph).source) == "no node of the workflow loads one"


def test_pictures_of_unknown_classes_are_told_by_their_types():
    info = ObjectInfo.from_dict(
        {
            "Load": {
                "input": {"required": {"file": [["a"], {"image_upload": True}]}},
                "output": ["IMAGE"],
            },
            "Pack": {"input": {"required": {"shown": ["IMAGE"]}}, "output": ["IMAGE"]},
            "SaveImage": {"input": {}, "output": [], "output_node": True},
        }
    )
    graph = graph_with(
        e=node("VAEEncode", pixels=["x", 0]),
        x=node("Pack", shown=["load", 0]),
        load=node("Load", file="a"),
    )
    assert place(pictures(graph, info).source) == "load.file"
    assert place(pictures(graph).source) == "no node of the workflow loads one"


def switched(**nodes):
    return graph_with(
        s=node("KSampler", positive=["p", 0], negative=["p", 0], latent_image=["w", 0]),
        w=node("ComfySwitchNode", switch=False, on_true=["m", 0], on_false=["l", 0]),
        l=node("EmptyLatentImage", width=64, height=64),
        **nodes,
    )


def test_a_loader_that_a_switch_leaves_out_is_told():
    found = pictures(switched())
    assert place(found.source) == "LoadImage load loads one, but ComfySwitchNode w leaves it out"
    assert place(found.mask) == "LoadImageMask mask loads one, but ComfySwitchNode w leaves it out"


def test_many_thousand_pictures_and_masks_are_walked_once():
    # A ladder of 300 rungs has 2**300 ways down, for pictures and for masks.
    graph = graph_with(
        e=node("VAEEncode", pixels=["i0", 0]),
        m=node("SetLatentNoiseMask", samples=["e", 0], mask=["k0", 0]),
    )
    for number in range(300):
        picture, mask = [f"i{number + 1}", 0], [f"k{number + 1}", 0]
        graph[f"i{number}"] = node("ImageBatch", image1=picture, image2=picture)
        graph[f"k{number}"] = node("MaskComposite", destination=mask, source=mask)
    found = pictures(graph)
    assert place(found.source) == "no node of the workflow loads one"
    assert place(found.mask) == "no node of the workflow loads one"
