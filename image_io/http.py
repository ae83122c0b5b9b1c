"""The HTTP door: every request of the library goes through an `HttpSession`.

Owns the session, time limits, one log line a call, the status check on every response, the mapping
of requests' errors onto our tree, size-capped bodies and redirects. Headers that carry keys go to
the session's own origin only, whatever a server answers. Knows no vendor and no workflow.
"""

from __future__ import annotations

import json
import logging
import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from io import BytesIO
from typing import Any
from urllib.parse import urljoin

import requests
import urllib3.exceptions

from image_io.concealing import discreet, shown_url, unlogged_queries
from image_io.credentials import header_value, warn_of_plain_http
from image_io.forking import begin_anew_after_fork
from image_io.guarding import GuardedAdapter, InvalidIPAddress, OpenHosts, RefusedPort
from image_io.retrying import BusyRetry, ConnectionRetry, Deadline, seconds_asked
from image_io.sessions import drop_connections, new_session
from image_io.trust import check_bundle, named_by, tls_error
from image_provider import (
    AuthenticationError,
    ImageGenerationError,
    InvalidRequestError,
    NotConnectedError,
    ProviderTimeoutError,
    ProviderUnavailableError,
    RateLimitedError,
)

logger = logging.getLogger(__name__)

DEFAULT_MAX_BYTES = 512 * 1024 * 1024
MAX_REDIRECTS = 5
_CHUNK_BYTES = 256 * 1024
REDIRECTS = frozenset({301, 302, 303, 307, 308})
_LIBRARY_ERRORS = (requests.RequestException, urllib3.exceptions.HTTPError)


