"""The servers that a provider works with: one or several, or an embedded one of its own.

Owns which server a job goes to, and which one has a job or file. Knows no request: what a server
lacks for one is told by whoever asks. An embedded server is started when it is first needed, and
stopped by `close`.
"""

from __future__ import annotations

import logging
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, TypeVar

from comfyui.address import ServerAddress, parse_address, parse_addresses
from comfyui.client import ComfyUIClient
from comfyui.fitting import Fit, InputFile, Rank
from comfyui.live_jobs import end_first_at_exit
from comfyui.repeating import repeated
from comfyui.server import EMBEDDED, REMEMBER_SECONDS, Server
from image_io.forking import begin_anew_after_fork
from image_provider import (
    AuthenticationError,
    ConfigurationError,
    ImageGenerationError,
    ProviderTimeoutError,
    ProviderUnavailableError,
    RateLimitedError,
    WorkflowError,
)

if TYPE_CHECKING:
    from comfyui.embedded import EmbeddedServer

logger = logging.getLogger(__name__)

_LONGEST_SECONDS = 60.0
"""How long a failure is at most, while other servers answer: each look may take seconds."""
_MOST_REMEMBERED = 10_000
"""Jobs and files of which it is remembered which server has them."""
_MOST_TOLD = 5
"""Things that a message tells of what another server lacks."""
_NO_USE = (
    ProviderUnavailableError,
    ProviderTimeoutError,
    RateLimitedError,
    AuthenticationError,
)

Answer = TypeVar("Answer")


