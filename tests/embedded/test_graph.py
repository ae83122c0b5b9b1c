"""The order of nodes and the keys of cached results."""

from __future__ import annotations

from comfyui.embedded.graph import ExecutionOrder, cache_keys
from tests.embedded.driving import node


def order_of(graph, outputs, cached=()) -> str:
    order = ExecutionOrder(graph, set(cached).__contains__, set(outputs).__contains__)
    for output in outputs:
        order.add_output(output)
    ran = ""
    while (node_id := order.next_node()) is not None:
        ran += node_id
        order.done(node_id)
    return ran


# a needs a long chain, z a short one; both are asked for, a first.
TWO_CHAINS = {
    "z": node("Save", images=["y", 0]),
    "y": node("Decode", samples=["x", 0]),
    "x": node("Load"),
    "a": node("Save", images=["b", 0]),
    "b": node("Decode", samples=["c", 0]),
    "c": node("Sample", latent=["d", 0]),
    "d": node("Empty"),
}


def test_nodes_closer_to_an_output_run_first():
    assert order_of(TWO_CHAINS, ["a", "z"]) == "xyzdcba"


def test_a_ready_output_runs_before_everything_else():
    graph = {**TWO_CHAINS, "o": node("Save", images=["x", 0])}
    assert order_of(graph, ["a", "z", "o"]) == "xoyzdcba"


def test_cached_nodes_and_what_only_they_need_are_left_out():
    assert order_of(TWO_CHAINS, ["a"], cached=["c"]) == "ba"


def test_keys_depend_on_class_inputs_and_upstream_but_not_on_ids():
    def key_of_last(graph):
        return cache_keys(graph, lambda node: "")[list(graph)[-1]]

    plain = {"1": node("A", value=1), "2": node("B", source=["1", 0])}
    renamed = {"7": node("A", value=1), "9": node("B", source=["7", 0])}
    assert key_of_last(plain) == key_of_last(renamed)
    others = [
        {"1": node("A", value=2), "2": node("B", source=["1", 0])},
        {"1": node("A", value=1), "2": node("B", source=["1", 1])},
        {"1": node("A", value=1), "2": node("C", source=["1", 0])},
        {"1": node("A", value=1), "2": node("B", origin=["1", 0])},
    ]
    assert len({key_of_last(graph) for graph in [plain, *others]}) == 5


def test_a_fingerprint_changes_its_own_key_and_those_below():
    graph = {"1": node("Load"), "2": node("B", source=["1", 0]), "3": node("A")}
    before = cache_keys(graph, lambda node: "")
    after = cache_keys(graph, lambda node: "changed" if node["class_type"] == "Load" else "")
    assert {k for k in graph if before[k] != after[k]} == {"1", "2"}
