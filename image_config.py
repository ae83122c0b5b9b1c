"""Settings: the environment first, then a `.env` file in the current folder, then the default.

Owns the name, default and meaning of every setting. A `Config` is read when it is built, so that a
setting changed in the environment counts from the next one on. Never changes the environment.
Needs no key; what cannot be used is told at once, all of it in one ConfigurationError.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

from image_provider import ConfigurationError
from setting_checks import (
    listed,
    no_bytes,
    no_choice,
    no_classes,
    no_hosts,
    no_seconds,
    no_side,
    no_url,
)

# FLUX at these hosts, in the order of preference, and the settings that hold a key for each.
_FLUX_KEYS = {
    "bfl": ("BLACK_FOREST_LABS_API_KEY", "BFL_API_KEY"),
    "fal": ("FAL_KEY",),
    "together": ("TOGETHER_API_KEY",),
    "replicate": ("REPLICATE_API_TOKEN",),
}
FLUX_HOSTS = tuple(_FLUX_KEYS)
PREVIEW_METHODS = ("auto", "latent2rgb", "taesd", "none")
"""How ComfyUI draws a picture while it samples (its comfy/cli_args.py)."""


class Setting(NamedTuple):
    """One setting; `default` is None where unset means "not configured".

    `problem` says what is wrong with a value that is set, or None.
    """

    name: str
    default: str | None
    meaning: str
    problem: Callable[[str], str | None] = lambda text: None


SETTINGS: tuple[Setting, ...] = (
    Setting(
        "COMFYUI_SERVER_ADDRESS",
        "127.0.0.1:8188",
        "host:port, a URL, several of them with commas between, or 'embedded'",
    ),
    Setting("COMFYUI_WORKFLOW_DIR", "workflows/comfyui", "folder that workflow names refer to"),
    Setting("COMFYUI_TEMP_DIR", "temp_uploads", "for existing callers; nothing is written there"),
    Setting("COMFYUI_CLIENT_ID", None, "prefix of the client ids that the server sees"),
    Setting("COMFYUI_API_KEY", None, "bearer token for a server behind a proxy"),
    Setting(
        "COMFYUI_CA_BUNDLE",
        None,
        "PEM file with the certificates to believe at https:// addresses of ComfyUI",
    ),
    Setting("COMFY_ORG_API_KEY", None, "comfy.org key, for workflows with API nodes"),
    Setting(
        "COMFYUI_PREVIEW_METHOD",
        None,
        "previews while sampling: auto, latent2rgb, taesd or none; unset = the server's own",
        partial(no_choice, PREVIEW_METHODS),
    ),
    Setting("COMFYUI_DEFAULT_WORKFLOW", "t2i_flux.json", "text-to-image workflow"),
    Setting("COMFYUI_I2I_WORKFLOW", "i2i_flux.json", "image-to-image workflow"),
    Setting("COMFYUI_INPAINT_WORKFLOW", "inpaint_flux.json", "inpainting workflow"),
    Setting(
        "COMFYUI_ALLOWED_NODES",
        None,
        "classes of nodes that may be run, commas between, * for anything; unset = all",
        no_classes,
    ),
    Setting(
        "COMFYUI_DENIED_NODES",
        None,
        "classes of nodes that may not be run, likewise; outweighs COMFYUI_ALLOWED_NODES",
        no_classes,
    ),
    Setting("COMFYUI_CONNECT_TIMEOUT", "4", "seconds to reach the server", no_seconds),
    Setting("COMFYUI_READ_TIMEOUT", "60", "seconds for one answer of the server", no_seconds),
    Setting("COMFYUI_QUEUE_TIMEOUT", "3600", "seconds that a job may wait in line", no_seconds),
    Setting("COMFYUI_STALL_TIMEOUT", "900", "seconds that a job may stand still", no_seconds),
    Setting("COMFYUI_TOTAL_TIMEOUT", "7200", "seconds that a job may take in all", no_seconds),
    Setting("COMFYUI_UNREACHABLE_TIMEOUT", "30", "seconds without an answer", no_seconds),
    Setting("COMFYUI_SILENCE", "2", "seconds until the server is asked for news", no_seconds),
    Setting("COMFYUI_QUEUE_INTERVAL", "5", "seconds between looks at a long queue", no_seconds),
    Setting("OPENAI_API_KEY", None, "key for OpenAI Images"),
    Setting("OPENAI_BASE_URL", None, "URL of a compatible server, with /v1", no_url),
    Setting("BLACK_FOREST_LABS_API_KEY", None, "key for FLUX at BFL"),
    Setting("BFL_API_KEY", None, "another name of BLACK_FOREST_LABS_API_KEY"),
    Setting("BFL_BASE_URL", None, "URL in place of BFL's own", no_url),
    Setting("FLUX_API_KEY", None, "key for FLUX at FLUX_HOST"),
    Setting(
        "FLUX_HOST",
        None,
        "who serves FLUX: bfl, fal, together or replicate",
        partial(no_choice, FLUX_HOSTS),
    ),
    Setting("FAL_KEY", None, "key for FLUX at fal"),
    Setting("FAL_BASE_URL", None, "URL in place of fal's queue host", no_url),
    Setting("TOGETHER_API_KEY", None, "key for FLUX at Together"),
    Setting("TOGETHER_BASE_URL", None, "URL in place of Together's own, without /v1", no_url),
    Setting("REPLICATE_API_TOKEN", None, "token for FLUX at Replicate"),
    Setting("REPLICATE_BASE_URL", None, "URL in place of Replicate's own, without /v1", no_url),
    Setting(
        "HOSTED_JOB_TIMEOUT", "600", "seconds that a call to a hosted model may take", no_seconds
    ),
    Setting("IMAGE_CACHE_DIR", "cache/images", "folder of the result cache"),
    Setting(
        "IMAGE_CACHE_MAX_BYTES",
        str(1024**3),
        "bytes that the result cache may have; 0 = no cache",
        no_bytes,
    ),
    Setting(
        "IMAGE_SOURCE_ROOTS",
        None,
        "folders that local source images may come from; empty = none, unset = any path",
    ),
    Setting(
        "IMAGE_SOURCE_HOSTS",
        None,
        "hosts of your own that source images may come from though they are private: host or "
        "host:port, commas between",
        no_hosts,
    ),
    Setting(
        "IMAGE_SOURCE_MAX_SIDE",
        "4096",
        "pixels of the longest side of a source image that is sent; a larger one is scaled down; "
        "0 = as large as it is",
        no_side,
    ),
    Setting("IMAGE_STYLE_TEMPLATES", None, "TOML or JSON file with style templates of your own"),
)

_BY_NAME = {setting.name: setting for setting in SETTINGS}
# An empty value of these is a value of its own; everywhere else empty means unset.
_MEANINGFUL_WHEN_EMPTY = {"IMAGE_SOURCE_ROOTS"}


def _is_secret(name: str) -> bool:
    return name.endswith(("_KEY", "_TOKEN"))


@cache
def _client_id_of(process_id: int) -> str:
    """One for each process, also for those that were forked off this one."""
    return str(uuid.uuid4())


def _read_env_file(path: Path) -> dict[str, str]:
    """The settings in a .env file; raises ConfigurationError for one that is not understood whole.

    A setting that is skipped in silence could be the one that keeps strangers out.
    """
    from dotenv.parser import parse_stream

    try:
        # utf-8-sig: editors on Windows write a byte order mark.
        with path.open(encoding="utf-8-sig") as stream:
            bindings = list(parse_stream(stream))
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path.name} is no UTF-8 text; save it as UTF-8") from error
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ConfigurationError(
            f"{path.name} cannot be read: {reason}; let this program read it, or move it away"
        ) from error
    for binding in bindings:
        if binding.error:
            raise ConfigurationError(
                f"{path.name}, line {binding.original.line}, is not of the form NAME=value; put a "
                "value with quotes or # in it between quotes, or remove the line"
            )
    return {b.key: b.value for b in bindings if b.key is not None and b.value is not None}


class Config:
    """The settings as they stand when it is built.

    Raises ConfigurationError naming every setting that cannot be used.
    """

    def __init__(
        self,
        environ: Mapping[str, str] | None = None,
        env_file: str | os.PathLike[str] | None = ".env",
    ) -> None:
        file = Path(env_file) if env_file is not None else None
        sources = {
            "environment": os.environ if environ is None else environ,
            ".env": _read_env_file(file) if file is not None and file.is_file() else {},
        }
        self._values = {}
        self._sources = {}
        for name in _BY_NAME:
            for source, values in sources.items():
                value = values.get(name, "").strip()
                if value or (name in values and name in _MEANINGFUL_WHEN_EMPTY):
                    self._values[name], self._sources[name] = value, source
                    break
        if problems := list(self._problems()):
            raise ConfigurationError("; ".join(problems))

    def _problems(self) -> Iterator[str]:
        for name, value in self._values.items():
            problem = _BY_NAME[name].problem(value)
            if problem is not None:
                yield f"{name} ({self.source(name)}) {problem}"

    def get(self, name: str) -> str | None:
        """The value of a setting; None when it is unset and has no default."""
        return self._values.get(name, _BY_NAME[name].default)

    def get_changed(self, name: str) -> str | None:
        """The value of a setting that somebody set to something else than its default."""
        value = self.get(name)
        return None if value == _BY_NAME[name].default else value

    def source(self, name: str) -> str:
        """Where the value comes from: "environment", ".env" or "default"."""
        return self._sources.get(name, "default")

    def shown(self, name: str) -> str | None:
        """The value as it may be shown to anybody: without keys, tokens, and user:password@."""
        value = self.get(name)
        if value is None:
            return None
        if _is_secret(name):
            return "(set, not shown)"
        credentials, at, place = value.rpartition("@")
        return f"…@{place}" if at else value

    def get_secrets(self) -> list[str]:
        """Every key and token that is set, to be left out of what is logged."""
        return [value for name, value in self._values.items() if _is_secret(name)]

    def _text(self, name: str) -> str:
        value = self.get(name)
        assert value is not None, f"{name} has no default"
        return value

    def get_seconds(self, name: str) -> float:
        """A time limit in seconds, above zero."""
        return float(self._text(name))

    def get_openai_api_key(self) -> str | None:
        return self.get("OPENAI_API_KEY")

    def get_api_key(self) -> str | None:
        """The same as `get_openai_api_key`, kept for existing callers."""
        return self.get_openai_api_key()

    def get_flux_api_key(self) -> str | None:
        return self.get("FLUX_API_KEY")

    def get_flux_host(self) -> str | None:
        """The host that FLUX_HOST names, in lower case."""
        host = self.get("FLUX_HOST")
        return None if host is None else host.lower()

    def get_black_forest_labs_api_key(self) -> str | None:
        return self.get("BLACK_FOREST_LABS_API_KEY") or self.get("BFL_API_KEY")

    def get_flux_keys(self) -> dict[str, str]:
        """The key of every FLUX host that has one; FLUX_API_KEY counts for FLUX_HOST."""
        keys = {}
        for host, names in _FLUX_KEYS.items():
            found = next((key for name in names if (key := self.get(name))), None)
            if found is None and host == (self.get_flux_host() or "bfl"):
                found = self.get_flux_api_key()
            if found is not None:
                keys[host] = found
        return keys

    def get_comfyui_server_address(self) -> str:
        return self._text("COMFYUI_SERVER_ADDRESS")

    def get_comfyui_workflow_dir(self) -> str:
        return self._text("COMFYUI_WORKFLOW_DIR")

    def get_comfyui_temp_dir(self) -> str:
        return self._text("COMFYUI_TEMP_DIR")

    def get_comfyui_client_id(self) -> str:
        """COMFYUI_CLIENT_ID, or a UUID made once a process."""
        return self.get("COMFYUI_CLIENT_ID") or _client_id_of(os.getpid())

    def get_comfyui_preview_method(self) -> str | None:
        """What COMFYUI_PREVIEW_METHOD names, in lower case; None for the server's own."""
        method = self.get("COMFYUI_PREVIEW_METHOD")
        return None if method is None else method.lower()

    def get_comfyui_allowed_nodes(self) -> tuple[str, ...] | None:
        """Classes of nodes that may be run, with * for anything; None for all."""
        value = self.get("COMFYUI_ALLOWED_NODES")
        return None if value is None else tuple(listed(value))

    def get_comfyui_denied_nodes(self) -> tuple[str, ...]:
        """Classes of nodes that may not be run, likewise."""
        return tuple(listed(self.get("COMFYUI_DENIED_NODES") or ""))

    def get_image_cache_dir(self) -> str:
        return self._text("IMAGE_CACHE_DIR")

    def get_image_cache_max_bytes(self) -> int:
        """The size limit of the cache in bytes."""
        return int(self._text("IMAGE_CACHE_MAX_BYTES"))

    def get_image_source_roots(self) -> tuple[Path, ...] | None:
        """Folders that local source images may come from; None = anywhere, empty = nowhere."""
        value = self.get("IMAGE_SOURCE_ROOTS")
        if value is None:
            return None
        return tuple(Path(part) for part in value.split(os.pathsep) if part.strip())

    def get_image_style_templates(self) -> str | None:
        """The file of style templates; None when there is none."""
        return self.get("IMAGE_STYLE_TEMPLATES")

    def get_image_source_hosts(self) -> tuple[str, ...]:
        """Hosts, "host" or "host:port", that source images may come from though private."""
        return tuple(listed(self.get("IMAGE_SOURCE_HOSTS") or ""))

    def get_image_source_max_side(self) -> int | None:
        """The longest side of a source image that is sent, in pixels; None for no limit."""
        return int(self._text("IMAGE_SOURCE_MAX_SIDE")) or None

    def __copy__(self) -> Config:
        return self

    def __deepcopy__(self, memo: object) -> Config:
        return self

    def __reduce__(self) -> Any:
        places = (self.get(name) or "" for name in _BY_NAME if name.endswith(("_ADDRESS", "_URL")))
        if self.get_secrets() or any("@" in place for place in places):
            raise TypeError(
                "this Config has keys or passwords, and these do not go into a pickle; let the "
                "other process build its own, with Config()"
            )
        return super().__reduce__()

    def __repr__(self) -> str:
        return f"Config(configured: {', '.join(self._values) or 'nothing'})"
