"""Every endpoint as it goes over the wire, and every answer that is not the one hoped for."""

from __future__ import annotations

import base64
import json
import logging
import socket
import threading
from typing import Any

import pytest
import requests
import responses
from responses import matchers

from comfyui.address import parse_address
from comfyui.client import ComfyUIClient, Limits
from comfyui.outputs import OutputFile
from image_provider import (
    AuthenticationError,
    ImageGenerationError,
    ProviderTimeoutError,
    ProviderUnavailableError,
    RateLimitedError,
    WorkflowError,
)
from tests.key_watch import planted

BASE = "http://gpu-box:9000/comfy"
STATS = {"system": {"comfyui_version": "0.26.0"}, "devices": []}
HUSH = planted("hush")
HUSH_BASIC = base64.b64encode(f"user:{HUSH}".encode()).decode()
GRAPH = {"1": {"class_type": "EmptyImage", "inputs": {}}}
HTML = "<html><title>Some other program</title></html>"
SMALL = Limits(connect=0.2, read=0.2)


@pytest.fixture
def http():
    with responses.RequestsMock() as mock:
        yield mock


@pytest.fixture
def client():
    return make_client(BASE)


def make_client(address: str, token: str | None = None) -> ComfyUIClient:
    return ComfyUIClient(parse_address(address, token), "prefix")


def body_of(call: responses.Call) -> Any:
    return json.loads(call.request.body or b"")


# Endpoints


@pytest.mark.parametrize(
    ("path", "answer", "ask", "result"),
    [
        ("/system_stats", STATS, lambda client: client.system_stats(), STATS),
        ("/object_info", {"A": {}}, lambda client: client.object_info(), {"A": {}}),
        ("/node_replacements", {"A": []}, lambda client: client.node_replacements(), {"A": []}),
        ("/queue", {"queue_running": []}, lambda client: client.queue(), {"queue_running": []}),
        ("/history/p%2F1", {"p/1": {}}, lambda client: client.history("p/1"), {"p/1": {}}),
        ("/prompt", {"exec_info": {"queue_remaining": 3}}, lambda c: c.queue_length(), 3),
        ("/prompt", {"exec_info": None}, lambda client: client.queue_length(), 0),
        ("/models/a%20b", ["x", 1, "y"], lambda client: client.models("a b"), ["x", "y"]),
        ("/models/loras", {"not": "a list"}, lambda client: client.models("loras"), []),
    ],
)
def test_get_goes_to_its_path_below_the_prefix(http, client, path, answer, ask, result):
    http.get(BASE + path, json=answer)
    assert ask(client) == result


def test_folder_of_models_that_the_server_lacks_is_empty(http, client):
    http.get(f"{BASE}/models/unet", status=404)
    assert client.models("unet") == []


@pytest.mark.parametrize("answer", [{"status": 404}, {"status": 405}, {"json": []}, {"body": HTML}])
def test_a_server_that_knows_no_replacements_has_none(http, client, answer):
    http.get(f"{BASE}/node_replacements", **answer)
    assert client.node_replacements() == {}


def test_replacements_that_are_refused_are_an_error(http, client):
    http.get(f"{BASE}/node_replacements", status=401)
    with pytest.raises(AuthenticationError):
        client.node_replacements()


def test_view_asks_for_the_file_and_keeps_its_bytes(http, client):
    query = {"filename": "a b&c.png", "subfolder": "s/t", "type": "temp"}
    http.get(f"{BASE}/view", body=b"\x89PNG\r\n\0", match=[matchers.query_param_matcher(query)])
    file = OutputFile("9", "images", "a b&c.png", "s/t", "temp")
    assert client.view_output(file) == b"\x89PNG\r\n\0"


def test_file_that_is_gone_is_named(http, client):
    http.get(f"{BASE}/view", status=404)
    with pytest.raises(ProviderUnavailableError, match=r"no longer has the file 'a\.png'"):
        client.view("a.png")


@pytest.mark.parametrize(
    ("subfolder", "answer", "name"),
    [
        ("", {"name": "a (1).png", "subfolder": "", "type": "input"}, "a (1).png"),
        ("in", {"name": "a.png", "subfolder": "in", "type": "input"}, "in/a.png"),
    ],
)
def test_upload_takes_the_name_that_the_server_gave(http, client, subfolder, answer, name):
    fields = {"type": "input", **({"subfolder": subfolder} if subfolder else {})}
    parts = {"image": ("a.png", b"bytes", "image/png")}
    http.post(
        f"{BASE}/upload/image", json=answer, match=[matchers.multipart_matcher(parts, fields)]
    )
    assert client.upload_image(b"bytes", "a.png", subfolder) == name


def test_mask_refers_to_the_picture_that_it_is_for(http, client):
    reference = {"filename": "a.png", "subfolder": "in", "type": "input"}
    fields = {"type": "input", "original_ref": json.dumps(reference)}
    parts = {"image": ("m.png", b"bytes", "image/png")}
    http.post(
        f"{BASE}/upload/mask",
        json={"name": "m.png"},
        match=[matchers.multipart_matcher(parts, fields)],
    )
    assert client.upload_mask(b"bytes", "m.png", "in/a.png") == "m.png"


