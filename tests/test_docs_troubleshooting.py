"""The messages that docs/developers/troubleshooting.md quotes are those that the library makes.

Each is provoked, with the embedded server or without any, and compared with the page: there `…`
stands for what differs from case to case.
"""

from __future__ import annotations

import json
import logging
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import requests
import trustme
from PIL import Image

import dev
from comfyui import embedded
from comfyui.client import Limits
from comfyui.embedded import EmbeddedOptions, EmbeddedServer, FailNode, StepGate
from comfyui_provider import ComfyUIProvider
from config import Config
from image_batches.resume import BatchStore
from image_generator import ImageGenerator
from image_provider import ImageGenerationError, ImageGenerationRequest, ImageGenerationResult
from tests.document_support import ROOT, blocks
from tests.fakes.hosted_apis import OPENAI, HostedApis
from tests.tls_support import tls_front

PAGE = ROOT / "docs" / "developers" / "troubleshooting.md"
KIND = "message:"
FOX = ImageGenerationRequest("a red fox", width=64, height=64, steps=1)
NO_STEPS = EmbeddedOptions(step_seconds=0)

MESSAGES: dict[str, Callable[[], str]] = {}


def message(provoke: Callable[[], str]) -> Callable[[], str]:
    """Adds a way to a message, by the name that the page has for it."""
    MESSAGES[provoke.__name__.replace("_", "-")] = provoke
    return provoke


def error_of(result: ImageGenerationResult) -> str:
    assert not result.success
    return result.error or ""


def ignored_in(request: ImageGenerationRequest) -> str:
    """The warning for the one parameter that a generation found no place for."""
    with EmbeddedServer(options=NO_STEPS) as server, ComfyUIProvider(server.address) as provider:
        (ignored,) = (provider.generate(request).metadata or {})["ignored"]
    return f"comfyui ignores {ignored['parameter']}: {ignored['reason']}"


def refusal(build: Callable[[], object], error: type[Exception] = ImageGenerationError) -> str:
    with pytest.raises(error) as raised:
        build()
    return str(raised.value)


def made(
    request: ImageGenerationRequest = FOX, options: EmbeddedOptions = NO_STEPS, **more: Any
) -> str:
    """What a generation on an embedded server fails with."""
    with EmbeddedServer(options=options) as server:
        return made_at(server.address, request, **more)


def made_at(address: str, request: ImageGenerationRequest = FOX, **more: Any) -> str:
    with ComfyUIProvider(address, **more) as provider:
        return error_of(provider.generate(request))


def routed(request: dict[str, Any] | None = None, **settings: str) -> str:
    with ImageGenerator(Config({"COMFYUI_SERVER_ADDRESS": NOWHERE, **settings})) as generator:
        return error_of(generator.generate("a red fox", **(request or {})))


def _unused() -> str:
    """An address on which nobody listens."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        return f"127.0.0.1:{listener.getsockname()[1]}"


NOWHERE = _unused()


@contextmanager
def answering(status: int, body: bytes) -> Iterator[str]:
    """The address of something that answers every request with this."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


# The server


@message
def nobody_listens() -> str:
    return made_at(NOWHERE)


@message
def another_program() -> str:
    with answering(200, b"<html>a printer</html>") as address:
        return made_at(address)


@message
def wants_credentials() -> str:
    with answering(401, b"") as address:
        return made_at(address)


@message
def untrusted_certificate() -> str:
    with EmbeddedServer() as server, tls_front(server.address, trustme.CA()) as front:
        return made_at(f"https://127.0.0.1:{front.port}")


@message
def wrong_bundle() -> str:
    Path("bundle.pem").write_text("no certificate", "utf-8")
    return refusal(lambda: ComfyUIProvider("https://there", ca_bundle="bundle.pem"))


@message
def silent_server() -> str:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        return made_at(address, limits=Limits(connect=0.05, read=0.05))


@message
def no_address() -> str:
    return refusal(lambda: ComfyUIProvider("ftp://192.168.1.20"))


@message
def port_in_use() -> str:
    with EmbeddedServer() as server:
        port = int(server.address.rpartition(":")[2])
        return refusal(EmbeddedServer(port=port).start, OSError)


# Models and nodes


@message
def no_models() -> str:
    return made(options=EmbeddedOptions(models={}))


