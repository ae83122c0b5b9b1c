"""How long importing the library takes, beside `import requests`.

    python -m benchmarks.imports

Each import happens in a fresh interpreter, by turns, so that a busy machine slows them alike; the
medians count. Modules have been compiled before. "with requests" is what an import adds in a
program that has loaded requests already, as a multiple of loading requests.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile

TURNS = 21
STATEMENTS = {
    "import requests": ("", "import requests"),
    "import image_generator": ("", "import image_generator"),
    "import comfyui_provider": ("", "import comfyui_provider"),
    "import comfyui_provider, with requests": ("import requests", "import comfyui_provider"),
}


def seconds(before: str, statement: str, environment: dict[str, str]) -> float:
    """Seconds that a statement takes in a fresh interpreter, once `before` has been executed."""
    script = (
        f"import time\n{before}\nstart = time.perf_counter()\n{statement}\n"
        "print(time.perf_counter() - start)"
    )
    return float(subprocess.check_output([sys.executable, "-c", script], env=environment))


def main() -> None:
    times: dict[str, list[float]] = {name: [] for name in STATEMENTS}
    with tempfile.TemporaryDirectory() as folder:
        # Compiled modules are kept whatever the environment says of that.
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": folder, "PYTHONDONTWRITEBYTECODE": ""}
        for _ in range(TURNS + 1):
            for name, (before, statement) in STATEMENTS.items():
                times[name].append(seconds(before, statement, environment))
    floor = times["import requests"][1:]  # the first turn compiles
    for name, all_seconds in times.items():
        ratios = sorted(own / least for own, least in zip(all_seconds[1:], floor, strict=True))
        quarter = len(ratios) // 4
        own = statistics.median(all_seconds[1:])
        print(
            f"{name:<40} {own * 1e3:6.1f} ms   {own / statistics.median(floor):.2f}"
            f"   (half of them {ratios[quarter]:.2f} to {ratios[-1 - quarter]:.2f})"
        )


if __name__ == "__main__":
    main()
