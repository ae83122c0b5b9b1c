"""What `check` tells of a server."""

from __future__ import annotations

import pytest
import responses

from comfyui_provider import ComfyUIProvider


def test_the_embedded_server_has_none_of_the_faults(comfyui_server):
    with ComfyUIProvider(comfyui_server.address) as provider:
        status = provider.check()
    assert (status.is_embedded, status.version, status.notes) == (True, "0.26.0", ())


@pytest.mark.parametrize(
    ("version", "words"), [("0.8.0", []), ("0.14.1", ["HTTP 500"]), ("0.45.0", ["newer"])]
)
def test_what_the_version_means_is_told(version, words):
    stats = {"system": {"comfyui_version": version}, "devices": [{"name": "cuda:0"}, None]}
    with responses.RequestsMock() as http, ComfyUIProvider("gpu-box:8188") as provider:
        http.get("http://gpu-box:8188/system_stats", json=stats)
        http.get("http://gpu-box:8188/prompt", json={"exec_info": {"queue_remaining": 2}})
        status = provider.check()
    assert (status.version, status.devices, status.queue_length) == (version, ("cuda:0",), 2)
    assert len(status.notes) == len(words)
    assert all(word in note for word, note in zip(words, status.notes, strict=True))
