"""Files of a user's, and texts of the command line and the environment.

What lies in modules that belong to the command line is imported here and nowhere else.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from comfyui.address import parse_addresses
from config import SETTINGS, Config
from image_batches.resume import BatchStore, batch_entry, fingerprint, pictures_folder
from image_cache.cache import ImageCache
from image_cache.entry import BROKEN, ENTRY, verify_entry, write_entry
from image_cache.folder import add_to_total, path_of
from image_commands.batch_files import read_batch
from image_provider import (
    ConfigurationError,
    ImageGenerationRequest,
    ImageGenerationResult,
    ImageStyle,
)
from image_routing.rules import load_rules, parse_rules
from style_files import load_styles
from tests.fuzzing import seeds
from tests.fuzzing.target import SECRET, Target, as_json, parsed

_REQUESTS = [ImageGenerationRequest("a red fox", seed=1), ImageGenerationRequest("a blue fox")]


@contextmanager
def _file(name: str, data: bytes) -> Iterator[Path]:
    """The input as a file of its own, which is removed with all that is made beside it."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        path = Path(folder, name)
        path.write_bytes(data)
        yield path


def _routing(data: bytes) -> None:
    with _file("routing.json", data) as path:
        rules = parse_rules(load_rules(path), path.name)
    for request in (*_REQUESTS, ImageGenerationRequest("x", style=ImageStyle.CINEMATIC)):
        rules.needs(request)
        assert len(list(rules.routes(request, str.lower))) < 1000


def _styles(suffix: str, data: bytes) -> None:
    with _file(f"styles{suffix}", data) as path:
        styles = load_styles(path)
    for name in styles.names:
        styles.fields(name)


def _batch(suffix: str, data: bytes) -> None:
    with _file(f"batch{suffix}", data) as path:
        assert all(request.prompt for request in read_batch(str(path)))


def _resume(data: bytes) -> None:
    """A batch goes on from a file, and what it says of a picture is read."""
    with _file("batch.jsonl", data) as path:
        folder = pictures_folder(path)
        folder.mkdir()
        picture = folder / "00001-01-x.png"
        picture.write_bytes(seeds.png())
        with BatchStore.opened(path, _REQUESTS) as store:
            assert set(store.made) <= {0, 1}
            for result in store.made.values():
                assert all(isinstance(image, dict) for image in result.images)
                with suppress(IndexError, ValueError):  # what a result may say of its pictures
                    result.to_pil()
        told = batch_entry(picture)
        assert told is None or isinstance(told, dict)


def _cache(data: bytes) -> None:
    """An entry that is not as it was written is none, and never an error."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        entry = Path(path_of(folder, "0" * 64))
        entry.mkdir(parents=True)
        write_entry(str(entry), _result())
        (entry / ENTRY).write_bytes(data)
        found = ImageCache(folder, 10**9).load("0" * 64)
        assert found is None or all(isinstance(image["bytes"], bytes) for image in found.images)
        with suppress(*BROKEN):
            verify_entry(str(entry))


def _cache_total(data: bytes) -> None:
    with _file(".image-cache-size", data) as path:
        total = add_to_total(str(path.parent), 5)
        assert total is None or isinstance(total, int)


def _settings(data: bytes) -> None:
    with _file(".env", data) as path:
        config = Config({}, path)
    for setting in SETTINGS:
        config.shown(setting.name)
        if setting.name.endswith("_TIMEOUT"):
            config.get_seconds(setting.name)
    config.get_flux_keys()
    config.get_image_cache_max_bytes()
    config.get_image_source_max_side()
    config.get_image_source_hosts()
    config.get_image_source_roots()
    assert SECRET not in repr(config)


def _address(data: bytes) -> None:
    # Where no @ is left behind it, it is no password any more.
    text = re.sub(rf"{SECRET}(?![^,]*@)", "x", data.decode("utf-8", "surrogateescape"), flags=re.I)
    for server in parse_addresses(text):
        assert SECRET not in repr(server) + str(server)
        assert server.is_loopback in (True, False)
        url = server.view_url("a.png", "", "output")
        assert server.file_of(url) == ("a.png", "", "output")
        assert server.websocket_url("fuzz").endswith("/ws?clientId=fuzz")


def _result() -> ImageGenerationResult:
    image = {"bytes": seeds.png(), "mime_type": "image/png", "seed": 1, "url": None}
    return ImageGenerationResult(True, [image], "x", "m", metadata={"a": [1]}, recipe={})


def _entries() -> list[bytes]:
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        write_entry(folder, _result())
        return [Path(folder, ENTRY).read_bytes()]


def _resume_files() -> list[bytes]:
    header = {"batch": 1, "requests": 2, "fingerprint": fingerprint(_REQUESTS)}
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        path = Path(folder, "batch.jsonl")
        with BatchStore.opened(path, _REQUESTS) as store:
            for place in (0, 1):
                store.keep(place, _result())
        written = path.read_bytes()
    assert json.loads(written.split(b"\n")[0]).keys() == header.keys()
    return [written]


def _lines_of(data: bytes) -> bytes:
    """JSON lines from a list of values; each line of a file is one value."""
    lines = parsed(data)
    return (
        b"\n".join(
            json.dumps(line).encode("ascii")
            for line in (lines if isinstance(lines, list) else [lines])
        )
        + b"\n"
    )


def _by_lines(run: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    """The same target, whose inputs are lists of the lines' values."""
    return lambda data: run(_lines_of(data))


