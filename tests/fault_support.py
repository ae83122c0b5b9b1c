"""A provider behind a proxy that fails, and what is true of its pictures whatever happens.

Two servers, so that one can stand for the other after a restart. Points of a running job are where
the server reaches them, so nothing is left to chance or to the clock.
"""

from __future__ import annotations

import io
import json
import threading
import uuid
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import requests
from PIL import Image

from comfyui.client import Limits
from comfyui.embedded import EmbeddedOptions, EmbeddedServer
from comfyui.embedded.options import StepEvent
from comfyui_provider import ComfyUIProvider
from image_provider import ImageGenerationResult, ProgressUpdate
from tests.fakes.proxy import FaultProxy
from tests.job_support import PATIENCE, graph, messages_of, queue_of

SAMPLER = "3"
LIMITS = Limits(connect=1, read=5, silence=0.05, queue_interval=0.1, unreachable=5)


class Rig:
    """Servers, a proxy in front of one of them, and a provider that knows the proxy alone."""

    def __init__(self, limits: Limits = LIMITS) -> None:
        self.runs: Counter[str] = Counter()
        """How often each job began, on either server, those of others included."""
        self.updates: list[ProgressUpdate] = []
        self._actions: dict[int, Callable[[], object]] = {}
        self._foreign: set[str] = set()
        self._held = threading.Event()
        self._pause = threading.Event()
        self._limits = limits
        self._stack = ExitStack()

    def __enter__(self) -> Rig:
        options = EmbeddedOptions(step_seconds=0, on_step=self._on_step)
        enter = self._stack.enter_context
        self.server = enter(EmbeddedServer(options=options))
        self.other = enter(EmbeddedServer(options=options))
        self.proxy = enter(FaultProxy(self.server.address))
        self.provider = enter(ComfyUIProvider(self.proxy.address, limits=self._limits))
        self._stack.callback(self.let_go)
        return self

    def __exit__(self, *exc_info: Any) -> None:
        self._stack.close()

    def at_step(self, step: int, act: Callable[[], object]) -> None:
        """Does something when our job comes to a sampler step, 1 to 3; what it raises fails it."""
        self._actions[step] = act

    def _on_step(self, event: StepEvent) -> None:
        if event.node_id != SAMPLER:
            return
        self.runs[event.prompt_id] += event.step == 0
        if event.prompt_id in self._foreign:
            while not self._held.wait(0.01) and not event.stopping.is_set():
                pass
        elif event.step in self._actions:
            self._actions.pop(event.step)()

    def restart(self) -> None:
        """The server is killed, and another one is there at once."""
        self.server, self.other = self.other, self.server
        self.proxy.switch_to(self.server.address)

    def block(self) -> str:
        """Has somebody else's job run until `let_go`; its prompt id."""
        self._held.clear()
        prompt_id = str(uuid.uuid4())
        self._foreign.add(prompt_id)
        seed = uuid.uuid4().int % 2**32  # a cached job would not stop at the sampler
        self.post("/prompt", {"prompt": graph(seed, "PreviewImage"), "prompt_id": prompt_id})
        return prompt_id

    def let_go(self) -> None:
        """Lets somebody else's job go on."""
        self._held.set()

    def begin(self) -> None:
        """Forgets what was, before the next job."""
        self.proxy.reset(self.server.address)
        self._actions.clear()
        self.runs.clear()
        self.updates.clear()

    def end(self) -> None:
        """Ends the faults, and waits until no server is at work, as long as that takes."""
        self._actions.clear()
        self.let_go()
        self.proxy.reset(self.server.address)
        self.wait_until_idle()

    def wait_until_idle(self) -> None:
        """Waits until no server has a job."""
        for server in (self.server, self.other):
            while any(queue_of(server)):
                self._pause.wait(0.005)

    def run(self, seed: int, output: str = "SaveImage") -> ImageGenerationResult:
        """Runs a graph with this seed through the provider."""
        return self.provider.run_workflow(graph(seed, output), self.updates.append)

    def post(self, path: str, body: dict[str, Any]) -> None:
        """Somebody else's order to the server."""
        requests.post(f"{self.server.url}{path}", json=body, timeout=PATIENCE)

    def own_runs(self) -> Counter[str]:
        """How often each of our jobs began."""
        return Counter({name: n for name, n in self.runs.items() if name not in self._foreign})

    def left_behind(self) -> list[str]:
        """Our jobs that run or wait on the server."""
        running, waiting = queue_of(self.server)
        return [name for name in running + waiting if name not in self._foreign]

    def messages(self, prompt_id: str) -> list[str]:
        """What the server's history says happened to a job."""
        return messages_of(self.server, prompt_id)


def seed_in(picture: bytes) -> int:
    """The seed in the graph that a PNG carries."""
    with Image.open(io.BytesIO(picture)) as image:
        prompt = json.loads(image.text["prompt"])  # type: ignore[attr-defined]
    return int(prompt[SAMPLER]["inputs"]["seed"])
