"""Where a key could come out and nobody looks: other libraries' logs and errors, pickles, frames.

What is planted here is also looked for by tests/key_watch.py, in every log and exception.
"""

from __future__ import annotations

import base64
import copy
import logging
import pickle
import socket
import traceback
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import requests

from comfyui.address import parse_address
from comfyui.sockets import JobSocket, SocketLost
from comfyui_provider import ComfyUIProvider
from config import SETTINGS, Config
from hosted_providers import OpenAIImagesProvider
from image_generator import ImageGenerator
from image_io.http import HttpSession
from image_provider import (
    ConfigurationError,
    ImageGenerationError,
    ImageGenerationRequest,
    ImageGenerationResult,
    NotConnectedError,
)
from tests.fakes.hosted_apis import HostedApis
from tests.key_watch import planted, tells_a_key, told_by
from tests.web_support import Web, web, whole  # noqa: F401 - a fixture

KEY = planted("of-one")
SIGNED = f"?signature={KEY}&expires=1"
FOX = ImageGenerationRequest("a red fox", width=64, height=64, steps=1, seed=7)


@pytest.fixture
def everything(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level(logging.DEBUG):
        yield caplog


def nobody() -> str:
    """The URL of a port on which nobody listens."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


# Queries of URLs


def test_the_query_of_a_url_is_in_no_log_of_urllib3(comfyui_server, everything) -> None:
    HttpSession("it").get(f"{comfyui_server.url}/system_stats{SIGNED}")
    assert '"GET /system_stats?… HTTP/1.1" 200' in everything.text
    assert not tells_a_key(everything.text)


def test_nor_when_the_connection_breaks_and_is_tried_again(web: Web, everything) -> None:  # noqa: F811
    web.answer = lambda place: b""
    with pytest.raises(ImageGenerationError) as caught:
        HttpSession("it").get(f"http://127.0.0.1:{web.port}/a.png{SIGNED}")
    assert "Retrying" in everything.text and "/a.png?…" in everything.text
    assert not tells_a_key(everything.text + told_by(caught.value))


def test_an_error_is_made_from_one_without_query_and_headers(everything) -> None:
    place = nobody()
    with pytest.raises(NotConnectedError) as caught:
        HttpSession("it", place, {"Authorization": KEY}).get(f"{place}/a.png{SIGNED}")
    cause = caught.value.__cause__
    assert isinstance(cause, requests.ConnectionError) and "/a.png?…" in str(cause)
    assert cause.request is None
    assert not tells_a_key(told_by(caught.value) + everything.text)


def test_other_peoples_requests_are_logged_as_ever(comfyui_server, everything) -> None:
    HttpSession("it").get(f"{comfyui_server.url}/system_stats")
    requests.get(f"{comfyui_server.url}/system_stats?theirs=1", timeout=10)
    assert "/system_stats?theirs=1" in everything.text


# WebSockets


@pytest.mark.parametrize("user", ["", f"me:{planted('word')}@"])
def test_a_refusal_that_repeats_the_credentials_is_not_repeated(user, web: Web, everything) -> None:  # noqa: F811
    web.answer = lambda place: whole(web.asked[-1], "401 Unauthorized", f"X-Echo: {KEY}")
    with pytest.raises(SocketLost) as caught:
        JobSocket(parse_address(f"http://{user}127.0.0.1:{web.port}", KEY), "prefix-1", 10)
    assert b"Authorization: " in web.asked[0]
    shown = "".join(traceback.format_exception(caught.value))
    assert "WebSocketBadStatusException" in shown
    assert not tells_a_key(shown + told_by(caught.value) + everything.text)


# Results


def frames_of(error: BaseException | None) -> int:
    found = 0
    while error is not None:
        found += error.__traceback__ is not None
        error = error.__cause__ or error.__context__
    return found


def test_a_failed_result_keeps_no_frames_with_the_keys_in_them() -> None:
    with ComfyUIProvider(nobody(), api_key=KEY) as provider:
        result = provider.generate(FOX)
    hosted = OpenAIImagesProvider(KEY, base_url=f"{nobody()}/v1").generate(FOX)
    for failed in (result, hosted):
        assert failed.exception is not None and failed.exception.__cause__ is not None
        assert frames_of(failed.exception) == 0


def test_a_chain_that_bites_its_tail_has_an_end() -> None:
    first, second = ImageGenerationError("one"), ImageGenerationError("two")
    first.__context__, second.__context__ = second, first
    assert ImageGenerationResult.failed(first, "it").error == "one"


def test_the_key_of_comfy_org_goes_to_the_server_and_nowhere_else(
    comfyui_server, everything, tmp_path: Path
) -> None:
    with ComfyUIProvider(comfyui_server.address, comfy_org_api_key=KEY) as provider:
        result = provider.generate(FOX)
    assert result.success, result.error
    saved = [path.read_bytes() for path in map(Path, result.save(tmp_path / "out"))]
    assert KEY.encode() not in b"".join([*saved, pickle.dumps(result)])
    assert not tells_a_key(everything.text + repr(result.recipe) + repr(result.metadata))


def test_a_cached_result_has_no_key(everything, tmp_path: Path) -> None:
    with HostedApis() as apis:
        config = Config({**apis.settings, "IMAGE_CACHE_DIR": str(tmp_path / "cache")}, None)
        with ImageGenerator(config) as generator:
            result = generator.generate("a red fox", provider="openai", seed=7)
    assert result.success, result.error
    kept = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert not tells_a_key(b"".join(kept).decode("latin-1") + everything.text)


# Settings

SECRETS = {setting.name for setting in SETTINGS if setting.name.endswith(("_KEY", "_TOKEN"))}


@pytest.mark.parametrize("name", sorted(SECRETS))
def test_a_config_with_a_key_shows_it_nowhere_and_does_not_pickle(name: str) -> None:
    config = Config({name: KEY}, None)
    assert not tells_a_key(repr(config) + str(config.shown(name)))
    with pytest.raises(TypeError, match=r"let the other process build its own"):
        pickle.dumps(config)
    assert copy.deepcopy([config])[0].get(name) == KEY


def test_a_password_in_the_address_counts_as_a_key() -> None:
    address = f"http://me:{planted('word')}@there, http://you:{planted('word')}@here"
    with pytest.raises(TypeError):
        pickle.dumps(Config({"BFL_BASE_URL": f"https://me:{KEY}@there"}, None))
    config = Config({"COMFYUI_SERVER_ADDRESS": address}, None)
    assert not tells_a_key(repr(config) + str(config.shown("COMFYUI_SERVER_ADDRESS")))
    with pytest.raises(TypeError):
        pickle.dumps(config)


def test_a_config_without_keys_pickles() -> None:
    config = Config({"FLUX_HOST": "fal", "COMFYUI_SERVER_ADDRESS": "there:1"}, None)
    copied = pickle.loads(pickle.dumps(config))
    assert copied.get_flux_host() == "fal" and copied.source("FLUX_HOST") == "environment"


@pytest.mark.parametrize(
    "line", [f"OPENAI_API_KEY='{KEY}", f'FAL_KEY="{KEY}', f"OPENAI API KEY={KEY}"]
)
def test_an_odd_line_of_an_env_file_is_not_repeated(line: str, everything) -> None:
    Path(".env").write_text(f"{line}\n", "utf-8")
    with pytest.raises(ConfigurationError, match="line 1") as caught:
        Config({})
    assert not tells_a_key(told_by(caught.value) + everything.text)


@pytest.mark.parametrize("end", ["\r", "\n", "\r\nX-Other: 1", "\0", "é"])
def test_a_key_that_no_header_can_carry_is_refused_and_not_repeated(end: str) -> None:
    key = f"{KEY}{end}x"
    builds = (
        lambda: ComfyUIProvider("there", api_key=key),
        lambda: OpenAIImagesProvider(key),
        lambda: HttpSession("it", "http://there", {"Authorization": key}),
    )
    for build in builds:
        with pytest.raises(ConfigurationError) as caught:
            build()
        assert not tells_a_key(told_by(caught.value))


def test_a_password_is_encoded_whatever_is_in_it() -> None:
    sent = parse_address("http://me:a%0D%0Ab@there").headers["Authorization"]
    assert base64.b64decode(sent.removeprefix("Basic ")) == b"me:a\r\nb"
