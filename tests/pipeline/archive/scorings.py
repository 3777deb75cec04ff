"""Answers as `fracture score` writes them, and an engine that can be interrupted."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from pipeline.archive import results
from pipeline.archive.engines import Report, Work
from pipeline.archive.entries import entry
from pipeline.archive.places import Place
from pipeline.archive.shards import Block, Shards, answers_name
from pipeline.archive.worker import Worker
from pipeline.monitoring import drift
from serving.bundle import Bundle
from serving.errors import ImageError
from serving.statistics import QUANTILES

PROGRAM = str(Path(sys.executable).parent / "fracture")


def rows_like_training(opened: Bundle, count: int) -> list[results.Row]:
    """Answers of images like those of training."""
    rng = np.random.default_rng(0)
    expected = drift.expectations(opened)
    rows = []
    for number in range(count):
        refusal = ImageError("not_a_radiograph", "it is none")
        row = results.error_row(entry(f"s3://b/{number}.png", 1, "e"), refusal, opened.sha256, 0.1)
        drawn = {name: float(np.interp(rng.random(), QUANTILES, expected[name])) for name in drift.NAMES}
        row |= {column: drawn[name] for name, column in results.INPUT_COLUMNS.items()}
        suspicion = ("none", "possible", "high")[number % 3]
        rows.append(row | {"probability": drawn["probability"], "suspicion": suspicion, "error_code": None})
    return rows


def write_answers(place: Place, rows: list[results.Row], shard: int = 0) -> None:
    """Write a shard of answers."""
    with place.writing(answers_name(shard)) as file:
        pq.write_table(results.table(rows), file)


def damage(path: Path) -> None:
    """Overwrite the columns of a Parquet file, and leave its footer, which is read first, as it is."""
    content = bytearray(path.read_bytes())
    footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    content[4:footer] = bytes(footer - 4)
    path.write_bytes(content)


def rows(place: Place) -> list[dict[str, Any]]:
    """Every row that was written, in the manifest's order."""
    found = []
    for one in place.names("answers"):
        with place.opened(one.name) as file:
            found += pq.read_table(file).to_pylist()
    return found


class OneWorker:
    """An engine of one process, in the order of the blocks."""

    def __init__(self, work: Work, worker: Worker, fails: Callable[[Block], bool]) -> None:
        self._work, self._worker, self._fails = work, worker, fails
        self.done: list[tuple[int, int]] = []

    def run(self, shards: Shards, blocks: Iterator[Block], done: Callable[[Report], None]) -> None:
        for block in blocks:
            if self._fails(block):
                raise KeyboardInterrupt
            done(self._work.do(self._worker, shards, block))
            self.done.append((block.shard, block.number))


Engines = Callable[..., OneWorker]
