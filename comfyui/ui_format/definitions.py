"""A new node of a class, as the editor puts it on the canvas: slots and widgets with first values.

Owns the order of both, and what the editor's own extensions add to some classes: buttons to upload
a file, players, previews. What an input brings along while it has a value is in
`comfyui/ui_format/dynamic.py`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from comfyui.object_info import ANY, COMBO, MATCH_TYPE, Editor, InputInfo, NodeInfo
from comfyui.ui_format.dynamic import add_inputs
from comfyui.ui_format.extension_widgets import hold_nothing
from comfyui.ui_format.model import UNSET, Node, OutputSlot, Widget
from comfyui.ui_format.text_replacements import written_prefix
from comfyui.ui_format.widgets import text_widget

_PLAYERS = frozenset({"LoadAudio", "SaveAudio", "PreviewAudio", "SaveAudioMP3", "SaveAudioOpus"})
_NEWER_PLAYERS = _PLAYERS | {"SaveAudioAdvanced"}
_PICTURE_UPLOADS = ("image_upload", "video_upload", "animated_image_upload")
_MARKED = re.compile(r"\[(input|output|temp)\]", re.IGNORECASE)
_PREVIEWS_3D = frozenset({"SaveGLB", "Preview3D"})
_SAVERS = frozenset(
    {
        *("SaveImage", "SaveVideo", "SaveAnimatedWEBP", "SaveWEBM", "SaveAudio", "SaveGLB"),
        *("SaveAnimatedPNG", "CLIPSave", "VAESave", "ModelSave", "LoraSave", "SaveLatent"),
    }
)
"""Classes in whose file names the editor fills %date:…% and %node.widget%."""


def new_node(info: NodeInfo, node_id: str, editor: Editor) -> Node:
    """A node of this class with nothing linked and every widget at its first value."""
    node = Node(node_id, info.class_type, info=info)
    add_inputs(node, editor_inputs(info, editor), editor)
    node.outputs = [
        OutputSlot(output.name, ANY if output.type == MATCH_TYPE else output.type)
        for output in info.outputs
    ]
    upload = _picture_upload(info)
    if upload is not None and editor < Editor.V1_45:
        _annotate_files(node, upload)
    adapt = _ADAPTED.get(info.class_type)
    if adapt is not None:
        adapt(node, editor)
    if info.class_type in _SAVERS:
        prefix = node.widget("filename_prefix")
        if prefix is not None:
            prefix.written = written_prefix
    return node


def editor_inputs(info: NodeInfo, editor: Editor) -> list[InputInfo]:
    """The inputs of a class as the editor has them: the server's, and those it adds."""
    added = {entry.name: entry for entry in _added_inputs(info, editor)}
    return list({**info.inputs, **added}.values())


def _added_inputs(info: NodeInfo, editor: Editor) -> list[InputInfo]:
    added = []
    if info.class_type in (_PLAYERS if editor < Editor.V1_45 else _NEWER_PLAYERS):
        added.append(InputInfo("audioUI", True, "AUDIO_UI"))
    audio = info.inputs.get("audio")
    if audio is not None and audio.required and audio.settings.get("audio_upload") is True:
        added.append(InputInfo("upload", True, "AUDIOUPLOAD"))
    elif _picture_upload(info) is not None:
        added.append(InputInfo("upload", True, "IMAGEUPLOAD"))
    if info.class_type in _PREVIEWS_3D:
        added.append(InputInfo("image", True, "PREVIEW_3D"))
    return added


def _picture_upload(info: NodeInfo) -> InputInfo | None:
    """The input for which the editor has a button that uploads a picture or video."""
    for entry in info.inputs.values():
        is_upload = any(entry.settings.get(name) is True for name in _PICTURE_UPLOADS)
        if entry.required and is_upload and entry.type == COMBO:
            return entry
    return None


def _annotate_files(node: Node, upload: InputInfo) -> None:
    """Files by the text that the server reads, whatever form they were saved in (until 1.35)."""
    widget = node.widget(upload.name)
    if widget is None:
        return
    folder = upload.settings.get("image_folder", "input")
    takes_many = bool(upload.settings.get("allow_batch"))
    first = annotated("undefined" if widget.value is UNSET else str(widget.value), folder)

    def hold(_: Node, widget: Widget, value: Any) -> None:
        if isinstance(value, list) and value:
            files = [annotated(file, folder) for file in value]
            widget.value = files if takes_many else files[0]
        else:
            widget.value = annotated(value, folder) if value else first

    widget.value, widget.when_set = first, hold


def annotated(file: Any, folder: str) -> Any:
    """A file with its subfolder, and its folder in brackets unless that is the usual one."""
    if isinstance(file, Mapping):
        name, subfolder, own = (file.get(key) for key in ("filename", "subfolder", "type"))
        path = f"{subfolder}/{name or ''}" if subfolder else str(name or "")
        return f"{path} [{own}]" if own and own != folder else path
    is_marked = isinstance(file, str) and _MARKED.search(file) is not None
    if not isinstance(file, str) or is_marked or folder == "input":
        return file
    return f"{file} [{folder}]"


# Classes that the editor's extensions change


def _preview_any(node: Node, editor: Editor) -> None:
    if editor is Editor.V1_27:
        shown = text_widget("preview", "", editor, is_long=True)
        shown.is_saved = False
        node.widgets.append(shown)
        return
    is_exported = editor is Editor.V1_35
    names = ("preview", "preview") if is_exported else ("preview_markdown", "preview_text")
    for name in names:
        node.widgets.append(Widget(name, "", is_saved=False, is_exported=is_exported))
    node.widgets.append(Widget("previewMode", False, "toggle", is_exported=is_exported))


def _custom_combo(node: Node, editor: Editor) -> None:
    """A combo whose choices are texts of its own, with room for one more."""
    if not node.widgets:
        return
    options: list[Any] = []

    def set_option(node: Node, option: Widget, value: Any) -> None:
        before, option.value = option.value, value
        if before:
            others = (widget for widget in node.widgets if widget.name.startswith("option"))
            options[:] = [widget.value for widget in others if widget.value]
        elif value:
            options.append(value)
        is_last = node.widgets[-1] is option
        is_next = len(node.widgets) > 1 and node.widgets[-2] is option
        if is_last and value:
            add_option()
        elif is_next and not value and not node.widgets[-1].value:
            node.widgets.pop()

    def add_option() -> None:
        number = len(node.widgets) - (1 if editor >= Editor.V1_45 else 0)
        node.widgets.append(Widget(f"option{number}", "", "string", when_set=set_option))

    node.widgets[0].options = options
    if editor >= Editor.V1_45:
        index = Widget("index", UNSET, "hidden", when_set=hold_nothing, written=_chosen_option)
        node.widgets.append(index)
    add_option()


def _chosen_option(node: Node, *_: object) -> int:
    options = [widget.value for widget in node.widgets[2:]]
    chosen = node.widgets[0].value
    return options.index(chosen) if chosen in options else -1


_ADAPTED: Mapping[str, Callable[[Node, Editor], None]] = {
    "PreviewAny": _preview_any,
    "CustomCombo": _custom_combo,
}
