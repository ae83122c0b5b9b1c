"""A bar that follows a generation: what it does now, how far it is, how long it will take.

Owns what one line of progress says, and the preview that stands above it where the terminal shows
pictures. Knows no command.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from image_commands.preview import MOST_ROWS, Preview, Protocol, in_place, make_preview, protocol_of
from image_commands.shared import plain, say
from image_provider import ProgressUpdate

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult

    from image_batches import BatchProgress

_TITLE_WIDTH = 28
"""Columns before the bar; fewer where the terminal is narrow."""
_BEHIND_TITLE = 20
"""Columns for a short bar, `100%` and `0:01:30 left`."""
_NO_PREVIEW = (
    "No preview: this is no terminal that is known to show pictures (kitty, Ghostty, Konsole, "
    "iTerm2, WezTerm, mintty, mlterm; not within tmux, screen, Zellij or an editor)."
)


@contextmanager
def show_progress(
    console: Console, *, preview: bool = False
) -> Iterator[Callable[[ProgressUpdate], None]]:
    """A bar that follows the sampling steps; nothing where there is no terminal."""
    from rich.console import Group
    from rich.live import Live
    from rich.progress import BarColumn, Progress, TextColumn

    bar = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=30),
        TextColumn("{task.percentage:>3.0f}%"),
        TextColumn("{task.fields[left]}", style="dim"),
        console=console,
    )
    task = bar.add_task("starting", total=1.0, left="")
    picture = _Picture(_protocol(console) if preview else None)
    if preview and picture.protocol is None:
        say(console, _NO_PREVIEW)

    def show(update: ProgressUpdate) -> None:
        doing = doing_of(update, console.width)
        bar.update(task, completed=update.fraction, description=doing, left=left_of(update))
        if picture.protocol is not None:
            picture.take(update.preview, console)
            live.refresh()

    # A picture is long to send: it is drawn when there is news, and not ten times a second.
    live = Live(
        Group(picture, bar),
        console=console,
        transient=True,
        auto_refresh=picture.protocol is None,
        refresh_per_second=10,
    )
    if not console.is_terminal:
        yield lambda update: None
        return
    with live:
        try:
            yield show
        finally:
            picture.remove(console)


def _protocol(console: Console) -> Protocol | None:
    """What the terminal takes; a file or pipe takes none, whatever rich is told that it is."""
    return protocol_of(os.environ) if console.file.isatty() else None


class _Picture:
    """The preview above the bar: free lines, on which it is drawn again with each refresh."""

    def __init__(self, protocol: Protocol | None) -> None:
        self.protocol = protocol
        self._shown: Preview | None = None

    def take(self, data: bytes | None, console: Console) -> None:
        """Shows this picture from now on; what is none changes nothing."""
        rows = min(MOST_ROWS, console.height - 3)
        if data is not None and self.protocol is not None and rows > 0:
            number = 0 if self._shown is None else self._shown.number + 1
            made = make_preview(data, self.protocol, console.width - 1, rows, number)
            if made is not None:
                _write(console, self.protocol.send(made))
                self._shown = made

    def remove(self, console: Console) -> None:
        """Takes the picture away; the next refresh leaves no lines free."""
        if self._shown is not None and self.protocol is not None:
            self._shown = None
            _write(console, self.protocol.remove)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.segment import ControlType, Segment

        if self._shown is None or self.protocol is None:
            return
        for _ in range(self._shown.rows):
            yield Segment.line()
        # Marked as a control code, whichever, so that rich counts no cells for it.
        drawn = in_place(self._shown, self.protocol.draw)
        yield Segment(drawn, None, [(ControlType.HOME,)])


def _write(console: Console, text: str) -> None:
    """Writes what is no text for rich, past its lines."""
    console.file.write(text)
    console.file.flush()


def doing_of(update: ProgressUpdate, columns: int) -> str:
    """What stands before the bar: of a steady width, so that the bar does not jump.

    Counted in columns of the terminal, of which a Chinese character or an emoji takes two.
    """
    from rich.cells import cell_len, set_cell_size

    width = min(_TITLE_WIDTH, max(1, columns - _BEHIND_TITLE))
    text = update.stage
    if update.stage == "queued" and update.queue_position is not None:
        text = f"queued, position {update.queue_position}"
    elif update.stage == "running" and update.node_title is not None:
        text = " ".join(plain(update.node_title).split())
        step = f" {update.step}/{update.total_steps}" if update.total_steps else ""
        text = set_cell_size(text, min(cell_len(text), max(0, width - len(step)))) + step
    return set_cell_size(text, width)


def left_of(update: ProgressUpdate | BatchProgress) -> str:
    """The time left, to the second; nothing while there is no telling."""
    if update.eta_seconds is None:
        return ""
    minutes, seconds = divmod(round(update.eta_seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02} left" if hours else f"{minutes}:{seconds:02} left"
