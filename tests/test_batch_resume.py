"""The resume file of a batch: what it holds, what it refuses, and pictures read when asked for."""

from __future__ import annotations

import errno
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from subprocess import PIPE

import pytest
from PIL import Image

from image_batches import locking
from image_batches.resume import BatchStore, StoredImage, batch_entry, fingerprint, pictures_folder
from image_provider import ConfigurationError, ImageGenerationRequest
from tests.fakes.provider import png, success

ROOT = Path(__file__).resolve().parent.parent
FILE = Path("foxes.jsonl")
REQUESTS = [ImageGenerationRequest("a fox", seed=seed) for seed in range(3)]


def keep(*places, requests=REQUESTS):
    with BatchStore.opened(FILE, requests) as store:
        return [store.keep(place, success("fake", place)) for place in places]


def made(requests=REQUESTS, file=FILE):
    with BatchStore.opened(file, requests) as store:
        return store.made


def pictures():
    return sorted(path.name for path in Path("foxes").iterdir())


def test_what_was_kept_is_there_again_picture_by_picture():
    given = success("fake", 0, recipe={"request": {"prompt": "a fox"}})
    given.images.append({**given.images[0], "seed": 1, "bytes": png(1)})
    with BatchStore.opened(FILE, REQUESTS) as store:
        kept = store.keep(2, given)
    again = made()
    assert list(again) == [2]
    assert kept == again[2] == given
    assert pictures() == ["00003-01-fake-0.png", "00003-02-fake-1.png"]
    assert (Path("foxes") / "00003-02-fake-1.png").read_bytes() == png(1)


def test_two_threads_do_not_work_at_one_file(tmp_path):
    with BatchStore.opened(FILE, REQUESTS) as store:
        for name in (FILE, tmp_path / "other" / ".." / FILE):
            with pytest.raises(ConfigurationError, match="another batch works on .*foxes.jsonl"):
                made(file=name)
        store.keep(0, success("fake", 0))
    assert list(made()) == [0]


