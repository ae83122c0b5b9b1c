"""Which server a job goes to, what is remembered of each, and the embedded one of its own."""

from __future__ import annotations

import itertools
import socket
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import pytest
import requests
import responses

import comfyui.embedded
from comfyui.address import ServerAddress
from comfyui.client import ComfyUIClient, Limits
from comfyui.embedded import EmbeddedServer
from comfyui.embedded.options import COMFYUI_VERSION
from comfyui.fitting import Fit, InputFile, Rank
from comfyui.server import Server
from comfyui.servers import Servers
from comfyui.status import server_status
from comfyui.workflow import Workflow
from image_provider import (
    AuthenticationError,
    ConfigurationError,
    ProviderTimeoutError,
    ProviderUnavailableError,
    WorkflowError,
)
from tests.key_watch import planted

HUSH = planted("hush")

STATS = {"system": {"comfyui_version": "0.26.0"}, "devices": [{"name": "cuda:0 A card"}, 1]}
NO_MODELS: dict[str, object] = {
    "CheckpointLoaderSimple": {"input": {"required": {"ckpt_name": [[], {}]}}}
}


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@contextmanager
def servers_at(
    address: str, clock: Clock | None = None, token: str | None = None
) -> Iterator[Servers]:
    def make(place: ServerAddress) -> ComfyUIClient:
        return ComfyUIClient(place, "prefix", Limits(connect=2, silence=0), clock=clock or Clock())

    servers = Servers(address, token, make)
    try:
        yield servers
    finally:
        servers.close()


@pytest.fixture
def http():
    with responses.RequestsMock() as mock:
        yield mock


def unused_address() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"127.0.0.1:{listener.getsockname()[1]}"


def test_server_that_answers_is_picked_and_believed_for_a_few_seconds(http):
    asked = http.get("http://a:1/system_stats", json=STATS)
    clock = Clock()
    with servers_at("a:1", clock) as servers:
        assert servers.pick() is servers.pick()
        assert asked.call_count == 1
        clock.now += 5.1
        servers.pick()
    assert asked.call_count == 2


def never_answering(http, name: str, clock: Clock, seconds: float) -> list[float]:
    """A server of which it takes so long to learn that it does not answer; when it was asked."""
    times: list[float] = []

    def fail(request):
        times.append(clock.now)
        clock.now += seconds
        return requests.exceptions.ReadTimeout()

    http.add_callback("GET", f"http://{name}:1/system_stats", fail)
    return times


def test_server_that_never_answers_is_not_waited_for_at_every_turn_and_found_once_it_does(http):
    clock = Clock()
    times = never_answering(http, "a", clock, 4.0)
    with servers_at("a:1", clock) as servers:
        for _ in range(3):
            with pytest.raises(ProviderUnavailableError, match="did not answer"):
                servers.pick()
        assert len(times) == 1
        http.replace("GET", "http://a:1/system_stats", json=STATS)
        clock.now += 5.1
        assert servers.pick().name == "a:1"


def test_server_that_was_just_started_is_found_at_once(http):
    http.get("http://a:1/system_stats", body=requests.exceptions.ConnectionError())
    http.get("http://a:1/system_stats", json=STATS)
    clock = Clock()
    with servers_at("a:1", clock) as servers:
        with pytest.raises(ProviderUnavailableError):
            servers.pick()
        clock.now += 0.1
        assert servers.pick().name == "a:1"


def test_server_that_fails_once_is_asked_again(http):
    http.get("http://a:1/system_stats", status=500)
    http.get("http://a:1/system_stats", json=STATS)
    with servers_at("a:1") as servers:
        assert servers.pick().name == "a:1"


def test_shortest_queue_wins_and_a_server_that_fails_is_left_out(http, caplog):
    http.get("http://a:1/system_stats", json=STATS)
    http.get("http://a:1/prompt", json={"exec_info": {"queue_remaining": 3}})
    http.get("http://b:1/system_stats", status=503)
    http.get("http://c:1/system_stats", json=STATS)
    http.get("http://c:1/prompt", json={"exec_info": {"queue_remaining": 1}})
    with servers_at("a:1, b:1, c:1") as servers:
        assert servers.pick().name == "c:1"
    assert "server b:1 is left out" in caplog.text


def test_a_server_that_was_doubted_is_asked_at_once(http):
    asked = http.get("http://a:1/system_stats", json=STATS)
    with servers_at("a:1") as servers:
        servers.pick().doubt()
        servers.pick()
        servers.pick()
    assert asked.call_count == 2


