"""Where a request runs: on the server that has what it needs, and on another when that one failed.

Real servers with different models, and proxies in front of them for what goes wrong on the way.
"""

from __future__ import annotations

import json
import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import requests
from PIL import Image

from comfyui.client import Limits
from comfyui.embedded import EmbeddedServer, StepGate
from comfyui.embedded.options import DEFAULT_MODELS
from comfyui_provider import ComfyUIProvider
from image_provider import (
    ImageGenerationRequest,
    ImageGenerationResult,
    ProviderUnavailableError,
    WorkflowError,
)
from tests.fakes.proxy import FaultProxy, http_answer
from tests.job_support import PATIENCE, graph, server_with

pytestmark = pytest.mark.usefixtures("short_pauses")

FLUX = {**DEFAULT_MODELS, "checkpoints": ()}
CHECKPOINTS = {"checkpoints": ("v1-5-pruned-emaonly.safetensors",)}
NOTHING: dict[str, tuple[str, ...]] = {}
LIMITS = Limits(connect=1, read=5, silence=0.02, unreachable=0.5)
RED, BLUE = 0xFF0000, 0x0000FF


class Rig(NamedTuple):
    provider: ComfyUIProvider
    servers: list[EmbeddedServer]
    proxies: list[FaultProxy]

    def number_of(self, result: ImageGenerationResult, index: int = 0) -> int:
        """Which server a picture is of."""
        assert result.images, result.error
        host = str(result.get_image_url(index)).split("/")[2]
        return [proxy.address for proxy in self.proxies].index(host)

    def posts(self) -> list[int]:
        """How often each server was sent a job."""
        return [server.stats.posts for server in self.servers]


@contextmanager
def rig_with(*models: Any, limits: Limits = LIMITS, **options: Any) -> Iterator[Rig]:
    """A provider for as many servers as there are lists of models, each behind a proxy."""
    with ExitStack() as stack:
        enter = stack.enter_context
        servers = [enter(server_with(models=each, **options)) for each in models]
        proxies = [enter(FaultProxy(server.address)) for server in servers]
        addresses = ",".join(proxy.address for proxy in proxies)
        yield Rig(enter(ComfyUIProvider(addresses, limits=limits)), servers, proxies)


def request(**fields: Any) -> ImageGenerationRequest:
    return ImageGenerationRequest(
        "a fox", **{"width": 64, "height": 64, "steps": 1, "seed": 5, **fields}
    )


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


def plain(color: int = RED, **nodes: Any) -> dict[str, Any]:
    """A picture of one colour; needs no model."""
    return {
        "a": node("EmptyImage", width=8, height=8, batch_size=1, color=color),
        "b": node("SaveImage", images=["a", 0], filename_prefix="x"),
        **nodes,
    }


def inverted() -> dict[str, Any]:
    """A picture of one colour by way of a node that can be done without."""
    return plain(
        b=node("ImageInvert", image=["a", 0]),
        c=node("SaveImage", images=["b", 0], filename_prefix="x"),
    )


def loading(name: str) -> dict[str, Any]:
    return {
        "1": node("LoadImage", image=name),
        "2": node("SaveImage", images=["1", 0], filename_prefix="loaded"),
    }


def picture(path: Path, color: int = RED) -> Path:
    Image.new("RGB", (64, 64), (color >> 16, color >> 8 & 255, color & 255)).save(path)
    return path


def color_of(result: ImageGenerationResult) -> int:
    assert result.success, result.error
    red, green, blue = result.to_pil().convert("RGB").getpixel((0, 0))  # type: ignore[misc]
    return red << 16 | green << 8 | blue


def lose_class(rig: Rig, number: int, name: str) -> None:
    """One of the servers says that it lacks a class."""
    info = requests.get(f"{rig.servers[number].url}/object_info", timeout=PATIENCE).json()
    del info[name]
    answer = http_answer(200, json.dumps(info).encode(), "Content-Type: application/json")
    rig.proxies[number].answer("GET /object_info", answer, times=100)


