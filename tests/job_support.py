"""What the tests of a running job share: a graph, servers and clients, and ways to watch and wait.

Limits are scaled down, clocks are moved by the tests, and nothing sleeps.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import requests

from comfyui.address import parse_address
from comfyui.cancelling import CancelToken
from comfyui.client import ComfyUIClient, Limits
from comfyui.embedded import EmbeddedOptions, EmbeddedServer
from comfyui.tracker import JobState, JobTracker

PATIENCE = 10.0
"""Seconds after which a test has failed; none comes near."""
LIMITS = Limits(connect=2, read=5, silence=0.05)
NOWHERE = "127.0.0.1:1"
URL = f"http://{NOWHERE}"
IMPATIENT = replace(LIMITS, unreachable=0.2)
QUICK = Limits(connect=2, read=5, silence=0)


def graph(seed: int = 1, output: str = "SaveImage") -> dict[str, Any]:
    """Three sampler steps on a checkpoint; the last node shows or saves."""
    saving = {"images": ["8", 0], "filename_prefix": "job"}
    return {
        "4": {
            "class_type": "CheckpointLoaderSimple",
            "inputs": {"ckpt_name": "v1-5-pruned-emaonly.safetensors"},
        },
        "5": {
            "class_type": "EmptyLatentImage",
            "inputs": {"width": 64, "height": 64, "batch_size": 1},
        },
        "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a fox", "clip": ["4", 1]}},
        "3": {
            "class_type": "KSampler",
            "_meta": {"title": "paint"},
            "inputs": {
                "model": ["4", 0],
                "positive": ["6", 0],
                "negative": ["6", 0],
                "latent_image": ["5", 0],
                "seed": seed,
                "steps": 3,
                "cfg": 7.0,
                "sampler_name": "euler",
                "scheduler": "normal",
                "denoise": 1.0,
            },
        },
        "8": {"class_type": "VAEDecode", "inputs": {"samples": ["3", 0], "vae": ["4", 2]}},
        "9": {
            "class_type": output,
            "inputs": saving if output == "SaveImage" else {"images": ["8", 0]},
        },
    }


@contextmanager
def server_with(**options: Any) -> Iterator[EmbeddedServer]:
    options = {"step_seconds": 0, **options}
    with EmbeddedServer(options=EmbeddedOptions(**options)) as server:
        yield server


class Clock:
    """The real time and what a test adds to it."""

    def __init__(self) -> None:
        self.added = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.added


@contextmanager
def client_of(
    address: str, limits: Limits = LIMITS, clock: Callable[[], float] = time.monotonic
) -> Iterator[ComfyUIClient]:
    client = ComfyUIClient(parse_address(address), "test", limits, clock=clock)
    try:
        yield client
    finally:
        client.close()


class Watch:
    """Notes how a job changes, and lets a test wait for a state."""

    def __init__(self) -> None:
        self.seen: list[tuple[JobState, int | None, str | None, int | None, float]] = []
        self._changed = threading.Condition()

    def __call__(self, tracker: JobTracker) -> None:
        with self._changed:
            self.seen.append(
                (
                    tracker.state,
                    tracker.queue_position,
                    tracker.node_id,
                    tracker.step,
                    tracker.fraction,
                )
            )
            self._changed.notify_all()

    def wait_for_position(self, position: int) -> None:
        """Waits until the job was seen at this place of the queue."""
        self._wait_for(lambda change: change[1] == position)

    def wait_for_step(self, step: int) -> None:
        """Waits until the job was seen at this step of a node."""
        self._wait_for(lambda change: change[3] == step)

    def _wait_for(self, fits: Callable[[Any], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: any(map(fits, self.seen)), PATIENCE)


@contextmanager
def background() -> Iterator[Callable[[Callable[[], Any]], Future[Any]]]:
    """A way to run things beside the test; they end before it does, unless it fails."""
    pool = ThreadPoolExecutor(4)
    try:
        yield pool.submit
    except BaseException:
        pool.shutdown(wait=False)  # what still holds a job ends with the server
        raise
    pool.shutdown()


@contextmanager
def at_work(
    **options: Any,
) -> Iterator[tuple[EmbeddedServer, ComfyUIClient, Callable[[Callable[[], Any]], Future[Any]]]]:
    """A server with these options, a client of it, and a way to run things beside the test."""
    with (
        server_with(**options) as server,
        client_of(server.address) as client,
        background() as go,
    ):
        yield server, client, go


def queue_of(server: EmbeddedServer) -> tuple[list[str], list[str]]:
    """The ids of the running and of the waiting jobs."""
    answer = requests.get(f"{server.url}/queue", timeout=PATIENCE).json()
    return (
        [entry[1] for entry in answer["queue_running"]],
        [entry[1] for entry in answer["queue_pending"]],
    )


def messages_of(server: EmbeddedServer, prompt_id: str) -> list[str]:
    """What the history says happened to a job; [] when it does not know it."""
    history = requests.get(f"{server.url}/history/{prompt_id}", timeout=PATIENCE).json()
    if prompt_id not in history:
        return []
    return [name for name, _ in history[prompt_id]["status"]["messages"]]


class TimelessToken(CancelToken):
    """Waiting takes no time, and tells a clock how long it would have taken."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float] = []

    def wait(self, seconds: float) -> None:
        self.waits.append(seconds)

    def clock(self) -> float:
        return sum(self.waits)


def history_of(prompt_id: str) -> dict[str, Any]:
    return {prompt_id: {"outputs": {}, "status": {"status_str": "success", "messages": []}}}


class OnWarning(logging.Handler):
    """Does something when a job warns."""

    def __init__(self, text: str, act: Callable[[], None]) -> None:
        super().__init__(logging.WARNING)
        self._text = text
        self._act = act

    def emit(self, record: logging.LogRecord) -> None:
        if self._text in record.getMessage():
            self._act()

    def __enter__(self) -> OnWarning:
        logging.getLogger("comfyui").addHandler(self)
        return self

    def __exit__(self, *exc_info: object) -> None:
        logging.getLogger("comfyui").removeHandler(self)
