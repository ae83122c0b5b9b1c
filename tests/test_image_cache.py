"""Results on disk: whole or not at all, byte for byte, within a size."""

from __future__ import annotations

import json
import os
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import pytest

from image_cache import ImageCache, cache_key
from tests.fakes.provider import png, success

KEY = cache_key({"prompt": "a fox"})
OTHER = cache_key({"prompt": "a dog"})


@pytest.fixture
def cache(tmp_path):
    return ImageCache(tmp_path / "cache", 10**9)


def entry_folder(cache, key=KEY):
    return cache.folder / key[:2] / key


# Keys


def test_a_key_is_the_same_for_the_same_parts_in_any_order():
    assert cache_key({"a": 1, "b": [2]}) == cache_key({"b": (2,), "a": 1})
    assert len({cache_key({"a": value}) for value in (1, 1.5, "1", True, None, b"1", [1])}) == 7


def test_what_json_cannot_hold_is_no_part_of_a_key():
    with pytest.raises(TypeError, match="a set cannot be part of a cache key"):
        cache_key({"a": {1}})


def test_half_a_surrogate_pair_has_a_key():
    assert cache_key({"prompt": "\ud83d"}) != cache_key({"prompt": "\ud83e"})


# Storing and loading


def test_files_of_other_kinds_come_back_whole_with_their_suffixes(cache):
    stored = success(seed=3)
    other = {**stored.images[0], "width": None, "height": None, "node_id": "5", "batch_index": 0}
    stored.images += [
        {**other, "bytes": b"words", "mime_type": "text/plain", "kind": "text", "url": None},
        {**other, "bytes": b"a", "mime_type": "application/octet-stream", "filename": "a.latent"},
    ]
    cache.store(KEY, stored)
    assert cache.load(KEY) == stored
    kept = {path.name for path in entry_folder(cache).iterdir()}
    assert kept == {"1.png", "2.txt", "3.latent", "entry.json"}


def test_nothing_is_made_on_disk_before_something_is_stored(cache):
    assert cache.load(KEY) is None
    assert not cache.folder.exists()


def test_what_was_stored_comes_back_byte_for_byte(cache):
    stored = success(seed=3, metadata={"ignored": [], "文": "\ud83d"}, recipe={"seeds": [3]})
    stored.images.append({**stored.images[0], "bytes": png(4), "seed": 4})
    cache.store(KEY, stored)
    assert cache.load(KEY) == stored
    assert cache.load(OTHER) is None


def test_a_person_finds_pictures_with_their_suffix_and_a_json(cache):
    cache.store(KEY, success())
    names = sorted(path.name for path in entry_folder(cache).iterdir())
    assert names == ["1.png", "entry.json"]
    assert [path.name for path in cache.folder.iterdir()] == [KEY[:2]]


def test_a_recipe_that_json_cannot_hold_is_stored_without_those_things(cache):
    recipe = {"request": {"extra": {"picture": object()}}, ("a", "b"): 1}
    cache.store(KEY, success(recipe=recipe))
    assert cache.load(KEY).recipe == {"request": {"extra": {"picture": "<object>"}}}


@pytest.mark.parametrize(
    "image", [{"bytes": None}, {}, {"bytes": "text"}], ids=["none", "absent", "text"]
)
def test_what_cannot_be_stored_is_logged_and_leaves_nothing(cache, caplog, image):
    cache.store(KEY, success(images=[image]))
    assert cache.load(KEY) is None
    assert not list(cache.folder.iterdir())
    assert "was not cached" in caplog.text


def test_a_cache_folder_that_cannot_be_made_is_logged(tmp_path, caplog):
    (tmp_path / "file").touch()
    cache = ImageCache(tmp_path / "file" / "cache", 10**9)
    cache.store(KEY, success())
    assert cache.load(KEY) is None
    assert "was not cached" in caplog.text


def break_json(folder):
    text = (folder / "entry.json").read_text("utf-8")
    (folder / "entry.json").write_text(text[:-20], "utf-8")


