"""What is told of a server's version."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfyui.versions import KNOWN_FAULTS, version_notes, version_warnings


@pytest.mark.parametrize("version", ["0.3.64", "0.8.0", "v0.18.5", "0.8.0-3-gabcdef", "0.9"])
def test_a_version_as_tested_gets_no_note(version):
    assert list(version_notes(version)) == []


@pytest.mark.parametrize(
    ("version", "words"),
    [
        ("0.3.44", "0.3.44 .* chooses prompt ids itself, as all before 0.3.45"),
        ("0.2.7", "chooses prompt ids itself"),
        ("0.3.45", r"0.3.45 is older than what was tested \(0.3.64 to 0.33.0\)"),
        ("0.44.0", "0.44.0 is newer than what was tested"),
        (None, "does not tell its version"),
        ("nightly", "does not tell its version"),
        (5, "does not tell its version"),
    ],
)
def test_any_other_version_gets_a_note_that_says_what_it_means(version, words):
    (note,) = version_notes(version)
    assert re.search(words, note)


CLIENT_ID = "was sent without a client id .* give queue_prompt a client_id; fixed in 0.28.0"


@pytest.mark.parametrize(
    ("version", "words"),
    [
        ("0.13.0", None),
        ("0.14.0", "0.14.0 answers HTTP 500 .*; fixed in 0.15.1"),
        ("0.15.0", "0.15.0 answers HTTP 500"),
        ("0.15.1", None),
        ("0.18.5", None),
        ("0.19.0", f"0.19.0 .* {CLIENT_ID}"),
        ("v0.26.0", f"v0.26.0 .* {CLIENT_ID}"),
        ("0.26.0-3-gabcdef", CLIENT_ID),
    ],
)
def test_a_version_with_a_known_fault_gets_a_note_with_it(version, words):
    notes = list(version_notes(version))
    assert len(notes) == (words is not None)
    assert words is None or re.search(words, notes[0])


def test_a_version_can_be_untested_and_have_a_known_fault(monkeypatch):
    monkeypatch.setattr("comfyui.versions._TESTED", ("0.3.64", "0.26.0"))
    newer, fault = version_notes("0.27.1")
    assert "newer than what was tested" in newer and re.search(CLIENT_ID, fault)
    assert len(list(version_notes("0.28.0"))) == 1


@pytest.mark.parametrize(
    ("version", "words"),
    [
        ("0.3.44", None),
        ("0.3.45", None),
        ("0.14.1", "answers HTTP 500"),
        ("0.15.1", None),
        ("0.26.0", None),
        ("0.44.0", None),
        (None, None),
    ],
)
def test_a_generation_is_warned_of_what_it_may_suffer_from_alone(version, words):
    warnings = list(version_warnings(version))
    assert len(warnings) == (words is not None)
    assert words is None or words in warnings[0]
    assert set(warnings) <= set(version_notes(version))


def test_faults_are_ended_after_they_begin():
    assert all(
        not fault.is_in((0, 0, 0)) and fault.is_in(tuple(map(int, fault.first.split("."))))
        for fault in KNOWN_FAULTS
    )


@given(st.text() | st.none() | st.integers() | st.from_regex(r"\d+(\.\d+){1,3}"))
def test_no_version_makes_it_raise(version):
    assert set(version_warnings(version)) <= set(version_notes(version))
