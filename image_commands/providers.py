"""The command `providers`: who can make pictures, what each can do, and why one cannot be used."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from image_commands.shared import OK, add_command, add_json, as_text, print_json
from image_generator import ImageGenerator
from image_provider import FEATURES

if TYPE_CHECKING:
    from rich.console import Console


def add_commands(commands: Any, common: argparse.ArgumentParser) -> None:
    """Adds `providers`; `common` has the options that every command takes."""
    told = "list who can make pictures, and why one cannot be used"
    providers = add_command(commands, common, "providers", told, "", "--json")
    add_json(providers)
    providers.set_defaults(command=_providers)


def _providers(args: argparse.Namespace, console: Console) -> int:
    with ImageGenerator() as generator:
        found = generator.get_available_providers()
    if args.json:
        print_json({"providers": [{"name": name, **told} for name, told in found.items()]})
    else:
        _print_providers(found)
    return OK


def _print_providers(found: dict[str, dict[str, Any]]) -> None:
    from rich.console import Console as RichConsole
    from rich.table import Table

    table = Table("provider", "usable", "model or workflow", "features", box=None, pad_edge=False)
    reasons = Table.grid("provider", "reason", padding=(0, 2))
    for column in (*table.columns, *reasons.columns):
        column.overflow = "fold"
    for column in (*table.columns[:2], reasons.columns[0]):
        column.no_wrap = True
    for name, told in found.items():
        features = [word for word, has in told["features"].items() if has]
        can = "all" if len(features) == len(FEATURES) else ", ".join(features)
        usable = "yes" if told["available"] else "no"
        table.add_row(as_text(name), usable, as_text(told["model"] or ""), as_text(can))
        if told["reason"] is not None:
            reasons.add_row(as_text(name), as_text(told["reason"]))
    out = RichConsole()
    if not out.is_terminal:
        out.width = 1000  # who reads it by program wants a line a provider
    out.print(table)
    if reasons.row_count:
        out.print("\nWhy not:", reasons, sep="\n")
