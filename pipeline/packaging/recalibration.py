"""Fit calibration and operating points to labelled images of another site, and write a bundle that says so."""

import re
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from pipeline.data import deidentify, layout
from pipeline.data.scan import connected, pairs_of_equal
from pipeline.data.sources.folder import order_classes
from pipeline.data.split import assign_groups
from pipeline.errors import InputError
from pipeline.evaluation import metrics
from pipeline.evaluation.metrics import Array, Labels
from pipeline.files import atomic_folder, require_replaceable
from pipeline.params import EvaluateParams
from pipeline.progress import progress_bar
from pipeline.quiet import quiet_import
from serving import bundle, scoring
from serving.bundle import Bundle, Manifest
from serving.decision import Calibration, Decision, LogisticCalibration, TemperatureCalibration, logit
from serving.predictor import Prediction, Predictor
from serving.scoring import File
from serving.statistics import Reference

SMALLEST_CLASS = 10
"""Images of a class below which nothing is fitted."""
TRAINED_ON = "trained_on"
"""Reason for leaving out an image that the model was trained on or chosen with."""
_MOST_FOLDS = 5
_POINTS = ("threshold", "high_sensitivity", "high_specificity")
_MARK = re.compile(r"\+site(\d*)$")
NOTE = (
    "after: cross-fitted, every image judged by calibration and operating points that were fitted without its group; "
    "what the bundle holds was fitted on all images. Intervals: 95 %, bootstrap over groups, the fits held fixed."
)


@dataclass(frozen=True)
class Site:
    """Labelled images of a site: files, class number of the model and what is known of the patient for each."""

    name: str
    files: tuple[File, ...]
    classes: Labels
    kin: pd.DataFrame


@dataclass(frozen=True)
class Scores:
    """What the network says of the images it answers: raw scores (n, 1 or classes), class numbers and groups (n,)."""

    raw: Array
    classes: Labels
    groups: npt.NDArray[np.int64]
    refused: dict[str, int]

    @property
    def fractured(self) -> Labels:
        """1 for every image with a fracture of any type."""
        return np.asarray(self.classes > 0, np.int64)


def read_site(folder: Path, model_classes: Sequence[str], normal: str | None = None) -> Site:
    """Labelled images in the layout of data/, or in a folder of class-named folders.

    `normal` names the normal class of the latter where its name does not say so. Raises InputError when the folder
    holds neither, for a label that is none of the model's classes, and for too few images of a class.
    """
    if not folder.is_dir():
        raise InputError(
            f"--data {folder}: is no folder; give one in the layout of data/, or with one folder per class"
        )
    if (folder / "dataset.json").is_file() or (folder / "labels.csv").is_file():
        site = _read_layout(folder, model_classes)
    else:
        site = _read_class_folders(folder, model_classes, normal)
    _check_counts(site.classes, model_classes, f"--data {folder}: holds")
    return site


def _read_layout(folder: Path, model_classes: Sequence[str]) -> Site:
    data = layout.read(folder)
    for row, label in enumerate(data.labels["label"], start=2):
        if label not in data.info.classes:
            known = ", ".join(data.info.classes)
            raise InputError(f"{folder / 'labels.csv'}: row {row}: label {label!r} is none of {known}; correct it")
    numbers = _class_numbers(data.info.classes, model_classes, folder)
    files = tuple(File(str(folder / file), file, file) for file in data.labels["file"])
    kin = pd.DataFrame(
        {column: data.labels[column] if column in data.labels.columns else "" for column in ("patient_id", "study_id")},
        index=data.labels.index,
    )
    title = f"{data.info.name} {data.info.version}"
    return Site(title, files, np.array([numbers[label] for label in data.labels["label"]], np.int64), kin)


