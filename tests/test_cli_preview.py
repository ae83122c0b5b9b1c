"""Pictures in a terminal: who gets one, the escape sequences, the whole on a pseudo-terminal."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from base64 import b64decode
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from image_commands.preview import ITERM2, KITTY, Preview, in_place, make_preview, protocol_of

ROOT = Path(__file__).resolve().parent.parent
TERMINAL_VARIABLES = {
    *("TMUX", "STY", "ZELLIJ", "NVIM", "VIM_TERMINAL", "INSIDE_EMACS", "TERM_PROGRAM"),
    *("KITTY_WINDOW_ID", "KONSOLE_VERSION", "XTERM_VERSION", "VTE_VERSION", "WT_SESSION"),
    "ALACRITTY_WINDOW_ID",
}


def picture(width, height, file_format="JPEG"):
    file = BytesIO()
    Image.new("RGB", (width, height), "orange").save(file, file_format)
    return file.getvalue()


# Who gets one


@pytest.mark.parametrize(
    ("environ", "protocol"),
    [
        ({"TERM": "xterm-kitty"}, KITTY),
        ({"TERM": "xterm-256color", "KITTY_WINDOW_ID": "1"}, KITTY),
        ({"TERM": "xterm-ghostty"}, KITTY),
        ({"TERM": "xterm-256color", "KONSOLE_VERSION": "230804"}, KITTY),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "iTerm.app"}, ITERM2),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "WezTerm"}, ITERM2),
        ({"TERM": "xterm-256color", "LC_TERMINAL": "iTerm2"}, ITERM2),
        ({"TERM": "mlterm", "MLTERM": "3.9.0"}, ITERM2),
        ({}, None),
        ({"TERM": "xterm-256color"}, None),
        ({"TERM": "xterm-256color", "KONSOLE_VERSION": "210800"}, None),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "Apple_Terminal"}, None),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "vscode", "KITTY_WINDOW_ID": "1"}, None),
        ({"TERM": "dumb", "KITTY_WINDOW_ID": "1"}, None),
        ({"TERM": "xterm-256color", "KITTY_WINDOW_ID": "1", "XTERM_VERSION": "XTerm(379)"}, None),
        ({"TERM": "xterm-256color", "KONSOLE_VERSION": "230804", "VTE_VERSION": "7600"}, None),
        ({"TERM": "xterm-kitty", "VTE_VERSION": "7600"}, KITTY),
        ({"TERM": "xterm-kitty", "TMUX": "/tmp/tmux,1,0"}, None),
        ({"TERM": "xterm-kitty", "ZELLIJ": "0"}, None),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "WezTerm", "NVIM": "/tmp/nvim.1.0"}, None),
        ({"TERM": "screen-256color", "TERM_PROGRAM": "iTerm.app"}, None),
    ],
)
def test_only_terminals_that_are_known_to_show_pictures_get_one(environ, protocol):
    assert protocol_of(environ) is protocol


# What is written


@pytest.mark.parametrize(
    ("size", "cells"),
    [
        ((512, 512), (20, 10)),
        ((1024, 512), (40, 10)),
        ((512, 1024), (10, 10)),
        ((4096, 256), (60, 2)),
        ((4096, 16), (60, 1)),
    ],
)
def test_a_picture_keeps_its_shape_within_the_columns_and_rows(size, cells):
    preview = make_preview(picture(*size), KITTY, 60, 10)
    assert (preview.columns, preview.rows) == cells


@pytest.mark.parametrize("protocol", [KITTY, ITERM2])
def test_a_picture_is_sent_small_and_in_the_format_that_the_terminal_takes(protocol):
    preview = make_preview(picture(2048, 1024, "WEBP"), protocol, 60, 10)
    with Image.open(BytesIO(preview.data)) as sent:
        assert (sent.format, sent.size) == (protocol.file_format, (256, 128))


@pytest.mark.parametrize(
    "data", [b"", b"\x1b]0;owned\x07", picture(8, 8)[:40], b"GIF89a" + b"x" * 9]
)
def test_what_is_no_picture_is_not_shown(data):
    assert make_preview(data, KITTY, 60, 10) is None


def test_kitty_gets_chunks_of_which_the_last_is_marked_and_gives_no_answer():
    data = bytes(range(256)) * 40
    written = KITTY.send(Preview(data, 20, 10))
    commands = re.findall(r"\x1b_G([^;]*);([^\x1b]*)\x1b\\", written)
    assert "".join(f"\x1b_G{keys};{text}\x1b\\" for keys, text in commands) == written
    assert len(commands) == 4 and all(len(text) <= 4096 for _, text in commands)
    assert b64decode("".join(text for _, text in commands)) == data
    keys = [dict(pair.split("=") for pair in text.split(",")) for text, _ in commands]
    assert [entry["m"] for entry in keys] == ["1", "1", "1", "0"]
    assert all(entry["q"] == "2" for entry in keys)
    first = keys[0]
    assert (first["a"], first["f"]) == ("t", "100")


def test_kitty_shows_a_picture_when_it_is_there_as_a_whole_and_then_deletes_the_one_before():
    def commands(text):
        found = re.findall(r"\x1b_G([^;\x1b]*);?[^\x1b]*\x1b\\", text)
        return [dict(pair.split("=") for pair in keys.split(",")) for keys in found]

    ids = []
    for number in range(3):
        preview = Preview(b"abc", 20, 10, number)
        (sent,), (put, deleted) = commands(KITTY.send(preview)), commands(KITTY.draw(preview))
        assert (put["a"], put["i"], put["C"]) == ("p", sent["i"], "1")
        assert (put["c"], put["r"]) == ("20", "10")
        assert (deleted["a"], deleted["d"]) == ("d", "I")
        ids.append((put["i"], deleted["i"]))
    assert ids[0] == ids[2] == ids[1][::-1] and len(set(ids[0])) == 2
    assert {command["i"] for command in commands(KITTY.remove)} == set(ids[0])


@pytest.mark.parametrize("protocol", [KITTY, ITERM2])
def test_what_takes_a_picture_away_first_ends_a_command_that_was_cut_off(protocol):
    assert protocol.remove.startswith("\x1b\\")


def test_iterm2_gets_one_command_with_size_and_shape():
    written = ITERM2.draw(Preview(b"abc", 20, 10))
    match = re.fullmatch(r"\x1b\]1337;File=([^:]*):([^\x07]*)\x07", written)
    told = dict(pair.split("=") for pair in match[1].split(";"))
    assert (told["inline"], told["size"], told["width"], told["height"]) == ("1", "3", "20", "10")
    assert b64decode(match[2]) == b"abc"


def test_the_cursor_is_back_where_it_was():
    written = in_place(Preview(b"abc", 20, 10), lambda preview: "PICTURE")
    assert written == "\x1b7\x1b[10A\rPICTURE\x1b8"


# On a pseudo-terminal


def on_a_terminal(comfyui_server, *words, **environ):
    """What a terminal of 80×24 gets from `image-cli generate`."""
    import fcntl
    import pty
    import struct
    import termios

    main_end, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    inherited = {name: v for name, v in os.environ.items() if name not in TERMINAL_VARIABLES}
    process = subprocess.Popen(
        [sys.executable, "-m", "image_cli", "generate", "a fox", "--size", "64x64", *words],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        env={
            **inherited,
            "PYTHONPATH": str(ROOT),
            "COMFYUI_SERVER_ADDRESS": comfyui_server.address,
            **environ,
        },
    )
    os.close(terminal)
    written = b""
    while chunk := read(main_end):
        written += chunk
    os.close(main_end)
    assert process.wait() == 0
    return written.decode("utf-8")


def read(main_end):
    try:
        return os.read(main_end, 65536)
    except OSError:  # how Linux tells the end
        return b""


needs_pty = pytest.mark.skipif(
    os.name == "nt", reason="Windows has no pseudo-terminals of this kind"
)


@needs_pty
def test_the_preview_is_drawn_above_the_bar_and_taken_away(comfyui_server):
    written = on_a_terminal(comfyui_server, "--preview", "--steps", "4", TERM="xterm-kitty")
    assert "\x1b7\x1b[16A\r\x1b_Ga=p," in written
    assert written.count("\x1b_Ga=t,") == 4
    *_, end = written.rpartition("\x1b_Ga=p,")
    assert KITTY.remove in end and "\x1b[1A" not in end.partition(KITTY.remove)[0]
    text = re.sub(r"\x1b_G[^\x1b]*\x1b\\", "", written)
    assert "Sampler 4/4" in text and "_G" not in text
    assert text.rstrip().endswith(".png")


@needs_pty
def test_a_terminal_that_shows_no_pictures_gets_none_and_is_told(comfyui_server):
    written = on_a_terminal(comfyui_server, "--preview", TERM="xterm-256color")
    assert "\x1b_G" not in written and "1337" not in written
    assert "No preview: this is no terminal that is known to show pictures" in written


def test_a_pipe_gets_no_picture_even_where_colours_are_forced(comfyui_server):
    done = subprocess.run(
        [sys.executable, "-m", "image_cli", "generate", "a fox", "--size", "64x64", "--preview"],
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "COMFYUI_SERVER_ADDRESS": comfyui_server.address,
            "TERM": "xterm-kitty",
            "FORCE_COLOR": "1",
        },
        capture_output=True,
    )
    assert done.returncode == 0
    assert b"\x1b_G" not in done.stdout + done.stderr
