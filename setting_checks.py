"""What is wrong with a setting's value: for each kind, a sentence that begins with "must be".

Pure. A value that may hold a key or a password is not repeated.
"""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit

_LONGEST_SHOWN = 20
"""Characters of a value that a message repeats: fewer than keys have."""


def _not(text: str) -> str:
    """The value for a message; a long one may be a key in the wrong place."""
    return f", not {text!r}" if len(text) <= _LONGEST_SHOWN else ""


def no_seconds(text: str) -> str | None:
    """For a time limit."""
    try:
        usable = 0 < float(text) < float("inf")
    except ValueError:
        usable = False
    return None if usable else f"must be a number of seconds above 0{_not(text)}"


def is_whole(text: str) -> bool:
    """Whether it is a whole number that Python reads."""
    return text.isdecimal() and len(text) < 19  # Python reads no number of thousands of digits


def no_bytes(text: str) -> str | None:
    """For a number of bytes."""
    return None if is_whole(text) else f"must be a whole number of bytes{_not(text)}"


def no_side(text: str) -> str | None:
    """For the side of a picture."""
    usable = is_whole(text) and (int(text) == 0 or int(text) >= 64)
    return None if usable else f"must be a whole number of pixels from 64, or 0{_not(text)}"


def no_hosts(text: str) -> str | None:
    """For hosts that are opened."""
    for entry in listed(text):
        try:
            parts = urlsplit(f"//{entry}")
            usable = bool(parts.hostname) and parts.port != 0 and parts.netloc == entry
        except ValueError:
            usable = False
        if not usable or any(character in "@*" or character.isspace() for character in entry):
            # The value is not repeated: what is before an @ may be a password.
            return "must be hosts or host:port, with commas between, such as localhost:8000"
    return None


def listed(text: str) -> list[str]:
    """The entries of a value with commas between."""
    return [entry.strip() for entry in text.split(",") if entry.strip()]


def no_classes(text: str) -> str | None:
    """For names of node classes."""
    # A list of nothing would allow nothing, or deny nothing: neither is what somebody meant.
    what = "must be names of node classes with commas between, such as LoadImage,KSampler*"
    return None if listed(text) else f"{what}, not {text!r}"


def no_url(text: str) -> str | None:
    """For a base URL."""
    try:
        parts = urlsplit(text)
        usable = parts.scheme in ("http", "https") and parts.hostname is not None
    except ValueError:
        usable = False
    # The value is not repeated: it may hold a password.
    return None if usable else "must be a whole URL, such as https://host/path"


def no_choice(known: Iterable[str], text: str) -> str | None:
    """For one of several words, in any case."""
    if text.lower() in known:
        return None
    return f"must be one of {', '.join(known)}{_not(text)}"