class Servers:
    """The servers of one provider."""

    def __init__(
        self,
        address: str,
        token: str | None,
        make_client: MakeClient,
        ca_bundle: str | os.PathLike[str] | None = None,
    ) -> None:
        self._make_client = make_client
        self._embedded: EmbeddedServer | None = None
        self._lock = threading.Lock()
        self._turns = count(1)
        self._known: OrderedDict[Hashable, Server] = OrderedDict()
        self._wants_embedded = address.strip().lower() == EMBEDDED
        bundle = None if ca_bundle is None else os.fspath(ca_bundle)
        addresses = [] if self._wants_embedded else parse_addresses(address, token, bundle)
        self._servers = [Server(make_client(each)) for each in addresses]
        self.number = len(addresses) or 1
        self.have_credentials = any(each.headers for each in addresses)
        begin_anew_after_fork(self)

    def after_fork(self) -> None:
        """Leaves the embedded server to the process that runs it: this one starts its own."""
        self._lock = threading.Lock()
        self._forget_embedded()

    def _forget_embedded(self) -> None:
        if self._wants_embedded:
            self._embedded = None
            self._servers = []
            self._known.clear()

    def all(self) -> list[Server]:
        """Every server; starts the embedded one when it is asked for."""
        with self._lock:
            if self._wants_embedded and self._embedded is None:
                self._start_embedded()
            return list(self._servers)

    def pick(self, examine: Examine | None = None) -> Server:
        """The server that a job would go to; raises when none can be used."""
        return self._choose(examine, (), lambda server: None)[0]

    @contextmanager
    def at_work(
        self, examine: Examine | None = None, tried: Collection[Server] = ()
    ) -> Iterator[Server]:
        """A server for a job, which is counted as that server's until the end of the block.

        It is the one with the least to do of those that fit best by `examine`, which nobody asks
        where there is no choice; those in `tried` are out of it. When none fits, a WorkflowError
        in the block tells what the others lack, too.
        """
        server, fits = self._choose(examine, tried, self._take)
        try:
            yield server
        except WorkflowError as error:
            others = self._lacking_elsewhere(server, fits, tried) if examine is not None else ""
            if not others:
                raise
            raise replace(error, message=f"{error}. {others}") from error.__cause__
        finally:
            with self._lock:
                server.jobs_in_hand -= 1

    def _take(self, server: Server) -> None:
        server.jobs_in_hand += 1
        server.last_turn = next(self._turns)

    def _choose(
        self, examine: Examine | None, tried: Collection[Server], take: Callable[[Server], None]
    ) -> tuple[Server, Fits]:
        """The choice, taken before anybody else can make another, and how the servers fit.

        A server that was not examined is hoped to fit. So those with less to do are examined, and
        only until one of them fits; the last word is spoken under the lock, with the jobs that
        others have taken meanwhile. Lists that are a minute old count only where one is enough.
        """
        loads, fits = dict(self._queue_lengths(tried)), dict[Server, Fit]()
        is_fresh = False
        while True:
            with self._lock:
                best = min(loads, key=lambda server: _cost(server, loads[server], fits))
                fit = fits.get(best)
                is_open = examine is not None and len(loads) > 1 and fit is None
                is_too_bad = fit is not None and fit.rank is Rank.NOT and not is_fresh
                if not is_open and not is_too_bad:
                    take(best)
                    return best, fits
            if is_too_bad:
                is_fresh, fits = True, {}
            elif examine is not None:
                self._examine(best, partial(examine, best, is_fresh), loads, fits)

    def _examine(
        self, server: Server, ask: Callable[[], Fit], loads: dict[Server, int], fits: Fits
    ) -> None:
        """Notes how a job fits; a server that fails to tell is out of this choice."""
        try:
            fits[server] = ask()
        except _NO_USE as error:
            server.doubt()
            del loads[server]
            if not loads:
                raise
            self._leave_out(server, error)

    def _lacking_elsewhere(self, server: Server, fits: Fits, tried: Collection[Server]) -> str:
        """What keeps the other servers from a job that this one cannot do; "" for nothing."""
        own = fits.get(server)
        if own is not None and own.rank is not Rank.NOT:
            return ""
        others = [each for each in self.all() if each is not server and each not in tried]
        if not others:
            return ""
        told = (f"{each.client.address} {_shortcoming(fits.get(each), own)}" for each in others)
        return f"That is {server.client.address}; no other server can do it: {'; '.join(told)}"

    def _queue_lengths(self, tried: Collection[Server]) -> list[tuple[Server, int]]:
        if len(self.all()) == 1:
            return [(server, 0) for server in self.answering()]
        return self._ask_each(_queue_length, tried)

    def answering(self) -> list[Server]:
        """Every server that can be used now; raises when none can."""
        return [server for server, _ in self._ask_each(Server.stats)]

    def _ask_each(
        self, ask: Callable[[Server, float], Answer], tried: Collection[Server] = ()
    ) -> list[tuple[Server, Answer]]:
        servers = [server for server in self.all() if server not in tried]
        if len(servers) == 1 and not tried:
            return [(servers[0], ask(servers[0], REMEMBER_SECONDS))]
        failures: list[str] = []
        for longest in (_LONGEST_SECONDS, REMEMBER_SECONDS):
            answers, failures = self._answers(servers, ask, longest)
            if answers:
                return answers
        raise ProviderUnavailableError("none of the servers can be used: " + "; ".join(failures))

    def _answers(
        self, servers: list[Server], ask: Callable[[Server, float], Answer], longest: float
    ) -> tuple[list[tuple[Server, Answer]], list[str]]:
        answers, failures = [], []
        for server in servers:
            try:
                answers.append((server, ask(server, longest)))
            except ImageGenerationError as error:
                self._leave_out(server, error)
                failures.append(str(error))
            else:
                self._take_back(server)
        return answers, failures

    def _leave_out(self, server: Server, error: ImageGenerationError) -> None:
        with self._lock:
            is_news, server.is_left_out = not server.is_left_out, True
        level = logging.WARNING if is_news else logging.DEBUG
        logger.log(level, "server %s is left out: %s", server.client.address, error)

    def _take_back(self, server: Server) -> None:
        with self._lock:
            is_news, server.is_left_out = server.is_left_out, False
        if is_news:
            logger.info("server %s can be used again", server.client.address)

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

    def missing_files(self, server: Server, files: Iterable[InputFile]) -> list[str]:
        """The files that a server has not got, or only others of the same name."""
        return [file.name for file in files if not self._has_file(server, file)]

    def _has_file(self, server: Server, file: InputFile) -> bool:
        with self._lock:
            owner = self._known.get(file.place)
        return server.has_file(file.place) if owner is None else owner is server

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
                self._forget_embedded()

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
        end_first_at_exit()  # what stops it at exit was registered by its start
        self._servers = [Server(self._make_client(parse_address(self._embedded.address)))]


def _queue_length(server: Server, longest: float) -> int:
    server.stats(longest)
    try:
        return server.client.queue_length()
    except ImageGenerationError:
        server.doubt()
        raise


def _cost(server: Server, length: int, fits: Fits) -> tuple[int, int, int]:
    """What makes a server better for a job is less; the others' turn at a tie."""
    rank = fits[server].rank if server in fits else Rank.WHOLE
    # Most of those in hand are in the queue already, so they are not counted twice.
    return rank, max(length, server.jobs_in_hand), server.last_turn


def _shortcoming(fit: Fit | None, compared: Fit | None) -> str:
    if fit is None:
        return "cannot be used now"
    if compared is not None and fit.lacks == compared.lacks:
        return "lacks the same"
    told, more = fit.lacks[:_MOST_TOLD], len(fit.lacks) - _MOST_TOLD
    return f"lacks things too ({', '.join(told)}{f' and {more} more' if more > 0 else ''})"


Examine = Callable[[Server, bool], Fit]
"""How a job fits a server; the second argument asks for lists that are read now."""
Fits = dict[Server, Fit]
MakeClient = Callable[[ServerAddress], ComfyUIClient]
