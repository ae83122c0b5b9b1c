"""What keeps credentials to those that they are for: whole headers, and not in the clear.

Owns the check of what is put into a header, and the warning for what goes over plain http to the
public internet. Pure but for the log.
"""

from __future__ import annotations

import ipaddress
import logging
import threading
from urllib.parse import urlsplit

from image_provider import ConfigurationError

logger = logging.getLogger(__name__)

# Names that the public internet has not: RFC 6761, 6762, 8375, and what routers make up.
_PRIVATE_ENDINGS = (".localhost", ".local", ".lan", ".internal", ".home", ".home.arpa", ".test")

_warned: set[str] = set()
_lock = threading.Lock()


def header_value(name: str, value: str) -> str:
    """The value, if a header can carry it; else raises ConfigurationError without repeating it."""
    if any(character in value for character in "\r\n\0") or not value.isascii():
        raise ConfigurationError(
            f"the value for the {name} header has a line break or a character that no header "
            "can carry; check the key it was made from"
        )
    return value


def is_public(host: str) -> bool:
    """True for a host of the public internet, as far as its name or address tells."""
    plain = host.strip("[]").rstrip(".").lower()
    try:
        return ipaddress.ip_address(plain.partition("%")[0]).is_global
    except ValueError:
        return "." in plain and not plain.endswith(_PRIVATE_ENDINGS)


def warn_of_plain_http(url: str, name: str) -> None:
    """Warns, once for each host and port, that what is sent to `url` can be read on the way."""
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname or not is_public(parts.hostname):
        return
    place = parts.netloc.rpartition("@")[2]
    with _lock:
        if place in _warned:
            return
        _warned.add(place)
    logger.warning(
        "%s: the credentials for http://%s go there unencrypted, for anybody on the way to read; "
        "use https:// for it, or a tunnel (SSH, VPN) to an address of your own network",
        name,
        place,
    )
