"""The low-level methods with several servers, and with what a caller may get wrong."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy
import pytest
import responses
from PIL import Image

from comfyui.client import Limits
from comfyui.embedded import EmbeddedServer, StepGate
from comfyui_provider import ComfyUIProvider
from image_provider import (
    ImageGenerationRequest,
    InvalidRequestError,
    ProviderTimeoutError,
    ProviderUnavailableError,
    WorkflowError,
)
from tests.fakes.proxy import FaultProxy
from tests.job_support import PATIENCE, QUICK, graph, queue_of, server_with

pytestmark = pytest.mark.usefixtures("short_pauses")

STATS = {"system": {"comfyui_version": "0.26.0"}, "devices": []}


@contextmanager
def two_servers(
    **options: Any,
) -> Iterator[tuple[EmbeddedServer, EmbeddedServer, ComfyUIProvider]]:
    """Two servers and a provider for both; each job goes to the one that had the last but one."""
    with (
        server_with(**options) as first,
        server_with(**options) as second,
        ComfyUIProvider(f"{first.address},{second.address}", limits=QUICK) as provider,
    ):
        yield first, second, provider


@contextmanager
def another(provider: ComfyUIProvider) -> Iterator[ComfyUIProvider]:
    """A provider for the same servers that remembers nothing."""
    with ComfyUIProvider(provider.server_address, limits=QUICK) as made:
        yield made


def image_graph(color: int) -> dict[str, Any]:
    return {
        "a": {
            "class_type": "EmptyImage",
            "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": color},
        },
        "b": {"class_type": "SaveImage", "inputs": {"images": ["a", 0], "filename_prefix": "x"}},
    }


def picture(path: Path, color: tuple[int, int, int] = (1, 2, 3)) -> Path:
    Image.new("RGB", (8, 8), color).save(path)
    return path


# Several servers


def test_a_prompt_is_waited_for_and_read_where_it_was_queued():
    with two_servers() as (_, _, provider):
        ids = [provider.queue_prompt(image_graph(n)) for n in range(4)]
        for prompt_id in ids:
            (data,) = provider.wait_for_completion(prompt_id)
            assert data
            history = provider.get_history(prompt_id)[prompt_id]
            (file,) = history["outputs"]["b"]["images"]
            # The servers give the same names: only the one that has the job has these bytes.
            assert provider.get_image(file["filename"]) == data


def test_a_prompt_that_somebody_else_queued_is_found_on_its_server():
    gate = StepGate("3")
    with two_servers(on_step=gate) as (first, second, provider), another(provider) as stranger:
        running = [provider.queue_prompt(graph(n)) for n in range(2)]
        assert sorted(map(len, (queue_of(first)[0], queue_of(second)[0]))) == [1, 1]
        with ThreadPoolExecutor(2) as pool:
            waits = [pool.submit(stranger.wait_for_completion, each, 20) for each in running]
            gate.open()
            assert [len(wait.result(30)) for wait in waits] == [1, 1]
        for prompt_id in running:
            assert prompt_id in stranger.get_history(prompt_id)
        assert stranger.get_history("00000000-0000-4000-8000-000000000000") == {}


def test_a_file_that_only_one_server_has_is_found_there():
    with two_servers() as (_, _, provider), another(provider) as stranger:
        for color in (1, 2, 3):  # the third job is the second one of its server
            result = provider.run_workflow(image_graph(color))
        (image,) = result.images
        assert image["filename"] == "x_00002_.png"
        assert stranger.get_image("x_00002_.png") == image["bytes"]
        with pytest.raises(ProviderUnavailableError, match="no longer has the file"):
            stranger.get_image("gone.png")


def test_a_picture_of_a_generation_is_read_from_the_server_that_made_it():
    with two_servers() as (_, _, provider):
        for color in (1, 2):
            (image,) = provider.run_workflow(image_graph(color)).images
            assert image["filename"] == "x_00001_.png"
            assert provider.get_image("x_00001_.png") == image["bytes"]


def test_an_uploaded_image_is_on_every_server_under_one_name(tmp_path):
    with two_servers() as (first, _, provider):
        with ComfyUIProvider(first.address) as alone:
            alone.upload_image(picture(tmp_path / "s.png", (9, 9, 9)), "s.png")
        name = provider.upload_image(picture(tmp_path / "s.png"))
        assert name == "s (1).png"
        loading = {
            "1": {"class_type": "LoadImage", "inputs": {"image": name}},
            "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0]}},
        }
        loading["2"]["inputs"]["filename_prefix"] = "x"
        pixels = set()
        for _ in range(2):  # one job for each server
            result = provider.run_workflow(loading)
            assert result.success, result.error
            pixels.add(result.to_pil().getpixel((0, 0))[:3])
        assert pixels == {(1, 2, 3)}


def test_a_server_that_does_not_answer_is_left_out(tmp_path):
    with (
        server_with() as server,
        ComfyUIProvider(f"127.0.0.1:1,{server.address}", limits=QUICK) as provider,
    ):
        assert provider.upload_image(picture(tmp_path / "s.png")) == "s.png"
        prompt_id = provider.queue_prompt(image_graph(1))
        assert len(provider.wait_for_completion(prompt_id)) == 1
        assert provider.get_available_models()


def test_eight_jobs_at_once_go_half_to_each_of_two_idle_servers():
    all_there = threading.Barrier(8)

    def run(color):
        first_news = [True]

        def on_progress(update):
            if first_news:
                first_news.clear()
                all_there.wait(PATIENCE)  # no job ends before all have begun

        return provider.run_workflow(image_graph(color), on_progress)

    with two_servers() as (first, second, provider):
        with ThreadPoolExecutor(8) as pool:
            results = list(pool.map(run, range(8)))
        assert all(result.success for result in results)
        hosts = [result.get_image_url().split("/")[2] for result in results]
        assert {host: hosts.count(host) for host in hosts} == {
            first.address: 4,
            second.address: 4,
        }


# A broken answer


def test_an_image_is_asked_for_again_when_its_answer_is_broken():
    with responses.RequestsMock() as http, ComfyUIProvider("a:1", limits=QUICK) as provider:
        http.get("http://a:1/system_stats", json=STATS)
        http.get("http://a:1/view", status=503)
        http.get("http://a:1/view", body=b"the bytes")
        assert provider.get_image("a.png") == b"the bytes"


def test_the_pictures_of_a_prompt_are_asked_for_again_when_they_arrive_broken(tmp_path):
    data = picture(tmp_path / "p.png").read_bytes()
    outputs = {"9": {"images": [{"filename": "a.png", "subfolder": "", "type": "output"}]}}
    entry = {"outputs": outputs, "status": {"status_str": "success", "messages": []}}
    with responses.RequestsMock() as http, ComfyUIProvider("a:1", limits=QUICK) as provider:
        http.get("http://a:1/system_stats", json=STATS)
        http.get("http://a:1/history/p", json={"p": entry})
        http.get("http://a:1/view", status=500)
        http.get("http://a:1/view", body=data[:-9])
        http.get("http://a:1/view", body=data)
        assert provider.wait_for_completion("p") == [data]


# What a caller may get wrong


@pytest.fixture
def provider(comfyui_server):
    with ComfyUIProvider(comfyui_server.address) as made:
        yield made


@pytest.mark.parametrize("server_address", [None, 8188, ["127.0.0.1:8188"]])
def test_an_address_that_is_no_text_is_a_type_error(server_address):
    with pytest.raises(TypeError, match="server_address must be a str"):
        ComfyUIProvider(server_address)


def test_a_prompt_id_that_is_no_text_is_a_type_error(provider):
    for ask in (provider.wait_for_completion, provider.get_history):
        with pytest.raises(TypeError, match="prompt_id must be a str, not NoneType"):
            ask(None)


@pytest.mark.parametrize("value", ["a fox", None, {"prompt": "a fox"}])
def test_what_is_no_request_is_a_type_error_at_once(provider, value):
    for ask in (provider.generate, provider.submit, provider.build_workflow):
        with pytest.raises(TypeError, match="not an ImageGenerationRequest but a"):
            ask(value)


@pytest.mark.parametrize("value", [None, [], "x", {}, {"1": 5}, {"1": {"inputs": {}}}])
def test_what_is_no_graph_is_told_before_anything_is_sent(provider, comfyui_server, value):
    with pytest.raises(WorkflowError):
        provider.queue_prompt(value)
    assert comfyui_server.stats.posts == 0


def test_prompt_without_a_client_id_is_told_to_nobody_and_one_with_keeps_it(provider):
    told = {}
    for given in (None, "mine/1"):
        prompt_id = provider.queue_prompt(image_graph(3), given)
        provider.wait_for_completion(prompt_id)
        told[given] = provider.get_history(prompt_id)[prompt_id]["prompt"][3]["client_id"]
    assert told["mine/1"] == "mine/1"
    assert told[None].startswith(f"{provider.client_id}-")


def test_prompt_whose_answer_is_lost_is_queued_once(comfyui_server):
    with (
        FaultProxy(comfyui_server.address) as proxy,
        ComfyUIProvider(proxy.address, limits=Limits(silence=0.05)) as provider,
    ):
        proxy.cut_reply_to = ("POST /prompt", 0)
        prompt_id = provider.queue_prompt(image_graph(4))
        assert provider.wait_for_completion(prompt_id)
    assert comfyui_server.stats.posts == 1


def test_numbers_of_numpy_are_queued_as_numbers(provider):
    queued = image_graph(0)
    queued["a"]["inputs"] |= {"width": numpy.int64(16), "color": numpy.uint8(7)}
    prompt_id = provider.queue_prompt(queued)
    provider.wait_for_completion(prompt_id)
    inputs = provider.get_history(prompt_id)[prompt_id]["prompt"][2]["a"]["inputs"]
    assert (inputs["width"], inputs["color"]) == (16, 7)
    assert isinstance(queued["a"]["inputs"]["width"], numpy.int64), "the caller's own is left alone"
    assert provider.run_workflow(queued).success


@pytest.mark.parametrize("value", [{1, 2}, b"x", object(), numpy.zeros(3), {(1, 2): 3}])
def test_what_json_cannot_hold_is_told_with_its_place(provider, comfyui_server, value):
    queued = image_graph(0)
    queued["a"]["inputs"]["color"] = value
    with pytest.raises(WorkflowError, match=r"a\.inputs\.color"):
        provider.queue_prompt(queued)
    assert provider.run_workflow(queued).error_type == "workflow"
    assert comfyui_server.stats.posts == 0


def test_an_upload_goes_into_the_folder_before_its_name(provider, tmp_path):
    source = picture(tmp_path / "s.png")
    assert provider.upload_image(source, "sub/x.png") == "sub/x.png"
    assert provider.upload_image(source, "a/b/x.png") == "a/b/x.png"
    assert provider.get_image("x.png", "sub", "input") == source.read_bytes()
    with pytest.raises(InvalidRequestError):
        provider.upload_image(source, "../x.png")


@pytest.mark.parametrize("odd", [None, [], "x", {"1": None, "2": {}, "3": {"class_type": 5}}])
def test_a_search_for_a_node_passes_over_what_is_none(provider, odd):
    assert provider.find_node_by_class_type(odd, "A") is None
    if isinstance(odd, dict):
        assert provider.find_node_by_class_type(odd | {"9": {"class_type": "A"}}, "A") == "9"


def test_the_timeout_of_a_wait_claims_nothing_that_it_cannot_see():
    gate = StepGate("3", step=1)
    with (
        server_with(on_step=gate, step_seconds=30) as server,
        ComfyUIProvider(server.address, limits=Limits(silence=0.05)) as provider,
    ):
        prompt_id = provider.queue_prompt(graph())
        assert gate.wait_reached()
        gate.open()
        with pytest.raises(ProviderTimeoutError, match="while the job was running; it is canc"):
            provider.wait_for_completion(prompt_id, 0.1)


def test_a_source_may_be_the_url_of_a_picture_that_the_server_made(provider, comfyui_server):
    made = provider.run_workflow(image_graph(0xFF0000))
    request = ImageGenerationRequest(
        "fox", source_image_url=made.get_image_url(), strength=0.0, steps=1
    )
    chained = provider.generate(request)
    assert chained.success, chained.error
    assert chained.to_pil().convert("RGB").getpixel((0, 0)) == (255, 0, 0)


def test_no_other_url_of_a_private_network_is_fetched(provider, comfyui_server):
    url = provider.run_workflow(image_graph(1)).get_image_url()
    for other in (
        f"{comfyui_server.url}/system_stats",
        f"{comfyui_server.url}/view?subfolder=",
        url.replace("/view?", "/api/view?"),
        url.replace("127.0.0.1", "127.0.0.2"),
    ):
        result = provider.generate(ImageGenerationRequest("fox", source_image_url=other))
        assert result.error_type == "invalid_request", other
