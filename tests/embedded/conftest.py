"""A driver for the embedded server that the fixture `comfyui_server` gives."""

from __future__ import annotations

import pytest

from tests.embedded.driving import Driver


@pytest.fixture
def driver(comfyui_server):
    with Driver(comfyui_server) as started:
        yield started
