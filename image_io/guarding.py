"""What a guarded session may connect to, and how long an answer may take to come.

Owns the rules of addresses and ports for URLs that strangers give, the hosts that are opened
nonetheless, and the time limit on every single read. The address that was judged is the one that
is connected to, and each redirect is judged anew.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from io import BufferedReader, RawIOBase
from typing import Any, cast
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.utils import select_proxy
from requests_hardened.ip_filter import InvalidIPAddress  # type: ignore[import-untyped]
from requests_hardened.ip_filter_adapter import IPFilterAdapter  # type: ignore[import-untyped]

from image_io.retrying import ConnectionRetry

__all__ = [
    "OPEN_PORTS",
    "REFUSALS",
    "GuardedAdapter",
    "InvalidIPAddress",
    "OpenHosts",
    "RefusedPort",
    "open_hosts",
]

OPEN_PORTS = frozenset({80, 443})
OpenHosts = frozenset[tuple[str, int]]
"""(host, port) of what may be connected to although it is private, or no port of the web."""

# Of IPv6 only this has been handed out: what else there is leads into some network of one's own.
_GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")
# Not everywhere are these refused: older releases of Python and of requests-hardened let them pass.
_CLOSED = tuple(
    ipaddress.ip_network(network)
    for network in (
        "168.63.129.16/32",  # Azure's services for a virtual machine
        "192.0.0.0/24",  # protocols, and Oracle's metadata
        "192.88.99.0/24",  # 6to4 relays
        "2001::/23",  # protocols: Teredo, ORCHID
        "2002::/16",  # 6to4: an IPv4 address in it
        "3fff::/20",  # documentation
    )
)


class RefusedPort(requests.RequestException):
    """A port that is neither that of http nor of https, on a host that was not opened."""


REFUSALS = (InvalidIPAddress, RefusedPort)
"""What the adapter raises for a host that opening it would make good."""


def open_hosts(entries: Iterable[str]) -> OpenHosts:
    """Hosts as a setting names them, each "host" (ports 80 and 443) or "host:port".

    Raises ValueError for what is neither.
    """
    return frozenset(place for entry in entries for place in _places(entry))


def _places(entry: str) -> Iterable[tuple[str, int]]:
    try:
        given = urlsplit(f"//{entry}")
        port, is_plain = given.port, given.netloc == entry and not set(entry) & set("@* ")
        # Spelled as the adapter will see it: lower case, international names in ASCII.
        url = requests.Request("GET", f"http://{entry}/").prepare().url or ""
        host = urlsplit(url).hostname
    except (requests.RequestException, ValueError):
        is_plain = False
    if not is_plain or not host or port == 0:
        raise ValueError(f"{entry!r} is no host or host:port")
    return [(_plain_host(host), number) for number in ([port] if port else OPEN_PORTS)]


def _plain_host(host: str) -> str:
    return host.strip("[]").rstrip(".").lower()


def _is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    if address.version == 6 and address not in _GLOBAL_UNICAST:
        return False
    is_closed = any(address in network for network in _CLOSED)
    return address.is_global and not address.is_multicast and not is_closed


class GuardedAdapter(IPFilterAdapter):  # type: ignore[misc]
    """Connects to public addresses on OPEN_PORTS and to `opened`, and nowhere else.

    `time_left` gives the seconds that the request of the calling thread still has.
    """

    def __init__(
        self,
        scheme: str,
        opened: OpenHosts,
        time_left: Callable[[], float],
        pool_size: int,
        retry: ConnectionRetry,
    ) -> None:
        self._opened = opened
        self._default_port = 443 if scheme == "https" else 80
        self._response_class = staticmethod(partial(_TimedResponse, time_left))
        super().__init__(is_https_proto=scheme == "https")
        self.max_retries = retry
        self.init_poolmanager(self._pool_connections, pool_size)
        self._proxied = HTTPAdapter(max_retries=retry, pool_maxsize=pool_size)

    def build_connection_pool_key_attributes(
        self, request: requests.PreparedRequest, verify: Any, cert: Any = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Where the connection goes: to the address that was judged, not to its name."""
        plain = HTTPAdapter.build_connection_pool_key_attributes(self, request, verify, cert)
        host, port = str(plain[0]["host"]), plain[0]["port"]
        port = self._default_port if port is None else port
        if (_plain_host(host), port) in self._opened:
            return cast("tuple[dict[str, Any], dict[str, Any]]", plain)
        judged = super().build_connection_pool_key_attributes(request, verify, cert)
        address = ipaddress.ip_address(judged[0]["host"].strip("[]"))
        if not _is_public(address):
            raise InvalidIPAddress(address)
        if port not in OPEN_PORTS:
            raise RefusedPort(f"port {port}", request=request)
        return cast("tuple[dict[str, Any], dict[str, Any]]", judged)

    def get_connection_with_tls_context(
        self,
        request: requests.PreparedRequest,
        verify: bool | str | None,
        proxies: Mapping[str, str] | None = None,
        cert: Any = None,
    ) -> Any:
        """The pool, whose connections read within the time that is left.

        A proxy is given the name, which often it alone can resolve; where that leads is for the
        proxy to judge. What is a private address already, or this machine by name, is refused.
        """
        if select_proxy(request.url or "", dict(proxies or {})) is not None:
            self._check_named(request)
            return self._proxied.get_connection_with_tls_context(request, verify, proxies, cert)
        pool: Any = super().get_connection_with_tls_context(request, verify, proxies, cert)
        if not hasattr(pool.ConnectionCls, "is_timed"):
            extra = {"response_class": self._response_class, "is_timed": True}
            pool.ConnectionCls = type("TimedConnection", (pool.ConnectionCls,), extra)
        return pool

    def _check_named(self, request: requests.PreparedRequest) -> None:
        """Raises for what the URL itself tells of a host that is not to be asked for."""
        parts = urlsplit(request.url or "")
        host, port = _plain_host(parts.hostname or ""), parts.port or self._default_port
        if (host, port) in self._opened:
            return
        if host == "localhost" or host.endswith(".localhost"):
            raise InvalidIPAddress(host)
        address = _address_in(host)
        if address is not None and not _is_public(address):
            raise InvalidIPAddress(host)
        if port not in OPEN_PORTS:
            raise RefusedPort(f"port {port}", request=request)

    def close(self) -> None:
        """Closes every connection."""
        super().close()
        self._proxied.close()

    def __setstate__(self, state: Any) -> None:
        """Begins without connections, as every adapter: nor with those through a proxy."""
        super().__setstate__(state)
        self._proxied.__setstate__(self._proxied.__getstate__())  # type: ignore[attr-defined]


