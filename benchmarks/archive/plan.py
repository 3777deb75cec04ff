"""`python -m benchmarks.archive.plan`: what scoring an archive takes, from measured seconds and bytes.

Nothing is run: what is printed follows from what one core was measured to do, and from list prices that are options.
`--run` and `--manifest` take seconds and bytes from a scoring that has ended, of a sample of the archive.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.archive.places import open_place
from pipeline.archive.scoring import SHARD_ROWS
from pipeline.archive.shards import ANSWERS, Shards, block_rows, read_plan
from pipeline.errors import InputError, exit_with_line

IMAGES = (100_000, 10_000_000, 1_000_000_000)
_ROW_BYTES = 251
"""Of Parquet, measured on FracAtlas, where no run says otherwise."""
_MANIFEST_KEY_BYTES = 8
_GETS_PER_PREFIX = 5_500
"""Requests a second and prefix that S3 promises."""
_LIST_KEYS, _LIST_SECONDS = 1_000, 0.1
"""Keys of one LIST, and what one takes; listing is serial."""


@dataclass(frozen=True)
class Measured:
    """What was measured and what is paid; seconds a core, bytes an image, prices in US dollars."""

    seconds: float
    image_bytes: float
    row_bytes: float
    start: float
    core_hour: float
    gets_a_million: float
    lists_a_million: float


def rows(images: int, cores: int, given: Measured) -> list[tuple[str, str]]:
    """The lines of one column of the table, name and value."""
    core_hours = images * given.seconds / 3600
    elapsed = given.start + images * given.seconds / cores
    rate = cores / given.seconds
    blocks = -(-images // block_rows(min(images, SHARD_ROWS)))
    lists = images / _LIST_KEYS
    return [
        ("core hours; cost", f"{core_hours:,.1f}; {core_hours * given.core_hour:,.2f} USD"),
        ("time", f"{timedelta(seconds=round(elapsed))} on {cores:,} cores"),
        ("read in all; a second",
         f"{images * given.image_bytes / 1e12:,.2f} TB; {rate * given.image_bytes / 1e6:,.0f} MB"),
        ("GET a second; prefixes for them", f"{rate:,.0f}; {max(1, -(-round(rate) // _GETS_PER_PREFIX))}"),
        ("GET; cost", f"{images:,}; {images / 1e6 * given.gets_a_million:,.2f} USD"),
        ("LIST without an inventory; cost",
         f"{timedelta(seconds=round(lists * _LIST_SECONDS))}; {lists / 1e6 * given.lists_a_million:,.2f} USD"),
        ("answers; files of shards; blocks",
         f"{images * given.row_bytes / 1e9:,.2f} GB; {-(-images // SHARD_ROWS):,}; {blocks:,}"),
        ("memory of `fracture manifest` for ids", f"{images * _MANIFEST_KEY_BYTES / 1e9:,.2f} GB"),
        ("first bottleneck", bottleneck(rate, given)),
    ]  # fmt: skip


def bottleneck(rate: float, given: Measured) -> str:
    """What is short first when every core works."""
    if given.image_bytes / given.seconds > 50e6:
        return f"the network: {given.image_bytes / given.seconds / 1e6:,.0f} MB/s a core"
    if rate > _GETS_PER_PREFIX:
        return "S3's rate for one prefix: spread the archive over several"
    return "the processors"


def table(cores: Sequence[int], given: Measured) -> list[str]:
    """The table in Markdown."""
    columns = [rows(images, count, given) for images, count in zip(IMAGES, cores, strict=True)]
    lines = [f"| images | {' | '.join(f'{images:,}' for images in IMAGES)} |", f"| --- |{' --- |' * len(IMAGES)}"]
    for number, (name, _) in enumerate(columns[0]):
        lines.append(f"| {name} | {' | '.join(column[number][1] for column in columns)} |")
    return lines


def seconds_and_row_bytes(run: str) -> tuple[float, float]:
    """Seconds an image and core, and bytes of an answer, of a scoring that has ended; InputError for another place."""
    place = open_place(run)
    plan = read_plan(place)
    if plan is None or not (shards := Shards(place, plan)).succeeded:
        raise InputError(f"{place.uri}: holds no scoring that has ended; run fracture score to its end first")
    seconds = sum(counts.seconds for counts in shards.finished().values())
    written = sum(one.size for one in place.names(ANSWERS))
    return seconds / plan.rows, written / plan.rows


def image_bytes(manifest: Path) -> float:
    """Mean size of the images of a manifest that says it; InputError where it says none."""
    found = pc.mean(pq.read_table(manifest, columns=["size"])["size"]).as_py()
    if not found:
        raise InputError(f"{manifest}: says no sizes; give --bytes")
    return float(found)


def main() -> None:
    """Read the options and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=0.07, help="an image and core, as `fracture score` ends with")
    parser.add_argument("--bytes", type=float, default=84_000, help="an image, as `fracture manifest` ends with")
    parser.add_argument("--run", metavar="OUT", default="", help="take the seconds of this scoring")
    parser.add_argument("--manifest", metavar="FILE", type=Path, help="take the bytes of this manifest's images")
    parser.add_argument("--start", type=float, default=60, help="seconds until every process scores")
    parser.add_argument("--cores", type=int, nargs=len(IMAGES), default=[2, 64, 1000])
    parser.add_argument("--core-hour", type=float, default=0.05, help="US dollars, assumed")
    parser.add_argument("--gets", type=float, default=0.40, help="US dollars a million GET, S3 list price")
    parser.add_argument("--lists", type=float, default=5.0, help="US dollars a million LIST, S3 list price")
    given = parser.parse_args()
    seconds, row_bytes = seconds_and_row_bytes(given.run) if given.run else (given.seconds, _ROW_BYTES)
    size = image_bytes(given.manifest) if given.manifest else given.bytes
    measured = Measured(seconds, size, row_bytes, given.start, given.core_hour, given.gets, given.lists)
    print(
        f"from {1000 * seconds:.0f} ms an image and core, {size / 1000:,.0f} kB an image, {row_bytes:.0f} bytes a row"
    )
    print()
    print("\n".join(table(given.cores, measured)))


if __name__ == "__main__":
    exit_with_line(main)
