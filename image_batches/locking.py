"""One batch at a time works on a resume file: the lock that says so, for threads and processes.

Owns how the operating system is asked for it. It ends with its process, however that ends, so
nothing is left that keeps the next batch out; and it is on one byte far behind the end, so that the
file can be read meanwhile where locks keep readers out (Windows, shares of Windows).
"""

from __future__ import annotations

import errno
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from image_provider import ConfigurationError

logger = logging.getLogger(__name__)

_BYTE = 2**31 - 2
"""The byte that is locked; Windows' C library counts no further here."""
_TAKEN = {errno.EACCES, errno.EAGAIN, errno.EWOULDBLOCK}

_at_work: dict[tuple[int, str], object] = {}
"""The files of each process and who has them: its own threads a lock of POSIX tells nothing."""

if sys.platform == "win32":
    import msvcrt

    def _lock(file: BinaryIO) -> None:
        file.seek(_BYTE)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)

    def _unlock(file: BinaryIO) -> None:
        file.seek(_BYTE)
        msvcrt.locking(file.fileno(), msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    # `lockf` and not `flock`: a worker that was forked off has no part in it, and on a share it
    # locks this byte where `flock` locks the file.
    def _lock(file: BinaryIO) -> None:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _BYTE)

    def _unlock(file: BinaryIO) -> None:
        fcntl.lockf(file, fcntl.LOCK_UN, 1, _BYTE)


@contextmanager
def opened_alone(path: Path) -> Iterator[tuple[BinaryIO, bool]]:
    """The file at `path`, to be read and appended to by nobody else in the block; is that sure?

    It is not on a disk without locks. The file is made, and so is its folder, where there is none.
    Raises ConfigurationError when another batch works on it, OSError when it cannot be opened.
    """
    who, place = object(), (os.getpid(), os.path.normcase(os.path.realpath(path)))
    # Before it is opened: closing it again would take the other thread's lock away.
    if _at_work.setdefault(place, who) is not who:
        raise _in_use(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+b")
        try:
            is_locked = _try_to_lock(path, file)
            file.seek(0)
            yield file, is_locked
        finally:
            # A full disk, which whoever wrote has been told of, must not hide what they raise.
            with suppress(OSError), file:
                _unlock(file)
    finally:
        del _at_work[place]


def _try_to_lock(path: Path, file: BinaryIO) -> bool:
    """False, with a warning, on a disk that has no locks."""
    try:
        _lock(file)
    except OSError as error:
        if error.errno in _TAKEN:
            raise _in_use(path) from error
        logger.warning(
            "%s cannot be locked here (%s); see to it that no other batch uses it meanwhile",
            path,
            error.strerror or error,
        )
        return False
    return True


def _in_use(path: Path) -> ConfigurationError:
    return ConfigurationError(
        f"another batch works on {path} just now; wait for its end, or give another path as resume "
        "(the command batch: another -o)"
    )
