"""The command `doctor`: what is set, who answers, what is missing, and what to do about it.

Owns how that is printed, what is wrong last. The exit code is 0 when a picture can be made without
any option, else 1.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from image_commands.shared import (
    FAILED,
    OK,
    add_command,
    add_json,
    print_block,
    print_json,
    print_table,
)

if TYPE_CHECKING:
    from rich.console import Console

_LIMITS = ("_TIMEOUT", "_SILENCE", "_INTERVAL")
_MB = 1024 * 1024


def add_commands(commands: Any, common: argparse.ArgumentParser) -> None:
    """Adds `doctor`; `common` has the options that every command takes."""
    told = "tell what is set up, what is missing, and what to do about it"
    doctor = add_command(commands, common, "doctor", told, "", "--json")
    add_json(doctor)
    doctor.set_defaults(command=_doctor)


def _doctor(args: argparse.Namespace, console: Console) -> int:
    from image_commands.doctor_checks import diagnose

    told = diagnose()
    if args.json:
        print_json(told)
    else:
        _print(told)
    return OK if told["ok"] else FAILED


def _print(told: dict[str, Any]) -> None:
    packages = ", ".join(f"{name} {version or '-'}" for name, version in told["packages"].items())
    print(f"image-cli {told['version']}, Python {told['python']} on {told['system']}")
    print_table((), [(f"with {packages}",)])
    print_block("Settings (limits only where changed)", ("name", "value", "from"), _settings(told))
    print_block("Files and folders", ("what", "where", ""), _files(told))
    print_block("Hosted providers", ("provider", "key", "model"), _hosted(told))
    print_block(
        "ComfyUI servers", ("address", "answers", "version", "queue", "device"), _servers(told)
    )
    print_block("Workflows", _workflow_heads(told), _workflows(told))
    print_block("Missing models", ("file", "folder", "needed by"), _missing(told, "missing_models"))
    print_block("Missing nodes", ("class", "pack", "needed by"), _missing(told, "missing_nodes"))
    print_block("Problems, and what to do", (), list(_problems(told)))
    print()
    print_table((), [(_verdict(told),)])


def _settings(told: dict[str, Any]) -> list[Sequence[str]]:
    return [
        (entry["name"], entry["value"], entry["from"])
        for entry in told["settings"]
        if entry["value"] is not None
        and not (entry["from"] == "default" and entry["name"].endswith(_LIMITS))
    ]


def _files(told: dict[str, Any]) -> list[Sequence[str]]:
    rows: list[Sequence[str]] = []
    files, cache, roots = told["files"], told["cache"], told["source_roots"]
    if files:
        shown = {"settings": files["env"], "routing": files["routing"], "styles": files["styles"]}
        for what, file in shown.items():
            if file["path"] is None:
                continue
            state = "broken" if file.get("error") is not None else _there(file["exists"])
            rows.append((what, file["path"], state))
        folder = files["workflows"]
        rows.append(("workflows", folder["path"], _there(folder["exists"])))
    if cache:
        used, limit = cache["bytes"] / _MB, cache["max_bytes"] / _MB
        state = "" if cache["writable"] else ", cannot be written to"
        rows.append(("cache", cache["folder"], f"{used:.1f} of {limit:.0f} MB{state}"))
        if roots is None:
            rows.append(("source images", "any folder", ""))
        elif not roots:
            rows.append(("source images", "no folder", "IMAGE_SOURCE_ROOTS is empty"))
        rows += [("source images", root["path"], _there(root["exists"])) for root in roots or []]
    return rows


def _there(exists: bool) -> str:
    return "there" if exists else "not there"


def _hosted(told: dict[str, Any]) -> list[Sequence[str]]:
    return [
        (
            entry["name"],
            "set" if entry["key_set"] else f"not set: {entry['setting']}",
            entry["model"] or "",
        )
        for entry in told["providers"]
    ]


def _servers(told: dict[str, Any]) -> list[Sequence[str]]:
    return [
        (
            entry["address"],
            "yes" if entry["reachable"] else "no",
            f"{entry['version'] or '?'}{' (embedded)' if entry['is_embedded'] else ''}",
            str(entry["queue_length"]),
            ", ".join(entry["devices"]),
        )
        if entry["reachable"]
        else (entry["address"], "no", "", "", "")
        for entry in told["servers"]
    ]


def _workflow_heads(told: dict[str, Any]) -> Sequence[str]:
    return ("workflow", *(entry["address"] for entry in told["servers"] if entry["reachable"]))


def _workflows(told: dict[str, Any]) -> list[Sequence[str]]:
    """A line a workflow, with a column for each server that answers."""
    return [
        (
            entry["name"] if entry["from"] == "own" else f"{entry['name']} (bundled)",
            *(_state(on) for on in entry["servers"]),
        )
        for entry in told["workflows"]
        if entry["servers"]
    ]


def _state(on: dict[str, Any]) -> str:
    """How a workflow fits a server, in a few words."""
    counts = [
        f"{len(on[key])} {word}{'s' if len(on[key]) > 1 else ''}"
        for key, word in (("missing_models", "model"), ("missing_nodes", "node"))
        if on[key]
    ]
    if on["runs"]:
        return "runs, without " + " and ".join(counts) if counts else "runs"
    return "lacks " + " and ".join(counts) if counts else "does not run: workflow check tells why"


def _missing(told: dict[str, Any], key: str) -> list[Sequence[str]]:
    """Each missing thing once, with the workflows that need it."""
    needed: dict[tuple[str, str], dict[str, None]] = {}
    for workflow in told["workflows"]:
        for on in workflow["servers"]:
            for entry in on[key]:
                name, place = entry.values()
                needed.setdefault((name, place or "?"), {})[workflow["name"]] = None
    above = "models/" if key == "missing_models" else ""
    return [(name, f"{above}{place}", _first_of(list(by))) for (name, place), by in needed.items()]


def _first_of(names: Sequence[str]) -> str:
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"{names[0]}{more}"


def _problems(told: dict[str, Any]) -> Iterator[Sequence[str]]:
    for problem in told["problems"]:
        yield "-", f"{problem['about']}: {problem['problem']}"
        if problem["todo"] is not None:
            yield "", f"-> {problem['todo']}"


def _verdict(told: dict[str, Any]) -> str:
    would = told["would_use"]
    if would is None:
        return "No picture can be made as things are: the problems above tell what to do."
    means = [would["workflow"], would["model"]]
    told_means = " and ".join(part for part in means if part)
    how = f" with {told_means}" if told_means else ""
    embedded = {entry["address"] for entry in told["servers"] if entry["is_embedded"]}
    kind = " (the embedded server: procedural, no model runs)"
    what = kind if would.get("server") in embedded else ""
    return f"A picture can be made{what}: {would['provider']} would make it{how}."
