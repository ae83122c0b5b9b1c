"""The servers that a provider works with: one or several, or an embedded one of its own.

Owns which server a job goes to, and for how long an answer about a server is believed. Knows no
request. An embedded server is started when it is first needed, and stopped by `close`.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from comfyui.address import ServerAddress, parse_address, parse_addresses
from comfyui.client import ComfyUIClient
from comfyui.object_info import ObjectInfo
from image_provider import ConfigurationError, ImageGenerationError, ProviderUnavailableError

if TYPE_CHECKING:
    from comfyui.embedded import EmbeddedServer

logger = logging.getLogger(__name__)

EMBEDDED = "embedded"
_REMEMBER_SECONDS = 5.0
"""How long an answer whether a server is there is believed."""
_OBJECT_INFO_SECONDS = 60.0
"""How long a server's node classes and model lists are believed."""


class Server:
    """One server and what is remembered of it; safe for many threads."""

    def __init__(self, client: ComfyUIClient) -> None:
        self.client = client
        self.is_embedded = False
        self._checked_at: float | None = None
        self._failure: ImageGenerationError | None = None
        self._stats: dict[str, Any] = {}
        self._object_info: ObjectInfo | None = None
        self._object_info_at = 0.0
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
                self._object_info = ObjectInfo.from_dict(self.client.object_info())
                self._object_info_at = self.client.clock()
            return self._object_info


class Servers:
    """The servers of one provider."""

    def __init__(self, address: str, token: str | None, make_client: MakeClient) -> None:
        self._make_client = make_client
        self._embedded: EmbeddedServer | None = None
        self._lock = threading.Lock()
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
        """A server that answers, the one with the shortest queue; raises when none does."""
        servers = self.all()
        if len(servers) == 1:
            servers[0].stats()
            return servers[0]
        lengths: list[tuple[int, int]] = []
        failures = []
        for number, server in enumerate(servers):
            try:
                server.stats()
                lengths.append((server.client.queue_length(), number))
            except ImageGenerationError as error:
                logger.warning("server %s is left out: %s", server.name, error)
                failures.append(str(error))
        if not lengths:
            raise ProviderUnavailableError(
                "none of the servers can be used: " + "; ".join(failures)
            )
        return servers[min(lengths)[1]]

    def close(self) -> None:
        """Closes connections, and stops the embedded server if this started one."""
        with self._lock:
            for server in self._servers:
                server.client.close()
            if self._embedded is not None:
                self._embedded.stop()
                self._embedded = None
                self._servers = []

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


MakeClient = Callable[[ServerAddress], ComfyUIClient]
