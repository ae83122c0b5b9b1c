"""What the cache costs: a hit beside reading the same file, and both ways as it grows.

    python -m benchmarks.cache [ENTRIES ...]

First a hit ÷ `Path.read_bytes` of its picture, for pictures of several sizes (random bytes, with
the metadata and recipe of a real generation), as they come from the system's own cache of files;
and the same for the first hit in a while, which also notes that the entry was used. Then the same
of `generate` as a whole, which finds out what its request comes to before it looks.
Then looking up, finding nothing and storing in caches of 10, 1,000 and 100,000 entries ÷ the same
in the smallest, by their medians; and counting all entries, which storing does once in as many
stores as there are entries, as a share of each store. All run by turns, so that a busy machine
slows them alike.
"""

from __future__ import annotations

import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from image_cache import ImageCache, cache_key
from image_cache.entry import ENTRY
from image_cache.folder import FEWEST_STORES, entries, path_of, write_total
from image_config import Config
from image_generator import ImageGenerator
from image_provider import ImageGenerationResult

MEGABYTES = (0.25, 0.5, 1, 2, 4, 8)
ENTRIES = (10, 1_000, 100_000)
TURNS = 201
STORES = 300
SMALL = 2_000
"""Bytes of the pictures that fill the caches: what counts is how many there are."""


def seconds(task: Callable[[], object]) -> float:
    start = time.perf_counter()
    task()
    return time.perf_counter() - start


def example() -> ImageGenerationResult:
    """A result as a server gives it, with everything that an entry holds."""
    settings = {"COMFYUI_SERVER_ADDRESS": "embedded"}
    with ImageGenerator(Config(settings, env_file=None)) as generator:
        made = generator.generate("a red fox in the snow", width=64, height=64, steps=1, seed=1)
    made.raise_for_error()
    return made


def with_bytes(made: ImageGenerationResult, data: bytes) -> ImageGenerationResult:
    picture = {**made.images[0], "bytes": data}
    return ImageGenerationResult(
        True, [picture], made.provider, made.model, metadata=made.metadata, recipe=made.recipe
    )


def compare_hits(folder: Path, made: ImageGenerationResult) -> None:
    cache = ImageCache(folder, 10**12)
    print("picture     read         hit     hit ÷ read                          in a while")
    for size in MEGABYTES:
        key = cache_key({"megabytes": size})
        cache.store(key, with_bytes(made, os.urandom(int(size * 1024 * 1024))))
        entry = Path(path_of(str(folder), key))
        again, first = (hits(cache, key, entry, age) for age in (0, 3600))
        read, hit = (statistics.median(column) for column in zip(*again, strict=True))
        print(
            f"{size:4.2f} MB  {read * 1e6:6.0f} µs   {hit * 1e6:6.0f} µs   "
            f"{ratios([own / least for least, own in again])}   "
            f"{statistics.median(own / least for least, own in first):.2f}"
        )


def hits(cache: ImageCache, key: str, entry: Path, age: float) -> list[tuple[float, float]]:
    """Seconds of reading the picture and of a hit, of an entry used so many seconds ago."""
    times = []
    for _ in range(TURNS):
        used = time.time() - age
        os.utime(entry / ENTRY, (used, used))
        read = seconds((entry / "1.png").read_bytes)
        times.append((read, seconds(lambda: cache.load(key))))
    return times


def compare_generate(folder: Path) -> None:
    """A hit of `generate` ÷ reading the picture of 1024×1024 pixels that it gives."""
    settings = {"COMFYUI_SERVER_ADDRESS": "embedded", "IMAGE_CACHE_DIR": str(folder)}
    with ImageGenerator(Config(settings, env_file=None)) as generator:

        def generate() -> ImageGenerationResult:
            return generator.generate("a red fox in the snow", steps=1, seed=1)

        generate().raise_for_error()
        (picture,) = folder.glob("*/*/1.png")
        times = []
        for _ in range(TURNS):
            read = seconds(picture.read_bytes)
            times.append((read, seconds(generate)))
        assert (generate().metadata or {})["cached"]
        size = picture.stat().st_size / 1024 / 1024
    read, hit = (statistics.median(column) for column in zip(*times, strict=True))
    told = ratios([own / least for least, own in times])
    print(f"{size:4.2f} MB  {read * 1e6:6.0f} µs   {hit * 1e6:6.0f} µs   {told}   by generate()")


def ratios(values: list[float]) -> str:
    values = sorted(values)
    quarter = len(values) // 4
    half = f"{values[quarter]:.2f} to {values[-1 - quarter]:.2f}"
    return f"{statistics.median(values):5.2f}   (half of them {half})"


def filled(folder: Path, number: int, made: ImageGenerationResult) -> ImageCache:
    """A cache with so many entries: one is stored, the others are copies of it."""
    cache = ImageCache(folder, 10**12)
    cache.store(key_of(0), with_bytes(made, os.urandom(SMALL)))
    first = path_of(str(folder), key_of(0))
    for each in range(1, number):
        shutil.copytree(first, path_of(str(folder), key_of(each)))
    (entry,) = (e for e in entries(folder) if e.path == Path(first))
    write_total(str(folder), number * entry.size, number)
    return cache


def key_of(number: int) -> str:
    return cache_key({"number": number})


def compare_numbers(root: Path, numbers: tuple[int, ...], made: ImageGenerationResult) -> None:
    caches = [filled(root / str(number), number, made) for number in numbers]
    for cache in caches:
        cache.store(cache_key({"first": 1}), made)
    hits: list[list[float]] = [[] for _ in numbers]
    misses: list[list[float]] = [[] for _ in numbers]
    stores: list[list[float]] = [[] for _ in numbers]
    for turn in range(STORES):
        for place, (cache, number) in enumerate(zip(caches, numbers, strict=True)):
            used = key_of(turn * 7919 % number)
            cache.load(used)  # from the disk, the first time
            hits[place].append(seconds(lambda cache=cache, used=used: cache.load(used)))
            new, fresh = cache_key({"turn": turn}), with_bytes(made, os.urandom(SMALL))
            misses[place].append(seconds(lambda cache=cache, new=new: cache.load(new)))
            stores[place].append(
                seconds(lambda cache=cache, new=new, fresh=fresh: cache.store(new, fresh))
            )
    print("\n entries   hit                  miss                 store")
    for place, number in enumerate(numbers):
        cells = [
            f"{statistics.median(told[place]) * 1e6:7.0f} µs ({_to_first(told, place):4.2f})"
            for told in (hits, misses, stores)
        ]
        print(f"{number:8,}   {'   '.join(cells)}")
    print("\n entries   counting all   its share of a store")
    for place, (cache, number) in enumerate(zip(caches, numbers, strict=True)):
        count = seconds(lambda cache=cache: list(entries(cache.folder)))
        share = count / max(FEWEST_STORES, number)
        of_store = share / statistics.median(stores[place])
        print(f"{number:8,}   {count * 1e3:9.1f} ms   {share * 1e6:6.1f} µs ({of_store:.1%})")


def _to_first(told: list[list[float]], place: int) -> float:
    return statistics.median(told[place]) / statistics.median(told[0])


def main() -> None:
    """Prints both tables; arguments are the numbers of entries."""
    numbers = tuple(int(argument) for argument in sys.argv[1:]) or ENTRIES
    made = example()
    with tempfile.TemporaryDirectory() as folder:
        compare_hits(Path(folder, "hits"), made)
        compare_generate(Path(folder, "generated"))
        compare_numbers(Path(folder), numbers, made)


if __name__ == "__main__":
    main()
