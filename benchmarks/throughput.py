"""How many generations a second eight threads get, beside clients that do nothing but the least.

    python -m benchmarks.throughput [ADDRESS]

Each turn makes 100 trivial pictures by eight bare clients (see floor.py), each with a connection
and a WebSocket of its own, then 100 by eight threads that share one `ComfyUIProvider`, then 100
that were all submitted at once. Prints each turn's throughput as a share of the bare clients'.
ADDRESS is host:port of a ComfyUI server; without one the embedded server runs in a process of its
own.
"""

from __future__ import annotations

import json
import logging
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from queue import SimpleQueue

from benchmarks.floor import Floor, trivial_graph
from benchmarks.server import server_at
from comfyui_provider import ComfyUIProvider
from image_provider import ImageGenerationRequest

GENERATIONS = 100
THREADS = 8
TURNS = 9
WORKFLOW = "trivial.json"
PATIENCE = 300.0
"""Seconds for all that was submitted."""


class Warnings(logging.Handler):
    """Keeps what urllib3 warns of."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.startswith("urllib3"):
            self.texts.append(record.getMessage())


def bare(clients: SimpleQueue[Floor], pool: ThreadPoolExecutor) -> None:
    """The pictures by bare clients, one a thread at a time."""

    def generate(_: int) -> None:
        client = clients.get()
        client.generate()
        clients.put(client)

    list(pool.map(generate, range(GENERATIONS)))


def shared(provider: ComfyUIProvider, pool: ThreadPoolExecutor) -> None:
    """The pictures by one provider that all threads share."""
    graphs = [trivial_graph() for _ in range(GENERATIONS)]
    for result in pool.map(provider.run_workflow, graphs):
        result.raise_for_error()


def submitted(provider: ComfyUIProvider) -> None:
    """The pictures in the background, all at once."""
    colours = [trivial_graph()["1"]["inputs"]["color"] for _ in range(GENERATIONS)]
    requests = [
        ImageGenerationRequest("", workflow=WORKFLOW, extra={"1.color": colour})
        for colour in colours
    ]
    for future in [provider.submit(request) for request in requests]:
        future.result(PATIENCE).raise_for_error()


def seconds(task: Callable[[], None]) -> float:
    start = time.perf_counter()
    task()
    return time.perf_counter() - start


def main(arguments: list[str]) -> None:
    warnings = Warnings()
    logging.getLogger().addHandler(warnings)
    with server_at(arguments) as address, tempfile.TemporaryDirectory() as folder:
        Path(folder, WORKFLOW).write_text(json.dumps(trivial_graph()), "utf-8")
        clients: SimpleQueue[Floor] = SimpleQueue()
        for _ in range(THREADS):
            clients.put(Floor(address))
        with ComfyUIProvider(address, folder) as provider, ThreadPoolExecutor(THREADS) as pool:
            tasks = {
                "eight bare clients": partial(bare, clients, pool),
                "eight threads, one provider": partial(shared, provider, pool),
                "all submitted at once": partial(submitted, provider),
            }
            times: dict[str, list[float]] = {name: [] for name in tasks}
            for _ in range(TURNS + 1):
                for name, task in tasks.items():
                    times[name].append(seconds(task))
    floor = times["eight bare clients"][1:]  # the first turn opens connections
    for name, all_seconds in times.items():
        shares = sorted(least / own for least, own in zip(floor, all_seconds[1:], strict=True))
        rate = GENERATIONS / statistics.median(all_seconds[1:])
        spread = f"{statistics.median(shares):.2f} ({shares[0]:.2f} to {shares[-1]:.2f})"
        print(f"{name:<28} {rate:6.0f} a second   {spread}")
    print(
        f"{len(warnings.texts)} warnings of urllib3", *sorted(set(warnings.texts))[:5], sep="\n  "
    )


if __name__ == "__main__":
    main(sys.argv[1:])
