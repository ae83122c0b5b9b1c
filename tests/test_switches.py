"""Nodes that hand on one of their inputs: which one."""

from __future__ import annotations

import pytest

from comfyui.switches import Switch, handed_on, held_value, switch_of
from tests.graph_support import node

GRAPH = {
    "yes": node("PrimitiveBoolean", value=True),
    "two": node("PrimitiveInt", value=2),
    "sum": node("Add", a=1, b=1),
    "loop": node("Reroute", x=["loop", 0]),
}
A, B = ["yes", 0], ["two", 0]


@pytest.mark.parametrize(
    ("switch", "expected"),
    [
        (node("ComfySwitchNode", switch=True, on_true=A, on_false=B), "on_true"),
        (node("ComfySwitchNode", switch=False, on_true=A, on_false=B), "on_false"),
        (node("ComfySwitchNode", switch=["yes", 0], on_true=A, on_false=B), "on_true"),
        (node("ComfySwitchNode", switch=["sum", 0], on_true=A, on_false=B), None),
        (node("ComfySwitchNode", switch=["loop", 0], on_true=A, on_false=B), None),
        (node("ComfySwitchNode", switch=1, on_true=A, on_false=B), None),
        (node("ComfySwitchNode", switch=True, on_false=B), None),
        (node("ImpactConditionalBranch", cond=True, tt_value=A, ff_value=B), "tt_value"),
        (node("ImpactSwitch", select=["two", 0], input1=A, input2=B), "input2"),
        (node("ImpactSwitch", select=3, input1=A, input2=B), None),
        (node("easy anythingIndexSwitch", index=0, value0=A, value1=B), "value0"),
        (node("easy anythingIndexSwitch", index=False, value0=A, value1=B), None),
        (node("CR Image Input Switch", Input=2, image1=A, image2=B), "image2"),
        (node("Any Switch (rgthree)", any_02=B, any_01=A), "any_01"),
        (node("Any Switch (rgthree)", any_01="", any_02=B), "any_02"),
        (node("Reroute", anything=A), "anything"),
        (node("Reroute"), None),
        (node("PreviewAny", source=A), "source"),
        (node("KSampler", seed=1), None),
    ],
)
def test_a_switch_hands_on_the_branch_that_is_chosen(switch, expected):
    assert handed_on({**GRAPH, "s": switch}, "s") == expected


def test_the_choices_of_a_switch_come_with_the_values_that_choose_them():
    boolean = node("ComfySwitchNode", switch=True, on_true=A, on_false=B)
    assert switch_of(boolean) == Switch("switch", {"on_true": True, "on_false": False})
    index = node("ImpactSwitch", select=1, input1=A, input3=B, sel_mode=False)
    assert switch_of(index) == Switch("select", {"input1": 1, "input3": 3})
    assert switch_of(node("KSampler", seed=1)) is None


@pytest.mark.parametrize(
    ("value", "held"),
    [(7, 7), (["two", 0], 2), (["sum", 0], None), (["nowhere", 0], None), (["loop", 0], None)],
)
def test_a_value_is_held_by_itself_or_by_a_primitive(value, held):
    assert held_value(GRAPH, value) == held
