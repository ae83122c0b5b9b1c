"""Which of several texts takes the prompt: what settles it, and the error where nothing does."""

from __future__ import annotations

import pytest

from image_provider import WorkflowError
from tests.graph_support import bound, node, text_to_image, values


def graph_with(**nodes):
    """A graph whose prompt is put together of `a` and `b` by `joined`."""
    texts = {
        "a": node("PrimitiveString", value="a cat"),
        "b": node("PrimitiveString", value="in the snow"),
        "joined": node("StringConcatenate", string_a=["a", 0], string_b=["b", 0], delimiter=""),
        "p": node("CLIPTextEncode", text=["joined", 0], clip=["c", 1]),
        "n": node("CLIPTextEncode", text="blurry", clip=["c", 1]),
    }
    return text_to_image(**{**texts, **nodes})


def refused(graph, **fields):
    with pytest.raises(WorkflowError) as caught:
        bound(graph, **fields)
    return str(caught.value)


def test_the_error_lists_the_texts_and_what_it_shows_works():
    message = refused(graph_with())
    assert "w.json: prompt could go to PrimitiveString a.value, PrimitiveString b.value" in message
    assert 'extra={"a.value": "…"}' in message
    assert 'w.bindings.json: {"prompt": ["a.value"]}' in message
    assert values(bound(graph_with(), extra={"a.value": "E"}), "a.value", "b.value") == ["E", "P"]
    file = {"prompt": ["a.value"]}
    assert values(bound(graph_with(), file), "a.value", "b.value") == ["P", "in the snow"]


def test_texts_that_are_written_where_they_are_put_together_are_told_apart_by_their_inputs():
    graph = graph_with(joined=node("StringConcatenate", string_a="a", string_b="b", delimiter=""))
    assert "StringConcatenate joined.string_a, StringConcatenate joined.string_b" in refused(graph)


def test_a_title_settles_it():
    graph = graph_with(b=node("PrimitiveString", "Your prompt", value="in the snow"))
    assert values(bound(graph), "a.value", "b.value") == ["a cat", "P"]


def test_all_texts_set_by_hand_leave_the_prompt_ignored():
    result = bound(graph_with(), extra={"a.value": "E", "b.value": "F"})
    assert values(result, "a.value", "b.value") == ["E", "F"]
    assert [entry.reason for entry in result.ignored] == [
        "extra['a.value'] sets a.value; extra['b.value'] sets b.value"
    ]


def test_a_text_that_another_encoder_takes_whole_is_the_prompt():
    graph = graph_with(
        p=node("CLIPTextEncodeSDXL", text_g=["a", 0], text_l=["joined", 0], clip=["c", 1])
    )
    assert values(bound(graph), "a.value", "b.value") == ["P", "in the snow"]


def test_the_prompt_in_the_negative_text_is_no_rival_of_it():
    graph = graph_with(
        p=node("CLIPTextEncode", text=["a", 0], clip=["c", 1]),
        n=node("CLIPTextEncode", text=["joined", 0], clip=["c", 1]),
    )
    result = bound(graph, negative_prompt="N")
    assert values(result, "a.value", "b.value") == ["P", "N"]


def test_a_negative_text_that_is_open_is_an_error_only_when_one_is_given():
    graph = graph_with(
        p=node("CLIPTextEncode", text="a", clip=["c", 1]),
        n=node("CLIPTextEncode", text=["joined", 0], clip=["c", 1]),
    )
    assert values(bound(graph), "p.text") == ["P"]
    assert "negative_prompt could go to PrimitiveString a.value" in refused(
        graph, negative_prompt="N"
    )


def test_what_is_only_previewed_leaves_nothing_open():
    graph = graph_with(
        p2=node("CLIPTextEncode", text="kept", clip=["c", 1]),
        s2=node("KSampler", positive=["p2", 0], negative=["n", 0], latent_image=["l", 0]),
        d2=node("VAEDecode", samples=["s2", 0], vae=["c", 2]),
        o=node("PreviewImage", images=["d", 0]),
        o2=node("SaveImage", images=["d2", 0], filename_prefix="x"),
    )
    assert values(bound(graph), "p2.text", "a.value") == ["P", "a cat"]


def test_many_rivals_are_named_in_part():
    parts = {f"t{i}": node("PrimitiveString", value=str(i)) for i in range(14)}
    joined = node("JoinStrings", **{f"string{i}": [f"t{i}", 0] for i in range(14)})
    message = refused(graph_with(joined=joined, **parts))
    assert "PrimitiveString t9.value and 4 more, whose texts" in message
