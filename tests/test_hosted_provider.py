"""What all hosted providers share: keys and where they go, refusals, callbacks, pickling."""

from __future__ import annotations

import copy
import json
import logging
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import requests
import responses

from hosted_providers import FluxProvider, OpenAIImagesProvider
from image_provider import (
    FEATURES,
    ConfigurationError,
    ImageGenerationRequest,
    ImageStyle,
    InvalidRequestError,
)
from tests.fakes.clock import Clock
from tests.hosted_support import KEY, PICTURE, answers, write_png

SUBMIT = "https://api.bfl.ai/v1/flux-2-pro"
HOSTS = ("bfl", "fal", "together", "replicate")


class Server(ThreadingHTTPServer):
    """A vendor on this machine: answers paths from a table and keeps what it was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: dict[str, tuple[int, dict[str, str], bytes]] = {}
        self.seen: list[tuple[str, str | None]] = []

    @property
    def url(self) -> str:
        """The origin, by number."""
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def answer(self) -> None:
        self.rfile.read(int(self.headers.get("content-length") or 0))
        path = self.path.partition("?")[0]
        self.server.seen.append((path, self.headers.get("x-key")))
        status, headers, body = self.server.answers.get(path, (404, {}, b""))
        self.send_response(status)
        for name, value in {**headers, "content-length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = answer  # noqa: N815 - names of http.server

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def running() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def serve_bfl(server: Server, sample: str, polling_url: str | None = None) -> None:
    """Makes the server a BFL whose job is ready at once, with its picture at `sample`."""
    submitted = {"id": "job-1", "polling_url": polling_url or f"{server.url}/poll?id=job-1"}
    ready = {"id": "job-1", "status": "Ready", "result": {"sample": sample, "seed": 1}}
    server.answers["/v1/flux-2-pro"] = (200, {}, json.dumps(submitted).encode())
    server.answers["/poll"] = (200, {}, json.dumps(ready).encode())
    server.answers["/picture.png"] = (200, {}, PICTURE)


def local_provider(base_url: str) -> FluxProvider:
    clock = Clock()
    return FluxProvider(KEY, base_url=base_url, clock=clock, sleep=clock.sleep)


def test_a_configured_host_is_polled_with_the_key_and_gives_results_without_it():
    with running() as server:
        serve_bfl(server, f"{server.url}/picture.png")
        provider = local_provider(server.url)
        result = provider.generate(ImageGenerationRequest("a fox"))
        provider.close()

    assert result.get_image_bytes() == PICTURE
    assert server.seen == [("/v1/flux-2-pro", KEY), ("/poll", KEY), ("/picture.png", None)]


def test_the_key_does_not_follow_a_redirect():
    with running() as server, running() as other:
        serve_bfl(server, f"{server.url}/moved.png")
        server.answers["/moved.png"] = (302, {"location": f"{other.url}/picture.png"}, b"")
        other.answers["/picture.png"] = (200, {}, PICTURE)
        provider = local_provider(server.url)
        result = provider.generate(ImageGenerationRequest("a fox"))
        provider.close()

    assert result.success
    assert other.seen == [("/picture.png", None)]


def test_another_port_of_the_configured_host_does_not_get_the_key():
    with running() as server, running() as other:
        serve_bfl(server, f"{server.url}/picture.png", polling_url=f"{other.url}/poll")
        provider = local_provider(server.url)
        result = provider.generate(ImageGenerationRequest("a fox"))
        provider.close()

    assert result.error_type == "generation_failed"
    assert other.seen == []


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_result_in_a_private_network_is_not_fetched(scheme):
    with running() as server, running() as private:
        serve_bfl(server, f"{scheme}://127.0.0.1:{private.server_port}/picture.png")
        # Configured by another name than the one that the result has.
        base_url = f"http://localhost:{server.server_port}"
        serve_bfl(
            server, f"{scheme}://127.0.0.1:{private.server_port}/picture.png", f"{base_url}/poll"
        )
        provider = local_provider(base_url)
        result = provider.generate(ImageGenerationRequest("a fox"))
        provider.close()

    assert result.error_type == "generation_failed"
    assert private.seen == []


@pytest.mark.parametrize("error", [requests.ReadTimeout(), requests.ConnectionError("reset")])
@responses.activate
def test_a_submission_whose_answer_was_lost_is_not_sent_again(error):
    responses.post(SUBMIT, body=error)

    result = FluxProvider(KEY).generate(ImageGenerationRequest("a fox"))

    assert result.error_type in ("timeout", "unavailable")
    assert len(responses.calls) == 1


@responses.activate
def test_a_callback_that_raises_harms_nothing(caplog):
    caplog.set_level(logging.DEBUG, logger="hosted_providers")
    responses.post(
        "https://api.openai.com/v1/images/generations", json=answers("openai")["success"]
    )

    def broken(update: object) -> None:
        raise RuntimeError("callback")

    result = OpenAIImagesProvider(KEY).generate(ImageGenerationRequest("a fox", on_progress=broken))

    assert result.success
    assert "the progress callback raised" in caplog.text


@responses.activate
def test_neither_key_nor_prompt_is_logged_above_debug(caplog):
    caplog.set_level(logging.DEBUG)
    responses.post(SUBMIT, json={"detail": "bad key"}, status=403)

    result = FluxProvider(KEY).generate(ImageGenerationRequest("a very private prompt", steps=3))

    assert KEY not in caplog.text and KEY not in (result.error or "")
    assert "private prompt" not in caplog.text


@responses.activate
def test_ctrl_c_cancels_the_job_at_the_vendor():
    fal = answers("fal")
    responses.post("https://queue.fal.run/fal-ai/flux-2", json=fal["submitted"])
    responses.get(fal["submitted"]["status_url"], json=fal["in_progress"], status=202)
    cancelled = responses.put(fal["submitted"]["cancel_url"], status=202)

    def interrupted(seconds: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        FluxProvider(KEY, "fal", sleep=interrupted).generate(ImageGenerationRequest("a fox"))

    assert cancelled.call_count == 1


@pytest.mark.parametrize("host", HOSTS)
def test_providers_with_a_key_of_their_own_refuse_to_be_pickled(host):
    provider = FluxProvider(KEY, host)

    with pytest.raises(TypeError, match="keys do not go into a pickle"):
        pickle.dumps(provider)
    with pytest.raises(TypeError):
        copy.deepcopy(provider)


def test_a_provider_that_can_be_rebuilt_is_pickled_without_its_key():
    provider = FluxProvider(KEY, "fal")
    provider.rebuild = (FluxProvider, ("another key", "fal"))

    data = pickle.dumps(provider)

    assert KEY.encode() not in data
    assert pickle.loads(data).provider_name == "flux_fal"


@pytest.mark.parametrize("host", HOSTS)
def test_repr_shows_no_key(host):
    assert repr(FluxProvider(KEY, host, base_url=None)).count(KEY) == 0


@pytest.mark.parametrize(
    ("host", "name", "model"),
    [
        ("bfl", "flux_bfl", "flux-2-pro"),
        ("fal", "flux_fal", "fal-ai/flux-2"),
        ("together", "flux_together", "black-forest-labs/FLUX.2-pro"),
        ("replicate", "flux_replicate", "black-forest-labs/flux-2-pro"),
    ],
)
def test_names_and_default_models(host, name, model):
    provider = FluxProvider(KEY, host=host)

    assert (provider.provider_name, provider.model) == (name, model)
    assert set(provider.get_supported_features()) == set(FEATURES)


def test_openai_name_default_model_and_features():
    provider = OpenAIImagesProvider(KEY)

    assert (provider.provider_name, provider.model) == ("openai", "gpt-image-2")
    assert {name for name, has in provider.get_supported_features().items() if has} == {
        "img2img",
        "inpainting",
    }


def test_features_are_those_of_the_configured_model():
    assert FluxProvider(KEY).get_supported_features()["inpainting"] is True
    assert FluxProvider(KEY, model="flux-2-pro").get_supported_features()["inpainting"] is False


def test_default_parameters_are_request_fields_that_the_model_can_take():
    parameters = OpenAIImagesProvider(KEY).get_default_parameters(ImageStyle.CINEMATIC)

    assert parameters == {"width": 1344, "height": 768}
    ImageGenerationRequest("a fox", **parameters)


def test_a_cached_picture_is_that_of_one_model_at_one_host():
    plain, masked = ImageGenerationRequest("a fox"), {"source_image": "s", "mask_image": "m"}
    own, other = FluxProvider(KEY), FluxProvider(KEY, base_url="https://gateway.example.org")
    identities = [
        own.cache_identity(plain),
        other.cache_identity(plain),
        own.cache_identity(ImageGenerationRequest("a fox", extra=masked)),
        FluxProvider(KEY, model="flux-2-max").cache_identity(plain),
    ]
    assert identities[0] == {"provider": "flux_bfl", "model": "flux-2-pro", "host": None}
    assert identities[1]["host"] == "https://gateway.example.org"
    assert [i["model"] for i in identities[2:]] == ["flux-pro-1.0-fill", "flux-2-max"]


def test_unusable_arguments_are_refused_at_once():
    with pytest.raises(ValueError, match="bfl, fal, together, replicate"):
        FluxProvider(KEY, host="nowhere")
    with pytest.raises(TypeError):
        FluxProvider(None)
    for key in (" ", "abc\ndef", "ключ"):
        with pytest.raises(ConfigurationError, match="BLACK_FOREST_LABS_API_KEY"):
            FluxProvider(key)
    for base_url in (
        "api.example.com",
        "ftp://example.com",
        "http://",
        "http://[::1",
        "http://a:b",
    ):
        with pytest.raises(ConfigurationError, match="base URL"):
            FluxProvider(KEY, base_url=base_url)
    with pytest.raises(TypeError):
        FluxProvider(KEY).generate("a fox")


@pytest.mark.parametrize(
    ("host", "options", "part"),
    [
        ("bfl", {"mask_image_url": "MASK"}, "source_image_url"),
        (
            "bfl",
            {"source_image_url": "S", "mask_image_url": "S", "model": "flux-2-pro"},
            "flux-pro-1.0-fill",
        ),
        ("bfl", {"source_image_url": "S", "model": "flux-pro-1.0-fill"}, "mask"),
        ("bfl", {"model": "flux-pro-1.0-fill"}, "source_image_url"),
        (
            "replicate",
            {"source_image_url": "S", "model": "black-forest-labs/flux-schnell"},
            "image-to-image",
        ),
        ("bfl", {"model": "../v1/credits"}, "model id"),
        ("replicate", {"model": "owner/../../x"}, "model id"),
        ("bfl", {"model": "flux?x=1"}, "model id"),
    ],
)
@responses.activate
def test_requests_that_make_no_sense_are_refused_before_anything_is_sent(
    host, options, part, tmp_path
):
    source = write_png(tmp_path, "source.png")
    paths = {"S": source, "MASK": source}
    given = {name: paths.get(value, value) for name, value in options.items()}

    result = FluxProvider(KEY, host).generate(ImageGenerationRequest("a fox", **given))

    assert result.error_type == "invalid_request"
    assert part in (result.error or "")
    assert isinstance(result.exception, InvalidRequestError)
    assert len(responses.calls) == 0


@responses.activate
def test_a_source_without_pixels_to_read_is_an_invalid_request(tmp_path):
    (tmp_path / "text.png").write_text("no picture", encoding="utf-8")

    result = FluxProvider(KEY).generate(
        ImageGenerationRequest("a fox", source_image_url=str(tmp_path / "text.png"))
    )

    assert (result.error_type, result.provider) == ("invalid_request", "flux_bfl")


@responses.activate
def test_a_fill_model_takes_the_transparent_part_of_the_source_as_mask(tmp_path):
    responses.post("https://api.bfl.ai/v1/flux-pro-1.0-fill", status=500)
    source = write_png(tmp_path, "source.png", color=(0, 0, 0, 0), mode="RGBA")

    FluxProvider(KEY, model="flux-pro-1.0-fill").generate(
        ImageGenerationRequest("a fox", source_image_url=source)
    )

    assert json.loads(responses.calls[0].request.body)["mask"]


@responses.activate
def test_an_empty_negative_prompt_is_nothing_to_report():
    responses.post(SUBMIT, status=500)

    result = FluxProvider(KEY).generate(ImageGenerationRequest("a fox", negative_prompt=""))

    assert result.metadata == {"ignored": []}


@responses.activate
def test_what_a_template_filled_in_is_ignored_without_a_warning(caplog):
    responses.post(SUBMIT, status=500)
    request = ImageGenerationRequest(
        "a fox", negative_prompt="blur", steps=9, from_template=frozenset({"negative_prompt"})
    )

    result = FluxProvider(KEY).generate(request)

    warned = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(warned) == 1 and "steps" in warned[0]
    assert len((result.metadata or {})["ignored"]) == 2


@responses.activate
def test_recipe_holds_what_makes_the_picture_again():
    responses.post(
        "https://api.openai.com/v1/images/generations", json=answers("openai")["success"]
    )

    result = OpenAIImagesProvider(KEY).generate(
        ImageGenerationRequest("a fox", style=ImageStyle.PRODUCT, on_progress=print)
    )

    assert result.recipe == {
        "request": {
            "prompt": "a fox",
            "style": "product",
            "num_images": 1,
        },
        "seeds": [None],
        "provider": "openai",
        "model": "gpt-image-2",
        "workflow": None,
    }


def test_importing_the_package_loads_neither_http_nor_pillow():
    code = (
        "import sys, hosted_providers\n"
        "print(sorted({'requests', 'PIL', 'urllib3'} & {*sys.modules}))"
    )
    root = Path(__file__).resolve().parent.parent
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
    )

    assert done.stdout.strip() == "[]"