@contextmanager
def on_log(text: str, act: Callable[[], None]) -> Iterator[None]:
    """Does something once, when a request was answered that the log tells of."""
    logger, acts = logging.getLogger("image_io.http"), [act]

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if text in record.getMessage() and acts:
                acts.pop()()

    handler, level = Handler(), logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


# The server that has what the workflow needs


def test_each_kind_of_call_goes_to_the_server_that_has_the_models():
    with rig_with(FLUX, CHECKPOINTS) as rig:
        provider, path = rig.provider, rig.provider.library.folder / "t2i_checkpoint.json"
        for _ in range(2):
            assert rig.number_of(provider.run_workflow(graph())) == 1
            assert rig.number_of(provider.execute_comfy_workflow(path, "a fox", seed=1)) == 1
            assert rig.number_of(provider.generate(request(workflow="t2i_checkpoint.json"))) == 1
            assert rig.number_of(provider.submit(request()).result(PATIENCE)) == 0
            posts = rig.posts()
            provider.queue_prompt(graph())
            assert rig.posts() == [posts[0], posts[1] + 1]
        assert [proxy.count("GET /object_info") for proxy in rig.proxies] == [1, 1]


def test_a_longer_queue_does_not_matter_where_only_one_server_has_the_models():
    gate, queued = StepGate("KSampler"), threading.Event()
    with rig_with(FLUX, CHECKPOINTS, on_step=gate) as rig, ThreadPoolExecutor(1) as pool:
        with ComfyUIProvider(rig.servers[1].address) as somebody:
            for seed in range(3):
                somebody.queue_prompt(graph(seed, "PreviewImage"))
        waiting = pool.submit(rig.provider.run_workflow, graph(9), lambda update: queued.set())
        assert queued.wait(PATIENCE)
        gate.open()
        assert rig.number_of(waiting.result(PATIENCE)) == 1


def test_the_shortest_queue_decides_among_the_servers_that_have_everything():
    gate = StepGate("KSampler")
    needs_checkpoint = plain(
        c=node("CheckpointLoaderSimple", ckpt_name=CHECKPOINTS["checkpoints"][0])
    )
    needs_checkpoint["d"] = node("VAEDecode", samples=["e", 0], vae=["c", 2])
    needs_checkpoint["e"] = node("EmptyLatentImage", width=64, height=64, batch_size=1)
    needs_checkpoint["f"] = node("SaveImage", images=["d", 0], filename_prefix="y")
    with rig_with(DEFAULT_MODELS, NOTHING, DEFAULT_MODELS, on_step=gate) as rig:
        with ComfyUIProvider(rig.servers[0].address) as somebody:
            somebody.queue_prompt(graph(1, "PreviewImage"))
        assert gate.wait_reached()
        for _ in range(3):
            assert rig.number_of(rig.provider.run_workflow(needs_checkpoint)) == 2
        assert rig.posts()[1] == 0
        gate.open()


def test_a_server_that_lacks_a_node_is_passed_over_even_where_the_node_could_be(tmp_path):
    (tmp_path / "inverted.json").write_text(json.dumps(inverted()))
    with rig_with(NOTHING, NOTHING) as rig:
        lose_class(rig, 0, "ImageInvert")
        for _ in range(2):
            assert rig.number_of(rig.provider.run_workflow(inverted())) == 1
            path = tmp_path / "inverted.json"
            result = rig.provider.execute_comfy_workflow(path, "a fox")
            assert rig.number_of(result) == 1
            assert result.metadata["warnings"] == []


def test_a_node_that_no_server_has_is_done_without_where_it_can_be(tmp_path):
    (tmp_path / "inverted.json").write_text(json.dumps(inverted()))
    with rig_with(NOTHING, NOTHING) as rig:
        for number in (0, 1):
            lose_class(rig, number, "ImageInvert")
        numbers = set()
        for _ in range(2):
            result = rig.provider.execute_comfy_workflow(tmp_path / "inverted.json", "a fox")
            assert color_of(result) == RED
            assert "ImageInvert" in result.metadata["warnings"][0]
            numbers.add(rig.number_of(result))
        assert numbers == {0, 1}