def _read_class_folders(folder: Path, model_classes: Sequence[str], normal: str | None) -> Site:
    names = sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    found = {name: scoring.find([folder / name]).files for name in names}
    labels = [name for name in names for _ in found[name]]
    numbers = _class_numbers(order_classes(labels, normal, folder), model_classes, folder)
    files = tuple(file for name in names for file in found[name])
    kin = pd.DataFrame([_identity(file) for file in files], columns=["patient_id", "study_id"])
    return Site(folder.resolve().name, files, np.array([numbers[label] for label in labels], np.int64), kin)


def _identity(file: File) -> dict[str, str]:
    """Patient and study of a DICOM file, to group by; they are written nowhere."""
    try:
        return deidentify.dicom_identity(Path(file.path)) if Path(file.path).is_file() else {}
    except OSError:
        return {}  # scoring says what is wrong with it


def _class_numbers(own: Sequence[str], model_classes: Sequence[str], folder: Path) -> dict[str, int]:
    """Class name of the site, the normal one first -> class number of the model, in which any fracture may be one."""
    if len(model_classes) == 2:
        return {name: min(number, 1) for number, name in enumerate(own)}
    numbers = {name: number for number, name in enumerate(model_classes)}
    strange = [name for name in own[1:] if numbers.get(name, 0) == 0]
    if strange:
        raise InputError(
            f"--data {folder}: {', '.join(strange)}: is no class of the model, which tells apart "
            f"{', '.join(model_classes)}; name the classes like these"
        )
    return {own[0]: 0, **{name: numbers[name] for name in own[1:]}}


def _check_counts(classes: Labels, names: Sequence[str], what: str) -> None:
    counts = np.bincount(classes, minlength=len(names))
    few = [f"{count} of {name}" for name, count in zip(names, counts, strict=True) if count < SMALLEST_CLASS]
    if few:
        raise InputError(
            f"{what} too few images ({', '.join(few)}); at least {SMALLEST_CLASS} of each class are needed"
        )


def score_site(opened: Bundle, site: Site) -> Scores:
    """Pass the images through the bundle's guard and network, with progress.

    Images that the model was trained on or chosen with are left out: on them every model looks better than it is.
    Images of one patient or study, and identical files, are one group. Raises InputError when too few images of a
    class are left, and for identical files of two classes.
    """
    predictor = Predictor(replace(opened, decision=_without_calibration(opened.decision)))
    with quiet_import():  # LiteRT announces its first interpreter
        predictor.warm_up()
    raw: list[list[float]] = []
    hashes: list[str] = []
    rows: list[int] = []
    refused: Counter[str] = Counter()

    def keep(_: File, found: Prediction) -> tuple[list[float], str, bool]:
        return list(found.probabilities.values()), found.sha256, opened.reference.knows(found.canvas)

    answers = scoring.score(predictor, site.files, keep)
    with progress_bar("recalibrate: scoring", len(site.files)) as advance:
        for row, answer in enumerate(answers):
            if answer.kept is None:
                refused[answer.error.code if answer.error else "internal"] += 1
            elif answer.kept[2]:
                refused[TRAINED_ON] += 1
            else:
                raw.append(answer.kept[0])
                hashes.append(answer.kept[1])
                rows.append(row)
            advance()
    classes = site.classes[rows]
    left = f"--data: {len(rows)} of {len(site.files)} images are left (left out: {listed(refused)})"
    _check_counts(classes, opened.manifest.classes, f"{left}; these are")
    _check_contradictions(pd.Series(hashes), classes, [site.files[row].name for row in rows])
    binary = len(opened.manifest.classes) == 2
    scores = np.array(raw, np.float64)
    return Scores(scores[:, 1:] if binary else scores, classes, _groups(site.kin.iloc[rows], hashes), dict(refused))


def _without_calibration(decision: Decision) -> Decision:
    """A decision whose probabilities are the network's raw scores."""
    none: Calibration = (
        LogisticCalibration(1.0, 0.0)
        if isinstance(decision.calibration, LogisticCalibration)
        else TemperatureCalibration(1.0)
    )
    return replace(decision, calibration=none)