@dataclass(frozen=True)
class HttpResponse:
    """A response whose body has been read whole; header names are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    url: str = ""

    def json(self) -> Any:
        """The body as JSON; raises ProviderUnavailableError when it is something else."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError) as error:
            kind = self.headers.get("content-type", "no content type")
            raise ProviderUnavailableError(
                f"{shown_url(self.url)} did not answer with JSON but with {kind}",
                status=self.status,
            ) from error

    def json_or_none(self) -> Any:
        """The body as JSON, or None when it is something else."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None


ErrorParser = Callable[[HttpResponse], "ImageGenerationError | None"]
"""Turns a response with an error status into the right error; None leaves it to the status."""


class HttpSession:
    """A pool of connections with the headers of one origin; safe for many threads.

    `base_url` is what relative URLs refer to, and the only origin that `headers` are sent to.
    `guarded` refuses addresses of private networks and ports that are not the web's, for URLs that
    strangers give; `opened` are the (host, port) that it takes nonetheless. It keeps away from the
    environment's proxies, which could lead there, unless it may be `proxied`.
    `busy_repeats` is how often a GET is repeated that is answered with 429, 502, 503 or 504, with
    pauses that grow or are what Retry-After asks for, up to some seconds.
    `ca_bundle` names the certificates that are believed, in place of what the environment names.
    `pool_size` connections are kept; of more at once, urllib3 throws some away with a warning.
    Time limits are in seconds, sizes in bytes.
    """

    def __init__(
        self,
        name: str,
        base_url: str | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        connect_timeout: float = 5.0,
        read_timeout: float = 60.0,
        guarded: bool = False,
        opened: OpenHosts = frozenset(),
        proxied: bool = False,
        ca_bundle: str | None = None,
        pool_size: int = 256,
        busy_repeats: int = 0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.name = name
        self.guarded = guarded
        self.base_url = base_url.rstrip("/") if base_url else None
        self._headers = {key: header_value(key, value) for key, value in (headers or {}).items()}
        if self.base_url and self._headers:
            warn_of_plain_http(self.base_url, name)
        self._ca_bundle = ca_bundle and check_bundle(ca_bundle, "COMFYUI_CA_BUNDLE")
        self._timeout = (connect_timeout, read_timeout)
        self._clock = clock
        self._deadline = Deadline()
        retry = ConnectionRetry.twice()
        if busy_repeats:
            retry = BusyRetry.times(busy_repeats, self._deadline, clock, sleep)
        self._session = new_session(self.base_url, pool_size, retry)
        if guarded:
            self._session.trust_env = proxied
            for scheme in ("http", "https"):
                adapter = GuardedAdapter(
                    scheme, opened, lambda: self._deadline.at - clock(), pool_size, retry
                )
                self._session.mount(f"{scheme}://", adapter)
        begin_anew_after_fork(self)

    def after_fork(self) -> None:
        """Leaves the connections to the process that has them."""
        drop_connections(self._session)

    def get(self, url: str, **options: Any) -> HttpResponse:
        """`request` with GET."""
        return self.request("GET", url, **options)

    def post(self, url: str, **options: Any) -> HttpResponse:
        """`request` with POST; never repeated."""
        return self.request("POST", url, **options)

    def request(
        self,
        method: str,
        url: str,
        *,
        params: Mapping[str, str] | None = None,
        json_body: Any = None,
        data: Mapping[str, str] | None = None,
        files: Any = None,
        headers: Mapping[str, str] | None = None,
        read_timeout: float | None = None,
        total_timeout: float | None = None,
        max_bytes: int = DEFAULT_MAX_BYTES,
        parse_error: ErrorParser | None = None,
        follow_redirects: bool = False,
    ) -> HttpResponse:
        """Sends one request and reads the answer; raises ImageGenerationError on any other end.

        Redirects are followed for GET alone and when asked; `headers` and the session's own go to
        the session's origin only.
        """
        target = self._absolute(url)
        deadline = None if total_timeout is None else self._clock() + total_timeout
        for _ in range(MAX_REDIRECTS + 1):
            response = self._send(
                method,
                target,
                headers,
                timeout=read_timeout or self._timeout[1],
                deadline=deadline,
                max_bytes=max_bytes,
                params=params,
                json=json_body,
                data=data,
                files=files,
            )
            next_url = self._redirect(response) if follow_redirects and method == "GET" else None
            if next_url is None:
                return self._checked(response, parse_error)
            target, params = next_url, None
        raise InvalidRequestError(
            f"{self.name}: {shown_url(url)} led to more than {MAX_REDIRECTS} redirects"
        )

    def close(self) -> None:
        """Closes every idle connection."""
        self._session.close()

    def _absolute(self, url: str) -> str:
        if url.startswith("/") and self.base_url is not None:
            return self.base_url + url
        return url

    @cached_property
    def _authorities(self) -> str | bool:
        """For each request: requests lets the environment beat what its session is told."""
        return self._ca_bundle or named_by(os.environ) or True

    @cached_property
    def _own_origin(self) -> tuple[str, str, int | None] | None:
        return None if self.base_url is None else origin(self.base_url)

    def _headers_for(self, url: str, extra: Mapping[str, str] | None) -> dict[str, str]:
        if self.base_url is not None and origin(url) == self._own_origin:
            checked = {key: header_value(key, value) for key, value in (extra or {}).items()}
            return {**self._headers, **checked}
        return {}

    @unlogged_queries()
    def _send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None,
        *,
        timeout: float,
        deadline: float | None,
        max_bytes: int,
        **options: Any,
    ) -> HttpResponse:
        started = self._clock()
        left = timeout if deadline is None else min(timeout, deadline - started)
        if left <= 0:
            raise self._too_slow(url)
        self._deadline.at = math.inf if deadline is None else deadline
        try:
            with self._session.request(
                method,
                url,
                headers=self._headers_for(url, headers),
                timeout=(min(self._timeout[0], left), left),
                stream=True,
                allow_redirects=False,
                verify=self._authorities if url.lower().startswith("https:") else True,
                **options,
            ) as raw:
                body = self._read(raw, deadline, max_bytes)
        except (*_LIBRARY_ERRORS, OSError, ValueError) as error:
            raise map_request_error(error, url, self.name) from discreet(error, url)
        if logger.isEnabledFor(logging.DEBUG):
            elapsed = (self._clock() - started) * 1000
            logger.debug("%s %s: %d, %.0f ms", method, shown_url(url), raw.status_code, elapsed)
        lower = {key.lower(): value for key, value in raw.headers.items()}
        return HttpResponse(raw.status_code, lower, body, url)

    def _read(self, raw: requests.Response, deadline: float | None, max_bytes: int) -> bytes:
        # read1 gives what has come; read waits for a whole chunk, however slowly it drips.
        # urllib3 before 2.1 lacks it.
        read = getattr(raw.raw, "read1", raw.raw.read)
        # It grows in place and hands over what it has: chunks to be joined would be there twice.
        body = BytesIO()
        while chunk := read(_CHUNK_BYTES, decode_content=True):
            if body.tell() + len(chunk) > max_bytes:
                raise InvalidRequestError(
                    f"{self.name}: {shown_url(raw.url)} sent more than the {max_bytes:,} bytes "
                    "allowed"
                )
            if deadline is not None and self._clock() > deadline:
                raise self._too_slow(raw.url)
            body.write(chunk)
        return body.getvalue()

    def _redirect(self, response: HttpResponse) -> str | None:
        location = response.headers.get("location")
        if location is None or response.status not in REDIRECTS:
            return None
        try:
            return urljoin(response.url, location)
        except ValueError as error:
            raise map_request_error(error, location, self.name) from error

    def _too_slow(self, url: str) -> ProviderTimeoutError:
        return ProviderTimeoutError(f"{self.name}: {shown_url(url)} took longer than allowed")

    def _checked(self, response: HttpResponse, parse_error: ErrorParser | None) -> HttpResponse:
        if 200 <= response.status < 300:
            return response
        error = parse_error(response) if parse_error is not None else None
        raise error or error_for_status(response, self.name)


def origin(url: str) -> tuple[str, str, int | None]:
    """(scheme, host, port) of a URL, the port filled in for http and https.

    Read as urllib3 does, which connects: urlsplit sees another host where there is a backslash.
    Raises ValueError for what cannot be read.
    """
    parts = urllib3.util.parse_url(url)
    scheme = (parts.scheme or "").lower()
    host = (parts.host or "").strip("[]")
    return scheme, host, parts.port or {"http": 80, "https": 443}.get(scheme)


def map_request_error(error: Exception, url: str, name: str) -> ImageGenerationError:
    """The one place where errors of requests and urllib3 become ours."""
    if isinstance(error, ImageGenerationError):
        return error
    where = shown_url(url)
    match _root(error):
        case InvalidIPAddress():
            return InvalidRequestError(f"{name}: the host of {where} is not on the public internet")
        case RefusedPort() as refusal:
            return InvalidRequestError(f"{name}: {where} is on {refusal}, which is not the web's")
        case requests.exceptions.ConnectTimeout():
            return NotConnectedError(f"{name}: no answer from {where} in time to connect")
        case requests.exceptions.Timeout() | urllib3.exceptions.ReadTimeoutError():
            return ProviderTimeoutError(f"{name}: {where} did not answer in time")
        case requests.exceptions.SSLError() | urllib3.exceptions.SSLError():
            return tls_error(error, where, name)
        case requests.exceptions.ProxyError():
            return ProviderUnavailableError(
                f"{name}: {where} cannot be reached through the proxy that the environment sets"
            )
        case requests.exceptions.InvalidJSONError():
            return InvalidRequestError(f"{name}: a value in the request to {where} is not JSON")
        case requests.exceptions.InvalidHeader():
            return ProviderUnavailableError(f"{name}: {where} answered with a header that is none")
        case (
            requests.exceptions.InvalidURL()
            | requests.exceptions.MissingSchema()
            | requests.exceptions.InvalidSchema()
            | ValueError()
        ):
            return InvalidRequestError(f"{name}: {where} is not a URL that can be fetched")
        case urllib3.exceptions.ProtocolError() | urllib3.exceptions.DecodeError():
            return ProviderUnavailableError(f"{name}: the answer of {where} broke off")
        case urllib3.exceptions.NewConnectionError():
            return NotConnectedError(f"{name}: {where} cannot be reached")
        case _:
            return ProviderUnavailableError(f"{name}: {where} cannot be reached")


def _root(error: Exception) -> object:
    """What a plain ConnectionError of requests was made from; any other error itself."""
    if type(error) is not requests.exceptions.ConnectionError or not error.args:
        return error
    inner = error.args[0]
    return getattr(inner, "reason", inner)


def error_for_status(response: HttpResponse, name: str) -> ImageGenerationError:
    """The error that an HTTP status stands for when the body told nothing better."""
    status = response.status
    text = f"{name}: {shown_url(response.url)} answered {status}"
    details: dict[str, Any] = {"status": status, "request_id": response.headers.get("x-request-id")}
    if status in (401, 402, 403):
        return AuthenticationError(f"{text}: the key was refused, or has no credit", **details)
    if status == 429:
        return RateLimitedError(
            f"{text}: too many requests", retry_after=retry_after(response), **details
        )
    if status == 408 or status >= 500:
        return ProviderUnavailableError(text, retry_after=retry_after(response), **details)
    if status in REDIRECTS:
        return ProviderUnavailableError(
            f"{text}, a redirect; set the address that it points to", **details
        )
    return InvalidRequestError(text, **details)


def retry_after(response: HttpResponse) -> float | None:
    """Seconds to wait, from `retry-after-ms` or `retry-after` (RFC 9110, 10.2.3), or None."""
    for header, scale in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        seconds = seconds_asked(response.headers.get(header, ""))
        if seconds is not None:
            return seconds / scale
    return None
