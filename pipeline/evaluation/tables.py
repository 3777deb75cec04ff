"""A run's metrics as Markdown tables; `fracture tables` prints them."""

import csv
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.errors import InputError
from pipeline.files import read_json

_POINTS = {
    "at_threshold": "0.5 on the calibrated probability",
    "at_high_sensitivity": "high sensitivity",
    "at_high_specificity": "high specificity",
    "at_best_accuracy": "best accuracy",
}

_OF_SLICES = ("auroc", "sensitivity_at_threshold", "sensitivity_at_high_sensitivity")


def cell(figure: Mapping[str, Any]) -> str:
    """A value with its 95 % interval."""
    if figure["value"] is None:
        return "-"
    return f"{figure['value']:.3f} ({figure['low']:.3f} to {figure['high']:.3f})"


def measures(figures: Mapping[str, Any]) -> list[str]:
    """The rows of all figures that are one number."""
    rows = ["| measure | test part (95 % interval) |", "| --- | --- |"]
    single = {name: figure for name, figure in figures.items() if "value" in figure}
    return rows + [f"| {name.replace('_', ' ')} | {cell(figure)} |" for name, figure in single.items()]


def points(figures: Mapping[str, Any]) -> list[str]:
    """The rows of the operating points, chosen on the validation part."""
    names = ("accuracy", "precision", "recall", "specificity", "f1")
    rows = ["| operating point | threshold | " + " | ".join(names) + " |", "| --- " * (len(names) + 2) + "|"]
    for key, title in _POINTS.items():
        found = figures[key]
        values = " | ".join(cell(found[name]) for name in names)
        rows.append(f"| {title} | {found['threshold']:.3f} | {values} |")
    return rows


def slices(path: Path) -> list[str]:
    """The rows of slices.csv."""
    rows = ["| slice | images | fractured | AUROC | sensitivity at 0.5 | at high sensitivity |", "| --- " * 6 + "|"]
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            values = " | ".join(cell(_figure(row, name)) for name in _OF_SLICES)
            rows.append(f"| {row['slice']} {row['value']} | {row['images']} | {row['fractured']} | {values} |")
    return rows


def _figure(row: Mapping[str, str], name: str) -> dict[str, float | None]:
    """One figure of a row of slices.csv; without a value where the slice lacks a class."""
    texts = {"value": row[name], "low": row[f"{name}_low"], "high": row[f"{name}_high"]}
    return {key: float(text) if text else None for key, text in texts.items()}


def markdown(reports: Path) -> str:
    """The tables of one reports folder; InputError where evaluation did not leave it whole."""
    metrics, parts = reports / "metrics.json", reports / "slices.csv"
    for path in (metrics, parts):
        if not path.is_file():
            raise InputError(f"{path}: not found; `dvc repro evaluate` writes it")
    figures = read_json(metrics, ("test",))["test"]
    with _written_by_evaluation(metrics):
        rows = [*measures(figures), "", *points(figures)]
    with _written_by_evaluation(parts):
        rows += ["", *slices(parts)]
    return "\n".join(rows)


@contextmanager
def _written_by_evaluation(path: Path) -> Iterator[None]:
    try:
        yield
    except (AttributeError, KeyError, TypeError, ValueError, csv.Error) as error:
        raise InputError(
            f"{path}: is not what evaluation writes ({type(error).__name__}: {error}); make it again with "
            "`dvc repro evaluate`"
        ) from None
