"""Along the links to where a value is kept: how long, how deep, and in a circle."""

from __future__ import annotations

import pytest

from comfyui.following import NUMBER, TEXT, DeadEnd, Follower, Spot, Way, downstream
from tests.graph_support import node


def both(before):
    return node("StringConcatenate", string_a=before, string_b=before, delimiter="")


def held_at(graph, kind=TEXT):
    found = Follower({"7": node("Any", x=["t0", 0]), **graph}).holder("7", "x", kind)
    return found.key if isinstance(found, Spot) else None


def test_many_ways_to_one_text_are_one_text():
    # A ladder of 200 rungs has 2**200 ways down.
    graph = {f"t{i}": both([f"t{i + 1}", 0]) for i in range(200)}
    assert held_at(graph | {"t200": node("PrimitiveString", value="a")}) == ("t200", "value")


def test_texts_that_are_put_together_in_a_circle_have_no_place():
    assert held_at({"t0": both(["t1", 0]), "t1": both(["t0", 0])}) is None


def test_a_deep_chain_of_texts_is_followed_to_its_end():
    graph = {
        f"t{i}": node("StringConcatenate", string_a=[f"t{i + 1}", 0], string_b="fixed")
        for i in range(5_000)
    }
    assert held_at(graph | {"t5000": node("PrimitiveString", value="a")}) == ("t5000", "value")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (node("StringConcatenate", string_a="a", string_b="b"), None),
        (node("StringConcatenate", string_a=["t1", 0], string_b="b"), ("t1", "value")),
        (node("StringConcatenate", string_a="style", string_b=["t2", 0]), ("t2", "prompt")),
        (node("StringConcatenate", string_a=["t1", 0], string_b=["t3", 0]), None),
        (node("StringConcatenate", string_a=["t1", 0], string_b=["t4", 0]), ("t4", "value")),
        (node("StringConcatenate", string_a=["nowhere", 0], string_b="b"), ("t0", "string_b")),
    ],
)
def test_the_part_with_the_best_claim_is_the_users(first, second):
    graph = {
        "t0": first,
        "t1": node("PrimitiveString", value="x"),
        "t2": node("SomeVLM", prompt="a cat", text="You are a poet."),
        "t3": node("PrimitiveString", value="y"),
        "t4": {**node("PrimitiveString", value="z"), "_meta": {"title": "User prompt"}},
    }
    assert held_at(graph) == second


def test_numbers_are_never_guessed_among_several():
    assert held_at({"t0": node("Add", text="1", prompt="2")}, NUMBER) is None


def test_a_node_with_several_values_is_read_by_the_slot():
    config = node("KSampler Config (rgthree)", steps_total=30, refiner_step=24, cfg=8.0)
    graph = {"8": config, "7": node("KSampler", steps=["8", 0], cfg=["8", 2], x=["8", 3])}
    follower = Follower(graph)
    assert follower.holder("7", "steps", NUMBER).key == ("8", "steps_total")
    assert follower.holder("7", "cfg", NUMBER).key == ("8", "cfg")
    assert isinstance(follower.holder("7", "x", NUMBER), DeadEnd)


def test_the_words_of_a_long_way_are_its_start_and_its_end():
    way = Way("0", "Start 0")
    for number in range(1, 1_000):
        way = way.then(str(number), f".in → Node {number}")
    words = str(way)
    assert words.startswith("Start 0 → … ")
    assert words.endswith(" → Node 998.in → Node 999")
    assert len(words) < 1_000


def test_a_way_of_many_thousand_nodes_can_be_shown_and_compared():
    way = Way("0", "Start 0")
    for number in range(100_000):
        way = way.then(str(number), ".x")
    assert Spot("1", "a", way) == Spot("1", "a", "another")
    assert repr(Spot("1", "a", way))


def test_circles_of_switches_end():
    graph = {
        "7": node("Any", x=["8", 0]),
        "8": node("ComfySwitchNode", switch=True, on_true=["9", 0], on_false=["9", 0]),
        "9": node("ComfySwitchNode", switch=True, on_true=["8", 0], on_false=["8", 0]),
    }
    assert isinstance(Follower(graph).holder("7", "x", TEXT), (Spot, DeadEnd))
    assert Follower(graph).active_upstream(["7"]) == {"7", "8", "9"}


def test_branches_that_are_left_out_feed_nothing():
    graph = {
        "7": node("ComfySwitchNode", switch=["6", 0], on_true=["8", 0], on_false=["9", 0]),
        "6": node("PrimitiveBoolean", value=False),
        "8": node("A"),
        "9": node("B"),
    }
    assert Follower(graph).active_upstream(["7"]) == {"6", "7", "9"}


def test_downstream_is_everything_that_takes_in_the_end():
    assert downstream(["a"], {"a": ["b", "c"], "b": ["d"], "d": ["a"]}) == {"a", "b", "c", "d"}
    assert downstream(["x"], {"a": ["b"]}) == set()
