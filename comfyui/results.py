"""A finished job → the images of a result.

Owns which files count (saved ones before previews), their order and what is told of each. The bytes
go through untouched: checked by signature, length and checksums, never decoded.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from comfyui.address import ServerAddress
from comfyui.cancelling import CancelToken
from comfyui.client import ComfyUIClient
from comfyui.events import NodeImage
from comfyui.graph import Graph
from comfyui.jobs import FinishedJob
from comfyui.outputs import OutputFile
from comfyui.repeating import repeated
from image_provider import (
    AuthenticationError,
    GenerationFailedError,
    InvalidRequestError,
    ProviderUnavailableError,
)

logger = logging.getLogger(__name__)

_NAMES_OF_TYPES = {"video": "video", "audio": "audio", "model": "3d", "text": "text"}
"""What a file is called that stands under "images" and is none, by the first part of its type."""

_ARRIVED = 200
"""The status of an answer that came, whatever is wrong with it."""

_Entry = tuple[str | None, dict[str, Any]]
"""The id of a node and what it gave."""


def select_outputs(files: list[OutputFile], graph: Graph) -> list[OutputFile]:
    """The files that count: pictures first, then the other kinds, each in the graph's order.

    Of each kind those in output/ or, when it has none there, its previews. Pictures count as one
    kind, under whatever key they stand.
    """
    saved = {_sort_of(file) for file in files if file.folder_type == "output"}
    order = _order(graph)
    chosen = []
    for file in files:
        if file.folder_type == "output" or _sort_of(file) not in saved:
            chosen.append(file)
        else:
            logger.debug(
                "node %s: the preview %r is left out, the workflow saves files of its kind",
                file.node_id,
                file.filename,
            )
    return sorted(chosen, key=lambda file: (not file.is_picture, order(file.node_id)))


def _sort_of(file: OutputFile) -> str:
    return "images" if file.is_picture else file.kind


def _order(graph: Graph) -> Callable[[str | None], int]:
    """The place of a node in the graph; what a node expanded into stands behind all others."""
    places = {node_id: number for number, node_id in enumerate(graph)}
    return lambda node_id: places.get(node_id or "", len(places))


def fetch_images(
    client: ComfyUIClient,
    job: FinishedJob,
    graph: Graph,
    seed: int | None,
    token: CancelToken | None = None,
) -> list[dict[str, Any]]:
    """What the job made: pictures, then files of other kinds, then texts; all have "bytes".

    Entries that are no pictures have a "kind": the key under which the server told of them, or
    "video", "3d" and the like; texts have "text". Raises GenerationFailedError when the job made
    nothing, ProviderUnavailableError naming a file that it told of and does not have.
    """
    pictures: list[_Entry] = []
    others: list[_Entry] = []
    for file in select_outputs(job.outputs, graph):
        entry = (file.node_id, _file(client, file, seed, token))
        (pictures if file.is_picture else others).append(entry)
    for number, image in enumerate(job.socket_images, start=1):
        pictures.append((image.node_id, _socket_image(image, number, seed)))
    order = _order(graph)
    pictures.sort(key=lambda entry: order(entry[0]))
    entries = [*pictures, *others, *_texts(job.texts, graph, seed)]
    if not entries:
        raise GenerationFailedError(_why_nothing(graph))
    return _numbered(entries)


def _numbered(entries: list[_Entry]) -> list[dict[str, Any]]:
    """Each with its node and which one of that node's it is, of its kind."""
    counts: Counter[tuple[str | None, str | None]] = Counter()
    numbered = []
    for node_id, entry in entries:
        key = (node_id, entry.get("kind"))
        numbered.append({**entry, "node_id": node_id, "batch_index": counts[key]})
        counts[key] += 1
    return numbered


def fetch_file(client: ComfyUIClient, file: OutputFile, token: CancelToken | None = None) -> bytes:
    """A file that a job made, whole; asked for again when it arrives broken or not at all."""

    def fetch() -> bytes:
        data = client.view_output(file)
        _verify(data, file.filename)
        return data

    try:
        return repeated(fetch, client, token, while_away=True)
    except (AuthenticationError, InvalidRequestError) as error:
        if error.status not in (400, 403):
            raise
        # What /view answers to a place outside the server's own folders (server.py).
        raise ProviderUnavailableError(
            f"ComfyUI at {client.address} does not hand out the file {file.filename!r} of node "
            f"{file.node_id} (HTTP {error.status}): it is not in its output, temp or input folder",
            status=error.status,
        ) from error


def _verify(data: bytes, filename: str) -> None:
    from image_io.formats import (
        TruncatedImageError,
        is_another_kind,
        type_by_name,
        verify_image,
    )

    if not data and type_by_name(filename).startswith("text/"):
        return
    try:
        verify_image(data)
    except TruncatedImageError as error:
        raise ProviderUnavailableError(
            f"the file {filename!r} arrived broken: {error}", status=_ARRIVED
        ) from error
    if is_another_kind(data, filename):
        raise ProviderUnavailableError(
            f"something else came in place of the file {filename!r}, such as the page of a proxy "
            "that wants a sign-in: open its URL in a browser",
            status=_ARRIVED,
        )


def _why_nothing(graph: Graph) -> str:
    if any(node["class_type"] == "SaveImageWebsocket" for node in graph.values()):
        return (
            "the job ended well, but its pictures came over the WebSocket alone and that was lost; "
            "run it again, or save with a SaveImage node"
        )
    return (
        "the job ended well but gave no file; the workflow needs a SaveImage node that is not muted"
    )


def _file(
    client: ComfyUIClient, file: OutputFile, seed: int | None, token: CancelToken | None
) -> dict[str, Any]:
    data = fetch_file(client, file, token)
    entry = _described(data, seed, _url(client.address, file), file.filename)
    kind = file.kind
    if kind == "images":
        kind = _NAMES_OF_TYPES.get(entry["mime_type"].partition("/")[0], kind)
    return entry if kind == "images" else {**entry, "kind": kind}


def _url(address: ServerAddress, file: OutputFile) -> str:
    return address.view_url(file.filename, file.subfolder, file.folder_type)


def _socket_image(image: NodeImage, number: int, seed: int | None) -> dict[str, Any]:
    name = f"{image.node_id}-{number:02}.png"
    _verify(image.data, name)
    return _described(image.data, seed, None, name)


def _texts(texts: Mapping[str, list[str]], graph: Graph, seed: int | None) -> list[_Entry]:
    order = _order(graph)
    return [
        (node_id, _text(text, seed, f"{node_id}-{number}.txt"))
        for node_id in sorted(texts, key=order)
        for number, text in enumerate(texts[node_id], start=1)
    ]


def _text(text: str, seed: int | None, filename: str) -> dict[str, Any]:
    return {
        # Half a surrogate pair, which JSON can hold and UTF-8 cannot, becomes a question mark.
        "bytes": text.encode("utf-8", "replace"),
        "url": None,
        "seed": seed,
        "mime_type": "text/plain",
        "width": None,
        "height": None,
        "filename": filename,
        "kind": "text",
    }


def _described(data: bytes, seed: int | None, url: str | None, filename: str) -> dict[str, Any]:
    from image_io.formats import inspect_image

    info = inspect_image(data, filename)
    return {
        "bytes": data,
        "url": url,
        "seed": seed,
        "mime_type": info.mime_type,
        "width": info.width,
        "height": info.height,
        "filename": filename,
    }
