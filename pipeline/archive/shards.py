"""How a scoring lies on disk, and what is left to do of it.

scoring.json                         what is scored by what (`Plan`); another one is refused
checkpoints/SHARD/BLOCK.parquet      rows of a block of the manifest; there when the block is done
answers/SHARD.parquet                the blocks of a whole shard; then its checkpoints are gone
retry.json, retries/                 rows that failed are asked again (`pipeline.archive.retries`)
_SUCCESS                             every id of the manifest stands in the answers, once

A block is always the same rows of the manifest and always has the same name: doing it twice changes nothing.
"""

import io
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field, fields
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.archive import results
from pipeline.archive.entries import Entry
from pipeline.archive.manifest import Manifest
from pipeline.archive.parquet import UNREADABLE, parquet_errors
from pipeline.archive.places import Place, Written
from pipeline.archive.pseudonyms import Pseudonyms
from pipeline.errors import InputError

PLAN, SUCCESS, RETRY = "scoring.json", "_SUCCESS", "retry.json"
ANSWERS, CHECKPOINTS = "answers", "checkpoints"
_VERSION = 1
_COUNTS = b"fracture.counts"
_RETRIED = b"fracture.retry"
_FEWEST, _MOST = 8, 1000
"""Rows of a block: few enough to be spread over all processes, and for little to be lost with one."""
_BLOCKS = 64
GROUP = 1 << 14
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
    """Rows of a shard of the manifest, in their order, which one process answers into a file in `folder`."""

    shard: int
    number: int
    entries: Sequence[Entry]
    folder: str = ""

    @property
    def name(self) -> str:
        """Of its file."""
        return f"{self.folder or checkpoints_name(self.shard)}/{self.number:06d}.parquet"


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
    def sum(cls, every: "Iterable[Counts]") -> "Counts":
        """Of all rows together."""
        total = cls()
        for counts in every:
            total.add(counts)
        return total

    @property
    def failed(self) -> str:
        """Numbers of rows without an answer by code, the most frequent first."""
        return ", ".join(f"{count:,} {code}" for code, count in self.errors.most_common()) or "none"

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
        """Whether every id is answered: an earlier run said so, all its answers are there, and none is asked again."""
        return self.place.read(SUCCESS) is not None and self.whole and self.place.read(RETRY) is None

    @property
    def whole(self) -> bool:
        """Whether the answers of every shard are there."""
        return len(self._finished_names()) == self.plan.shards

    def finished(self) -> Mapping[int, Counts]:
        """What became of the rows of each finished shard; InputError, with its name, for a file that is broken."""
        return {number: self._counts(name) for number, name in self._finished_names().items()}

    def done_blocks(self, folder: str) -> dict[int, Written]:
        """The blocks in a folder that are done, by number."""
        named = ((one.name.rsplit("/", 1)[-1].removesuffix(".parquet"), one) for one in self.place.names(folder))
        return {int(stem): one for stem, one in named if stem.isdigit()}

    def blocks(self, manifest: Manifest, shard: int) -> Iterator[Block]:
        """All blocks of a shard."""
        for number, entries in enumerate(manifest.blocks(*self.plan.bounds(shard), self.plan.block_rows)):
            yield Block(shard, number, entries)

    def holds(self, block: Block, pseudonyms: Pseudonyms) -> bool:
        """Whether the file of a block has its ids, and nothing else."""
        return self._block_ids(block.name) == [pseudonyms.of(entry.id) for entry in block.entries]

    def write_block(self, block: Block, rows: Sequence[results.Row]) -> Counts:
        """Write the rows of a block; what became of them."""
        table = results.table(rows)
        self.place.write(block.name, _parquet(table))
        return Counts.of(table)

    def finish(self, shard: int) -> Counts:
        """Put the blocks of a shard together; its checkpoints go. Every block has to be there."""
        names = [block_name(shard, number) for number in range(self.plan.blocks(shard))]
        counts = self.write_answers(shard, self.read_blocks(names))
        self.place.delete(names)
        return counts

    def read_blocks(self, names: Iterable[str]) -> Iterator[pa.Table]:
        """The rows of blocks, one after the other."""
        for name in names:
            with self.place.opened(name) as file:
                table = pq.read_table(file, schema=results.SCHEMA)
            yield table

    def write_answers(self, shard: int, tables: Iterable[pa.Table], retry: str = "") -> Counts:
        """Write the file of a shard, whole or not at all; `retry` is the name of what asked for its rows again."""
        counts = Counts()
        with self.place.writing(answers_name(shard)) as file:
            out = pq.ParquetWriter(file, results.SCHEMA, compression="zstd")
            held: list[pa.Table] = []
            for table in tables:
                counts.add(Counts.of(table))
                held.append(table)
                if sum(one.num_rows for one in held) >= GROUP:
                    out.write_table(pa.concat_tables(held))
                    held = []
            if held:
                out.write_table(pa.concat_tables(held))
            out.add_key_value_metadata({_COUNTS: counts.to_json().encode(), _RETRIED: retry.encode()})
            out.close()
        pa.default_memory_pool().release_unused()  # else the process grows from shard to shard
        return counts

    def retried(self, shard: int) -> str:
        """The name of the retry that wrote the file of a finished shard; empty where none did."""
        name = answers_name(shard)
        with self.place.opened(name) as file, answers_errors(self.place, name), pq.ParquetFile(file) as source:
            return str((source.metadata.metadata or {}).get(_RETRIED, b"").decode())

    def clear(self, folder: str) -> None:
        """Remove blocks that a killed run left there, and whose rows stand in the answers."""
        self.place.delete([one.name for one in self.place.names(folder)])

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


def lacks_ids(place: Place, shards: Iterable[int]) -> InputError:
    """That some files of answers are not those of the manifest's rows."""
    names = ", ".join(map(answers_name, shards))
    return InputError(f"{place.uri}: {names} lack ids of the manifest; remove them and run the command again")


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


def checkpoints_name(shard: int) -> str:
    """Of the folder with the blocks of an unfinished shard."""
    return f"{CHECKPOINTS}/{shard:05d}"


def block_name(shard: int, number: int) -> str:
    """Of the file of a block in it."""
    return Block(shard, number, ()).name


def answers_name(shard: int) -> str:
    """Of the file of a finished shard."""
    return f"{ANSWERS}/{shard:05d}.parquet"


def _parquet(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()
