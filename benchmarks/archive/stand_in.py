"""What stands in for an archive and for the network: entries that lie nowhere, and answers without a decoded image."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection

from pipeline.archive import results
from pipeline.archive.child import Answered, Ready, Scoring
from pipeline.archive.engines import Report
from pipeline.archive.entries import Entry, entry
from pipeline.archive.manifest import Sources
from pipeline.archive.results import Row
from pipeline.archive.shards import Block, Shards
from serving.errors import ImageError

MILLISECONDS = "FRACTURE_STAND_IN_MILLISECONDS"
TARGET = "benchmarks.archive.stand_in:answer"
"""What a scoring process runs instead of decoder and network."""
_REFUSAL = ImageError("stand_in", "nothing was decoded")
_MODEL = "0" * 64


class Generated(Sources):
    """As many entries as `inventory` says, which lie nowhere."""

    def entries(self, _: Callable[[str], None]) -> Iterator[Entry]:
        return (
            entry(f"s3://bucket/{number:012d}.dcm", 1_000_000, f"{number:032x}")
            for number in range(int(self.inventory))
        )


def generated(rows: int) -> Generated:
    """That many entries."""
    return Generated(("s3://bucket",), inventory=str(rows))


def rows_of(entries: Sequence[Entry]) -> list[Row]:
    """A refusal for each."""
    return [results.error_row(one, _REFUSAL, _MODEL, 0.0) for one in entries]


class StandIn:
    """An engine that refuses every row in this process."""

    def run(self, shards: Shards, blocks: Iterator[Block], done: Callable[[Report], None]) -> None:
        for block in blocks:
            done(Report(block.shard, block.number, shards.write_block(block, rows_of(block.entries))))


def answer(connection: Connection, _: Scoring) -> None:
    """A scoring process (`pipeline.archive.child.run`) that takes the time of a network, and refuses every row.

    MILLISECONDS in the environment is the time of an image.
    """
    seconds = float(os.environ.get(MILLISECONDS, "0")) / 1000
    connection.send(Ready())
    while True:
        try:
            entries: list[Entry] = connection.recv()
        except EOFError:
            return
        time.sleep(seconds * len(entries))
        connection.send(Answered(tuple(enumerate(rows_of(entries)))))
        connection.send(Ready())
