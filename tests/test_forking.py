"""A process that was forked opens its own connections, and leaves the other's as they are.

Each program here is a process of its own: a fork in that of the tests would copy all of theirs.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
START = """
import os, signal, sys, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads, which is the point

def told_by_a_fork(tell):
    reading, writing = os.pipe()
    if os.fork() == 0:
        signal.alarm(20)  # seconds for one that would wait for ever
        os.write(writing, str(tell()).encode())
        sys.exit()  # not os._exit: what is registered for the end of a process belongs to this
    os.close(writing)
    os.wait()
    return os.read(reading, 1000).decode()
"""

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


def run(code: str) -> None:
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    program = [sys.executable, "-c", START + code]
    done = subprocess.run(program, env=environ, capture_output=True, encoding="utf-8", timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


def test_no_connection_is_shared():
    run("""
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from image_io.http import HttpSession

class TellPort(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        body = str(self.client_address[1]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args): pass

server = ThreadingHTTPServer(("127.0.0.1", 0), TellPort)
threading.Thread(target=server.serve_forever, daemon=True).start()
session = HttpSession("test", f"http://127.0.0.1:{server.server_port}")
port = lambda: session.get("/").body.decode()
own = port()
assert told_by_a_fork(port) not in ("", own)
assert port() == own, "the connection was not left open"
""")


def test_no_socket_and_no_lock_of_a_provider_is_shared():
    run("""
from comfyui.embedded import EmbeddedOptions, EmbeddedServer
from comfyui_provider import ComfyUIProvider
from image_provider import ImageGenerationRequest

def client_id():
    result = provider.generate(ImageGenerationRequest("a fox", width=64, height=64, steps=1))
    result.raise_for_error()
    (prompt_id,) = result.metadata["prompt_ids"]
    return provider.get_history(prompt_id)[prompt_id]["prompt"][3]["client_id"]

with EmbeddedServer(options=EmbeddedOptions(step_seconds=0)) as server:
    with ComfyUIProvider(server.address) as provider:
        own = client_id()
        (held,) = provider._servers.all()
        with provider._servers._lock, held._lock, held._lists_lock, held.client._queue._lock:
            assert told_by_a_fork(client_id) not in ("", own)
        assert client_id() == own, "the socket was not left open"
""")


def test_no_lock_of_a_hosted_provider_is_shared():
    run("""
from hosted_providers import FluxProvider

provider = FluxProvider("a key", "bfl")

def asked():
    provider.cancel_work_of([])
    return provider._transport._session_for("https://api.us1.bfl.ai/v1").name

with provider._transport._lock, provider._pauses._lock:
    assert told_by_a_fork(asked) == "Black Forest Labs"
""")


def test_an_embedded_server_stays_with_its_process():
    run("""
import logging, socket
from comfyui_provider import ComfyUIProvider
from image_provider import ImageGenerationRequest

logging.disable()

def address():
    request = ImageGenerationRequest("a fox", width=64, height=64, steps=1)
    provider.generate(request).raise_for_error()
    return provider.check().address

def refuses():
    release, there = os.pipe(), os.pipe()
    if (child := os.fork()) == 0:
        os.close(release[1])
        os.write(there[1], b"1")
        os.read(release[0], 1)
        os._exit(0)
    os.read(there[0], 1)
    server.stop()
    code = socket.socket().connect_ex(("127.0.0.1", int(own.rpartition(":")[2])))
    os.close(release[1])
    os.waitpid(child, 0)
    return code != 0

provider = ComfyUIProvider("embedded")
own, server = address(), provider._servers._embedded
assert told_by_a_fork(address) not in ("", own)
assert address() == own
assert server.data_dir.is_dir()
assert refuses(), "the port is still taken, by a process in which nobody answers"
""")
