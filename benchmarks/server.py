"""The ComfyUI server that a benchmark talks to: one that runs, or the embedded one.

The embedded one runs in a process of its own, so that it shares no interpreter lock with what is
measured, and its sampler steps take no time.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def server_at(arguments: list[str]) -> Iterator[str]:
    """host:port of the server named on the command line, or of one that is started for the block.

    Raises SystemExit for more than one argument.
    """
    if len(arguments) > 1:
        raise SystemExit("give the address of one ComfyUI server, or nothing")
    if arguments:
        yield arguments[0].removeprefix("http://").rstrip("/")
        return
    with embedded() as (address, _):
        yield address


@contextmanager
def embedded() -> Iterator[tuple[str, str]]:
    """host:port of an embedded server of its own, and the folder with its files."""
    command = [sys.executable, "-m", "benchmarks.server"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        try:
            address, _, data_dir = child.stdout.readline().strip().partition(" ")
            yield address, data_dir
        finally:
            child.communicate("")  # it ends with its standard input


def main() -> None:
    """Serves until the standard input ends."""
    from comfyui.embedded import EmbeddedOptions, EmbeddedServer  # not in what is measured

    with EmbeddedServer(options=EmbeddedOptions(step_seconds=0)) as server:
        print(server.address, server.data_dir, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
