"""`python -m benchmarks.archive.restore`: memory and time of going on with a scoring of ten million images.

It lays down what a run leaves behind that was killed at its very end: every block of every shard but the last one. Then
a process of its own goes on, with a stand-in for the network.
"""

import argparse
import io
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.archive.stand_in import StandIn, generated
from pipeline.archive import manifest, results
from pipeline.archive.entries import Entry
from pipeline.archive.manifest import Manifest
from pipeline.archive.places import open_place
from pipeline.archive.scoring import SHARD_ROWS, Observer, Request, run
from pipeline.archive.shards import Shards, block_name
from pipeline.errors import exit_with_line
from serving import bundle

_MOST = 2048
"""MB."""
_CONSTANTS: dict[str, str | float] = {
    "sha256": "0" * 64, "label": "normal", "probability": 0.25, "threshold": 0.5, "suspicion": "none",
    "model_sha256": "0" * 64, "seconds": 0.035,
}  # fmt: skip
"""Of the rows that are there already."""


def request(folder: Path, shard_rows: int) -> Request:
    """A scoring of the manifest in `folder`."""
    opened = bundle.read(bundle.find_default(Path.cwd()))
    return Request(Manifest(folder / "manifest.parquet"), opened, shard_rows=shard_rows)


def fill(folder: Path, rows: int, shard_rows: int) -> None:
    """List the images, and write all blocks of each shard but one."""
    manifest.write(folder / "manifest.parquet", generated(rows))
    asked = request(folder, shard_rows)
    place = open_place(str(folder / "out"))
    plan = Shards.begin(place, asked.plan()).plan
    for shard in range(plan.shards):
        for number, entries in enumerate(asked.manifest.blocks(*plan.bounds(shard), plan.block_rows)):
            if number < plan.blocks(shard) - 1:
                buffer = io.BytesIO()
                pq.write_table(_table(entries), buffer, compression="zstd")
                place.write(block_name(shard, number), buffer.getvalue())


def _table(entries: Sequence[Entry]) -> pa.Table:
    given = {name: [getattr(one, name) for one in entries] for name in ("id", "uri", "etag")}
    columns = [
        pa.array(given[field.name], field.type)
        if field.name in given
        else pa.repeat(pa.scalar(_CONSTANTS.get(field.name), field.type), len(entries))
        for field in results.SCHEMA
    ]
    return pa.table(columns, schema=results.SCHEMA)


def restore(folder: Path, shard_rows: int) -> float:
    """Go on to the end; the largest memory of this process in MB."""
    shards = run(request(folder, shard_rows), open_place(str(folder / "out")), StandIn(), Observer())
    if not shards.succeeded:
        raise RuntimeError("the scoring did not succeed")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Read the options and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ids", type=int, default=10_000_000)
    parser.add_argument("--shard-rows", type=int, default=SHARD_ROWS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.folder:
        print(restore(given.folder, given.shard_rows))
        return
    with tempfile.TemporaryDirectory() as name:
        start = time.perf_counter()
        fill(Path(name), given.ids, given.shard_rows)
        print(f"{given.ids:,} ids laid down in {time.perf_counter() - start:.0f} s", flush=True)
        start = time.perf_counter()
        command = [sys.executable, "-m", "benchmarks.archive.restore", "--folder", name]
        command += ["--shard-rows", str(given.shard_rows)]
        most = float(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)
    seconds = time.perf_counter() - start
    print(f"restored in {seconds:.0f} s, {most:.0f} MB, below {_MOST}: {'met' if most < _MOST else 'missed'}")


if __name__ == "__main__":
    exit_with_line(main)
