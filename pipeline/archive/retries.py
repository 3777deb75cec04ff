"""Rows that failed, for instance while a store was away, are asked again and replaced; all others stay as they are.

retry.json                           which rows are asked again (`Retry`); it is there until all of them are replaced
retries/NAME-SHARD/BLOCK.parquet     new rows of a shard, in the order of the manifest
answers/SHARD.parquet                written anew, whole, when all of them are there; then they are gone

The file of a shard holds the old rows until then, so that no id is missing at any time, and the name of the retry
afterwards, so that none is asked twice.
"""

import itertools
import json
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.archive import results
from pipeline.archive.entries import Entry
from pipeline.archive.manifest import Manifest
from pipeline.archive.places import Place, Written
from pipeline.archive.pseudonyms import Pseudonyms
from pipeline.archive.shards import (
    GROUP,
    RETRY,
    Block,
    Counts,
    Shards,
    answers_errors,
    answers_name,
    block_rows,
    lacks_ids,
    read_plan,
)
from pipeline.errors import InputError

_FOLDER = "retries"


@dataclass(frozen=True)
class Retry:
    """retry.json: the codes of the rows that are asked again, and how many there are, by shard."""

    name: str
    codes: tuple[str, ...]
    rows: Mapping[int, int]


def read_retry(place: Place) -> Retry | None:
    """The retry that is not over yet; None where there is none. InputError for a broken file."""
    raw = place.read(RETRY)
    if raw is None:
        return None
    try:
        found = json.loads(raw)
        rows = {int(shard): int(count) for shard, count in found["rows"].items()}
        retry = Retry(found["name"], tuple(map(str, found["codes"])), rows)
        if not re.fullmatch("[0-9a-f]+", retry.name) or not retry.codes:
            raise ValueError
    except (ValueError, TypeError, AttributeError, KeyError):
        raise InputError(f"{place.uri}/{RETRY}: is broken; remove it, and give --retry again") from None
    return retry


def require_scoring(place: Place) -> None:
    """InputError where nothing is scored yet."""
    if read_plan(place) is None:
        raise InputError(f"{place.uri}: holds no scoring whose rows could be asked again; score first, without --retry")


def opened(shards: Shards, codes: Sequence[str]) -> Retry | None:
    """The retry that is to be completed: one that an earlier run left, or one for `codes`, which is begun; else None.

    InputError where one for other codes is left, for a scoring that is not complete, and where no row failed with one
    of the codes.
    """
    found = read_retry(shards.place)
    if not codes:
        return found
    if found is None:
        return _begin(shards, codes)
    if set(found.codes) != set(codes):
        raise InputError(
            f"{shards.place.uri}: rows that failed with {', '.join(found.codes)} are asked again, and not all are yet; "
            "run the command without --retry first, which completes that"
        )
    return found


def _begin(shards: Shards, codes: Sequence[str]) -> Retry:
    place = shards.place
    if not shards.whole:
        raise InputError(f"{place.uri}: is not complete; run the command without --retry first, which completes it")
    finished = shards.finished()
    total = Counts.sum(finished.values())
    unknown = [code for code in codes if not total.errors[code]]
    if unknown:
        raise InputError(
            f"--retry {','.join(unknown)}: no row of {place.uri} failed with that; rows that failed: {total.failed}"
        )
    rows = {shard: sum(counts.errors[code] for code in set(codes)) for shard, counts in finished.items()}
    retry = Retry(secrets.token_hex(4), tuple(dict.fromkeys(codes)), {shard: n for shard, n in rows.items() if n})
    place.write(RETRY, (json.dumps(asdict(retry), indent=2, sort_keys=True) + "\n").encode())
    return retry


class RetriedShard:
    """The rows of a finished shard that are asked again; `rows` is how many there are before they are replaced."""

    def __init__(self, shards: Shards, retry: Retry, number: int, errors: Mapping[str, int]) -> None:
        self._shards, self._retry, self._number = shards, retry, number
        self._name, self.folder = answers_name(number), f"{_FOLDER}/{retry.name}-{number:05d}"
        self.rows = sum(errors.get(code, 0) for code in retry.codes)
        self._size = block_rows(self.rows)

    @property
    def waits(self) -> bool:
        """Whether there are such rows, and the file of the shard still holds the old ones."""
        return self.rows > 0 and self._shards.retried(self._number) != self._retry.name

    def done(self) -> list[tuple[Written, int]]:
        """The blocks that are done, and the number of rows of each."""
        blocks = self._shards.done_blocks(self.folder)
        return [(one, max(0, min(self._size, self.rows - number * self._size))) for number, one in blocks.items()]

    def blocks(self, manifest: Manifest, pseudonyms: Pseudonyms) -> Iterator[Block]:
        """All these rows, in blocks; InputError where the file is not that of the manifest's rows."""
        entries = self._entries(manifest, pseudonyms)
        for number in itertools.count():
            held = list(itertools.islice(entries, self._size))
            if not held:
                return
            yield Block(self._number, number, held, self.folder)

    def replace(self) -> None:
        """Write the file of the shard anew, with the new rows in the places of the old ones; all have to be there."""
        self._shards.write_answers(self._number, self._merged(), self._retry.name)

    def _entries(self, manifest: Manifest, pseudonyms: Pseudonyms) -> Iterator[Entry]:
        start, stop = self._shards.plan.bounds(self._number)
        listed = itertools.chain.from_iterable(manifest.blocks(start, stop, GROUP))
        for batch in self._batches(["id", "error_code"]):
            chosen = self._chosen(batch)
            for found, is_chosen in zip(batch["id"].to_pylist(), chosen, strict=True):
                entry = next(listed, None)
                if entry is None or found != pseudonyms.of(entry.id):
                    raise lacks_ids(self._shards.place, [self._number])
                if is_chosen:
                    yield entry

    def _merged(self) -> Iterator[pa.Table]:
        numbers = range(-(-self.rows // self._size))
        fresh = self._shards.read_blocks(Block(self._number, number, (), self.folder).name for number in numbers)
        held = results.table([])
        for batch in self._batches():
            chosen = self._chosen(batch)
            count = int(chosen.sum())
            while held.num_rows < count:
                held = pa.concat_tables([held, next(fresh)])
            new, held = held.slice(0, count), held.slice(count)
            # Sorting the places from which rows come tells where each of them goes.
            places = np.argsort(np.concatenate([np.flatnonzero(~chosen), np.flatnonzero(chosen)]))
            yield pa.concat_tables([batch.filter(~chosen), new]).combine_chunks().take(places)

    def _chosen(self, batch: pa.Table) -> npt.NDArray[np.bool_]:
        """Which rows are asked again."""
        found: npt.NDArray[np.bool_] = pc.is_in(batch["error_code"], pa.array(self._retry.codes)).to_numpy()
        return found

    def _batches(self, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        place = self._shards.place
        with place.opened(self._name) as file, answers_errors(place, self._name):
            for batch in pq.ParquetFile(file).iter_batches(GROUP, columns=columns):
                yield pa.Table.from_batches([batch]).replace_schema_metadata(None)
