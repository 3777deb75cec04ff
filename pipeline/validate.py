"""Stage validate: whether a data set is fit to train on, and if not, which files are to blame.

Great Expectations judges three tables: one row per image, one per class, one per feature that might give the
label away. `params.yaml` (validate.offenders) says what an offending image leads to.
"""

import html
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.metrics import roc_auc_score

from pipeline import params
from pipeline.artifacts import Artifacts, ValidationReport
from pipeline.data import layout, pixel_cache, scan
from pipeline.data.data_docs import publish
from pipeline.data.layout import Dataset
from pipeline.data.pixel_cache import PixelWriter
from pipeline.errors import InputError, exit_with_line
from pipeline.files import atomic_folder, write_text
from pipeline.params import ValidateParams
from serving.guard import BLANK, COLOURFUL
from serving.imaging.canvas import Preprocessing
from serving.imaging.decode import MAX_PIXELS

UNUSABLE = ("missing_file", "empty_file", "undecodable", "too_many_pixels", "unlabelled_file", "unknown_class")
"""Offenders that nothing can be learnt from: the policy `keep` leaves them in data/, but not in training."""
_NAMED = 5
_UNLABELLED = "(no label)"


@dataclass(frozen=True)
class Check:
    """One question asked of every image: the faulty ones are those whose `column` is not among `allowed`."""

    name: str
    problem: str
    advice: str
    column: str
    allowed: Sequence[Any] | None = None
    minimum: float | None = None
    maximum: float | None = None


def checks(classes: Sequence[str]) -> list[Check]:
    """Every check on single images, in the order in which their findings are reported."""
    decoded = ["whole", "truncated", "empty", "oversized", "missing", "failed"]

    def without(*states: str) -> list[str]:
        return [state for state in decoded if state not in states]

    return [
        Check(
            "missing_file", "is in labels.csv but not on disk", "restore it or remove its row", "decoded",
            allowed=without("missing"),
        ),
        Check("empty_file", "is empty", "restore it or remove it with its row", "decoded", allowed=without("empty")),
        Check(
            "undecodable", "cannot be decoded", "replace it or remove it with its row", "decoded",
            allowed=without("failed"),
        ),
        Check(
            "too_many_pixels", f"has more than {MAX_PIXELS} pixels", "scale it down", "decoded",
            allowed=without("oversized"),
        ),
        Check(
            "unlabelled_file", "lies in images/ but has no row in labels.csv", "add a row or remove it", "listed",
            allowed=["yes"],
        ),
        Check(
            "unknown_class", "has a label that dataset.json does not name", "correct the label or the list of classes",
            "label", allowed=[*classes, _UNLABELLED],
        ),
        Check(
            "colour_photograph", "is a colour photograph", "remove it; radiographs are grey", "colourfulness",
            maximum=COLOURFUL,
        ),
        Check("blank", "shows nothing (one grey level)", "remove it", "contrast", minimum=BLANK),
        Check(
            "identical_opposite", "is byte-identical to an image with another label", "keep the right label only",
            "identical_opposite", allowed=["no"],
        ),
        Check(
            "truncated", "is cut short but can be decoded", "fetch it again if a whole copy exists", "decoded",
            allowed=without("truncated"),
        ),
        Check(
            "near_duplicate", "looks like another image (grouped with it, so never in another part)",
            "keep one of them if they are copies", "near_duplicate", allowed=["no"],
        ),
        Check(
            "near_opposite", "looks like an image with another label", "have both labels read again", "near_opposite",
            allowed=["no"],
        ),
        Check(
            "conflicting_metadata", "contradicts itself", "read its row's note and box", "conflict", allowed=[""],
        ),
    ]  # fmt: skip


def image_table(data: Dataset, correlation: float, writer: PixelWriter | None = None) -> pd.DataFrame:
    """One row per image on disk or in labels.csv: its label row, its scan, its groups and conflicts.

    Rows are sorted by file. `near_group` and `group` are the smallest image_id of the near-duplicate group and
    of everything that must stay in one part of a split (near duplicates, same patient, same study). `writer` takes the
    pixels, for preprocess.
    """
    labels = data.labels.copy()
    labels["listed"] = "yes"
    known = set(labels["file"])
    strays = [file for path in data.image_files() if (file := path.relative_to(data.folder).as_posix()) not in known]
    extra = pd.DataFrame({"image_id": strays, "file": strays})  # a path is never the image_id of a listed image
    table = pd.concat([labels, extra.assign(listed="no", label=_UNLABELLED)]).fillna("")
    table = table.sort_values("file", kind="stable").reset_index(drop=True)
    scans, thumbnails = scan.scan_files([data.folder / file for file in table["file"]], writer=writer)
    table = pd.concat([table, scans], axis=1)
    # A missing or unknown label contradicts no other.
    labels_known = table["label"].where(table["label"].isin(data.info.classes))
    return _with_conflicts(_with_groups(table, labels_known, thumbnails, correlation), data)


