"""What a server says of a failure: what is left out of it, and what is not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfyui.foreign_texts import LONGEST, for_strangers


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("No such file: '/home/alice/models/x.ckpt'", "No such file: '…/x.ckpt'"),
        ("in /home/alice", "in …"),
        ("~/models/a.pt is gone", "…/a.pt is gone"),
        ("C:\\Users\\bob smith\\models\\x.safetensors", "…/x.safetensors"),
        ("d:/data/a.png is bad", "…/a.png is bad"),
        ("open \\\\nas\\share\\a.png now", "open …/a.png now"),
        ("file:///srv/a/b.txt", "…/b.txt"),
        ("path=/opt/x/y.bin;/etc/passwd", "path=…/y.bin;…"),
        ('x\nFile "/srv/y.py", line 3, in run', "x a file"),
        ("bad\nTraceback (most recent call last):\n  anything", "bad"),
        ("https://me:pass@host/x.png", "https://host/x.png"),
        ("Authorization: Bearer abcdefgh12345", "Authorization: (a key)"),
        ("Incorrect key sk-abcdefghijkl1234", "Incorrect key (a key)"),
        ("{'api_key': 'abc123456'}", "{'(a key)'}"),
        ("two\r\n lines\x1b[31m", "two lines�[31m"),
    ],
)
def test_paths_keys_traces_and_control_characters_are_left_out(text, shown):
    assert for_strangers(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "mat1 and mat2 shapes cannot be multiplied (77x2048 and 768x320)",
        "Model in folder 'checkpoints' with filename 'sub/x.safetensors' not found.",
        "Value not in list (ckpt_name: 'sdxl/a.safetensors' not in ['b/c.safetensors', 'd'])",
        "http://127.0.0.1:8188/view?filename=a.png failed",
        "1/2 and/or 3 / 4, input/output, '/'",
        "Token indices sequence length is longer than 77 (token: 99)",
        "Größe 🦊 is wrong",
    ],
)
def test_what_helps_is_left_as_it_is(text):
    assert for_strangers(text) == text


@given(st.text())
def test_any_text_becomes_one_short_line(text):
    shown = for_strangers(text)
    assert shown.isprintable() and len(shown) <= LONGEST


@pytest.mark.parametrize(
    "part", ["/a ", "a/", "/", "/a b", "a-", "\\\\", "sk-", "api_key", "(/a", "C:\\a ", 'File "']
)
def test_no_text_takes_long(part):
    """Were there a way to go back and forth in it, this would take minutes."""
    assert len(for_strangers(part * 1_000_000)) <= LONGEST


def test_of_a_very_long_text_only_the_start_is_looked_at():
    assert for_strangers("start" + " " * 30_000 + "end") == "start"
