"""What a version of ComfyUI means for jobs there: untested, or with a known fault. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_TESTED = ("0.3.64", "0.33.0")
"""The oldest and the newest ComfyUI that this was tried with."""
_KEEPS_PROMPT_IDS = "0.3.45"
"""The first ComfyUI that keeps the prompt id which a client chose (server.py)."""


@dataclass(frozen=True)
class KnownFault:
    """What ComfyUI does wrong to programs from the version `first` to the one before `fixed`.

    `breaks_jobs` when a generation may meet it, and not only who calls the endpoints himself.
    """

    first: str
    fixed: str
    what: str
    breaks_jobs: bool = False

    def is_in(self, number: tuple[int, ...]) -> bool:
        return _parts(self.first) <= number < _parts(self.fixed)

    def told_of(self, version: object) -> str:
        return f"ComfyUI {version} {self.what}; fixed in {self.fixed}"


# Versions and dates are those of ComfyUI's changelog (docs.comfy.org/changelog); numbers are issues
# and pull requests of Comfy-Org/ComfyUI. Not listed, since no version was known to be free of it in
# August 2026: one connection that hangs keeps events from all sockets until a restart (9393 on
# 0.3.43, 15240 on 0.26.0, the fix 15242 is open; 3390 may be the same). It costs progress alone,
# since the server is asked then. In 8395 and 9330 clients waited for a message that tells less.
KNOWN_FAULTS = (
    # 12517, fixed by 12595: the replacing of nodes, new in 0.14.0, took every entry for a node.
    KnownFault(
        "0.14.0",
        "0.15.1",
        "answers HTTP 500 to a workflow with an entry that is no node, or a node without a title "
        "that it replaces",
        breaks_jobs=True,
    ),
    # 13751, fixed by 14939: what was cached is told to a client or to nobody, by its code since
    # 13048, which came with 0.19.0.
    KnownFault(
        "0.19.0",
        "0.28.0",
        "tells of no files in the history of a job that was sent without a client id and is a "
        "repetition of the one before: give queue_prompt a client_id",
    ),
)


def version_notes(version: object) -> Iterator[str]:
    """What a person should know of a server of this version; nothing of a version as tested."""
    number = _number(version)
    if number is None:
        yield "it does not tell its version, as servers before 2025 do not: some of this is untried"
        return
    if number < _parts(_KEEPS_PROMPT_IDS):
        yield _chooses_ids(version)
    elif number < _parts(_TESTED[0]):
        yield f"ComfyUI {version} is older than what was tested ({_TESTED[0]} to {_TESTED[1]})"
    elif number > _parts(_TESTED[1]):
        yield f"ComfyUI {version} is newer than what was tested ({_TESTED[0]} to {_TESTED[1]})"
    yield from (fault.told_of(version) for fault in KNOWN_FAULTS if fault.is_in(number))


def version_warnings(version: object) -> Iterator[str]:
    """Those of the notes that a generation on such a server may suffer from."""
    number = _number(version)
    if number is None:
        return
    for fault in KNOWN_FAULTS:
        if fault.breaks_jobs and fault.is_in(number):
            yield fault.told_of(version)


def _chooses_ids(version: object) -> str:
    return (
        f"ComfyUI {version} is older than what was tested ({_TESTED[0]} to {_TESTED[1]}) and "
        f"chooses prompt ids itself, as all before {_KEEPS_PROMPT_IDS}: a job whose answer is lost "
        "is looked for by what it was sent with"
    )


def _number(version: object) -> tuple[int, ...] | None:
    """0.3.64, v0.3.64-1-gabc → (0, 3, 64); None for what is no version."""
    match = re.match(r"v?(\d{1,6})\.(\d{1,6})(?:\.(\d{1,6}))?", str(version))
    return tuple(int(part or 0) for part in match.groups()) if match is not None else None


def _parts(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))
