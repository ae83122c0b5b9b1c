"""Results on disk: whole or not at all, byte for byte, within a size."""

from __future__ import annotations

import copy
import errno
import hashlib
import json
import logging
import os
import pickle
import random
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import asdict, replace
from multiprocessing import get_context
from pathlib import Path

import pytest

from image_cache import ImageCache, cache_key
from image_cache import folder as cache_folder
from image_cache.entry import checksum, verify_entry
from tests.cache_support import change_entry
from tests.fakes.provider import png, success

ROOT = Path(__file__).resolve().parent.parent

KEY = cache_key({"prompt": "a fox"})
OTHER = cache_key({"prompt": "a dog"})


@pytest.fixture
def cache(tmp_path):
    return ImageCache(tmp_path / "cache", 10**9)


def entry_folder(cache, key=KEY):
    return cache.folder / key[:2] / key


def names(cache):
    """What a person sees in the folder: files with a dot before their names are hidden."""
    return [path.name for path in cache.folder.iterdir() if path.name != ".image-cache-size"]


def raising(error):
    def fail(*_):
        raise error

    return fail


def warnings(caplog):
    return [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]


def keys(number):
    return [cache_key({"number": each}) for each in range(number)]


# Keys


def test_a_key_is_the_same_for_the_same_parts_in_any_order():
    assert cache_key({"a": 1, "b": [2]}) == cache_key({"b": (2,), "a": 1})
    assert len({cache_key({"a": value}) for value in (1, 1.5, "1", True, None, b"1", [1])}) == 7


def test_bytes_are_not_taken_for_the_text_of_their_hash():
    text = hashlib.sha256(b"1").hexdigest()
    assert cache_key({"a": b"1"}) != cache_key({"a": text})


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


def test_nothing_is_made_on_disk_or_said_before_something_is_stored(cache, caplog):
    assert cache.load(KEY) is None
    assert not cache.folder.exists() and not caplog.records


def test_what_was_stored_comes_back_byte_for_byte(cache):
    stored = success(seed=3, metadata={"ignored": [], "文": "\ud83d"}, recipe={"seeds": [3]})
    stored.images.append({**stored.images[0], "bytes": png(4), "seed": 4})
    cache.store(KEY, stored)
    assert cache.load(KEY) == stored
    assert cache.load(OTHER) is None


def test_a_result_out_of_the_cache_is_like_any_other(cache):
    made = success(seed=3, metadata={"a": [1]}, recipe={"seeds": [3]})
    cache.store(KEY, made)
    for kept in (cache.load(KEY), pickle.loads(pickle.dumps(cache.load(KEY)))):
        assert kept == made and made == kept and kept == cache.load(KEY)
        assert kept != success(seed=3) and kept != cache.load(OTHER)
        assert copy.copy(kept) == replace(kept) == made
        assert replace(kept, metadata=None) == replace(made, metadata=None)
    kept.metadata["more"] = 1
    kept.recipe = None
    assert kept.metadata == {"a": [1], "more": 1} and kept.recipe is None
    assert asdict(kept)["metadata"] == kept.metadata and "StoredResult(success=True" in repr(kept)


def test_a_person_finds_pictures_with_their_suffix_and_a_json(cache):
    cache.store(KEY, success(metadata={"ignored": []}))
    text = (entry_folder(cache) / "entry.json").read_text("utf-8")
    assert json.loads(text)["metadata"] == {"ignored": []}
    kept = sorted(path.name for path in entry_folder(cache).iterdir())
    assert kept == ["1.png", "entry.json"]
    assert names(cache) == [KEY[:2]]


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


def test_a_full_disk_is_told_once_with_what_to_do_and_then_at_debug(cache, caplog, monkeypatch):
    full = OSError(errno.ENOSPC, "No space left on device", "somewhere")
    monkeypatch.setattr("image_cache.cache.write_entry", raising(full))
    caplog.set_level(logging.DEBUG)
    for key in keys(3):
        cache.store(key, success())
    (warning,) = warnings(caplog)
    assert f"was not cached in {cache.folder}: No space left on device; make room" in warning
    assert "IMAGE_CACHE_DIR" in warning and "(more of this kind are told at DEBUG)" in warning
    assert caplog.text.count("No space left") == 3
    ImageCache(cache.folder, 10**9).store(KEY, success())
    assert len(warnings(caplog)) == 2


