"""A bar that follows a generation: what it does now, how far it is, how long it will take.

Owns what one line of progress says. Knows no command.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cli_shared import plain
from image_provider import ProgressUpdate

if TYPE_CHECKING:
    from rich.console import Console

_TITLE_WIDTH = 28


@contextmanager
def show_progress(console: Console) -> Iterator[Callable[[ProgressUpdate], None]]:
    """A bar that follows the sampling steps; nothing where there is no terminal."""
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=30),
        TextColumn("{task.percentage:>3.0f}%"),
        TextColumn("{task.fields[left]}", style="dim"),
    )
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task("starting", total=1.0, left="")

        def show(update: ProgressUpdate) -> None:
            bar.update(
                task, completed=update.fraction, description=_doing(update), left=_left(update)
            )

        yield show


def _doing(update: ProgressUpdate) -> str:
    """One line of a steady width, so that the bar does not jump."""
    text = update.stage
    if update.stage == "queued" and update.queue_position is not None:
        text = f"queued, position {update.queue_position}"
    elif update.stage == "running" and update.node_title is not None:
        text = " ".join(plain(update.node_title).split())
        step = f" {update.step}/{update.total_steps}" if update.total_steps else ""
        text = f"{text[: _TITLE_WIDTH - len(step)]}{step}"
    return text.ljust(_TITLE_WIDTH)


def _left(update: ProgressUpdate) -> str:
    if update.eta_seconds is None:
        return ""
    minutes, seconds = divmod(round(update.eta_seconds), 60)
    return f"{minutes}:{seconds:02} left"
