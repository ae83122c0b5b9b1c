"""Who is asked with the key, and who without.

Owns the sessions of one provider: the key goes to the base URL's own origin and to the https hosts
of the vendor's domains, to nobody else. Results are fetched without it, from the public internet
or from the host that was configured. Also when a POST is repeated: only after an answer that says
so, never after one that may have been billed. Knows no payloads.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable

from hosted_providers.common import Vendor, VendorRequest
from hosted_providers.reporting import MISREAD, add, reword
from image_io.concealing import shown_url
from image_io.forking import begin_anew_after_fork
from image_io.http import REDIRECTS, HttpResponse, HttpSession, origin, retry_after
from image_provider import (
    ConfigurationError,
    GenerationFailedError,
    ImageGenerationError,
    InvalidRequestError,
    NotConnectedError,
    ProviderTimeoutError,
    ProviderUnavailableError,
)

logger = logging.getLogger(__name__)

MAX_RESULT_BYTES = 128 * 1024 * 1024
RESULT_SECONDS = 120.0
CANCEL_SECONDS = 10.0
REPEATS = 2
"""How often a POST is sent again that was answered with 429 or 503 and a Retry-After."""
LONGEST_PAUSE = 30.0
"""Seconds; a vendor that asks for more is not waited for, another provider may be faster."""

_PLAIN_URL = re.compile(r"https?://[\w.:\[\]-]+([/?#][^\\\s]*)?", re.IGNORECASE | re.ASCII)


class Transport:
    """The connections of one provider to its vendor; safe for many threads."""

    def __init__(
        self,
        vendor: Vendor,
        api_key: str,
        base_url: str | None,
        read_timeout: float,
        sleep: Callable[[float], object],
    ) -> None:
        self.base_url = base_url or vendor.base_url
        home = _origin_of_base(vendor, self.base_url)
        self._host = home[1] if base_url else None
        self._vendor = vendor
        self._headers = vendor.auth(api_key)
        self._key = api_key
        self._read_timeout = read_timeout
        self._sleep = sleep
        self.after_fork()
        self._home = self._keyed_session(self.base_url)
        self._keyed = {home: self._home}
        # Where only a proxy reaches the internet, results come through it as the answers do.
        self._public = HttpSession(f"{vendor.title} results", guarded=True, proxied=True)
        # Its base URL is what keeps a proxy away from a server on this machine.
        self._configured = HttpSession(f"{vendor.title} results", self.base_url)
        begin_anew_after_fork(self)

    def after_fork(self) -> None:
        """Begins with a lock that nobody holds; the sessions see to their connections."""
        self._lock = threading.Lock()

    def _keyed_session(self, base_url: str) -> HttpSession:
        return HttpSession(
            self._vendor.title, base_url, self._headers, read_timeout=self._read_timeout
        )

    def send(self, request: VendorRequest) -> HttpResponse:
        """One POST to the vendor, sent again only where an answer asks for it with Retry-After."""
        for left in range(REPEATS, -1, -1):
            reader = _ErrorReader(self._vendor, self._key)
            try:
                return self._home.post(
                    request.path,
                    json_body=request.json_body,
                    data=request.form,
                    files=request.files,
                    headers=request.headers,
                    parse_error=reader,
                )
            except ImageGenerationError as error:
                pause = reader.pause
                if not error.retryable or pause is None or pause > LONGEST_PAUSE or not left:
                    _tell_of_billing(error, was_refused=pause is not None)
                    raise
                logger.debug("%s asks to wait %.1f s", self._vendor.title, pause)
                self._sleep(pause)
        raise AssertionError("the last round returns or raises")

    def ask(self, url: str) -> HttpResponse:
        """GET with the key; raises GenerationFailedError for a host that is not the vendor's."""
        return self._session_for(url).get(url, parse_error=_ErrorReader(self._vendor, self._key))

    def cancel(self, url: str) -> None:
        """Asks the vendor to stop a job; a failure is logged and no more."""
        try:
            method = self._vendor.cancel_method or "POST"
            self._session_for(url).request(method, url, read_timeout=CANCEL_SECONDS)
        except ImageGenerationError as error:
            logger.debug("cancelling failed: %s", error)

    def download(self, url: str) -> bytes:
        """A result, fetched without the key."""
        scheme, host, _ = self._place(url)
        session = self._configured if host == self._host else self._public
        if session is self._public and scheme != "https":
            raise GenerationFailedError(
                f"{self._vendor.title} names a result at {shown_url(url)}, which is not https"
            )
        try:
            response = session.get(
                url,
                follow_redirects=True,
                max_bytes=MAX_RESULT_BYTES,
                total_timeout=RESULT_SECONDS,
                parse_error=self._result_error,
            )
        except InvalidRequestError as error:
            # The request is not at fault here.
            raise GenerationFailedError(
                f"the picture was made and cannot be fetched: {error}", status=error.status
            ) from error
        return response.body

    def _result_error(self, response: HttpResponse) -> ImageGenerationError | None:
        if response.status not in (401, 402, 403):
            return None
        # No key was sent, so none was refused: such a URL has expired.
        shown = f"{self._vendor.title} results: {shown_url(response.url)}"
        return InvalidRequestError(f"{shown} answered {response.status}", status=response.status)

    def _session_for(self, url: str) -> HttpSession:
        place = self._place(url)
        with self._lock:
            session = self._keyed.get(place)
            if session is None:
                if not self._is_vendors(*place[:2]):
                    raise GenerationFailedError(
                        f"{self._vendor.title} named {shown_url(url)} to ask for the job, which is "
                        "neither its own host nor the configured one; the key was not sent there"
                    )
                session = self._keyed[place] = self._keyed_session(url)
            return session

    def _place(self, url: str) -> tuple[str, str, int | None]:
        """The origin of a URL that a vendor names, if everybody reads it the same way."""
        try:
            # urllib.parse and urllib3 disagree on where a host ends before a backslash.
            if not _PLAIN_URL.fullmatch(url):
                raise ValueError(url)
            return origin(url)
        except ValueError as error:
            raise GenerationFailedError(
                f"{self._vendor.title} named something that is no plain http or https URL"
            ) from error

    def _is_vendors(self, scheme: str, host: str) -> bool:
        return scheme == "https" and any(
            host == domain or host.endswith(f".{domain}") for domain in self._vendor.domains
        )

    def close(self) -> None:
        """Closes every idle connection."""
        with self._lock:
            keyed = list(self._keyed.values())
        for session in (*keyed, self._public, self._configured):
            session.close()


