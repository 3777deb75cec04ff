"""How a scoring lies on disk, and what is left to do of it.

scoring.json                         what is scored by what (`Plan`); another one is refused
checkpoints/SHARD/BLOCK.parquet      rows of a block of the manifest; there when the block is done
answers/SHARD.parquet                the blocks of a whole shard; then its checkpoints are gone
_SUCCESS                             every id of the manifest stands in the answers, once

A block is always the same rows of the manifest and always has the same name: doing it twice changes nothing.
"""

import io
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field, fields
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.archive import results
from pipeline.archive.entries import Entry
from pipeline.archive.manifest import Manifest
from pipeline.archive.parquet import UNREADABLE, parquet_errors
from pipeline.archive.places import Place
from pipeline.archive.pseudonyms import Pseudonyms
from pipeline.errors import InputError

PLAN, SUCCESS, ANSWERS, CHECKPOINTS = "scoring.json", "_SUCCESS", "answers", "checkpoints"
_VERSION = 1
_COUNTS = b"fracture.counts"
_FEWEST, _MOST = 8, 1000
"""Rows of a block: few enough to be spread over all processes, and for little to be lost with one."""
_BLOCKS = 64
_GROUP = 1 << 14
"""Rows that are held at once while blocks are put together."""


@dataclass(frozen=True)
class Plan:
    """scoring.json: the key, and how the rows are divided."""

    manifest_sha256: str
    bundle_digest: str
    model: str
    model_sha256: str
    scope: str
    pseudonyms: str  # fingerprint of the key, empty without one
    rows: int
    shard_rows: int
    block_rows: int
    schema: int = results.VERSION
    version: int = _VERSION

    @property
    def consistent(self) -> bool:
        """Whether the values are of their types, and rows can be divided by them."""
        typed = all(type(getattr(self, one.name)) is one.type for one in fields(self))
        return typed and min(self.rows, self.shard_rows, self.block_rows) > 0

    @property
    def shards(self) -> int:
        """Number of shards."""
        return -(-self.rows // self.shard_rows)

    def bounds(self, shard: int) -> tuple[int, int]:
        """First row of a shard, and that of the next one."""
        return shard * self.shard_rows, min((shard + 1) * self.shard_rows, self.rows)

    def blocks(self, shard: int) -> int:
        """Number of blocks of a shard."""
        start, stop = self.bounds(shard)
        return -(-(stop - start) // self.block_rows)

    def block_size(self, shard: int, number: int) -> int:
        """Rows of a block."""
        start, stop = self.bounds(shard)
        return min(self.block_rows, stop - start - number * self.block_rows)


def block_rows(rows: int) -> int:
    """Rows of a block, by the number of rows in all."""
    return max(_FEWEST, min(_MOST, rows // _BLOCKS))


@dataclass(frozen=True)
class Block:
    """Consecutive rows of the manifest, which one process answers."""

    shard: int
    number: int
    entries: Sequence[Entry]


@dataclass
class Counts:
    """What became of some rows."""

    rows: int = 0
    answers: Counter[tuple[str, str]] = field(default_factory=Counter)  # by label and suspicion
    errors: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0  # of decoding and scoring, over all processes

    def add(self, other: "Counts") -> None:
        """Add those of other rows."""
        self.rows += other.rows
        self.answers += other.answers
        self.errors += other.errors
        self.seconds += other.seconds

    @classmethod
    def of(cls, table: pa.Table) -> "Counts":
        """Of rows of answers."""
        labels, suspicions, errors = (table[name].to_pylist() for name in ("label", "suspicion", "error_code"))
        return cls(
            table.num_rows,
            Counter((label, suspicion) for label, suspicion in zip(labels, suspicions, strict=True) if label),
            Counter(code for code in errors if code),
            sum(table["seconds"].to_pylist()),
        )

    def to_json(self) -> str:
        """For the metadata of a Parquet file."""
        answers = [[label, suspicion, count] for (label, suspicion), count in sorted(self.answers.items())]
        return json.dumps(
            {"rows": self.rows, "answers": answers, "errors": self.errors, "seconds": round(self.seconds, 1)}
        )

    @classmethod
    def from_json(cls, text: bytes) -> "Counts":
        """From that metadata."""
        raw = json.loads(text)
        answers = Counter({(label, suspicion): count for label, suspicion, count in raw["answers"]})
        return cls(raw["rows"], answers, Counter(raw["errors"]), raw["seconds"])


class Shards:
    """The scoring in a place."""

    def __init__(self, place: Place, plan: Plan) -> None:
        self.place, self.plan = place, plan

    @classmethod
    def begin(cls, place: Place, plan: Plan) -> "Shards":
        """Begin a scoring, or go on with the one that lies there; InputError where it is another one."""
        found = read_plan(place)
        if found is None:
            if place.names(ANSWERS):
                raise InputError(f"{place.uri}: holds answers, but no {PLAN} that says of what; name another place")
            place.write(PLAN, (json.dumps(asdict(plan), indent=2, sort_keys=True) + "\n").encode())
            return cls(place, plan)
        kept = {"shard_rows", "block_rows"}  # of the first run, whatever is asked for now
        mine, theirs = asdict(plan), asdict(found)
        others = [name for name in mine if name not in kept and mine[name] != theirs[name]]
        if others:
            raise InputError(
                f"{place.uri}: holds another scoring; it differs in {', '.join(others)}; name another place"
            )
        return cls(place, found)

    @property
    def succeeded(self) -> bool:
        """Whether every id is answered: an earlier run said so, and no file of its answers has gone since."""
        return self.place.read(SUCCESS) is not None and len(self._finished_names()) == self.plan.shards

    def finished(self) -> Mapping[int, Counts]:
        """What became of the rows of each finished shard; InputError, with its name, for a file that is broken."""
        return {number: self._counts(name) for number, name in self._finished_names().items()}

    def done_blocks(self, shard: int) -> set[int]:
        """Numbers of the blocks of an unfinished shard that are done."""
        found = self.place.names(f"{CHECKPOINTS}/{shard:05d}")
        return {int(stem) for one in found if (stem := one.name.rsplit("/", 1)[-1].removesuffix(".parquet")).isdigit()}

    def open_blocks(self, manifest: Manifest, shard: int) -> Iterator[Block]:
        """The blocks of a shard that are not done yet."""
        done = self.done_blocks(shard)
        for number, entries in enumerate(manifest.blocks(*self.plan.bounds(shard), self.plan.block_rows)):
            if number not in done:
                yield Block(shard, number, entries)

    def wrong_blocks(self, manifest: Manifest, shard: int, pseudonyms: Pseudonyms) -> list[Block]:
        """Blocks of which an id is missing, or that hold something else."""
        blocks = enumerate(manifest.blocks(*self.plan.bounds(shard), self.plan.block_rows))
        return [
            Block(shard, number, entries)
            for number, entries in blocks
            if self._block_ids(block_name(shard, number)) != [pseudonyms.of(entry.id) for entry in entries]
        ]

    def write_block(self, block: Block, rows: Sequence[results.Row]) -> Counts:
        """Write the rows of a block; what became of them."""
        table = results.table(rows)
        self.place.write(block_name(block.shard, block.number), _parquet(table))
        return Counts.of(table)

    def finish(self, shard: int) -> Counts:
        """Put the blocks of a shard together; its checkpoints go. Every block has to be there."""
        names = [block_name(shard, number) for number in range(self.plan.blocks(shard))]
        counts = Counts()
        with self.place.writing(answers_name(shard)) as file:
            out = pq.ParquetWriter(file, results.SCHEMA, compression="zstd")
            held: list[pa.Table] = []
            for number, name in enumerate(names):
                with self.place.opened(name) as part:
                    held.append(pq.read_table(part, schema=results.SCHEMA))
                counts.add(Counts.of(held[-1]))
                if sum(table.num_rows for table in held) >= _GROUP or number == len(names) - 1:
                    out.write_table(pa.concat_tables(held))
                    held = []
            out.add_key_value_metadata({_COUNTS: counts.to_json().encode()})
            out.close()
        self.place.delete(names)
        pa.default_memory_pool().release_unused()  # else the process grows from shard to shard
        return counts

    def clear(self, shard: int) -> None:
        """Remove checkpoints that a killed run left behind a finished shard."""
        self.place.delete([one.name for one in self.place.names(f"{CHECKPOINTS}/{shard:05d}")])

    def check(self, manifest: Manifest, pseudonyms: Pseudonyms) -> list[int]:
        """Numbers of the finished shards whose ids are not those of the manifest."""
        wrong = []
        for shard in range(self.plan.shards):
            blocks = manifest.blocks(*self.plan.bounds(shard), self.plan.block_rows)
            wanted = (pseudonyms.of(entry.id) for entries in blocks for entry in entries)
            found = self._answered_ids(shard)
            end = object()
            if any(next(found, end) != one for one in wanted) or next(found, end) is not end:
                wrong.append(shard)
        return wrong

    def _answered_ids(self, shard: int) -> Iterator[str]:
        try:
            with self.place.opened(answers_name(shard)) as file:
                for batch in pq.ParquetFile(file).iter_batches(columns=["id"]):
                    yield from batch["id"].to_pylist()
        except UNREADABLE:
            return

    def _block_ids(self, name: str) -> list[str] | None:
        """The ids of a block; None where it is missing, or broken in any column."""
        content = self.place.read(name)
        try:
            found = pq.read_table(io.BytesIO(content or b""), schema=results.SCHEMA)["id"].to_pylist()
        except UNREADABLE:
            return None
        return list(map(str, found))

    def _finished_names(self) -> Mapping[int, str]:
        """The files of answers that are there, by shard."""
        there = {one.name for one in self.place.names(ANSWERS)}
        return {number: name for number in range(self.plan.shards) if (name := answers_name(number)) in there}

    def _counts(self, name: str) -> Counts:
        with self.place.opened(name) as file, answers_errors(self.place, name):
            return read_counts(file)


def answers_errors(place: Place, name: str) -> AbstractContextManager[None]:
    """Turn what is broken in a file of answers into InputError that says how to have it made again."""
    advice = "remove it and run `fracture score` again, which scores its images again"
    return parquet_errors(f"{place.uri}/{name}", advice)


def read_counts(file: IO[bytes]) -> Counts:
    """What became of the rows of a finished shard, from the metadata of its file; ValueError where they lack."""
    with pq.ParquetFile(file) as source:
        raw = (source.metadata.metadata or {}).get(_COUNTS)
    if raw is None:
        raise ValueError("it was not written by `fracture score`")
    return Counts.from_json(raw)


def read_plan(place: Place) -> Plan | None:
    """The plan of a scoring; None where there is none. InputError for a broken one, and for another version."""
    raw = place.read(PLAN)
    if raw is None:
        return None
    try:
        found = json.loads(raw)
        if found.get("version") != _VERSION:
            raise InputError(f"{place.uri}/{PLAN}: was written by another version of this program; name another place")
        plan = Plan(**found)
    except (ValueError, TypeError, AttributeError):
        plan = None
    if plan is None or not plan.consistent:
        raise InputError(f"{place.uri}/{PLAN}: is broken; name another place")
    return plan


def block_name(shard: int, number: int) -> str:
    """Of the file of a block."""
    return f"{CHECKPOINTS}/{shard:05d}/{number:06d}.parquet"


def answers_name(shard: int) -> str:
    """Of the file of a finished shard."""
    return f"{ANSWERS}/{shard:05d}.parquet"


def _parquet(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()
