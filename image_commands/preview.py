"""Pictures in a terminal: which terminals show them, and what is written to have one shown.

Owns the escape sequences of kitty's graphics protocol and of iTerm2's inline images. A terminal
that is not known to take one of them gets none. Pure, but for the decoding by Pillow; who writes,
and where, is not known here.

Facts: https://sw.kovidgoyal.net/kitty/graphics-protocol/ and
https://iterm2.com/documentation-images.html; which terminals take them: their own documentation.
"""

from __future__ import annotations

from base64 import standard_b64encode
from collections.abc import Callable, Mapping
from io import BytesIO
from typing import NamedTuple

MOST_ROWS = 16
"""Lines of the terminal that a preview takes."""
_LONGEST_SIDE = 256
"""Pixels that are sent: more than that many lines show are in vain."""
_CHUNK = 4096
"""Characters of one kitty command."""
_PICTURE_ID = 7_312
"""Any numbers that other programs are not likely to use, this and the next: kitty's pictures are
known by them."""
_KONSOLE_WITH_KITTY = 220400
_WITHIN = frozenset({"TMUX", "STY", "ZELLIJ", "NVIM", "VIM_TERMINAL", "INSIDE_EMACS"})
"""What tmux, screen, Zellij and the terminals of editors set for the programs in them."""
_OTHERS = frozenset({"XTERM_VERSION", "VTE_VERSION", "ALACRITTY_WINDOW_ID", "WT_SESSION"})
"""What terminals set that take neither protocol."""


class Preview(NamedTuple):
    """A picture as a terminal takes it, and how many columns and rows of text it covers."""

    data: bytes
    columns: int
    rows: int
    number: int = 0
    """How many there were before."""


Write = Callable[[Preview], str]


class Protocol(NamedTuple):
    """How a kind of terminal is told to show a picture, and to take it away.

    `send` hands a picture over, wherever the cursor is. `draw` shows it at the cursor, which comes
    to stand anywhere after that, in place of the one before. `remove` also ends what was cut off:
    Ctrl-C throws away what a slow line has not taken yet.
    """

    name: str
    file_format: str
    send: Write
    draw: Write
    remove: str


def _kitty_send(preview: Preview) -> str:
    text = standard_b64encode(preview.data).decode("ascii")
    chunks = [text[start : start + _CHUNK] for start in range(0, len(text), _CHUNK)]
    commands = []
    for number, chunk in enumerate(chunks):
        head = f"a=t,f=100,i={_kitty_id(preview.number)}," if number == 0 else ""
        more = int(number < len(chunks) - 1)
        commands.append(f"\x1b_G{head}q=2,m={more};{chunk}\x1b\\")
    return "".join(commands)


def _kitty_draw(preview: Preview) -> str:
    # q=2: no answers, which would be typed into the shell. C=1: the cursor stays.
    place = f"i={_kitty_id(preview.number)},p=1,c={preview.columns},r={preview.rows}"
    return f"\x1b_Ga=p,q=2,C=1,{place}\x1b\\{_kitty_delete(preview.number + 1)}"


def _kitty_delete(number: int) -> str:
    return f"\x1b_Ga=d,d=I,q=2,i={_kitty_id(number)}\x1b\\"


def _kitty_id(number: int) -> int:
    """One of two in turn: a picture is seen until the next one has come as a whole."""
    return _PICTURE_ID + number % 2


def _iterm2_draw(preview: Preview) -> str:
    text = standard_b64encode(preview.data).decode("ascii")
    size = f"width={preview.columns};height={preview.rows}"
    told = f"inline=1;size={len(preview.data)};{size};preserveAspectRatio=1"
    return f"\x1b]1337;File={told}:{text}\x07"


_END = "\x1b\\"
"""Ends a command of either protocol; nothing where none is open."""
_SAVE, _RESTORE = "\x1b7", "\x1b8"
"""The place of the cursor."""

KITTY = Protocol(
    "kitty", "PNG", _kitty_send, _kitty_draw, _END + _kitty_delete(0) + _kitty_delete(1)
)
# Its pictures go with the text that they cover.
ITERM2 = Protocol("iTerm2", "JPEG", lambda preview: "", _iterm2_draw, _END + _RESTORE)


def protocol_of(environ: Mapping[str, str]) -> Protocol | None:
    """What the terminal takes by these environment variables; None unless that is certain.

    Nothing is within programs that are a terminal of their own: they pass on what they know.
    """
    term, program = environ.get("TERM", ""), environ.get("TERM_PROGRAM", "")
    if not _WITHIN.isdisjoint(environ) or term.startswith(("screen", "tmux", "dumb")):
        return None
    if term in ("xterm-kitty", "xterm-ghostty") or program == "ghostty":
        return KITTY
    if program in ("iTerm.app", "WezTerm", "mintty"):
        return ITERM2
    if term == "mlterm":
        return ITERM2
    if program or not _OTHERS.isdisjoint(environ):
        return None  # what follows may be left over from the terminal that started this one
    konsole = environ.get("KONSOLE_VERSION", "")
    if "KITTY_WINDOW_ID" in environ:
        return KITTY
    if konsole.isdecimal() and int(konsole) >= _KONSOLE_WITH_KITTY:
        return KITTY
    # ssh hands these two on where it is told to, and hides TERM_PROGRAM.
    return ITERM2 if environ.get("LC_TERMINAL") == "iTerm2" else None


def make_preview(
    data: bytes, protocol: Protocol, columns: int, rows: int, number: int = 0
) -> Preview | None:
    """The picture in a file, within so many columns and rows; None for what is no picture.

    It is decoded and encoded anew: no byte of a server's gets to the terminal.
    """
    from PIL import Image

    try:
        with Image.open(BytesIO(data), formats=("JPEG", "PNG", "WEBP")) as picture:
            picture.draft("RGB", (_LONGEST_SIDE, _LONGEST_SIDE))
            shown = picture.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    shown.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
    file = BytesIO()
    shown.save(file, protocol.file_format)
    return Preview(file.getvalue(), *_cells(*shown.size, columns, rows), number)


def _cells(width: int, height: int, columns: int, rows: int) -> tuple[int, int]:
    """The columns and rows of a picture of so many pixels; a cell is about twice as high as wide.

    Within the given ones, and as large as they allow.
    """
    wide = max(1, round(2 * rows * width / height))
    if wide <= columns:
        return wide, rows
    return columns, max(1, min(rows, round(columns * height / (2 * width))))


def in_place(preview: Preview, draw: Write) -> str:
    """What is written below the rows that were left free for it; the cursor is back after that."""
    return f"{_SAVE}\x1b[{preview.rows}A\r{draw(preview)}{_RESTORE}"