class _ErrorReader:
    """The vendor's reading of an error's answer, without the key; `pause` is what it asks for."""

    def __init__(self, vendor: Vendor, key: str) -> None:
        self._vendor = vendor
        self._key = key
        self.pause: float | None = None

    def __call__(self, response: HttpResponse) -> ImageGenerationError | None:
        if response.status in (429, 503):
            self.pause = retry_after(response)
        try:
            error = self._vendor.parse_error(response)
        except MISREAD:
            return None  # an answer in no known form: its status says enough
        if error is not None:
            # Some servers repeat the key that they refuse.
            reword(error, error.message.replace(self._key, "***"))
        return error


def _tell_of_billing(error: ImageGenerationError, was_refused: bool) -> None:
    """Adds to the error of a POST that nobody knows whether it was acted on."""
    refused = was_refused or isinstance(error, NotConnectedError) or error.status in REDIRECTS
    unknown = isinstance(error, (ProviderTimeoutError, ProviderUnavailableError))
    if unknown and error.retryable and not refused:
        add(error, "it may be billed all the same, so it was not sent again")


def _origin_of_base(vendor: Vendor, base_url: str) -> tuple[str, str, int | None]:
    try:
        scheme, host, port = origin(base_url)
    except ValueError:
        scheme, host, port = "", "", None
    if scheme not in ("http", "https") or not host:
        raise ConfigurationError(
            f"{vendor.title}: the base URL ({vendor.url_setting}) must be a whole one with http:// "
            f"or https:// in front, such as {vendor.base_url}"
        )
    return scheme, host, port