def test_the_default_workflow_is_kept_where_a_server_has_its_models():
    with rig_with(CHECKPOINTS, FLUX) as rig:
        for _ in range(2):
            result = rig.provider.generate(request())
            assert rig.number_of(result) == 1
            assert result.metadata["workflow"] == "t2i_flux.json"
            identity = rig.provider.cache_identity(request())
            assert identity["workflow"] == rig.provider.library.hashes("t2i_flux.json").workflow
            built = rig.provider.build_workflow(request())
            assert "UNETLoader" in {entry["class_type"] for entry in built.values()}
        rig.proxies[1].switch_to("127.0.0.1:1")
        failed = rig.provider.generate(request())
        result = rig.provider.generate(request()) if not failed.success else failed
        assert rig.number_of(result) == 0
        assert "using its checkpoint" in result.metadata["warnings"][0]


def test_one_server_is_not_asked_for_its_lists_to_run_a_graph():
    with rig_with(CHECKPOINTS) as rig:
        assert rig.provider.run_workflow(graph()).success
        rig.provider.queue_prompt(graph())
        assert rig.proxies[0].count("GET /object_info") == 0
        assert rig.proxies[0].count("GET /prompt") == 0


def test_many_threads_share_the_servers_that_have_the_models_evenly():
    all_there = threading.Barrier(12)

    def run(rig: Rig, seed: int) -> int:
        first = [True]

        def on_progress(update: object) -> None:
            if first:
                first.clear()
                all_there.wait(PATIENCE)  # no job ends before all have begun

        return rig.number_of(rig.provider.run_workflow(graph(seed), on_progress))

    with rig_with(CHECKPOINTS, NOTHING, CHECKPOINTS) as rig, ThreadPoolExecutor(12) as pool:
        numbers = pool.map(lambda seed: run(rig, seed), range(12))
        assert Counter(numbers) == {0: 6, 2: 6}


# When no server has it all


@pytest.mark.parametrize("way", ["generate", "run_workflow", "queue_prompt"])
def test_when_no_server_has_everything_the_error_names_each_and_what_it_lacks(way):
    flux_only, other = {**FLUX, "vae": ()}, {"checkpoints": ("other.safetensors",)}
    with rig_with(other, flux_only, NOTHING) as rig:
        first, second, third = (proxy.address for proxy in rig.proxies)
        if way == "generate":
            result = rig.provider.generate(request(workflow="t2i_checkpoint.json"))
            text, error = result.error, result.exception
        elif way == "run_workflow":
            result = rig.provider.run_workflow(graph())
            text, error = result.error, result.exception
        else:
            with pytest.raises(WorkflowError) as caught:
                rig.provider.queue_prompt(graph())
            text, error = str(caught.value), caught.value
    assert isinstance(error, WorkflowError)
    assert error.input_name == "ckpt_name"
    assert "other.safetensors" in text
    assert f"That is {first}; no other server can do it: {second} lacks things too (node" in text
    assert f"; {third} lacks" in text
    assert text.count("v1-5-pruned-emaonly.safetensors") >= 2


def test_a_server_that_may_have_it_and_does_not_answer_is_named():
    with rig_with(CHECKPOINTS, NOTHING) as rig:
        rig.proxies[0].switch_to("127.0.0.1:1")
        result = rig.provider.run_workflow(graph())
        assert result.error_type == "workflow"
        assert f"no other server can do it: {rig.proxies[0].address} cannot be used now" in (
            result.error or ""
        )


def test_what_is_wrong_everywhere_is_told_once(tmp_path):
    with rig_with(CHECKPOINTS, CHECKPOINTS) as rig:
        for result in (
            rig.provider.generate(request(workflow="gone.json")),
            rig.provider.execute_comfy_workflow(tmp_path / "gone.json", "a fox"),
            rig.provider.run_workflow({}),
        ):
            assert result.error_type == "workflow"
            assert "no other server" not in (result.error or "")
        same = rig.provider.run_workflow({"1": node("Nobodys"), **plain()})
        assert f"{rig.proxies[1].address} lacks the same" in (same.error or "")


