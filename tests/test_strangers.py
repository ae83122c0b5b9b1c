"""What a rogue server says, over real sockets: nothing of it becomes a path, a key or a command.

And what a caller is told of it can be shown to a stranger.
"""

from __future__ import annotations

import logging
from contextlib import contextmanager
from pathlib import Path

import pytest

from comfyui.client import Limits
from comfyui_provider import ComfyUIProvider
from image_provider import ImageGenerationRequest
from tests.fakes.rogue_server import GRAPH, Answer, RogueServer
from tests.hosted_support import png

pytestmark = pytest.mark.usefixtures("short_pauses")

LIMITS = Limits(connect=2, read=2, silence=0.05, unreachable=0.2)
KEY = "hush-hush-hush"
ESCAPE = "\x1b[31m"
TRACE = 'Traceback (most recent call last):\n  File "/home/alice/ComfyUI/nodes.py", line 3, in run'
PATHS = ("/home/alice", "C:\\Users\\bob", "nodes.py", "Traceback")


@contextmanager
def rogue(**answers):
    with (
        RogueServer(**answers) as server,
        ComfyUIProvider(server.address, limits=LIMITS, api_key=KEY) as provider,
    ):
        yield server, provider


def files(*names, **more):
    return {"2": {"images": [{"filename": name, "type": "output", **more} for name in names]}}


def shows_no_controls(*texts):
    return all(c.isprintable() or c == "\n" for text in texts for c in text)


# Names


ODD_NAMES = [
    "../../x.png",
    "C:\\x.png",
    "CON.png",
    "/etc/passwd",
    f"a{ESCAPE}\r\n.png",
    "\u202egnp.exe",
    "n" * 5000 + ".png",
    "a?b&c#d%00.png",
]


def test_names_of_the_server_become_no_local_paths(tmp_path):
    target = tmp_path / "deep" / "down"
    with rogue() as (server, provider):
        server.outputs = files(*ODD_NAMES)
        result = provider.run_workflow(GRAPH)
        assert result.success, result.error
        paths = result.save(target)
    assert sorted(target.iterdir()) == sorted(paths)
    assert [path.name for path in paths] == [f"comfyui-{n:05}.png" for n in range(1, 9)]
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == sorted(paths)


def test_urls_of_odd_names_are_urls_and_lead_to_them():
    with rogue() as (server, provider):
        server.outputs = files(*ODD_NAMES, subfolder=f"../..{ESCAPE}")
        result = provider.run_workflow(GRAPH)
        urls = [str(image["url"]) for image in result.images]
        asked = [entry.line for entry in server.asked if entry.line.startswith("GET /view")]
    assert len(urls) == len(ODD_NAMES)
    assert shows_no_controls(*urls) and not any(" " in url for url in urls)
    assert [url.partition("/view")[2] for url in urls] == [
        line.removeprefix("GET /view") for line in asked
    ]


def test_a_name_that_no_url_can_have_is_one_that_the_server_does_not_have():
    with rogue(view=Answer(status=404)) as (server, provider):
        server.outputs = files("\ud800.png")
        result = provider.run_workflow(GRAPH)
    assert result.error_type == "unavailable"
    assert "no longer has the file '?.png'" in result.error


# Redirects


@pytest.mark.parametrize(
    "place", ["system_stats", "object_info", "queue", "prompt", "history", "view", "upload", "ws"]
)
def test_no_redirect_leads_to_another_server(place):
    request = ImageGenerationRequest("a fox", extra={"source_image": png()})
    with RogueServer() as elsewhere:
        away = Answer(status=302, headers={"Location": f"http://{elsewhere.address}/{place}"})
        with rogue(**{place: away}) as (server, provider):
            if place == "queue":
                server.answers["/history"] = Answer({})  # then it is asked where the job is
            provider.run_workflow(GRAPH)
            if place == "object_info":
                provider.generate(request)
            if place == "upload":
                Path("fox.png").write_bytes(png())
                with pytest.raises(Exception, match="redirect"):
                    provider.upload_image("fox.png")
            assert any(f"/{place}" in entry.line for entry in server.asked), "it was asked at all"
            assert any(KEY in str(entry.headers) for entry in server.asked)
    assert elsewhere.asked == []


# Errors


def failure(message, exception_type="RuntimeError", **more):
    told = {"node_id": "2", "node_type": "SaveImage", "exception_type": exception_type}
    told |= {"prompt_id": "p", "exception_message": message, "traceback": [TRACE], **more}
    return {"status_str": "error", "completed": False, "messages": [["execution_error", told]]}


def test_the_failure_of_a_node_is_told_without_traces_paths_and_keys(caplog):
    message = f"no /home/alice/x.bin or C:\\Users\\bob\\y.bin, Bearer {KEY}, see {TRACE}"
    caplog.set_level(logging.DEBUG)
    with rogue() as (server, provider):
        server.status = failure(message)
        result = provider.run_workflow(GRAPH)
    assert result.error == (
        "node 2 SaveImage failed: RuntimeError: no …/x.bin or …/y.bin, (a key), see"
    )
    assert result.exception.detail == message
    assert message in caplog.text, "whoever runs the program can know more"