def test_a_failing_server_is_asked_more_and_more_rarely_while_another_one_answers(http, caplog):
    caplog.set_level("INFO")
    clock = Clock()
    times = never_answering(http, "a", clock, 2.5)
    idle_servers(http, "b")
    with servers_at("a:1, b:1", clock) as servers:
        while clock.now < 1300:
            assert servers.pick().name == "b:1"
            clock.now += 1
        pauses = [later - earlier - 2.5 for earlier, later in itertools.pairwise(times)]
        assert pauses == [6, 11, 21, 41, 61, 61, 61]
        assert caplog.text.count("server a:1 is left out") == 1
        http.replace("GET", "http://a:1/system_stats", json=STATS)
        http.get("http://a:1/prompt", json={"exec_info": {"queue_remaining": 0}})
        clock.now += 61
        assert {servers.pick().name for _ in range(3)} == {"a:1"}
        assert "server a:1 can be used again" in caplog.text


def test_servers_that_all_fail_are_asked_again_every_few_seconds(http):
    refused = requests.exceptions.ConnectionError()
    asked = [http.get(f"http://{name}:1/system_stats", body=refused) for name in "ab"]
    clock = Clock()
    with servers_at("a:1, b:1", clock) as servers:
        for _ in range(20):
            with pytest.raises(ProviderUnavailableError):
                servers.pick()
            clock.now += 5.1
    assert [each.call_count for each in asked] == [20, 20]


def test_what_comes_back_may_have_other_classes(http):
    asked = http.get("http://a:1/object_info", json=NO_MODELS)
    http.get("http://a:1/system_stats", json=STATS)
    http.get("http://a:1/system_stats", body=requests.exceptions.ConnectionError())
    http.get("http://a:1/system_stats", json=STATS)
    clock = Clock()
    with servers_at("a:1", clock) as servers:
        server = servers.pick()
        server.object_info()
        server.doubt()
        with pytest.raises(ProviderUnavailableError):
            servers.pick()
        clock.now += 5.1
        servers.pick().object_info()
    assert asked.call_count == 2


def test_when_no_server_can_be_used_every_reason_is_told(http):
    http.get("http://a:1/system_stats", status=401)
    http.get("http://b:1/system_stats", body="<html>", content_type="text/html")
    with (
        servers_at(f"http://user:{HUSH}@a:1, b:1", token=HUSH) as servers,
        pytest.raises(ProviderUnavailableError) as caught,
    ):
        servers.pick()
    told = str(caught.value)
    assert "a:1 wants credentials" in told
    assert "b:1 is not a ComfyUI server" in told
    assert HUSH not in told


def test_wrong_credentials_of_the_only_server_keep_their_kind(http):
    http.get("http://a:1/system_stats", status=401)
    with servers_at("a:1") as servers, pytest.raises(AuthenticationError):
        servers.pick()


def test_node_classes_are_remembered_for_a_minute_unless_fresh_ones_are_asked_for(http):
    asked = http.get("http://a:1/object_info", json=NO_MODELS)
    clock = Clock()
    with servers_at("a:1", clock) as servers:
        server = servers.all()[0]
        first = server.object_info()
        assert "CheckpointLoaderSimple" in first
        clock.now += 59
        assert server.object_info() is first
        server.object_info(fresh=True)
        assert asked.call_count == 2
        clock.now += 61
        server.object_info()
    assert asked.call_count == 3


def test_node_classes_are_asked_for_again_after_a_failure(http):
    http.get("http://a:1/object_info", status=500)
    http.get("http://a:1/object_info", json=NO_MODELS)
    with servers_at("a:1") as servers:
        assert "CheckpointLoaderSimple" in servers.all()[0].object_info()


def test_replacements_are_asked_for_where_a_class_is_missing_and_are_as_old_as_the_classes(http):
    http.get("http://a:1/object_info", json=NO_MODELS)
    answer = {"Old": [{"new_node_id": "CheckpointLoaderSimple", "old_node_id": "Old"}]}
    asked = http.get("http://a:1/node_replacements", json=answer)
    clock = Clock()
    with servers_at("a:1", clock) as servers:
        server = servers.all()[0]
        known = {"1": {"class_type": "CheckpointLoaderSimple", "inputs": {}}}
        unknown = {"1": {"class_type": "Old", "inputs": {}}}
        assert server.replacements(known) == {}
        assert asked.call_count == 0
        for _ in range(2):
            assert server.replacements(unknown) == {"Old": "CheckpointLoaderSimple"}
        assert asked.call_count == 1
        clock.now += 61
        server.replacements(unknown)
    assert asked.call_count == 2


def idle_servers(http, *names):
    for name in names:
        http.get(f"http://{name}:1/system_stats", json=STATS)
        http.get(f"http://{name}:1/prompt", json={"exec_info": {"queue_remaining": 0}})


def test_jobs_in_hand_count_before_the_queue_shows_them(http):
    idle_servers(http, "a", "b")
    with servers_at("a:1, b:1") as servers, ExitStack() as jobs:
        taken = [jobs.enter_context(servers.at_work()).name for _ in range(5)]
        assert taken == ["a:1", "b:1", "a:1", "b:1", "a:1"]
        assert servers.pick().name == "b:1"


