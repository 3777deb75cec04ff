"""`python -m benchmarks.archive.memory`: memory of the process that hands out blocks, for manifests of growing size.

Nothing is decoded: a stand-in answers each row at once, so that what is measured is the list, the plan, the blocks, the
shards and the last check. Each size runs in a process of its own.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from pipeline.archive import manifest, results
from pipeline.archive.engines import Report
from pipeline.archive.entries import Entry, entry
from pipeline.archive.manifest import Manifest, Sources
from pipeline.archive.places import open_place
from pipeline.archive.scoring import Observer, Request, run
from pipeline.archive.shards import Block, Shards
from pipeline.errors import exit_with_line
from serving import bundle
from serving.errors import ImageError

_GROWTH = 1.10
"""Most that the largest manifest may take over the smallest one."""
_REFUSAL = ImageError("stand_in", "nothing was decoded")


class Generated(Sources):
    """As many entries as are asked for, which lie nowhere."""

    def entries(self, _: Callable[[str], None]) -> Iterator[Entry]:
        return (
            entry(f"s3://bucket/{number:012d}.dcm", 1_000_000, f"{number:032x}")
            for number in range(int(self.inventory))
        )


class StandIn:
    """Writes a refusal for every row."""

    def run(self, shards: Shards, blocks: Iterator[Block], done: Callable[[Report], None]) -> None:
        for block in blocks:
            rows = [results.error_row(one, _REFUSAL, "0" * 64, 0.0) for one in block.entries]
            done(Report(block.shard, block.number, shards.write_block(block, rows)))


def work(phase: str, rows: int, folder: Path, shard_rows: int) -> float:
    """List or score `rows`; the largest memory of this process in MB."""
    path = folder / "manifest.parquet"
    if phase == "list":
        manifest.write(path, Generated(("s3://bucket",), inventory=str(rows)))
    else:
        asked = Request(Manifest(path), bundle.read(bundle.find_default(Path.cwd())), shard_rows=shard_rows)
        run(asked, open_place(str(folder / "out")), StandIn(), Observer())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Read the options and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--shard-rows", type=int, default=100_000)
    parser.add_argument("--phase", choices=["list", "score"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.phase:
        print(work(given.phase, given.rows[0], given.folder, given.shard_rows))
        return
    found = []
    for rows in given.rows:
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "benchmarks.archive.memory", "--rows", str(rows), "--folder", folder]
            command += ["--shard-rows", str(given.shard_rows), "--phase"]
            listed, scored = (
                float(subprocess.run([*command, phase], capture_output=True, text=True, check=True).stdout)
                for phase in ("list", "score")
            )
        found.append(scored)
        print(f"{rows:>11,} rows: {listed:.0f} MB to list, {scored:.0f} MB to hand out and check", flush=True)
    growth = found[-1] / found[0]
    print(f"growth {growth:.2f}, at most {_GROWTH}: {'met' if growth <= _GROWTH else 'missed'}")


if __name__ == "__main__":
    exit_with_line(main)
