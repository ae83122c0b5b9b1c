"""The command `cache`: what it tells, what it removes, and above all what it leaves alone."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import pytest

from image_cache import ImageCache, cache_key
from image_cli import main
from tests.cache_support import change_entry
from tests.fakes.provider import success

FOLDER = Path("cache/images")
KEYS = [cache_key({"number": number}) for number in range(3)]


@pytest.fixture
def cache():
    cache = ImageCache(FOLDER, 10**9)
    for number, key in enumerate(KEYS):
        cache.store(key, success(seed=number))
    return cache


class Terminal(io.StringIO):
    def isatty(self):
        return True


def told(capsys, *arguments):
    """The exit code and what was printed, as JSON."""
    code = main(["cache", *arguments, "--json"])
    return code, json.loads(capsys.readouterr().out)


def damage(key, name="1.png"):
    path = FOLDER / key[:2] / key / name
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    return path.parent


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def contents(path):
    return path.read_bytes() if path.is_file() else None


def test_info_tells_what_there_is_and_how_much_may_be(cache, capsys, monkeypatch):
    monkeypatch.setenv("IMAGE_CACHE_MAX_BYTES", "5000")
    entries = FOLDER.glob("*/*/*")
    size = sum(path.stat().st_size for path in entries)
    code, info = told(capsys, "info")
    assert code == 0
    assert info.pop("oldest_use") <= info.pop("latest_use")
    assert info == {
        "folder": str(FOLDER),
        "entries": 3,
        "files": 3,
        "bytes": size,
        "max_bytes": 5000,
    }
    assert main(["cache", "info"]) == 0
    out = capsys.readouterr().out
    assert "entries  3" in out and "of 5 kB (" in out


@pytest.mark.parametrize("action", ["info", "verify", "clear"])
def test_without_a_cache_there_is_nothing_to_tell_and_nothing_is_made(capsys, action):
    assert main(["cache", action]) == 0
    capsys.readouterr()
    code, document = told(capsys, action)
    assert code == 0 and document["folder"] == str(FOLDER)
    assert not FOLDER.exists()


@pytest.mark.parametrize("action", ["info", "verify", "clear"])
def test_a_folder_that_cannot_be_looked_into_is_as_none(capsys, monkeypatch, action):
    monkeypatch.setenv("IMAGE_CACHE_DIR", "a" * 300)
    assert main(["cache", action]) == 0


@pytest.mark.parametrize("action", ["info", "verify", "clear"])
def test_a_file_in_the_caches_place_is_told(capsys, monkeypatch, action):
    Path("file").touch()
    monkeypatch.setenv("IMAGE_CACHE_DIR", "file")
    assert main(["cache", action]) == 1
    assert "file is no folder; set IMAGE_CACHE_DIR to one" in capsys.readouterr().err


def test_verify_finds_what_is_broken_and_repair_removes_that_alone(cache, capsys):
    broken = [damage(KEYS[0]), FOLDER / KEYS[1][:2] / KEYS[1]]
    (broken[1] / "entry.json").unlink()
    code, document = told(capsys, "verify")
    assert code == 1
    assert {entry["path"] for entry in document["broken"]} == set(map(str, broken))
    assert main(["cache", "verify"]) == 1
    out = capsys.readouterr().out
    assert f"{broken[0]}: it is damaged: 1.png is not what was stored" in out
    assert f"{broken[1]}: entry.json: No such file" in out
    code, document = told(capsys, "verify", "--repair")
    assert (code, document["removed"]) == (0, 2)
    assert told(capsys, "verify")[1]["broken"] == []
    assert [cache.load(key) is not None for key in KEYS] == [False, False, True]


def test_verify_compares_with_the_sha256_too(cache, capsys):
    path = FOLDER / KEYS[0][:2] / KEYS[0] / "entry.json"
    change_entry(path, lambda first: first["images"][0].update(sha256="0" * 64))
    assert cache.load(KEYS[0]) is not None  # whose checksum is right
    assert told(capsys, "verify")[0] == 1


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"images": [{}],\n}', '{"rest": 2, "images": 3,\n', "[" * 100_000]
)
def test_an_entry_json_of_another_form_is_told_of_plainly(cache, capsys, text):
    path = FOLDER / KEYS[0][:2] / KEYS[0] / "entry.json"
    path.write_text(text, "utf-8")
    code, document = told(capsys, "verify")
    assert (code, len(document["broken"])) == (1, 1)
    assert document["broken"][0]["problem"].startswith(("its entry.json is", "it is damaged"))


def test_what_was_left_half_written_is_told_of_and_removed(cache, capsys):
    left = FOLDER / f".draft-{1:032x}"
    left.mkdir()
    (left / "1.png").write_bytes(b"half")
    assert told(capsys, "verify")[1]["drafts"] == 0  # somebody may be at work on it
    os.utime(left / "1.png", (0, 0))
    assert told(capsys, "verify")[1]["drafts"] == 1
    assert told(capsys, "verify", "--repair") == (
        0,
        {"folder": str(FOLDER), "entries": 3, "broken": [], "drafts": 1, "removed": 1},
    )
    assert not left.exists()


def test_clear_removes_every_entry(cache, capsys):
    code, document = told(capsys, "clear", "--yes")
    assert (code, document["removed"], document["left"]) == (0, 3, [])
    assert files(FOLDER) == []
    cache.store(KEYS[0], success())
    assert cache.load(KEYS[0]) == success()


@pytest.mark.parametrize(("answer", "left"), [("y\n", 0), ("n\n", 3), ("\n", 3), ("", 3)])
def test_clear_asks_at_a_terminal(cache, capsys, monkeypatch, answer, left):
    monkeypatch.setattr("sys.stdin", Terminal(answer))
    assert main(["cache", "clear"]) == (1 if left else 0)
    assert "remove 3 entries" in capsys.readouterr().err
    assert len(list(FOLDER.glob("*/*/entry.json"))) == left


def test_clear_removes_nothing_where_nobody_can_be_asked(cache, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    assert main(["cache", "clear"]) == 2
    assert "pass --yes" in capsys.readouterr().err
    assert len(list(FOLDER.glob("*/*/entry.json"))) == 3


@pytest.mark.parametrize("action", [["clear", "--yes"], ["verify", "--repair"]])
def test_a_folder_pointed_at_by_mistake_loses_nothing(capsys, monkeypatch, action):
    home = Path("home")
    key = KEYS[0]
    for name in (
        "photo.png",
        "ab/photo.png",
        f"ab/{key}",  # a file where an entry would be a folder
        f"{key[:2]}/{key[:-1]}/1.png",
        f"ff/{key}/1.png" if key[:2] != "ff" else "ff/1.png",
        f"{key[:2]}/{key}/holiday.png",
        f"{key[:2]}/{key}/1/1.png",
        f"{key[:2]}/{key}/2.png/photo.png",
        ".image-cache-size",
        f".draft-{1:032x}/letter.txt",
        ".draft-mine/1.png",
        ".image-cache-size-of-things",
    ):
        path = home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name, "utf-8")
    (home / "cd").mkdir()
    os.utime(home / f".draft-{1:032x}" / "letter.txt", (0, 0))
    before = {name: contents(home / name) for name in files(home)}
    monkeypatch.setenv("IMAGE_CACHE_DIR", str(home))
    assert main(["cache", *action]) == 0
    assert {name: contents(home / name) for name in files(home)} == before


def test_an_entry_with_a_file_of_somebodys_loses_only_our_own(cache, capsys):
    folder = FOLDER / KEYS[0][:2] / KEYS[0]
    (folder / "notes.txt").write_text("mine", "utf-8")
    assert main(["cache", "clear", "--yes"]) == 1
    assert "it holds files of somebody's" in capsys.readouterr().err
    assert files(FOLDER) == [
        KEYS[0][:2],
        f"{KEYS[0][:2]}/{KEYS[0]}",
        f"{KEYS[0][:2]}/{KEYS[0]}/notes.txt",
    ]


@pytest.mark.skipif(os.name == "nt", reason="links need a right there")
def test_links_are_not_followed(cache):
    elsewhere = Path("elsewhere")
    (elsewhere / KEYS[0]).mkdir(parents=True)
    (elsewhere / KEYS[0] / "1.png").write_bytes(b"mine")
    bucket = FOLDER / KEYS[0][:2]
    main(["cache", "clear", "--yes"])
    bucket.symlink_to(elsewhere.resolve(), target_is_directory=True)
    assert main(["cache", "clear", "--yes"]) == 0
    assert (elsewhere / KEYS[0] / "1.png").read_bytes() == b"mine"


@pytest.mark.parametrize("action", [[], ["info"], ["verify"], ["clear"]])
def test_every_command_has_an_example_in_its_help(capsys, action):
    with pytest.raises(SystemExit):
        main(["cache", *action, "--help"])
    examples = capsys.readouterr().out.partition("\nexample")[2]
    assert f"image-cli cache {' '.join(action)}" in examples
