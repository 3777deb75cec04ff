"""Answers as `fracture score` writes them."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from pipeline.archive import results
from pipeline.archive.entries import entry
from pipeline.archive.places import Place
from pipeline.archive.shards import answers_name
from pipeline.monitoring import drift
from serving.bundle import Bundle
from serving.errors import ImageError
from serving.statistics import QUANTILES


def rows_like_training(opened: Bundle, count: int) -> list[results.Row]:
    """Answers of images like those of training."""
    rng = np.random.default_rng(0)
    expected = drift.expectations(opened)
    rows = []
    for number in range(count):
        refusal = ImageError("not_a_radiograph", "it is none")
        row = results.error_row(entry(f"s3://b/{number}.png", 1, "e"), refusal, opened.sha256, 0.1)
        drawn = {name: float(np.interp(rng.random(), QUANTILES, expected[name])) for name in drift.NAMES}
        row |= {column: drawn[name] for name, column in results.INPUT_COLUMNS.items()}
        suspicion = ("none", "possible", "high")[number % 3]
        rows.append(row | {"probability": drawn["probability"], "suspicion": suspicion, "error_code": None})
    return rows


def write_answers(place: Place, rows: list[results.Row], shard: int = 0) -> None:
    """Write a shard of answers."""
    with place.writing(answers_name(shard)) as file:
        pq.write_table(results.table(rows), file)


def damage(path: Path) -> None:
    """Overwrite the columns of a Parquet file, and leave its footer, which is read first, as it is."""
    content = bytearray(path.read_bytes())
    footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    content[4:footer] = bytes(footer - 4)
    path.write_bytes(content)
