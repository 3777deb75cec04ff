"""From findings to a verdict: images left out, failures, warnings and the report."""

import html
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.artifacts import ValidationReport
from pipeline.data.families import large
from pipeline.data.images import Images
from pipeline.data.layout import Dataset
from pipeline.data.pixel_cache import PixelWriter
from pipeline.data.validation.checks import UNUSABLE, Check, checks
from pipeline.data.validation.expectations import Judge, judge_images, judge_rest
from pipeline.data.validation.tables import class_table, feature_table, image_table
from pipeline.params import ValidateParams

_NAMED = 5
_FAMILIES = 12
"""Groups of near duplicates that the report shows."""

_FEWER_COPIES = (
    f"families: above {large.LARGE:,} images copies are looked for among thumbnails that are alike; those that were "
    "cropped, sheared, or turned by other angles than quarters may be missed"
)


@dataclass(frozen=True)
class Verdict:
    """What validation decided: the judged table with its `excluded` column, messages and the report."""

    table: pd.DataFrame
    failures: list[str]
    warnings: list[str]
    report: ValidationReport


def judge_data(
    data: Dataset,
    limits: ValidateParams,
    judge: Judge,
    writer: PixelWriter | None = None,
    images: Images | None = None,
) -> Verdict:
    """Judge a data set; raises nothing for what it finds, that is for the caller to act on.

    `writer` and `images` as in `image_table`.
    """
    table = image_table(data, limits.near_duplicate_correlation, writer, images)
    classes = data.info.classes
    findings = {f.check: f.rows for f in judge_images(judge, table, classes, limits.offenders)}
    if findings.pop("empty_table"):
        line = f"{data.folder}: holds no image; fill it with `fracture data ...`"
        report = ValidationReport(images=0, failures=[line], warnings=[])
        return Verdict(table.assign(excluded=""), [line], [], report)
    table["excluded"] = ""
    failures: list[str] = []
    warnings = [_FEWER_COPIES] if len(table) > large.LARGE else []
    counted: dict[str, Any] = {}
    for check in checks(classes):
        rows = findings[check.name]
        policy = getattr(limits.offenders, check.name)
        if rows and policy == "keep" and check.name in UNUSABLE:
            policy = "exclude"
        if rows and policy == "exclude":
            table.loc[_to_exclude(table, check.name, rows), "excluded"] = check.name
        if rows:
            files = list(table["file"].iloc[rows])
            counted[check.name] = {"count": len(rows), "policy": policy, "files": files}
            (failures if policy == "fail" else warnings).append(_message(data.folder, check, files, policy))
    left = table[table["excluded"] == ""]
    counts, features = class_table(left, classes), feature_table(left, classes[0])
    for finding in judge_rest(judge, counts, features, limits):
        for row in finding.rows:
            line = _table_message(finding.check, counts, features, row, limits)
            (failures if finding.check == "min_per_class" else warnings).append(line)
    found = _report(data, table, counts, features, counted)
    return Verdict(table, failures, warnings, ValidationReport(**found, failures=failures, warnings=warnings))


def _to_exclude(table: pd.DataFrame, check: str, rows: list[int]) -> list[int]:
    """All offenders that are not excluded yet, but of near duplicates one copy stays."""
    left = [row for row in rows if not table["excluded"].iloc[row]]
    if check != "near_duplicate":
        return left
    copies = table["near_group"].iloc[left].duplicated()
    return [row for row, copy in zip(left, copies, strict=True) if copy]


def _message(folder: Path, check: Check, files: list[str], policy: str) -> str:
    named = ", ".join(files[:_NAMED]) + (f" and {len(files) - _NAMED} more" if len(files) > _NAMED else "")
    what = f"{check.name}: {len(files)} image{'s' if len(files) > 1 else ''} ({named}) in {folder}: {check.problem}"
    if policy == "exclude":
        return f"{what}; left out of training and evaluation"
    if policy == "keep":
        return f"{what}; kept"
    return f"{what}; {check.advice}, or set validate.offenders.{check.name} to exclude in params.yaml"


def _table_message(check: str, counts: pd.DataFrame, features: pd.DataFrame, row: int, limits: ValidateParams) -> str:
    if check == "shortcut":
        name, auroc = features["feature"].iloc[row], features["auroc"].iloc[row]
        return f"shortcut: {name} alone predicts a fracture with AUROC {auroc:.3f}; a model may learn it instead"
    label, images = counts["label"].iloc[row], counts["images"].iloc[row]
    if check == "class_imbalance":
        times = counts["times_smaller"].iloc[row]
        return f"class_imbalance: class {label} is {times:.1f} times smaller than the largest; weights may help"
    return (
        f"min_per_class: class {label} has {images} usable images, fewer than validate.min_per_class = "
        f"{limits.min_per_class}; add images, drop the class, or lower the limit in params.yaml"
    )


def _report(
    data: Dataset, table: pd.DataFrame, counts: pd.DataFrame, features: pd.DataFrame, counted: dict[str, Any]
) -> dict[str, Any]:
    excluded = table[table["excluded"] != ""]
    conflicts = table[table["conflict"] != ""]
    shared = table[table["near_duplicate"] == "yes"]
    return {
        "dataset": {"name": data.info.name, "version": data.info.version, "classes": list(data.info.classes)},
        "images": len(table),
        "usable": int((table["excluded"] == "").sum()),
        "classes": dict(zip(counts["label"], map(int, counts["images"]), strict=True)),
        "groups": int(table["group"].nunique()),
        "near_duplicate_groups": int(shared["near_group"].nunique()),
        "near_duplicate_images": len(shared),
        "families": _families(shared),
        "offenders": counted,
        "excluded": dict(zip(excluded["file"], excluded["excluded"], strict=True)),
        "conflicts": dict(zip(conflicts["file"], conflicts["conflict"], strict=True)),
        "features": {row.feature: row.auroc for row in features.itertuples()},
        "fracture_rates": {row.feature: row.fracture_rate for row in features.itertuples() if row.fracture_rate},
    }


def _families(shared: pd.DataFrame) -> list[list[str]]:
    """Files of the largest groups of near duplicates, those of equal size in the order of their names."""
    families = [sorted(files) for _, files in shared.groupby("near_group")["file"]]
    return sorted(families, key=lambda files: (-len(files), files))[:_FAMILIES]


def summary_html(verdict: Verdict) -> str:
    """The verdict as HTML, for the first page of the Data Docs."""
    lines = [f"<li class='text-danger'>{html.escape(line)}</li>" for line in verdict.failures]
    lines += [f"<li>{html.escape(line)}</li>" for line in verdict.warnings]
    found = verdict.report
    families = f"{found.near_duplicate_groups} families of near duplicates ({found.near_duplicate_images} images)"
    return f"<p>{found.images} images, {families}.</p><ul>{''.join(lines) or '<li>Nothing to report.</li>'}</ul>"
