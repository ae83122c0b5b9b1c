"""The servers that a provider works with: one or several, or an embedded one of its own.

Owns which server a job goes to, which one has a job or file, and for how long an answer about a
server is believed. Knows no request. An embedded server is started when it is first needed, and
stopped by `close`.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any, TypeVar

from comfyui.address import ServerAddress, parse_address, parse_addresses
from comfyui.client import ComfyUIClient
from comfyui.graph import Graph
from comfyui.object_info import ObjectInfo
from comfyui.repeating import repeated
from comfyui.replacements import Replacements, lacks_classes, read_replacements
from image_provider import ConfigurationError, ImageGenerationError, ProviderUnavailableError

if TYPE_CHECKING:
    from comfyui.embedded import EmbeddedServer

logger = logging.getLogger(__name__)

EMBEDDED = "embedded"
_REMEMBER_SECONDS = 5.0
"""How long an answer whether a server is there is believed."""
_OBJECT_INFO_SECONDS = 60.0
"""How long a server's node classes and model lists are believed."""
_MOST_REMEMBERED = 10_000
"""Jobs and files of which it is remembered which server has them."""

Answer = TypeVar("Answer")


class Server:
    """One server and what is remembered of it; safe for many threads."""

    def __init__(self, client: ComfyUIClient) -> None:
        self.client = client
        self.is_embedded = False
        self.jobs_in_hand = 0
        self.last_turn = 0
        self._checked_at: float | None = None
        self._failure: ImageGenerationError | None = None
        self._stats: dict[str, Any] = {}
        self._object_info: ObjectInfo | None = None
        self._object_info_at = 0.0
        self._replacements: Replacements | None = None
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        """What results call it: its address, or "embedded"."""
        return EMBEDDED if self.is_embedded else str(self.client.address)

    def stats(self) -> dict[str, Any]:
        """/system_stats, at most a few seconds old; raises what keeps it from being used."""
        with self._lock:
            now = self.client.clock()
            if self._checked_at is None or now - self._checked_at > _REMEMBER_SECONDS:
                self._ask()
                self._checked_at = self.client.clock()
            if self._failure is not None:
                raise self._failure.with_traceback(None)
            return self._stats

    def _ask(self) -> None:
        self._failure = None
        try:
            self._stats = self.client.system_stats()
        except ImageGenerationError as error:
            self._failure = error
        else:
            self.is_embedded = self._stats["system"].get(EMBEDDED) is True

    def object_info(self, *, fresh: bool = False) -> ObjectInfo:
        """The server's node classes and model lists, at most a minute old unless `fresh`."""
        with self._lock:
            age = self.client.clock() - self._object_info_at
            if self._object_info is None or fresh or age > _OBJECT_INFO_SECONDS:
                found = repeated(self.client.object_info, self.client, times=2)
                self._object_info = ObjectInfo.from_dict(found)
                self._object_info_at = self.client.clock()
                self._replacements = None
            return self._object_info

    def replacements(self, graph: Graph) -> Replacements:
        """What the server replaces; asked only for a graph with a class that it lacks.

        As old as the node classes.
        """
        info = self.object_info()
        if not lacks_classes(graph, info):
            return {}
        with self._lock:
            if self._replacements is None:
                found = repeated(self.client.node_replacements, self.client, times=2)
                self._replacements = read_replacements(found, info)
            return self._replacements


