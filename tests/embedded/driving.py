"""Small graphs, and a plain client that posts them to an embedded server and waits."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import requests
import websocket
from PIL import Image

from comfyui.embedded import EmbeddedServer

TIMEOUT = 10.0
CHECKPOINT = "v1-5-pruned-emaonly.safetensors"


def text_to_image(
    prompt="a red fox in the snow", negative="", seed=1, size=64, steps=20, **sampler
) -> dict[str, Any]:
    """Checkpoint, two texts, sampler (3), decode (8), save (9)."""
    inputs = {
        "model": ["4", 0], "positive": ["6", 0], "negative": ["7", 0], "latent_image": ["5", 0],
        "seed": seed, "steps": steps, "cfg": 7.0, "sampler_name": "euler", "scheduler": "normal",
        "denoise": 1.0, **sampler,
    }  # fmt: skip
    return {
        "3": node("KSampler", **inputs),
        "4": node("CheckpointLoaderSimple", ckpt_name=CHECKPOINT),
        "5": node("EmptyLatentImage", width=size, height=size, batch_size=1),
        "6": node("CLIPTextEncode", text=prompt, clip=["4", 1]),
        "7": node("CLIPTextEncode", text=negative, clip=["4", 1]),
        "8": node("VAEDecode", samples=["3", 0], vae=["4", 2]),
        "9": node("SaveImage", images=["8", 0], filename_prefix="test"),
    }


def image_to_image(name: str, denoise: float, **sampler) -> dict[str, Any]:
    """As text_to_image, from an uploaded picture (10)."""
    graph = text_to_image(latent_image=["11", 0], denoise=denoise, **sampler)
    graph["10"] = node("LoadImage", image=name)
    graph["11"] = node("VAEEncode", pixels=["10", 0], vae=["4", 2])
    return graph


def colour(rgb=0x224466, size=64, save=True) -> dict[str, Any]:
    """A plain picture, saved or previewed: the fastest job there is."""
    image = node("EmptyImage", width=size, height=size, batch_size=1, color=rgb)
    end = (
        node("SaveImage", images=["1", 0], filename_prefix="plain")
        if save
        else node("PreviewImage", images=["1", 0])
    )
    return {"1": image, "2": end}


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


class Driver:
    """One client of one server: an HTTP session and a socket."""

    def __init__(self, server: EmbeddedServer, client_id: str = "driver"):
        self.server = server
        self.client_id = client_id
        self.session = requests.Session()
        self.socket = websocket.create_connection(
            f"ws://{server.address}/ws?clientId={client_id}", timeout=TIMEOUT
        )
        self.first = self.next_message()

    def __enter__(self) -> Driver:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()
        self.socket.shutdown()  # what close leaves open when the server closed first
        self.session.close()

    def get(self, path: str, **query: Any) -> Any:
        return self.session.get(self.server.url + path, params=query, timeout=TIMEOUT).json()

    def send(self, path: str, body: Any = None) -> requests.Response:
        return self.session.post(self.server.url + path, json=body, timeout=TIMEOUT)

    def post(self, graph: dict[str, Any], **body: Any) -> str:
        full = {"prompt": graph, "client_id": self.client_id, **body}
        response = self.send("/prompt", full)
        assert response.ok, response.text
        return response.json()["prompt_id"]

    def upload(self, image: Image.Image, name: str = "source.png") -> str:
        buffer = io.BytesIO()
        image.save(buffer, format="PNG")
        files = {"image": (name, buffer.getvalue())}
        response = self.session.post(
            f"{self.server.url}/upload/image", files=files, timeout=TIMEOUT
        )
        return response.json()["name"]

    def next_message(self) -> Any:
        message = self.socket.recv()
        return json.loads(message) if isinstance(message, str) else message

    def until_done(self, prompt_id: str) -> list[Any]:
        """All messages up to the end of a job."""
        messages = []
        while True:
            messages.append(self.next_message())
            if is_end(messages[-1], prompt_id):
                return messages

    def run(self, graph: dict[str, Any]) -> dict[str, Any]:
        """Post, wait, and give the job's entry in the history."""
        prompt_id = self.post(graph)
        self.until_done(prompt_id)
        return self.get(f"/history/{prompt_id}")[prompt_id]

    def picture(self, entry: dict[str, Any], node_id: str = "9") -> Image.Image:
        """The first picture that a job's node saved."""
        assert entry["status"]["completed"], entry["status"]
        query = entry["outputs"][node_id]["images"][0]
        response = self.session.get(f"{self.server.url}/view", params=query, timeout=TIMEOUT)
        return Image.open(io.BytesIO(response.content))

    def pixels(self, graph: dict[str, Any], node_id: str = "9") -> np.ndarray:
        return np.asarray(self.picture(self.run(graph), node_id)).astype(int)


def is_end(message: Any, prompt_id: str) -> bool:
    return (
        isinstance(message, dict)
        and message["type"] == "executing"
        and message["data"]["node"] is None
        and message["data"]["prompt_id"] == prompt_id
    )


def types_of(messages: list[Any]) -> list[str]:
    return [m["type"] if isinstance(m, dict) else "binary" for m in messages]
