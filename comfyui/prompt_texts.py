"""Which of several texts a user types, where a workflow puts a prompt together. Pure.

A concatenation has a fixed part (a system prompt, a LoRA's trigger word) and the user's; a language
model has an instruction of its own and what it is asked. The user's part is told by the inputs'
names, then by titles and content.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from comfyui.graph import Node, as_link, title_of

_SOURCE = re.compile(
    r"((user|custom|input|populated|wildcard)_?)?"
    r"(string|text|prompt|question|query|instruction|input)s?(_text|_?\w?\d*)$|json_string$"
)
_INTO_TEMPLATE = "replace"
"""What StringReplace and its like put into another text; written there it is a fixed word."""
_OWN_TITLES = (("user", 2), ("prompt", 1))
_FIXED_TITLES = (("system", 3), ("trigger", 2), ("prefix", 1), ("suffix", 1), ("template", 1))
_SYSTEM_PROMPT = re.compile(r"\s*(you are (a|an|the)\b|<\|?(im_start|system))", re.IGNORECASE)


def source_names(inputs: Mapping[str, object]) -> list[str]:
    """The inputs of a node that makes text of texts which bring the parts."""
    return [
        name
        for name, value in inputs.items()
        if (as_link(value) is not None and (_SOURCE.match(name) or name == _INTO_TEMPLATE))
        or (isinstance(value, str) and _SOURCE.match(name))
    ]


def fills_in(inputs: Mapping[str, object]) -> bool:
    """Whether a node puts a text that it is given into another, as StringReplace does."""
    return as_link(inputs.get(_INTO_TEMPLATE)) is not None


def is_template(inputs: Mapping[str, object], text: object) -> bool:
    """Whether a text, among the inputs of such a node, has the place that the other is put into."""
    place = inputs.get("find")
    if not (fills_in(inputs) and isinstance(place, str) and isinstance(text, str)):
        return False
    return place != "" and place in text


def user_score(node: Node, input_name: str) -> int:
    """How likely the text of this input is the user's own; a fixed part scores below zero."""
    title = title_of(node).lower()
    score = sum(points for word, points in _OWN_TITLES if word in title)
    score -= sum(points for word, points in _FIXED_TITLES if word in title)
    value = node["inputs"].get(input_name)
    if isinstance(value, str) and _SYSTEM_PROMPT.match(value):
        score -= 4
    return score