def _address_in(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The host as an address, also where only few take it for one, such as 2130706433."""
    with suppress(OSError):
        return ipaddress.ip_address(socket.inet_aton(host))
    with suppress(ValueError):
        return ipaddress.ip_address(host)
    return None


class _TimedResponse(http.client.HTTPResponse):
    """An answer that has to come in time: status line, headers and the marks of chunks, too.

    The limit that a session sets for a read begins anew with every byte, and neither http.client
    nor urllib3 returns before a line has its end.
    """

    def __init__(
        self, time_left: Callable[[], float], sock: socket.socket, *args: Any, **options: Any
    ) -> None:
        super().__init__(sock, *args, **options)
        self.fp = BufferedReader(_TimedReader(self.fp.detach(), sock, time_left))


class _TimedReader(RawIOBase):
    def __init__(
        self, inner: RawIOBase, sock: socket.socket, time_left: Callable[[], float]
    ) -> None:
        self._inner, self._socket, self._time_left = inner, sock, time_left

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._time_left()
        if left <= 0:
            raise TimeoutError("the time for the whole answer is over")
        limit = self._socket.gettimeout()
        if limit is None or left < limit:
            self._socket.settimeout(left)
        return self._inner.readinto(buffer)

    def close(self) -> None:
        self._inner.close()
        super().close()
