"""What is at work ends when its provider closes, or the process, and leaves nothing on a server."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from comfyui import live_jobs
from comfyui.cancelling import CancelToken
from comfyui.client import Limits
from comfyui.embedded import StepGate
from comfyui.futures import start
from comfyui.live_jobs import LiveJobs
from comfyui_provider import ComfyUIProvider
from config import Config
from image_generator import ImageGenerator
from image_provider import (
    GenerationCancelledError,
    ImageGenerationRequest,
    ImageGenerationResult,
)
from tests.fakes.proxy import FaultProxy
from tests.job_support import PATIENCE, background, graph, messages_of, queue_of, server_with

pytestmark = pytest.mark.usefixtures("short_pauses")

ROOT = Path(__file__).parent.parent
LIMITS = Limits(connect=2, read=5, silence=0.02)
RESULT = ImageGenerationResult(True, [], "comfyui", None)


def request(**fields: Any) -> ImageGenerationRequest:
    return ImageGenerationRequest("a fox", **{"width": 64, "height": 64, "steps": 3, **fields})


# The register


def test_the_end_cancels_all_and_waits_for_them():
    jobs, at_work, ended = LiveJobs(), threading.Barrier(4), []

    def make(token: CancelToken) -> ImageGenerationResult:
        at_work.wait(PATIENCE)
        token.wait(PATIENCE)
        ended.append(token.cancelled)
        return RESULT

    futures = [start(make, jobs) for _ in range(3)]
    at_work.wait(PATIENCE)
    assert jobs.end(PATIENCE)
    assert ended == [True] * 3
    assert [future.result(PATIENCE) for future in futures] == [RESULT] * 3
    assert jobs.end(0)


def test_the_end_is_not_waited_for_longer_than_was_said(caplog):
    jobs, deaf = LiveJobs(), threading.Event()
    future = start(lambda token: deaf.wait(PATIENCE) and RESULT, jobs)
    assert not jobs.end(0.05)
    assert "1 job(s) have not ended within 0.05 s" in caplog.text
    deaf.set()
    future.result(PATIENCE)


def test_a_job_that_ends_all_does_not_wait_for_itself():
    jobs = LiveJobs()
    future = start(lambda token: RESULT if jobs.end(PATIENCE) and token.cancelled else None, jobs)
    assert future.result(PATIENCE) is RESULT


def test_only_the_jobs_of_these_threads_are_cancelled():
    jobs, mine = LiveJobs(), threading.Thread()
    tokens = [CancelToken(), CancelToken()]
    jobs.enter(tokens[0], mine)
    jobs.enter(tokens[1], threading.Thread())
    jobs.cancel_of([mine])
    assert [token.cancelled for token in tokens] == [True, False]


def test_jobs_that_end_all_at_once_do_not_wait_for_each_other():
    jobs, at_work, ended = LiveJobs(), threading.Barrier(3), threading.Barrier(3)

    def make(token: CancelToken) -> ImageGenerationResult | None:
        at_work.wait(PATIENCE)
        has_ended = jobs.end(PATIENCE)
        ended.wait(PATIENCE / 2)  # the others end before this job does
        return RESULT if has_ended else None

    futures = [start(make, jobs) for _ in range(3)]  # type: ignore[arg-type]
    assert [future.result(PATIENCE) for future in futures] == [RESULT] * 3


def test_who_is_no_job_waits_for_jobs_that_end_all():
    jobs, ending, go_on = LiveJobs(), threading.Event(), threading.Event()
    other = CancelToken()
    jobs.enter(other, threading.Thread())  # it ends when the test says so

    def make(token: CancelToken) -> ImageGenerationResult:
        ending.set()
        assert jobs.end(PATIENCE)
        go_on.wait(PATIENCE)
        return RESULT

    future = start(make, jobs)
    assert ending.wait(PATIENCE)
    jobs.leave(other)
    assert not jobs.end(0.05)
    go_on.set()
    assert future.result(PATIENCE) is RESULT


class Registering:
    """In place of the lock of the register: tells who has it, and when somebody comes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.came = threading.Semaphore(0)
        self.holder: threading.Thread | None = None

    def __enter__(self) -> None:
        self.came.release()
        self._lock.acquire()
        self.holder = threading.current_thread()

    def __exit__(self, *exc_info: object) -> None:
        self.holder = None
        self._lock.release()