def test_a_model_that_was_put_on_a_server_since_is_found_at_once():
    with rig_with(NOTHING, NOTHING) as rig:
        assert rig.provider.run_workflow(graph()).error_type == "workflow"
        with server_with(models=CHECKPOINTS) as newer:
            rig.proxies[1].switch_to(newer.address)
            assert rig.number_of(rig.provider.run_workflow(graph())) == 1


# Pictures that are on one server


def test_a_picture_is_loaded_on_the_server_that_has_it(tmp_path):
    with rig_with(NOTHING, NOTHING) as rig:
        assert rig.provider.run_workflow(plain()).success  # the lists are known now
        with ComfyUIProvider(rig.servers[1].address) as somebody:
            name = somebody.upload_image(picture(tmp_path / "s.png"))
            inside = somebody.upload_image(tmp_path / "s.png", "sub/t.png")
            (made,) = somebody.run_workflow(plain(BLUE)).images
        for _ in range(2):
            assert color_of(rig.provider.run_workflow(loading(name))) == RED
            assert color_of(rig.provider.run_workflow(loading(inside))) == RED
            given = loading(f"{made['filename']} [output]")
            # Only the second server has none of this name of the first one's.
            result = rig.provider.run_workflow(given)
            assert result.success, result.error
        assert rig.posts()[0] <= 3
        assert rig.proxies[1].count("GET /view?filename=t.png") == 1


def test_a_file_of_a_job_of_ours_is_loaded_where_that_job_was():
    with rig_with(NOTHING, NOTHING) as rig:
        results = [rig.provider.run_workflow(plain(color)) for color in (RED, BLUE)]
        assert [rig.number_of(result) for result in results] == [0, 1]
        # Both servers have a file of this name; the last one that is known counts.
        assert {result.images[0]["filename"] for result in results} == {"x_00001_.png"}
        for _ in range(3):
            again = rig.provider.run_workflow(loading("x_00001_.png [output]"))
            assert color_of(again) == BLUE


def test_a_source_may_lie_on_a_server_that_lacks_the_models():
    with rig_with(NOTHING, CHECKPOINTS) as rig:
        made = rig.provider.run_workflow(plain())
        assert rig.number_of(made) == 0
        result = rig.provider.generate(
            request(
                source_image_url=made.get_image_url(), workflow="i2i_checkpoint.json", strength=0.0
            )
        )
        assert rig.number_of(result) == 1
        assert color_of(result) == RED


def test_a_mask_may_lie_on_another_server_than_its_picture():
    with rig_with(NOTHING, NOTHING, CHECKPOINTS) as rig:
        urls = [rig.provider.run_workflow(plain(0xFFFFFF)).get_image_url() for _ in range(2)]
        result = rig.provider.generate(
            request(
                source_image_url=urls[0],
                mask_image_url=urls[1],
                workflow="inpaint_checkpoint.json",
            )
        )
        assert rig.number_of(result) == 2


# Moving on to another server


@pytest.mark.parametrize("status", [429, 503])
def test_a_server_that_refuses_for_now_is_followed_by_the_next(caplog, status):
    with rig_with(DEFAULT_MODELS, DEFAULT_MODELS) as rig:
        rig.proxies[0].answer("POST /prompt", http_answer(status), times=9)
        result = rig.provider.generate(request())
        assert rig.number_of(result) == 1
        assert result.metadata["server"] == "embedded"
        assert "servers" not in result.metadata
        assert result.metadata["warnings"] == []
        assert rig.posts() == [0, 1]
    (moved,) = [r.getMessage() for r in caplog.records if "It goes to" in r.getMessage()]
    assert all(proxy.address in moved for proxy in rig.proxies)
    assert str(status) in moved


def test_an_upload_that_fails_once_is_sent_again(tmp_path):
    source = str(picture(tmp_path / "s.png"))
    with rig_with(DEFAULT_MODELS, NOTHING) as rig:
        rig.proxies[0].answer("POST /upload/image", http_answer(502))
        result = rig.provider.generate(request(source_image_url=source))
        assert rig.number_of(result) == 0
        assert rig.proxies[0].count("POST /upload/image") == 2