_ROUTING = {
    "default_provider": "comfyui",
    "style_routing": {"cinematic": {"provider": "flux", "workflow": "x.json", "priority": 1}},
    "feature_routing": {"inpainting": {"provider": "comfyui", "required": True}},
    "fallback_chain": ["comfyui", "flux", "openai"],
    "comfyui": {"provider": "a", "priority": 2, "features": ["seeds"]},
    "a": {"provider": "comfyui", "model": "m"},
}
_STYLES = {
    "cinematic": {"negative_prompt": "cartoon", "steps": 30},
    "ink wash": {
        "like": "artistic",
        "prompt": "{prompt}, ink",
        "size": [832, 1216],
        "loras": [["ink.safetensors", 0.8]],
        "guidance_scale": 3.5,
    },
}
_TOML = b"""[cinematic]
negative_prompt = "cartoon"
steps = 30

["ink wash"]
like = "artistic"
prompt = "{prompt}, ink wash"
size = [832, 1216]
loras = [["ink.safetensors", 0.8]]
"""
_CSV = b"""prompt,size,seed,loras,guidance_scale
a red fox,640x512,7,"[[""x"", 0.5]]",3.5
"a, b",,,,
"""
_LINES = [
    {"prompt": "a red fox", "size": "640x512", "seed": 7, "loras": [["x", 0.5]]},
    {"prompt": "b", "extra": {"6": {"text": "x"}}, "style": "cinematic", "num_images": 2},
]
_ENV = f"""# keys
OPENAI_API_KEY={SECRET}
COMFYUI_SERVER_ADDRESS="http://user:{SECRET}@127.0.0.1:8188, [::1]:8188"
OPENAI_BASE_URL=https://user:{SECRET}@example.org/v1
export COMFYUI_READ_TIMEOUT=60
IMAGE_CACHE_MAX_BYTES=1000
IMAGE_SOURCE_MAX_SIDE='4096'
IMAGE_SOURCE_HOSTS=localhost:8000,[::1]:9
FLUX_HOST=bfl
""".encode()
_ADDRESSES = (
    "127.0.0.1:8188",
    "[::1]:8188",
    "::1",
    f"http://user:{SECRET}@example.org:80/comfyui, 10.0.0.1",
    f"https://{SECRET}:x@host/p?q#f",
)

TARGETS = (
    Target("routing_file", _routing, lambda: as_json(_ROUTING), (ConfigurationError,)),
    Target(
        "style_json", partial(_styles, ".json"), lambda: as_json(_STYLES), (ConfigurationError,)
    ),
    Target(
        "style_toml",
        partial(_styles, ".toml"),
        lambda: [_TOML],
        (ConfigurationError,),
        is_json=False,
    ),
    Target(
        "batch_csv",
        partial(_batch, ".csv"),
        lambda: [_CSV],
        (ConfigurationError, ValueError),
        is_json=False,
    ),
    Target(
        "batch_jsonl",
        _by_lines(partial(_batch, ".jsonl")),
        lambda: as_json(_LINES),
        (ConfigurationError, ValueError),
    ),
    Target("resume_file", _resume, _resume_files, (ConfigurationError,), is_json=False),
    Target(
        "resume_lines",
        _by_lines(_resume),
        lambda: as_json([json.loads(line) for line in _resume_files()[0].splitlines()]),
        (ConfigurationError,),
    ),
    Target("cache_entry", _cache, _entries, ()),
    Target(
        "cache_total",
        _cache_total,
        lambda: [b"counted=5 entries=1 stores=1\n+5\n+7\n"],
        (),
        is_json=False,
    ),
    Target("settings", _settings, lambda: [_ENV], (ConfigurationError,), is_json=False),
    Target(
        "server_address",
        _address,
        lambda: [text.encode() for text in _ADDRESSES],
        (ConfigurationError,),
        is_json=False,
    ),
)
