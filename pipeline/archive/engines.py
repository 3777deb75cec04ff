"""Who does the blocks of a scoring: processes of this machine, or of a Ray cluster (`pipeline.archive.cluster`)."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from pipeline.archive import results
from pipeline.archive.child import Scoring
from pipeline.archive.processes import run_here
from pipeline.archive.pseudonyms import Pseudonyms
from pipeline.archive.shards import Block, Counts, Shards
from pipeline.archive.worker import RUN, Bounds, Worker
from serving.statistics import INPUTS

PROBABILITY = "probability"


@dataclass(frozen=True)
class Work:
    """What every process of an engine has to know; it may be sent to another machine."""

    asked: Scoring
    bounds: Bounds
    model_sha256: str
    pseudonyms: Pseudonyms
    target: str = RUN

    def worker(self) -> Worker:
        """One that scores; it starts its child when it is first needed."""
        return Worker(self.asked, self.bounds, self.model_sha256, self.target)

    def do(self, worker: Worker, shards: Shards, block: Block) -> "Report":
        """Score a block and write its rows."""
        rows = [self.pseudonyms.row(row) for row in worker.score(block.entries)]
        counts = shards.write_block(block, rows)
        answered = [row for row in rows if row["error_code"] is None]
        columns = {PROBABILITY: PROBABILITY} | {name: results.INPUT_COLUMNS[name] for name in INPUTS}
        values = {name: [row[column] for row in answered] for name, column in columns.items()}
        return Report(block.shard, block.number, counts, values)


@dataclass(frozen=True)
class Report:
    """That a block is done, with the values of its answers for the metrics."""

    shard: int
    number: int
    counts: Counts
    values: dict[str, list[float]] = field(default_factory=dict)


class Engine(Protocol):
    """Does blocks in any order; a block that is done twice is no harm."""

    def run(self, shards: Shards, blocks: Iterator[Block], done: Callable[[Report], None]) -> None:
        """Do all blocks, and call `done` after each; memory does not grow with their number."""


class LocalEngine:
    """`processes` of this machine, each watched by a thread."""

    def __init__(self, work: Work, processes: int) -> None:
        self._work, self._processes = work, processes

    def run(self, shards: Shards, blocks: Iterator[Block], done: Callable[[Report], None]) -> None:
        workers = [self._work.worker() for _ in range(self._processes)]
        run_here(workers, lambda worker, block: self._work.do(worker, shards, block), blocks, done)
