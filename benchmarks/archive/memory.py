"""`python -m benchmarks.archive.memory`: memory of the process that hands out blocks, for manifests of growing size.

Nothing is decoded: a stand-in takes the time of a network, so that what is measured is the list, the plan, the blocks,
the shards and the last check. Each size runs in a process of its own. `--engine ray` runs with the Python of .venv-ray;
its actors are real, only what they would score with is the stand-in.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from benchmarks.archive.stand_in import MILLISECONDS, TARGET, StandIn, generated
from pipeline.archive import cluster_safety, manifest
from pipeline.archive.engines import Engine
from pipeline.archive.manifest import Manifest
from pipeline.archive.places import open_place
from pipeline.archive.scoring import Observer, Request, run
from pipeline.errors import exit_with_line
from serving import bundle

_GROWTH = 1.10
"""Most that the largest manifest may take over the smallest one."""
_ACTORS = 2


def work(phase: str, rows: int, folder: Path, shard_rows: int, engine: str) -> tuple[float, float]:
    """List or score `rows`; the largest memory of this process in MB, and seconds."""
    path, start = folder / "manifest.parquet", time.perf_counter()
    if phase == "list":
        manifest.write(path, generated(rows))
    else:
        asked = Request(Manifest(path), bundle.read(bundle.find_default(Path.cwd())), shard_rows=shard_rows)
        with _engine(engine, asked) as chosen:
            run(asked, open_place(str(folder / "out")), chosen, Observer())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, time.perf_counter() - start


@contextmanager
def _engine(name: str, asked: Request) -> Iterator[Engine]:
    if name == "here":
        yield StandIn()
        return
    cluster_safety.make_token()
    from pipeline.archive.cluster import RayEngine  # noqa: PLC0415  Ray reads when it is imported that tokens are used

    with RayEngine(replace(asked.work(), target=TARGET), _ACTORS) as engine:
        yield engine


def main() -> None:
    """Read the options and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--shard-rows", type=int, default=100_000)
    parser.add_argument("--engine", choices=["here", "ray"], default="here")
    parser.add_argument("--milliseconds", type=float, default=0.05, help="of an image in a stand-in of an actor")
    parser.add_argument("--phase", choices=["list", "score"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.phase:
        print(*work(given.phase, given.rows[0], given.folder, given.shard_rows, given.engine))
        return
    python = ".venv-ray/bin/python" if given.engine == "ray" else sys.executable
    environment = os.environ | {MILLISECONDS: str(given.milliseconds), "PYTHONPATH": str(Path.cwd())}
    found = []
    for rows in given.rows:
        with tempfile.TemporaryDirectory() as folder:
            command = [python, "-m", "benchmarks.archive.memory", "--rows", str(rows), "--folder", folder]
            command += ["--shard-rows", str(given.shard_rows), "--engine", given.engine, "--phase"]
            (listed, _), (scored, seconds) = (
                map(
                    float,
                    subprocess.run([*command, phase], env=environment, stdout=-1, text=True, check=True).stdout.split(),
                )
                for phase in ("list", "score")
            )
        found.append(scored)
        print(
            f"{rows:>11,} rows: {listed:.0f} MB to list, {scored:.0f} MB to hand out and check, {seconds:.0f} s",
            flush=True,
        )
    growth = found[-1] / found[0]
    print(f"growth {growth:.2f}, at most {_GROWTH}: {'met' if growth <= _GROWTH else 'missed'}")


if __name__ == "__main__":
    exit_with_line(main)
