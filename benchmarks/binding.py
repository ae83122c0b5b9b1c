"""How long binding and validation take, beside reading the same file.

    python benchmarks/binding.py

Prints for graphs of 20, 200 and 2,000 nodes the time of `json.loads` of the file, and binding and
validation as multiples of it. All are measured in one run, by turns, so that a busy machine slows
them alike; of all turns the fastest counts. The classes are those of the tests.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.turns import fastest  # noqa: E402 - found once the path is set
from comfyui import ObjectInfo, Workflow  # noqa: E402
from image_provider import ImageGenerationRequest  # noqa: E402

SIZES = (20, 200, 2_000)
OBJECT_INFO = ROOT / "tests" / "data" / "object_info" / "0.26.0.json"
WORKFLOW = ROOT / "workflows" / "comfyui" / "t2i_checkpoint.json"
REQUEST = ImageGenerationRequest(
    "a lighthouse", "fog", 640, 768, seed=7, steps=12, guidance_scale=5.0, model="sd.safetensors"
)


def graph_of(size: int) -> dict[str, Any]:
    """The bundled workflow, with LoRAs on its model and clip, and as many second samplers."""
    graph: dict[str, Any] = json.loads(WORKFLOW.read_text("utf-8"))
    loader, sampler = _of(graph, "CheckpointLoaderSimple"), _of(graph, "KSampler")
    model, clip, latent = [loader, 0], [loader, 1], [sampler, 0]
    for number in range((size - len(graph)) // 2):
        lora = {"lora_name": "a", "strength_model": 1.0, "strength_clip": 1.0}
        graph[f"lora {number}"] = {
            "class_type": "LoraLoader",
            "inputs": {**lora, "model": model, "clip": clip},
        }
        model, clip = [f"lora {number}", 0], [f"lora {number}", 1]
        again = {**graph[sampler]["inputs"], "latent_image": latent}
        graph[f"pass {number}"] = {"class_type": "KSampler", "inputs": again}
        latent = [f"pass {number}", 0]
    for node in graph.values():
        if node["class_type"] == "KSampler":
            node["inputs"]["model"] = model
        if node["class_type"] == "CLIPTextEncode":
            node["inputs"]["clip"] = clip
    graph[_of(graph, "VAEDecode")]["inputs"]["samples"] = latent
    return graph


def _of(graph: dict[str, Any], class_type: str) -> str:
    return next(i for i, node in graph.items() if node["class_type"] == class_type)


def main() -> None:
    """Measures every size and prints the table."""
    info = ObjectInfo.from_dict(json.loads(OBJECT_INFO.read_text("utf-8")))
    graphs = [graph_of(size) for size in SIZES]
    tasks: list[Callable[[], object]] = []
    for graph in graphs:
        text = json.dumps(graph, indent=2)
        workflow = Workflow.from_dict(graph)
        tasks += [
            partial(json.loads, text),
            partial(workflow.bind, REQUEST, info),
            partial(workflow.validate, info),
        ]
    times = fastest(tasks)
    print("nodes   json.loads   bind   validate   bind + validate   per node")
    for number, graph in enumerate(graphs):
        read, bound, checked = times[3 * number : 3 * number + 3]
        both = bound + checked
        print(
            f"{len(graph):5}   {read * 1e3:7.2f} ms {bound / read:5.1f}x {checked / read:9.1f}x "
            f"{both / read:16.1f}x {both / len(graph) * 1e6:7.0f} µs"
        )


if __name__ == "__main__":
    main()
