"""From a file's bytes, or parsed JSON, to a graph that everything else can rely on.

Owns what may be wrong with a file: size, encoding, JSON, structure. Reads API format, the body of a
POST /prompt, UI format (by `comfyui/ui_format`) and pictures that carry a workflow (by
`comfyui/picture_metadata.py`). What comes out has text ids and, in every node, a class_type and
inputs; whether a server can run it is not asked here. Every failure is a WorkflowError.
"""

from __future__ import annotations

import codecs
import json
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from comfyui.graph import Graph
from comfyui.object_info import ObjectInfo
from comfyui.picture_metadata import embedded_workflows, is_picture
from comfyui.ui_format import convert, is_ui_format
from image_provider import WorkflowError

MAX_BYTES = 50 * 1024 * 1024
MAX_DEPTH = 100
"""Levels of nesting; a real workflow has about ten."""

MAX_NODES = 10_000
"""Of a graph; the largest that people share have some thousands."""
MAX_VALUES = 2_000_000
"""Values of a file, by the marks between them: a list of nothing but lists is small on disk alone.
"""

_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


_EXPORT_AGAIN = "export it again with Workflow > Export (API)"


class _DuplicateKeyError(ValueError):
    """A JSON object has a key twice; the key is the argument."""


def read_file(path: Path, max_bytes: int = MAX_BYTES) -> bytes:
    """The content of a workflow file; raises WorkflowError naming it when it cannot be read."""
    try:
        if path.is_dir():
            raise _error(path.name, f"there is no such file: {path} is a folder; name a file in it")
        if not path.is_file():
            raise _error(path.name, f"there is no such file: {path}")
        data = _read(path, max_bytes)
    except OSError as error:
        raise _error(
            path.name, f"the file cannot be read: {error.strerror}; name another"
        ) from error
    _check_size(data, path.name, max_bytes)
    return data


def read_beside(path: Path) -> bytes | None:
    """The content of a file that may be there beside a workflow; None when it is not.

    Raises WorkflowError naming it when it cannot be read, or has more than MAX_BYTES.
    """
    try:
        data = _read(path, MAX_BYTES)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _error(path.name, error.strerror or "it cannot be read") from error
    _check_size(data, path.name, MAX_BYTES)
    return data


def parse(data: bytes, source: str | None) -> object:
    """The JSON in a file's content; `source` is the file's name for messages.

    Raises WorkflowError, naming file and place, for anything that is none.
    """
    return _parse(_decode(data, source), source)


def read_bytes(
    data: bytes,
    object_info: ObjectInfo | None,
    source: str | None,
    max_bytes: int = MAX_BYTES,
    *,
    keep_unknown: bool = False,
) -> Graph:
    """The graph in a file's content; `source` is the file's name for messages."""
    _check_size(data, source, max_bytes)
    document = _from_picture(data, source, max_bytes) if is_picture(data) else parse(data, source)
    return read_document(document, object_info, source, keep_unknown=keep_unknown)


def read_document(
    document: object,
    object_info: ObjectInfo | None,
    source: str | None = None,
    *,
    keep_unknown: bool = False,
) -> Graph:
    """The graph in parsed JSON; raises WorkflowError for anything that is none."""
    document = _unwrapped(document)
    number_ids = _number_ids(document)
    document = _plain(document, source, 0)
    if not isinstance(document, dict):
        what = f"it holds {_kind(document)} where a workflow is an object of nodes"
        raise _error(source, f"{what}; {_EXPORT_AGAIN}")
    if is_ui_format(document):
        document = _converted(document, object_info, source, keep_unknown)
    if not document:
        what = (
            "the workflow is empty: it has no nodes, or all are muted or bypassed; change that in"
        )
        raise _error(source, f"{what} the editor, or {_EXPORT_AGAIN}")
    if len(document) > MAX_NODES:
        what = f"it has {len(document):,} nodes, more than the {MAX_NODES:,} allowed"
        raise _error(source, f"{what}; take it apart into several workflows")
    for node_id, node in document.items():
        _check_node(node_id, node, source)
        _link_by_text(node["inputs"], number_ids)
    return cast(Graph, document)


def copy_graph(graph: Graph) -> Graph:
    """A copy that shares nothing with the original."""
    return cast(Graph, _copied(graph))


def _unwrapped(document: object) -> object:
    """The graph in the body of a POST /prompt; anything else as it is."""
    wrapped = document.get("prompt") if isinstance(document, Mapping) else None
    return wrapped if isinstance(wrapped, Mapping) and "class_type" not in wrapped else document


def _from_picture(data: bytes, source: str | None, max_bytes: int) -> object:
    """The graph that a picture carries; the editor's document where that is broken or not there."""
    try:
        texts = embedded_workflows(data, max_bytes)
    except ValueError as error:
        raise _error(source, str(error)) from error
    if not texts:
        raise _error(
            source,
            "the picture carries no workflow; it was saved without metadata, by another program, "
            "or not whole: take the file that ComfyUI wrote",
        )
    *others, last = texts
    for text in others:
        with suppress(WorkflowError):
            document = parse(text, source)
            if document and isinstance(document, dict):
                return document
    return parse(last, source)


def _read(path: Path, max_bytes: int) -> bytes:
    with path.open("rb") as file:
        # A read makes room for all that it may give, and not each file is as long as it says.
        size = os.fstat(file.fileno()).st_size
        data = file.read(min(size, max_bytes) + 1)
        return data if len(data) <= size else data + file.read(max_bytes + 1 - len(data))


def _check_size(data: bytes, source: str | None, max_bytes: int) -> None:
    if len(data) > max_bytes:
        raise _error(source, f"the file is larger than {max_bytes} bytes, which no workflow is")