def test_upload_without_a_name_in_the_answer_is_an_error(http, client):
    http.post(f"{BASE}/upload/image", json={})
    with pytest.raises(ProviderUnavailableError, match="did not name the upload"):
        client.upload_image(b"", "a.png")


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ({}, {}),
        ({"prompt_id": "p", "client_id": "c"}, {"prompt_id": "p", "client_id": "c"}),
        ({"extra_data": {}}, {}),
        ({"extra_data": {"key": "k"}}, {"extra_data": {"key": "k"}}),
    ],
)
def test_prompt_is_posted_with_what_is_given_and_nothing_else(http, client, given, sent):
    http.post(f"{BASE}/prompt", json={"prompt_id": "theirs", "number": 1, "node_errors": {}})
    accepted = client.post_prompt(GRAPH, **given)
    assert (accepted.prompt_id, accepted.node_errors) == ("theirs", {})
    assert body_of(http.calls[0]) == {"prompt": GRAPH, **sent}


def test_outputs_that_are_left_out_come_back_with_the_acceptance(http, client):
    errors = {"3": {"errors": [], "class_type": "X", "dependent_outputs": []}}
    http.post(f"{BASE}/prompt", json={"prompt_id": "p", "node_errors": errors})
    assert client.post_prompt(GRAPH).node_errors == errors


def test_refusal_of_a_prompt_is_a_workflow_error(http, client):
    error = {"type": "value_not_in_list", "message": "Value not in list", "details": "a: 'x'"}
    body = {
        "error": {"type": "prompt_outputs_failed_validation"},
        "node_errors": {"1": {"errors": [{**error, "extra_info": {"input_name": "a"}}]}},
    }
    http.post(f"{BASE}/prompt", status=400, json=body)
    with pytest.raises(WorkflowError, match="node 1 EmptyImage: Value not in list") as caught:
        client.post_prompt(GRAPH)
    assert (caught.value.node_id, caught.value.input_name) == ("1", "a")


@pytest.mark.parametrize("prompt_id", [None, "", 7, "\ud800"])
def test_acceptance_without_an_id_is_an_error(http, client, prompt_id):
    http.post(f"{BASE}/prompt", json={"prompt_id": prompt_id})
    with pytest.raises(ProviderUnavailableError, match="gave no prompt id"):
        client.post_prompt(GRAPH)


# Cancelling


def test_new_server_cancels_in_one_step(http, client):
    http.post(f"{BASE}/api/jobs/p/cancel", json={"cancelled": True})
    client.cancel("p")
    assert [call.request.url for call in http.calls] == [f"{BASE}/api/jobs/p/cancel"]


@pytest.mark.parametrize("status", [404, 405])
@pytest.mark.parametrize(
    ("running", "interrupts"),
    [([[1, "p", {}]], 1), ([[1, "somebody else's", {}]], 0), ([], 0), (None, 0), (["p", []], 0)],
)
def test_old_server_deletes_and_interrupts_only_what_is_ours(
    http, client, status, running, interrupts
):
    http.post(f"{BASE}/api/jobs/p/cancel", status=status)
    deletion = http.post(f"{BASE}/queue", match=[matchers.json_params_matcher({"delete": ["p"]})])
    http.get(f"{BASE}/queue", json={"queue_running": running, "queue_pending": []})
    if interrupts:
        http.post(f"{BASE}/interrupt", match=[matchers.json_params_matcher({"prompt_id": "p"})])
    client.cancel("p")
    client.cancel("p")
    assert deletion.call_count == 2
    paths = [call.request.path_url for call in http.calls]
    assert paths.count("/comfy/api/jobs/p/cancel") == 1, "asked once what the server has"
    assert paths.count("/comfy/interrupt") == 2 * interrupts


@pytest.mark.parametrize("status", [400, 500])
def test_cancel_that_fails_is_no_sign_of_an_old_server(http, client, status):
    http.post(f"{BASE}/api/jobs/p/cancel", status=status)
    for _ in range(2):
        with pytest.raises(ImageGenerationError):
            client.cancel("p")
    assert len(http.calls) == 2


# What is there when it is no usable ComfyUI


@pytest.mark.parametrize(
    "answer",
    [
        {"body": HTML, "content_type": "text/html"},
        {"status": 404, "body": HTML},
        {"json": []},
        {"json": {"system": None}},
        {"body": b""},
    ],
)
def test_another_program_is_told_from_a_comfyui(http, client, answer):
    http.get(f"{BASE}/system_stats", **answer)
    with pytest.raises(ProviderUnavailableError) as caught:
        client.system_stats()
    assert "gpu-box:9000/comfy is not a ComfyUI server" in str(caught.value)
    assert "check the port in COMFYUI_SERVER_ADDRESS" in str(caught.value)


def test_redirect_to_a_login_page_is_not_followed(http, client):
    http.get(f"{BASE}/system_stats", status=302, headers={"Location": "https://login.example.org/"})
    with pytest.raises(ProviderUnavailableError, match="gpu-box:9000/comfy.* 302"):
        client.system_stats()


