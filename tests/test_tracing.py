"""The look-ups along a graph: where they end, and how they tell the way."""

from __future__ import annotations

import pytest

from comfyui.following import NUMBER, TEXT, DeadEnd, Spot
from comfyui.tracing import Tracer
from tests.graph_support import node

SAMPLER = {
    "1": node("UNETLoader", unet_name="flux.safetensors"),
    "2": node("CLIPTextEncode", text="a", clip=["9", 0]),
    "3": node("EmptySD3LatentImage", width=64, height=64),
    "4": node(
        "KSampler",
        model=["1", 0],
        seed=1,
        steps=4,
        positive=["2", 0],
        negative=["2", 0],
        latent_image=["3", 0],
        denoise=1.0,
    ),
    "5": node("SaveImage", images=["6", 0]),
    "6": node("VAEDecode", samples=["4", 0]),
}


@pytest.mark.parametrize(
    ("value_node", "kind", "ends_at"),
    [
        (node("PrimitiveInt", value=1), NUMBER, ("8", "value")),
        (node("PrimitiveFloat", value=1.5), NUMBER, ("8", "value")),
        (node("Seed (rgthree)", seed=1), NUMBER, ("8", "seed")),
        (node("PrimitiveString", value="a"), TEXT, ("8", "value")),
        (node("Qwen3_VQA", text="a", seed=1), TEXT, ("8", "text")),
        (node("PrimitiveBoolean", value=True), NUMBER, None),
        (node("MathExpression", value="a*b"), NUMBER, None),
        (node("PrimitiveInt", value=1), TEXT, None),
        (node("Two", value=1, int=2), NUMBER, None),
        (node("StringConcatenate", string_a="a", string_b="b"), TEXT, None),
        (node("Relay", value=["8", 0]), NUMBER, None),
        (node("Relay", value=["nowhere", 0]), NUMBER, None),
    ],
)
def test_a_linked_value_is_kept_where_one_input_of_its_kind_is(value_node, kind, ends_at):
    graph = {"7": node("Any", x=["8", 0]), "8": value_node}
    found = Tracer(graph).holder("7", "x", kind)
    assert (found.key if isinstance(found, Spot) else None) == ends_at


def test_a_way_over_two_nodes_is_told_whole():
    graph = {
        "7": node("Any", x=["8", 0]),
        "8": node("Relay", value=["9", 0]),
        "9": node("PrimitiveInt", value=1),
    }
    found = Tracer(graph).holder("7", "x", NUMBER)
    assert found == Spot("9", "value", "Any 7.x → Relay 8.value → PrimitiveInt 9.value")


def test_a_dead_end_names_the_node_that_computes():
    graph = {"7": node("Any", x=["8", 0]), "8": node("Add", a=1)}
    assert Tracer(graph).holder("7", "x", NUMBER) == DeadEnd("Any 7.x is computed by Add 8")


def test_only_nodes_that_feed_an_output_run():
    graph = {"0": SAMPLER["4"] | {"class_type": "KSamplerAdvanced"}, **SAMPLER}
    tracer = Tracer(graph)
    assert tracer.samplers == ["4"]
    assert "0" not in tracer.running


def test_without_any_output_every_node_counts():
    graph = {node_id: SAMPLER[node_id] for node_id in ("1", "2", "3", "4")}
    assert Tracer(graph).samplers == ["4"]


def test_a_sampler_behind_another_is_no_first_one():
    second = node("KSampler", positive=["2", 0], negative=["2", 0], latent_image=["4", 0])
    graph = SAMPLER | {"8": second, "6": node("VAEDecode", samples=["8", 0])}
    tracer = Tracer(graph)
    assert (tracer.samplers, tracer.first_samplers) == (["4", "8"], ["4"])


def test_the_model_is_found_behind_what_patches_it():
    graph = SAMPLER | {
        "4": node("KSampler", **{**SAMPLER["4"]["inputs"], "model": ["7", 0]}),
        "7": node("ModelSamplingFlux", model=["8", 0]),
        "8": node("LoraLoaderModelOnly", model=["1", 0], lora_name="x"),
    }
    tracer = Tracer(graph)
    assert tracer.model_loaders() == ["1"]
    assert tracer.model_files() == [Spot("1", "unet_name", "UNETLoader 1.unet_name")]


def test_a_chain_of_thousands_of_nodes_is_followed_to_its_end():
    length = 5_000  # far beyond the limit of recursion
    graph = dict(SAMPLER)
    for number in range(length):
        graph[f"c{number}"] = node("ConditioningSetArea", conditioning=[f"c{number + 1}", 0])
    graph[f"c{length}"] = SAMPLER["2"]
    graph["4"] = node("KSampler", **{**SAMPLER["4"]["inputs"], "positive": ["c0", 0]})
    (found,) = Tracer(graph).texts("positive")[f"c{length}"]
    assert str(found.path).endswith("c4999.conditioning → CLIPTextEncode c5000.text")
    assert len(str(found.path)) < 2000
