"""Which workflow serves a request, when the request names none.

Owns the three bundled defaults and the step from the FLUX family to the checkpoint family where a
server has other models than the default needs. A folder of the caller's own need not hold these:
the bundled ones stand in. Pure: works on a library and an ObjectInfo.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass, field, replace

from comfyui.library import BUNDLED_FOLDER, WorkflowLibrary
from comfyui.object_info import ObjectInfo
from comfyui.remembering import Remembered
from comfyui.validation import WorkflowProblem
from comfyui.workflow import Hashes, Workflow
from image_provider import ImageGenerationRequest, WorkflowError

logger = logging.getLogger(__name__)

DEFAULT_WORKFLOWS = {
    "t2i": "t2i_flux.json",
    "i2i": "i2i_flux.json",
    "inpaint": "inpaint_flux.json",
}
_CHECKPOINT_WORKFLOWS = {
    "t2i": "t2i_checkpoint.json",
    "i2i": "i2i_checkpoint.json",
    "inpaint": "inpaint_checkpoint.json",
}
_CHECKPOINT_INPUT = ("CheckpointLoaderSimple", "ckpt_name")
_DIFFUSION_INPUT = ("UNETLoader", "unet_name")


@dataclass(frozen=True)
class Choice:
    """A workflow by name, the model to put into it, and what a person should know of the choice."""

    name: str
    workflow: Workflow
    model: str | None = None
    warnings: list[str] = field(default_factory=list)
    is_default: bool = False
    """True when the caller named no workflow."""


def mode_of(request: ImageGenerationRequest) -> str:
    """ "t2i", "i2i" or "inpaint", by the images that the request brings."""
    if request.mask_image is not None:
        return "inpaint"
    return "i2i" if request.source_image is not None else "t2i"


def with_default_size(request: ImageGenerationRequest) -> ImageGenerationRequest:
    """A size that was not given as if it were: only a workflow that the caller named keeps its own.

    Nobody is told when it finds no place.
    """
    sides = dict(zip(("width", "height"), request.explicit_size, strict=True))
    unasked = {name for name, side in sides.items() if side is None}
    return replace(
        request,
        width=int(request.width),
        height=int(request.height),
        from_template=request.from_template | unasked,
    )


class WorkflowChooser:
    """Chooses from a library; `configured` has the names that somebody set, by mode."""

    def __init__(self, library: WorkflowLibrary, configured: dict[str, str]) -> None:
        self._library = library
        self._bundled = WorkflowLibrary(BUNDLED_FOLDER)
        self._configured = configured
        self._warned = False
        self._missing = Remembered[Workflow, list[WorkflowProblem]]()

    def name_for(self, request: ImageGenerationRequest) -> str:
        """The workflow that is tried first."""
        mode = mode_of(request)
        return request.workflow or self._configured.get(mode) or DEFAULT_WORKFLOWS[mode]

    def hashes_for(self, request: ImageGenerationRequest) -> Hashes:
        """Of the files of that workflow; raises WorkflowError when it cannot be read."""
        name = self.name_for(request)
        return self._holding(name, self._is_default(request)).hashes(name)

    def choose(self, request: ImageGenerationRequest, object_info: ObjectInfo | None) -> Choice:
        """The workflow for a request on a server with these classes and models, if known.

        Raises WorkflowError when the server has the models of neither family.
        """
        mode = mode_of(request)
        name = self.name_for(request)
        is_default = self._is_default(request)
        workflow = self._holding(name, is_default).load(name, object_info)
        chosen = Choice(name, workflow, request.model, is_default=request.workflow is None)
        if object_info is None or not is_default:
            return chosen
        checkpoints = model_names(object_info, *_CHECKPOINT_INPUT)
        if request.model is not None:
            diffusion_models = model_names(object_info, *_DIFFUSION_INPUT)
            if request.model in checkpoints and request.model not in diffusion_models:
                return self._checkpoint(mode, request.model, [])
            return chosen
        missing = self._missing.get(
            object_info, workflow, lambda: _missing_models(workflow, object_info)
        )
        if not missing:
            return chosen
        if not checkpoints:
            raise _nothing_to_run(name, missing)
        warning = (
            f"the server lacks models of {name} ({_files(workflow, missing)}); "
            f"using its checkpoint {checkpoints[0]} instead"
        )
        return self._checkpoint(mode, checkpoints[0], [warning])

    def _checkpoint(self, mode: str, model: str, warnings: list[str]) -> Choice:
        name = _CHECKPOINT_WORKFLOWS[mode]
        workflow = self._holding(name, True).load(name)
        return Choice(name, workflow, model, warnings, is_default=True)

    def _is_default(self, request: ImageGenerationRequest) -> bool:
        """Whether nobody named a workflow, neither in the request nor in the settings."""
        return not request.workflow and mode_of(request) not in self._configured

    def _holding(self, name: str, is_default: bool) -> WorkflowLibrary:
        """Where a workflow is: a default that the folder lacks is the bundled one."""
        if not is_default or self._library.has(name):
            return self._library
        if not (self._warned or os.path.isdir(self._library.folder)):
            self._warned = True  # once: it may be meant so
            logger.warning("there is no workflow folder; COMFYUI_WORKFLOW_DIR names one")
        return self._bundled


def model_names(object_info: ObjectInfo, class_type: str, input_name: str) -> list[str]:
    """The files that a loader's input offers."""
    node = object_info.get(class_type)
    entry = node.inputs.get(input_name) if node is not None else None
    return [str(option) for option in entry.options or ()] if entry is not None else []


def _missing_models(workflow: Workflow, object_info: ObjectInfo) -> list[WorkflowProblem]:
    return [p for p in workflow.validate(object_info) if p.kind == "missing_model"]


def _files(workflow: Workflow, missing: list[WorkflowProblem]) -> str:
    graph = workflow.graph
    places = ((problem.node_id or "", problem.input_name or "") for problem in missing)
    return ", ".join(str(graph[node_id]["inputs"][name]) for node_id, name in places)


def _nothing_to_run(name: str, missing: list[WorkflowProblem]) -> WorkflowError:
    listed = "; ".join(problem.message for problem in missing)
    return WorkflowError(
        f"workflow {name}: {listed}. The server has no checkpoint in models/checkpoints either, "
        "which would do as well",
        file=name,
        node_id=missing[0].node_id,
        class_type=missing[0].class_type,
        input_name=missing[0].input_name,
        problems=missing,
    )
