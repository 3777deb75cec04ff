"""How far a scoring is, and what came of it, as lines for a person."""

import contextlib
import time
from collections.abc import Mapping
from datetime import timedelta

import pyarrow.parquet as pq

from pipeline.archive.parquet import UNREADABLE
from pipeline.archive.places import Place, Written
from pipeline.archive.shards import CHECKPOINTS, Counts, Plan, Shards, read_plan
from pipeline.errors import InputError

_RECENT = 600
"""Seconds before the newest block over which the rate is taken."""


def report(place: Place) -> list[str]:
    """Per shard: rows done, failed by code; then rate and time left. InputError where no scoring lies."""
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
            blocks = place.names(f"{CHECKPOINTS}/{shard:05d}")
            counts = _counts(place, blocks)
            recent += [(one.at, plan.block_size(shard, _number(one))) for one in blocks]
        total.add(counts)
        if counts.rows == 0 and shard not in finished:
            waiting += 1
            continue
        lines.append(f"{shard:>5}  {counts.rows:>13,}  {stop - start:>13,}  {failed(counts.errors)}")
    if waiting:
        lines.append(f"{waiting} shards have not begun")
    lines.append(_outlook(plan, total, recent, shards.succeeded))
    return lines


def summary(shards: Shards) -> list[str]:
    """What came of all images."""
    total = Counts()
    for counts in shards.finished().values():
        total.add(counts)
    lines = [
        f"{count:>13,}  {label}, suspicion {suspicion}" for (label, suspicion), count in total.answers.most_common()
    ]
    lines += [f"{count:>13,}  without an answer: {code}" for code, count in total.errors.most_common()]
    core = f", {1000 * total.seconds / total.rows:.0f} ms an image and core" if total.rows else ""
    return [*lines, f"{shards.place.uri}: every one of {total.rows:,} images is answered once{core}"]


def failed(errors: Mapping[str, int]) -> str:
    """Numbers of rows without an answer by code, the most frequent first."""
    return ", ".join(f"{count:,} {code}" for code, count in sorted(errors.items(), key=lambda pair: -pair[1])) or "none"


def _outlook(plan: Plan, total: Counts, recent: list[tuple[float, int]], succeeded: bool) -> str:
    if succeeded:
        return "complete: every id of the manifest is answered once"
    newest = max((at for at, _ in recent), default=0.0)
    within = [(at, rows) for at, rows in recent if at >= newest - _RECENT]
    span = newest - min((at for at, _ in within), default=newest)
    if span <= 0:
        return "too few blocks are done to tell a rate"
    # The first block of the span was done before it.
    rate = (sum(rows for _, rows in within) - min(within)[1]) / span
    age = time.time() - newest
    idle = f"; nothing new for {timedelta(seconds=round(age))}: does it still run?" if age > _RECENT else ""
    left = timedelta(seconds=round((plan.rows - total.rows) / rate)) if rate else "unknown"
    return f"{rate:,.1f} images a second, time left {left}{idle}"


def _counts(place: Place, blocks: list[Written]) -> Counts:
    counts = Counts()
    columns = ["label", "suspicion", "error_code", "seconds"]
    for one in blocks:
        # A block that is put into its shard meanwhile, or is broken and will be done again.
        with contextlib.suppress(*UNREADABLE), place.opened(one.name) as file:
            counts.add(Counts.of(pq.read_table(file, columns=columns)))
    return counts


def _number(block: Written) -> int:
    return int(block.name.rsplit("/", 1)[-1].removesuffix(".parquet"))
