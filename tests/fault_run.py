"""Many generations with faults from a seeded plan: none lost, none twice, none hanging.

    python3 dev.py run tests.fault_run --jobs 10000 --seed 1

Each job meets one fault, or none, at a point that the plan draws. What it may end as is known
beforehand, and whatever differs is told with its number, so that `--only N` runs it alone.
"""

from __future__ import annotations

import argparse
import logging
import os
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice

from image_provider import ImageGenerationResult
from tests.fakes.proxy import http_answer
from tests.fault_support import LIMITS, Rig, seed_in
from tests.job_support import NOWHERE, graph

PROCESSES = 2
RIGS = 4
"""Jobs at once in each process, each with servers of its own."""
HANGING = 60.0
"""Seconds after which a job counts as hanging; none should come near."""
LOST = replace(LIMITS, unreachable=0.4)


@dataclass(frozen=True)
class Task:
    """One job of the plan; `step` is where its fault strikes, `times` how often."""

    number: int
    seed: int
    fault: str
    step: int
    times: int
    output: str


@dataclass(frozen=True)
class Fault:
    """How a fault is arranged, and what a job that meets it may end as."""

    arrange: Callable[[Rig, Task], None]
    ends: frozenset[str] = frozenset({"ok"})


def _mid_run(act: Callable[[Rig], object]) -> Callable[[Rig, Task], None]:
    return lambda rig, task: rig.at_step(task.step, lambda: act(rig))


def _answering(request: str, answer: bytes) -> Callable[[Rig, Task], None]:
    return lambda rig, task: rig.proxy.answer(request, answer, task.times)


def _setting(**attributes: object) -> Callable[[Rig, Task], None]:
    return lambda rig, task: _set(rig, **attributes)


def _set(rig: Rig, **attributes: object) -> None:
    for name, value in attributes.items():
        setattr(rig.proxy, name, value)


def _fail(rig: Rig) -> None:
    raise RuntimeError("a node that fails")


def _away(rig: Rig) -> None:
    """Every look fails a few times, as it does while a server is busy or a network is down."""
    rig.proxy.cut()
    rig.proxy.answer("GET ", http_answer(502), times=5)


def _clear(rig: Rig, task: Task) -> None:
    def clear() -> None:
        rig.post("/history", {"clear": True})

    rig.proxy.answer("GET /history", clear)


def _delete(rig: Rig, task: Task) -> None:
    """Somebody's job runs before ours, which is removed as it looks for its place."""
    rig.block()

    def delete() -> None:
        rig.post("/queue", {"delete": rig.left_behind()})
        rig.let_go()

    rig.proxy.answer("GET /queue", delete)


def _wait_behind(rig: Rig, task: Task) -> None:
    rig.block()
    rig.proxy.answer("GET /queue", rig.let_go)


UNAVAILABLE = frozenset({"unavailable"})
FAULTS: dict[str, Fault] = {
    "none": Fault(lambda rig, task: None),
    "socket refused": Fault(_setting(websockets="refuse")),
    "socket silent": Fault(_setting(websockets="hold")),
    "socket silent mid-run": Fault(_mid_run(lambda rig: _set(rig, websockets="hold"))),
    "socket cut": Fault(_mid_run(lambda rig: rig.proxy.cut(others=False))),
    "all connections cut": Fault(_mid_run(lambda rig: rig.proxy.cut())),
    "answers late": Fault(_setting(delay=0.01)),
    "away for a moment": Fault(_mid_run(_away)),
    "restart": Fault(_mid_run(Rig.restart), UNAVAILABLE),
    "gone": Fault(_mid_run(lambda rig: rig.proxy.switch_to(NOWHERE)), UNAVAILABLE),
    "post answer lost": Fault(_setting(cut_reply_to=("POST /prompt", 0))),
    "post answer cut": Fault(_setting(cut_reply_to=("POST /prompt", 30))),
    "post answer 502": Fault(
        _setting(cut_reply_to=("POST /prompt", 0), cut_reply_with=http_answer(502))
    ),
    "post refused": Fault(
        lambda rig, task: rig.proxy.answer("POST /prompt", http_answer(503), task.times % 3)
    ),
    "post broke off": Fault(_answering("POST /prompt", b""), UNAVAILABLE),
    "view cut": Fault(_setting(cut_reply_to=("GET /view", 200))),
    "view 500": Fault(lambda rig, task: rig.proxy.answer("GET /view", http_answer(500), 2)),
    "history 500": Fault(_answering("GET /history", http_answer(500))),
    "history late": Fault(
        _mid_run(lambda rig: rig.proxy.answer("GET /history", http_answer(200, b"{}"), 2))
    ),
    "history cleared": Fault(_clear),
    "queue 500": Fault(_answering("GET /queue", http_answer(500))),
    "interrupted": Fault(
        _mid_run(lambda rig: rig.post("/interrupt", {})), frozenset({"cancelled"})
    ),
    "node fails": Fault(_mid_run(_fail), frozenset({"generation_failed"})),
    "behind another": Fault(_wait_behind),
    "deleted": Fault(_delete, frozenset({"cancelled"})),
}