def _with_groups(
    table: pd.DataFrame, labels: pd.Series, thumbnails: npt.NDArray[np.float32], correlation: float
) -> pd.DataFrame:
    count = len(table)
    near = np.concatenate([scan.near_duplicates(thumbnails, correlation), scan.pairs_of_equal(table["sha256"])])
    kin = [near] + [scan.pairs_of_equal(table[key]) for key in ("patient_id", "study_id") if key in table.columns]
    table["near_group"] = _group_names(table["image_id"], scan.connected(count, near))
    table["group"] = _group_names(table["image_id"], scan.connected(count, np.concatenate(kin)))
    table["near_duplicate"] = _yes(table["near_group"].duplicated(keep=False))
    table["near_opposite"] = _yes(labels.groupby(table["near_group"]).transform("nunique") > 1)
    opposite = labels.groupby(table["sha256"]).transform("nunique") > 1
    table["identical_opposite"] = _yes(opposite & (table["sha256"] != ""))
    return table


def _group_names(image_ids: pd.Series, groups: npt.NDArray[np.int64]) -> pd.Series:
    return image_ids.groupby(groups).transform("min")


def _yes(condition: pd.Series) -> pd.Series:
    return condition.map({True: "yes", False: "no"})


def _with_conflicts(table: pd.DataFrame, data: Dataset) -> pd.DataFrame:
    """Add `boxes` (their number) and `conflict`: the source's own note, or a box on a normal image."""
    table["boxes"] = table["image_id"].map(data.boxes["image_id"].value_counts()).fillna(0).astype(int)
    note = table["note"] if "note" in table.columns else pd.Series("", index=table.index)
    boxed = (table["label"] == data.info.classes[0]) & (table["boxes"] > 0)
    table["conflict"] = note.where(note != "", boxed.map({True: "labelled normal, but has a box", False: ""}))
    return table


def class_table(table: pd.DataFrame, classes: Sequence[str]) -> pd.DataFrame:
    """Number of images left for each class (columns: label, images, times_smaller than the largest)."""
    counts = table["label"].value_counts().reindex(list(classes), fill_value=0)
    ratio = counts.max() / counts.clip(lower=1)
    return pd.DataFrame(
        {"label": counts.index, "images": counts.to_numpy(), "times_smaller": ratio.round(3).to_numpy()}
    )


_MEASURED = ("width", "height", "bytes", "bit_depth", "orientation", "mean", "contrast", "colourfulness")
_DESCRIBED = ("format", "mode", "region", "view", "hardware", "laterality", "source")
_NO_FEATURE = {
    "image_id", "file", "label", "patient_id", "study_id", "note", "listed", "decoded", "error", "sha256", "boxes",
    "perceptual_hash", "near_group", "group", "near_duplicate", "near_opposite", "identical_opposite", "conflict",
}  # fmt: skip


def feature_table(table: pd.DataFrame, normal: str) -> pd.DataFrame:
    """How well each single feature tells normal from fractured (columns: feature, auroc, fracture_rate).

    A number is ranked, a category is replaced by the fracture rate of its value; `position` is the place in the
    order of ids. 0.5 is chance; the direction does not count. Columns that describe the fracture itself
    (`fracture_...`) are no features.
    """
    fractured = (table["label"] != normal).to_numpy(int)
    if len(np.unique(fractured)) < 2:
        return pd.DataFrame({"feature": [], "auroc": [], "fracture_rate": []})
    further = [c for c in table.columns if c not in {*_NO_FEATURE, *_MEASURED, *_DESCRIBED}]
    categories = [c for c in (*_DESCRIBED, *further) if c in table.columns and not c.startswith("fracture")]
    rows = [("position", np.arange(len(table), dtype=float), "")]
    rows += [(name, table[name].to_numpy(float), "") for name in _MEASURED]
    for name in categories:
        rates = pd.Series(fractured).groupby(table[name].to_numpy()).agg(["mean", "size"])
        told = "; ".join(f"{value or '(empty)'}: {r['mean']:.3f} of {r['size']:.0f}" for value, r in rates.iterrows())
        if 1 < len(rates) <= 50:
            rows.append((name, table[name].map(rates["mean"]).to_numpy(float), told))
    scored = [(name, roc_auc_score(fractured, np.nan_to_num(values)), told) for name, values, told in rows]
    features = [(name, round(max(auroc, 1 - auroc), 4), told) for name, auroc, told in scored]
    return pd.DataFrame(features, columns=["feature", "auroc", "fracture_rate"])


