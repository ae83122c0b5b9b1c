"""The life of the server: ports, start, stop, fixture, command, and what it says it is."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import requests

from comfyui.embedded import (
    EmbeddedOptions,
    EmbeddedServer,
    PortInUseError,
    StepGate,
    serve,
)
from comfyui.jobs import Job
from image_provider import ProviderUnavailableError
from tests.embedded.driving import Driver, colour, text_to_image
from tests.embedded.replay import load
from tests.job_support import PATIENCE, background, client_of, graph, queue_of, server_with

ROOT = Path(__file__).parents[2]


def test_a_taken_port_is_a_clear_error(comfyui_server):
    port = int(comfyui_server.address.rpartition(":")[2])
    with pytest.raises(PortInUseError, match=f"port {port} on 127.0.0.1 is taken.*--port"):
        EmbeddedServer(port).start()


def test_serve_answers_one_when_the_port_is_taken(comfyui_server, caplog):
    assert serve(int(comfyui_server.address.rpartition(":")[2])) == 1
    assert "--port" in caplog.text


def test_it_listens_on_the_loopback_address_only(comfyui_server):
    host, _, port = comfyui_server.address.rpartition(":")
    assert host == "127.0.0.1"
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.2", int(port)), timeout=1)


def test_stopping_ends_a_running_job_its_threads_and_its_folder():
    gate = StepGate("KSampler", step=1)
    server = EmbeddedServer(options=EmbeddedOptions(step_seconds=0, on_step=gate)).start()
    with Driver(server) as driver:
        driver.post(text_to_image())
        assert gate.wait_reached()
        folder = server.data_dir
        assert folder.exists()
        server.stop()
        server.stop()
    assert not folder.exists()
    assert not [t for t in threading.enumerate() if t.name.startswith("comfyui-embedded")]
    with pytest.raises(requests.ConnectionError):
        requests.get(server.url, timeout=1)


def test_nobody_hears_of_the_end_of_a_job_that_ends_with_its_server():
    gate = StepGate("KSampler", step=1)
    server = EmbeddedServer(options=EmbeddedOptions(step_seconds=0, on_step=gate)).start()
    with Driver(server) as driver:
        driver.post(text_to_image())
        assert gate.wait_reached()
        server.stop()
        heard = [json.loads(text) for text in iter(driver.socket.recv, "")]  # "": it was closed
    assert {message["type"] for message in heard} >= {"execution_start", "executing"}
    assert not [message for message in heard if message["type"] == "execution_interrupted"]
    assert None not in [message["data"].get("node", "") for message in heard]


def test_a_client_takes_a_server_that_was_stopped_and_started_for_one_that_was_killed():
    gate = StepGate("3", step=2)
    with (
        server_with(on_step=gate) as server,
        client_of(server.address) as client,
        background() as go,
    ):
        future = go(Job(client, graph()).run)
        assert gate.wait_reached()
        server.stop()
        server.start()
        with pytest.raises(ProviderUnavailableError):
            future.result(PATIENCE)
        assert queue_of(server) == ([], [])
        assert requests.get(f"{server.url}/history", timeout=PATIENCE).json() == {}


@pytest.mark.parametrize("source", ["None", "Image.new('RGB', (64, 64))"])
def test_a_job_that_outlives_the_main_thread_gets_its_picture(source, tmp_path):
    code = (
        "import threading\n"
        "from PIL import Image\n"
        "from comfyui_provider import ComfyUIProvider\n"
        "from image_provider import ImageGenerationRequest\n"
        "began = threading.Event()\n"
        "request = ImageGenerationRequest('x', width=64, height=64,\n"
        f"    extra={{'source_image': {source}}}, on_progress=lambda update: began.set())\n"
        "future = ComfyUIProvider('embedded').submit(request)\n"
        "wait = lambda: print(future.result().success)\n"
        "threading.Thread(target=wait).start()\n"  # otherwise the end of the process ends the job
        "began.wait()\n"  # since Python 3.12 no thread begins after this one's end
    )
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)}
    ended = subprocess.run(
        [sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=False
    )
    assert ended.stdout == "True\n"
    assert "Traceback" not in ended.stderr
    assert not list(tmp_path.iterdir())


def test_a_given_folder_stays_and_numbering_goes_on_there(tmp_path):
    options = EmbeddedOptions(step_seconds=0, data_dir=tmp_path / "data")
    for _ in range(2):
        with EmbeddedServer(options=options) as server, Driver(server) as driver:
            driver.run(colour())
    names = sorted(path.name for path in (tmp_path / "data" / "output").iterdir())
    assert names == ["plain_00001_.png", "plain_00002_.png"]


def test_a_restarted_server_keeps_its_address_and_forgets_its_history():
    server = EmbeddedServer(options=EmbeddedOptions(step_seconds=0))
    with server, Driver(server) as driver:
        driver.run(colour())
        address = server.address
        with pytest.raises(RuntimeError, match="already runs"):
            server.start()
    with pytest.raises(RuntimeError, match="not running"):
        _ = server.data_dir
    with server, Driver(server) as driver:
        assert server.address == address
        assert driver.get("/history") == {}


def test_it_says_what_it_is(driver):
    system = driver.get("/system_stats")["system"]
    assert system["comfyui_version"] == "0.26.0"
    assert system["embedded"] is True
    assert "comfyui.embedded" in system["argv"]
    recorded = next(
        e for e in load("exchanges/026_gets")["log"] if e["http"] == "GET /system_stats"
    )
    assert set(system) - {"embedded"} == set(recorded["json"]["system"])
    assert "embedded server" in driver.session.get(driver.server.url).text


def test_plain_gets_answer_as_recorded(comfyui_server):
    differing = {"GET /system_stats", "GET /models/checkpoints"}
    for exchange in load("exchanges/026_gets")["log"]:
        if exchange["http"] in differing:
            continue
        path = exchange["http"].removeprefix("GET ")
        for twin in (path, f"/api{path}"):
            response = requests.get(comfyui_server.url + twin, timeout=5)
            assert response.status_code == exchange["status"], twin
            if "json" in exchange:
                assert response.json() == exchange["json"], twin


def test_object_info_is_as_recorded_but_for_texts_and_files(driver):
    for exchange in load("exchanges/026_object_info_some")["log"]:
        recorded = exchange["json"]
        own = driver.get(exchange["http"].removeprefix("GET "))
        for info in (*own.values(), *recorded.values()):
            del info["description"]
        if "CheckpointLoaderSimple" in own:
            assert own["CheckpointLoaderSimple"]["input"]["required"]["ckpt_name"][0]
            own["CheckpointLoaderSimple"]["input"]["required"]["ckpt_name"][0] = []
        if "LoadImage" in own:
            assert own["LoadImage"]["input"]["required"]["image"][0] == []
            own["LoadImage"]["input"]["required"]["image"][0] = ["example.png"]
        assert own == recorded


def test_model_lists_come_from_the_options():
    options = EmbeddedOptions(models={"loras": ["b.safetensors", "a.safetensors"]})
    with EmbeddedServer(options=options) as server, Driver(server) as driver:
        assert driver.get("/models/loras") == ["a.safetensors", "b.safetensors"]
        info = driver.get("/object_info/LoraLoader")["LoraLoader"]
        assert info["input"]["required"]["lora_name"][0] == ["a.safetensors", "b.safetensors"]
        assert driver.get("/models/vae") == []


def test_a_long_list_of_choices_is_not_sent_back():
    names = [f"model_{number:02}.safetensors" for number in range(21)]
    options = EmbeddedOptions(models={"checkpoints": names})
    with EmbeddedServer(options=options) as server, Driver(server) as driver:
        answer = driver.send("/prompt", {"prompt": text_to_image()}).json()
    error = answer["node_errors"]["4"]["errors"][0]
    assert error["extra_info"]["input_config"] is None
    assert error["details"].endswith("not in (list of length 21)")


def test_counters_count(driver):
    driver.picture(driver.run(colour()), "2")
    driver.send("/prompt", {})
    stats = driver.server.stats
    assert (stats.posts, stats.views, stats.websockets) == (2, 1, 1)
    assert (stats.uploads, stats.nodes_executed) == (0, 2)


def test_importing_the_plugin_loads_no_server_library():
    code = (
        "import sys, comfyui.embedded.pytest_plugin\n"
        "print(sorted({'aiohttp', 'numpy', 'PIL'} & set(sys.modules)))"
    )
    output = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert output.stdout.strip() == "[]"


def test_the_command_names_its_address_and_ends_when_the_port_is_taken(comfyui_server):
    port = comfyui_server.address.rpartition(":")[2]
    command = [sys.executable, "-m", "comfyui.embedded", "--port", port]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert f"port {port}" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_the_command_refuses_what_is_no_port():
    command = [sys.executable, "-m", "comfyui.embedded", "--port", "65536"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert "argument --port: '65536' is no port; give a number from 0 to 65535" in ended.stderr


@pytest.mark.skipif(os.name == "nt", reason="Windows ends a process without a signal")
def test_the_command_clears_up_when_it_is_told_to_end(tmp_path):
    command = [sys.executable, "-m", "comfyui.embedded", "--port", "0"]
    environ = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        command, cwd=ROOT, env=environ, stderr=subprocess.PIPE, text=True
    ) as process:
        assert "http://127.0.0.1:" in process.stderr.readline()
        assert list(tmp_path.iterdir())
        process.terminate()
        process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    assert not list(tmp_path.iterdir())


def test_no_node_type_is_replaced(comfyui_server):
    for path in ("/node_replacements", "/api/node_replacements"):
        answer = requests.get(comfyui_server.url + path, timeout=PATIENCE)
        assert (answer.status_code, answer.json()) == (200, {})
