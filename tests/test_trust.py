"""TLS over real sockets: whose certificates HTTP and WebSockets believe, and what else is refused.

Keys are never sent to a server whose certificate was not believed.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from comfyui.address import parse_address
from comfyui.client import ComfyUIClient, Limits
from comfyui.sockets import SocketLost, SocketPool
from comfyui_provider import ComfyUIProvider
from config import Config
from image_generator import ImageGenerator
from image_io.http import HttpSession
from image_io.trust import VARIABLES
from image_provider import (
    ConfigurationError,
    NotConnectedError,
    ProviderUnavailableError,
)
from tests.key_watch import planted
from tests.tls_support import TlsFront, tls_front

KEY = planted("over-tls")


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def bundle(authority: trustme.CA, tmp_path: Path) -> Path:
    """The PEM file of the authority that the front's certificate is from."""
    path = tmp_path / "my authority.pem"
    authority.cert_pem.write_to_path(path)
    return path


@pytest.fixture
def front(authority: trustme.CA, comfyui_server) -> Iterator[TlsFront]:
    with tls_front(comfyui_server.address, authority) as made:
        yield made


def clients(front: TlsFront, ca_bundle: Path | None = None) -> tuple[ComfyUIClient, SocketPool]:
    path = None if ca_bundle is None else str(ca_bundle)
    address = parse_address(f"https://127.0.0.1:{front.port}", KEY, path)
    http = ComfyUIClient(address, "prefix", Limits(connect=10, read=10))
    return http, http.sockets


def refusals(front: TlsFront, ca_bundle: Path | None = None) -> tuple[NotConnectedError, str]:
    """How HTTP and a WebSocket are refused; neither tells the server anything."""
    http, sockets = clients(front, ca_bundle)
    with pytest.raises(NotConnectedError) as refused:
        http.system_stats()
    with pytest.raises(SocketLost) as lost:
        sockets.acquire()
    http.close()
    assert front.heard == b""
    return refused.value, str(lost.value)


def reach(front: TlsFront, ca_bundle: Path | None = None) -> None:
    """Asks over HTTP and opens a WebSocket, both with the key."""
    http, sockets = clients(front, ca_bundle)
    assert http.system_stats()["system"]
    sockets.acquire().close()
    http.close()
    heard = [head for head in front.heard.split(b"\r\n\r\n") if b" HTTP/1.1" in head]
    assert [head.split()[1].split(b"?")[0] for head in heard] == [b"/system_stats", b"/ws"]
    assert all(f"Authorization: Bearer {KEY}".encode() in head for head in heard)


def test_an_unknown_authority_is_refused_at_once_before_anything_is_sent(
    front: TlsFront, caplog: pytest.LogCaptureFixture
) -> None:
    told, lost = refusals(front)
    assert "Retrying" not in caplog.text
    assert "is not to be trusted" in told.message and "set COMFYUI_CA_BUNDLE" in told.message
    assert "Start ComfyUI" not in told.message
    assert lost.endswith("SSLCertVerificationError")


def test_another_authority_does_not_help(front: TlsFront, tmp_path: Path) -> None:
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(other)
    assert "COMFYUI_CA_BUNDLE" in refusals(front, other)[0].message


def test_an_authority_that_is_set_is_believed(front: TlsFront, bundle: Path) -> None:
    reach(front, bundle)


@pytest.mark.parametrize("variable", VARIABLES)
def test_an_authority_of_the_environment_is_believed_by_both(
    front: TlsFront, bundle: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, str(bundle))
    reach(front)


def test_the_setting_stands_before_the_environment(
    front: TlsFront, bundle: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(other)
    for variable in VARIABLES:
        monkeypatch.setenv(variable, str(other))
    reach(front, bundle)


def test_a_certificate_for_another_host_is_refused(
    authority: trustme.CA, bundle: Path, comfyui_server
) -> None:
    with tls_front(comfyui_server.address, authority, "elsewhere.example") as front:
        told, lost = refusals(front, bundle)
    assert "write the host name that the certificate is for" in told.message
    assert "127.0.0.1" in told.message
    assert lost.endswith("SSLCertVerificationError")


def test_pictures_and_progress_come_over_tls(front: TlsFront, bundle: Path) -> None:
    stages = []
    config = Config(
        {
            "COMFYUI_SERVER_ADDRESS": f"https://127.0.0.1:{front.port}",
            "COMFYUI_CA_BUNDLE": str(bundle),
        }
    )
    with ImageGenerator(config) as generator:
        result = generator.generate(
            "a red fox",
            width=64,
            height=64,
            steps=2,
            on_progress=lambda update: stages.append(update.stage),
        )
    assert result.success, result.error
    assert "running" in stages
    assert b"GET /ws?" in front.heard


def test_an_idle_socket_is_taken_again_over_tls(front: TlsFront, bundle: Path) -> None:
    http, sockets = clients(front, bundle)
    first = sockets.acquire()
    for _ in range(2):
        assert first.receive(10) is not None, "the server greets, and tells its features"
    assert first.receive(0) is None
    sockets.release(first)
    assert sockets.acquire() is first
    first.close()
    http.close()


def test_a_server_without_tls_is_told_from_one_that_is_not_trusted(comfyui_server) -> None:
    with (
        ComfyUIProvider(f"https://{comfyui_server.address}") as provider,
        pytest.raises(ProviderUnavailableError, match="if it speaks no TLS, write http://"),
    ):
        provider.check()


def test_a_hosted_session_believes_what_the_environment_names(
    front: TlsFront, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"https://localhost:{front.port}"
    with pytest.raises(NotConnectedError, match="REQUESTS_CA_BUNDLE"):
        HttpSession("vendor", url, {"Authorization": KEY}).get("/system_stats")
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    assert HttpSession("vendor", url).get("/system_stats").status == 200


# Files that are no bundle


def test_a_setting_that_names_no_bundle_is_told_before_the_first_request() -> None:
    with pytest.raises(ConfigurationError, match=r"COMFYUI_CA_BUNDLE is 'nowhere\.pem'"):
        ImageGenerator(Config({"COMFYUI_CA_BUNDLE": "nowhere.pem"}, None))


@pytest.mark.parametrize("content", [None, b"", b"no certificate", b"\xff\x00"])
@pytest.mark.parametrize("address", ["https://there", "127.0.0.1:8188"])
def test_a_bundle_that_cannot_be_used_is_told_at_once(
    content: bytes | None, address: str, tmp_path: Path
) -> None:
    path = tmp_path / "bundle.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"COMFYUI_CA_BUNDLE is .*bundle\.pem.*PEM file"):
        ComfyUIProvider(address, ca_bundle=path)


@pytest.mark.parametrize("variable", VARIABLES)
def test_a_broken_bundle_of_the_environment_is_told_where_it_counts(
    variable: str, front: TlsFront, comfyui_server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "nowhere.pem")
    with pytest.raises(ConfigurationError, match=f"{variable} is 'nowhere.pem'"):
        HttpSession("vendor", f"https://127.0.0.1:{front.port}").get("/")
    assert HttpSession("it", comfyui_server.url).get("/system_stats").status == 200


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the folder")
def test_a_folder_as_openssl_hashes_it_is_taken(
    front: TlsFront, bundle: Path, tmp_path: Path
) -> None:
    command = ["openssl", "x509", "-noout", "-hash", "-in", str(bundle)]
    told = subprocess.run(command, capture_output=True, check=True, encoding="utf-8")
    folder = tmp_path / "authorities"
    folder.mkdir()
    shutil.copy(bundle, folder / f"{told.stdout.strip()}.0")
    reach(front, folder)
