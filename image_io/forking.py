"""What a forked process must not have in common with the one that it comes from.

A fork copies what is open and held: two processes would read each other's answers from one
connection, and wait for locks whose holders are threads that only the first one has. Web servers
fork, when they load an application before they start their workers. Knows no connection itself.
"""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class Forkable(Protocol):
    """What begins anew in a forked process."""

    def after_fork(self) -> None:
        """Is called in the new process, in which no other thread runs yet.

        Drops what belongs to the other process without a word to whoever is at its other end.
        """


_everywhere: weakref.WeakSet[Forkable] = weakref.WeakSet()


def begin_anew_after_fork(thing: Forkable) -> None:
    """Has `thing.after_fork` called in every process that is forked as long as it is there."""
    _everywhere.add(thing)


def _begin_anew() -> None:
    for thing in list(_everywhere):
        thing.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)
