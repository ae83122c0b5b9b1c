"""The only reader of what a server answers to GET /object_info.

Owns the shapes: the old combo `[["a", "b"], {...}]` and the new `["COMBO", {"options": [...]}]`,
defaults, ranges, the order of inputs, output types, upload buttons, inputs that come with a choice
(`COMFY_DYNAMICCOMBO_V3`); and which inputs are model files. A class is read when it is first asked
for: a large installation has thousands. What is not understood becomes an input of type "*", about
which nobody says anything. Knows nothing of workflows, requests or HTTP.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cached_property
from typing import Any

from comfyui.model_folders import model_folder
from image_provider import WorkflowError

ANY = "*"
"""The type that goes with every other."""

COMBO = "COMBO"
DYNAMIC_COMBO = "COMFY_DYNAMICCOMBO_V3"
AUTOGROW = "COMFY_AUTOGROW_V3"
MATCH_TYPE = "COMFY_MATCHTYPE_V3"
WIDGET_TYPES = frozenset({"INT", "FLOAT", "STRING", "BOOLEAN", COMBO, DYNAMIC_COMBO})

_NEWEST_CLASS = "CreateBoundingBoxes"
"""Of the server's own, the latest that the editor had to be made for."""

# Loaders that offer a file of the input folder without an upload flag (nodes.py, nodes_audio.py).
_UPLOADS = {("LoadLatent", "latent"): "latent", ("LoadAudio", "audio"): "audio"}
_UPLOAD_KINDS = ("image", "audio", "video", "file")


class Editor(IntEnum):
    """Generations of the editor (ComfyUI_frontend) whose exports differ, by a version of each."""

    V1_27 = 0
    V1_35 = 1
    V1_45 = 2
    V1_48 = 3


@dataclass(frozen=True)
class Growth:
    """The rows of an input that grows: what one row has, how many there are, what they are called.

    Each row is named by `names`, else by `prefix` and its number from 0 on.
    """

    inputs: Mapping[str, InputInfo]
    minimum: int
    maximum: int
    prefix: str
    names: tuple[str, ...] | None


@dataclass(frozen=True)
class InputInfo:
    """One input of a class.

    `type` is INT, FLOAT, STRING, BOOLEAN, COMBO or a socket's type. `options` is None where the
    server gives no list; `upload` is image, audio, video, latent or file where the value names a
    file of the server's input folder; `model_folder` is the folder under models/ that the value
    names a file of. `settings` are the server's own, as they came.
    """

    name: str
    required: bool
    type: str
    options: tuple[Any, ...] | None = None
    default: Any = None
    minimum: float | None = None
    maximum: float | None = None
    step: float | None = None
    multiline: bool = False
    is_widget: bool = False
    upload: str | None = None
    model_folder: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def choice_inputs(self, choice: object) -> dict[str, InputInfo]:
        """The further inputs that a dynamic combo has under `choice`, by dotted name."""
        for entry in _list(self.settings.get("options")):
            if isinstance(entry, dict) and entry.get("key") == choice:
                return _read_inputs("", _dict(entry.get("inputs")), {}, prefix=f"{self.name}.")
        return {}

    @property
    def growth(self) -> Growth | None:
        """The rows of a growing input (`COMFY_AUTOGROW_V3`)."""
        if self.type != AUTOGROW:
            return None
        template = _dict(self.settings.get("template"))
        names = [name for name in _list(template.get("names")) if isinstance(name, str)]
        maximum = _whole(template.get("max"), 100)
        return Growth(
            inputs=_read_inputs("", _dict(template.get("input")), {}),
            minimum=_whole(template.get("min"), 1),
            maximum=len(names) or maximum,
            prefix=_text(template.get("prefix")),
            names=tuple(names) or None,
        )

    @property
    def match(self) -> tuple[str, str] | None:
        """The group of inputs that have one type (`COMFY_MATCHTYPE_V3`), and the types allowed."""
        template = _dict(self.settings.get("template"))
        if self.type != MATCH_TYPE:
            return None
        return _text(template.get("template_id")), _text(template.get("allowed_types")) or ANY


