"""Credentials that would go over plain http: who is warned, of what, and how often."""

from __future__ import annotations

import logging

import pytest
import responses

from comfyui_provider import ComfyUIProvider
from hosted_providers import OpenAIImagesProvider
from image_io import credentials
from image_io.credentials import is_public
from image_io.http import HttpSession
from tests.key_watch import planted

KEY = planted("in-the-clear")


@pytest.fixture(autouse=True)
def nothing_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(credentials, "_warned", set())


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    logger = "image_io.credentials"
    return [
        record.getMessage()
        for record in caplog.records
        if record.name == logger and record.levelno == logging.WARNING
    ]


@pytest.mark.parametrize(
    "address",
    ["http://gpu.example.org:8188", "gpu.example.org", "http://93.184.215.14", "[2606:4700::1]:80"],
)
def test_a_token_for_a_public_host_over_plain_http_is_warned_of(address, caplog):
    ComfyUIProvider(address, api_key=KEY)
    (told,) = warnings(caplog)
    assert "unencrypted" in told and "use https://" in told
    assert KEY not in caplog.text


def test_a_password_in_the_address_counts_and_is_not_shown(caplog):
    ComfyUIProvider(f"http://me:{KEY}@gpu.example.org/comfy")
    (told,) = warnings(caplog)
    assert "http://gpu.example.org" in told
    assert KEY not in caplog.text and "me:" not in caplog.text


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "localhost", "[::1]:8188", "192.168.1.20", "100.100.1.2", "gpu-box", "gpu.local"]
    + ["gpu.home.arpa", "[fe80::1]:80", "https://gpu.example.org"],
)
def test_a_network_of_ones_own_and_https_are_not_warned_of(address, caplog):
    ComfyUIProvider(address, api_key=KEY)
    assert warnings(caplog) == []


def test_without_credentials_there_is_nothing_to_warn_of(caplog):
    ComfyUIProvider("http://gpu.example.org")
    HttpSession("source image", "http://pictures.example.org")
    assert warnings(caplog) == []


def test_one_address_is_warned_of_once_and_each_of_several(caplog):
    for _ in range(3):
        ComfyUIProvider("http://a.example.org, http://b.example.org", api_key=KEY)
    assert [told.split("http://")[-1].split()[0] for told in warnings(caplog)] == [
        "a.example.org",
        "b.example.org",
    ]


def test_the_key_of_a_hosted_provider_counts(caplog):
    OpenAIImagesProvider(KEY, base_url="http://proxy.example.org/v1")
    (told,) = warnings(caplog)
    assert told.startswith("OpenAI Images: ")


@responses.activate
def test_the_key_of_comfy_org_counts_when_it_is_sent(caplog):
    provider = ComfyUIProvider("http://gpu.example.org", comfy_org_api_key=KEY)
    client = provider._servers.all()[0].client
    responses.post("http://gpu.example.org/prompt", json={"prompt_id": "p"})
    client.post_prompt({}, extra_data={"preview_method": "auto"})
    assert warnings(caplog) == []
    client.post_prompt({}, extra_data={"api_key_comfy_org": KEY})
    assert len(warnings(caplog)) == 1
    assert KEY not in caplog.text


@pytest.mark.parametrize(
    ("host", "public"),
    [
        ("example.org", True),
        ("EXAMPLE.org.", True),
        ("8.8.8.8", True),
        ("10.0.0.1", False),
        ("169.254.169.254", False),
        ("[::1]", False),
        ("fe80::1%eth0", False),
        ("box.lan", False),
        ("box", False),
        ("a.localhost", False),
        ("localhost.example.org", True),
    ],
)
def test_a_public_host_is_told_by_its_name_or_address(host, public):
    assert is_public(host) is public
