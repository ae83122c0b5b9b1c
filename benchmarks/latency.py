"""How long a trivial generation takes, beside the least that a client can do.

    python -m benchmarks.latency [ADDRESS]

Makes pictures by a bare client (see floor.py) and by `ComfyUIProvider.run_workflow`, by turns, so
that a busy machine slows both alike. Prints the medians and their ratio, then what both spend their
time on, by a profile of further turns; profiling slows calls, so that shares count there and not
the sum. ADDRESS is host:port of a ComfyUI server; without one the embedded server runs in a process
of its own.
"""

from __future__ import annotations

import cProfile
import logging
import pstats
import statistics
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.floor import Floor, trivial_graph
from benchmarks.server import server_at
from comfyui_provider import ComfyUIProvider

ROOT = Path(__file__).resolve().parent.parent
ROUNDS = 9
GENERATIONS = 50
"""Of each kind in a round, which gives one ratio."""
BUILT_IN = "~"
"""What a profile calls the file of functions written in C."""
SYSTEM_CALLS = {
    "recv": "receiving, and waiting for it",
    "recv_into": "receiving, and waiting for it",
    "poll": "receiving, and waiting for it",
    "acquire": "waiting for a lock",
    "send": "sending",
    "sendall": "sending",
}
PARTS = {
    "/site-packages/requests/": "requests",
    "/site-packages/urllib3/": "urllib3 and http.client",
    "/http/client.py": "urllib3 and http.client",
    "/email/": "urllib3 and http.client",
    "/site-packages/websocket/": "the WebSocket library",
    "/json/": "JSON",
    f"{ROOT}/benchmarks": "the bare client",
    f"{ROOT}/image_io": "image_io",
    f"{ROOT}/": "the rest of this library",
}


_Function = tuple[str, int, str]
"""File, line and name."""


class Requests(logging.Handler):
    """Counts HTTP requests by their first word of path."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.paths: Counter[str] = Counter()

    def emit(self, record: logging.LogRecord) -> None:
        method, url, *_ = record.getMessage().split()
        self.paths[f"{method} /{url.rstrip(':').split('/')[3]}"] += 1


def compare(bare: Callable[[], object], ours: Callable[[], object]) -> None:
    """Prints both medians and their ratio, with the ratios of single rounds."""
    times: tuple[list[float], list[float]] = ([], [])
    ratios = []
    for _ in range(ROUNDS):
        both = [[_seconds(task) for task in (bare, ours)] for _ in range(GENERATIONS)]
        columns = [list(column) for column in zip(*both, strict=True)]
        ratios.append(statistics.median(columns[1]) / statistics.median(columns[0]))
        for known, new in zip(times, columns, strict=True):
            known += new
    floor, own = map(statistics.median, times)
    print(f"the bare client   {floor * 1e3:6.2f} ms")
    print(f"run_workflow      {own * 1e3:6.2f} ms")
    print(
        f"ratio {own / floor:14.2f}   ({min(ratios):.2f} to {max(ratios):.2f} in {ROUNDS} rounds)"
    )


def _seconds(task: Callable[[], object]) -> float:
    start = time.perf_counter()
    task()
    return time.perf_counter() - start


def spent(task: Callable[[], object]) -> dict[str, float]:
    """Milliseconds of one generation by what they go to; built-in functions count for callers."""
    profile = cProfile.Profile()
    for _ in range(GENERATIONS):
        profile.runcall(task)
    parts: dict[str, float] = defaultdict(float)
    stats: dict[_Function, Any] = pstats.Stats(profile).stats  # type: ignore[attr-defined]
    for (file, _, name), (_, _, own, _, callers) in stats.items():
        shares = {file: own}
        if file == BUILT_IN:
            shares = defaultdict(float)
            for (caller, _, _), (_, _, share, _) in callers.items():
                shares[caller] += share
        for source, seconds in shares.items():
            parts[_part(file, name, source)] += seconds / GENERATIONS * 1e3
    return parts


def _part(file: str, name: str, source: str) -> str:
    if file == BUILT_IN:
        for call, part in SYSTEM_CALLS.items():
            if f"'{call}'" in name:
                return part
    return next((part for path, part in PARTS.items() if path in source), "Python's own modules")


def main(arguments: list[str]) -> None:
    requests = Requests()
    with server_at(arguments) as address, ComfyUIProvider(address) as provider:
        client = Floor(address)

        def ours() -> None:
            provider.run_workflow(trivial_graph()).raise_for_error()

        compare(client.generate, ours)
        table = {"bare": spent(client.generate), "ours": spent(ours)}
        _count_requests(requests, ours)
    print(f"\n{'profiled, ms a generation':<30} {'bare':>6} {'ours':>6}")
    for part in sorted(table["ours"].keys() | table["bare"].keys()):
        print(f"{part:<30} {table['bare'][part]:6.2f} {table['ours'][part]:6.2f}")
    counts = (f"{path} {number / GENERATIONS:g}" for path, number in requests.paths.items())
    print("requests a generation:", ", ".join(counts))


def _count_requests(requests: Requests, task: Callable[[], object]) -> None:
    logger = logging.getLogger("image_io.http")
    logger.addHandler(requests)
    logger.setLevel(logging.DEBUG)
    for _ in range(GENERATIONS):
        task()
    logger.removeHandler(requests)


if __name__ == "__main__":
    main(sys.argv[1:])