@pytest.mark.parametrize("path", ["/object_info", "/queue", "/prompt", "/history/p"])
def test_html_where_json_belongs_names_the_path(http, client, path):
    http.get(BASE + path, body=HTML, content_type="text/html; charset=utf-8")
    asks = {
        "/object_info": client.object_info,
        "/queue": client.queue,
        "/prompt": client.queue_length,
        "/history/p": lambda: client.history("p"),
    }
    with pytest.raises(ProviderUnavailableError, match=f"it sent text/html for {path}"):
        asks[path]()


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("path", ["/system_stats", "/queue"])
def test_server_that_wants_credentials_says_how_to_give_them(http, client, status, path):
    http.get(BASE + path, status=status)
    with pytest.raises(AuthenticationError, match="COMFYUI_API_KEY") as caught:
        client.system_stats() if path == "/system_stats" else client.queue()
    assert caught.value.status == status


@pytest.mark.parametrize(
    ("status", "error"), [(500, ProviderUnavailableError), (429, RateLimitedError)]
)
def test_status_of_trouble_keeps_its_error(http, client, status, error):
    http.get(f"{BASE}/system_stats", status=status)
    with pytest.raises(error) as caught:
        client.system_stats()
    assert caught.value.status == status
    assert "gpu-box:9000" in str(caught.value)


def test_host_that_no_name_server_knows_names_the_address_and_the_next_step(monkeypatch):
    def unknown(host: str, *args: object, **options: object) -> list[Any]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(ProviderUnavailableError) as caught:
        make_client("http://no-such-host.invalid:8188").system_stats()
    assert "no-such-host.invalid:8188" in str(caught.value)
    assert "Start ComfyUI there" in str(caught.value)
    assert "COMFYUI_SERVER_ADDRESS" in str(caught.value)


def test_port_where_nothing_listens_names_the_address_and_the_next_step():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
    client = make_client(address)
    for ask in (client.system_stats, lambda: client.post_prompt(GRAPH)):
        with pytest.raises(ProviderUnavailableError) as caught:
            ask()
        assert address in str(caught.value)
        assert "Start ComfyUI there" in str(caught.value)
        assert isinstance(caught.value.__cause__, requests.ConnectionError)


def test_server_that_never_answers_is_given_up_within_its_limits():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        client = ComfyUIClient(parse_address(address), "prefix", SMALL)
        with pytest.raises(ProviderUnavailableError, match="did not answer in time") as caught:
            client.system_stats()
        assert address in str(caught.value)
        assert "Restart it, or set COMFYUI_SERVER_ADDRESS" in str(caught.value)
        with pytest.raises(ProviderTimeoutError, match="Restart it"):
            client.post_prompt(GRAPH)
        client.close()


@pytest.mark.parametrize("ask", ["queue", "history", "recent_history"])
def test_answer_about_a_job_that_drips_is_given_up(ask):
    """One byte comes, the next one never; by the session's clock that took a minute."""
    limits = Limits(connect=2, read=2, unreachable=1)
    arguments = {"queue": (), "history": ("p",), "recent_history": (5,)}[ask]
    now, is_over = [0.0], threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def drip() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                now[0] = 60.0
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{")
                is_over.wait(10)

        server = threading.Thread(target=drip)
        server.start()
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        client = ComfyUIClient(parse_address(address), "prefix", limits)
        client._http._clock = lambda: now[0]
        with pytest.raises(ProviderTimeoutError, match="longer than allowed"):
            getattr(client, ask)(*arguments)
        is_over.set()
        client.close()
        server.join(10)


def test_default_limits_tell_within_five_seconds_that_no_server_is_there():
    assert Limits().connect < 5


# Secrets


@pytest.mark.parametrize(
    ("address", "token", "header"),
    [
        (BASE, HUSH, f"Bearer {HUSH}"),
        (f"http://user:{HUSH}@gpu-box:9000/comfy", None, f"Basic {HUSH_BASIC}"),
    ],
)
def test_credentials_are_sent_and_never_shown(http, caplog, address, token, header):
    client = make_client(address, token)
    http.get(f"{BASE}/system_stats", status=401, json={})
    http.get(f"{BASE}/queue", body=HTML)
    http.post(f"{BASE}/prompt", status=500)
    messages = []
    with caplog.at_level(logging.DEBUG):
        for ask in (client.system_stats, client.queue, lambda: client.post_prompt(GRAPH)):
            with pytest.raises(ImageGenerationError) as caught:
                ask()
            messages += [str(caught.value), repr(caught.value)]
    assert {call.request.headers["Authorization"] for call in http.calls} == {header}
    told = " ".join([*messages, caplog.text, repr(client.address), str(client.address)])
    assert "gpu-box:9000" in told
    assert HUSH not in told
    assert header.split()[1] not in told


def test_extra_data_with_keys_stays_out_of_logs_and_errors(http, client, caplog):
    http.post(f"{BASE}/prompt", status=500)
    with caplog.at_level(logging.DEBUG), pytest.raises(ImageGenerationError) as caught:
        client.post_prompt(GRAPH, extra_data={"api_key_comfy_org": HUSH})
    assert HUSH not in caplog.text + str(caught.value)