def test_another_cause_is_told_again(cache, caplog, monkeypatch):
    failures = [OSError(errno.ENOSPC, "full"), PermissionError(errno.EACCES, "forbidden")]
    for failure in (*failures, *failures):
        monkeypatch.setattr("image_cache.cache.write_entry", raising(failure))
        cache.store(KEY, success())
    assert ["full" in warning for warning in warnings(caplog)] == [True, False]


def test_many_broken_entries_are_told_once_with_what_to_do(cache, caplog):
    for key in keys(3):
        cache.store(key, success())
        break_json(entry_folder(cache, key))
        assert cache.load(key) is None
    (warning,) = warnings(caplog)
    assert str(entry_folder(cache, keys(3)[0])) in warning and "verify --repair" in warning


def test_a_cache_of_no_bytes_touches_no_disk(tmp_path, caplog):
    cache = ImageCache(tmp_path / "cache", 0)
    cache.store(KEY, success())
    assert cache.load(KEY) is None
    assert not cache.folder.exists() and not caplog.records
    ImageCache(cache.folder, 10**9).store(KEY, success())
    assert cache.load(KEY) is None, "nor is what an earlier one kept"


def break_json(folder):
    text = (folder / "entry.json").read_text("utf-8")
    (folder / "entry.json").write_text(text[:-20], "utf-8")


def replace_json(data):
    return lambda folder: (folder / "entry.json").write_text(json.dumps(data), "utf-8")


def exchange(folder):
    """Another picture of the same length and time, as a disk that forgets would have it."""
    file = folder / "1.png"
    told, data = file.stat(), bytearray(file.read_bytes())
    data[-20] ^= 1
    file.write_bytes(data)
    os.utime(file, ns=(told.st_atime_ns, told.st_mtime_ns))


def point_elsewhere(folder):
    (folder.parent / "secret.png").write_bytes(png())
    change_entry(
        folder / "entry.json", lambda first: first["images"][0].update(file="../secret.png")
    )


def change_rest(folder):
    text = (folder / "entry.json").read_text("utf-8")
    changed = text.replace('"recipe": null', '"recipe": 1234')
    assert changed != text
    (folder / "entry.json").write_text(changed, "utf-8")


@pytest.mark.parametrize(
    "damage",
    [
        break_json,
        replace_json([]),
        replace_json({"images": []}),
        lambda folder: change_entry(
            folder / "entry.json", lambda first: first["images"].append([])
        ),
        lambda folder: change_entry(folder / "entry.json", lambda first: first.update(images=None)),
        lambda folder: change_entry(folder / "entry.json", lambda first: first.pop("provider")),
        lambda folder: change_entry(folder / "entry.json", lambda first: first.update(rest=0)),
        change_rest,
        lambda folder: (folder / "entry.json").write_bytes(b"\xff\x00"),
        lambda folder: (folder / "entry.json").unlink(),
        lambda folder: (folder / "1.png").unlink(),
        lambda folder: (folder / "1.png").write_bytes(png()[:-3]),
        exchange,
        point_elsewhere,
    ],
    ids=[
        *("cut", "list", "one line", "image", "no images", "no provider", "no checksum", "rest"),
        *("no text", "no entry", "no picture", "cut picture", "one bit", "elsewhere"),
    ],
)
def test_a_broken_entry_is_a_miss_and_is_repaired(cache, caplog, damage):
    cache.store(KEY, success())
    damage(entry_folder(cache))
    assert cache.load(KEY) is None
    assert "is broken and left out" in caplog.text
    cache.store(KEY, success())
    assert cache.load(KEY) == success()
    verify_entry(str(entry_folder(cache)))
    assert {path.name for path in entry_folder(cache).iterdir()} == {"1.png", "entry.json"}


