"""Parsers of foreign bytes end in a value or a documented error, whatever they are given.

A small share of what `python3 dev.py run tests.fuzz` does, with the same inputs each time.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from image_provider import ConfigurationError
from tests import fuzz
from tests.fuzzing.choosing import Choices
from tests.fuzzing.target import SECRET, Target, as_json
from tests.fuzzing.targets import TARGETS

EXAMPLES = 35
REFUSING = {"prompt_refused", "workflow_name", "file_url", "path"}
"""Targets whose good inputs are refused, too: that is what they are about."""


@pytest.mark.parametrize("target", TARGETS.values(), ids=list(TARGETS))
def test_nothing_but_a_value_or_a_documented_error(target):
    @settings(max_examples=EXAMPLES, derandomize=True, database=None, deadline=None)
    @given(st.binary(min_size=8, max_size=48))
    def fuzzed(recipe):
        crash = target.crash_of(target.input_of(recipe))
        assert crash is None, f"{crash.place}\n{crash.what}"

    fuzzed()


@pytest.mark.parametrize("target", TARGETS.values(), ids=list(TARGETS))
def test_most_of_what_is_changed_was_good(target):
    """Else only the way into an error would be tried."""
    seeds = target.seeds[:: 1 + len(target.seeds) // 20]
    assert [crash for crash in map(target.crash_of, seeds) if crash is not None] == []
    if target.name not in REFUSING:
        assert sum(_is_taken(target, seed) for seed in seeds) > len(seeds) / 2


def _is_taken(target, seed):
    try:
        target.run(seed)
    except target.errors:
        return False
    return True


def _resume_line(**images):
    header, line, *_ = json.loads(TARGETS["resume_lines"].seeds[0])
    return as_json([header, {**line, **images}])[0]


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("batch_csv", b"prompt,loras\na," + b"[" * 2000),
        ("cache_total", b"counted=" + b"9" * 5000 + b" entries=1 stores=1\n"),
        ("resume_lines", _resume_line(images=["x"])),
        ("resume_lines", _resume_line(images=None)),
        ("resume_lines", _resume_line(images=["file"])),
    ],
)
def test_inputs_that_once_crashed_end_as_they_may(name, data):
    assert TARGETS[name].crash_of(data) is None


def test_each_input_is_another_one_and_comes_again():
    for target in (TARGETS["workflow_file"], TARGETS["picture"]):
        recipes = [bytes([n]) * 20 for n in range(1, 60)]
        made = [target.input_of(recipe) for recipe in recipes]
        assert made == [target.input_of(recipe) for recipe in recipes]
        assert len(set(made)) > 40
        assert target.input_of(b"") == target.seeds[0]


def test_choices_end_with_the_first_one():
    choices = Choices(b"\x01\x07\x01\x00")
    assert [choices.below(4), choices.one_of("abc")] == [1, "b"]
    assert choices.below(1000) == 256
    assert [choices.below(9), choices.one_in(2)] == [0, False]


def _raising(error):
    def run(data):
        if b"x" in data:
            raise error

    return Target("raising", run, lambda: as_json("x", "y"), (ConfigurationError,))


@pytest.mark.parametrize(
    ("error", "place"),
    [
        (KeyError("k"), "KeyError in test_fuzzing.py, run"),
        (ConfigurationError(" "), "ConfigurationError in test_fuzzing.py, run without a message"),
        (
            ConfigurationError(f"wrong: {SECRET}"),
            "ConfigurationError in test_fuzzing.py, run with a key in its message",
        ),
        (ConfigurationError("the setting X is wrong"), None),
    ],
)
def test_what_is_a_crash(error, place):
    crash = _raising(error).crash_of(b"x")
    assert (crash and crash.place) == place


def test_a_key_in_the_cause_is_a_crash_unless_it_is_left_out():
    def run(data):
        try:
            raise ValueError(SECRET)
        except ValueError as error:
            raise ConfigurationError("wrong") from (error if data else None)

    target = Target("chained", run, lambda: as_json(1), (ConfigurationError,))
    assert "with a key" in target.crash_of(b"1").place
    assert target.crash_of(b"") is None


@pytest.fixture
def broken_target(monkeypatch):
    target = _raising(KeyError("k"))
    monkeypatch.setitem(TARGETS, target.name, target)
    return target


def test_command_tells_a_crash_once_and_writes_it_where_it_is_told_to(
    broken_target, capsys, tmp_path
):
    arguments = ["--seconds", "0.05", "--target", broken_target.name]
    assert fuzz.main([*arguments, "-o", str(tmp_path / "found")]) == 1
    told = capsys.readouterr().out
    assert told.count("KeyError in test_fuzzing.py, run\n") == 1
    assert "1 kinds of crashes" in told
    [file] = (tmp_path / "found").iterdir()
    assert b"x" in file.read_bytes()
    assert fuzz.main(["--target", broken_target.name, "--input", str(file)]) == 1
    assert "KeyError" in capsys.readouterr().out


def test_command_writes_nothing_unasked(broken_target, capsys, tmp_path):
    assert fuzz.main(["--seconds", "0.05", "--target", broken_target.name]) == 1
    assert list(Path.cwd().iterdir()) == []


def test_command_ends_well_without_a_crash(capsys):
    assert fuzz.main(["--seconds", "0.05", "--target", "version", "--target", "queue"]) == 0
    told = capsys.readouterr().out
    assert "version: 0 crashes" in told
    assert "queue: 0 crashes" in told


def test_slow_input_is_a_crash(monkeypatch, capsys):
    monkeypatch.setattr(fuzz, "SLOW", -1.0)
    assert fuzz.main(["--seconds", "0", "--target", "version"]) == 1
    assert "version: slow" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--target", "nothing"], "there is no target nothing; there are: workflow_file"),
        (["--atheris"], "name it with --target"),
        (["--atheris", "--target", "queue"], "Atheris is not installed here"),
    ],
)
def test_command_says_what_it_cannot_do(arguments, told, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "atheris", None)
    with pytest.raises(SystemExit):
        fuzz.main(arguments)
    assert told in capsys.readouterr().err