@dataclass(frozen=True)
class Finding:
    """What one expectation found: the rows that failed it, by position in the judged table."""

    check: str
    rows: list[int]


class Judge:
    """Great Expectations over data frames, in a context of its own that leaves only Data Docs behind."""

    def __init__(self, folder: Path) -> None:
        os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
        import great_expectations as gx  # noqa: PLC0415  takes seconds; a mere import of this module must not
        from great_expectations.data_context.types.base import ProgressBarsConfig  # noqa: PLC0415

        self._gx = gx
        self._folder = folder
        self._context = gx.get_context(mode="file", project_root_dir=folder)
        self._context.variables.progress_bars = ProgressBarsConfig(globally=False)
        self._context.variables.save()
        self._source = self._context.data_sources.add_pandas("radiographs")

    def judge(self, name: str, table: pd.DataFrame, expectations: list[Any]) -> list[Finding]:
        """Run one suite over one table; each expectation's `meta` names its check."""
        gx = self._gx
        batch = self._source.add_dataframe_asset(name).add_batch_definition_whole_dataframe("all")
        suite = self._context.suites.add(gx.ExpectationSuite(name, expectations=expectations))
        definition = self._context.validation_definitions.add(
            gx.ValidationDefinition(name=name, data=batch, suite=suite)
        )
        checkpoint = gx.Checkpoint(
            name=name,
            validation_definitions=[definition],
            result_format={"result_format": "COMPLETE", "unexpected_index_column_names": ["row"]},
        )
        numbered = table.assign(row=range(len(table)))
        outcome = self._context.checkpoints.add(checkpoint).run(batch_parameters={"dataframe": numbered})
        findings = []
        for result in next(iter(outcome.run_results.values())).results:
            meta = result.expectation_config.meta if result.expectation_config else {}
            if _raised(result.exception_info):
                raise RuntimeError(f"expectation {meta} raised: {result.exception_info}")
            rows = [int(entry["row"]) for entry in result.result.get("unexpected_index_list") or []]
            if not result.success and not rows:
                rows = [-1]  # a statement about the whole table
            findings.append(Finding(meta["check"], rows))
        return findings

    def pages(self) -> dict[str, str]:
        """The Data Docs page of each suite that was run, in order of running; built at this call."""
        self._context.build_data_docs()
        site = self._folder / "gx" / "uncommitted" / "data_docs" / "local_site" / "validations"
        pages = {path.parts[len(site.parts)]: path.read_text(encoding="utf-8") for path in site.rglob("*.html")}
        return {name: pages[name] for name in ("images", "classes", "features") if name in pages}


def _raised(information: Mapping[str, Any]) -> bool:
    """Whether an expectation met an exception, of its own or of one of its metrics (which stands one level deeper)."""
    parts = [information, *(part for part in information.values() if isinstance(part, Mapping))]
    return any(part.get("raised_exception") for part in parts)


def _expectation(check: Check, policy: str) -> Any:
    import great_expectations.expectations as gxe  # noqa: PLC0415  as in Judge

    common: dict[str, Any] = {
        "column": check.column,
        "severity": "critical" if policy == "fail" else "warning",
        "meta": {"check": check.name},
        "notes": f"A file that {check.problem}: {policy}. {check.advice[:1].upper()}{check.advice[1:]}.",
    }
    if check.allowed is not None:
        return gxe.ExpectColumnValuesToBeInSet(value_set=list(check.allowed), **common)
    return gxe.ExpectColumnValuesToBeBetween(min_value=check.minimum, max_value=check.maximum, **common)


