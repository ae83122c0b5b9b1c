"""How much memory a large picture costs, beside the size of its file.

    python -m benchmarks.memory [MEGABYTES]

Has the embedded server serve a PNG of noise (50 MB) as what a job made, fetches it by
`run_workflow`, and prints how far Python's own allocations rose on the way, and the memory of the
whole process, as multiples of the file. Each is measured in a fresh process, after a small picture.
"""

from __future__ import annotations

import os
import re
import shutil
import struct
import subprocess
import sys
import tracemalloc
import zlib
from pathlib import Path

from benchmarks.floor import trivial_graph
from benchmarks.server import embedded
from comfyui_provider import ComfyUIProvider

MEGABYTE = 1_000_000
SIDE = 4096
TURNS = 3
_PROCESS_STATUS = Path("/proc/self/status")  # Linux alone has it
WAYS = {"allocated": "Python's allocations"}
if _PROCESS_STATUS.exists():
    WAYS["resident"] = "memory of the process"


def noise_png(size: int) -> bytes:
    """A PNG of about so many bytes: rows of random pixels, which nothing compresses."""
    row = 1 + 3 * SIDE
    rows = max(1, size // row)
    pixels = bytearray(os.urandom(row * rows))
    pixels[::row] = bytes(rows)  # each row starts with its filter type: none
    header = struct.pack(">IIBBBBB", SIDE, rows, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(pixels, 0)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def measure(way: str, address: str, noise: Path) -> None:
    """Makes a small picture, then fetches the noise in its place; prints how far the peak rose."""
    graph = trivial_graph()
    with ComfyUIProvider(address) as provider:
        name = provider.run_workflow(graph).images[0]["filename"]
        # The server has the result in its cache, and serves the file as it is now.
        shutil.copyfile(noise, noise.with_name("output") / name)
        if way == "allocated":
            tracemalloc.start()
        before = _peak(way)
        result = provider.run_workflow(graph)
        rise = _peak(way) - before
    result.raise_for_error()
    assert len(result.images[0]["bytes"]) == noise.stat().st_size, "another picture came"
    assert "PIL" not in sys.modules, "pixels were decoded"
    print(rise)


def _peak(way: str) -> int:
    """The most bytes that were in use at any time."""
    if way == "allocated":
        return tracemalloc.get_traced_memory()[1]
    # The high-water mark of getrusage begins with that of the parent process.
    (line,) = re.findall(r"VmHWM:\s+(\d+) kB", _PROCESS_STATUS.read_text("ascii"))
    return int(line) * 1024


def main(arguments: list[str]) -> None:
    size = int(arguments[0] if arguments else 50) * MEGABYTE
    with embedded() as (address, folder):
        noise = Path(folder, "noise.png")
        noise.write_bytes(noise_png(size))
        print(f"a PNG of {noise.stat().st_size / MEGABYTE:.1f} MB")
        for way, text in WAYS.items():
            command = [sys.executable, "-m", "benchmarks.memory", way, address, str(noise)]
            rises = [int(subprocess.check_output(command)) for _ in range(TURNS)]
            ratios = [f"{rise / noise.stat().st_size:.2f}x" for rise in rises]
            print(f"{text:<24}", *ratios)


if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1] in WAYS:
        measure(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
    else:
        main(sys.argv[1:])
