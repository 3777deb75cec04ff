"""`python -m benchmarks.archive.reading`: how fast a training reads prepared images, and what memory that takes.

Images of 224 pixels lie once as one array, once as shards and once as TFRecord. Each way reads all of them in batches
of 32 in a random order, in a process of its own and in turns: the array memory-mapped, as a stage that runs on one
machine leaves it; shards memory-mapped; shards read where they stand, which is what `train` does; TFRecord through
tf.data, which can only shuffle within a buffer, here of 2,048. `--cold` asks the system to forget the files before.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import psutil

from benchmarks import measure
from pipeline.data.image_shards import ImageRows, ImageShards, ShardIndex, shard_name
from pipeline.errors import exit_with_line

SIDE, BATCH = 224, 32
_SHARD_ROWS = 1024
_BUFFER = 2048
_ARRAY, _MAPPED, _SHARDS, _RECORDS = "one array, memory-mapped", "shards, memory-mapped", "shards", "TFRecord"
WAYS = (_ARRAY, _MAPPED, _SHARDS, _RECORDS)
_RECORD_FILE = "images.tfrecord"


class _MappedShards:
    """Shards as memory maps, all open."""

    def __init__(self, folder: Path, index: ShardIndex) -> None:
        self._maps = [np.load(folder / shard_name(number), mmap_mode="r") for number in range(index.shards)]

    def __getitem__(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
        return np.stack([self._maps[row // _SHARD_ROWS][row % _SHARD_ROWS] for row in rows])


def generate(folder: Path, count: int) -> None:
    """Write the same random images in each form."""
    import tensorflow as tf  # noqa: PLC0415  only here and where records are read

    index = ShardIndex(count, SIDE, _SHARD_ROWS)
    index.write(folder)
    whole = np.lib.format.open_memmap(folder / "images.npy", "w+", np.uint8, (count, SIDE, SIDE))
    rng = np.random.default_rng(0)
    with tf.io.TFRecordWriter(str(folder / _RECORD_FILE)) as records:
        for shard in range(index.shards):
            start, stop = index.bounds(shard)
            pixels = rng.integers(0, 256, (stop - start, SIDE, SIDE), np.uint8)
            np.save(folder / shard_name(shard), pixels)
            whole[start:stop] = pixels
            for image in pixels:
                records.write(image.tobytes())
    whole.flush()


def _of_rows(images: ImageRows | _MappedShards, order: npt.NDArray[np.int64]) -> Iterator[npt.NDArray[np.uint8]]:
    for start in range(0, len(order), BATCH):
        yield images[np.sort(order[start : start + BATCH])]


def _of_records(folder: Path) -> Iterator[npt.NDArray[np.uint8]]:
    import tensorflow as tf  # noqa: PLC0415

    records = tf.data.TFRecordDataset(str(folder / _RECORD_FILE)).shuffle(_BUFFER, seed=0)
    decoded = records.map(lambda one: tf.reshape(tf.io.decode_raw(one, tf.uint8), (SIDE, SIDE)))
    yield from decoded.batch(BATCH).prefetch(tf.data.AUTOTUNE).as_numpy_iterator()


def read(folder: Path, way: str) -> tuple[float, float, float]:
    """Read all images once; seconds, and the memory in MB before and at its end."""
    index = ImageShards.open(folder).index
    order = np.random.default_rng(1).permutation(index.rows)
    ways: dict[str, Callable[[], Iterator[npt.NDArray[np.uint8]]]] = {
        _ARRAY: lambda: _of_rows(np.load(folder / "images.npy", mmap_mode="r"), order),
        _MAPPED: lambda: _of_rows(_MappedShards(folder, index), order),
        _SHARDS: lambda: _of_rows(ImageShards.open(folder), order),
        _RECORDS: lambda: _of_records(folder),
    }
    batches = ways[way]()
    next(batches)  # with TensorFlow's start, where it is used
    process = psutil.Process()
    before, start = process.memory_info().rss, time.perf_counter()
    total = sum(int(batch[0, 0, 0]) for batch in batches)
    assert total > 0  # noqa: S101  that the pixels were there
    return time.perf_counter() - start, before / 1e6, process.memory_info().rss / 1e6


def _forget(folder: Path) -> None:
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def main() -> None:
    """Read the options and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cold", action="store_true")
    parser.add_argument("--read", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.read:
        print(*read(Path(given.read[0]), given.read[1]))
        return
    measure.warn_of_load()
    print(measure.machine(["tensorflow", "numpy"]))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        generate(folder, given.images)
        seconds: dict[str, list[float]] = {way: [] for way in WAYS}
        for _ in range(given.rounds):
            for way in WAYS:
                if given.cold:
                    _forget(folder)
                command = [sys.executable, "-m", "benchmarks.archive.reading", "--read", name, way]
                said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
                taken, before, after = map(float, said)
                seconds[way].append(taken)
                rate = given.images / taken
                print(f"{way:<26} {rate:9.0f} images a second, memory {before:6.0f} to {after:6.0f} MB", flush=True)
    for way in WAYS[1:]:
        print(f"{way}: rate over that of {_ARRAY} {measure.spread(measure.ratios(seconds[_ARRAY], seconds[way]))}")


if __name__ == "__main__":
    exit_with_line(main)