@pytest.mark.parametrize("step", ["POST /upload/image", "GET /object_info", "GET /prompt"])
@pytest.mark.parametrize("answer", [http_answer(429), http_answer(502), b""])
def test_a_server_that_fails_before_the_job_is_sent_is_followed_by_the_next(step, answer, tmp_path):
    source = str(picture(tmp_path / "s.png"))
    with rig_with(DEFAULT_MODELS, DEFAULT_MODELS) as rig:
        rig.proxies[0].answer(step, answer, times=99)
        result = rig.provider.generate(request(source_image_url=source))
        assert rig.number_of(result) == 1
        assert rig.posts() == [0, 1]


def test_the_rest_of_a_request_goes_to_the_next_server_when_one_goes_away(caplog):
    updates: list[float] = []
    with (
        server_with() as first,
        server_with() as second,
        ComfyUIProvider(f"{first.address},{second.address}", limits=LIMITS) as provider,
    ):
        wanted = request(num_images=3, seed=None, on_progress=lambda u: updates.append(u.fraction))
        with on_log(f"http://{first.address}/view: 200", first.stop):
            result = provider.generate(wanted)
        assert result.success, result.error
        hosts = [image["url"].split("/")[2] for image in result.images]
        assert hosts == [first.address, second.address, second.address]
        seeds = [image["seed"] for image in result.images]
        assert seeds == [seeds[0], seeds[0] + 1, seeds[0] + 2]
        assert result.metadata["servers"] == [first.address, second.address]
        assert len(result.metadata["prompt_ids"]) == 3
        assert updates == sorted(updates)
        assert updates[-1] == 1.0
        assert provider.get_history(result.metadata["prompt_ids"][2])
        with pytest.raises(ProviderUnavailableError):  # it is known who had it
            provider.get_history(result.metadata["prompt_ids"][0])
    assert f"ComfyUI at {first.address} did not take the job" in caplog.text
    assert f"It goes to {second.address}" in caplog.text


def test_a_job_that_may_have_begun_is_not_begun_elsewhere():
    with rig_with(CHECKPOINTS, CHECKPOINTS) as rig:
        rig.proxies[0].answer("POST /prompt", b"", times=9)  # the connection breaks, and nobody
        result = rig.provider.run_workflow(graph())  # can say what became of it
        assert result.error_type == "unavailable"
        assert rig.posts() == [0, 0]


def test_a_server_that_goes_away_with_a_job_is_not_believed_to_be_there_by_the_next():
    gate = StepGate("KSampler", step=1)
    with (
        server_with(on_step=gate) as first,
        server_with() as second,
        ComfyUIProvider(f"{first.address},{second.address}", limits=LIMITS) as provider,
    ):
        future = provider.submit(request(num_images=2))
        assert gate.wait_reached()
        first.stop()
        result = future.result(PATIENCE)
        assert (result.success, result.error_type) == (False, "unavailable")
        assert first.address in (result.error or "")
        assert second.stats.posts == 0
        for _ in range(2):
            again = provider.generate(request())
            assert again.success, again.error
            assert second.address in str(again.get_image_url())


def test_a_server_that_did_not_take_a_prompt_is_asked_anew_before_the_next_one():
    with rig_with(NOTHING, NOTHING) as rig:
        rig.proxies[0].answer("POST /prompt", b"")
        with pytest.raises(ProviderUnavailableError):
            rig.provider.queue_prompt(plain())
        for color in (1, 2):
            rig.provider.queue_prompt(plain(color))
        assert [proxy.count("GET /system_stats") for proxy in rig.proxies] == [2, 1]