@message
def checkpoint_instead() -> str:
    options = replace(NO_STEPS, models={"checkpoints": ["sd_xl_base_1.0.safetensors"]})
    with EmbeddedServer(options=options) as server, ComfyUIProvider(server.address) as provider:
        (warning,) = (provider.generate(FOX).metadata or {})["warnings"]
    return str(warning)


def write_graph(name: str, **nodes: dict[str, Any]) -> Path:
    """A workflow file: the bundled checkpoint one with nodes added or changed, as "3.text"."""
    source = ROOT / "workflows" / "comfyui" / "t2i_checkpoint.json"
    graph = json.loads(source.read_text("utf-8"))
    Path(name).write_text(json.dumps({**graph, **nodes}), "utf-8")
    return Path(name)


@message
def missing_node() -> str:
    sampler = {"class_type": "MySampler", "inputs": {"steps": 4, "model": ["1", 0]}}
    decode = {"class_type": "VAEDecode", "inputs": {"samples": ["20", 0], "vae": ["1", 2]}}
    save = {"class_type": "SaveImage", "inputs": {"images": ["21", 0], "filename_prefix": "x"}}
    write_graph("mine.json", **{"20": sampler, "21": decode, "22": save})
    return made(replace(FOX, workflow="mine.json"), workflow_dir=".")


@message
def out_of_memory() -> str:
    failing = FailNode("KSampler", "Allocation on device", "torch.OutOfMemoryError")
    return made(options=replace(NO_STEPS, fail_node=failing))


@message
def mixed_families() -> str:
    text = "mat1 and mat2 shapes cannot be multiplied (77x2048 and 768x320)"
    return made(options=replace(NO_STEPS, fail_node=FailNode("KSampler", text)))


# Workflows


@message
def no_such_workflow() -> str:
    return made(replace(FOX, workflow="my_workflow.json"))


@message
def absolute_workflow() -> str:
    return made(replace(FOX, workflow="/home/me/my_workflow.json"))


@message
def device_name() -> str:
    return made(replace(FOX, workflow="aux.json"))


@message
def forbidden_node() -> str:
    loading = {"class_type": "LoadImage", "inputs": {"image": "fox.png"}}
    shown = {"class_type": "PreviewImage", "inputs": {"images": ["20", 0]}}
    write_graph("mine.json", **{"20": loading, "21": shown})
    wanted = replace(FOX, workflow="mine.json")
    return made(wanted, workflow_dir=".", denied_nodes=["LoadImage"])


@message
def too_many_nodes() -> str:
    nodes = {str(number): {"class_type": "A", "inputs": {}} for number in range(10_001)}
    Path("mine.json").write_text(json.dumps(nodes), "utf-8")
    return made(replace(FOX, workflow="mine.json"), workflow_dir=".")


@message
def several_prompts() -> str:
    def text(words: str) -> dict[str, Any]:
        return {"class_type": "CLIPTextEncode", "inputs": {"text": words, "clip": ["1", 1]}}

    combined = {
        "class_type": "ConditioningCombine",
        "inputs": {"conditioning_1": ["20", 0], "conditioning_2": ["21", 0]},
    }
    path = write_graph("mine.json", **{"20": text("a fox"), "21": text("a forest"), "22": combined})
    graph = json.loads(path.read_text("utf-8"))
    (sampler,) = (node for node in graph.values() if node["class_type"] == "KSampler")
    sampler["inputs"]["positive"] = ["22", 0]
    path.write_text(json.dumps(graph), "utf-8")
    return made(replace(FOX, workflow="mine.json"), workflow_dir=".")


@message
def ignored_parameter() -> str:
    return ignored_in(replace(FOX, negative_prompt="fog"))


@message
def unknown_input() -> str:
    return ignored_in(replace(FOX, extra={"Sampler.guidance": 4.0}))


# Pictures in


@message
def no_source_file() -> str:
    return made(replace(FOX, source_image_url="fox.png"))


@message
def private_address() -> str:
    return made(replace(FOX, source_image_url="http://192.168.1.5/fox.png"))


@message
def sources_closed() -> str:
    return made(replace(FOX, source_image_url="fox.png"), source_roots=())


