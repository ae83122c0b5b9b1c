"""A workflow: one API-format graph, from a file or a dict, that nobody changes.

Owns loading (by `comfyui/loading.py`), the name for messages, and the way to `bind` and `validate`.
Look-ups along the graph are in `comfyui/graph.py`. Knows nothing of sockets, providers or settings.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from comfyui import loading
from comfyui.claims import read_overrides
from comfyui.graph import Graph
from comfyui.object_info import ObjectInfo
from comfyui.validation import WorkflowProblem, validate

if TYPE_CHECKING:
    from comfyui.binding import BoundWorkflow
    from image_provider import ImageGenerationRequest


BINDINGS_SUFFIX = ".bindings.json"


@dataclass(frozen=True)
class Hashes:
    """SHA-256 in hex of a workflow file and of the bindings file beside it, None without one."""

    workflow: str
    bindings: str | None


@dataclass(frozen=True, repr=False)
class WorkflowFile:
    """What a workflow file and the bindings file beside it held when they were read."""

    path: Path
    data: bytes
    bindings: bytes | None
    hashes: Hashes

    @classmethod
    def read(cls, path: Path, max_bytes: int = loading.MAX_BYTES) -> WorkflowFile:
        """Raises WorkflowError, naming the file, when one of them cannot be read."""
        data = loading.read_file(path, max_bytes)
        bindings = loading.read_beside(path.with_suffix(BINDINGS_SUFFIX))
        beside = None if bindings is None else _hash(bindings)
        return cls(path, data, bindings, Hashes(_hash(data), beside))

    def workflow(
        self,
        object_info: ObjectInfo | None = None,
        *,
        max_bytes: int = loading.MAX_BYTES,
        keep_unknown: bool = False,
    ) -> Workflow:
        """The workflow in it, as `Workflow.from_file` tells."""
        name, unknown = self.path.name, keep_unknown
        graph = loading.read_bytes(self.data, object_info, name, max_bytes, keep_unknown=unknown)
        overrides = None
        if self.bindings is not None:
            beside = self.path.with_suffix(BINDINGS_SUFFIX).name
            overrides = read_overrides(loading.parse(self.bindings, beside), beside)
        return Workflow(graph, name, overrides, self.hashes)


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class Workflow:
    """An API-format graph and where it came from; `source` is a file name for messages, or None."""

    def __init__(
        self,
        graph: Graph,
        source: str | None = None,
        overrides: Mapping[str, Sequence[str]] | None = None,
        hashes: Hashes | None = None,
    ) -> None:
        """`overrides` are the places ("6.text") that the user names for a parameter.

        `hashes` are those of the files that it comes from.
        """
        self._graph = loading.copy_graph(graph)
        self.source = source
        self.overrides = dict(overrides or {})
        self.hashes = hashes

    @classmethod
    def from_file(
        cls,
        path: str | os.PathLike[str],
        object_info: ObjectInfo | None = None,
        *,
        max_bytes: int = loading.MAX_BYTES,
        keep_unknown: bool = False,
    ) -> Workflow:
        """Loads API format, UI format, or a picture with an embedded graph.

        UI format needs `object_info` to be read in full; its nodes of classes that the server lacks
        are an error, or with `keep_unknown` stay in the graph as far as the file tells what they
        have. A file of the same name that ends in `.bindings.json` says where parameters go:
        {"prompt": ["6.text"]}. Raises WorkflowError, naming file and place, for anything that is
        no workflow.
        """
        file = WorkflowFile.read(Path(path), max_bytes)
        return file.workflow(object_info, max_bytes=max_bytes, keep_unknown=keep_unknown)

    @classmethod
    def from_dict(cls, data: object, object_info: ObjectInfo | None = None) -> Workflow:
        """The same from parsed JSON; raises WorkflowError for anything that is no workflow."""
        return cls(loading.read_document(data, object_info))

    @property
    def graph(self) -> Graph:
        """The graph in API format, a copy: {node id: {"class_type", "inputs", "_meta"}}."""
        return loading.copy_graph(self._graph)

    def bind(
        self, request: ImageGenerationRequest, object_info: ObjectInfo | None = None
    ) -> BoundWorkflow:
        """A copy of the graph with the request's values in the nodes that take them."""
        from comfyui.binding import bind

        return bind(self, request, object_info)

    def validate(
        self, object_info: ObjectInfo, replacements: Container[str] = ()
    ) -> list[WorkflowProblem]:
        """Everything that keeps a server with these classes from running it; empty when fine.

        `replacements` are classes that it lacks and replaces by others itself.
        """
        return validate(self._graph, object_info, replacements)
