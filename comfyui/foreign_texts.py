"""What a server says of a failure, as it may be shown to a stranger.

Owns what is left out: traces, paths of the server's machine and credentials. The text as it came is
for the `detail` of an error and the log. Pure.
"""

from __future__ import annotations

import re

from image_provider import printable

LONGEST = 600
"""Characters; a model whose parts do not fit is told of in many thousands."""

_MOST_READ = 20_000
"""Characters; the expressions are to have an end."""
_TRACE = re.compile(r"Traceback \(most recent call last\):.*", re.DOTALL)
_FRAME = re.compile(r"""File ["'][^"']{1,4000}["'], line \d+(, in \S+)?""")
_KEY = re.compile(
    r"""(?i)\b(bearer|basic)\s+[\w.~+/=-]{8,}"""
    r"""|\b(?:sk|pk|comfyui|hf|r8)[-_][\w-]{12,}"""
    r"""|\b[\w-]{0,40}(?:api[-_]?key|token|secret|password)["']?\s*[=:]\s*["']?[^\s"',;&)}]{6,}"""
)
_IN_URL = re.compile(r"(?<=://)[^\s/@]{1,500}@")
_PART = r"[^\s/\\'\"<>|:*?,;(){}\[\]]"
_PATH = re.compile(
    # A drive, a share, a home or a root: not the slashes within a word, a URL or a fraction.
    rf"(?<![\w/\\.:~])(?:file://)?(?:[A-Za-z]:[\\/]|\\\\(?=\w)|~?/(?={_PART}))"
    rf"(?:{_PART}+(?:[ ]{_PART}+)*[\\/]+)*{_PART}*"
)


def for_strangers(text: str) -> str:
    """The text in one line, without what is nobody's business; of a path only the file's name."""
    text = _FRAME.sub("a file", _TRACE.sub("", text[:_MOST_READ]))
    text = _IN_URL.sub("", _KEY.sub("(a key)", text))
    return printable(" ".join(_PATH.sub(_name_alone, text).split()), LONGEST)


def _name_alone(match: re.Match[str]) -> str:
    name = re.split(r"[\\/]", match[0])[-1]
    is_file = re.search(r"\w\.\w{1,12}$", name) is not None
    return f"…/{name}" if is_file else "…"