def test_jobs_on_their_way_are_weighed_against_a_queue(http):
    idle_servers(http, "b")
    http.get("http://a:1/system_stats", json=STATS)
    http.get("http://a:1/prompt", json={"exec_info": {"queue_remaining": 3}})
    with servers_at("a:1, b:1") as servers, ExitStack() as jobs:
        taken = [jobs.enter_context(servers.at_work()).name for _ in range(5)]
        assert taken == ["b:1", "b:1", "b:1", "a:1", "b:1"]


def test_idle_servers_take_turns(http):
    idle_servers(http, "a", "b", "c")
    taken = []
    with servers_at("a:1, b:1, c:1") as servers:
        for _ in range(4):
            assert servers.pick() is servers.pick(), "a look takes no turn"
            with servers.at_work() as server:
                taken.append(server.name)
    assert taken == ["a:1", "b:1", "c:1", "a:1"]


# How a job fits

WHOLE, PARTLY, NOT = (Fit(rank, (rank.name,)) for rank in Rank)


class Examiner:
    """Tells how a job fits, by the servers' names, and remembers who was examined."""

    def __init__(self, lists_now: dict[str, object] | None = None, **fits: object) -> None:
        self.fits = fits
        self.lists_now = lists_now or fits
        self.asked: list[tuple[str, bool]] = []

    def __call__(self, server: Server, fresh: bool) -> Fit:
        name = server.name.partition(":")[0]
        self.asked.append((name, fresh))
        found = (self.lists_now if fresh else self.fits)[name]
        if isinstance(found, Exception):
            raise found
        assert isinstance(found, Fit)
        return found


@pytest.mark.parametrize(
    ("examiner", "taken", "asked"),
    [
        (Examiner(a=WHOLE, b=WHOLE), "a", ["a"]),
        (Examiner(a=PARTLY, b=WHOLE), "b", ["a", "b"]),
        (Examiner(a=PARTLY, b=PARTLY), "a", ["a", "b"]),
        (Examiner(a=NOT, b=PARTLY), "b", ["a", "b"]),
        (Examiner(a=NOT, b=NOT), "a", ["a", "b", "a now", "b now"]),
        (Examiner({"a": NOT, "b": WHOLE}, a=NOT, b=NOT), "b", ["a", "b", "a now", "b now"]),
        (Examiner({"a": WHOLE}, a=NOT, b=NOT), "a", ["a", "b", "a now"]),
        (Examiner(a=ProviderUnavailableError("gone"), b=NOT), "b", ["a"]),
        (Examiner(a=ProviderTimeoutError("slow"), b=WHOLE), "b", ["a"]),
    ],
)
def test_the_server_that_fits_best_is_taken_and_no_more_are_examined(http, examiner, taken, asked):
    idle_servers(http, "a", "b")
    with servers_at("a:1, b:1") as servers, servers.at_work(examiner) as server:
        assert server.name == f"{taken}:1"
        assert [each.jobs_in_hand for each in servers.all()] == [taken == "a", taken == "b"]
    assert [name + " now" * fresh for name, fresh in examiner.asked] == asked


def test_where_there_is_no_choice_nobody_is_examined(http):
    idle_servers(http, "a")
    http.get("http://b:1/system_stats", status=503)
    examiner = Examiner()
    with servers_at("a:1") as servers, servers.at_work(examiner) as server:
        assert server.name == "a:1"
    with servers_at("a:1, b:1") as servers:
        with servers.at_work(examiner) as server:
            assert server.name == "a:1"
        assert servers.pick(examiner) is server
    assert examiner.asked == []


def test_what_is_wrong_with_the_job_itself_ends_the_choice(http):
    idle_servers(http, "a", "b")
    with (
        servers_at("a:1, b:1") as servers,
        pytest.raises(WorkflowError, match="no such"),
        servers.at_work(Examiner(a=WorkflowError("no such file"))),
    ):
        pass


def test_servers_that_were_tried_are_not_taken_again(http):
    idle_servers(http, "b")
    with servers_at("a:1, b:1") as servers:
        first, second = servers.all()
        with servers.at_work(Examiner(), [first]) as server:
            assert server is second
        with pytest.raises(ProviderUnavailableError), servers.at_work(None, [first, second]):
            pass


def test_jobs_that_are_examined_at_once_do_not_all_go_to_the_same_server(http):
    idle_servers(http, "a", "b", "c")
    together, started = threading.Barrier(6), threading.local()

    def examine(server: Server, fresh: bool) -> Fit:
        if not hasattr(started, "yes"):
            started.yes = True
            together.wait(10)  # all have looked before any is placed
        return NOT if server.name == "b:1" else WHOLE

    def take(servers: Servers) -> str:
        with servers.at_work(examine) as server:
            together.wait(10)
            return server.name

    with servers_at("a:1, b:1, c:1") as servers, ThreadPoolExecutor(6) as pool:
        taken = [pool.submit(take, servers) for _ in range(6)]
        assert sorted(each.result(10) for each in taken) == ["a:1"] * 3 + ["c:1"] * 3
        assert [server.jobs_in_hand for server in servers.all()] == [0, 0, 0]


