"""Every parser of foreign bytes, fed with inputs that are nearly right, for as long as you say.

    python3 dev.py run tests.fuzz --seconds 600 -o crashes
    python3 dev.py run tests.fuzz --target settings --input crashes/settings-1.bin

An input that ends in anything but a value or a documented error is a crash: it is told with its
traceback and, with `-o`, written to that folder; nothing else is. The same seed makes the same
inputs. `--atheris` has coverage guide them, for one target, where Atheris is installed.
"""

from __future__ import annotations

import argparse
import logging
import os
import random
import sys
import threading
import time
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # Atheris must see these imports happen
    from tests.fuzzing.target import Crash, Target

SLICE = 1.0
"""Seconds for one target before it is the next one's turn."""
SLOW = 5.0
"""Seconds after which an input is a crash of its own."""
HANGING = 60.0
"""Seconds after which the whole run ends."""
_RECIPE_BYTES = 64
_OWN = ("comfyui", "hosted_providers", "image_io", "image_config", "routing_rules", "style_files")


@dataclass
class Record:
    """What came of one target."""

    target: Target
    folder: Path | None
    draw: random.Random
    runs: int = 0
    crashes: dict[str, int] = field(default_factory=dict)

    def run(self, recipe: bytes, watch: Watch) -> None:
        """One input; a crash of a new kind is made smaller, told and written."""
        crash, data = self._crash_of(recipe, watch)
        self.runs += 1
        if crash is None:
            return
        self.crashes[crash.place] = self.crashes.get(crash.place, 0) + 1
        if self.crashes[crash.place] == 1:
            if not crash.place.startswith("slow"):
                recipe = self._smaller(recipe, crash.place, watch)
                crash, data = self._crash_of(recipe, watch)
            assert crash is not None
            print(f"\n{self.target.name}: {crash.place}\n{crash.what}", flush=True)
            self._write(data)

    def _crash_of(self, recipe: bytes, watch: Watch) -> tuple[Crash | None, bytes]:
        from tests.fuzzing.target import Crash

        data = self.target.input_of(recipe)
        started = watch.begin(self, data)
        crash = self.target.crash_of(data)
        seconds = watch.end() - started
        if crash is None and seconds > SLOW:
            crash = Crash("slow", f"{seconds:.1f} s for an input of {len(data):,} bytes")
        return crash, data

    def _smaller(self, recipe: bytes, place: str, watch: Watch) -> bytes:
        """A recipe with fewer choices that ends at the same place."""
        recipe = recipe.rstrip(b"\0")
        for at in range(len(recipe) - 1, -1, -1):
            for tried in (recipe[:at], recipe[:at] + b"\0" + recipe[at + 1 :]):
                crash, _ = self._crash_of(tried, watch)
                if crash is not None and crash.place == place:
                    recipe = tried
                    break
        return recipe

    def _write(self, data: bytes) -> None:
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
            path = self.folder / f"{self.target.name}-{len(self.crashes)}.bin"
            path.write_bytes(data)
            print(f"written to {path}", flush=True)

    def give_up(self, data: bytes) -> None:
        """A parser that hangs cannot be ended from outside: the whole run ends, and says where."""
        print(f"\n{self.target.name} HANGS on an input of {len(data):,} bytes", flush=True)
        self.crashes["hanging"] = 1
        self._write(data)
        os._exit(3)


class Watch:
    """A thread that looks whether an input takes too long."""

    def __init__(self) -> None:
        self._running: tuple[float, Record, bytes] | None = None
        threading.Thread(target=self._look, daemon=True).start()

    def begin(self, record: Record, data: bytes) -> float:
        """Seconds on the clock of `end`."""
        now = time.monotonic()
        self._running = now, record, data
        return now

    def end(self) -> float:
        """The seconds at which it was over."""
        self._running = None
        return time.monotonic()

    def _look(self) -> None:
        while True:
            time.sleep(1)
            running = self._running
            if running is not None and time.monotonic() - running[0] > HANGING:
                running[1].give_up(running[2])


def fuzz(targets: Iterable[Target], seconds: float, seed: int, folder: Path | None) -> list[Record]:
    """Runs the targets in turn until the time is over, each once at least."""
    records = [Record(target, folder, random.Random(f"{seed} {target.name}")) for target in targets]
    watch, end = Watch(), time.monotonic() + seconds
    share = min(SLICE, seconds / len(records))
    while True:
        for record in records:
            slice_end = time.monotonic() + share
            while True:
                record.run(record.draw.randbytes(_RECIPE_BYTES), watch)
                if time.monotonic() >= slice_end:
                    break
        if time.monotonic() >= end:
            return records


def fuzz_guided(target: Target, atheris: Any, seconds: float, folder: Path | None) -> None:
    """Has Atheris choose the recipes of one target; does not come back."""
    record, watch = Record(target, folder, random.Random(0)), Watch()
    limits = [f"-max_total_time={seconds:.0f}", f"-max_len={4 * _RECIPE_BYTES}", "-timeout=60"]
    # libFuzzer writes what it finds, too: a process that dies is beyond us.
    artifacts = os.devnull
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        artifacts = f"{folder}{os.sep}"
    atheris.Setup(
        ["fuzz", *limits, "-verbosity=0", "-print_final_stats=1", f"-artifact_prefix={artifacts}"],
        lambda recipe: record.run(recipe, watch),
    )
    atheris.Fuzz()


def main(arguments: Iterable[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--target", action="append", help="one of them; again for more")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("-o", "--output", type=Path, help="folder for the inputs that crash")
    parser.add_argument("--input", type=Path, help="run one file, for one --target")
    parser.add_argument("--atheris", action="store_true", help="coverage-guided, for one --target")
    options = parser.parse_args(None if arguments is None else list(arguments))
    if (options.atheris or options.input) and len(options.target or ()) != 1:
        parser.error("--atheris and --input are for one target: name it with --target")
    if options.atheris:
        try:
            import atheris
        except ImportError:
            parser.error("Atheris is not installed here; `pip install atheris` puts it beside this")
        with atheris.instrument_imports(include=list(_OWN)):
            from tests.fuzzing.targets import TARGETS
    else:
        from tests.fuzzing.targets import TARGETS
    unknown = set(options.target or ()) - set(TARGETS)
    if unknown:
        parser.error(f"there is no target {', '.join(unknown)}; there are: {', '.join(TARGETS)}")
    chosen = [TARGETS[name] for name in options.target or TARGETS]
    warnings.simplefilter("ignore")
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        if options.atheris:
            fuzz_guided(chosen[0], atheris, options.seconds, options.output)
        if options.input:
            return _repeat(chosen[0], options.input.read_bytes())
        records = fuzz(chosen, options.seconds, options.seed, options.output)
    finally:
        logging.disable(disabled)
    return _tell(records, options.seed)


def _repeat(target: Target, data: bytes) -> int:
    crash = target.crash_of(data)
    print("ends as it may" if crash is None else f"{crash.place}\n{crash.what}")
    return 1 if crash else 0


def _tell(records: list[Record], seed: int) -> int:
    print(f"\n{sum(record.runs for record in records):,} runs, seed {seed}")
    for record in records:
        crashes = sum(record.crashes.values())
        told = f" of {len(record.crashes)} kinds" if crashes else ""
        print(f"  {record.runs:9,}  {record.target.name}: {crashes} crashes{told}")
    kinds = sum(len(record.crashes) for record in records)
    print(f"{kinds} kinds of crashes")
    return 1 if kinds else 0


if __name__ == "__main__":
    sys.exit(main())
