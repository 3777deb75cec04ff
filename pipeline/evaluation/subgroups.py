"""The regions and views for which the test set shows that a model is good."""

import csv
from dataclasses import dataclass
from pathlib import Path

from serving.region import FEWEST

LOWEST = 0.8
"""Least lower bound of the 95 % interval of a region's or view's AUROC."""


@dataclass(frozen=True)
class Shown:
    """What the test set shows of one region or view; `figures` are for a person."""

    column: str
    value: str
    good: bool
    figures: str


def read(slices: Path) -> list[Shown]:
    """The regions and views in a model's slices.csv, which is empty where the data name none."""
    with slices.open(encoding="utf-8", newline="") as file:
        return [_shown(row) for row in csv.DictReader(file) if row["slice"] in {"region", "view"}]


def _shown(row: dict[str, str]) -> Shown:
    images, fractured = int(row["images"]), int(row["fractured"])
    figures = f"{fractured} fractured of {images}"
    good = False
    if row["auroc"]:  # empty where one class is missing
        value, low, high = (float(row[name]) for name in ("auroc", "auroc_low", "auroc_high"))
        figures += f", AUROC {value:.3f} ({low:.3f} to {high:.3f})"
        good = min(fractured, images - fractured) >= FEWEST and low >= LOWEST
    return Shown(row["slice"], row["value"], good, figures)


def weak_regions(slices: Path) -> dict[str, str]:
    """The regions that a model is not shown to be good for, with their figures."""
    return {shown.value: shown.figures for shown in read(slices) if shown.column == "region" and not shown.good}


def warning(slices: Path) -> str:
    """One sentence that lists what the model is not shown to be good for; empty when there is nothing."""
    found = [f"{shown.column} {shown.value} ({shown.figures})" for shown in read(slices) if not shown.good]
    if not found:
        return ""
    return (
        f" Not shown to be good for, with fewer than {FEWEST} fractured or normal test images or an AUROC whose "
        f"interval begins below {LOWEST}: {'; '.join(found)}."
    )
