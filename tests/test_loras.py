"""LoRAs: loaders that are there get the strength, new ones stand behind model and clip."""

from __future__ import annotations

from pathlib import Path

import pytest

from comfyui.cycles import find_cycles
from comfyui.graph import links_of
from comfyui.workflow import Workflow
from image_provider import ImageGenerationRequest
from tests.graph_support import node

ROOT = Path(__file__).parent.parent / "workflows" / "comfyui"


def bound(workflow, *loras):
    if isinstance(workflow, str):
        workflow = Workflow.from_file(ROOT / workflow)
    return workflow.bind(ImageGenerationRequest("P", loras=loras))


def graph_with_lora(clip_of_encoders, **lora):
    """A checkpoint, a LoRA and a CLIPSetLastLayer behind it; 5 is the sampler."""
    return Workflow.from_dict(
        {
            "1": node("CheckpointLoaderSimple", ckpt_name="sd.safetensors"),
            "2": node(
                "LoraLoader",
                model=["1", 0],
                clip=["1", 1],
                lora_name="old.safetensors",
                **{"strength_model": 1.0, "strength_clip": 1.0, **lora},
            ),
            "3": node("CLIPSetLastLayer", clip=["2", 1], stop_at_clip_layer=-2),
            "4": node("CLIPTextEncode", text="a", clip=clip_of_encoders),
            "5": node(
                "KSampler",
                model=["2", 0],
                positive=["4", 0],
                negative=["4", 0],
                latent_image=["6", 0],
            ),
            "6": node("EmptyLatentImage", width=64, height=64),
            "7": node("VAEDecode", samples=["5", 0], vae=["1", 2]),
            "8": node("SaveImage", images=["7", 0]),
        }
    )


def test_a_new_lora_stands_behind_model_and_clip():
    after = bound("t2i_flux.json", ("new.safetensors", 0.8))
    assert after.graph["11"] == {
        "class_type": "LoraLoader",
        "inputs": {
            "lora_name": "new.safetensors",
            "strength_model": 0.8,
            "strength_clip": 0.8,
            "model": ["1", 0],
            "clip": ["2", 0],
        },
        "_meta": {"title": "LoRA new.safetensors"},
    }
    assert after.graph["8"]["inputs"]["model"] == ["11", 0]
    assert after.graph["4"]["inputs"]["clip"] == ["11", 1]


def test_several_are_applied_in_the_order_given():
    graph = bound("t2i_checkpoint.json", ("a", 1.0), ("b", 0.5)).graph
    assert graph["8"]["inputs"]["model"] == ["1", 0]
    assert graph["9"]["inputs"]["model"] == ["8", 0]
    assert graph["9"]["inputs"]["clip"] == ["8", 1]
    assert graph["5"]["inputs"]["model"] == ["9", 0]
    assert {graph[i]["inputs"]["clip"][0] for i in ("2", "3")} == {"9"}
    assert graph["6"]["inputs"]["vae"] == ["1", 2]


@pytest.mark.parametrize("clip", [["2", 1], ["3", 0], ["1", 1]])
def test_one_beside_those_of_the_workflow_makes_no_cycle_and_reaches_everything(clip):
    graph = bound(graph_with_lora(clip), ("new.safetensors", 0.5)).graph
    links = {i: [link.node_id for _, link in links_of(n)] for i, n in graph.items()}
    assert list(find_cycles(links)) == []
    assert graph["9"]["inputs"]["model"] == ["1", 0]
    assert graph["9"]["inputs"]["clip"] == ["1", 1]
    assert graph["2"]["inputs"]["model"] == ["9", 0]
    assert graph["2"]["inputs"]["clip"] == ["9", 1]
    assert graph["4"]["inputs"]["clip"] == (["9", 1] if clip == ["1", 1] else clip)


def test_the_workflows_own_loader_of_the_lora_takes_the_strength():
    after = bound(graph_with_lora(["2", 1]), ("old.safetensors", 0.3))
    assert len(after.graph) == 8
    inputs = after.graph["2"]["inputs"]
    assert (inputs["strength_model"], inputs["strength_clip"]) == (0.3, 0.3)
    (told,) = [entry for entry in after.bindings if entry.parameter == "loras"]
    assert (told.node_id, told.value) == ("2", ("old.safetensors", 0.3))


def test_a_loader_that_feeds_no_output_does_not_count():
    workflow = graph_with_lora(["1", 1])
    graph = workflow.graph
    graph["5"]["inputs"]["model"] = ["1", 0]
    after = bound(Workflow.from_dict(graph), ("old.safetensors", 0.3))
    assert after.graph["9"]["inputs"]["lora_name"] == "old.safetensors"


def test_two_clips_leave_the_lora_to_the_model_alone():
    graph = graph_with_lora(["2", 1]).graph
    graph["10"] = node("CLIPLoader", clip_name="x")
    graph["11"] = node("CLIPTextEncode", text="a", clip=["10", 0])
    graph["5"]["inputs"]["negative"] = ["11", 0]
    after = bound(Workflow.from_dict(graph), ("new.safetensors", 0.5))
    (new_id,) = after.graph.keys() - graph.keys()
    assert after.graph[new_id]["class_type"] == "LoraLoaderModelOnly"
    assert "clip" not in after.graph[new_id]["inputs"]