@pytest.mark.parametrize("field", ["file", "file_size", "checksum"])
@pytest.mark.parametrize("value", [None, "", -1, 10**30, [], {}, "\ud83d"])
def test_an_entry_that_tells_nonsense_of_its_picture_is_a_miss(cache, field, value):
    cache.store(KEY, success())
    file = entry_folder(cache) / "entry.json"
    change_entry(file, lambda first: first["images"][0].update({field: value}))
    assert cache.load(KEY) is None


def test_a_picture_that_was_cut_grew_or_changed_anywhere_is_a_miss(cache):
    data = random.Random(1).randbytes(2 * 4096 + 5)
    stored = success()
    stored.images[0]["bytes"] = data
    cache.store(KEY, stored)
    file = entry_folder(cache) / "1.png"
    flipped = [
        data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :] for at in (0, 4095, 4096, 8191, 8196)
    ]
    exchanged = data[4096:8192] + data[:4096] + data[8192:]
    for changed in [*flipped, exchanged, data[:-1], data[:4096], b"", data + b"\0", data + data]:
        file.write_bytes(changed)
        assert cache.load(KEY) is None
    file.write_bytes(data)
    assert cache.load(KEY) == stored


def test_a_file_that_the_system_gives_in_parts_is_read_whole(cache, monkeypatch):
    """As Windows and network disks may, and any system does with 2 GB."""
    cache.store(KEY, success())
    read = os.read
    monkeypatch.setattr("os.read", lambda descriptor, size: read(descriptor, min(size, 50)))
    assert cache.load(KEY) == success()


def test_a_file_that_grew_by_a_block_of_zeros_is_broken(cache):
    stored = success()
    stored.images[0]["bytes"] = bytes(range(256)) * 16
    cache.store(KEY, stored)
    with (entry_folder(cache) / "1.png").open("ab") as file:
        file.write(bytes(4096))
    assert cache.load(KEY) is None


def test_an_entry_that_is_there_already_is_kept(cache):
    cache.store(KEY, success(seed=1))
    cache.store(KEY, success(seed=2))
    assert cache.load(KEY).images[0]["seed"] == 1
    assert names(cache) == [KEY[:2]]


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
    assert names(cache) == [KEY[:2]]
    assert not caplog.records


def store_many(arguments):
    """Stores and loads over a small cache that others fill too; what comes back is whole."""
    folder, limit, seed = arguments
    cache, order = ImageCache(folder, limit), random.Random(seed)
    found = 0
    for _ in range(60):
        number = order.randrange(12)
        cache.store(keys(12)[number], success(seed=number))
        number = order.randrange(12)
        kept = cache.load(keys(12)[number])
        assert kept in (None, success(seed=number))
        found += kept is not None
    return found


def test_processes_that_store_and_evict_at_once_find_whole_pictures_alone(tmp_path, cache):
    limit = int(6.5 * size_of_one(tmp_path))
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        found = list(pool.map(store_many, [(str(cache.folder), limit, seed) for seed in (1, 2)]))
    assert min(found) > 0
    left = list(cache_folder.entries(cache.folder))
    # Each may have stored one more while the other was counting.
    assert sum(entry.size for entry in left) <= limit + 2 * size_of_one(tmp_path)
    assert not list(cache.folder.glob(".draft-*")) and not list(
        cache.folder.glob(".image-cache-size-*")
    )


KILLED = """
import os, sys
import image_cache
from tests.fakes.provider import success

def die(source, target):
    os._exit(9)

os.replace = die
image_cache.ImageCache(sys.argv[1], 10**9).store(sys.argv[2], success())
"""


def test_a_process_that_dies_while_it_stores_leaves_no_entry_and_is_swept_up_later(cache):
    command = [sys.executable, "-c", KILLED, str(cache.folder), KEY]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    assert subprocess.run(command, env=environment).returncode == 9
    (left,) = cache.folder.glob(".draft-*")
    assert cache.load(KEY) is None
    cache.store(OTHER, success())
    assert left.exists()  # it could be at work still
    for file in left.iterdir():
        os.utime(file, (0, 0))
    (cache.folder / ".image-cache-size").unlink()
    cache.store(KEY, success())
    assert cache.load(KEY) == success() and not left.exists()