@pytest.mark.parametrize("answer", [http_answer(503), b""], ids=["refused", "broken off"])
def test_a_server_that_failed_a_request_is_asked_anew_before_the_next_one(answer):
    with rig_with(DEFAULT_MODELS, DEFAULT_MODELS) as rig:
        rig.proxies[0].answer("POST /prompt", answer, times=3)
        rig.provider.generate(request())
        asked = rig.proxies[0].count("GET /system_stats")
        assert rig.provider.generate(request()).success
        assert rig.proxies[0].count("GET /system_stats") == asked + 1


def test_a_source_on_a_server_is_fetched_once_although_the_request_moves_on():
    with rig_with(DEFAULT_MODELS, DEFAULT_MODELS) as rig:
        made = rig.provider.run_workflow(plain())
        assert rig.number_of(made) == 0
        rig.provider.run_workflow(plain(BLUE))
        rig.proxies[0].answer("POST /prompt", http_answer(503), times=9)
        views = rig.proxies[0].count("GET /view")
        result = rig.provider.generate(
            request(source_image_url=made.get_image_url(), strength=0.0, num_images=2)
        )
        assert rig.number_of(result) == 1
        assert color_of(result) == RED
        assert rig.proxies[0].count("POST /prompt") > 1
        assert rig.proxies[0].count("GET /view") == views + 1


def test_each_server_is_tried_once_and_the_error_names_all():
    with rig_with(CHECKPOINTS, CHECKPOINTS, CHECKPOINTS) as rig:
        for proxy in rig.proxies:
            proxy.answer("POST /prompt", http_answer(503), times=99)
        result = rig.provider.run_workflow(graph())
        assert result.error_type == "unavailable"
        for proxy in rig.proxies:
            assert str(result.error).count(f"ComfyUI at {proxy.address}:") == 1
            assert proxy.count("POST /prompt") == 3  # as often as one server is asked


def test_the_only_server_that_is_left_out_of_two_is_in_the_error_too():
    with rig_with(CHECKPOINTS, CHECKPOINTS) as rig:
        rig.proxies[0].switch_to("127.0.0.1:1")
        rig.proxies[1].answer("POST /prompt", http_answer(503), times=99)
        result = rig.provider.run_workflow(graph())
        assert result.error_type == "unavailable"
        assert all(proxy.address in str(result.error) for proxy in rig.proxies)


def test_one_server_fails_as_it_does():
    with rig_with(CHECKPOINTS) as rig:
        rig.proxies[0].answer("POST /prompt", http_answer(503), times=99)
        result = rig.provider.run_workflow(graph())
        assert result.error_type == "unavailable"
        assert str(result.error).startswith(f"ComfyUI at {rig.proxies[0].address}: http")
        assert "It goes to" not in str(result.error)


def test_a_source_that_lies_on_a_server_that_is_gone_is_the_failure_not_the_next_server():
    with rig_with(NOTHING, DEFAULT_MODELS) as rig:
        url = rig.provider.run_workflow(plain()).get_image_url()
        rig.proxies[0].switch_to("127.0.0.1:1")
        result = rig.provider.generate(request(source_image_url=url))
        assert result.error_type == "unavailable"
        assert rig.proxies[0].address in str(result.error)
        assert rig.posts() == [1, 0]


def test_forty_jobs_of_eight_threads_with_a_server_that_goes_away_are_each_made_once():
    runs: Counter[str] = Counter()

    def count(event: Any) -> None:
        runs[event.prompt_id] += event.class_type == "EmptyImage"

    with (
        server_with(on_step=count) as first,
        server_with(on_step=count) as second,
        ComfyUIProvider(f"{first.address},{second.address}", limits=LIMITS) as provider,
        ThreadPoolExecutor(8) as pool,
    ):
        jobs = [pool.submit(provider.run_workflow, plain(color)) for color in range(40)]
        jobs[10].result(PATIENCE)
        first.stop()
        results = [job.result(PATIENCE * 2) for job in jobs]
    failed = [result for result in results if not result.success]
    assert {result.error_type for result in failed} <= {"unavailable"}
    assert len(failed) <= 8  # those that were at work on it
    assert set(runs.values()) <= {1}
    ids = [result.metadata["prompt_ids"] for result in results if result.success]
    assert len({one for each in ids for one in each}) == len(ids)
