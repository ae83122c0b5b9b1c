"""What `doctor` finds out: settings, files, servers, providers, and what to do about it.

Owns the questions and one plain document for the answers, with a line what to do for each problem.
Makes no picture, writes no file, and asks nobody but the ComfyUI servers of the settings.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from comfyui.fitting import Rank
from comfyui.library import WorkflowLibrary
from image_commands import doctor_servers
from image_commands.doctor_servers import Examined
from image_commands.servers import open_servers
from image_commands.version import installed_version, library_version
from image_config import SETTINGS, Config
from image_provider import (
    AllProvidersFailedError,
    ImageGenerationError,
    ImageGenerationRequest,
    NotConnectedError,
)
from image_provider_router import ImageProviderRouter
from image_routing.built_in import KEY_SETTINGS
from image_routing.rules import load_rules, parse_rules
from style_files import load_styles

T = TypeVar("T")

PACKAGES = (
    "requests",
    "requests-hardened",
    "websocket-client",
    "Pillow",
    "numpy",
    "python-dotenv",
    "rich",
    "argcomplete",
    "aiohttp",
)
"""What the library uses; the last one is for the embedded server alone."""
_ROUTING_FILE = "image_routing_config.json"
_LONGEST_SECONDS = 2.0
"""For a server that is silent; one that is there answers these questions at once."""
_REQUEST = ImageGenerationRequest("a red fox in the snow")
_NO_FAMILY = (
    "it has no checkpoint either",
    "put one of Stable Diffusion 1.5 or XL into models/checkpoints, which would do as well, or the "
    "files above into their folders (workflows/comfyui/README.md says where FLUX is found)",
)
_START = (
    "start ComfyUI there (StabilityMatrix on Windows: Packages, Launch, and wait for the line with "
    "its address), or set COMFYUI_SERVER_ADDRESS to where it runs"
)


def diagnose(longest: float = _LONGEST_SECONDS) -> dict[str, Any]:
    """All that can be found out; `ok` when a picture can be made without any option.

    A server that is silent for `longest` seconds counts as away.
    """
    told: dict[str, Any] = {
        "ok": False,
        "would_use": None,
        "problems": [],
        "settings": [],
        "files": {},
        "servers": [],
        "workflows": [],
        "providers": [],
        "cache": {},
        "source_roots": None,
        "version": library_version(),
        "python": platform.python_version(),
        "system": platform.platform(terse=True),
        "packages": {name: installed_version(name) for name in PACKAGES},
    }
    try:
        config = Config()
    except ImageGenerationError as error:
        todo = "correct that in the environment or in .env; env.example tells of every setting"
        told["problems"].append(_problem("settings", str(error), todo))
        return told
    told |= {
        "settings": _settings(config),
        "files": _files(config),
        "cache": _cache(config),
        "source_roots": _source_roots(config),
    }
    _diagnose_servers(config, longest, told)
    told["problems"] += _folder_problems(told)
    return told


def _diagnose_servers(config: Config, longest: float, told: dict[str, Any]) -> None:
    """Fills in what depends on servers and on who is asked."""
    try:
        with open_servers(config, longest) as servers:
            examined = doctor_servers.examine(servers.all())
            told["servers"] = [each.plain() for each in examined]
            told["workflows"] = doctor_servers.workflows(config, examined)
            told["problems"] += _server_problems(examined)
            _diagnose_default(config, examined, told)
    except ImageGenerationError as error:  # an address that is none, no embedded server
        told["problems"].append(_problem("COMFYUI_SERVER_ADDRESS", str(error)))
        _diagnose_default(config, [], told)


def _diagnose_default(config: Config, examined: list[Examined], told: dict[str, Any]) -> None:
    """Who would make a picture that is asked for without any option."""
    try:
        router = ImageProviderRouter(config)
    except ImageGenerationError as error:
        if str(error) not in [known["problem"] for known in told["problems"]]:
            told["problems"].append(_problem("providers", str(error)))
        return
    told["providers"] = _hosted(router)
    try:
        candidates = router.resolve(_REQUEST)
    except AllProvidersFailedError as error:
        told["problems"] += [
            _problem(attempt.provider, attempt.message) for attempt in error.attempts
        ]
        return
    finally:
        router.close()
    for candidate in candidates:
        if candidate.name != "comfyui":
            model = candidate.request.model or candidate.provider.model
            told["would_use"] = {"provider": candidate.name, "workflow": None, "model": model}
        elif examined:
            found = _default_on_comfyui(config, examined, candidate.request)
            told["would_use"] = found.pop("would_use")
            told["problems"] += found["problems"]
        if told["would_use"] is not None:
            told["ok"] = True
            return


def _default_on_comfyui(
    config: Config, examined: list[Examined], request: ImageGenerationRequest
) -> dict[str, Any]:
    """The workflow and model that a server would take, and what keeps the servers from it."""
    chooser, problems = doctor_servers.chooser_of(config), []
    for each in examined:
        if each.info is None:
            continue
        try:
            choice, fit = doctor_servers.default_on(each, chooser, request)
        except ImageGenerationError as error:
            problems.append(_problem(each.address, str(error)))
            continue
        if choice is not None and fit.rank is not Rank.NOT:
            notes = [*choice.warnings, *fit.lacks]
            would = {"provider": "comfyui", "workflow": choice.name, "model": choice.model}
            return {
                "would_use": {**would, "server": each.address},
                "problems": [_problem(each.address, note) for note in notes],
            }
        problems += [_problem(each.address, lack) for lack in fit.lacks]
        if choice is None and fit.lacks:
            problems.append(_problem(each.address, *_NO_FAMILY))
    return {"would_use": None, "problems": problems}


# What is told of each


def _problem(about: str, problem: str, todo: str | None = None) -> dict[str, str | None]:
    """A problem; `todo` is None where the problem's own words say what to do."""
    return {"about": about, "problem": problem, "todo": todo}