def test_a_folder_that_is_held_open_for_a_moment_is_moved_all_the_same(cache, monkeypatch):
    """As on Windows, where a virus scanner looks into what was just written."""
    refusals, replace = [1, 2], os.replace

    def refuse(source, target):
        if refusals:
            raise PermissionError(refusals.pop())
        replace(source, target)

    monkeypatch.setattr("image_cache.cache._PAUSES", (0.0, 0.0))
    monkeypatch.setattr("os.replace", refuse)
    cache.store(KEY, success())
    assert cache.load(KEY) == success()


# What is found by a checksum


def test_every_bit_counts_in_a_checksum():
    data = random.Random(1).randbytes(3 * 4096 + 5)
    told = checksum(data)
    for place in range(0, len(data), 7):
        changed = bytearray(data)
        changed[place] ^= 1 << (place % 8)
        assert checksum(bytes(changed)) != told


def test_entries_of_older_versions_keep_their_checksum():
    assert checksum(bytes(range(256)) * 33) == "140c03fbf3ebe00029058c73"
    assert checksum(b"") == "0" * 24


def test_blocks_that_were_zeroed_cut_or_exchanged_have_another_checksum():
    data = random.Random(1).randbytes(4 * 4096)
    first, second, rest = data[:4096], data[4096:8192], data[8192:]
    others = [second + first + rest, bytes(4096) + second + rest, data[:-1], data + b"\0", b""]
    assert len({checksum(each) for each in (data, *others)}) == 6


# What an entry does not hold


def test_no_key_and_no_signed_url_is_written_down(cache):
    signed = "https://example.org/a.png?X-Amz-Signature=hidden&se=1"
    graph = {"1": {"class_type": "Cloud", "inputs": {"api_key": "hidden", "text": "kept"}}}
    request = {
        "prompt": "a fox",
        "source_image_url": "https://user:hidden@example.org/a.png?token=hidden",
        "mask_image_url": "data:image/png;base64,hidden",
        "extra": {"1.api_key": "hidden", "Cloud.token": "hidden", "2.max_tokens": "shown"},
    }
    made = success(recipe={"request": request, "workflow": graph}, metadata={"password": "hidden"})
    made.images[0]["url"] = signed
    cache.store(KEY, made)
    text = (entry_folder(cache) / "entry.json").read_text("utf-8")
    assert "hidden" not in text and "a fox" in text and "shown" in text
    kept = cache.load(KEY)
    assert kept.images[0]["url"] is None and kept.get_image_bytes() == png()
    assert kept.recipe["request"]["source_image_url"] == "https://example.org/a.png"
    assert kept.recipe["workflow"]["1"]["inputs"] == {"api_key": "[not kept]", "text": "kept"}


def test_urls_and_paths_that_open_nothing_are_kept(cache):
    recipe = {"request": {"source_image_url": "pictures/a.png", "mask_image_url": "C:\\a\\m.png"}}
    made = success(recipe=recipe)
    made.images[0]["url"] = "http://127.0.0.1:8188/view?filename=a.png&subfolder=&type=output"
    cache.store(KEY, made)
    assert cache.load(KEY) == made


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


@pytest.mark.parametrize(
    ("ago", "is_noted"), [(30, False), (0, False), (90, True), (-30, False), (-90, True)]
)
def test_a_use_is_noted_unless_the_last_was_within_a_minute(cache, monkeypatch, ago, is_noted):
    """A clock that is behind leaves times to come: they are set right as well."""
    now = 1_600_000_000
    cache.store(KEY, success())
    entry = entry_folder(cache) / "entry.json"
    os.utime(entry, (now - ago, now - ago))
    monkeypatch.setattr("image_cache.cache.time.time", lambda: now)
    assert cache.load(KEY) == success()
    assert (entry.stat().st_mtime != now - ago) == is_noted


