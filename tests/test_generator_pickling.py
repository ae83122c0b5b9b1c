"""A generator in other processes: what goes along, one for each process, and the end of it."""

from __future__ import annotations

import multiprocessing
import os
import pickle
from concurrent.futures import ProcessPoolExecutor

import pytest

from config import Config
from image_generator import ImageGenerator
from image_provider import ImageGenerationResult, ImageProvider
from tests.fakes.provider import FakeProvider
from tests.test_image_generator import make_generator

SMALL = {"width": 64, "height": 64, "steps": 1, "use_cache": False}


class CountingProvider(ImageProvider):
    """Tells its process and how many requests it has had; leaves a file at its end."""

    provider_name = "counting"

    def __init__(self, folder=None):
        self.calls = 0
        self.folder = folder

    def generate(self, request):
        self.calls += 1
        told = {"process": os.getpid(), "calls": self.calls, "listens": bool(request.on_progress)}
        return ImageGenerationResult(True, [], "counting", None, metadata=told)

    def get_supported_features(self):
        return {}

    def get_default_parameters(self, style=None):
        return {}

    def close(self):
        if self.folder is not None:
            (self.folder / f"closed-{os.getpid()}").touch()


def use_server(address):
    """Sets the environment of the process that this runs in."""
    os.environ["COMFYUI_SERVER_ADDRESS"] = address


def other_process(address):
    """A pool of one, started anew, with an environment of its own."""
    return ProcessPoolExecutor(
        1,
        multiprocessing.get_context("spawn"),
        initializer=use_server,
        initargs=(address,),
    )


def test_a_process_has_one_generator_of_its_own_settings_closed_at_its_end(
    comfyui_server, tmp_path
):
    generator = make_generator(CountingProvider(tmp_path), COMFYUI_SERVER_ADDRESS="127.0.0.1:9")
    counted = [{"prompt": "a fox", "provider": "counting"}] * 4
    drawn = [{"prompt": "a fox", "provider": "comfyui", "seed": seed, **SMALL} for seed in (5, 6)]
    progress = []
    with other_process(comfyui_server.address) as executor:
        results = generator.generate_many([*counted, *drawn], executor, progress.append)
    assert [result.error for result in results] == [None] * 6
    told = [result.metadata for result in results[:4]]
    assert [entry["calls"] for entry in told] == [1, 2, 3, 4]
    assert {entry["listens"] for entry in told} == {False}
    (process,) = {entry["process"] for entry in told}
    assert process != os.getpid() and (tmp_path / f"closed-{process}").exists()
    assert [result.images[0]["seed"] for result in results[4:]] == [5, 6], results[4].error
    assert comfyui_server.stats.posts == 2
    assert [update.done for update in progress] == list(range(7))


def test_no_key_goes_along():
    environ = {"OPENAI_API_KEY": "sk-private", "COMFYUI_API_KEY": "token-private"}
    pickled = pickle.dumps(ImageGenerator(Config(environ, None)))
    assert b"private" not in pickled
    with pickle.loads(pickled) as copy:  # there is no key here
        assert list(copy.router.providers) == ["comfyui"]


def test_in_one_process_it_is_the_same_generator_with_the_callers_rules():
    generator = make_generator(CountingProvider())
    generator.router.routing_rules["default_provider"] = "counting"
    copies = [pickle.loads(pickle.dumps(generator)) for _ in range(2)]
    assert copies[0] is copies[1] is not generator
    assert copies[0].generate("a fox").provider == "counting"


def test_a_provider_that_does_not_pickle_stays_and_is_told_once(caplog):
    generator = make_generator(FakeProvider("of a lock"))
    for _ in range(2):
        copy = pickle.loads(pickle.dumps(generator))
    assert "of a lock" not in copy.router.providers
    assert caplog.text.count("provider of a lock does not go to other processes") == 1


@pytest.mark.filterwarnings("ignore")
def test_workers_of_dask_use_the_server_of_their_own_settings(comfyui_server):
    distributed = pytest.importorskip("distributed", reason="needs requirements-dask.txt")
    from comfyui.embedded import EmbeddedOptions, EmbeddedServer

    requests = [{"prompt": "a fox", "provider": "comfyui", "seed": s, **SMALL} for s in range(6)]
    with (
        EmbeddedServer(options=EmbeddedOptions(step_seconds=0)) as second,
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        servers = [comfyui_server, second]
        workers = list(client.scheduler_info()["workers"])
        for worker, server in zip(workers, servers, strict=True):
            client.run(use_server, server.address, workers=[worker])
        with ImageGenerator() as generator, client.get_executor() as executor:
            results = generator.generate_many(requests, executor, resume="foxes.jsonl")
            alike = [{"prompt": "a fox", "provider": "comfyui", **SMALL}] * 4
            others = generator.generate_many(alike, executor)
    assert [result.error for result in results] == [None] * 6
    assert [result.images[0]["seed"] for result in results] == list(range(6))
    assert all(result.get_image_bytes() for result in results)
    assert len({result.get_image_bytes() for result in others}) == 4
    assert [server.stats.posts > 0 for server in servers] == [True, True]