OTHER_BATCH = """
import sys
from image_batches.resume import BatchStore
from image_provider import ImageGenerationRequest
from tests.fakes.provider import success

requests = [ImageGenerationRequest("a fox", seed=seed) for seed in range(3)]
with BatchStore.opened(sys.argv[1], requests) as store:
    store.keep(2, success("fake", 2))
    print("at work", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def other_batch():
    """A batch of another process at the file, which never ends of itself."""
    command = [sys.executable, "-c", OTHER_BATCH, str(FILE)]
    search = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, env=search, stdin=PIPE, stdout=PIPE, text=True) as process:
        assert process.stdout.readline() == "at work\n"
        yield process
        process.kill()


def test_a_file_of_another_process_is_refused_read_and_free_once_that_is_killed(other_batch):
    with pytest.raises(ConfigurationError, match="another batch works on foxes.jsonl just now"):
        made()
    assert batch_entry(Path("foxes/00003-01-fake-2.png"))["place"] == 2
    other_batch.kill()
    other_batch.wait()
    assert list(made()) == [2]
    assert sorted(path.name for path in Path().iterdir()) == ["foxes", "foxes.jsonl"]


@pytest.fixture
def no_locks(monkeypatch):
    """A disk that has none, and no memory of who works in this process."""

    def refused(file):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(locking, "_lock", refused)
    monkeypatch.setattr(locking, "_at_work", ForgetfulDict())


class ForgetfulDict(dict):
    def setdefault(self, key, value):
        self[key] = value
        return value

    def __delitem__(self, key):
        self.pop(key, None)


def test_a_disk_without_locks_is_told_and_used(no_locks, caplog):
    keep(0)
    draft = Path("foxes", ".draft-" + "0f" * 16)
    draft.write_bytes(b"that of another one, perhaps")
    assert list(made()) == [0]
    assert "foxes.jsonl cannot be locked here (No locks available)" in caplog.text
    assert draft.exists()


def test_two_batches_at_one_file_do_not_take_each_others_pictures(no_locks, monkeypatch):
    replace = os.replace

    def other_one_first(draft, path):
        monkeypatch.setattr(os, "replace", replace)
        keep(0)
        replace(draft, path)

    monkeypatch.setattr(os, "replace", other_one_first)
    (kept,) = keep(0)
    assert kept.get_image_bytes() == png(0) and list(made()) == [0]
    assert pictures() == ["00001-01-fake-0.png"]


def test_without_a_file_nothing_is_written(tmp_path):
    result = success()
    with BatchStore.opened(None, REQUESTS) as store:
        assert store.keep(0, result) is result and store.made == {}
    assert list(tmp_path.iterdir()) == []


def test_a_last_line_that_is_torn_is_made_again():
    keep(0, 1)
    data = FILE.read_bytes()
    FILE.write_bytes(data[:-20])
    assert list(made()) == [0]
    keep(1)
    assert list(made()) == [0, 1]


def test_a_line_in_between_that_is_broken_is_told(caplog):
    keep(0, 1)
    header, _, last = FILE.read_bytes().splitlines(keepends=True)
    FILE.write_bytes(header + b"{broken\n" + last)
    assert list(made()) == [1]
    assert "foxes.jsonl, line 2 cannot be used, its request is made again" in caplog.text


@pytest.mark.parametrize("change", [Path.unlink, lambda path: path.write_bytes(b"short")])
def test_a_picture_that_is_gone_or_cut_is_made_again_beside_what_is_there(change):
    keep(0, 1)
    change(Path("foxes/00001-01-fake-0.png"))
    there = {path: path.read_bytes() for path in Path("foxes").iterdir()}
    assert list(made()) == [1]
    keep(0)
    assert sorted(made()) == [0, 1]
    assert {path: path.read_bytes() for path in there} == there


def test_a_picture_of_the_same_length_that_is_another_is_an_error_when_it_is_read():
    (kept,) = keep(0)
    path = Path("foxes/00001-01-fake-0.png")
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(ConfigurationError, match="move it away and run the batch again"):
        kept.get_image_bytes()
    path.unlink()
    with pytest.raises(ConfigurationError, match=r"cannot be read .* run the batch again"):
        kept.get_image_bytes()


def test_a_full_disk_leaves_no_draft(monkeypatch):
    def full(draft, path):
        raise OSError(errno.ENOSPC, "No space left on device", path)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(ConfigurationError, match="No space left on device; make room"):
        keep(0)
    assert pictures() == []


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit to the size of files")
def test_a_line_that_finds_no_room_ends_the_batch_as_told():
    import resource

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    told = pytest.raises(ConfigurationError, match=r"the batch cannot be kept in foxes\.jsonl: ")
    try:
        with told, BatchStore.opened(FILE, REQUESTS) as store:
            store.keep(0, success("fake", 0, metadata={"long": "x" * 1000}))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert made() == {}


def test_what_a_killed_batch_was_writing_is_removed_and_nothing_else():
    keep(0)
    for name in (".draft-" + "0f" * 16, ".draft-mine"):
        Path("foxes", name).write_bytes(b"half")
    assert list(made()) == [0]
    assert pictures() == [".draft-mine", "00001-01-fake-0.png"]


def test_a_file_of_strangers_with_our_name_is_left_alone():
    Path("foxes").mkdir()
    Path("foxes/00001-01-fake-0.png").write_bytes(b"theirs")
    keep(0)
    assert Path("foxes/00001-01-fake-0.png").read_bytes() == b"theirs"
    assert Path("foxes/00001-01-fake-0-2.png").read_bytes() == png(0)


def test_other_requests_are_refused_with_what_to_do():
    keep(0)
    with pytest.raises(ConfigurationError, match=r"begun with other requests \(3, now 2\)") as told:
        made(REQUESTS[:2])
    assert "another path as resume" in str(told.value)


@pytest.mark.parametrize("text", ["prompt,seed\n", '{"prompt": "a fox"}\n', '{"batch": 99}\n'])
def test_a_file_that_is_something_else_is_left_as_it_is(text):
    FILE.write_text(text, "utf-8")
    with pytest.raises(ConfigurationError, match="is no resume file"):
        made()
    assert FILE.read_text("utf-8") == text


def test_a_place_that_cannot_be_written_is_told():
    Path("file").write_text("", "utf-8")
    with (
        pytest.raises(ConfigurationError, match="the batch cannot be kept in"),
        BatchStore.opened("file/foxes.jsonl", REQUESTS),
    ):
        pass


def test_a_line_leads_to_no_file_outside_of_the_folder():
    keep(0)
    Path("secret.png").write_bytes(png(0))
    text = FILE.read_text("utf-8").replace('"00001-01-fake-0.png"', '"../secret.png"')
    FILE.write_text(text, "utf-8")
    assert made() == {}


def test_whatever_changes_a_request_changes_the_fingerprint():
    same = ImageGenerationRequest("a fox", seed=1, on_progress=print)
    others = [
        ImageGenerationRequest("a dog", seed=1),
        ImageGenerationRequest("a fox", seed=2),
        ImageGenerationRequest("a fox", seed=1, width=1024),
        ImageGenerationRequest("a fox", seed=1, extra={"source_image": b"1"}),
        ImageGenerationRequest("a fox", seed=1, extra={"source_image": b"2"}),
        ImageGenerationRequest("a fox", seed=1, extra={"source_image": Image.new("L", (2, 1))}),
        ImageGenerationRequest("a fox", seed=1, extra={"source_image": Image.new("L", (1, 2))}),
    ]
    assert fingerprint([same]) == fingerprint([ImageGenerationRequest("a fox", seed=1)])
    assert len({fingerprint([request]) for request in (same, *others)}) == 1 + len(others)
    assert fingerprint([same, others[0]]) != fingerprint([others[0], same])


def test_folders_are_named_after_their_file():
    assert pictures_folder("a/foxes.jsonl") == Path("a/foxes")
    assert pictures_folder("a/foxes") == Path("a/foxes.pictures")


# Pictures that are read when they are asked for


@pytest.fixture
def image():
    Path("p.png").write_bytes(png(1))
    (kept,) = keep(1)
    return kept.images[0]


def test_an_image_reads_its_bytes_however_it_is_asked(image):
    assert isinstance(image, StoredImage) and dict.__getitem__(image, "bytes") is None
    plain = success("fake", 1).images[0]
    assert image["bytes"] == image.get("bytes") == png(1)
    assert dict(image) == {**image} == image.copy() == plain == image
    assert dict(image.items()) == plain and list(image.values()) == list(plain.values())
    assert image | {"seed": 1} == {"seed": 1} | image == plain
    assert image != {**plain, "seed": 2} and image.get("colour", "none") == "none"
    assert set(image) == set(plain) and "bytes" in image


def test_an_image_goes_to_another_process_without_its_bytes(image):
    pickled = pickle.dumps(image)
    assert png(1) not in pickled
    assert pickle.loads(pickled) == image


def test_a_picture_of_a_batch_tells_where_it_comes_from(image):
    assert batch_entry(image.path)["place"] == 1
    assert batch_entry(Path(os.path.abspath(image.path)))["images"][0]["seed"] == 1
    assert batch_entry(Path("p.png")) is None


def test_lines_are_json_that_others_read():
    keep(0)
    header, line = (json.loads(line) for line in FILE.read_text("utf-8").splitlines())
    assert header["requests"] == 3
    assert line["images"][0]["file"] == "00001-01-fake-0.png"