@message
def no_picture_loader() -> str:
    Image.new("RGB", (64, 64)).save("fox.png")
    wanted = replace(FOX, source_image_url="fox.png", workflow="t2i_flux.json")
    return made(wanted)


@message
def no_mask() -> str:
    Image.new("RGB", (64, 64)).save("fox.png")
    return made(replace(FOX, source_image_url="fox.png", workflow="inpaint_flux.json"))


# Time


@message
def time_limit() -> str:
    endless = replace(FOX, steps=10_000)
    return made(endless, EmbeddedOptions(step_seconds=0.01), limits=Limits(total=0.3))


@message
def interrupted() -> str:
    gate = StepGate("KSampler")
    options = replace(NO_STEPS, on_step=gate)
    with EmbeddedServer(options=options) as server, ComfyUIProvider(server.address) as provider:
        future = provider.submit(FOX)
        assert gate.wait_reached()
        requests.post(f"{server.url}/interrupt")
        gate.open()
        return error_of(future.result())


# Batches


def refused_batch(number: int) -> str:
    requests = [FOX] * number
    return refusal(lambda: BatchStore.opened("foxes.jsonl", requests).__enter__())


@message
def batch_at_work() -> str:
    with BatchStore.opened("foxes.jsonl", [FOX]):
        return refused_batch(1)


@message
def other_batch() -> str:
    with BatchStore.opened("foxes.jsonl", [FOX]):
        pass
    return refused_batch(2)


# Settings and hosted providers


@message
def wrong_setting() -> str:
    return refusal(lambda: Config({"COMFYUI_TOTAL_TIMEOUT": "2h"}, None))


@message
def wrong_env_file() -> str:
    Path(".env").write_text("COMFYUI_API_KEY='half a quote\n", "utf-8")
    return refusal(lambda: Config({}))


@message
def wrong_routing_file() -> str:
    Path("image_routing_config.json").write_text('{"style_routing": {"cinema": {}}}', "utf-8")
    return refusal(lambda: ImageGenerator(Config({})))


@message
def no_key() -> str:
    return routed({"provider": "openai"})


@message
def refused_key() -> str:
    with HostedApis() as apis:
        apis.answer(OPENAI, 401, {"error": {"message": "Incorrect API key provided"}})
        return routed({"provider": "openai"}, **apis.settings)


@message
def no_provider() -> str:
    return routed({"workflow": "t2i_checkpoint.json"}, OPENAI_API_KEY="sk-0")


@message
def unknown_style() -> str:
    with ImageGenerator(Config({})) as generator:
        return refusal(lambda: generator.generate("a red fox", style="cinema"), ValueError)


@message
def old_python() -> str:
    return refusal(lambda: dev.refuse_old_python((3, 9, 18)), dev.SetupError)


@message
def another_python() -> str:
    command = [sys.executable, "-S", "-m", "image_cli"]  # -S: without site-packages
    done = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8")
    return done.stderr.strip().removeprefix("error: ")


@message
def no_aiohttp() -> str:
    with pytest.MonkeyPatch.context() as patched:
        patched.delitem(sys.modules, "comfyui.embedded.server", raising=False)
        patched.delattr(embedded, "server", raising=False)
        patched.setitem(sys.modules, "aiohttp", None)
        return refusal(lambda: embedded.__getattr__("EmbeddedServer"), ImportError)


def quoted() -> dict[str, str]:
    """What the page quotes, by the names in the info strings."""
    found = [block for block in blocks(PAGE) if block.info.startswith(KIND)]
    return {block.info.removeprefix(KIND).strip(): block.text for block in found}


@pytest.mark.parametrize("name", MESSAGES)
def test_a_message_that_is_quoted_is_made(name: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    pattern = ".+?".join(map(re.escape, " ".join(quoted()[name].split()).split("…")))
    told = " ".join(MESSAGES[name]().split())
    assert re.fullmatch(pattern, told), f"the library says: {told}"


def test_every_message_on_the_page_is_one_that_is_provoked_here() -> None:
    assert quoted().keys() == MESSAGES.keys()


if __name__ == "__main__":  # prints them, for whoever writes the page
    import os
    import tempfile

    logging.disable(logging.CRITICAL)
    for name, provoke in MESSAGES.items():
        os.chdir(tempfile.mkdtemp())
        sys.stdout.write(f"{name}\n    {provoke()}\n")
