"""Widgets that the editor's own extensions have: players, recorders, cameras and 3D views.

Owns what they export. What they would take from a browser (a scene, a picture of the camera) is not
there; they export what the file has.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from comfyui.object_info import Editor, InputInfo
from comfyui.ui_format.model import UNSET, Node, Widget

_URI_SAFE = "!'()*~"
"""What encodeURIComponent leaves as it is besides letters, digits and "-_."."""


def _player(_: InputInfo, name: str, editor: Editor) -> list[Widget]:
    if editor >= Editor.V1_48:
        return [Widget(name, "", "audioUI", is_saved=False, is_exported=False)]
    written = _written_player if editor is Editor.V1_45 else None
    return [Widget(name, "", "audioUI", is_saved=False, written=written)]


def _written_player(node: Node, player: Widget, _: object) -> Any:
    audio = node.widget("audio")
    if node.widget("upload") is None or audio is None:
        return player.value
    return _file_url("" if audio.value is None or audio.value is UNSET else str(audio.value))


def _file_url(path: str) -> str:
    """Where a player of 1.45 reads a file; its last number, to get round caches, is random."""
    folder, _, name = path.rpartition("/")
    return f"/api/view?filename={quote(name, safe=_URI_SAFE)}&type=input&subfolder={folder}&rand=0"


def _audio_upload(_: InputInfo, name: str, __: Editor) -> list[Widget]:
    return [Widget(name, "", "button", is_exported=False)]


def _recorder(_: InputInfo, name: str, __: Editor) -> list[Widget]:
    button = Widget(name, "", "button", is_exported=False)
    return [Widget(name, "", "audioUI", written=lambda *_: ""), button]


def _scene(_: InputInfo, __: str, ___: Editor) -> list[Widget]:
    buttons = (
        ("upload 3d model", "upload3dmodel"),
        ("upload extra resources", "uploadExtraResources"),
        ("clear", "clear"),
    )
    return [*(Widget(label, value, "button") for label, value in buttons), *_view()]


def _view(*_: object) -> list[Widget]:
    return [Widget("image", "", when_set=hold_nothing)]


def hold_nothing(*_: object) -> None:
    """For a widget that keeps its value, whatever a file says: a view of the page, an index."""


EXTENSION_MAKERS: dict[str, Callable[[InputInfo, str, Editor], list[Widget]]] = {
    "AUDIO_UI": _player,
    "AUDIOUPLOAD": _audio_upload,
    "AUDIO_RECORD": _recorder,
    "PREVIEW_3D": _view,
    "LOAD_3D": _scene,
    "WEBCAM": _view,
}
