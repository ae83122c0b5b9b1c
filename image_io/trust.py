"""Whose certificates are believed, by HTTP and by WebSockets alike.

Owns the order of what names them (a setting, the environment, those that come with requests), the
check that such a file can be used, and what a refused certificate is called.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator, Mapping

from requests.utils import DEFAULT_CA_BUNDLE_PATH

from image_provider import (
    ConfigurationError,
    ImageGenerationError,
    NotConnectedError,
    ProviderUnavailableError,
)

VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")
"""What the environment may name them in, the first one that is set."""

_WRONG_HOST = frozenset({62, 64})  # X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH
_WRONG_TIME = frozenset({9, 10})  # X509_V_ERR_CERT_NOT_YET_VALID, X509_V_ERR_CERT_HAS_EXPIRED


def check_bundle(path: str, name: str) -> str:
    """The path of a PEM file, or of a folder as OpenSSL's `c_rehash` makes it.

    Raises ConfigurationError for one that cannot be used; `name` is the setting it comes from.
    """
    try:
        _context(path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or "unreadable"
        raise ConfigurationError(
            f"{name} is {path!r}, which has no certificates to be read ({reason}); set it to a PEM "
            "file with the certificate of the authority to be believed, or unset it"
        ) from error
    return path


def named_by(environ: Mapping[str, str]) -> str | None:
    """What the environment names; None for nothing. Raises ConfigurationError as `check_bundle`."""
    for name in VARIABLES:
        if path := environ.get(name):
            return check_bundle(path, name)
    return None


def tls_context(bundle: str | None) -> ssl.SSLContext:
    """For a WebSocket: believes `bundle`, else what HTTP would believe without one."""
    return _context(bundle or named_by(os.environ) or DEFAULT_CA_BUNDLE_PATH)


def _context(path: str) -> ssl.SSLContext:
    if os.path.isdir(path):
        return ssl.create_default_context(capath=path)
    return ssl.create_default_context(cafile=path)


def certificate_error(error: object) -> ssl.SSLCertVerificationError | None:
    """The refusal of a certificate that an error of requests or urllib3 was made from, or None."""
    found = (each for each in _inside(error) if isinstance(each, ssl.SSLCertVerificationError))
    return next(found, None)


def _inside(error: object, depth: int = 8) -> Iterator[object]:
    """An error and those that it was made from, as requests and urllib3 wrap them."""
    if not isinstance(error, BaseException) or not depth:
        return
    yield error
    for inner in (*error.args, getattr(error, "reason", None), error.__cause__):
        yield from _inside(inner, depth - 1)


def tls_error(error: Exception, where: str, name: str) -> ImageGenerationError:
    """What a failed TLS connection to `where` becomes; nothing was sent to an unbelieved server."""
    refused = certificate_error(error)
    if refused is None:
        return ProviderUnavailableError(
            f"{name}: {where} broke the TLS connection off; if it speaks no TLS, write http://"
        )
    if refused.verify_code in _WRONG_HOST:
        remedy = "write the host name that the certificate is for"
    elif refused.verify_code in _WRONG_TIME:
        remedy = "renew it, or set the clock of this machine"
    else:
        remedy = (
            "if its authority is your own, set COMFYUI_CA_BUNDLE (for hosted providers "
            "REQUESTS_CA_BUNDLE) to the PEM file of that"
        )
    told = refused.verify_message.rstrip(".")
    return NotConnectedError(
        f"{name}: the TLS certificate of {where} is not to be trusted ({told}): {remedy}"
    )
