"""The line of progress: of a steady width, whatever the title and however narrow the terminal."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.cells import cell_len
from rich.console import Console

from image_commands.progress import doing_of, show_progress
from image_provider import ProgressUpdate


def sampling(title):
    doing = {"stage": "running", "node_title": title, "step": 12, "total_steps": 24}
    return ProgressUpdate(**doing, fraction=0.5, eta_seconds=90)


@pytest.mark.parametrize(
    ("title", "columns", "told"),
    [
        ("Sampler", 80, "Sampler 12/24               "),
        ("Sampler", 40, "Sampler 12/24       "),
        ("A sampler with a long title of its own", 80, "A sampler with a long  12/24"),
        ("采样器🎨", 80, "采样器🎨 12/24              "),
        ("采样器🎨采样器采样器采样器", 40, "采样器🎨采样器 12/24"),
        ("采样器🎨采样器采样器采样器", 39, "采样器🎨采样  12/24"),
        ("Sampler", 9, " "),
    ],
)
def test_what_is_done_takes_as_many_columns_whatever_the_title(title, columns, told):
    assert doing_of(sampling(title), columns) == told
    assert cell_len(told) == max(1, min(28, columns - 20))


def test_the_share_and_the_time_left_are_whole_in_a_narrow_terminal():
    written = StringIO()
    console = Console(file=written, width=40, force_terminal=True, color_system=None)
    with show_progress(console) as show:
        show(sampling("采样器🎨采样器采样器采样器"))
    assert " 50% 1:30 left" in written.getvalue() and "…" not in written.getvalue()
