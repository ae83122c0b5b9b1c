"""Refusals that real servers sent → errors that name node, class, input and kind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfyui.prompt_errors import describe_node_errors, parse_refusal
from image_io.http import HttpResponse
from image_provider import WorkflowError

RECORDINGS = Path(__file__).parent / "data" / "recordings"
NO_OUTPUT = [("no_output", None, None, None)]
REFUSALS = {
    "026_validation_bad_ckpt": [("not_in_list", "4", "CheckpointLoaderSimple", "ckpt_name")],
    "026_validation_bad_link": [("bad_link", "2", "ImageScale", "image")],
    "026_validation_bad_link_slot": [("bad_link", "2", "ImageScale", "image")],
    "026_validation_below_min": [("out_of_range", "2", "ImageScale", "width")],
    "026_validation_load_image_missing": [("missing_file", "1", "LoadImage", "image")],
    "026_validation_missing_class_type": [("unknown_node", "2", None, None)],
    "026_validation_missing_input": [("missing_input", "2", "ImageScale", "image")],
    "026_validation_no_outputs": NO_OUTPUT,
    "026_validation_not_in_list": [("not_in_list", "2", "ImageScale", "upscale_method")],
    "026_validation_type_mismatch": [("wrong_type", "2", "ImageScale", "image")],
    "026_validation_unknown_class": [("unknown_node", "2", "NoSuchNode", None)],
    "validation_above_max": [("out_of_range", "3", "KSampler", "steps")],
    "validation_bad_link_length": [("bad_link", "3", "KSampler", "model")],
    "validation_bad_link_slot": [("bad_link", "3", "KSampler", None)],  # four links, one is bad
    "validation_bad_link_unknown_node": [("bad_link", "3", "KSampler", "model")],
    "validation_bad_sampler": [("not_in_list", "3", "KSampler", "sampler_name")],
    "validation_bad_type": [("wrong_type", "3", "KSampler", "steps")],
    "validation_below_min": [("out_of_range", "5", "EmptyLatentImage", "width")],
    "validation_cycle": [("cycle", None, None, None)],
    "validation_empty_prompt": NO_OUTPUT,
    "validation_load_image_missing": [("missing_file", "10", "LoadImage", "image")],
    "validation_missing_input": [("missing_input", "3", "KSampler", "model")],
    "validation_missing_widget": [("missing_input", "3", "KSampler", "steps")],
    "validation_no_outputs": NO_OUTPUT,
    "validation_no_prompt": NO_OUTPUT,
    "validation_two_errors": [
        ("out_of_range", "5", "EmptyLatentImage", "width"),
        ("out_of_range", "3", "KSampler", "cfg"),
        ("out_of_range", "3", "KSampler", "steps"),
    ],
    "validation_type_mismatch": [("wrong_type", "3", "KSampler", "model")],
}
ANY_JSON = st.recursive(
    st.none() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


def posts(name: str) -> list[dict[str, Any]]:
    log = json.loads((RECORDINGS / f"{name}.json").read_text(encoding="utf-8"))["log"]
    return [entry for entry in log if entry.get("http") == "POST /prompt"]


def answer(body: object, status: int = 400) -> HttpResponse:
    return HttpResponse(status, {}, json.dumps(body).encode())


def refusal(body: object, graph: Any) -> WorkflowError:
    error = parse_refusal(answer(body), graph)
    assert error is not None
    return error


def test_every_recorded_validation_is_covered():
    recorded = {path.stem for path in RECORDINGS.glob("*validation_*.json")}
    assert recorded - REFUSALS.keys() == {"validation_partial"}


@pytest.mark.parametrize("name", REFUSALS)
def test_recorded_refusal_names_node_class_input_and_kind(name):
    post = next(post for post in posts(name) if post["status"] == 400)
    error = refusal(post["json"], post["request_json"].get("prompt", {}))
    problems = [(p.kind, p.node_id, p.class_type, p.input_name) for p in error.problems]
    assert problems == REFUSALS[name]
    first = error.problems[0]
    assert (error.node_id, error.class_type, error.input_name) == problems[0][1:]
    for problem in error.problems:
        assert problem.message in str(error)
        assert problem.node_id is None or f"node {problem.node_id}" in problem.message
        assert problem.class_type is None or problem.class_type in problem.message
        assert problem.input_name is None or problem.input_name in problem.message
    assert "Traceback" not in str(error)
    assert first.title == first.class_type


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("026_validation_unknown_class", "Install the custom nodes"),
        ("026_validation_no_outputs", "add a SaveImage node"),
        ("validation_cycle", "in a circle"),
    ],
)
def test_refusal_says_what_to_do(name, advice):
    post = posts(name)[0]
    assert advice in str(refusal(post["json"], post["request_json"]["prompt"]))


def test_older_server_names_an_unknown_class_in_its_details_alone():
    body = {
        "error": {
            "type": "invalid_prompt",
            "message": "Cannot execute because node NoSuchNode does not exist.",
            "details": "Node ID '#3'",
            "extra_info": {},
        },
        "node_errors": [],
    }
    error = refusal(body, {"3": {"class_type": "NoSuchNode", "inputs": {}}})
    assert (error.node_id, error.class_type) == ("3", "NoSuchNode")
    assert error.problems[0].kind == "unknown_node"


def test_title_of_the_node_is_named():
    graph = {"2": {"class_type": "ImageScale", "inputs": {}, "_meta": {"title": "make it big"}}}
    body = posts("026_validation_below_min")[0]["json"]
    assert "node 2 ImageScale 'make it big': Value -3" in str(refusal(body, graph))


def test_outputs_that_a_server_leaves_out_are_described():
    post = posts("validation_partial")[0]
    sentences = describe_node_errors(post["json"]["node_errors"], post["request_json"]["prompt"])
    assert sentences == ["node 3 EmptyImage: Value -5 smaller than min of 1 (width)"]


@pytest.mark.parametrize(
    "response",
    [
        answer({"error": {"type": "no_prompt"}}, status=500),
        answer({"error": "text of a proxy"}),
        answer(["error"]),
        HttpResponse(400, {}, b"<html>Bad Request</html>"),
    ],
)
def test_answer_that_is_not_the_servers_own_is_left_to_the_status(response):
    assert parse_refusal(response, {}) is None


NODE_ERROR = st.fixed_dictionaries(
    {
        "errors": st.lists(
            st.fixed_dictionaries(
                {
                    "type": st.sampled_from(["exception_during_inner_validation"]) | ANY_JSON,
                    "extra_info": st.fixed_dictionaries({"input_name": ANY_JSON}) | ANY_JSON,
                    "details": ANY_JSON,
                }
            )
            | ANY_JSON
        )
        | ANY_JSON
    }
)


@given(
    st.fixed_dictionaries(
        {
            "error": st.dictionaries(st.sampled_from(["type", "extra_info", "details"]), ANY_JSON),
            "node_errors": st.dictionaries(st.sampled_from("123"), NODE_ERROR) | ANY_JSON,
        }
    ),
    st.sampled_from(
        [{"class_type": "X", "inputs": {}}, {"inputs": {"a": ["7", 0]}}, {}, None, "x"]
    ),
)
def test_no_body_and_no_graph_make_it_raise(body, node):
    assert str(refusal(body, {"1": node}))


@pytest.mark.parametrize("node_id", [3, ["3"], {}, True])
def test_an_odd_node_id_is_none(node_id):
    told = {"type": "x", "message": "odd", "extra_info": {"node_id": node_id}}
    body = json.dumps({"error": told, "node_errors": {}}).encode()
    refusal = parse_refusal(HttpResponse(400, {}, body), {})
    assert refusal is not None
    assert (refusal.node_id, "odd" in str(refusal)) == (None, True)