def listed(refused: Mapping[str, int]) -> str:
    """How many images were left out, by reason, for a person."""
    return ", ".join(f"{count} {code}" for code, count in sorted(refused.items())) or "none"


def _check_contradictions(hashes: pd.Series, classes: Labels, names: Sequence[str]) -> None:
    several = pd.Series(classes).groupby(hashes).transform("nunique") > 1
    if several.any():
        first, second, *_ = (names[int(row)] for row in np.flatnonzero(hashes == hashes[several.to_numpy()].iloc[0]))
        raise InputError(f"{first} and {second} are the same file with two labels; keep the right one")


def _groups(kin: pd.DataFrame, hashes: list[str]) -> npt.NDArray[np.int64]:
    columns = [kin[name].fillna("").reset_index(drop=True) for name in kin.columns]
    pairs = [pairs_of_equal(column) for column in (*columns, pd.Series(hashes))]
    return connected(len(hashes), np.concatenate(pairs))


def folds_of(scores: Scores, seed: int) -> npt.NDArray[np.int64]:
    """Fold number of each image: whole groups, at most five folds, each class both in and outside of every fold.

    Raises InputError when not even two folds are possible.
    """
    kinds = len(np.unique(scores.classes))
    for count in range(_MOST_FOLDS, 1, -1):
        folds = assign_groups(scores.classes, scores.groups, [1 / count] * count, seed)
        outside = [len(np.unique(scores.classes[folds != number])) for number in range(count)]
        if min(outside) == kinds and len(np.unique(folds)) == count:
            return folds
    raise InputError("--data: the images of a class come from one patient; images of several are needed to measure")


def cross_fitted(
    scores: Scores, folds: npt.NDArray[np.int64], options: EvaluateParams, threshold: float
) -> tuple[Array, dict[str, npt.NDArray[np.bool_]]]:
    """Probabilities of a fracture (n,), and for each of _POINTS which of them lie above it, by fits on other folds."""
    p = np.zeros(len(folds))
    above = {name: np.zeros(len(folds), bool) for name in _POINTS}
    for number in np.unique(folds):
        own = folds == number
        decision = metrics.decide(scores.raw[~own], scores.classes[~own], options, threshold)
        p[own] = decision.fracture_probability(scores.raw[own])
        for name in _POINTS:
            above[name][own] = p[own] >= getattr(decision, name)
    return p, above


def measure(
    scores: Scores, p: Array, above: Mapping[str, npt.NDArray[np.bool_]], options: EvaluateParams
) -> dict[str, Any]:
    """Every measure with its 95 % interval by bootstrap over groups: {name: {value, low, high}}, nested."""
    y, ones = scores.fractured, np.ones((1, len(p)))
    weights = metrics.bootstrap_weights(scores.groups, options.bootstrap, options.seed)
    found: dict[str, Any] = {
        name: metrics.with_interval(function(y, p, ones), function(y, p, weights))
        for name, function in metrics.MEASURES.items()
    }
    for name, positive in above.items():
        answers = positive.astype(np.float64)
        value, spread = (metrics.at_threshold(y, answers, w, 0.5) for w in (ones, weights))
        found[f"at_{name}"] = {
            key: metrics.with_interval(value[key], spread[key]) for key in ("accuracy", "sensitivity", "specificity")
        }
    return found


@dataclass(frozen=True)
class Refit:
    """The new decision, and the metrics before and after with what a reader has to know of them."""

    decision: Decision
    quality: dict[str, Any]


def refit(scores: Scores, before: Decision, options: EvaluateParams) -> Refit:
    """Fit on all images, measure before and, cross-fitted, after."""
    p = before.fracture_probability(scores.raw)
    folds = folds_of(scores, options.seed)
    quality = {
        "note": NOTE,
        "folds": len(np.unique(folds)),
        "groups": len(np.unique(scores.groups)),
        "refused": scores.refused,
        "before": measure(scores, p, {name: p >= getattr(before, name) for name in _POINTS}, options),
        "after": measure(scores, *cross_fitted(scores, folds, options, before.threshold), options),
    }
    return Refit(metrics.decide(scores.raw, scores.classes, options, before.threshold), quality)