@dataclass(frozen=True)
class OutputInfo:
    """One output slot of a class."""

    type: str
    name: str
    is_list: bool = False


@dataclass(frozen=True)
class NodeInfo:
    """One class of nodes: inputs by name, required before optional, and outputs by slot."""

    class_type: str
    display_name: str
    category: str
    python_module: str
    inputs: Mapping[str, InputInfo]
    hidden: tuple[str, ...]
    outputs: tuple[OutputInfo, ...]
    is_output_node: bool
    output_groups: tuple[str | None, ...] = ()
    """For each output the group of inputs (`InputInfo.match`) whose type it has."""

    @property
    def is_custom(self) -> bool:
        """Whether the class comes from a custom node pack, whose own rules nobody else knows."""
        return self.python_module.startswith("custom_nodes.")


class ObjectInfo(Mapping[str, NodeInfo]):
    """The classes of nodes that a server has, by class_type; equal to itself alone."""

    __eq__ = object.__eq__  # Mapping's would read every class
    __hash__ = object.__hash__

    def __init__(self, classes: Mapping[str, Mapping[str, Any]]) -> None:
        self._classes = classes
        self._read: dict[str, NodeInfo] = {}

    @classmethod
    def from_dict(cls, data: object) -> ObjectInfo:
        """The answer of /object_info as parsed JSON; raises WorkflowError for anything else."""
        if not isinstance(data, Mapping):
            raise _not_object_info(f"it is a {type(data).__name__}, not an object of node classes")
        for class_type, entry in data.items():
            if not isinstance(entry, Mapping) or not isinstance(entry.get("input", {}), Mapping):
                raise _not_object_info(f"the entry {class_type!r} does not describe a node class")
        if data and not any("input" in entry or "output" in entry for entry in data.values()):
            raise _not_object_info("none of its entries has inputs or outputs")
        return cls(data)

    def __getitem__(self, class_type: str) -> NodeInfo:
        node = self._read.get(class_type)
        if node is None:
            node = self._read[class_type] = _read_node(class_type, self._classes[class_type])
        return node

    def __contains__(self, class_type: object) -> bool:
        # Mapping's own would read the class.
        return isinstance(class_type, str) and class_type in self._classes

    def __iter__(self) -> Iterator[str]:
        return iter(self._classes)

    def __len__(self) -> int:
        return len(self._classes)

    @cached_property
    def checks_new_combos(self) -> bool:
        """Whether the server holds the value of a ["COMBO", {...}] input to its options.

        0.3.64 does not (execution.py); it is known by classes in the new style, which state these
        flags always, without the field `output_matchtypes` that came with the check.
        """
        flags = ("api_node", "deprecated", "experimental")
        return not any(
            "output_matchtypes" not in entry and all(flag in entry for flag in flags)
            for entry in self._classes.values()
        )

    @cached_property
    def editor(self) -> Editor:
        """The generation of the editor that goes with such a server, told by its entries' fields.

        0.26.0 (editor 1.45) states `has_intermediate_output` for every class, 0.8.0 (1.35)
        `output_matchtypes` for new-style ones, 0.3.64 (1.27) neither. 0.33.0 (1.48) has a class
        for which the editor 1.48 has a canvas.
        """
        fields = {name for entry in self._classes.values() for name in entry}
        module = str(self._classes.get(_NEWEST_CLASS, {}).get("python_module", ""))
        if not fields or module.startswith("comfy_extras."):
            return Editor.V1_48
        if "has_intermediate_output" in fields:
            return Editor.V1_45
        return Editor.V1_35 if "output_matchtypes" in fields else Editor.V1_27


def _not_object_info(why: str) -> WorkflowError:
    return WorkflowError(
        f"this is not a ComfyUI server's object_info: {why}; "
        "save the answer of http://SERVER/object_info and use that"
    )


