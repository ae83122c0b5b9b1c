"""The watch over planted keys, set on a small suite of its own: what tells one fails the run."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from tests.key_watch import KeyWatch, planted, tells_a_key, told_by

ROOT = Path(__file__).resolve().parent.parent
CONFTEST = """
    import sys
    from tests.key_watch import KeyWatch

    def pytest_configure(config):
        config.pluginmanager.register(KeyWatch())
"""
LEAKS = {
    "log of here": "logging.getLogger('here').error('with %s', KEY)",
    "log of quiet": "logging.getLogger('quiet').debug(f'Basic {BASIC}')",
    "log of caught": """
        try:
            raise ValueError(KEY)
        except ValueError:
            logging.getLogger('caught').debug('it failed', exc_info=True)
    """,
    "result of one": """
        ImageGenerationResult(False, [], 'one', None, error=f'{KEY} was refused')
    """,
    "result of two": "ImageGenerationResult(True, [], 'two', None, recipe={'extra': {'a': KEY}})",
    "result of three": """
        error = ImageGenerationError('refused')
        error.__cause__ = OSError(KEY)
        ImageGenerationResult(False, [], 'three', None, exception=error)
    """,
    "exception RuntimeError": """
        with pytest.raises(RuntimeError):
            try:
                raise KeyError(KEY)
            except KeyError as error:
                raise RuntimeError('it failed') from error
    """,
    "output": """
        print(KEY, file=sys.stderr)
        capsys.readouterr()
    """,
    "report of call": "print(KEY)",
    "warning": "warnings.warn(KEY)",
}
HEAD = """\
import base64, logging, sys, warnings
import pytest
from image_provider import ImageGenerationError, ImageGenerationResult
from tests.key_watch import planted
KEY = planted('of-mine')
BASIC = base64.b64encode(f'me:{KEY}'.encode()).decode()
"""


def run(folder: Path, bodies: list[str]) -> subprocess.CompletedProcess[str]:
    """A suite with a test for each body."""
    folder.joinpath("conftest.py").write_text(dedent(CONFTEST), "utf-8")
    tests = [
        f"def test_{number}(capsys):\n" + "\n".join(f"    {line}" for line in body.splitlines())
        for number, body in enumerate(bodies)
    ]
    folder.joinpath("test_small.py").write_text("\n".join([HEAD, *tests]), "utf-8")
    options = ["-q", "-p", "no:cacheprovider", "--rootdir", str(folder), "-c", os.devnull]
    return subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(folder)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        encoding="utf-8",
    )


def test_every_way_to_tell_a_key_fails_a_run_whose_tests_all_pass(tmp_path: Path) -> None:
    done = run(tmp_path, [dedent(body).strip() for body in LEAKS.values()])
    assert f"{len(LEAKS)} passed" in done.stdout, done.stdout + done.stderr
    assert done.returncode == pytest.ExitCode.TESTS_FAILED
    finds = done.stdout.partition("planted keys were told")[2].splitlines()
    for number, way in enumerate(LEAKS):
        assert any(f"::test_{number}: {way}" in find for find in finds), (way, finds)


def test_a_run_that_keeps_its_keys_passes(tmp_path: Path) -> None:
    kept = """
        logging.getLogger('here').error('a key of %d letters', len(KEY))
        ImageGenerationResult(False, [], 'one', None, error='the key was refused')
        with pytest.raises(KeyError):
            {}['key']
    """
    done = run(tmp_path, [dedent(kept).strip()])
    assert done.returncode == 0, done.stdout + done.stderr
    assert "planted keys" not in done.stdout


def test_this_run_is_watched(request: pytest.FixtureRequest) -> None:
    watch = request.config.pluginmanager.get_plugin("key-watch")
    assert isinstance(watch, KeyWatch)
    before = watch.looks["exception"]
    with pytest.raises(ValueError):
        int("x")
    assert watch.looks["exception"] == before + 1


@pytest.mark.parametrize("user", ["", "u", "us", "use", "user"])
def test_a_key_is_seen_in_the_credentials_of_any_user(user: str) -> None:
    pair = f"{user}:{planted('pass')}".encode()
    assert tells_a_key(f"Basic {base64.b64encode(pair).decode()}")
    assert not tells_a_key(f"Basic {base64.b64encode(b'user:password').decode()}")


def test_a_chain_of_errors_that_bites_its_tail_ends() -> None:
    first, second = ValueError("one"), ValueError("two")
    first.__context__, second.__context__ = second, first
    assert "two" in told_by(first)