def test_a_useful_message_of_a_node_is_told_as_it_is():
    with rogue() as (server, provider):
        server.status = failure("steps must be > 0, not 1/2 of sd15/model.safetensors")
        assert provider.run_workflow(GRAPH).error == (
            "node 2 SaveImage failed: RuntimeError: steps must be > 0, not 1/2 of "
            "sd15/model.safetensors"
        )


def test_control_characters_of_a_server_reach_neither_error_nor_log(caplog):
    caplog.set_level(logging.INFO)
    with rogue() as (server, provider):
        server.status = failure("a", f"Odd{ESCAPE}Error", node_type=f"Sa{ESCAPE}ve", node_id=ESCAPE)
        result = provider.run_workflow(GRAPH)
    assert "failed" in result.error
    assert shows_no_controls(result.error, caplog.text)


def problem(details):
    error = {"type": "odd", "message": f"no{ESCAPE}", "details": details, "extra_info": {}}
    return {"2": {"errors": [error], "class_type": "SaveImage"}}


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, {"error": {"type": "odd", "message": TRACE, "details": TRACE}}),
        (400, {"error": {"type": "odd"}, "node_errors": problem(f"C:\\Users\\bob {TRACE}")}),
        (400, TRACE.encode()),
        (404, TRACE.encode()),
        (500, TRACE.encode()),
    ],
)
def test_a_refusal_is_told_without_the_servers_paths_and_its_body(status, body):
    with rogue(prompt=Answer(body, status)) as (_, provider):
        result = provider.run_workflow(GRAPH)
    assert not result.success
    assert not [path for path in PATHS if path in result.error]
    assert shows_no_controls(result.error)


def test_what_a_server_left_out_is_told_without_its_paths():
    accepted = {"prompt_id": "p", "node_errors": problem("z" * 100_000 + " /home/alice/x")}
    with rogue(prompt=Answer(accepted)) as (server, provider):
        entry = {"outputs": server.outputs, "status": server.status}
        server.answers["/history"] = Answer({"p": entry})
        odd = {**GRAPH, "2": {**GRAPH["2"], "class_type": f"Save{ESCAPE}"}}
        result = provider.run_workflow(odd)
    (warning,) = result.metadata["warnings"]
    assert warning.startswith("node 2 Save�[31m: no�")
    assert len(warning) < 1500 and "alice" not in warning and shows_no_controls(warning)


@pytest.mark.parametrize("status", [403, 404, 500])
def test_a_file_that_is_not_given_is_named_and_no_more(status):
    with rogue(view=Answer(TRACE.encode(), status)) as (server, provider):
        server.outputs = files("n" * 20_000 + f"{ESCAPE}.png")
        result = provider.run_workflow(GRAPH)
    assert not [path for path in PATHS if path in result.error]
    assert len(result.error) <= 10_000 and shows_no_controls(result.error)


def test_where_the_workflows_are_is_in_the_detail_alone(tmp_path):
    (tmp_path / "flows").mkdir()
    with rogue() as (server, _), ComfyUIProvider(server.address, tmp_path / "flows") as provider:
        result = provider.generate(ImageGenerationRequest("a fox", workflow="gone.json"))
    assert str(tmp_path) not in result.error
    assert str(tmp_path / "flows") in result.exception.detail


# Sizes


@pytest.mark.parametrize("place", ["system_stats", "prompt", "models"])
def test_a_short_answer_is_not_read_when_it_is_long(place, monkeypatch):
    monkeypatch.setattr("comfyui.client._MAX_SHORT_BYTES", 1000)
    long = Answer(b'"' + b"x" * 2000 + b'"')
    with rogue(**{place: long}) as (_, provider):
        if place == "models":
            with pytest.raises(Exception, match="more than the 1,000 bytes"):
                provider.get_available_models()
        else:
            assert "more than the 1,000 bytes" in provider.run_workflow(GRAPH).error


def test_a_list_is_not_read_when_it_is_too_long(monkeypatch):
    monkeypatch.setattr("comfyui.client._MAX_JSON_BYTES", 1000)
    with rogue(object_info=Answer(b" " * 2000)) as (_, provider):
        result = provider.generate(ImageGenerationRequest("a fox"))
    assert "/object_info sent more than the 1,000 bytes" in result.error


@pytest.mark.parametrize("body", [b'{"a":' * 100_000, b"[" * 1_000_000])
def test_an_answer_that_is_nested_too_deeply_is_none(body):
    with rogue(system_stats=Answer(body)) as (_, provider):
        assert provider.run_workflow(GRAPH).error_type == "unavailable"
