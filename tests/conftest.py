"""What every test gets: no settings, files or network of the machine that runs it.

Owns the isolation (environment, current folder, sockets), the rule for opt-in tests and the
embedded server's fixture. Knows nothing of what is tested.
"""

from __future__ import annotations

import gc
import ipaddress
import os
import socket
from pathlib import Path

import pytest
from hypothesis import settings

# Imported, not registered as a plugin: an installed copy has registered it already.
from comfyui.embedded.pytest_plugin import comfyui_server  # noqa: F401
from config import SETTINGS
from image_io.trust import VARIABLES as CA_VARIABLES
from tests.key_watch import KeyWatch, planted

_PLANTED = ("COMFYUI_API_KEY", "COMFY_ORG_API_KEY", "A_STRANGERS_SECRET")
_PROXY_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
_NAMES = {*(setting.name for setting in SETTINGS), *_PROXY_VARIABLES, *CA_VARIABLES}
_FOREIGN = _NAMES | {name.lower() for name in _NAMES}

# The fuzz targets look deeper, for as long as somebody says.
settings.register_profile("suite", max_examples=50)
settings.load_profile("suite")


def pytest_configure(config: pytest.Config) -> None:
    """Whatever a test plants as a key must be told nowhere, in the whole run."""
    config.pluginmanager.register(KeyWatch(), "key-watch")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip what was not asked for: live tests without a server, packaging without `-m`."""
    skips = {}
    if not os.environ.get("COMFYUI_LIVE_SERVER"):
        skips["live"] = pytest.mark.skip(reason="COMFYUI_LIVE_SERVER is not set")
    if "packaging" not in config.getoption("markexpr"):
        skips["packaging"] = pytest.mark.skip(reason="opt-in: -m packaging")
    for item in items:
        for marker, skip in skips.items():
            if item.get_closest_marker(marker):
                item.add_marker(skip)


def pytest_collection_finish() -> None:
    """What was collected stays to the end, so nobody looks through it for garbage again.

    Looking less often spares the suite another tenth of its time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


@pytest.fixture
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests over real sockets: what need not be waited for takes milliseconds.

    A server that is busy is asked again at once, and a cancelled job notices it at once.
    """
    monkeypatch.setattr("image_io.retrying.FIRST_PAUSE", 0.005)
    monkeypatch.setattr("comfyui.feed.CANCEL_LATENCY", 0.02)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting, proxy or certificate of the machine reaches a test."""
    for name in _FOREIGN.intersection(os.environ):
        monkeypatch.delenv(name)
    for name in _PLANTED:
        monkeypatch.setenv(name, planted(f"of-{name}"))


@pytest.fixture(autouse=True)
def empty_current_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Tests run in an empty folder: no .env, cache or outputs of a developer."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def is_local(address: object) -> bool:
    """True for what stays on this machine: loopback, and sockets that are files."""
    if not isinstance(address, tuple):
        return True
    host = str(address[0])
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return host == "localhost"


@pytest.fixture(autouse=True)
def no_outside_sockets(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Connections leave this machine in no test but the live ones."""
    if request.node.get_closest_marker("live"):
        return
    connect = socket.socket.connect

    def guarded_connect(self: socket.socket, address: object) -> None:
        if not is_local(address):
            self.close()
            # No OSError: code under test that handles those must not hide it.
            raise RuntimeError(f"a test tried to connect to {address}; only loopback is allowed")
        connect(self, address)  # type: ignore[arg-type]

    monkeypatch.setattr(socket.socket, "connect", guarded_connect)