def _read_node(class_type: str, entry: Mapping[str, Any]) -> NodeInfo:
    sections, order = _dict(entry.get("input")), _dict(entry.get("input_order"))
    names, lists = _list(entry.get("output_name")), _list(entry.get("output_is_list"))
    outputs = []
    for slot, declared in enumerate(_list(entry.get("output"))):
        output_type = _type_name(declared)
        name = names[slot] if slot < len(names) and isinstance(names[slot], str) else output_type
        outputs.append(OutputInfo(output_type, name, slot < len(lists) and lists[slot] is True))
    return NodeInfo(
        class_type=class_type,
        display_name=_text(entry.get("display_name")) or class_type,
        category=_text(entry.get("category")),
        python_module=_text(entry.get("python_module")),
        inputs=_read_inputs(class_type, sections, order),
        hidden=tuple(_dict(sections.get("hidden"))),
        outputs=tuple(outputs),
        is_output_node=entry.get("output_node") is True,
        output_groups=tuple(
            group if isinstance(group, str) else None
            for group in _list(entry.get("output_matchtypes"))
        ),
    )


def _read_inputs(
    class_type: str, sections: Mapping[str, Any], order: Mapping[str, Any], prefix: str = ""
) -> dict[str, InputInfo]:
    inputs: dict[str, InputInfo] = {}
    for section in ("required", "optional"):
        declared = _dict(sections.get(section))
        ordered = [name for name in _list(order.get(section)) if _is_key(name, declared)]
        for name in dict.fromkeys([*ordered, *declared]):
            info = _read_input(class_type, prefix + name, section == "required", declared[name])
            # Of a name in both sections the server takes the required one.
            inputs.setdefault(prefix + name, info)
    return inputs


def _read_input(class_type: str, name: str, required: bool, declared: object) -> InputInfo:
    parts = _list(declared)
    settings = _dict(parts[1]) if len(parts) > 1 else {}
    input_type = _type_name(parts[0] if parts else None)
    options = _options(parts[0] if parts else None, settings)
    default = settings.get("default")
    if default is None and options:
        default = options[0]
    return InputInfo(
        name=name,
        required=required,
        type=input_type,
        options=options,
        default=default,
        minimum=_number(settings.get("min")),
        maximum=_number(settings.get("max")),
        step=_number(settings.get("step")),
        multiline=settings.get("multiline") is True,
        is_widget=_is_widget(input_type, settings),
        upload=_upload(class_type, name, settings),
        model_folder=model_folder(class_type, name) if input_type == COMBO else None,
        settings=settings,
    )


def _type_name(declared: object) -> str:
    if isinstance(declared, (list, tuple)):
        return COMBO
    return declared if isinstance(declared, str) else ANY


def _options(declared: object, settings: Mapping[str, Any]) -> tuple[Any, ...] | None:
    """The values to choose from; None where there is no list, or only the editor can fetch it."""
    if isinstance(declared, (list, tuple)):
        return tuple(declared)
    listed = settings.get("options")
    if not isinstance(listed, (list, tuple)):
        return None
    if declared == DYNAMIC_COMBO:
        return tuple(entry.get("key") for entry in listed if isinstance(entry, dict))
    return tuple(listed) if declared == COMBO else None


def _is_widget(input_type: str, settings: Mapping[str, Any]) -> bool:
    if settings.get("forceInput") is True:
        return False
    if settings.get("socketless") is True or isinstance(settings.get("widgetType"), str):
        return True
    return input_type in WIDGET_TYPES


def _upload(class_type: str, name: str, settings: Mapping[str, Any]) -> str | None:
    for kind in _UPLOAD_KINDS:
        if settings.get(f"{kind}_upload") is True:
            return kind
    return _UPLOADS.get((class_type, name))


def _is_key(name: object, declared: Mapping[str, Any]) -> bool:
    return isinstance(name, str) and name in declared


def _number(value: object) -> float | None:
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _whole(value: object, otherwise: int) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else otherwise


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _dict(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: object) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else []