class Servers:
    """The servers of one provider."""

    def __init__(self, address: str, token: str | None, make_client: MakeClient) -> None:
        self._make_client = make_client
        self._embedded: EmbeddedServer | None = None
        self._lock = threading.Lock()
        self._turns = count(1)
        self._known: OrderedDict[Hashable, Server] = OrderedDict()
        self._wants_embedded = address.strip().lower() == EMBEDDED
        addresses = [] if self._wants_embedded else parse_addresses(address, token)
        self._servers = [Server(make_client(each)) for each in addresses]
        self.have_credentials = any(each.headers for each in addresses)

    def all(self) -> list[Server]:
        """Every server; starts the embedded one when it is asked for."""
        with self._lock:
            if self._wants_embedded and self._embedded is None:
                self._start_embedded()
            return list(self._servers)

    def pick(self) -> Server:
        """A server that answers, the one with the least to do; raises when none does."""
        lengths = self._queue_lengths()
        with self._lock:
            return _least_busy(lengths)

    @contextmanager
    def at_work(self) -> Iterator[Server]:
        """`pick` for a job, which is counted as that server's until the end of the block."""
        lengths = self._queue_lengths()
        with self._lock:
            server = _least_busy(lengths)
            server.jobs_in_hand += 1
            server.last_turn = next(self._turns)
        try:
            yield server
        finally:
            with self._lock:
                server.jobs_in_hand -= 1

    def _queue_lengths(self) -> list[tuple[Server, int]]:
        if len(self.all()) == 1:
            return [(server, 0) for server in self.answering()]
        return self._ask_each(_queue_length)

    def answering(self) -> list[Server]:
        """Every server that can be used now; raises when none can."""
        return [server for server, _ in self._ask_each(Server.stats)]

    def _ask_each(self, ask: Callable[[Server], Answer]) -> list[tuple[Server, Answer]]:
        servers = self.all()
        if len(servers) == 1:
            return [(servers[0], ask(servers[0]))]
        answers, failures = [], []
        for server in servers:
            try:
                answers.append((server, ask(server)))
            except ImageGenerationError as error:
                logger.warning("server %s is left out: %s", server.name, error)
                failures.append(str(error))
        if not answers:
            raise ProviderUnavailableError(
                "none of the servers can be used: " + "; ".join(failures)
            )
        return answers

    def remember(self, server: Server, keys: Iterable[Hashable]) -> None:
        """Takes note of what this server has: prompt ids, and files as /view takes them."""
        with self._lock:
            for key in keys:
                self._known[key] = server
                self._known.move_to_end(key)
            while len(self._known) > _MOST_REMEMBERED:
                self._known.popitem(last=False)

    def holding(self, key: Hashable) -> list[Server]:
        """The server that is remembered to have this; otherwise all that can be used now."""
        with self._lock:
            server = self._known.get(key)
        return self.answering() if server is None else [server]

    def own_file(self, url: str) -> bytes | None:
        """The file behind a /view URL of one of the servers; None for any other URL."""
        for server in self.all():
            client = server.client
            file = client.address.file_of(url)
            if file is not None:
                return repeated(partial(client.view, *file), client)
        return None

    def close(self) -> None:
        """Closes connections, and stops the embedded server if this started one."""
        with self._lock:
            for server in self._servers:
                server.client.close()
            if self._embedded is not None:
                self._embedded.stop()
                self._embedded = None
                self._servers = []
                self._known.clear()

    def _start_embedded(self) -> None:
        try:
            from comfyui.embedded import EmbeddedServer
        except ImportError as error:
            raise ConfigurationError(str(error)) from error
        logger.warning("starting the embedded server: procedural pictures, no model runs")
        try:
            self._embedded = EmbeddedServer().start()
        except OSError as error:
            raise ProviderUnavailableError(f"the embedded server did not start: {error}") from error
        self._servers = [Server(self._make_client(parse_address(self._embedded.address)))]


def _queue_length(server: Server) -> int:
    server.stats()
    return server.client.queue_length()


def _least_busy(lengths: list[tuple[Server, int]]) -> Server:
    """The server with the fewest jobs, queued there or on their way; the others' turn at a tie."""

    def load(entry: tuple[Server, int]) -> tuple[int, int]:
        server, length = entry
        # Most of those in hand are in the queue already, so they are not counted twice.
        return max(length, server.jobs_in_hand), server.last_turn

    return min(lengths, key=load)[0]


MakeClient = Callable[[ServerAddress], ComfyUIClient]
