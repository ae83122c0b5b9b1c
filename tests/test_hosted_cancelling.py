"""Ending hosted calls from another thread: who waits wakes up, and the vendor ends the job."""

from __future__ import annotations

import _thread
import json
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import responses

from config import Config
from hosted_providers import FluxProvider
from hosted_providers.waiting import Pauses
from image_generator import ImageGenerator
from image_provider import GenerationCancelledError, ImageGenerationRequest
from tests.hosted_support import KEY, PICTURE, answers

BFL = answers("black_forest_labs")
FAL = answers("fal")
SUBMIT = "https://queue.fal.run/fal-ai/flux-2"
STATUS, CANCEL = FAL["submitted"]["status_url"], FAL["submitted"]["cancel_url"]


@pytest.fixture
def asked():
    """Set once the vendor was asked for a job that never ends."""
    event = threading.Event()

    def in_progress(_):
        event.set()
        return 202, {}, json.dumps(FAL["in_progress"])

    with responses.mock:
        responses.post(SUBMIT, json=FAL["submitted"])
        responses.add_callback("GET", STATUS, callback=in_progress)
        yield event


@pytest.fixture
def heeded():
    """Ctrl-C raises KeyboardInterrupt, also in a run that was started to ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heeded")
def test_ctrl_c_in_a_batch_cancels_the_job_at_the_vendor(asked):
    cancelled = responses.put(CANCEL, status=202)
    generator = ImageGenerator(Config({"FAL_KEY": KEY, "FLUX_HOST": "fal"}, env_file=None))

    def press() -> None:
        if asked.wait(30):
            _thread.interrupt_main()

    presser = threading.Thread(target=press)
    presser.start()
    with pytest.raises(KeyboardInterrupt):
        generator.generate_many([{"prompt": "a fox", "provider": "flux"}])
    presser.join()
    assert cancelled.call_count == 1


def test_a_call_that_is_told_to_end_says_so_and_asks_nothing_more(asked):
    cancelled = responses.put(CANCEL, status=202)
    provider, workers = FluxProvider(KEY, "fal"), []

    def generate():
        workers.append(threading.current_thread())
        return provider.generate(ImageGenerationRequest("a fox"))

    with ThreadPoolExecutor(1) as pool:
        made = pool.submit(generate)
        assert asked.wait(30)
        provider.cancel_work_of([threading.current_thread()])  # which does nothing here
        provider.cancel_work_of(workers)
        result = made.result(30)
    assert (result.error_type, cancelled.call_count) == ("cancelled", 1)
    assert "was given up while it was" in result.error and "cancelled" in result.error


@responses.activate
def test_no_further_call_is_sent_and_what_was_finished_is_kept():
    provider = FluxProvider(KEY, "bfl")

    def picture(_):
        provider.cancel_work_of([threading.current_thread()])
        return 200, {}, PICTURE

    submitted = responses.post("https://api.bfl.ai/v1/flux-2-pro", json=BFL["submitted"])
    responses.get("https://api.us1.bfl.ai/v1/get_result", json=BFL["ready"])
    responses.add_callback("GET", BFL["ready"]["result"]["sample"], callback=picture)
    result = provider.generate(ImageGenerationRequest("a fox", num_images=3))
    assert (result.error_type, submitted.call_count) == ("cancelled", 1)
    assert [image["bytes"] for image in result.images] == [PICTURE]


def test_a_pause_of_a_thread_that_was_told_to_end_is_over_at_once():
    pauses, threads = Pauses(), []
    is_in = threading.Event()

    def wait():
        threads.append(threading.current_thread())
        with pauses.at_work():
            with pauses.at_work():  # a callback that asks the provider for another picture
                pass
            is_in.set()
            pauses.sleep(3600)

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(wait)
        assert is_in.wait(30)
        pauses.cancel(threads)
        with pytest.raises(GenerationCancelledError):
            waiting.result(30)
        again = pool.submit(lambda: pauses.cancelled)
        assert again.result(30) is False, "the next call of the thread is another one"