def recalibrated_version(version: str) -> str:
    """`3` -> `3+site`; once more -> `3+site2`, `3+site3`, ..."""
    found = _MARK.search(version)
    return f"{version}+site" if found is None else f"{version[: found.start()]}+site{int(found[1] or 1) + 1}"


def write_bundle(opened: Bundle, site: Site, scores: Scores, fitted: Refit, target: Path) -> Manifest:
    """Write the bundle with a new decision into `target`, whole or not at all; the old bundle stays as it is."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    facts = opened.manifest.model_dump(mode="json", exclude={"files", "digest", "schema_version"})
    facts |= {
        **fitted.decision.to_dict(),
        "version": recalibrated_version(opened.manifest.version),
        "origin": {**facts["origin"], "packaged_at": now},
        # What the release said of itself holds for its own operating points.
        "quality": {name: value for name, value in facts["quality"].items() if name != "change_plan"},
        "recalibrated": {
            "at": now,
            "images": len(scores.classes),
            "fractured": int(scores.fractured.sum()),
            "data": site.name,
            "quality": fitted.quality,
        },
    }
    with atomic_folder(target) as partial:
        for name in opened.manifest.files:
            (partial / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(opened.folder / name, partial / name)
        _recalibrated_reference(opened, fitted.decision).save(partial / bundle.REFERENCE)
        bundle.write(partial, facts)
        return bundle.read(partial, unsigned=True).manifest


def _recalibrated_reference(opened: Bundle, decision: Decision) -> Reference:
    """What training looked like, its probabilities as the new calibration gives them: drift is measured from them.

    Several classes have no such rule for the probability of a fracture alone; theirs stay.
    """
    old, new = opened.decision.calibration, decision.calibration
    if not (isinstance(old, LogisticCalibration) and isinstance(new, LogisticCalibration)):
        return opened.reference
    raw = metrics.sigmoid((logit(opened.reference.scores) - old.bias) / old.slope)
    return replace(opened.reference, scores=new.apply(raw[:, np.newaxis])[:, 1])


def check_target(target: Path, opened: Bundle) -> None:
    """Refuse a folder that is, holds or lies in the old bundle, or holds anything but a bundle."""
    new, old = target.resolve(), opened.folder.resolve()
    if new.is_relative_to(old) or old.is_relative_to(new):
        raise InputError(f"--output {target}: would replace the bundle {opened.folder}; name another folder")
    require_replaceable(target, bundle.MANIFEST, "a bundle")


def summary(quality: Mapping[str, Any]) -> list[str]:
    """The metrics before and after, as rows for a person."""
    names = {
        "auroc": "AUROC",
        "brier": "Brier score",
        "calibration_slope": "calibration slope",
        "calibration_intercept": "calibration intercept",
        "expected_calibration_error": "calibration error",
    }
    points = {
        "threshold": "threshold",
        "high_sensitivity": "high-sensitivity point",
        "high_specificity": "high-specificity point",
    }
    figures = {text: [quality[when][key] for when in ("before", "after")] for key, text in names.items()}
    for point, text in points.items():
        for key in ("sensitivity", "specificity"):
            figures[f"{key} at the {text}"] = [quality[when][f"at_{point}"][key] for when in ("before", "after")]
    lines = [f"{'':<41}  {'before':<24}  after"]
    return lines + [f"{text:<41}  {_figure(old):<24}  {_figure(new)}" for text, (old, new) in figures.items()]


def _figure(measured: Mapping[str, float | None]) -> str:
    value, low, high = (measured[key] for key in ("value", "low", "high"))
    if value is None or low is None or high is None:
        return "undefined" if value is None else f"{value:.3f}"
    return f"{value:.3f} ({low:.3f} to {high:.3f})"
