"""What may be told of a URL: not the part behind `?`, which may open a door.

Owns how a URL is shown, and that its query, such as the signature of a picture's, stays out of
urllib3's logs and of the errors that ours are made from; that these hold no request with its
headers; and that a refused address is told of once. Requests of anybody else in the process are
logged as ever.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

# Behind a "?": to the end of a URL as urllib3's messages write it.
_QUERY = re.compile(r"\?[^\s'\")]+")
_LOGGERS = ("urllib3.connectionpool", "urllib3.util.retry")


def shown_url(url: str) -> str:
    """The URL as it may stand in a log or message: no credentials, query or control characters."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "the URL"
    shown = f"{parts.scheme}://{f'[{host}]' if ':' in host else host}{port}{parts.path}"
    return "".join(character if character.isprintable() else "?" for character in shown)


class _Ours(threading.local):
    """Whether the calling thread sends a request of this library."""

    is_sending = False


_ours = _Ours()


def _without_queries(record: logging.LogRecord) -> bool:
    """A filter of urllib3's loggers: its own arguments, with no query in them."""
    if _ours.is_sending and isinstance(record.args, tuple):
        record.args = _concealed(record.args)
    return True


def _concealed(values: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(_QUERY.sub("?…", each) if isinstance(each, str) else each for each in values)


def _is_not_ours(record: logging.LogRecord) -> bool:
    """A filter of the address filter's logger: our own error says what it warns of."""
    return not _ours.is_sending


for _name in _LOGGERS:
    logging.getLogger(_name).addFilter(_without_queries)
logging.getLogger("requests_hardened.ip_filter").addFilter(_is_not_ours)


@contextmanager
def unlogged_queries() -> Iterator[None]:
    """In the block, what urllib3 logs in this thread has no query."""
    before, _ours.is_sending = _ours.is_sending, True
    try:
        yield
    finally:
        _ours.is_sending = before


def discreet(error: Exception, url: str) -> Exception:
    """The error of requests or urllib3, and those in it, without the query and the request."""
    for each in _inside(error, 8):
        if "?" in url:
            each.args = _concealed(each.args)
        if "request" in vars(each):
            each.request = None  # type: ignore[attr-defined]  # it has the headers, with their keys
    return error


def _inside(error: Any, depth: int) -> Iterator[BaseException]:
    if not isinstance(error, BaseException) or not depth:
        return
    yield error
    for inner in (*error.args, error.__cause__, error.__context__):
        yield from _inside(inner, depth - 1)
