"""The node types that the embedded server has, as ComfyUI describes them in /object_info.

Owns `object_info.json` (facts of ComfyUI 0.26.0's /object_info, trimmed to these classes and
without texts for people) and fills in the lists of files. Does not run nodes.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any

MODEL_INPUTS: Mapping[tuple[str, str], str] = {
    ("CheckpointLoaderSimple", "ckpt_name"): "checkpoints",
    ("UNETLoader", "unet_name"): "diffusion_models",
    ("CLIPLoader", "clip_name"): "text_encoders",
    ("DualCLIPLoader", "clip_name1"): "text_encoders",
    ("DualCLIPLoader", "clip_name2"): "text_encoders",
    ("VAELoader", "vae_name"): "vae",
    ("LoraLoader", "lora_name"): "loras",
    ("LoraLoaderModelOnly", "lora_name"): "loras",
}
"""(class, input) -> folder of models whose files it takes."""

UPLOAD_CLASSES = frozenset({"LoadImage", "LoadImageMask"})
"""Classes whose `image` is a file of input/, checked by themselves instead of by the list."""


@dataclass(frozen=True)
class InputSpec:
    """One input of a node type: its type or list of choices, and the options beside it."""

    name: str
    required: bool
    type: str | list[str]
    config: dict[str, Any]

    @property
    def choices(self) -> list[str] | None:
        """The values of a combo, old style (a list as type) or new (COMBO with options)."""
        if isinstance(self.type, list):
            return self.type
        return self.config.get("options", []) if self.type == "COMBO" else None


class NodeCatalog:
    """What /object_info says, with the lists of files as they are now."""

    def __init__(
        self, models: Mapping[str, Sequence[str]], input_files: Callable[[], list[str]]
    ) -> None:
        self._models = models
        self._input_files = input_files
        self._info = copy.deepcopy(_bundled_info())
        for (class_type, name), folder in MODEL_INPUTS.items():
            self._choices(class_type, name)[:0] = sorted(models.get(folder, ()))

    def __contains__(self, class_type: object) -> bool:
        return class_type in self._info

    def object_info(self, class_type: str) -> dict[str, Any]:
        """One class as /object_info/{class} has it."""
        if class_type in UPLOAD_CLASSES:
            self._choices(class_type, "image")[:] = self._input_files()
        return self._info[class_type]

    def all_object_info(self) -> dict[str, Any]:
        """Every class, as /object_info has it."""
        return {class_type: self.object_info(class_type) for class_type in self._info}

    def inputs(self, class_type: str) -> list[InputSpec]:
        """Required, then optional inputs."""
        info = self._info[class_type]["input"]
        return [
            InputSpec(name, kind == "required", spec[0], spec[1] if len(spec) > 1 else {})
            for kind in ("required", "optional")
            for name, spec in info.get(kind, {}).items()
        ]

    def outputs(self, class_type: str) -> tuple[str, ...]:
        """The types of a class's output slots."""
        return tuple(self._info[class_type]["output"])

    def is_output_node(self, class_type: str) -> bool:
        """Whether nodes of this class are results that a prompt can ask for."""
        return bool(self._info[class_type]["output_node"])

    def _choices(self, class_type: str, name: str) -> list[str]:
        choices: list[str] = self._info[class_type]["input"]["required"][name][0]
        return choices


@lru_cache(maxsize=1)
def _bundled_info() -> dict[str, dict[str, Any]]:
    text = resources.files(__package__).joinpath("object_info.json").read_text(encoding="utf-8")
    info: dict[str, dict[str, Any]] = json.loads(text)
    for entry in info.values():
        entry.setdefault("description", "")
    return info
