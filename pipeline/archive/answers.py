"""Reads what was scored: for drift, and the suspicious first."""

import csv
import heapq
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.archive import results
from pipeline.archive.places import Place, open_place
from pipeline.archive.shards import ANSWERS, PLAN, answers_errors, answers_name
from pipeline.errors import InputError
from pipeline.monitoring.drift import Seen
from serving.bundle import Bundle
from serving.errors import one_line

SUSPICIOUS = "suspicious.csv"
"""Beside the answers: the images with the highest probabilities first."""
_SUSPICIOUS_COLUMNS = ("probability", "label", "suspicion", "region", "id", "uri", "sop_instance_uid")
_MOST_SUSPICIOUS = 10_000
_MOST_SAMPLED = 200_000
"""Rows from which drift is told: its tolerance falls no further with more."""
OF_DRIFT = ("id", "model_sha256", "error_code", "probability", *results.INPUT_COLUMNS.values())
"""The columns that drift is told from."""
_SPREAD = 1 << 32


def is_scored(source: str) -> bool:
    """Whether drift should read answers there: a Parquet file, or a place with a scoring."""
    if source.endswith(".parquet"):
        return True
    if "://" not in source and not Path(source).is_dir():
        return False
    return open_place(source).read(PLAN) is not None


def read_seen(source: str, opened: Bundle) -> Seen:
    """Input statistics, probabilities and refusals of answers of this bundle, from at most about 200,000 rows.

    `source` is a place with a scoring, of which finished shards count, or one Parquet file of it. InputError for what
    holds no answers. Rows are chosen by their ids, which are hashes: the sample is the same each time.
    """
    seen = Seen()
    for row in sampled(source, OF_DRIFT):
        if row["model_sha256"] != opened.sha256:
            seen.other_models += 1
        elif row["error_code"] is not None:
            seen.refused[row["error_code"]] += 1
        else:
            seen.add(inputs(row), row["probability"])
    return seen


def inputs(row: results.Row) -> dict[str, float]:
    """The input statistics of an answer by the names that drift gives them."""
    return {name: row[column] for name, column in results.INPUT_COLUMNS.items()}


def sampled(source: str, columns: Sequence[str]) -> Iterator[results.Row]:
    """At most about 200,000 rows of answers, `source`, choice and errors as for `read_seen`; `columns` include `id`."""
    batches, rows = _batches(source, columns)
    share = min(1.0, _MOST_SAMPLED / max(rows, 1))
    for batch in batches:
        chosen = batch if share == 1 else batch.filter(pc.less(batch["id"], f"{int(share * _SPREAD):08x}"))
        yield from chosen.to_pylist()


def write_suspicious(place: Place, shards: int) -> int:
    """Write the images of suspicion possible and high, at most 10,000, as CSV, highest probability first; how many."""
    best: list[tuple[float, str, dict[str, Any]]] = []
    for number in range(shards):
        name = answers_name(number)
        with place.opened(name) as file, answers_errors(place, name):
            for batch in pq.ParquetFile(file).iter_batches(columns=list(_SUSPICIOUS_COLUMNS)):
                found = pa.Table.from_batches([batch])
                found = found.filter(pc.is_in(found["suspicion"], pa.array(["possible", "high"])))
                rows = ((row["probability"], row["id"], row) for row in found.to_pylist())
                best = heapq.nlargest(_MOST_SUSPICIOUS, [*best, *rows], key=lambda item: item[:2])
    text = io.StringIO()
    writer = csv.DictWriter(text, _SUSPICIOUS_COLUMNS)
    writer.writeheader()
    writer.writerows(row for _, _, row in best)
    place.write(SUSPICIOUS, text.getvalue().encode("utf-8", "surrogateescape"))
    return len(best)


def _batches(source: str, columns: Sequence[str]) -> tuple[Iterator[pa.RecordBatch], int]:
    """Batches of some columns, and the number of their rows."""
    path = Path(source)
    if "://" not in source and path.is_file():
        place, names = open_place(str(path.parent)), [path.name]
    else:
        place = open_place(source)
        names = [one.name for one in place.names(ANSWERS)]
    if not names:
        if place.read(PLAN) is None:
            raise InputError(f"{source}: holds no scoring; name what `fracture score` had as --out, or one file of it")
        raise InputError(
            f"{source}: holds no finished shard of answers yet; `fracture score --status` says how far it is"
        )
    rows = 0
    for name in names:
        try:
            with place.opened(name) as file, pq.ParquetFile(file) as answers:
                missing = set(columns) - set(answers.schema_arrow.names)
                rows += answers.metadata.num_rows
        except (OSError, ValueError) as error:
            raise InputError(f"{source}: {name} is no Parquet file ({one_line(error, 80)})") from None
        if missing:
            raise InputError(f"{source}: was not written by `fracture score`; it lacks {', '.join(sorted(missing))}")
    return _read(place, names, columns), rows


def _read(place: Place, names: Sequence[str], columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    for name in names:
        with place.opened(name) as file, answers_errors(place, name):
            yield from pq.ParquetFile(file).iter_batches(columns=list(columns))
