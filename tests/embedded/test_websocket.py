"""Who gets which message: the rules of /ws, the same-clientId bug included."""

from __future__ import annotations

import pytest
import websocket

from comfyui.embedded import EmbeddedOptions, EmbeddedServer, StepGate
from tests.embedded.driving import Driver, colour, node, text_to_image, types_of
from tests.embedded.replay import load, recorded_transcript


def surplus(driver: Driver) -> list:
    """What a driver receives before the answer to a status that is asked for now."""
    driver.send("/queue", {"clear": True})
    messages = [driver.next_message()]
    while messages[-1]["type"] != "status":
        messages.append(driver.next_message())
    return messages[:-1]


def test_only_the_submitter_hears_of_its_job(driver):
    with Driver(driver.server, "other") as other:
        driver.until_done(driver.post(colour()))
        statuses = [other.next_message() for _ in range(3)]
        assert types_of(statuses) == ["status"] * 3
        assert surplus(other) == []


def test_a_socket_without_client_id_gets_one_that_can_post(comfyui_server):
    with Driver(comfyui_server, "") as driver:
        driver.client_id = driver.first["data"]["sid"]
        assert len(driver.client_id) == 32
        assert types_of(driver.until_done(driver.post(colour())))[-1] == "executing"


def test_a_second_feature_flags_message_and_nonsense_are_ignored(driver):
    driver.socket.send("no json")
    driver.socket.send('{"type": "something"}')
    driver.socket.send('{"type": "feature_flags", "data": {"supports_preview_metadata": true}}')
    driver.socket.ping()
    messages = driver.until_done(driver.post(text_to_image(steps=1)))
    assert "feature_flags" not in types_of(messages)
    assert [m[:4] for m in messages if isinstance(m, bytes)] == [b"\0\0\0\1"]


def test_previews_are_made_only_when_a_socket_will_get_them(driver):
    driver.post(text_to_image(), client_id="nobody")
    while driver.get("/history") == {}:
        driver.next_message()
    assert driver.server.stats.previews == 0
    driver.until_done(driver.post(text_to_image(seed=2, steps=3)))
    assert driver.server.stats.previews == 3


def blurred_chain() -> dict:
    chain = {"1": node("EmptyImage", width=16, height=16, batch_size=1, color=5)}
    for number in range(2, 7):
        inputs = {"image": [str(number - 1), 0], "blur_radius": 1, "sigma": 1.0}
        chain[str(number)] = node("ImageBlur", **inputs)
    chain["99"] = node("PreviewImage", images=["6", 0])
    return chain


def test_a_newer_socket_of_the_same_client_is_forgotten_when_the_older_closes():
    """As recorded in 026_ws_same_client_both_open."""
    second_opens, first_closes = StepGate("2"), StepGate("4")

    def hold(event):
        second_opens(event)
        first_closes(event)

    recorded = recorded_transcript(load("026_ws_same_client_both_open")).sockets
    with (
        EmbeddedServer(options=EmbeddedOptions(step_seconds=0, on_step=hold)) as server,
        Driver(server, "watcher") as watcher,
        Driver(server, "same") as first,
    ):
        prompt_id = first.post(blurred_chain())
        assert second_opens.wait_reached()
        with Driver(server, "same") as second:
            second_opens.open()
            assert first_closes.wait_reached()
            received = [second.first, *(second.next_message() for _ in recorded["A2"][1:])]
            assert types_of(received) == types_of(recorded["A2"])
            assert list(received[1]["data"]) == list(recorded["A2"][1]["data"])
            first.socket.close()
            first_closes.open()
            while watcher.get(f"/history/{prompt_id}") == {}:
                watcher.next_message()
            second.socket.settimeout(0.1)
            with pytest.raises(websocket.WebSocketTimeoutException):
                second.next_message()


def test_a_socket_that_comes_late_is_told_the_running_node():
    gate = StepGate("2")
    options = EmbeddedOptions(step_seconds=0, on_step=gate)
    with EmbeddedServer(options=options) as server, Driver(server, "poster") as poster:
        prompt_id = poster.post(blurred_chain(), client_id="late")
        assert gate.wait_reached()
        with Driver(server, "late") as late:
            assert late.next_message() == {"type": "executing", "data": {"node": "2"}}
            gate.open()
            assert types_of(late.until_done(prompt_id))[-2:] == ["status", "executing"]
