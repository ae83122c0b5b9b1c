"""Jobs from post to history: caching, errors, interruption, the order of the queue, the list."""

from __future__ import annotations

import json

import pytest

from comfyui.embedded import EmbeddedOptions, EmbeddedServer, FailNode, StepGate
from comfyui.embedded.jobs import MAX_HISTORY, JobQueue
from tests.embedded.driving import Driver, colour, node, text_to_image, types_of
from tests.embedded.replay import load


def executed_nodes(messages) -> list[str]:
    """Ids of the nodes that ran, in order."""
    data = [m["data"] for m in messages if isinstance(m, dict) and m["type"] == "executing"]
    return [d["node"] for d in data if d["node"] is not None]


def run_messages(driver, graph):
    return driver.until_done(driver.post(graph))


def test_only_nodes_below_a_change_run_again(driver):
    assert executed_nodes(run_messages(driver, text_to_image(seed=1))) == list("4576389")
    assert executed_nodes(run_messages(driver, text_to_image(seed=1))) == []
    assert executed_nodes(run_messages(driver, text_to_image(seed=2))) == list("389")
    changed = text_to_image(seed=2, negative="blurry")
    assert executed_nodes(run_messages(driver, changed)) == list("7389")
    assert driver.server.stats.nodes_executed == 7 + 3 + 4


def test_the_cache_holds_the_results_of_the_last_graph_only(driver):
    for graph in (colour(1), colour(2), colour(1)):
        assert executed_nodes(run_messages(driver, graph)) == ["1", "2"]


def test_a_replaced_input_file_is_read_again(driver):
    graph = {
        "1": node("LoadImage", image="a.png"),
        "2": node("PreviewImage", images=["1", 0]),
    }
    path = driver.server.data_dir / "input" / "a.png"
    for text in (colour(1), colour(2)):
        entry = driver.run(text)
        driver.picture(entry, "2").save(path)
        assert executed_nodes(run_messages(driver, graph)) == ["1", "2"]


def test_free_memory_forgets_the_cache(driver):
    run_messages(driver, colour())
    assert driver.send("/free", {"unload_models": True}).status_code == 200
    assert executed_nodes(run_messages(driver, colour())) == []
    driver.send("/free", {"free_memory": True})
    assert executed_nodes(run_messages(driver, colour())) == ["1", "2"]


@pytest.mark.parametrize("where", ["KSampler", "3"])
def test_a_failing_node_has_the_keys_of_a_recorded_execution_error(where):
    failure = FailNode(where, "out of memory", "torch.OutOfMemoryError")
    with (
        EmbeddedServer(options=EmbeddedOptions(step_seconds=0, fail_node=failure)) as server,
        Driver(server) as driver,
    ):
        prompt_id = driver.post(text_to_image())
        messages = driver.until_done(prompt_id)
        entry = driver.get(f"/history/{prompt_id}")[prompt_id]
        job = driver.get(f"/api/jobs/{prompt_id}")
    recorded = load("exchanges/026_exec_error_message")
    assert types_of(messages)[-3:] == recorded["last_types"]
    error = messages[-3]["data"]
    assert list(error) == list(recorded["data"])
    assert error["exception_message"] == "out of memory\n"
    assert error["exception_type"] == "torch.OutOfMemoryError"
    assert (error["node_id"], error["node_type"]) == ("3", "KSampler")
    assert entry["status"]["status_str"] == "error"
    assert entry["status"]["messages"][-1] == ["execution_error", error]
    assert list(job) == recorded["job_keys"]
    assert job["execution_error"] == error


def test_sampling_stops_at_the_next_step_when_interrupted():
    gate = StepGate("KSampler", step=3)
    options = EmbeddedOptions(step_seconds=0, on_step=gate)
    with EmbeddedServer(options=options) as server, Driver(server) as driver:
        prompt_id = driver.post(text_to_image(steps=10))
        assert gate.wait_reached()
        driver.send("/interrupt", {"prompt_id": prompt_id})
        gate.open()
        messages = driver.until_done(prompt_id)
        steps = [m["data"]["value"] for m in messages
                 if isinstance(m, dict) and m["type"] == "progress"]  # fmt: skip
        assert steps == [1, 2]
        assert types_of(messages)[-3:] == ["execution_interrupted", "status", "executing"]
        assert driver.get(f"/api/jobs/{prompt_id}")["status"] == "cancelled"
        # The flag is gone with the job: the next one runs.
        assert driver.run(colour())["status"]["completed"]


