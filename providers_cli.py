"""The command `providers`: who can make pictures, what each can do, and why one cannot be used."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from cli_shared import OK, as_text
from image_generator import ImageGenerator
from image_provider import FEATURES

if TYPE_CHECKING:
    from rich.console import Console


def add_commands(commands: Any, common: argparse.ArgumentParser) -> None:
    """Adds `providers`; `common` has the options that every command takes."""
    providers = commands.add_parser("providers", parents=[common], help="list the providers")
    providers.set_defaults(command=_providers)


def _providers(args: argparse.Namespace, console: Console) -> int:
    from rich.console import Console as RichConsole
    from rich.table import Table

    table = Table("provider", "usable", "model or workflow", "features", box=None, pad_edge=False)
    reasons = Table.grid("provider", "reason", padding=(0, 2))
    for column in (*table.columns[:2], reasons.columns[0]):
        column.no_wrap = True
    with ImageGenerator() as generator:
        for name, told in generator.get_available_providers().items():
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
    return OK