def _decode(data: bytes, source: str | None) -> str:
    encoding = next((name for bom, name in _BOMS if data.startswith(bom)), "utf-8")
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        where = f"byte {error.start + 1} is not {encoding.removesuffix('-sig').upper()}"
        raise _error(source, f"{where}; save the file as UTF-8") from error


def _parse(text: str, source: str | None) -> object:
    if not text.strip():
        raise _error(source, "it is not JSON: the file is empty; save the workflow again")
    if sum(map(text.count, ",[{")) > MAX_VALUES:
        raise _error(source, f"it has more than {MAX_VALUES:,} values, which no workflow has")
    try:
        return json.loads(text, object_pairs_hook=_without_duplicates)
    except json.JSONDecodeError as error:
        what = f"it is not JSON: {error.msg.removesuffix(' at')} at line {error.lineno} column "
        raise _error(source, f"{what}{error.colno}; {_hint(error, text)}") from error
    except _DuplicateKeyError as error:
        key = error.args[0]
        what = f"the key {key!r} is there twice{_second_place(text, key)}; remove one of them"
        raise _error(source, what) from error
    except ValueError as error:  # a number of thousands of digits
        raise _error(source, f"it is not JSON that can be read: {error}") from error
    except RecursionError as error:
        raise _error(source, f"it is nested deeper than {MAX_DEPTH} levels") from error


def _hint(error: json.JSONDecodeError, text: str) -> str:
    if error.pos == 0:
        return "a workflow is a JSON file, or a PNG, WebP or JPEG that ComfyUI made"
    if error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated"):
        return "the file seems to be cut off, save or copy it again"
    return f"mend that place, or {_EXPORT_AGAIN}"


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    parsed = dict(pairs)
    if len(parsed) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _DuplicateKeyError(key)
            seen.add(key)
    return parsed


def _second_place(text: str, key: str) -> str:
    """Where the second one stands; nothing said when other objects have such a key too."""
    written = "|".join(re.escape(json.dumps(key, ensure_ascii=ascii)) for ascii in (False, True))
    found = [match.start() for match in re.finditer(rf"(?:{written})\s*:", text)]
    if len(found) != 2:
        return ""
    return f", the second time on line {text.count(chr(10), 0, found[1]) + 1}"


def _plain(value: Any, source: str | None, depth: int) -> Any:
    """The value as JSON has it (text keys, lists), in a copy; raises WorkflowError otherwise."""
    if depth > MAX_DEPTH:
        raise _error(source, f"it is nested deeper than {MAX_DEPTH} levels")
    if value is None or isinstance(value, (str, int, float)):
        return value
    if isinstance(value, (list, tuple)):
        return [_plain(item, source, depth + 1) for item in value]
    if isinstance(value, Mapping):
        plain = {
            _text_key(key, source): _plain(item, source, depth + 1) for key, item in value.items()
        }
        if len(plain) < len(value):
            raise _error(source, "it has a key as a number and as a text, such as 1 and '1'")
        return plain
    raise _error(source, f"it holds a {type(value).__name__}, which JSON does not have")


def _text_key(key: object, source: str | None) -> str:
    if isinstance(key, (str, int)):
        return str(key)
    raise _error(source, f"it has the key {key!r}; keys are text")


def _converted(
    document: dict[str, Any],
    object_info: ObjectInfo | None,
    source: str | None,
    keep_unknown: bool,
) -> dict[str, Any]:
    try:
        return cast(dict[str, Any], convert(document, object_info, keep_unknown=keep_unknown))
    except WorkflowError as error:
        place = {name: getattr(error, name) for name in ("node_id", "class_type", "input_name")}
        raise _error(source, str(error), **place) from error


def _check_node(node_id: str, node: Any, source: str | None) -> None:
    if not node_id.isprintable():
        raise _error(source, f"it has a node with the id {node_id[:40]!r}; {_EXPORT_AGAIN}")
    if not isinstance(node, dict):
        what = f"node {node_id} is {_kind(node)}, not an object with class_type and inputs"
        raise _error(source, f"{what}; {_EXPORT_AGAIN}", node_id=node_id)
    class_type = node.get("class_type")
    if not isinstance(class_type, str) or not class_type:
        what = f"node {node_id} has no class_type; {_EXPORT_AGAIN}"
        raise _error(source, what, node_id=node_id)
    if not isinstance(node.setdefault("inputs", {}), dict):
        what = f"node {node_id} {class_type}: inputs is {_kind(node['inputs'])}, not an object"
        raise _error(source, what, node_id=node_id, class_type=class_type)
    if not isinstance(node.get("_meta", {}), dict):
        del node["_meta"]
    node.pop("is_changed", None)  # the server's own note in a picture, often NaN


def _number_ids(document: object) -> set[int]:
    """Ids that are numbers, as in a dict written by hand; JSON has none."""
    return {i for i in document if isinstance(i, int)} if isinstance(document, Mapping) else set()


def _link_by_text(inputs: dict[str, Any], number_ids: set[int]) -> None:
    for name, value in inputs.items():
        match value:
            case [int(node_id), int(slot)] if node_id in number_ids:
                inputs[name] = [str(node_id), slot]


def _copied(value: Any) -> Any:
    # Nesting was bounded when the graph was read; much faster than copy.deepcopy.
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_copied(item) for item in value]
    return value


def _kind(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "a text", bool: "true or false"}
    return "null" if value is None else names.get(type(value), "a number")


def _error(source: str | None, what: str, **place: Any) -> WorkflowError:
    name = f"workflow {source}" if source else "the workflow"
    return WorkflowError(f"{name}: {what}", file=source, **place)