def _server_problems(examined: list[Examined]) -> Iterator[dict[str, str | None]]:
    for each in examined:
        if isinstance(each.error, NotConnectedError):
            yield _problem(each.address, "no ComfyUI answers there", _START)
        elif each.error is not None:
            yield _problem(each.address, str(each.error))
        elif each.status is not None:
            for note in each.status.notes:
                yield _problem(each.address, note)


def _folder_problems(told: dict[str, Any]) -> Iterator[dict[str, str | None]]:
    if not told["files"]["workflows"]["exists"]:
        todo = "make that folder, or set COMFYUI_WORKFLOW_DIR; the bundled defaults go without"
        path = told["files"]["workflows"]["path"]
        yield _problem("COMFYUI_WORKFLOW_DIR", f"{path} is no folder", todo)
    cache = told["cache"]
    if not cache["writable"]:
        todo = "set IMAGE_CACHE_DIR to a folder that can be written to; until then nothing is kept"
        yield _problem("cache", f"{cache['folder']} cannot be written to", todo)
    for root in told["source_roots"] or []:
        if not root["exists"]:
            todo = "make that folder, or take it out of IMAGE_SOURCE_ROOTS"
            yield _problem("IMAGE_SOURCE_ROOTS", f"{root['path']} is no folder", todo)
    for workflow in told["workflows"]:
        if workflow["error"] is not None:
            yield _problem(workflow["name"], workflow["error"])


def _settings(config: Config) -> list[dict[str, Any]]:
    return [
        {
            "name": setting.name,
            "value": config.shown(setting.name),
            "from": config.source(setting.name) if config.get(setting.name) is not None else None,
        }
        for setting in SETTINGS
    ]


def _files(config: Config) -> dict[str, Any]:
    library = WorkflowLibrary(config.get_comfyui_workflow_dir())
    templates = config.get_image_style_templates()
    styles, styles_error = _tried(lambda: load_styles(templates))
    own_styles = styles.own_names if styles is not None else ()
    _, routing_error = _tried(
        lambda: parse_rules(load_rules(_ROUTING_FILE), _ROUTING_FILE, own_styles)
    )
    return {
        "env": {"path": ".env", "exists": Path(".env").is_file()},
        "routing": {
            "path": _ROUTING_FILE,
            "exists": Path(_ROUTING_FILE).is_file(),
            "error": routing_error,
        },
        "styles": {
            "path": templates,
            "exists": templates is not None and os.path.isfile(templates),
            "error": styles_error,
        },
        "workflows": {"path": str(library.folder), "exists": os.path.isdir(library.folder)},
    }


def _tried(read: Callable[[], T]) -> tuple[T | None, str | None]:
    """What is read, or why it cannot be."""
    try:
        return read(), None
    except ImageGenerationError as error:
        return None, str(error)


def _hosted(router: ImageProviderRouter) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "key_set": name in router.providers,
            "setting": setting,
            "model": router.providers[name].model if name in router.providers else None,
        }
        for name, setting in KEY_SETTINGS.items()
    ]


def _cache(config: Config) -> dict[str, Any]:
    folder = Path(config.get_image_cache_dir())
    sizes = []
    for path in folder.rglob("*") if os.path.isdir(folder) else ():
        with suppress(OSError):  # it is being removed
            if path.is_file():
                sizes.append(path.stat().st_size)
    return {
        "folder": str(folder),
        "writable": _is_writable(folder),
        "files": len(sizes),
        "bytes": sum(sizes),
        "max_bytes": config.get_image_cache_max_bytes(),
    }


def _is_writable(folder: Path) -> bool:
    """Whether it can be written to, or made where it is not there; nothing is tried."""
    place = folder.absolute()
    while not os.path.exists(place) and place != place.parent:
        place = place.parent
    return os.path.isdir(place) and os.access(place, os.W_OK | os.X_OK)


def _source_roots(config: Config) -> list[dict[str, Any]] | None:
    roots = config.get_image_source_roots()
    if roots is None:
        return None
    return [{"path": str(root), "exists": os.path.isdir(root)} for root in roots]
