"""One server of a provider, and what is remembered of it.

Owns for how long an answer is believed: whether the server is there, its node classes and model
lists, its files. Knows no other server and no request.
"""

from __future__ import annotations

import logging
import threading
from typing import Any

from comfyui.client import ComfyUIClient
from comfyui.graph import Graph
from comfyui.object_info import ObjectInfo
from comfyui.repeating import repeated
from comfyui.replacements import Replacements, lacks_classes, read_replacements
from comfyui.versions import version_warnings
from image_io.forking import begin_anew_after_fork
from image_provider import (
    AuthenticationError,
    ImageGenerationError,
    InvalidRequestError,
    ProviderUnavailableError,
)

logger = logging.getLogger(__name__)

EMBEDDED = "embedded"
REMEMBER_SECONDS = 5.0
"""How long an answer whether a server is there is believed."""
_OBJECT_INFO_SECONDS = 60.0
"""How long a server's node classes and model lists are believed, and that it has a file."""


class Server:
    """One server and what is remembered of it; safe for many threads."""

    def __init__(self, client: ComfyUIClient) -> None:
        self.client = client
        self.is_embedded = False
        self.jobs_in_hand = 0
        self.last_turn = 0
        self.is_left_out = False
        self._checked_at: float | None = None
        self._failures = 0
        self._cost = 0.0
        self._is_warned = False
        self._failure: ImageGenerationError | None = None
        self._stats: dict[str, Any] = {}
        self._object_info: ObjectInfo | None = None
        self._object_info_at = 0.0
        self._replacements: Replacements | None = None
        self._files: dict[tuple[str, str, str], float] = {}
        self._make_locks()
        begin_anew_after_fork(self)

    def _make_locks(self) -> None:
        self._lock = threading.Lock()
        self._lists_lock = threading.Lock()
        """Apart from the other, since lists may take long to come."""

    def after_fork(self) -> None:
        """Keeps what is known of the server; the jobs in hand are the other process's."""
        self._make_locks()
        self.jobs_in_hand = 0

    @property
    def name(self) -> str:
        """What results call it: its address, or "embedded"."""
        return EMBEDDED if self.is_embedded else str(self.client.address)

    def stats(self, longest: float = REMEMBER_SECONDS) -> dict[str, Any]:
        """/system_stats, at most a few seconds old; raises what keeps it from being used.

        That is believed for twice the time that it took to learn it, and the longer the more often
        it came in a row, up to `longest` seconds: a refusal costs nothing, so that a server that
        was just started is found at once, and one that never answers is not waited for each time.
        """
        with self._lock:
            now = self.client.clock()
            believed = REMEMBER_SECONDS
            if self._failure is not None:
                believed = min(longest, self._cost * 2 ** min(self._failures, 10))
            if self._checked_at is None or now - self._checked_at > believed:
                self._ask()
                self._checked_at = self.client.clock()
                self._cost = self._checked_at - now
            if self._failure is not None:
                raise self._failure.with_traceback(None)
            return self._stats

    def _ask(self) -> None:
        self._failure = None
        try:
            self._stats = self._asked()
        except ImageGenerationError as error:
            self._failure = error
            self._failures += 1
        else:
            if self._failures:
                self._object_info = None  # what has come back may be another server
            self._failures = 0
            self.is_embedded = self._stats["system"].get(EMBEDDED) is True
            self._warn()

    def _asked(self) -> dict[str, Any]:
        try:
            return self.client.system_stats()
        except ImageGenerationError as error:
            if error.status is None or error.status < 500:
                raise
            return self.client.system_stats()  # one that is there and failed is asked once more

    def _warn(self) -> None:
        """Tells once of the known faults of the server's version."""
        if not self._is_warned and not self.is_embedded:
            self._is_warned = True
            for warning in version_warnings(self._stats["system"].get("comfyui_version")):
                logger.warning("the server %s: %s", self.name, warning)

    def doubt(self) -> None:
        """Has the server asked anew before the next job: it has just failed to answer."""
        with self._lock:
            self._checked_at = None

    def object_info(self, *, fresh: bool = False) -> ObjectInfo:
        """The server's node classes and model lists, at most a minute old unless `fresh`."""
        with self._lists_lock:
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
        with self._lists_lock:
            if self._replacements is None:
                found = repeated(self.client.node_replacements, self.client, times=2)
                self._replacements = read_replacements(found, info)
            return self._replacements

    def refuse_forbidden(self, graph: Graph) -> None:
        """Raises WorkflowError for a graph with a node that may not be run (`node_rules`)."""
        rules = self.client.node_rules
        if not rules.is_open:
            rules.check(graph, self.replacements(graph))

    def has_file(self, place: tuple[str, str, str]) -> bool:
        """Whether the server gives this file; that it does is believed for a minute."""
        now = self.client.clock()
        with self._lists_lock:
            known = self._files.items()
            self._files = {k: seen for k, seen in known if now - seen < _OBJECT_INFO_SECONDS}
            if place in self._files:
                return True
        try:
            self.client.view(*place)
        except (AuthenticationError, InvalidRequestError):
            return True  # it does not say
        except ProviderUnavailableError as error:
            if error.status == 404:
                return False
            raise
        with self._lists_lock:
            self._files[place] = now
        return True