def test_a_file_is_on_the_server_that_gives_it(http):
    place = ("x.png", "sub", "input")
    url = "http://a:1/view?filename=x.png&subfolder=sub&type=input"
    for status in (404, 403, 400, 500, 200):
        http.get(url, status=status, body=b"x")
    clock = Clock()
    with servers_at("a:1", clock) as servers:
        (server,) = servers.all()
        assert not server.has_file(place)
        assert server.has_file(place), "it will not say"
        assert server.has_file(place), "it cannot say"
        with pytest.raises(ProviderUnavailableError):
            server.has_file(place)
        for _ in range(3):
            assert server.has_file(place)
        assert len(http.calls) == 5
        clock.now += 61
        server.has_file(place)
        assert len(http.calls) == 6


def test_of_files_of_one_name_the_known_one_counts(http):
    http.get("http://a:1/view", body=b"x")
    with servers_at("a:1, b:1") as servers:
        first, second = servers.all()
        file = InputFile("x.png [output]", ("x.png", "", "output"))
        assert servers.missing_files(first, [file]) == []
        servers.remember(second, [file.place])
        assert servers.missing_files(first, [file]) == ["x.png [output]"]
        assert servers.missing_files(second, [file]) == []


def test_what_is_remembered_is_bounded(http, monkeypatch):
    monkeypatch.setattr("comfyui.servers._MOST_REMEMBERED", 2)
    for name in "ab":
        http.get(f"http://{name}:1/system_stats", json=STATS)
    with servers_at("a:1, b:1") as servers:
        first, second = servers.all()
        servers.remember(second, ["x", "y", "z"])
        assert servers.holding("z") == [second]
        assert servers.holding("x") == [first, second]


def test_address_that_cannot_be_read_is_told_when_it_is_given():
    with pytest.raises(ConfigurationError, match="no server address"), servers_at("a:b"):
        pass


def test_server_that_is_not_there_is_unavailable_with_the_next_step():
    address = unused_address()
    with servers_at(address) as servers, pytest.raises(ProviderUnavailableError) as caught:
        servers.pick()
    assert address in str(caught.value)
    assert "Start ComfyUI there" in str(caught.value)


# The embedded server


def test_embedded_server_starts_when_it_is_needed_and_stops_at_the_end(caplog):
    with servers_at(" Embedded ") as servers:
        server = servers.pick()
        assert server.name == "embedded"
        assert servers.pick() is server
        address = str(server.client.address)
    assert caplog.text.count("starting the embedded server") == 1
    with servers_at(address) as gone, pytest.raises(ProviderUnavailableError):
        gone.pick()


def test_embedded_server_of_somebody_else_is_called_embedded_too(comfyui_server):
    with servers_at(comfyui_server.address) as servers:
        assert servers.pick().name == "embedded"


def test_embedded_server_that_is_not_installed_is_a_configuration_error(monkeypatch):
    monkeypatch.setitem(sys.modules, "comfyui.embedded.server", None)
    monkeypatch.delattr(comfyui.embedded, "server", raising=False)
    with servers_at("embedded") as servers, pytest.raises(ConfigurationError, match=r"\[embedded"):
        servers.pick()


# Status


def test_status_tells_version_devices_queue_and_what_a_workflow_lacks(http):
    http.get("http://a:1/system_stats", json=STATS)
    http.get("http://a:1/prompt", json={"exec_info": {"queue_remaining": 2}})
    http.get("http://a:1/object_info", json=NO_MODELS)
    answer = {"Old": [{"new_node_id": "CheckpointLoaderSimple", "old_node_id": "Old"}]}
    http.get("http://a:1/node_replacements", json=answer)
    workflow = Workflow.from_dict(
        {name: {"class_type": name, "inputs": {}} for name in ("NoSuchNode", "Old")}
    )
    with servers_at("a:1") as servers:
        status = server_status(servers.pick(), workflow)
    assert (status.address, status.version, status.queue_length) == ("a:1", "0.26.0", 2)
    assert status.devices == ("cuda:0 A card",)
    assert not status.is_embedded
    assert [problem.node_id for problem in status.problems] == ["NoSuchNode"]


def test_status_of_the_embedded_server_says_so(comfyui_server: EmbeddedServer):
    with servers_at(comfyui_server.address) as servers:
        status = server_status(servers.pick())
    assert status.is_embedded
    assert status.version == COMFYUI_VERSION
    assert status.problems == ()