def replace_json(data):
    return lambda folder: (folder / "entry.json").write_text(json.dumps(data), "utf-8")


@pytest.mark.parametrize(
    "damage",
    [
        break_json,
        replace_json([]),
        replace_json({"images": [[]]}),
        replace_json({"images": None}),
        lambda folder: (folder / "entry.json").write_bytes(b"\xff\x00"),
        lambda folder: (folder / "entry.json").unlink(),
        lambda folder: (folder / "1.png").unlink(),
        lambda folder: (folder / "1.png").write_bytes(png()[:-3]),
    ],
    ids=["cut", "list", "image", "no images", "no text", "no entry", "no picture", "cut picture"],
)
def test_a_broken_entry_is_a_miss_and_is_repaired(cache, caplog, damage):
    cache.store(KEY, success())
    damage(entry_folder(cache))
    assert cache.load(KEY) is None
    assert "is broken and left out" in caplog.text
    cache.store(KEY, success())
    assert cache.load(KEY) == success()


def test_an_entry_that_is_there_already_is_kept(cache):
    cache.store(KEY, success(seed=1))
    cache.store(KEY, success(seed=2))
    assert cache.load(KEY).images[0]["seed"] == 1
    assert [path.name for path in cache.folder.iterdir()] == [KEY[:2]]


@pytest.mark.skipif(os.name == "nt", reason="folders are not read-only there")
@pytest.mark.skipif(getattr(os, "geteuid", lambda: 1)() == 0, reason="root may write everywhere")
def test_a_cache_that_is_only_read_from_still_answers(cache):
    cache.store(KEY, success())
    entry_folder(cache).chmod(0o500)
    assert cache.load(KEY) == success()
    entry_folder(cache).chmod(0o700)


# Several at once


def store_and_load(folder):
    cache = ImageCache(folder, 10**9)
    cache.store(KEY, success(seed=5))
    return cache.load(KEY) == success(seed=5)


@pytest.mark.parametrize(
    "pool",
    [ThreadPoolExecutor(8), ProcessPoolExecutor(2, mp_context=get_context("spawn"))],
    ids=["threads", "processes"],
)
def test_many_store_the_same_key_at_once(cache, pool, caplog):
    with pool:
        assert all(pool.map(store_and_load, [str(cache.folder)] * 24))
    assert [path.name for path in cache.folder.iterdir()] == [KEY[:2]]
    assert not caplog.records


# The size limit


def size_of_one(tmp_path):
    cache = ImageCache(tmp_path / "measured", 10**9)
    cache.store(KEY, success())
    return sum(file.stat().st_size for file in entry_folder(cache).iterdir())


def test_the_least_recently_used_goes_first(tmp_path):
    cache = ImageCache(tmp_path / "cache", int(2.5 * size_of_one(tmp_path)))
    keys = [cache_key({"number": number}) for number in range(3)]
    for age, key in zip((300, 200), keys, strict=False):
        cache.store(key, success())
        for file in entry_folder(cache, key).iterdir():
            os.utime(file, (file.stat().st_atime, file.stat().st_mtime - age))
    assert cache.load(keys[0]) is not None  # used again: the second is the oldest now
    cache.store(keys[2], success())
    assert [cache.load(key) is not None for key in keys] == [True, False, True]


def test_what_other_runs_left_half_written_goes_too(tmp_path):
    cache = ImageCache(tmp_path / "cache", int(1.5 * size_of_one(tmp_path)))
    left = cache.folder / ".draft-left"
    left.mkdir(parents=True)
    (left / "1.png").write_bytes(bytes(10_000))
    os.utime(left / "1.png", (0, 0))
    cache.store(KEY, success())
    assert not left.exists()
    assert cache.load(KEY) is not None


def test_a_limit_of_zero_keeps_nothing(tmp_path):
    cache = ImageCache(tmp_path / "cache", 0)
    cache.store(KEY, success())
    assert cache.load(KEY) is None
