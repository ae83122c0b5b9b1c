"""A finished job → the images of a result.

Owns which files count (saved ones before previews), their order and what is told of each. The bytes
go through untouched: checked by signature, length and checksums, never decoded.
"""

from __future__ import annotations

from typing import Any

from comfyui.address import ServerAddress
from comfyui.cancelling import CancelToken
from comfyui.client import ComfyUIClient
from comfyui.graph import Graph
from comfyui.jobs import FinishedJob
from comfyui.outputs import OutputFile
from comfyui.repeating import repeated
from image_provider import GenerationFailedError, ProviderUnavailableError


def select_outputs(files: list[OutputFile], graph: Graph) -> list[OutputFile]:
    """The files that count, in the graph's order: saved ones, or previews when none is saved."""
    saved = [file for file in files if file.folder_type == "output"]
    order = {node_id: number for number, node_id in enumerate(graph)}
    return sorted(saved or files, key=lambda file: order.get(file.node_id, len(order)))


def fetch_images(
    client: ComfyUIClient,
    job: FinishedJob,
    graph: Graph,
    seed: int | None,
    token: CancelToken | None = None,
) -> list[dict[str, Any]]:
    """Downloads what the job made; raises GenerationFailedError when it made nothing.

    A job that gave texts alone has no images, and has not failed.
    """
    images = [
        _image(client.address, fetch_file(client, file, token), file, seed)
        for file in select_outputs(job.outputs, graph)
    ]
    for number, image in enumerate(job.socket_images, start=1):
        name = f"{image.node_id}-{number:02}.png"
        _verify(image.data, name)
        images.append(_described(image.data, seed, None, name))
    if not images and not job.texts:
        raise GenerationFailedError(_why_nothing(graph))
    return images


def fetch_file(client: ComfyUIClient, file: OutputFile, token: CancelToken | None = None) -> bytes:
    """A file that a job made, whole; asked for again when it arrives broken or not at all."""

    def fetch() -> bytes:
        data = client.view_output(file)
        _verify(data, file.filename)
        return data

    return repeated(fetch, client, token)


def _verify(data: bytes, filename: str) -> None:
    from image_io.formats import TruncatedImageError, verify_image

    try:
        verify_image(data)
    except TruncatedImageError as error:
        raise ProviderUnavailableError(f"the file {filename!r} arrived broken: {error}") from error


def _why_nothing(graph: Graph) -> str:
    if any(node["class_type"] == "SaveImageWebsocket" for node in graph.values()):
        return (
            "the job ended well, but its pictures came over the WebSocket alone and that was lost; "
            "run it again, or save with a SaveImage node"
        )
    return (
        "the job ended well but gave no file; the workflow needs a SaveImage node that is not muted"
    )


def _image(
    address: ServerAddress, data: bytes, file: OutputFile, seed: int | None
) -> dict[str, Any]:
    url = address.view_url(file.filename, file.subfolder, file.folder_type)
    image = _described(data, seed, url, file.filename)
    if file.kind != "images":
        image["kind"] = file.kind
    return image


def _described(data: bytes, seed: int | None, url: str | None, filename: str) -> dict[str, Any]:
    from image_io.formats import inspect_image

    info = inspect_image(data)
    return {
        "bytes": data,
        "url": url,
        "seed": seed,
        "mime_type": info.mime_type,
        "width": info.width,
        "height": info.height,
        "filename": filename,
    }