def test_an_interrupt_of_a_waiting_job_is_lost_as_on_the_real_server():
    gate = StepGate("EmptyImage")
    options = EmbeddedOptions(step_seconds=0, on_step=gate)
    with EmbeddedServer(options=options) as server, Driver(server) as driver:
        driver.post(colour(1))
        assert gate.wait_reached()
        waiting = driver.post(colour(2))
        assert driver.send("/interrupt", {"prompt_id": waiting}).status_code == 200
        gate.open()
        driver.until_done(waiting)
        assert driver.get(f"/history/{waiting}")[waiting]["status"]["completed"]


def test_front_and_number_decide_who_runs_first():
    gate = StepGate("EmptyImage")
    options = EmbeddedOptions(step_seconds=0, on_step=gate)
    with EmbeddedServer(options=options) as server, Driver(server) as driver:
        first = driver.post(colour(1))
        assert gate.wait_reached()
        last = driver.post(colour(2))
        third = driver.post(colour(3), front=True)
        second = driver.post(colour(4), number=-100)
        waiting = driver.get("/queue")["queue_pending"]
        assert waiting[0][:2] == [-100.0, second]
        assert {entry[1] for entry in waiting} == {last, third, second}
        gate.open()
        driver.until_done(last)
        assert list(driver.get("/history")) == [first, second, third, last]


def test_clear_empties_the_waiting_jobs_only():
    gate = StepGate("EmptyImage")
    options = EmbeddedOptions(step_seconds=0, on_step=gate)
    with EmbeddedServer(options=options) as server, Driver(server) as driver:
        running = driver.post(colour(1))
        assert gate.wait_reached()
        for number in (2, 3):
            driver.post(colour(number))
        driver.send("/queue", {"clear": True})
        assert driver.get("/prompt") == {"exec_info": {"queue_remaining": 1}}
        gate.open()
        driver.until_done(running)
        assert list(driver.get("/history")) == [running]


def test_history_forgets_the_oldest_beyond_its_limit():
    queue = JobQueue(lambda: None)
    for number in range(MAX_HISTORY + 2):
        queue.put(number, str(number), {}, {}, [])
        job = queue.take()
        assert job is not None
        queue.finish(job, {})
    ids = list(queue.history())
    assert len(ids) == MAX_HISTORY
    assert ids[0] == "2"


def test_partial_execution_runs_the_wanted_outputs_only(driver):
    graph = {**colour(), "3": node("PreviewImage", images=["1", 0])}
    prompt_id = driver.post(graph, partial_execution_targets=["3"])
    assert executed_nodes(driver.until_done(prompt_id)) == ["1", "3"]


def test_keys_of_comfy_org_are_not_kept(driver):
    prompt_id = driver.post(colour(), extra_data={"api_key_comfy_org": "secret", "tag": 1})
    driver.until_done(prompt_id)
    assert "secret" not in json.dumps(driver.get("/history"))
    assert driver.get("/history")[prompt_id]["prompt"][3]["tag"] == 1


@pytest.mark.parametrize(
    "exchange",
    [e for e in load("exchanges/026_jobs")["log"] if e["status"] == 400],
    ids=lambda e: json.dumps(e["query"]),
)
def test_job_list_refuses_bad_queries_as_recorded(driver, exchange):
    response = driver.session.get(f"{driver.server.url}/api/jobs", params=exchange["query"])
    assert (response.status_code, response.json()) == (400, exchange["json"])


def test_job_list_filters_sorts_and_pages(driver):
    tagged = driver.post(colour(1), extra_data={"extra_pnginfo": {"workflow": {"id": "wf"}}})
    driver.until_done(tagged)
    plain = driver.post(colour(2))
    driver.until_done(plain)
    answer = driver.get("/api/jobs", limit=1, sort_order="asc")
    assert answer["pagination"] == {"offset": 0, "limit": 1, "total": 2, "has_more": True}
    assert [job["id"] for job in answer["jobs"]] == [tagged]
    recorded = next(e["json"] for e in load("exchanges/026_jobs")["log"] if e["status"] == 200)
    assert list(driver.get("/api/jobs", limit=1)["jobs"][0]) == list(recorded["jobs"][0])
    assert [j["id"] for j in driver.get("/api/jobs", workflow_id="wf")["jobs"]] == [tagged]
    assert driver.get("/api/jobs", status="failed,pending")["jobs"] == []
    assert driver.get("/api/jobs", offset=9)["pagination"]["total"] == 2
    assert driver.send("/jobs").status_code == 404
