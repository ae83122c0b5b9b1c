"""Connections to the public internet alone, for URLs that strangers give.

Owns the check of an address before anything is sent there, and what a proxy changes about it. Maps
no errors (`http` does).
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from requests import PreparedRequest
from requests.adapters import HTTPAdapter
from requests.utils import select_proxy
from requests_hardened.ip_filter import (  # type: ignore[import-untyped]
    InvalidIPAddress,
    filter_host,
)
from requests_hardened.ip_filter_adapter import IPFilterAdapter  # type: ignore[import-untyped]

from image_io.retrying import ConnectionRetry

__all__ = ["GuardedAdapter", "InvalidIPAddress"]


class GuardedAdapter(IPFilterAdapter):  # type: ignore[misc]
    """Refuses addresses of private networks, and connects to the very address that it looked at.

    A proxy is given the name, which often it alone can resolve; where that leads is for the proxy
    to judge. What is an address already, or this machine by name, is refused here all the same.
    """

    def __init__(self, is_https: bool, pool_size: int, retry: ConnectionRetry) -> None:
        super().__init__(is_https_proto=is_https)
        self.max_retries = retry
        self.init_poolmanager(self._pool_connections, pool_size)
        self._proxied = HTTPAdapter(max_retries=retry, pool_maxsize=pool_size)

    def get_connection_with_tls_context(
        self,
        request: PreparedRequest,
        verify: bool | str | None,
        proxies: Mapping[str, str] | None = None,
        cert: Any = None,
    ) -> Any:
        if select_proxy(request.url or "", dict(proxies or {})) is None:
            return super().get_connection_with_tls_context(request, verify, proxies, cert)
        _check_address(request.url or "")
        return self._proxied.get_connection_with_tls_context(request, verify, proxies, cert)

    def close(self) -> None:
        super().close()
        self._proxied.close()


def _check_address(url: str) -> None:
    """Raises InvalidIPAddress for a host that is a private address; names are let pass."""
    host = (urlsplit(url).hostname or "").rstrip(".")
    if host == "localhost" or host.endswith(".localhost"):
        raise InvalidIPAddress(host)
    address = _address_in(host)
    if address is not None:
        filter_host(address, None, allow_loopback=False)


def _address_in(host: str) -> str | None:
    """The host as an address, also where only few take it for one, such as 2130706433."""
    try:
        return socket.inet_ntoa(socket.inet_aton(host))
    except OSError:
        return host if ":" in host else None
