"""The command `cache`: what is in it, whether it is whole, and emptying it.

Owns what these print and ask. Removes nothing but entries, whatever folder the settings name.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from image_cache.entry import ENTRY, verify_entry
from image_cache.folder import Entry, entries, remove, remove_rest, stale_drafts
from image_commands.shared import FAILED, OK, add_command, add_json, plain, print_json, say
from image_config import Config
from image_provider import ConfigurationError

if TYPE_CHECKING:
    from rich.console import Console

_UNITS = ("bytes", "kB", "MB", "GB", "TB")


def add_commands(commands: Any, common: argparse.ArgumentParser) -> None:
    """Adds `cache` to the commands; `common` has the options that every command takes."""
    cache = add_command(
        commands, None, "cache", "look into, check and empty the cache of pictures", "info"
    )
    actions = cache.add_subparsers(required=True, metavar="ACTION")

    def add(name: str, told: str, *examples: str) -> argparse.ArgumentParser:
        parser = add_command(actions, common, name, told, *examples)
        add_json(parser)
        return parser

    info = add("info", "show how much the cache in IMAGE_CACHE_DIR holds, and its limit", "--json")
    info.set_defaults(command=_info)
    verify = add("verify", "read every entry and compare it with its SHA-256", "", "--repair")
    verify.add_argument(
        "--repair", action="store_true", help="remove what is broken; it is made again when asked"
    )
    verify.set_defaults(command=_verify)
    clear = add("clear", "remove every entry, and no other file", "", "--yes")
    clear.add_argument("--yes", action="store_true", help="do not ask")
    clear.set_defaults(command=_clear)


# The commands


def _info(args: argparse.Namespace, console: Console) -> int:
    folder, limit = _folder(), Config().get_image_cache_max_bytes()
    found = list(entries(folder))
    pictures, size = sum(entry.pictures for entry in found), sum(entry.size for entry in found)
    times = [datetime.fromtimestamp(entry.used / 1e9, timezone.utc) for entry in found]
    told = {
        "folder": str(folder),
        "entries": len(found),
        "files": pictures,
        "bytes": size,
        "max_bytes": limit,
        "oldest_use": min(times).isoformat(timespec="seconds") if times else None,
        "latest_use": max(times).isoformat(timespec="seconds") if times else None,
    }
    if args.json:
        print_json(told)
        return OK
    print(plain(f"folder   {folder}"))
    print(f"entries  {len(found):,}, with {pictures:,} pictures and other files")
    share = f"{size / limit:.0%}" if limit else "it is off"
    print(f"size     {_size(size)} of {_size(limit)} ({share})")
    if times:
        print(f"used     least recently {told['oldest_use']}, last {told['latest_use']}")
    return OK


def _verify(args: argparse.Namespace, console: Console) -> int:
    folder = _folder()
    found = list(entries(folder))
    broken = [(entry, why) for entry in found if (why := _what_is_wrong(entry)) is not None]
    drafts = stale_drafts(folder)
    removed: set[Path] = set()
    if args.repair:
        gone = [entry.path for entry, _ in broken] + drafts
        removed = {path for path in gone if remove(path, folder)}
        remove_rest(folder, [entry for entry, _ in broken if entry.path in removed])
    left = [entry for entry, _ in broken if entry.path not in removed]
    if args.json:
        listed = [{"path": str(entry.path), "problem": why} for entry, why in broken]
        told = {"folder": str(folder), "entries": len(found), "broken": listed}
        print_json({**told, "drafts": len(drafts), "removed": len(removed)})
        return FAILED if left else OK
    for entry, why in broken:
        print(plain(f"{entry.path}: {why}"))
    for line in _summary(args, (len(found), len(broken), len(drafts), len(removed))):
        print(line)
    return FAILED if left else OK


def _summary(args: argparse.Namespace, numbers: tuple[int, int, int, int]) -> Iterator[str]:
    found, broken, drafts, removed = numbers
    yield f"{_entries(found)} read, {broken} broken."
    if drafts:
        yield f"{drafts} .draft- folders are left of writing that was broken off."
    if args.repair and broken + drafts:
        yield f"{removed} of {broken + drafts} removed; a picture is made again when asked for."
    elif broken + drafts:
        yield "A broken entry is never used. --repair removes what is listed here."


def _clear(args: argparse.Namespace, console: Console) -> int:
    folder = _folder()
    found = list(entries(folder))
    size = sum(entry.size for entry in found)
    if found and not args.yes and not _agreed(console, folder, len(found), size):
        say(console, "Nothing was removed.")
        return FAILED
    kept = [entry for entry in found if not remove(entry.path, folder)]
    size -= sum(entry.size for entry in kept)
    for draft in stale_drafts(folder):
        remove(draft, folder)
    remove_rest(folder, [entry for entry in found if entry not in kept])
    if args.json:
        told = {"folder": str(folder), "removed": len(found) - len(kept), "bytes": size}
        print_json({**told, "left": [str(entry.path) for entry in kept]})
        return FAILED if kept else OK
    print(plain(f"{_entries(len(found) - len(kept))} removed from {folder}, {_size(size)}."))
    for entry in kept:
        why = "it holds files of somebody's" if entry.others else "it is in use; try again later"
        say(console, f"{entry.path} is left: {why}", "warning")
    return FAILED if kept else OK


# What they need


def _folder() -> Path:
    folder = Path(Config().get_image_cache_dir())
    if os.path.exists(folder) and not os.path.isdir(folder):
        raise ConfigurationError(f"{folder} is no folder; set IMAGE_CACHE_DIR to one")
    return folder


def _what_is_wrong(entry: Entry) -> str | None:
    """Why an entry cannot be used; None for one that is whole, and one that is gone meanwhile."""
    try:
        verify_entry(str(entry.path))
    except OSError as error:
        file = Path(error.filename or ENTRY).name
        return f"{file}: {error.strerror}" if entry.path.exists() else None
    except (KeyError, TypeError, RecursionError):
        return f"its {ENTRY} is of another form; an older version may have written it"
    except ValueError as error:  # also of what is no JSON
        return f"it is damaged: {error}"
    return None


def _agreed(console: Console, folder: Path, number: int, size: int) -> bool:
    """What a person says; raises ValueError where there is none to ask."""
    if not sys.stdin.isatty():
        raise ValueError("there is no terminal to ask at; pass --yes to remove every entry")
    say(console, f"{folder}: remove {_entries(number)}, {_size(size)}? [y/N]")
    with suppress(EOFError):
        return input().strip().lower() in ("y", "yes")
    return False


def _entries(number: int) -> str:
    return "1 entry" if number == 1 else f"{number:,} entries"


def _size(size: float, units: Sequence[str] = _UNITS) -> str:
    if size < 1000 or len(units) == 1:
        return f"{size:.3g} {units[0]}" if units[0] != "bytes" else f"{size} bytes"
    return _size(size / 1000, units[1:])
