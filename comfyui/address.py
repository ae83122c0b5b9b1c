"""Where a ComfyUI server is: what users write in COMFYUI_SERVER_ADDRESS, taken apart.

Owns parsing of host:port, http(s) URLs with a path prefix, IPv6 and credentials in the URL. Pure.
"""

from __future__ import annotations

import base64
import ipaddress
import re
from dataclasses import dataclass, field
from urllib.parse import SplitResult, parse_qs, quote, unquote, urlencode, urlsplit

from image_provider import ConfigurationError

DEFAULT_PORT = 8188
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_ESCAPES = "in a password write , / ? # as %2C %2F %3F %23"
# Where a server says that it listens, but nowhere to connect to on Windows.
_ANY_INTERFACE = {"0.0.0.0": "127.0.0.1", "::": "::1"}


@dataclass(frozen=True)
class ServerAddress:
    """One server. `base_url` has no credentials and no slash at its end."""

    base_url: str
    headers: dict[str, str] = field(default_factory=dict, repr=False)
    ca_bundle: str | None = field(default=None, repr=False)
    """The certificates that are believed there; None leaves it to the environment."""

    @property
    def is_loopback(self) -> bool:
        return urlsplit(self.base_url).hostname in _LOOPBACK

    def websocket_url(self, client_id: str) -> str:
        """The /ws URL for a client id."""
        scheme, rest = self.base_url.split("://", 1)
        socket_scheme = "wss" if scheme == "https" else "ws"
        return f"{socket_scheme}://{rest}/ws?clientId={quote(client_id, safe='')}"

    def view_url(self, filename: str, subfolder: str, folder_type: str) -> str:
        """The /view URL of a file; holds no credentials."""
        query = {"filename": filename, "subfolder": subfolder, "type": folder_type}
        return f"{self.base_url}/view?{urlencode(query)}"

    def file_of(self, url: str) -> tuple[str, str, str] | None:
        """Filename, subfolder and type of a `view_url` of this server; None for any other URL."""
        if not url.startswith(f"{self.base_url}/view?"):
            return None
        query = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
        if "filename" not in query:
            return None
        return query["filename"], query.get("subfolder", ""), query.get("type", "output")

    def __str__(self) -> str:
        return self.base_url.removeprefix("http://")


def parse_address(
    text: str, token: str | None = None, ca_bundle: str | None = None
) -> ServerAddress:
    """A server address as a user writes it; raises ConfigurationError saying what is wrong.

    Takes `host`, `host:port`, `[::1]:port`, `http(s)://[user:password@]host[:port][/prefix]`.
    A `token` is sent as a bearer token, unless the address has a user and password of its own.
    """
    written = text.strip()
    has_scheme = "://" in written
    shown = _without_secrets(written)
    if any(character.isspace() for character in written):
        raise _unusable(shown, "there is a blank in it")
    parts, port = _split(written if has_scheme else f"http://{_bracketed(written)}", shown)
    if parts.scheme not in ("http", "https"):
        # With a :// in a password, the user is taken for the scheme.
        scheme = "…" if "@" in written else parts.scheme
        raise _unusable(shown, f"{scheme}:// is neither http:// nor https://")
    if not parts.hostname:
        raise _unusable(shown, "there is no host in it")
    if parts.query or parts.fragment or "@" in parts.path:
        raise _unusable(shown, f"it must end before any ? or #; {_ESCAPES}")
    if port is None and not has_scheme:
        port = DEFAULT_PORT
    base_url = f"{parts.scheme}://{_place(parts.hostname, port)}{parts.path.rstrip('/')}"
    _split(base_url, shown)  # urlsplit lets a bracket pass behind an @ that it refuses alone
    try:
        headers = _credentials(parts.username, parts.password, token)
    except UnicodeEncodeError:  # its text repeats the password: not `from` it
        raise _unusable(shown, "user or password has bytes that are no UTF-8 text") from None
    return ServerAddress(base_url, headers, ca_bundle=ca_bundle)


def parse_addresses(
    text: str, token: str | None = None, ca_bundle: str | None = None
) -> list[ServerAddress]:
    """The servers of a comma-separated list, at least one."""
    servers = [parse_address(part, token, ca_bundle) for part in text.split(",") if part.strip()]
    if not servers:
        raise _unusable(text, "it is empty")
    return servers


def _bracketed(written: str) -> str:
    """A bare IPv6 address in the brackets that a URL wants; anything else as it is."""
    try:
        version = ipaddress.ip_address(written).version
    except ValueError:
        return written
    return f"[{written}]" if version == 6 else written


def _split(url: str, shown: str) -> tuple[SplitResult, int | None]:
    try:
        parts = urlsplit(url)
        return parts, parts.port
    except ValueError:  # its text repeats what may be part of a password: not `from` it
        raise _unusable(shown, f"the host or port cannot be read; {_ESCAPES}") from None


def _place(host: str, port: int | None) -> str:
    host = _ANY_INTERFACE.get(host, host)
    if ":" in host:
        host = f"[{host}]"
    return host if port is None else f"{host}:{port}"


def _credentials(user: str | None, password: str | None, token: str | None) -> dict[str, str]:
    """The header that they make; raises UnicodeEncodeError for what is no text."""
    if user or password:
        pair = f"{unquote(user or '')}:{unquote(password or '')}".encode()
        return {"Authorization": f"Basic {base64.b64encode(pair).decode('ascii')}"}
    return {"Authorization": f"Bearer {token}"} if token else {}


def _without_secrets(written: str) -> str:
    """What of an address a message may repeat: nothing that could be part of a password."""
    place = re.split("[?#]", written.rsplit("@", 1)[-1])[0]
    # After a colon only a port is harmless: a comma or a slash may have cut a password in two.
    return re.sub(r":(?!//)[^:/\]]*[^\d:/\]].*", ":…", place)


def _unusable(shown: str, why: str) -> ConfigurationError:
    return ConfigurationError(
        f"{shown!r} is no server address: {why}. Write host:port, for example 127.0.0.1:8188, or a "
        "URL such as https://example.org/comfyui, in COMFYUI_SERVER_ADDRESS or server_address"
    )
