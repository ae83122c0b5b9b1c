"""The knobs of the embedded server and the hook that lets a test hold a job.

Owns the option values and their defaults; stdlib only, so that the pytest plugin can be
imported without aiohttp, numpy or Pillow. Does not know how a job is run.
"""

from __future__ import annotations

import argparse
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

COMFYUI_VERSION = "0.26.0"
"""The ComfyUI whose behaviour is reproduced."""

SELF_DESCRIPTION = "ComfyUI embedded server - procedural picture, no model"
"""What the caption on a picture, its PNG text and the log call this server."""

DEFAULT_MODELS: Mapping[str, Sequence[str]] = {
    "checkpoints": ("sd_xl_base_1.0.safetensors", "v1-5-pruned-emaonly.safetensors"),
    "diffusion_models": ("flux1-dev.safetensors", "flux1-fill-dev.safetensors"),
    "text_encoders": (
        "clip_l.safetensors",
        "t5xxl_fp16.safetensors",
        "t5xxl_fp8_e4m3fn.safetensors",
    ),
    "vae": ("ae.safetensors",),
    "loras": ("example_lora.safetensors",),
    "upscale_models": (),
}
"""Folder of models -> file names offered; no such file exists, none is needed."""


def port_number(text: str) -> int:
    """A TCP port as a command line has it; 0 takes a free one."""
    if not (text.isdecimal() and int(text) <= 65535):
        raise argparse.ArgumentTypeError(f"{text!r} is no port; give a number from 0 to 65535")
    return int(text)


@dataclass(frozen=True)
class StepEvent:
    """A point of a running job: the start of a node (step 0) or one of its sampler steps."""

    prompt_id: str
    node_id: str
    class_type: str
    step: int
    stopping: threading.Event
    """Set when the server stops: a hook that waits should give up then."""


@dataclass(frozen=True)
class FailNode:
    """A failure to act out: the node (its id or class_type) raises instead of running."""

    node: str
    message: str = "simulated failure"
    exception_type: str = "RuntimeError"

    def applies_to(self, node_id: str, class_type: str) -> bool:
        """Whether this node is the one that fails."""
        return self.node in (node_id, class_type)


class StepGate:
    """An `on_step` hook that holds a job at one point until the test opens it.

    `StepGate("3")` holds at the start of node 3, `StepGate("KSampler", step=2)` before the
    second sampler step.
    """

    def __init__(self, node: str, step: int = 0) -> None:
        self._node = node
        self._step = step
        self._reached = threading.Event()
        self._open = threading.Event()

    def __call__(self, event: StepEvent) -> None:
        """Hold the job when it is at the gate's point."""
        if event.step != self._step or self._node not in (event.node_id, event.class_type):
            return
        self._reached.set()
        while not self._open.wait(0.02):
            if event.stopping.is_set():
                return

    def wait_reached(self, timeout: float = 10.0) -> bool:
        """Wait until a job is held here; False after `timeout` seconds."""
        return self._reached.wait(timeout)

    def open(self) -> None:
        """Let the held job, and every later one, pass."""
        self._open.set()


@dataclass(frozen=True)
class EmbeddedOptions:
    """How the embedded server behaves."""

    step_seconds: float = 0.02
    """Seconds that one sampler step takes; 0 for tests."""
    models: Mapping[str, Sequence[str]] = field(default_factory=lambda: dict(DEFAULT_MODELS))
    """Folder of models -> file names that the server claims to have."""
    fail_node: FailNode | None = None
    on_step: Callable[[StepEvent], None] | None = None
    """Called in the worker thread at the start of each node and before each sampler step."""
    data_dir: Path | None = None
    """Holds input/, output/ and temp/; None: a temporary directory, removed at stop."""