def test_what_other_runs_left_half_written_goes_too(tmp_path):
    cache = ImageCache(tmp_path / "cache", int(1.5 * size_of_one(tmp_path)))
    left = cache.folder / f".draft-{7:032x}"
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


def test_what_was_stored_just_now_stays_though_the_others_have_dates_to_come(tmp_path):
    cache = ImageCache(tmp_path / "cache", int(2.5 * size_of_one(tmp_path)))
    for number, key in enumerate(keys(2)):  # as by another machine, whose clock is ahead
        cache.store(key, success())
        for file in entry_folder(cache, key).iterdir():
            os.utime(file, (4e9 + number, 4e9 + number))
    cache.store(keys(3)[2], success())
    assert [cache.load(key) is not None for key in keys(3)] == [False, True, True]


def test_what_is_larger_than_the_cache_pushes_nothing_out(tmp_path):
    cache = ImageCache(tmp_path / "cache", int(2.5 * size_of_one(tmp_path)))
    cache.store(KEY, success())
    large = success()
    large.images[0]["bytes"] = bytes(cache.max_bytes)
    cache.store(OTHER, large)
    assert (cache.load(KEY), cache.load(OTHER)) == (success(), None)
    assert names(cache) == [KEY[:2]]


def test_the_folder_is_looked_through_once_and_then_only_when_the_limit_is_passed(
    tmp_path, monkeypatch
):
    looks = []
    entries = cache_folder.entries
    monkeypatch.setattr(
        "image_cache.cache.entries", lambda folder: looks.append(1) or entries(folder)
    )
    limit = 20 * size_of_one(tmp_path)
    looks.clear()
    for key in keys(18):  # each by a cache of its own, as by a process of its own
        ImageCache(tmp_path / "cache", limit).store(key, success())
    assert len(looks) == 1
    for key in keys(24):
        ImageCache(tmp_path / "cache", limit).store(key, success())
    assert len(looks) <= 3


def test_the_running_total_stays_short(tmp_path):
    for number in range(1000):
        assert cache_folder.add_to_total(str(tmp_path), 5) == (None if number == 0 else number * 5)
        if number == 0:
            cache_folder.write_total(str(tmp_path), 0, 0)
    assert (tmp_path / ".image-cache-size").stat().st_size < 2000


@pytest.mark.parametrize(
    "damage",
    [
        lambda file: file.unlink(),
        lambda file: file.write_bytes(b""),
        lambda file: file.write_bytes(b"counted=x\n"),
        lambda file: file.write_bytes(b"counted=1 entr"),
        lambda file: file.write_bytes(b"\xff\0"),
        lambda file: file.write_bytes(b"counted=1 entries=1 stores=4096\n"),
        lambda file: file.write_bytes(b"counted=1 entries=1 stores=1\n+x\n"),
    ],
    ids=["gone", "empty", "no number", "cut", "no text", "old", "a line"],
)
def test_a_running_total_that_is_broken_or_old_is_counted_anew(tmp_path, damage):
    cache = ImageCache(tmp_path / "cache", int(2.5 * size_of_one(tmp_path)))
    for key in keys(2):
        cache.store(key, success())
    damage(cache.folder / ".image-cache-size")
    for key in keys(4)[2:]:
        cache.store(key, success())
    assert len(list(cache_folder.entries(cache.folder))) == 2
    assert (cache.folder / ".image-cache-size").read_text("utf-8").startswith("counted=")


def test_entries_with_files_of_somebodys_lose_only_our_own(tmp_path):
    cache = ImageCache(tmp_path / "cache", int(1.5 * size_of_one(tmp_path)))
    cache.store(KEY, success())
    mine = entry_folder(cache) / "notes of mine.txt"
    mine.write_text("kept", "utf-8")
    os.utime(entry_folder(cache) / "entry.json", (0, 0))
    os.utime(entry_folder(cache) / "1.png", (0, 0))
    cache.store(OTHER, success())
    assert [path.name for path in entry_folder(cache).iterdir()] == [mine.name]
