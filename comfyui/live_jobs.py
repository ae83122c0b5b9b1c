"""The generations at work in this process: ended when their provider closes, or the interpreter.

Owns who is told to end and for how long that is waited for. How a job is cancelled on its server is
the affair of the thread that waits for it; threads of ours are daemons, so none of them keeps the
process alive. No thread is started here: at exit Python allows none.
"""

from __future__ import annotations

import atexit
import logging
import threading
import time
import weakref
from collections.abc import Collection, Iterator
from contextlib import contextmanager

from comfyui.cancelling import CancelToken
from image_io.forking import begin_anew_after_fork

logger = logging.getLogger(__name__)

CLOSE_SECONDS = 10.0
"""How long `close` of a provider waits for the ends of its jobs."""
EXIT_SECONDS = 5.0
"""How long the end of the process waits for them, all together."""
_AWAKE_SECONDS = 0.5
"""On Windows a wait is not ended by Ctrl-C, so none is longer."""


class LiveJobs:
    """The generations of one provider that are at work; safe for many threads."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._threads: dict[CancelToken, threading.Thread] = {}
        self._enders: set[threading.Thread] = set()
        """Those of them that have called `end` themselves."""
        with _registering:
            _everywhere.add(self)
        begin_anew_after_fork(self)

    @contextmanager
    def job(self) -> Iterator[CancelToken]:
        """A token for what this thread does in the block: cancelled by whoever ends the jobs."""
        token = CancelToken()
        self.enter(token, threading.current_thread())
        try:
            yield token
        finally:
            self.leave(token)

    def enter(self, token: CancelToken, thread: threading.Thread) -> None:
        """Takes note that a thread works, or is about to."""
        with self._changed:
            self._threads[token] = thread
        if _exit.begun:
            token.cancel()

    def leave(self, token: CancelToken) -> None:
        """Takes note that it has ended."""
        with self._changed:
            self._enders.discard(self._threads.pop(token, threading.current_thread()))
            self._changed.notify_all()

    def cancel(self) -> list[CancelToken]:
        """Asks for the ends of all; the tokens that tell them apart from later ones."""
        with self._changed:
            tokens = list(self._threads)
        for token in tokens:
            token.cancel()
        return tokens

    def cancel_of(self, threads: Collection[threading.Thread]) -> None:
        """Asks for the ends of those that these threads wait for."""
        with self._changed:
            tokens = [token for token, thread in self._threads.items() if thread in threads]
        for token in tokens:
            token.cancel()

    def end(self, seconds: float = CLOSE_SECONDS) -> bool:
        """Cancels all, and waits up to `seconds` for their ends; False when some are still there.

        A thread that calls this from its own job, as a callback may, does not wait for that, nor
        for others that do the same: they would wait for each other.
        """
        deadline, tokens = time.monotonic() + seconds, self.cancel()
        self._note_ender()
        while left := self._others(tokens):
            patience = deadline - time.monotonic()
            if patience <= 0:
                logger.warning("%d job(s) have not ended within %g s", len(left), seconds)
                return False
            with self._changed:
                if self._others(tokens) == left:
                    self._changed.wait(min(patience, _AWAKE_SECONDS))
        return True

    def _note_ender(self) -> None:
        own = threading.current_thread()
        with self._changed:
            if own in self._threads.values():
                self._enders.add(own)
                self._changed.notify_all()

    def _others(self, tokens: list[CancelToken]) -> list[CancelToken]:
        own = threading.current_thread()
        with self._changed:
            spared = self._enders if own in self._enders else {own}
            return [token for token in tokens if self._threads.get(token, own) not in spared]

    def after_fork(self) -> None:
        """Drops all: in a forked process there are no other threads."""
        self._changed = threading.Condition()
        self._threads = {}
        self._enders = set()


class _Exit:
    """Whether the interpreter has begun to end."""

    begun = False

    def __call__(self) -> None:
        self.begun = True
        deadline = time.monotonic() + EXIT_SECONDS
        with _registering:
            providers = list(_everywhere)
        for provider in providers:
            provider.cancel()
        for provider in providers:
            provider.end(max(0.0, deadline - time.monotonic()))


def end_first_at_exit() -> None:
    """Has the jobs end before whatever was registered for the exit up to now."""
    atexit.unregister(_exit)
    atexit.register(_exit)


_registering = threading.Lock()
_everywhere: weakref.WeakSet[LiveJobs] = weakref.WeakSet()
_exit = _Exit()
end_first_at_exit()
