"""`python -m comfyui.embedded --port 8188`: run the embedded server until Ctrl-C or SIGTERM."""

from __future__ import annotations

import argparse
import logging
import sys

from comfyui.embedded import serve
from comfyui.embedded.options import port_number


def main() -> int:
    """Parse the arguments and serve; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m comfyui.embedded",
        description="A small server that speaks ComfyUI's protocol without a model or a GPU. "
        "Listens on 127.0.0.1 only.",
    )
    parser.add_argument("--port", type=port_number, default=8188, help="default: %(default)s")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    return serve(arguments.port)


if __name__ == "__main__":
    sys.exit(main())
