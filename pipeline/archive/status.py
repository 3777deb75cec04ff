"""How far a scoring is, and what came of it, as lines for a person."""

import contextlib
import time
from collections.abc import Iterable, Mapping
from datetime import timedelta

import pyarrow.parquet as pq

from pipeline.archive.parquet import UNREADABLE
from pipeline.archive.places import Place, Written
from pipeline.archive.retries import RetriedShard, Retry, read_retry
from pipeline.archive.shards import Counts, Shards, checkpoints_name, read_plan
from pipeline.errors import InputError

_RECENT = 600
"""Seconds before the newest block over which the rate is taken."""


def report(place: Place) -> list[str]:
    """Per shard: rows done, failed by code; what is asked again; then rate and time left.

    InputError where no scoring lies.
    """
    plan = read_plan(place)
    if plan is None:
        raise InputError(f"{place.uri}: holds no scoring; `fracture score --out` begins one")
    shards = Shards(place, plan)
    finished = shards.finished()
    lines = [
        f"{place.uri}: {plan.rows:,} images, model {plan.model}",
        f"{'shard':>5}  {'done':>13}  {'of':>13}  failed",
    ]
    total = Counts()
    recent: list[tuple[float, int]] = []
    waiting = 0
    for shard in range(plan.shards):
        start, stop = plan.bounds(shard)
        counts = finished.get(shard)
        if counts is None:
            blocks = shards.done_blocks(checkpoints_name(shard))
            counts = _counts(place, blocks.values())
            recent += [(one.at, plan.block_size(shard, number)) for number, one in blocks.items()]
        total.add(counts)
        if counts.rows == 0 and shard not in finished:
            waiting += 1
            continue
        lines.append(f"{shard:>5}  {counts.rows:>13,}  {stop - start:>13,}  {counts.failed}")
    if waiting:
        lines.append(f"{waiting} shards have not begun")
    left = plan.rows - total.rows
    retry = read_retry(place)
    if retry is not None:
        open_rows, blocks_again = _asked_again(shards, retry, finished)
        every = sum(retry.rows.values())
        lines.append(
            f"asked again: {every:,} rows that failed with {', '.join(retry.codes)}; {every - open_rows:,} done"
        )
        left += open_rows
        recent += blocks_again
    return [
        *lines,
        "complete: every id of the manifest is answered once" if shards.succeeded else _outlook(left, recent),
    ]


def summary(shards: Shards) -> list[str]:
    """What came of all images."""
    total = Counts.sum(shards.finished().values())
    lines = [
        f"{count:>13,}  {label}, suspicion {suspicion}" for (label, suspicion), count in total.answers.most_common()
    ]
    lines += [f"{count:>13,}  without an answer: {code}" for code, count in total.errors.most_common()]
    core = f", {1000 * total.seconds / total.rows:.0f} ms an image and core" if total.rows else ""
    return [*lines, f"{shards.place.uri}: every one of {total.rows:,} images is answered once{core}"]


def _asked_again(shards: Shards, retry: Retry, finished: Mapping[int, Counts]) -> tuple[int, list[tuple[float, int]]]:
    """Rows of a retry that have no new row yet; time and rows of each block that is done, but not in the answers."""
    every = [RetriedShard(shards, retry, number, counts.errors) for number, counts in finished.items()]
    waiting = [shard for shard in every if shard.waits]
    blocks = [(one.at, rows) for shard in waiting for one, rows in shard.done()]
    return sum(shard.rows for shard in waiting) - sum(rows for _, rows in blocks), blocks


def _outlook(left: int, recent: list[tuple[float, int]]) -> str:
    """Rate and time left, for the number of rows to be done, and time and rows of each block."""
    newest = max((at for at, _ in recent), default=0.0)
    within = [(at, rows) for at, rows in recent if at >= newest - _RECENT]
    span = newest - min((at for at, _ in within), default=newest)
    if span <= 0:
        return "too few blocks are done to tell a rate"
    # The first block of the span was done before it.
    rate = (sum(rows for _, rows in within) - min(within)[1]) / span
    age = time.time() - newest
    idle = f"; nothing new for {timedelta(seconds=round(age))}: does it still run?" if age > _RECENT else ""
    time_left = timedelta(seconds=round(left / rate)) if rate else "unknown"
    return f"{rate:,.1f} images a second, time left {time_left}{idle}"


def _counts(place: Place, blocks: Iterable[Written]) -> Counts:
    counts = Counts()
    columns = ["label", "suspicion", "error_code", "seconds"]
    for one in blocks:
        # A block that is put into its shard meanwhile, or is broken and will be done again.
        with contextlib.suppress(*UNREADABLE), place.opened(one.name) as file:
            counts.add(Counts.of(pq.read_table(file, columns=columns)))
    return counts
