"""What is told of a server's version."""

from __future__ import annotations

import re

import pytest

from comfyui.status import version_notes


@pytest.mark.parametrize("version", ["0.3.64", "0.8.0", "v0.26.0", "0.26.0-3-gabcdef", "0.9"])
def test_a_version_as_tested_gets_no_note(version):
    assert list(version_notes(version)) == []


@pytest.mark.parametrize(
    ("version", "words"),
    [
        ("0.3.44", "0.3.44 chooses prompt ids itself: .* update it to 0.3.45 or newer"),
        ("0.2.7", "chooses prompt ids itself"),
        ("0.3.45", r"0.3.45 is older than what was tested \(0.3.64 to 0.26.0\)"),
        ("0.44.0", "0.44.0 is newer than what was tested"),
        (None, "does not tell its version"),
        ("nightly", "does not tell its version"),
        (5, "does not tell its version"),
    ],
)
def test_any_other_version_gets_a_note_that_says_what_it_means(version, words):
    (note,) = version_notes(version)
    assert re.search(words, note)
