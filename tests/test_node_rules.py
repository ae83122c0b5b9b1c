"""Classes of nodes that may and may not be run: the lists, and the doors that they are kept at."""

from __future__ import annotations

import json
import pickle
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from comfyui.embedded import EmbeddedOptions, EmbeddedServer
from comfyui.node_rules import NodeRules, node_rules
from comfyui_provider import ComfyUIProvider
from config import Config
from image_provider import ConfigurationError, ImageGenerationRequest, WorkflowError
from image_routing.built_in import BUILT_IN
from tests.fakes.rogue_server import GRAPH, INFO, Answer, RogueServer
from tests.job_support import graph

ALL_OF_IT = "CheckpointLoaderSimple,EmptyLatentImage,CLIPTextEncode,KSampler,VAE*,SaveImage"


def nodes(*classes):
    return {str(n): {"class_type": name, "inputs": {}} for n, name in enumerate(classes, start=1)}


def refusal(rules, *classes, **replaced):
    with pytest.raises(WorkflowError) as caught:
        rules.check(nodes(*classes), replaced)
    return caught.value


@pytest.mark.parametrize(
    ("allowed", "denied", "classes"),
    [
        (None, (), ["RunPython"]),
        (("KSampler", "VAE*"), (), ["KSampler", "VAEDecode", "VAE"]),
        (("*",), ("Run*",), ["KSampler", "PreRun"]),
        (None, ("Load", "run"), ["LoadImage", "Run"]),
        (("Resize [a]", "a+b"), (), ["Resize [a]", "a+b"]),
    ],
)
def test_what_the_lists_leave_open_is_run(allowed, denied, classes):
    NodeRules(allowed, denied).check(nodes(*classes), {})


@pytest.mark.parametrize(
    ("allowed", "denied", "class_type", "why"),
    [
        (None, ("RunPython",), "RunPython", "its class is in COMFYUI_DENIED_NODES"),
        (None, ("*Python*",), "My Python\nNode", "is in COMFYUI_DENIED_NODES"),
        (("RunPython",), ("Run*",), "RunPython", "is in COMFYUI_DENIED_NODES"),
        (("KSampler",), (), "KSamplerAdvanced", "is not in COMFYUI_ALLOWED_NODES"),
        (("ksampler",), (), "KSampler", "is not in COMFYUI_ALLOWED_NODES"),
        (("Resize [a]",), (), "Resize a", "is not in COMFYUI_ALLOWED_NODES"),
        ((), (), "KSampler", "is not in COMFYUI_ALLOWED_NODES"),
    ],
)
def test_what_they_close_is_refused_with_the_node_named(allowed, denied, class_type, why):
    error = refusal(NodeRules(allowed, denied), class_type)
    assert (error.node_id, error.class_type) == ("1", class_type)
    assert f"node 1 {class_type[:9]}" in str(error) and why in str(error)
    assert "may change COMFYUI_ALLOWED_NODES and COMFYUI_DENIED_NODES" in str(error)


def test_every_refused_node_is_told_up_to_ten():
    error = refusal(NodeRules(None, ("Run*",)), "A", *["Run"] * 12)
    assert error.node_id == "2"
    assert "node 11 Run" in str(error) and "node 12 Run" not in str(error)
    assert "2 more nodes" in str(error)


def test_what_a_server_puts_in_a_nodes_place_counts_too():
    assert "which the server runs as RunPython" in str(
        refusal(NodeRules(None, ("RunPython",)), "Harmless", Harmless="RunPython")
    )
    refusal(NodeRules(("Harmless",)), "Harmless", Harmless="RunPython")
    NodeRules(("Harmless", "Better")).check(nodes("Harmless"), {"Harmless": "Better"})


@pytest.mark.parametrize("node", [{}, {"class_type": 7}, "RunPython", None])
def test_a_node_without_a_class_is_refused(node):
    with pytest.raises(WorkflowError, match="node 1 has no class_type"):
        NodeRules(("*",)).check({"1": node}, {})


# How they are given


@pytest.mark.parametrize(
    "given", ["A, B*", ["A", "B*"], ("A", "B*", " "), (name for name in ("A ", "B*"))]
)
def test_a_list_is_a_text_with_commas_or_names(given):
    assert node_rules(given, None) == NodeRules(("A", "B*"))


