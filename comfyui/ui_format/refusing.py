"""Nodes that cannot be exported, said all at once, each with what would help.

Owns these messages: for classes that the server lacks, for nodes that only a server can describe,
and for nodes whose values come from a browser.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from comfyui.graph import described
from comfyui.node_packs import PACK_KEY, pack_of
from comfyui.ui_format.group_definitions import group_name
from comfyui.ui_format.model import Document, Node
from comfyui.ui_format.resolving import Path, full_id
from image_provider import WorkflowError

_SHOWN = 10
"""Nodes that a message names."""

# They send the server what they drew or recorded while the page was open (load3d.ts, …).
_OF_THE_BROWSER = {
    "Load3D": "the picture of its 3D view",
    "Load3DAnimation": "the picture of its 3D view",
    "Load3DAdvanced": "the camera of its 3D view",
    "WebcamCapture": "the picture of a camera",
}

Place = tuple[Path, Node]


def refuse_unknown(
    document: Document, places: Sequence[Place], *, keep_unknown: bool = False
) -> None:
    """Raises WorkflowError when a node that is to be exported cannot be."""
    unknown = [(path, node) for path, node in places if node.info is None]
    groups = [place for place in unknown if group_name(place[1].type) is not None]
    if groups:
        raise _error(groups, _unopened(groups))
    if len(document.object_info) > 0:
        if unknown and not keep_unknown:
            raise _error(unknown, _lacking(unknown))
        unknown = [(path, node) for path, node in unknown if not node.is_told]
        if unknown:
            raise _error(unknown, _lacking(unknown))
    elif any(not node.is_told for _, node in unknown):
        raise _needs_server([(path, node) for path, node in unknown if not node.is_told])
    for path, node in places:
        drawn = _OF_THE_BROWSER.get(node.type)
        if drawn is not None:
            what = f"{_name((path, node))} needs {drawn}, which only the editor makes; run it there"
            raise _error([(path, node)], what)


def _unopened(groups: Sequence[Place]) -> str:
    inner = [place for place in groups if place[0]]
    if inner:
        return (
            f"group nodes cannot be inside a subgraph or another group node: {_listed(inner)}; "
            "in the editor right-click it and choose Convert to nodes"
        )
    return (
        f"the file does not say what is in {_listed(groups)} (extra.groupNodes); "
        "save the workflow again in an editor in which the group node works"
    )


def _lacking(unknown: Sequence[Place]) -> str:
    return (
        f"the server lacks the class of {_listed(unknown, with_pack=True)}; install the pack that "
        "has it and restart the server, or mute or bypass the node in the editor"
    )


def _needs_server(unknown: Sequence[Place]) -> WorkflowError:
    return _error(
        unknown,
        f"only a server knows what the values of {_listed(unknown)} are for; give its answer of "
        "http://SERVER/object_info (on the command line --object-info FILE, or --server to ask a "
        "running one), or export the workflow with Workflow > Export (API)",
    )


def _error(unknown: Sequence[Place], what: str) -> WorkflowError:
    path, node = unknown[0]
    return WorkflowError(what, node_id=full_id(path, node), class_type=node.type)


def _listed(places: Iterable[Place], *, with_pack: bool = False) -> str:
    described = [_name(place) + (_pack(place[1]) if with_pack else "") for place in places]
    more = f" and {len(described) - _SHOWN} more" if len(described) > _SHOWN else ""
    return ", ".join(described[:_SHOWN]) + more


def _name(place: Place) -> str:
    path, node = place
    return described(full_id(path, node), node.type, node.title)


def _pack(node: Node) -> str:
    pack = told_pack(node) or pack_of(node.type)
    return f" (of {pack})" if pack else ""


def told_pack(node: Node) -> str | None:
    """The pack that the file says a node is from."""
    named = (node.properties.get(key) for key in (PACK_KEY, "aux_id"))
    return next((name for name in named if isinstance(name, str) and name), None)