def judge_images(
    judge: Judge, table: pd.DataFrame, classes: Sequence[str], offenders: params.Offenders
) -> list[Finding]:
    """Which images fail which check; an empty table is a finding of its own."""
    import great_expectations.expectations as gxe  # noqa: PLC0415  as in Judge

    suite = [
        gxe.ExpectTableRowCountToBeBetween(min_value=1, meta={"check": "empty_table"}),
        *(_expectation(check, getattr(offenders, check.name)) for check in checks(classes)),
    ]
    return judge.judge("images", table, suite)


def judge_rest(judge: Judge, counts: pd.DataFrame, features: pd.DataFrame, limits: ValidateParams) -> list[Finding]:
    """Too small or too unequal classes, and features that give the label away."""
    import great_expectations.expectations as gxe  # noqa: PLC0415  as in Judge

    def between(check: str, severity: Any, column: str, low: float | None, high: float | None) -> Any:
        return gxe.ExpectColumnValuesToBeBetween(
            column=column, min_value=low, max_value=high, severity=severity, meta={"check": check}
        )

    findings = judge.judge(
        "classes",
        counts,
        [
            between("min_per_class", "critical", "images", limits.min_per_class, None),
            between("class_imbalance", "warning", "times_smaller", None, limits.imbalance_ratio),
        ],
    )
    if len(features):
        shortcut = between("shortcut", "warning", "auroc", None, limits.shortcut_auroc)
        findings += judge.judge("features", features, [shortcut])
    return findings


@dataclass(frozen=True)
class Verdict:
    """What validation decided: the judged table with its `excluded` column, messages and the report."""

    table: pd.DataFrame
    failures: list[str]
    warnings: list[str]
    report: ValidationReport


def validate(data: Dataset, limits: ValidateParams, judge: Judge, writer: PixelWriter | None = None) -> Verdict:
    """Judge a data set; raises nothing for what it finds, that is for the caller to act on."""
    table = image_table(data, limits.near_duplicate_correlation, writer)
    classes = data.info.classes
    findings = {f.check: f.rows for f in judge_images(judge, table, classes, limits.offenders)}
    if findings.pop("empty_table"):
        line = f"{data.folder}: holds no image; fill it with `fracture data ...`"
        return Verdict(table.assign(excluded=""), [line], [], ValidationReport(images=0, failures=[line], warnings=[]))
    table["excluded"] = ""
    failures: list[str] = []
    warnings: list[str] = []
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
        "offenders": counted,
        "excluded": dict(zip(excluded["file"], excluded["excluded"], strict=True)),
        "conflicts": dict(zip(conflicts["file"], conflicts["conflict"], strict=True)),
        "features": {row.feature: row.auroc for row in features.itertuples()},
        "fracture_rates": {row.feature: row.fracture_rate for row in features.itertuples() if row.fracture_rate},
    }


def _summary_html(verdict: Verdict) -> str:
    lines = [f"<li class='text-danger'>{html.escape(line)}</li>" for line in verdict.failures]
    lines += [f"<li>{html.escape(line)}</li>" for line in verdict.warnings]
    return f"<p>{verdict.report.images} images.</p><ul>{''.join(lines) or '<li>Nothing to report.</li>'}</ul>"


def main() -> None:
    """Read data/, write reports/images.csv, reports/validation.json and reports/data_docs/."""
    paths = Artifacts()
    options = params.load(paths.params)
    limits = options.validate_
    preprocessing = Preprocessing.from_dict(options.preprocess.model_dump())
    data = layout.read(paths.data)
    scratch = Path(tempfile.mkdtemp(prefix="fracture-validate-"))
    try:
        judge = Judge(scratch)
        with pixel_cache.filling(preprocessing) as writer:
            verdict = validate(data, limits, judge, writer)
        with atomic_folder(paths.data_docs) as docs:
            publish(judge.pages(), _summary_html(verdict), docs)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    verdict.report.write(paths.validation)
    for line in verdict.warnings:
        print(f"warning: {line}")
    if verdict.failures:
        raise InputError("\nerror: ".join(verdict.failures))
    write_text(paths.images, verdict.table.to_csv(index=False, lineterminator="\n"))
    print(f"validated {verdict.report.images} images, {verdict.report.usable} usable; see {paths.data_docs}")


if __name__ == "__main__":
    exit_with_line(main)