def test_a_provider_that_is_made_as_the_process_ends_disturbs_nobody(monkeypatch):
    """It comes while the register is read, which must not change meanwhile."""
    lock, held_by = Registering(), []

    class Register(weakref.WeakSet[LiveJobs]):
        def __iter__(self) -> Iterator[LiveJobs]:
            assert lock.came.acquire(timeout=PATIENCE)  # the reader itself
            maker.start()
            assert lock.came.acquire(timeout=PATIENCE)
            held_by.append(lock.holder)
            yield from super().__iter__()

    monkeypatch.setattr(live_jobs, "_registering", lock)
    monkeypatch.setattr(live_jobs, "_everywhere", Register())
    made: list[LiveJobs] = []
    maker = threading.Thread(target=lambda: made.append(LiveJobs()))
    live_jobs._Exit()()
    maker.join(PATIENCE)
    assert held_by == [threading.current_thread()]
    assert len(made) == 1


def test_later_jobs_are_left_alone():
    jobs = LiveJobs()
    assert jobs.end(0)
    with jobs.job() as token:
        assert not token.cancelled


def test_a_thread_that_does_not_start_is_no_job():
    def no_thread(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    jobs, begin = LiveJobs(), threading.Thread.start
    threading.Thread.start = no_thread  # type: ignore[method-assign]
    try:
        with pytest.raises(RuntimeError, match="can't start"):
            start(lambda token: RESULT, jobs)
    finally:
        threading.Thread.start = begin  # type: ignore[method-assign]
    assert jobs.end(0)


# Closing a provider


class Held:
    """A server whose jobs stop at their sampler, and a proxy that sees them cancelled."""

    def __init__(self, stack: ExitStack) -> None:
        self.gate = StepGate("KSampler", step=1)
        self.server = stack.enter_context(server_with(on_step=self.gate))
        self.proxy = stack.enter_context(FaultProxy(self.server.address))
        self.address = self.proxy.address
        self._go = stack.enter_context(background())

    def foreign_job(self) -> str:
        """Somebody else's job; its prompt id."""
        with ComfyUIProvider(self.server.address) as somebody:
            return somebody.queue_prompt(graph(77))

    def wait_for_jobs(self, number: int) -> None:
        """Waits until the server has so many jobs."""
        deadline = time.monotonic() + PATIENCE
        while len(self.jobs()) != number:
            assert time.monotonic() < deadline, queue_of(self.server)
            threading.Event().wait(0.01)

    def jobs(self) -> list[str]:
        """The running job and those that wait."""
        running, waiting = queue_of(self.server)
        return running + waiting

    def wait_for_cancel(self, prompt_id: str) -> None:
        """Waits until the server has taken the order to end a job, and is asked again."""
        order, deadline = f"POST /api/jobs/{prompt_id}/cancel", time.monotonic() + PATIENCE
        while self.proxy.count(order) < 2:
            assert time.monotonic() < deadline, f"{prompt_id} is not cancelled"
            threading.Event().wait(0.01)

    def go_on_after_cancel(self, prompt_id: str, *waiting: str) -> Future[None]:
        """Lets jobs go on beside the test once this one was cancelled, as it ends at a step.

        Those that wait are gone by then.
        """

        def wait_and_open() -> None:
            try:
                self.wait_for_cancel(prompt_id)
                deadline = time.monotonic() + PATIENCE
                while not set(waiting).isdisjoint(self.jobs()):
                    assert time.monotonic() < deadline, f"{waiting} are not deleted"
                    threading.Event().wait(0.01)
            finally:
                self.gate.open()

        return self._go(wait_and_open)


@pytest.fixture
def held() -> Iterator[Held]:
    with ExitStack() as stack:
        yield Held(stack)


def test_closing_ends_every_kind_of_job_and_leaves_those_of_others(held):
    with background() as go:
        provider = ComfyUIProvider(held.address, limits=LIMITS)
        queued = provider.queue_prompt(graph(1))
        assert held.gate.wait_reached()
        foreign = held.foreign_job()
        waiting = go(lambda: provider.wait_for_completion(queued))
        callers = [
            go(lambda: provider.generate(request(num_images=2))),
            go(lambda: provider.run_workflow(graph(2))),
            provider.submit(request()),
        ]
        given_up = provider.submit(request())
        held.wait_for_jobs(6)
        ours = set(held.jobs()) - {queued, foreign}
        assert given_up.cancel()
        opener = held.go_on_after_cancel(queued, *ours)
        provider.close()
        assert queued not in held.jobs()
        results = [caller.result(0.1) for caller in callers]
        assert [result.error_type for result in results] == ["cancelled"] * 3
        assert isinstance(waiting.exception(0.1), GenerationCancelledError)
        with pytest.raises(CancelledError):
            given_up.result(0.1)
        opener.result(PATIENCE)
    held.wait_for_jobs(0)
    assert messages_of(held.server, foreign)[-1] == "execution_success"
    assert messages_of(held.server, queued)[-1] == "execution_interrupted"
    assert held.server.stats.posts == 6


def test_leaving_the_block_ends_what_was_submitted_in_it(held):
    with ComfyUIProvider(held.address, limits=LIMITS) as provider:
        futures = [provider.submit(request(seed=seed)) for seed in range(5)]
        held.wait_for_jobs(5)
        opener = held.go_on_after_cancel(*held.jobs())
    assert [future.result(0.1).error_type for future in futures] == ["cancelled"] * 5
    assert held.jobs() == []
    opener.result(PATIENCE)
    assert provider.generate(request()).success, "it can be used again"
    provider.close()


def test_leaving_the_block_of_a_generator_ends_jobs_of_other_threads(held):
    settings = {"COMFYUI_SERVER_ADDRESS": held.address}
    with background() as go:
        with ImageGenerator(Config(settings)) as generator:
            fields = {"width": 64, "height": 64, "provider": "comfyui"}
            caller = go(lambda: generator.generate("a fox", **fields))
            assert held.gate.wait_reached()
            held.go_on_after_cancel(held.jobs()[0])
        assert caller.result(0.1).error_type == "cancelled"
    assert held.jobs() == []


def test_the_jobs_of_an_embedded_server_end_before_it_does(caplog):
    provider, began = ComfyUIProvider("embedded", limits=LIMITS), threading.Event()
    running = provider.submit(request(steps=5000, on_progress=lambda update: began.set()))
    assert began.wait(PATIENCE)
    provider.close()
    assert running.result(0.1).error_type == "cancelled"
    assert "cancelling job" not in caplog.text


def test_a_callback_may_close_the_provider():
    with server_with() as server:
        provider = ComfyUIProvider(server.address, limits=LIMITS)
        began = time.monotonic()
        result = provider.generate(request(num_images=5, on_progress=lambda u: provider.close()))
        assert result.error_type == "cancelled"
        assert time.monotonic() - began < PATIENCE / 2
        assert queue_of(server) == ([], [])


def test_a_job_that_is_not_sent_yet_is_not_sent_after_the_close(held, tmp_path):
    Image.new("RGB", (64, 64)).save(tmp_path / "s.png")
    provider = ComfyUIProvider(held.address, limits=LIMITS)
    asked, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        asked.set()
        go_on.wait(PATIENCE)

    held.proxy.answer("POST /upload", hold)
    with background() as go:
        future = provider.submit(request(source_image_url=str(tmp_path / "s.png")))
        assert asked.wait(PATIENCE)
        closing = go(provider.close)
        assert not closing.done()
        go_on.set()
        closing.result(PATIENCE)
    assert future.result(0.1).error_type == "cancelled"
    assert held.server.stats.posts == 0


# The end of the process

BEGINNING = """
import sys, threading
sys.path.insert(0, {root!r})
from comfyui import live_jobs
from comfyui.client import Limits
from comfyui_provider import ComfyUIProvider
from image_provider import ImageGenerationRequest

began = threading.Semaphore(0)

def request(**fields):
    callback = lambda update: began.release()
    return ImageGenerationRequest("a fox", width=64, height=64, on_progress=callback, **fields)

def tell(jobs):
    for _ in range(jobs):
        began.acquire()
    print("ready", flush=True)

provider = ComfyUIProvider({address!r}, limits=Limits(connect=2, read=5, silence=0.05))
"""
SUBMITS = """
futures = [provider.submit(request(seed=seed)) for seed in range(3)]
tell(3)
sys.stdin.readline()
"""
GENERATES = """
threading.Thread(target=tell, args=(1,)).start()
provider.generate(request())
"""
ENDS = {
    "the last line": ("", 0),
    "sys.exit": ("sys.exit(3)", 3),
    "an exception": ("raise ValueError('mine')", 1),
    "the end of another provider": ("provider = None", 0),
}


@contextmanager
def process(address: str, script: str) -> Iterator[subprocess.Popen[str]]:
    """A script that has told that it is ready; it has a provider for this address."""
    beginning = BEGINNING.format(root=str(ROOT), address=address)
    with subprocess.Popen(
        [sys.executable, "-c", beginning + script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        try:
            assert running.stdout is not None
            assert running.stdout.readline() == "ready\n", running.communicate()
            yield running
        finally:
            running.kill()


def go_on(running: subprocess.Popen[str]) -> None:
    """Lets a script go on to its end."""
    assert running.stdin is not None
    running.stdin.write("\n")
    running.stdin.flush()


def end_of(running: subprocess.Popen[str]) -> tuple[int, str]:
    """The exit code of a process, and what it wrote to stderr."""
    _, errors = running.communicate(timeout=PATIENCE)
    assert "Fatal" not in errors
    return running.returncode, errors


@pytest.mark.parametrize(("last_line", "code"), ENDS.values(), ids=ENDS)
def test_the_end_of_the_process_ends_its_jobs_and_no_others(held, last_line, code):
    with process(held.address, SUBMITS + last_line) as running:
        held.wait_for_jobs(3)
        (first, *others), foreign = held.jobs(), held.foreign_job()
        opener = held.go_on_after_cancel(first, *others)
        go_on(running)
        found, errors = end_of(running)
    assert found == code
    assert ("Traceback" in errors) == ("raise" in last_line)
    assert not {first, *others} & {*held.jobs()}
    opener.result(PATIENCE)
    held.wait_for_jobs(0)
    assert messages_of(held.server, first)[-1] == "execution_interrupted"
    assert [messages_of(held.server, each) for each in others] == [[], []]
    assert messages_of(held.server, foreign)[-1] == "execution_success"


def test_the_process_ends_soon_although_the_server_takes_long_to_end_a_job(held):
    with process(held.address, SUBMITS + "live_jobs.EXIT_SECONDS = 0.5") as running:
        held.wait_for_jobs(3)
        first = held.jobs()[0]
        go_on(running)
        code, errors = end_of(running)
    assert code == 0
    assert "Traceback" not in errors
    assert held.jobs() == [first]
    held.gate.open()
    held.wait_for_jobs(0)
    assert messages_of(held.server, first)[-1] == "execution_interrupted"


def test_a_thread_of_the_program_that_waits_for_a_job_is_ended_too(held):
    begins = "threading.Thread(target=provider.generate, args=(request(),), daemon=True).start()"
    with process(held.address, f"{begins}\ntell(1)\nsys.stdin.readline()") as running:
        held.wait_for_jobs(1)
        opener = held.go_on_after_cancel(held.jobs()[0])
        go_on(running)
        assert end_of(running)[0] == 0
    assert held.jobs() == []
    opener.result(PATIENCE)


def test_an_embedded_server_of_the_process_itself_ends_with_it_in_silence():
    script = "future = provider.submit(request(steps=5000))\ntell(2)\nsys.stdin.readline()"
    with process("embedded", script) as running:
        began = time.monotonic()
        go_on(running)
        code, errors = end_of(running)
    assert code == 0
    assert time.monotonic() - began < PATIENCE / 2
    assert "cancelling" not in errors
    assert "Traceback" not in errors


needs_signals = pytest.mark.skipif(os.name == "nt", reason="no Ctrl-C for one process")


@needs_signals
def test_ctrl_c_while_futures_are_waited_for_ends_their_jobs(held):
    script = SUBMITS.replace("sys.stdin.readline()", "[future.result() for future in futures]")
    with process(held.address, script) as running:
        held.wait_for_jobs(3)
        opener = held.go_on_after_cancel(held.jobs()[0])
        running.send_signal(signal.SIGINT)
        code, errors = end_of(running)
    assert code == -signal.SIGINT
    assert "KeyboardInterrupt" in errors
    assert held.jobs() == []
    opener.result(PATIENCE)


@needs_signals
def test_ctrl_c_ends_the_job_of_the_main_thread(held):
    with process(held.address, GENERATES) as running:
        held.wait_for_jobs(1)
        opener = held.go_on_after_cancel(held.jobs()[0])
        running.send_signal(signal.SIGINT)
        assert end_of(running)[0] == -signal.SIGINT
    assert held.jobs() == []
    opener.result(PATIENCE)


@needs_signals
@pytest.mark.parametrize("script", [GENERATES, SUBMITS], ids=["generate", "submit"])
def test_a_second_ctrl_c_ends_the_process_at_once(held, script):
    with process(held.address, "live_jobs.EXIT_SECONDS = 60\n" + script) as running:
        held.wait_for_jobs(1 if script == GENERATES else 3)
        first = held.jobs()[0]
        running.send_signal(signal.SIGINT)
        held.wait_for_cancel(first)  # the server has not ended it, so it is waited for
        running.send_signal(signal.SIGINT)
        began = time.monotonic()
        assert end_of(running)[0] == -signal.SIGINT
    assert time.monotonic() - began < PATIENCE / 4


BATCH = """
import os, pathlib
from image_generator import ImageGenerator
from image_provider import ImageGenerationResult, ImageProvider

class Quick(ImageProvider):
    provider_name = "quick"

    def generate(self, request):
        return ImageGenerationResult(True, [{"bytes": b"made"}], "quick", None)

    def get_supported_features(self):
        return {}

    def get_default_parameters(self, style=None):
        return {}

def ready(progress):
    if progress.done == 1 and progress.current == 0:
        print("ready", flush=True)

os.environ["COMFYUI_SERVER_ADDRESS"] = provider.server_address
os.environ["COMFYUI_SILENCE"] = "0.05"
generator = ImageGenerator()
generator.router.providers["quick"] = Quick()
foxes = [{"prompt": "a fox", "width": 64, "height": 64} for _ in range(50)]
generator.generate_many(
    [{"prompt": "done", "provider": "quick"}, *foxes], on_progress=ready, resume="batch.jsonl"
)
"""


@needs_signals
def test_ctrl_c_ends_the_jobs_of_a_batch_and_keeps_what_was_made(held, tmp_path):
    with process(held.address, BATCH) as running:
        held.wait_for_jobs(4)
        first, *others = held.jobs()
        opener = held.go_on_after_cancel(first, *others)
        running.send_signal(signal.SIGINT)
        code, errors = end_of(running)
    assert (code, "KeyboardInterrupt" in errors) == (-signal.SIGINT, True)
    assert held.jobs() == [] and held.server.stats.posts == 4
    opener.result(PATIENCE)
    header, made = (tmp_path / "batch.jsonl").read_text("utf-8").splitlines()
    assert '"requests": 51' in header and '"place": 0' in made


# asyncio


def test_a_future_is_awaited_with_asyncio(comfyui_server):
    async def make():
        futures = [provider.submit(request(seed=seed)) for seed in range(3)]
        return await asyncio.gather(*map(asyncio.wrap_future, futures))

    with ComfyUIProvider(comfyui_server.address) as provider:
        results = asyncio.run(make())
    assert [result.images[0]["seed"] for result in results] == [0, 1, 2]


def test_a_task_that_is_cancelled_ends_its_job_on_the_server(held):
    async def make(provider):
        future = asyncio.wrap_future(provider.submit(request()))
        await asyncio.to_thread(held.wait_for_jobs, 1)
        opener = held.go_on_after_cancel(held.jobs()[0])
        future.cancel()
        with pytest.raises(asyncio.CancelledError):
            await future
        await asyncio.wrap_future(opener)
        await asyncio.to_thread(held.wait_for_jobs, 0)

    with ComfyUIProvider(held.address, limits=LIMITS) as provider:
        asyncio.run(make(provider))