def test_binding_again_adds_no_second_one():
    request = ImageGenerationRequest("P", loras=[("a", 1.0), ("b", 0.5)])
    once = Workflow.from_file(ROOT / "t2i_flux.json").bind(request).graph
    assert Workflow.from_dict(once).bind(request).graph == once


def test_an_entry_of_a_power_loader_is_switched_on_and_takes_the_strength():
    power = {
        "lora_1": {"on": False, "lora": "other.safetensors", "strength": 1.0},
        "lora_2": {"on": False, "lora": "old.safetensors", "strength": 1.0},
    }
    graph = graph_with_lora(["2", 1]).graph
    graph["2"] = node("Power Lora Loader (rgthree)", model=["1", 0], clip=["1", 1], **power)
    after = bound(Workflow.from_dict(graph), ("old.safetensors", 0.3))
    assert after.graph["2"]["inputs"] == {
        **graph["2"]["inputs"],
        "lora_2": {"on": True, "lora": "old.safetensors", "strength": 0.3},
    }
    (told,) = [entry for entry in after.bindings if entry.parameter == "loras"]
    assert (told.node_id, told.input_name) == ("2", "lora_2")


def test_what_the_request_says_of_a_loader_or_a_link_stays():
    workflow = graph_with_lora(["2", 1])
    own = {"2.strength_model": 0.9}
    request = ImageGenerationRequest("P", loras=[("old.safetensors", 0.3)], extra=own)
    inputs = workflow.bind(request).graph["2"]["inputs"]
    assert (inputs["strength_model"], inputs["strength_clip"]) == (0.9, 0.3)
    links = {"2.model": ["1", 0], "5.model": ["1", 0]}
    request = ImageGenerationRequest("P", loras=[("new.safetensors", 0.3)], extra=links)
    after = workflow.bind(request)
    assert after.graph.keys() == workflow.graph.keys()
    assert [entry.parameter for entry in after.ignored] == ["loras"]
    assert "CheckpointLoaderSimple 1" in after.ignored[0].reason
    assert Workflow.from_dict(after.graph).bind(request).graph == after.graph


def graph_of_two(clips):
    """Two pictures, each of its own model: a and b; `clips` are those of their encoders."""
    graph = {}
    for name, clip in zip("ab", clips, strict=True):
        graph |= {
            f"{name}1": node("CheckpointLoaderSimple", ckpt_name=f"{name}.safetensors"),
            f"{name}2": node("CLIPTextEncode", text="x", clip=clip),
            f"{name}3": node("EmptyLatentImage", width=64, height=64),
            f"{name}4": node(
                "KSampler",
                model=[f"{name}1", 0],
                positive=[f"{name}2", 0],
                negative=[f"{name}2", 0],
                latent_image=[f"{name}3", 0],
            ),
            f"{name}5": node("VAEDecode", samples=[f"{name}4", 0], vae=[f"{name}1", 2]),
            f"{name}6": node("SaveImage", images=[f"{name}5", 0]),
        }
    return Workflow.from_dict({"c": node("CLIPLoader", clip_name="c"), **graph})


def test_a_lora_stands_behind_every_loader_that_the_model_goes_to():
    workflow = graph_of_two((["a1", 1], ["b1", 1]))
    after = bound(workflow, ("new", 0.5), ("second", 0.25))
    told = [entry.node_id for entry in after.bindings if entry.parameter == "loras"]
    assert told == ["14", "15", "16", "17"]
    assert [after.graph[i]["inputs"]["model"][0] for i in told] == ["a1", "b1", "14", "15"]
    assert [after.graph[i]["inputs"]["clip"][0] for i in told] == ["a1", "b1", "14", "15"]
    assert [after.graph[i]["inputs"]["model"] for i in ("a4", "b4")] == [["16", 0], ["17", 0]]
    assert [after.graph[i]["inputs"]["clip"] for i in ("a2", "b2")] == [["16", 1], ["17", 1]]
    request = ImageGenerationRequest("P", loras=[("new", 0.5), ("second", 0.25)])
    assert Workflow.from_dict(after.graph).bind(request).graph == after.graph


def test_a_clip_that_two_models_share_gets_the_lora_once():
    after = bound(graph_of_two((["c", 0], ["c", 0])), ("new", 0.5))
    assert [after.graph[i]["class_type"] for i in ("14", "15")] == [
        "LoraLoader",
        "LoraLoaderModelOnly",
    ]
    assert [after.graph[i]["inputs"]["clip"] for i in ("a2", "b2")] == [["14", 1], ["14", 1]]


def test_a_lora_that_both_models_have_takes_the_strength_in_both():
    workflow = Workflow.from_dict(bound(graph_of_two((["a1", 1], ["b1", 1])), ("x", 1.0)).graph)
    after = bound(workflow, ("x", 0.25)).graph
    assert after.keys() == workflow.graph.keys()
    assert [after[i]["inputs"]["strength_clip"] for i in ("14", "15")] == [0.25, 0.25]


def test_clips_that_come_in_a_circle_end():
    graph = graph_with_lora(["3", 0]).graph
    graph["2"]["inputs"]["clip"] = ["3", 0]
    (new_id,) = bound(Workflow.from_dict(graph), ("new", 1.0)).graph.keys() - graph.keys()
    assert new_id == "9"
