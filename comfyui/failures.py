"""What went wrong with a job, what it was doing, and what helps, in words for a person. Pure.

The texts that are recognised are those of ComfyUI's execution.py, comfy/utils.py, comfy/sd.py,
folder_paths.py and comfy_api_nodes/, of PyTorch and of safetensors; the numbers are the ComfyUI
issues that show them as a failed node has them.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from comfyui.events import NodeFailure
from comfyui.foreign_texts import for_strangers
from comfyui.graph import Graph, title_of
from comfyui.tracker import JobState, JobTracker
from image_provider import GenerationFailedError


class _Advice(NamedTuple):
    """What helps against failures whose exception type or message looks like one of these."""

    types: str
    texts: str
    what: str

    def fits(self, failure: NodeFailure) -> bool:
        return any(
            pattern and re.search(pattern, text, re.IGNORECASE)
            for pattern, text in (
                (self.types, failure.exception_type),
                (self.texts, failure.message),
            )
        )


_ADVICE = (
    # 5038 "Allocation on device", 6475 "HIP out of memory", 7004 "XPU out of memory"; Apple's MPS
    # says "MPS backend out of memory"; 2075 DirectML; cuDNN and cuBLAS fail to reserve theirs.
    _Advice(
        r"Out_?Of_?Memory",
        r"out of memory|^Allocation on device|would exceed allowed memory"
        r"|not enough GPU video memory|CU(BLAS|DNN)_STATUS_ALLOC_FAILED",
        "the GPU ran out of memory: a smaller size or fewer images at once helps",
    ),
    # 697 "DefaultCPUAllocator: not enough memory: you tried to allocate 29491200 bytes", "can't
    # allocate memory" on Linux; MemoryError is Python's and, with a prefix, NumPy's.
    _Advice(
        r"MemoryError$",
        r"DefaultCPUAllocator|not enough memory|can.?.?t allocate memory|paging file is too small",
        "the server ran out of memory (RAM): a smaller size or fewer images at once helps",
    ),
    # 8344. The key belongs to this job, not to the server: 13222.
    _Advice(
        "",
        r"Unauthorized: Please login first",
        "API nodes need a comfy.org account: set COMFY_ORG_API_KEY to a key that is valid there",
    ),
    _Advice(
        "",
        r"Payment Required: Please add credits",
        "the account of COMFY_ORG_API_KEY has no credit left: add some at comfy.org",
    ),
    # 3225, 5826, 6744, 9085. Also what a web page is called that was saved as a model.
    _Advice(
        "",
        r"HeaderTooLarge|HeaderTooSmall|InvalidHeader|MetadataIncompleteBuffer"
        r"|Error while deserializing header|safetensors file is (corrupt|incomplete)"
        r"|PytorchStreamReader failed|invalid load key",
        "the model file is broken or incomplete: download it again",
    ),
    # comfy/sd.py, for files that are whole but no checkpoint or diffusion model it knows.
    _Advice(
        "",
        r"could not detect model type",
        "the file is no model of the kind that this node loads, or of a family that this ComfyUI "
        "does not know: check that it lies in the right folder and is whole, and update ComfyUI",
    ),
    # folder_paths.py get_full_path_or_raise; custom nodes open files of their own.
    _Advice(
        r"\bFileNotFoundError$",
        r"^Model in folder '.*' with filename '.*' not found",
        "a file that the node needs is not on the server: put it there (in the log at DEBUG stands "
        "the whole path)",
    ),
    # What happens when CLIP, LoRA, ControlNet or VAE are of another family than the model.
    _Advice(
        "",
        r"shapes cannot be multiplied|size mismatch|Error\(s\) in loading state_dict"
        r"|must specify y if and only if the model is class-conditional"
        r"|expected input\[.*\] to have \d+ channels"
        r"|The size of tensor a \(\d+\) must match .* at non-singleton dimension 1\b",
        "the model and what is used with it (CLIP, LoRA, ControlNet, VAE) are of different "
        "families, such as SD 1.5, SDXL and FLUX: choose parts that belong together",
    ),
    # Pillow, of what LoadImage opens.
    _Advice(
        "",
        r"^Truncated File Read|^image file is truncated|^cannot identify image file",
        "the picture on the server is broken or of a kind that it does not read: send another",
    ),
    # nodes.py and comfy/sd.py; a checkpoint without CLIP or VAE gives None for it.
    _Advice(
        "",
        r"^ERROR: (clip input|VAE) is invalid: None",
        "the checkpoint holds no such part: load it with a node of its own (CLIPLoader, VAELoader)",
    ),
)
"""The first that fits is told."""


def describe_work(tracker: JobTracker, graph: Graph) -> str:
    """What the job is doing: waiting at a place in the queue, or at a step of a node."""
    if tracker.state is JobState.QUEUED:
        return f"waited in the queue at position {tracker.queue_position}"
    if tracker.node_id is None:  # without a socket, nobody tells which node it is
        return "was running" if tracker.state is JobState.RUNNING else "had not begun yet"
    step = f", step {tracker.step}/{tracker.total_steps}" if tracker.total_steps else ""
    return f"ran {_place(tracker, graph, tracker.node_id)}{step}"


def failed_job(tracker: JobTracker, graph: Graph) -> GenerationFailedError:
    """The error of a job that the server ended with an exception, in one line.

    `detail` is the exception's message as the server told it, the rest is fit for strangers.
    """
    failure = tracker.failure
    if failure is None:
        return GenerationFailedError("the job failed and the server does not say why")
    what = _one_line(failure.exception_type)
    if message := _one_line(failure.message):
        what = f"{what}: {message}"
    advice = advice_for(failure)
    return GenerationFailedError(
        f"{_place(tracker, graph, failure.node_id)} failed: "
        f"{what}{'' if advice is None else f'; {advice}'}",
        node_id=failure.node_id,
        class_type=failure.class_type,
        detail=failure.message,
    )


def advice_for(failure: NodeFailure) -> str | None:
    """What helps against it, where that is known."""
    return next((advice.what for advice in _ADVICE if advice.fits(failure)), None)


_TIPS = re.compile(r"\s*This error means you ran out of memory on your GPU\..*", re.DOTALL)
"""ComfyUI's own advice behind the message, which is about its editor (execution.py)."""


def _one_line(text: str) -> str:
    return for_strangers(_TIPS.sub("", text))


def _place(tracker: JobTracker, graph: Graph, node_id: str) -> str:
    # A node that another one expanded into is not in the graph; the server names its class.
    failed_class = tracker.failure.class_type if tracker.failure is not None else ""
    class_type = failed_class or tracker.class_of(node_id) or ""
    node = graph.get(node_id)
    title = title_of(node) if node is not None else class_type
    named = " ".join(part for part in ("node", node_id, class_type) if part)
    return named if title == class_type else f"{named} {title!r}"
