"""Starts and stops the embedded server: its socket, its event loop, its worker.

Owns the two threads (aiohttp with a loop of its own, and the worker that runs jobs), the check
of the Origin header and the data directory. Listens on the loopback address only.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import errno
import ipaddress
import logging
import shutil
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TypeVar
from urllib.parse import urlsplit

from aiohttp import web

from comfyui.embedded.catalog import NodeCatalog
from comfyui.embedded.execution import Workshop, work
from comfyui.embedded.file_routes import FileApi
from comfyui.embedded.files import Folders
from comfyui.embedded.hub import SERVER_FEATURES, SocketHub
from comfyui.embedded.jobs import JobQueue
from comfyui.embedded.options import COMFYUI_VERSION, SELF_DESCRIPTION, EmbeddedOptions
from comfyui.embedded.routes import Api, queue_status
from comfyui.embedded.stats import ServerStats
from image_io.forking import begin_anew_after_fork

logger = logging.getLogger(__name__)

HOST = "127.0.0.1"
STOP_SECONDS = 5.0
"""How long `stop` waits for a thread that does not end."""

_T = TypeVar("_T")
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class PortInUseError(OSError):
    """The port is taken by another program, or closed to this one."""


@dataclass(frozen=True)
class _Running:
    """What the serving thread hands over once it listens."""

    shop: Workshop
    listener: socket.socket
    stop_serving: Callable[[], object]
    server: threading.Thread
    worker: threading.Thread


class EmbeddedServer:
    """A ComfyUI look-alike on 127.0.0.1; port 0 takes a free one and keeps it.

    Started again after a stop it is a restarted server: same address, queue and history gone.
    """

    def __init__(self, port: int = 0, options: EmbeddedOptions | None = None) -> None:
        self.options = options if options is not None else EmbeddedOptions()
        self.stats = ServerStats()
        self._port = port
        self._own_directory: Path | None = None
        self._running: _Running | None = None
        begin_anew_after_fork(self)

    def after_fork(self) -> None:
        """Leaves the server, its port and its folder to the process in which its threads run."""
        running, self._running, self._own_directory = self._running, None, None
        if running is not None:
            atexit.unregister(self.stop)
            running.listener.close()

    @property
    def address(self) -> str:
        """ "127.0.0.1:PORT"; the real port once started."""
        return f"{HOST}:{self._port}"

    @property
    def url(self) -> str:
        """The base URL, without a slash at the end."""
        return f"http://{self.address}"

    @property
    def data_dir(self) -> Path:
        """The directory that holds input/, output/ and temp/."""
        if self._running is None:
            raise RuntimeError("the embedded server is not running; call start() first")
        return self._running.shop.folders.path("output").parent

    def start(self) -> EmbeddedServer:
        """Bind the port and serve in the background.

        Raises PortInUseError when the port is taken, OSError when it cannot be had.
        """
        if self._running is not None:
            raise RuntimeError(f"the embedded server already runs at {self.url}")
        listener = _listen(self._port)
        self._port = listener.getsockname()[1]
        ready: Future[_Running] = Future()
        _thread("serve", lambda: self._serve_or_fail(listener, ready))
        self._running = ready.result()
        atexit.register(self.stop)
        logger.info("%s, speaking ComfyUI %s at %s", SELF_DESCRIPTION, COMFYUI_VERSION, self.url)
        return self

    def stop(self) -> None:
        """Vanish as a killed server does, then end the job that runs; once is enough.

        Nobody hears of that job's end: its events go to sockets, and all are closed by then.
        """
        running, self._running = self._running, None
        if running is None:
            return
        atexit.unregister(self.stop)
        running.stop_serving()
        running.server.join(STOP_SECONDS)
        running.shop.queue.stop()
        running.worker.join(STOP_SECONDS)
        for thread in (running.server, running.worker):
            if thread.is_alive():
                logger.warning("thread %s did not end in %s s", thread.name, STOP_SECONDS)
        if self._own_directory is not None:
            shutil.rmtree(self._own_directory, ignore_errors=True)

    def __enter__(self) -> EmbeddedServer:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _build_shop(self, loop: asyncio.AbstractEventLoop) -> Workshop:
        root = self.options.data_dir
        if root is None:
            root = self._own_directory = Path(tempfile.mkdtemp(prefix="comfyui-embedded-"))
        folders = Folders(root)
        hub = SocketHub(loop, self.stats)
        queue = JobQueue(lambda: hub.post("status", {"status": queue_status(shop)}))
        catalog = NodeCatalog(self.options.models, folders.input_files)
        shop = Workshop(self.options, catalog, folders, queue, hub, self.stats)
        return shop

    def _serve_or_fail(self, listener: socket.socket, ready: Future[_Running]) -> None:
        """The body of the serving thread: a failure to start belongs to who called start()."""
        try:
            asyncio.run(self._serve(listener, ready))
        except BaseException as error:
            if ready.done():
                raise
            listener.close()
            ready.set_exception(error)

    async def _serve(self, listener: socket.socket, ready: Future[_Running]) -> None:
        loop = asyncio.get_running_loop()
        loop.run_in_executor = partial(_at_once, loop)  # type: ignore[method-assign, assignment]
        stopped = asyncio.Event()
        shop = self._build_shop(loop)
        application = _application(shop, self._port)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.5)
        await runner.setup()
        site = web.SockSite(runner, listener)
        await site.start()
        publisher = asyncio.create_task(shop.hub.publish())
        worker = _thread("work", lambda: work(shop))
        stop_serving = partial(loop.call_soon_threadsafe, stopped.set)
        ready.set_result(_Running(shop, listener, stop_serving, threading.current_thread(), worker))
        await stopped.wait()
        with contextlib.suppress(NotImplementedError):  # Windows' loop has no readers
            loop.remove_reader(listener)
        await _settle()  # what was accepted is lost, and not closed, once its site has stopped
        await site.stop()  # first, so that nobody whose socket closes comes back
        publisher.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await publisher
        await shop.hub.close()
        await runner.cleanup()
        await _settle()


async def _settle() -> None:
    """Lets the loop end what it has begun: connections just accepted, and those just closed."""
    for _ in range(3):
        await asyncio.sleep(0)


def _at_once(
    loop: asyncio.AbstractEventLoop, executor: object, work: Callable[..., _T], *arguments: object
) -> asyncio.Future[_T]:
    """In place of `run_in_executor`, which fails for a job that outlives the main thread.

    aiohttp reads and stores files by it; these are small here.
    """
    done: asyncio.Future[_T] = loop.create_future()
    try:
        done.set_result(work(*arguments))
    except Exception as error:  # noqa: BLE001 - it belongs to whoever awaits
        done.set_exception(error)
    return done


def serve(port: int = 8188, options: EmbeddedOptions | None = None) -> int:
    """Serve until Ctrl-C or SIGTERM; the exit code: 0, or 1 when the port is taken.

    Called in the main thread, which is the one that hears signals.
    """
    server = EmbeddedServer(port, options)
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        server.start()
        while True:
            time.sleep(3600)
    except OSError as error:
        logger.error("%s", error)
        return 1
    except KeyboardInterrupt:
        logger.info("stopping")
        return 0
    finally:
        server.stop()
        signal.signal(signal.SIGTERM, previous)


def _thread(name: str, target: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=target, name=f"comfyui-embedded-{name}", daemon=True)
    thread.start()
    return thread


def _listen(port: int) -> socket.socket:
    try:
        return socket.create_server((HOST, port), backlog=128)
    except OSError as error:
        problems = {
            errno.EADDRINUSE: "is taken, perhaps by a ComfyUI that runs there",
            errno.EACCES: "may not be used by this program",
        }
        if error.errno not in problems:
            raise
        raise PortInUseError(
            f"port {port} on {HOST} {problems[error.errno]}: "
            "use what runs there, stop it, or choose another port with --port"
        ) from error


def _application(shop: Workshop, port: int) -> web.Application:
    application = web.Application(
        client_max_size=SERVER_FEATURES["max_upload_size"], middlewares=[_same_origin_only]
    )
    argv = ["comfyui.embedded", "--port", str(port)]
    routes = Api(shop, argv).routes() + FileApi(shop.folders, shop.stats).routes()
    application.add_routes(routes)
    application.add_routes(
        [web.route(r.method, "/api" + r.path, r.handler, **r.kwargs) for r in routes]
    )
    return application


@web.middleware
async def _same_origin_only(request: web.Request, handler: _Handler) -> web.StreamResponse:
    """Refuse what a foreign web page sends to a loopback address (recording origin)."""
    host, origin = request.headers.get("Host"), request.headers.get("Origin")
    if host and origin and not _origin_fits(host.lower(), origin.lower()):
        return web.Response(status=403)
    if request.method == "OPTIONS":
        return web.Response()
    return await handler(request)


def _origin_fits(host: str, origin: str) -> bool:
    own, other = urlsplit(f"//{host}"), urlsplit(origin)
    if not other.netloc or not _is_loopback(own.hostname):
        return True
    if own.port is None or other.port is None:
        return own.hostname == other.hostname
    return own.netloc == other.netloc


def _is_loopback(host: str | None) -> bool:
    if host is None or host == "localhost":
        return host is not None
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