def plan(jobs: int, seed: int) -> list[Task]:
    """The same tasks for the same numbers, whatever runs them and in which order."""
    draw = random.Random(seed)
    names = list(FAULTS)
    return [
        Task(
            number=number,
            seed=draw.getrandbits(32),
            fault=draw.choice(names),
            step=draw.randint(1, 3),
            times=draw.randint(1, 5),
            output=draw.choice(["SaveImage", "SaveImage", "PreviewImage"]),
        )
        for number in range(jobs)
    ]


def problems(task: Task, result: ImageGenerationResult, rig: Rig) -> Iterator[str]:
    """What is not as it should be after a job."""
    end = result.error_type or "ok"
    if end not in FAULTS[task.fault].ends:
        yield f"ended as {end}: {result.error}"
    if result.success:
        [image] = result.images
        if seed_in(image["bytes"]) != task.seed:
            yield "the picture is another job's"
        folder = "output" if task.output == "SaveImage" else "temp"
        if (rig.server.data_dir / folder / image["filename"]).read_bytes() != image["bytes"]:
            yield "the picture is not what the server saved"
        if rig.updates[-1].fraction != 1.0:
            yield f"progress ended at {rig.updates[-1].fraction}"
    fractions = [update.fraction for update in rig.updates]
    if fractions != sorted(fractions):
        yield "progress fell"
    runs = rig.own_runs()
    if len(runs) > 1 or max(runs.values(), default=0) > 1:
        yield f"it ran more than once: {sorted(runs.values())}"
    if task.fault not in ("gone", "restart") and rig.left_behind():
        yield "it was left behind on the server"


def run_task(task: Task, rig: Rig) -> list[str]:
    """Runs one task on an idle rig; what was wrong, with the task in each line."""
    rig.begin()
    FAULTS[task.fault].arrange(rig, task)
    hanging = threading.Timer(HANGING, _give_up, [task])
    hanging.daemon = True
    hanging.start()
    try:
        result = rig.provider.run_workflow(graph(task.seed, task.output), rig.updates.append)
    finally:
        hanging.cancel()
        rig.end()
    return [f"{task}: {problem}" for problem in problems(task, result, rig)]


def _give_up(task: Task) -> None:
    """A thread that hangs cannot be ended from outside: the whole run ends, and says where."""
    print(f"HANGING: {task}", file=sys.stderr, flush=True)
    os._exit(3)


def run_tasks(tasks: list[Task]) -> list[str]:
    """Runs tasks on `RIGS` rigs at once; what was wrong."""
    shares = [list(islice(tasks, first, None, RIGS)) for first in range(RIGS)]
    with ThreadPoolExecutor(RIGS) as pool:
        return [line for found in pool.map(_run_share, shares) for line in found]


def _run_share(tasks: list[Task]) -> list[str]:
    with Rig(LIMITS) as rig, Rig(LOST) as impatient:
        return [
            line
            for task in tasks
            for line in run_task(task, impatient if task.fault == "gone" else rig)
        ]


def _quiet() -> None:
    logging.disable(logging.CRITICAL)


def main(arguments: Iterable[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=int, help="the number of one task to run alone")
    options = parser.parse_args(None if arguments is None else list(arguments))
    tasks = plan(options.jobs, options.seed)
    if options.only is not None:
        found = _run_share([tasks[options.only]])
    else:
        started = time.monotonic()
        shares = [tasks[first::PROCESSES] for first in range(PROCESSES)]
        with ProcessPoolExecutor(PROCESSES, initializer=_quiet) as pool:
            found = [line for lines in pool.map(run_tasks, shares) for line in lines]
        logging.disable(logging.NOTSET)
        print(f"{len(tasks):,} jobs in {time.monotonic() - started:.0f} s, seed {options.seed}")
        for fault, number in sorted(Counter(task.fault for task in tasks).items()):
            print(f"  {number:6,}  {fault}")
    for line in found:
        print(line)
    print(f"{len(found)} went wrong")
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
