"""What is kept of an answer: one row an image, in a fixed Arrow schema, without a pixel."""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from pipeline.archive.entries import Entry
from serving.errors import ImageError
from serving.predictor import Prediction
from serving.statistics import INPUTS

VERSION = 1
"""Of the schema; what was written in another is not gone on with."""

Row = dict[str, Any]

_INPUT = "input_"
SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("uri", pa.string(), nullable=False),
        pa.field("etag", pa.string(), nullable=False),
        pa.field("sha256", pa.string()),
        pa.field("sop_instance_uid", pa.string()),
        pa.field("label", pa.string()),
        pa.field("probability", pa.float64()),
        pa.field("threshold", pa.float64()),
        pa.field("suspicion", pa.string()),
        pa.field("region", pa.string()),
        pa.field("region_source", pa.string()),
        pa.field("region_probability", pa.float64()),
        pa.field("warnings", pa.list_(pa.string())),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        *(pa.field(f"{_INPUT}{name}", pa.float64()) for name in INPUTS),
        pa.field("distance", pa.float64()),
        pa.field("error_code", pa.string()),
        pa.field("error_message", pa.string()),
        pa.field("model_sha256", pa.string(), nullable=False),
        pa.field("seconds", pa.float64(), nullable=False),
    ]
)
"""Without an answer everything from `sop_instance_uid` to `distance` is null, with one both error fields are."""
INPUT_COLUMNS = {name: f"{_INPUT}{name}" for name in INPUTS} | {"distance": "distance"}
"""Columns of the input statistics by the names that `fracture drift` gives them."""


def answer_row(entry: Entry, prediction: Prediction, model: str, seconds: float) -> Row:
    """The row of an answer; its numbers are those of `fracture predict` to the last digit."""
    answer, statistics = prediction.answer(), prediction.statistics()
    region = answer["region"] or {"name": None, "source": None, "probability": None}
    return {
        "id": entry.id,
        "uri": entry.uri,
        "etag": entry.etag,
        "sha256": prediction.sha256,
        "sop_instance_uid": prediction.sop_instance_uid or None,
        "label": answer["label"],
        "probability": answer["probability"],
        "threshold": answer["threshold"],
        "suspicion": answer["suspicion"],
        "region": region["name"],
        "region_source": region["source"],
        "region_probability": region["probability"],
        "warnings": [note["code"] for note in answer["warnings"]],
        "width": prediction.width,
        "height": prediction.height,
        **{column: statistics[name] for name, column in INPUT_COLUMNS.items()},
        "error_code": None,
        "error_message": None,
        "model_sha256": model,
        "seconds": round(seconds, 4),
    }


def error_row(entry: Entry, error: ImageError, model: str, seconds: float, sha256: str | None = None) -> Row:
    """The row of an image without an answer; `sha256` is that of its bytes where they were read."""
    return dict.fromkeys(SCHEMA.names) | {
        "id": entry.id,
        "uri": entry.uri,
        "etag": entry.etag,
        "sha256": sha256,
        "error_code": error.code,
        "error_message": error.message,
        "model_sha256": model,
        "seconds": round(seconds, 4),
    }


def table(rows: Sequence[Mapping[str, Any]], facts: Mapping[str, str] | None = None) -> pa.Table:
    """Rows as a table of the schema, with `facts` in its metadata."""
    columns = [pa.array([row[field.name] for row in rows], field.type) for field in SCHEMA]
    return pa.table(columns, schema=SCHEMA.with_metadata(dict(facts) if facts else None))
