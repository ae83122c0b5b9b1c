"""Counters of what the embedded server did, for tests and benchmarks.

Each is written by one thread only and may be read by any.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class ServerStats:
    """How often things happened since the server started."""

    posts: int = 0
    """POST /prompt, refused ones included."""
    views: int = 0
    uploads: int = 0
    websockets: int = 0
    previews: int = 0
    nodes_executed: int = 0
    """Nodes run to their end; cached ones don't count."""
