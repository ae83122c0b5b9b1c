"""The pytest fixture `comfyui_server`: an embedded server for one test.

Registered under the entry point group pytest11. Importing it loads neither aiohttp nor numpy nor
Pillow; the fixture does when it is used.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from comfyui.embedded import EmbeddedServer


@pytest.fixture
def comfyui_server() -> Iterator[EmbeddedServer]:
    """A running EmbeddedServer whose sampler steps take no time."""
    from comfyui.embedded import EmbeddedOptions, EmbeddedServer

    with EmbeddedServer(options=EmbeddedOptions(step_seconds=0)) as server:
        yield server
