"""What was closed can be used again, at every level alike, and leaves nothing once closed."""

from __future__ import annotations

import threading
from contextlib import closing

import pytest

from comfyui_provider import ComfyUIProvider
from config import Config
from image_generator import ImageGenerator
from image_provider import ImageGenerationRequest
from image_provider_router import ImageProviderRouter
from tests.hosted_support import KEY
from tests.test_hosted_provider import local_provider, running, serve_bfl

FOX = ImageGenerationRequest("a fox", width=64, height=64, steps=1)
EMBEDDED = Config({"COMFYUI_SERVER_ADDRESS": "embedded"}, None)
MAKERS = {
    "provider": lambda: ComfyUIProvider("embedded"),
    "router": lambda: ImageProviderRouter(EMBEDDED),
    "generator": lambda: ImageGenerator(EMBEDDED),
}


def ask(made):
    generate = getattr(made, "generate_request", made.generate)
    result = generate(FOX)
    assert result.success, result.error


@pytest.mark.parametrize("level", MAKERS)
def test_a_request_after_close_starts_anew_what_it_needs_and_the_next_close_ends_that(level):
    others = set(threading.enumerate())  # some of them may end meanwhile
    made = MAKERS[level]()
    for _ in range(2):
        with closing(made):
            ask(made)
            assert set(threading.enumerate()) - others
        assert not set(threading.enumerate()) - others
    made.close()


def test_a_hosted_provider_opens_a_connection_anew():
    with running() as server:
        serve_bfl(server, f"{server.url}/picture.png")
        provider = local_provider(server.url)
        for _ in range(2):
            with closing(provider):
                assert provider.generate(ImageGenerationRequest("a fox")).success
    assert [key for path, key in server.seen if path == "/poll"] == [KEY, KEY]
