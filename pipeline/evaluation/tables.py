"""A run's metrics as Markdown tables; `fracture tables` prints them."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.errors import InputError
from pipeline.evaluation.records import ChangeMetrics, Estimate, Metrics, MetricSet

_POINTS = {
    "at_threshold": "0.5 on the calibrated probability",
    "at_high_sensitivity": "high sensitivity",
    "at_high_specificity": "high specificity",
    "at_best_accuracy": "best accuracy",
}

_OF_SLICES = ("auroc", "sensitivity_at_threshold", "sensitivity_at_high_sensitivity")


def cell(found: Estimate) -> str:
    """A value with its 95 % interval."""
    if found.value is None:
        return "-"
    return f"{found.value:.3f} ({found.low:.3f} to {found.high:.3f})"


def measures(found: MetricSet) -> list[str]:
    """The rows of all metrics that are one number."""
    rows = ["| measure | test set (95 % interval) |", "| --- | --- |"]
    return rows + [f"| {name.replace('_', ' ')} | {cell(one)} |" for name, one in sorted(found.estimates().items())]


def points(metrics: MetricSet) -> list[str]:
    """The rows of the operating points, chosen on the validation set."""
    names = ("accuracy", "precision", "recall", "specificity", "f1")
    rows = ["| operating point | threshold | " + " | ".join(names) + " |", "| --- " * (len(names) + 2) + "|"]
    for key, title in _POINTS.items():
        found = metrics.point(key)
        values = " | ".join(cell(getattr(found, name)) for name in names)
        rows.append(f"| {title} | {found.threshold:.3f} | {values} |")
    return rows


def slices(path: Path) -> list[str]:
    """The rows of slices.csv."""
    rows = ["| slice | images | fractured | AUROC | sensitivity at 0.5 | at high sensitivity |", "| --- " * 6 + "|"]
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            values = " | ".join(cell(_estimate(row, name)) for name in _OF_SLICES)
            rows.append(f"| {row['slice']} {row['value']} | {row['images']} | {row['fractured']} | {values} |")
    return rows


def _estimate(row: Mapping[str, str], name: str) -> Estimate:
    """One metric of a row of slices.csv; without a value where the subgroup lacks a class."""
    texts = {"value": row[name], "low": row[f"{name}_low"], "high": row[f"{name}_high"]}
    return Estimate(**{key: float(text) if text else None for key, text in texts.items()})


def robustness(rows: Sequence[ChangeMetrics]) -> list[str]:
    """The rows of the benchmark of robustness."""
    lines = [
        "| change | images | refused | warned | AUROC | change (95 %) | at high sensitivity: sensitivity, specificity "
        "| at high specificity | mean change of probability |",
        "| --- " * 9 + "|",
    ]
    for row in rows:
        name = row.change + (" (never trained)" if row.never_trained else "")
        head = f"| {name} | {row.images} | {row.refused:.1%} | {row.warned:.1%} "
        if row.auroc is None:
            lines.append(head + "| - " * 5 + "|")
            continue
        change = f"{row.auroc_change:+.3f} ({row.auroc_change_low:+.3f} to {row.auroc_change_high:+.3f})"
        sensitive = f"{row.sensitivity_at_high_sensitivity:.3f}, {row.specificity_at_high_sensitivity:.3f}"
        specific = f"{row.sensitivity_at_high_specificity:.3f}, {row.specificity_at_high_specificity:.3f}"
        lines.append(f"{head}| {row.auroc:.3f} | {change} | {sensitive} | {specific} | {row.probability_change:.3f} |")
    return lines


def markdown(reports: Path) -> str:
    """The tables of one reports folder; InputError where evaluation did not leave it whole."""
    metrics, subgroups = reports / "metrics.json", reports / "slices.csv"
    for path in (metrics, subgroups):
        if not path.is_file():
            raise InputError(f"{path}: not found; `dvc repro evaluate` writes it")
    test = Metrics.read(metrics).test
    try:
        rows = [*measures(test), "", *points(test)]
    except KeyError as error:
        raise InputError(
            f"{metrics}: test.{error.args[0]}: is missing; make it again with `dvc repro -f evaluate`"
        ) from None
    try:
        rows += ["", *slices(subgroups)]
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise InputError(
            f"{subgroups}: is not what evaluation writes ({type(error).__name__}: {error}); make it again with "
            "`dvc repro -f evaluate`"
        ) from None
    return "\n".join(rows)
