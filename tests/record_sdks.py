"""What the vendors' own SDKs send, recorded from a stand-in server on this machine.

`python -m tests.record_sdks tests/data/hosted/sdk_requests.json`, run where openai, fal-client,
together and replicate are installed; they are not among the project's requirements. What it writes,
`test_hosted_sdks.py` holds our providers to. Asks no vendor for anything.
"""

from __future__ import annotations

import base64
import importlib
import json
import struct
import sys
import threading
import zlib
from collections.abc import Callable
from email.parser import BytesParser
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import Any

SDKS = ("openai", "fal-client", "together", "replicate")
KEY = "secret-key-1234"
KEPT_HEADERS = ("authorization", "content-type", "accept", "prefer", "x-fal-queue-priority")


def png(width: int, height: int, channels: int = 3) -> bytes:
    """A black PNG file of 1 (grey), 3 (RGB) or 4 (RGBA) channels."""
    kind = {1: 0, 3: 2, 4: 6}[channels]
    header = struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0)
    rows = zlib.compress((b"\0" + b"\0" * width * channels) * height)
    chunks = ((b"IHDR", header), (b"IDAT", rows), (b"IEND", b""))
    parts = [
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def shown(value: Any) -> Any:
    """The value with every PNG in it named by its size and channels, however it is written."""
    if isinstance(value, dict):
        return {name: shown(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [shown(entry) for entry in value]
    if isinstance(value, bytes):
        return _png_name(value) or value.decode()
    if isinstance(value, str) and len(value) > 60:
        head, comma, data = value.rpartition(",")
        try:
            name = _png_name(base64.b64decode(data, validate=True))
        except ValueError:
            name = None
        return f"{head}{comma}{name}" if name else value
    return value


def _png_name(data: bytes) -> str | None:
    if not data.startswith(b"\x89PNG"):
        return None
    width, height = struct.unpack(">II", data[16:24])
    return f"<PNG {width}x{height} {({0: 'L', 2: 'RGB', 6: 'RGBA'})[data[25]]}>"


def recorded(method: str, path: str, headers: dict[str, str], body: bytes) -> dict[str, Any]:
    """One request in the form that is compared."""
    lower = {name.lower(): value for name, value in headers.items()}
    content_type = lower.get("content-type", "").partition(";")[0]
    kept = {name: lower[name] for name in KEPT_HEADERS if name in lower}
    entry: dict[str, Any] = {"method": method, "path": path, "headers": kept}
    if content_type:
        kept["content-type"] = content_type
    if content_type == "application/json" and body:
        entry["json"] = shown(json.loads(body))
    if content_type == "multipart/form-data":
        entry["form"] = _parts(lower["content-type"], body)
    return entry


def _parts(content_type: str, body: bytes) -> list[dict[str, Any]]:
    head = f"Content-Type: {content_type}\r\n\r\n".encode()
    parts = []
    for part in BytesParser(policy=HTTP).parsebytes(head + body).iter_parts():
        named = {
            "name": part.get_param("name", header="content-disposition"),
            "filename": part.get_filename(),
            "type": part.get_content_type() if part.get_filename() else None,
            "value": shown(part.get_payload(decode=True)),
        }
        parts.append({name: value for name, value in named.items() if value is not None})
    return sorted(parts, key=lambda entry: str(entry["name"]))


class StandIn(ThreadingHTTPServer):
    """Every vendor at once: answers by the path alone, and keeps what it was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.seen: list[dict[str, Any]] = []

    @property
    def url(self) -> str:
        """The origin."""
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: StandIn

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        headers = dict(self.headers.items())
        self.server.seen.append(recorded(self.command, self.path, headers, body))
        answer = json.dumps(answer_for(self.server.url, self.command, self.path)).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_POST = do_PUT = _answer

    def log_message(self, *_: object) -> None:
        pass


def answer_for(url: str, method: str, path: str) -> dict[str, Any]:
    """An answer of the vendor that the path belongs to, as far as the SDKs look at it."""
    if path.endswith(("/images/generations", "/images/edits")):
        image = {"index": 0, "type": "b64_json", "b64_json": base64.b64encode(png(8, 6)).decode()}
        return {"id": "img-1", "model": "m", "object": "list", "created": 1, "data": [image]}
    if path.startswith("/v1/files"):
        return {
            "id": "file1",
            "name": "n",
            "content_type": "image/png",
            "size": 1,
            "etag": "e",
            "checksums": {},
            "metadata": {},
            "created_at": "2026-11-01T00:00:00Z",
            "expires_at": None,
            "urls": {"get": f"{url}/v1/files/file1"},
        }
    if path.startswith("/v1/"):
        return _prediction(url)
    return _queued(url, method, path)


def _prediction(url: str) -> dict[str, Any]:
    address = f"{url}/v1/predictions/pred1"
    return {
        "id": "pred1",
        "model": "black-forest-labs/flux-2-pro",
        "version": "hidden",
        "status": "processing",
        "input": {},
        "output": None,
        "error": None,
        "logs": "",
        "urls": {"get": address, "cancel": f"{address}/cancel"},
        "created_at": "2026-11-01T00:00:00Z",
    }


def _queued(url: str, method: str, path: str) -> dict[str, Any]:
    app = "/".join(path.split("/")[1:3])
    job = f"{url}/{app}/requests/req-1"
    if method == "POST":
        urls = {f"{name}_url": f"{job}{end}" for name, end in _FAL_URLS}
        return {"status": "IN_QUEUE", "request_id": "req-1", "queue_position": 0, **urls}
    if "/status" in path:
        # Jobs of FLUX.1 never end, so that somebody cancels them.
        status = "COMPLETED" if app == "fal-ai/flux-2" else "IN_PROGRESS"
        return {"status": status, "request_id": "req-1", "logs": None, "metrics": {}}
    return {"images": [{"url": f"{url}/picture.png"}], "seed": 1}


_FAL_URLS = (("response", ""), ("status", "/status"), ("cancel", "/cancel"))


def openai_calls(url: str) -> dict[str, Callable[[], Any]]:
    """The calls of each case."""
    sdk = importlib.import_module("openai")
    images = sdk.OpenAI(api_key=KEY, base_url=f"{url}/v1").images
    asked = {"model": "gpt-image-2", "n": 2, "size": "1024x1024"}
    source = ("image.png", png(1024, 1024), "image/png")
    mask = ("mask.png", png(1024, 1024, 4), "image/png")
    return {
        "openai text": lambda: images.generate(prompt="a fox", **asked),
        "openai dall-e-3": lambda: images.generate(
            prompt="a fox",
            model="dall-e-3",
            n=1,
            size="1792x1024",
            quality="hd",
            response_format="b64_json",
        ),
        "openai edit": lambda: images.edit(image=source, prompt="a hat", **asked),
        "openai mask": lambda: images.edit(image=source, mask=mask, prompt="a hat", **asked),
    }


def fal_calls(url: str) -> dict[str, Callable[[], Any]]:
    """The calls of each case."""
    sdk = importlib.import_module("fal_client")
    module: Any = importlib.import_module("fal_client.client")
    module.QUEUE_URL_FORMAT = f"{url}/"  # it knows https alone
    client = sdk.SyncClient(key=KEY)
    size = {"width": 1024, "height": 768}
    text = {
        "prompt": "a fox",
        "num_images": 2,
        "seed": 7,
        "num_inference_steps": 20,
        "guidance_scale": 2.5,
        "image_size": size,
        "output_format": "png",
    }
    source, mask = _data_uri(png(64, 48)), _data_uri(png(64, 48, 1))
    change = {
        "prompt": "a fox",
        "image_url": source,
        "strength": 0.5,
        "num_images": 1,
        "output_format": "png",
    }
    fill = {
        "prompt": "a hat",
        "image_url": source,
        "mask_url": mask,
        "num_images": 1,
        "seed": 7,
        "output_format": "png",
    }

    def whole() -> None:
        handle = client.submit("fal-ai/flux-2", arguments=text)
        handle.status()
        handle.get()

    def cancelled() -> None:
        handle = client.submit("fal-ai/flux/dev/image-to-image", arguments=change)
        handle.status()
        handle.cancel()

    return {
        "fal text": whole,
        "fal strength": cancelled,
        "fal mask": lambda: client.submit("fal-ai/flux-pro/v1/fill", arguments=fill),
    }


def together_calls(url: str) -> dict[str, Callable[[], Any]]:
    """The calls of each case."""
    sdk = importlib.import_module("together")
    images = sdk.Together(api_key=KEY, base_url=url).images
    asked = {
        "n": 2,
        "seed": 7,
        "response_format": "base64",
        "output_format": "png",
        "width": 1024,
        "height": 768,
    }
    return {
        "together text": lambda: images.generate(
            prompt="a fox", model="black-forest-labs/FLUX.2-pro", **asked
        ),
        "together reference": lambda: images.generate(
            prompt="a fox",
            model="black-forest-labs/FLUX.2-pro",
            reference_images=[_data_uri(png(1024, 768))],
            **asked,
        ),
        "together negative": lambda: images.generate(
            prompt="a fox",
            model="black-forest-labs/FLUX.1-schnell",
            negative_prompt="blur",
            steps=4,
            **asked,
        ),
    }


def replicate_calls(url: str) -> dict[str, Callable[[], Any]]:
    """The calls of each case."""
    sdk = importlib.import_module("replicate")
    client = sdk.Client(api_token=KEY, base_url=url)
    text = {
        "prompt": "a fox",
        "seed": 7,
        "output_format": "png",
        "aspect_ratio": "custom",
        "width": 1024,
        "height": 768,
    }
    change = {
        "prompt": "a fox",
        "image": _data_uri(png(64, 48)),
        "prompt_strength": 0.5,
        "output_format": "png",
        "num_outputs": 1,
    }
    fill = {
        "prompt": "a hat",
        "image": _data_uri(png(64, 48)),
        "mask": _data_uri(png(64, 48, 1)),
        "output_format": "png",
        "steps": 30,
        "guidance": 60.0,
    }

    def create(model: str, inputs: dict[str, Any]) -> Any:
        return client.models.predictions.create(f"black-forest-labs/{model}", inputs, wait=True)

    def whole() -> None:
        prediction = create("flux-2-pro", text)
        prediction.reload()
        prediction.cancel()

    def upload() -> None:
        picture = BytesIO(png(1024, 768))
        picture.name = "image.png"
        create("flux-2-pro", {**text, "input_images": [picture]})

    return {
        "replicate text": whole,
        "replicate strength": lambda: create("flux-dev", change),
        "replicate mask": lambda: create("flux-fill-pro", fill),
        "replicate upload": upload,
        "replicate version": lambda: client.predictions.create(
            version="owner/name:abc123", input=text, wait=True
        ),
    }


def _data_uri(data: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(data).decode('ascii')}"


def record() -> dict[str, Any]:
    """Every case with the requests that its SDK sent."""
    server = StandIn()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    requests = {}
    for calls in (openai_calls, fal_calls, together_calls, replicate_calls):
        for case, call in calls(server.url).items():
            server.seen.clear()
            call()
            requests[case] = [
                json.loads(json.dumps(entry).replace(server.url, "URL")) for entry in server.seen
            ]
    server.shutdown()
    versions = ", ".join(f"{name} {version(name)}" for name in SDKS)
    return {"source": f"What {versions} sent to tests/record_sdks.py", "requests": requests}


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(json.dumps(record(), indent=1) + "\n", encoding="utf-8")