def test_what_is_no_list_of_names_is_a_type_error():
    with pytest.raises(TypeError, match="denied_nodes must be names"):
        node_rules(None, [7])
    with pytest.raises(TypeError, match="allowed_nodes must be names"):
        node_rules(7, None)


def test_a_setting_without_a_name_in_it_is_refused():
    with pytest.raises(ConfigurationError, match="COMFYUI_ALLOWED_NODES .* must be names"):
        Config({"COMFYUI_ALLOWED_NODES": " , "}, None)
    assert Config({"COMFYUI_ALLOWED_NODES": ""}, None).get_comfyui_allowed_nodes() is None


def rules_of(provider):
    return provider._node_rules


def test_the_settings_bind_however_a_provider_is_built(monkeypatch):
    settings = {"COMFYUI_ALLOWED_NODES": "A, B*", "COMFYUI_DENIED_NODES": "C"}
    expected = NodeRules(("A", "B*"), ("C",))
    with BUILT_IN["comfyui"](Config(settings, None)) as provider:
        assert rules_of(provider) == expected
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    with ComfyUIProvider() as provider, pickle.loads(pickle.dumps(provider)) as copy:
        assert rules_of(provider) == rules_of(copy) == expected
    with ComfyUIProvider(allowed_nodes=None, denied_nodes=()) as provider:
        assert rules_of(provider) == NodeRules()


# At the doors, over real sockets


@contextmanager
def serving(**rules):
    with (
        EmbeddedServer(options=EmbeddedOptions(step_seconds=0)) as server,
        ComfyUIProvider(server.address, ".", **rules) as provider,
    ):
        yield server, provider


def jobs_of(server):
    return requests.get(f"{server.url}/history").json()


def asked_for(provider, door):
    Path("mine.json").write_text(json.dumps(graph()), "utf-8")
    match door:
        case "generate":
            return provider.generate(ImageGenerationRequest("a fox", workflow="mine.json", seed=1))
        case "submit":
            wanted = ImageGenerationRequest("a fox", workflow="mine.json", seed=1, num_images=2)
            return provider.submit(wanted).result()
        case "run_workflow":
            return provider.run_workflow(graph())
        case _:
            return provider.execute_comfy_workflow("mine.json", "a fox")


DOORS = ["generate", "submit", "run_workflow", "execute_comfy_workflow"]


@pytest.mark.parametrize("door", DOORS)
def test_no_door_lets_a_closed_class_through(door):
    with serving(denied_nodes=["KSam*"]) as (server, provider):
        result = asked_for(provider, door)
        assert result.error_type == "workflow"
        assert "node 3 KSampler may not be run here" in result.error
        assert (result.exception.node_id, result.exception.class_type) == ("3", "KSampler")
        assert jobs_of(server) == {}
        with pytest.raises(WorkflowError, match="node 3 KSampler may not be run here"):
            provider.queue_prompt(graph())
        assert jobs_of(server) == {}


def test_every_door_lets_open_classes_through():
    with serving(allowed_nodes=ALL_OF_IT, denied_nodes="Run*") as (server, provider):
        for door in DOORS:
            result = asked_for(provider, door)
            assert result.success, result.error
        assert provider.queue_prompt(graph())
        assert len(jobs_of(server)) >= len(DOORS)


def test_a_node_that_is_left_out_anyway_need_not_be_allowed():
    with serving(allowed_nodes=ALL_OF_IT) as (_, provider):
        stray = {"class_type": "NotThere", "inputs": {"text": "a note"}}
        Path("mine.json").write_text(json.dumps({**graph(), "99": stray}), "utf-8")
        request = ImageGenerationRequest("a fox", workflow="mine.json", seed=1)
        assert provider.generate(request).success


def test_what_a_server_would_run_in_its_place_is_asked_of_the_server():
    replaced = {"OldSave": [{"new_node_id": "SaveImage", "old_node_id": "OldSave"}]}
    old = {**GRAPH, "2": {**GRAPH["2"], "class_type": "OldSave"}}
    with (
        RogueServer(node_replacements=Answer(replaced), object_info=Answer(INFO)) as server,
        ComfyUIProvider(server.address, denied_nodes=["SaveImage"]) as provider,
    ):
        error = provider.run_workflow(old).error
        assert "node 2 OldSave, which the server runs as SaveImage, may not be run" in str(error)
        assert not [entry for entry in server.asked if entry.line.startswith("POST")]
