"""The sessions of requests beneath the HTTP door, and their connections in a forked process.

Owns what requests would do of its own accord and we do not want: cookies, the user's .netrc, the
environment's proxies on the way to this machine.
"""

from __future__ import annotations

from http.cookiejar import DefaultCookiePolicy
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter

from image_io.retrying import ConnectionRetry

_LOOPBACK_HOSTS = frozenset({"127.0.0.1", "localhost", "::1"})


class _UrlCredentials(requests.auth.AuthBase):
    """Credentials of the URL itself, and none of the user's .netrc, where requests looks too."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        username, password = requests.utils.get_auth_from_url(request.url or "")
        if username and "Authorization" not in request.headers:
            requests.auth.HTTPBasicAuth(username, password)(request)
        return request


def new_session(base_url: str | None, pool_size: int, retry: ConnectionRetry) -> requests.Session:
    """A session for requests to `base_url`, or to any host; `pool_size` connections are kept."""
    session = requests.Session()
    session.auth = _UrlCredentials()
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    if base_url is not None and urlsplit(base_url).hostname in _LOOPBACK_HOSTS:
        session.trust_env = False  # a proxy of the environment cannot reach this machine
    adapter = HTTPAdapter(max_retries=retry, pool_maxsize=pool_size)
    session.mount("http://", adapter)
    session.mount("https://", adapter)
    return session


def drop_connections(session: requests.Session) -> None:
    """Has a session open its connections anew, as it does where it comes out of a pickle."""
    for adapter in session.adapters.values():
        if isinstance(adapter, HTTPAdapter):
            adapter.__setstate__(adapter.__getstate__())  # type: ignore[attr-defined]
