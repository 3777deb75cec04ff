"""Reads what was scored: for drift, and the suspicious first."""

import csv
import heapq
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.archive import results
from pipeline.archive.places import Place, open_place
from pipeline.archive.shards import ANSWERS, PLAN, answers_name
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
    batches, rows = _batches(source)
    share = min(1.0, _MOST_SAMPLED / max(rows, 1))
    for batch in batches:
        chosen = batch if share == 1 else batch.filter(pc.less(batch["id"], f"{int(share * _SPREAD):08x}"))
        for row in chosen.to_pylist():
            if row["model_sha256"] != opened.sha256:
                seen.other_models += 1
            elif row["error_code"] is not None:
                seen.refused[row["error_code"]] += 1
            else:
                inputs = {name: row[column] for name, column in results.INPUT_COLUMNS.items()}
                seen.add(inputs, row["probability"])
    return seen


def write_suspicious(place: Place, shards: int) -> int:
    """Write the images of suspicion possible and high, at most 10,000, as CSV, highest probability first; how many."""
    best: list[tuple[float, str, dict[str, Any]]] = []
    for number in range(shards):
        with place.opened(answers_name(number)) as file:
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


def _batches(source: str) -> tuple[Iterator[pa.RecordBatch], int]:
    """Batches of the columns that drift needs, and the number of their rows."""
    path = Path(source)
    if "://" not in source and path.is_file():
        place, names = open_place(str(path.parent)), [path.name]
    else:
        place = open_place(source)
        names = [one.name for one in place.names(ANSWERS)]
    if not names:
        raise InputError(
            f"{source}: holds no finished shard of answers yet; `fracture score --status` says how far it is"
        )
    columns = ["id", "model_sha256", "error_code", "probability", *results.INPUT_COLUMNS.values()]
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


def _read(place: Place, names: list[str], columns: list[str]) -> Iterator[pa.RecordBatch]:
    for name in names:
        with place.opened(name) as file:
            yield from pq.ParquetFile(file).iter_batches(columns=columns)
