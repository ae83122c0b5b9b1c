"""A small server that speaks ComfyUI's protocol, for trying out and testing without a GPU.

It behaves as ComfyUI 0.26.0, paints procedural pictures instead of running a model, and says
so in its log, its /system_stats and on its pictures. Loopback only. It knows nothing of the
provider or the client in this project; whatever speaks to ComfyUI can speak to it.

    with EmbeddedServer(options=EmbeddedOptions(step_seconds=0)) as server:
        requests.get(server.url + "/system_stats")
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from comfyui.embedded.options import EmbeddedOptions, FailNode, StepEvent, StepGate

if TYPE_CHECKING:
    from comfyui.embedded.server import EmbeddedServer, PortInUseError, serve

__all__ = [
    "EmbeddedOptions",
    "EmbeddedServer",
    "FailNode",
    "PortInUseError",
    "StepEvent",
    "StepGate",
    "serve",
]


def __getattr__(name: str) -> Any:
    """Load the server itself, and with it aiohttp, only when it is asked for."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        from comfyui.embedded import server
    except ModuleNotFoundError as error:
        raise ImportError(
            f"the embedded server needs {error.name}, which is not installed: run "
            f'`pip install {error.name}`, or install this project with `pip install ".[embedded]"`'
        ) from error
    return getattr(server, name)
