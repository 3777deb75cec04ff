"""The images of a data set, read by an engine: what validate and preprocess take instead of the folder images/."""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from pipeline.archive.fetching import Fetcher
from pipeline.archive.preparing import kept
from pipeline.archive.preparing.engines import Runner, runner_of
from pipeline.archive.preparing.kept import GrowingShard
from pipeline.archive.preparing.listings import Listing, listing_of
from pipeline.archive.preparing.tasks import (
    RUN,
    Block,
    Job,
    PreparedBlock,
    PrepareTask,
    ScannedBlock,
    ScanTask,
    code_key,
)
from pipeline.archive.worker import Bounds
from pipeline.data import scan
from pipeline.data.engine import Engine
from pipeline.data.families.features import FeatureTable
from pipeline.data.image_shards import ShardIndex, shard_name
from pipeline.data.layout import Dataset
from pipeline.errors import InputError, os_errors_name
from pipeline.files import locked
from pipeline.progress import progress_bar
from serving.errors import ImageError
from serving.imaging.canvas import Preprocessing

SHARD_BYTES = 256 << 20
"""Of a shard, at most: what a killed preprocess may have to do again for each of a few."""
_BLOCK = 32
"""Images of a block of preprocess."""


@contextmanager
def opened(data: Dataset, engine: Engine, scratch: Path) -> Iterator["EngineImages"]:
    """Yield what reads the images of a data set with an engine; `scratch` takes what is done meanwhile.

    InputError for a data set or an engine that cannot be used, and where another stage uses `scratch`.
    """
    listing = listing_of(data)
    scratch.mkdir(parents=True, exist_ok=True)
    with (
        locked(scratch.with_name(f"{scratch.name}.lock"), "the same stage runs already; wait for it, or stop it"),
        runner_of(engine) as runner,
    ):
        yield EngineImages(data.folder, listing, runner, scratch)


class EngineImages:
    """The images of a data set, and the model's inputs of them, as an engine makes them."""

    def __init__(
        self, folder: Path, listing: Listing, runner: Runner, scratch: Path, bounds: Bounds | None = None
    ) -> None:
        self._folder, self._listing, self._runner, self._scratch = folder, listing, runner, scratch
        self._bounds = bounds or Bounds()
        self._fetcher = Fetcher(listing.roots)
        self.shard_bytes = SHARD_BYTES
        self.target = RUN

    def files(self) -> list[str]:
        """Every file that there is, sorted."""
        return self._listing.files()

    def read(self, file: str) -> bytes:
        """The bytes of a file; ImageError where there are none."""
        entry = self._listing.entry(file)
        if not entry.uri:
            raise ImageError("missing", "the manifest does not list it")
        return self._fetcher.fetch(entry)

    def scan(self, files: Sequence[str], features: FeatureTable | None) -> tuple[pd.DataFrame, npt.NDArray[np.float32]]:
        """The facts about each file and its thumbnail, as `scan.scan_files` gives them; InputError."""
        task = ScanTask(self._listing.roots, code_key(), features is not None)
        spans = [files[start : start + scan.CHUNK] for start in range(0, len(files), scan.CHUNK)]
        paths = [self._scratch / f"{self._name(task.key, some)}.npz" for some in spans]
        missing = [number for number, path in enumerate(paths) if not path.is_file()]
        blocks = (self._block(number, spans[number]) for number in missing)
        with progress_bar("validate: reading images", len(files)) as advance:
            advance(len(files) - sum(len(spans[number]) for number in missing))

            def done(found: ScannedBlock) -> None:
                kept.write_chunk(paths[found.number], found.chunk)
                advance(len(spans[found.number]))

            self._run(task, blocks, done)
        small = np.full((len(files), scan.THUMBNAIL, scan.THUMBNAIL), np.nan, np.float32)
        rows: list[dict[str, Any]] = []
        for path in paths:
            described, thumbnails, seen = kept.read_chunk(path)
            small[len(rows) : len(rows) + len(described)] = thumbnails
            rows += described
            if features is not None:
                features.extend(seen)
        return scan.scan_table(rows), small

    def write(self, files: Sequence[str], preprocessing: Preprocessing, folder: Path) -> pd.DataFrame:
        """Write the model's inputs into `folder` as shards, and return the place of each; InputError."""
        task = PrepareTask(self._listing.roots, code_key(), preprocessing)
        size = preprocessing.image_size
        block_rows = min(_BLOCK, max(1, self.shard_bytes // size**2))
        index = ShardIndex(len(files), size, max(1, self.shard_bytes // size**2 // block_rows) * block_rows)
        names = [self._name(task.key, files[slice(*index.bounds(shard))]) for shard in range(index.shards)]
        open_shards = [n for n, name in enumerate(names) if kept.read_places(self._scratch, name) is None]
        growing: dict[int, GrowingShard] = {}

        def blocks() -> Iterator[Block]:
            for shard in open_shards:
                start, stop = index.bounds(shard)
                growing[shard] = GrowingShard(self._scratch, names[shard], stop - start, size, block_rows)
                for first in range(start, stop, block_rows):
                    yield self._block(first // block_rows, files[first : min(first + block_rows, stop)])

        def done(found: PreparedBlock) -> None:
            shard, number = divmod(found.number, index.shard_rows // block_rows)
            if growing[shard].add(number, found.pixels, found.places):
                del growing[shard]
            advance(len(found.places))

        with progress_bar("preprocess: preparing images", len(files)) as advance, os_errors_name(self._scratch):
            advance(len(files) - sum(stop - start for start, stop in map(index.bounds, open_shards)))
            try:
                self._run(task, blocks(), done)
            finally:
                for grown in growing.values():
                    grown.close()
        places = []
        for shard, name in enumerate(names):
            _link(self._scratch / f"{name}.npy", folder / shard_name(shard))
            places += kept.read_places(self._scratch, name) or []
        index.write(folder)
        return pd.DataFrame(places)

    def forget(self) -> None:
        """Remove what was kept: the stage has ended well."""
        shutil.rmtree(self._scratch, ignore_errors=True)

    def _run(self, task: Any, blocks: Iterator[Block], done: Any) -> None:
        first = next(blocks, None)
        if first is None:
            return
        job: Job[Any, Any] = Job(task, self._bounds, self.target)
        try:
            self._runner.run(job, _chained(first, blocks), done)
        except InputError as error:
            if str(error).startswith("images/"):
                raise InputError(f"{self._folder}/{error}") from None
            raise

    def _block(self, number: int, files: Sequence[str]) -> Block:
        return Block(number, [self._listing.entry(file) for file in files])

    def _name(self, key: str, files: Sequence[str]) -> str:
        return kept.name_of(key, ((file, self._listing.entry(file).uri, self._listing.state(file)) for file in files))


def _chained(first: Block, rest: Iterator[Block]) -> Iterator[Block]:
    yield first
    yield from rest


def _link(source: Path, target: Path) -> None:
    """The same file under another name, so that a stage that is killed now finds it again."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)  # another file system, or one without links
