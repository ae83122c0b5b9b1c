"""What users write as a server's address, what becomes of it, and what is never repeated."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfyui.address import parse_address, parse_addresses
from image_provider import ConfigurationError


@pytest.mark.parametrize(
    ("written", "base_url"),
    [
        ("localhost", "http://localhost:8188"),
        (" 127.0.0.1:8188 ", "http://127.0.0.1:8188"),
        ("gpu-box:9000", "http://gpu-box:9000"),
        ("gpu-box:9000/comfy/", "http://gpu-box:9000/comfy"),
        ("http://gpu-box", "http://gpu-box"),
        ("https://example.org/a/b/", "https://example.org/a/b"),
        ("HTTPS://Example.org", "https://example.org"),
        ("::1", "http://[::1]:8188"),
        ("[::1]", "http://[::1]:8188"),
        ("[::1]:9000", "http://[::1]:9000"),
        ("http://[fe80::1]/x", "http://[fe80::1]/x"),
        ("0.0.0.0:8188", "http://127.0.0.1:8188"),
        ("[::]:8188", "http://[::1]:8188"),
        ("user:secret@gpu-box:9000", "http://gpu-box:9000"),
    ],
)
def test_address_becomes_a_base_url(written, base_url):
    assert parse_address(written).base_url == base_url


@pytest.mark.parametrize(
    ("written", "url"),
    [
        ("gpu-box", "ws://gpu-box:8188/ws?clientId=a%2Fb%26c"),
        ("https://example.org/comfy", "wss://example.org/comfy/ws?clientId=a%2Fb%26c"),
        ("http://u:p@[::1]:9000", "ws://[::1]:9000/ws?clientId=a%2Fb%26c"),
    ],
)
def test_websocket_url_has_the_prefix_and_the_quoted_client_id(written, url):
    assert parse_address(written).websocket_url("a/b&c") == url


def test_view_url_has_no_credentials_and_quotes_names():
    url = parse_address("http://u:secret@h:1/x").view_url("a b&c.png", "s/t", "temp")
    assert url == "http://h:1/x/view?filename=a+b%26c.png&subfolder=s%2Ft&type=temp"


def test_file_is_read_from_a_view_url_of_the_same_server_alone():
    address = parse_address("http://u:secret@h:1/x")
    file = ("a b&c.png", "s/t", "temp")
    assert address.file_of(address.view_url(*file)) == file
    assert address.file_of("http://h:1/x/view?filename=a.png") == ("a.png", "", "output")
    for url in (
        "http://h:1/x/view?subfolder=s",
        "http://h:1/x/viewer?filename=a.png",
        "http://h:1/x/queue?filename=a.png",
        "http://h:1/view?filename=a.png",
        "http://h:10/x/view?filename=a.png",
        "https://h:1/x/view?filename=a.png",
        "http://u@h:1/x/view?filename=a.png",
    ):
        assert address.file_of(url) is None


@pytest.mark.parametrize(
    ("written", "shown"),
    [("127.0.0.1:8188", "127.0.0.1:8188"), ("https://u:p@h/x", "https://h/x")],
)
def test_address_is_shown_without_credentials(written, shown):
    assert str(parse_address(written)) == shown


@pytest.mark.parametrize(
    ("written", "is_loopback"),
    [("localhost", True), ("127.0.0.1:1", True), ("[::1]:1", True), ("http://gpu-box", False)],
)
def test_loopback_is_told_from_other_hosts(written, is_loopback):
    assert parse_address(written).is_loopback is is_loopback


@pytest.mark.parametrize(
    ("written", "token", "header"),
    [
        ("h", None, None),
        ("h", "", None),
        ("h", "key", "Bearer key"),
        ("http://user:p%40ss%2F@h", None, "Basic user:p@ss/"),
        ("http://user:pass@h", "key", "Basic user:pass"),
        ("http://:pass@h", "key", "Basic :pass"),
        ("http://user@h", None, "Basic user:"),
        ("http://user:p@ss@h", None, "Basic user:p@ss"),
    ],
)
def test_credentials_become_one_header(written, token, header):
    sent = parse_address(written, token).headers.get("Authorization")
    if sent is not None and sent.startswith("Basic "):
        sent = f"Basic {base64.b64decode(sent.removeprefix('Basic ')).decode()}"
    assert sent == header


def test_repr_has_no_credentials():
    assert "Authorization" not in repr(parse_address("http://user:secret@h", "key"))


@pytest.mark.parametrize(
    ("written", "why"),
    [
        ("", "there is no host"),
        ("http://", "there is no host"),
        (":8188", "there is no host"),
        ("ftp://h", "neither http:// nor https://"),
        ("h:port", "cannot be read"),
        ("h:99999", "cannot be read"),
        ("localhost:1:2", "cannot be read"),
        ("http://[::1", "cannot be read"),
        ("[::1]:@188]:8188", "cannot be read"),
        ("http://user:\udce2@h", "no UTF-8 text"),
        ("my host", "a blank"),
        ("h:81\n88", "a blank"),
        ("http://h/?token=x", "before any ?"),
        ("http://h/#x", "before any ?"),
    ],
)
def test_unusable_address_says_why_and_what_to_write(written, why):
    with pytest.raises(ConfigurationError, match="no server address") as caught:
        parse_address(written)
    assert why in str(caught.value)
    assert "127.0.0.1:8188" in str(caught.value)
    assert "COMFYUI_SERVER_ADDRESS" in str(caught.value)


@pytest.mark.parametrize(
    "written",
    [
        "http://user:secret@h:port",
        "http://user:se,secret@h",
        "http://user:a/secret@h",
        "http://user:1/secret@h",
        "http://user:a?secret@h",
        "http://user:1?secret@h",
        "http://user:a#secret@h",
        "user:secret@h h",
        "http://h/?token=secret",
        "ftp://user:secret@h",
        "http://user:secret\udce2@h",
        "secret:x://y@h",
    ],
)
def test_unusable_address_never_repeats_what_may_be_a_password(written):
    with pytest.raises(ConfigurationError) as caught:
        parse_addresses(written, token="secret")
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_list_of_servers_is_split_at_commas():
    servers = parse_addresses("a, http://u:p@b:1/x ,, [::1]:2", token="key")
    assert [server.base_url for server in servers] == [
        "http://a:8188",
        "http://b:1/x",
        "http://[::1]:2",
    ]
    schemes = [server.headers["Authorization"].split()[0] for server in servers]
    assert schemes == ["Bearer", "Basic", "Bearer"]


@pytest.mark.parametrize("written", ["", " , ,"])
def test_empty_list_is_an_error(written):
    with pytest.raises(ConfigurationError, match="empty"):
        parse_addresses(written)


@given(st.text(max_size=30) | st.from_regex(r"(https?://)?[\[\]:@/?#a1.,%]*", fullmatch=True))
def test_any_text_is_an_address_or_a_configuration_error(written):
    try:
        address = parse_address(written)
    except ConfigurationError:
        return
    assert address.base_url.startswith(("http://", "https://"))
    assert "@" not in address.base_url
