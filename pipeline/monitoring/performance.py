"""How good the answers were where the truth has come back, what readers say, and an estimate where nobody does."""

from collections import Counter
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.evaluation import metrics
from pipeline.monitoring.window import Window, patient_of

Array = npt.NDArray[np.float64]

RESAMPLES = 500
FEWEST_TRUTHS = 20
"""Images with a truth below which nothing is measured."""
_SEED = 0
Measured = dict[str, float | None]


@dataclass(frozen=True)
class Agreement:
    """Opinions, one for each reader and answer; `share` is agreement among those who are sure, with its interval."""

    opinions: dict[str, int]
    share: Measured
    comments: dict[str, int]
    conflicts: int


@dataclass(frozen=True)
class Performance:
    """Measures on the images whose truth is known: value, low and high of the 95 % interval."""

    images: int
    fractured: int
    from_reports: int
    of_answers: float
    measures: dict[str, Measured]


@dataclass(frozen=True)
class Estimate:
    """What the calibrated probabilities of all answers promise, if they still hold."""

    images: int
    measures: dict[str, Measured]


def agreement(window: Window) -> Agreement:
    """What readers said of the window's answers."""
    said = [one for opinions in window.opinions.values() for one in opinions if one.source == "reader"]
    counts = Counter(one.opinion for one in said)
    return Agreement(
        opinions={opinion: counts[opinion] for opinion in ("agree", "disagree", "unsure")},
        share=_wilson(counts["agree"], counts["agree"] + counts["disagree"]),
        comments=dict(sorted(Counter(code for one in said for code in one.comments or ()).items())),
        conflicts=len(window.conflicts),
    )


def measured(window: Window) -> Performance | None:
    """Sensitivity, specificity, AUROC and calibration on the images with a truth; None for too few of these.

    Images of one patient, else of one study, are drawn together by the bootstrap.
    """
    rows = [row for row in window.answered if row.answer_id in window.truths]
    if len(rows) < FEWEST_TRUTHS:
        return None
    truths = [window.truths[row.answer_id] for row in rows]
    y = np.array([truth.fractured for truth in truths], np.int64)
    p = np.array([row.probability for row in rows], np.float64)
    positive = np.array([float(row.probability or 0) >= float(row.threshold or 0) for row in rows], np.float64)
    groups = np.array([patient_of(row) for row in rows])
    weights = metrics.bootstrap_weights(groups, RESAMPLES, _SEED)
    whole = np.ones((1, len(y)))

    def both(measure: metrics.Measure) -> Measured:
        return metrics.with_interval(measure(y, p, whole), measure(y, p, weights))

    def at_answer(of: int) -> metrics.Measure:
        # The threshold may have changed in between: what each answer said is what counts.
        return lambda labels, _, w: _share(w * (positive == of) * (labels == of), w * (labels == of))

    return Performance(
        images=len(rows),
        fractured=int(y.sum()),
        from_reports=sum(truth.from_report for truth in truths),
        of_answers=len(rows) / max(1, len(window.answered)),
        measures={
            "sensitivity": both(at_answer(1)),
            "specificity": both(at_answer(0)),
            "auroc": both(metrics.auroc),
            "brier": both(metrics.brier),
            "calibration_intercept": both(metrics.calibration_intercept),
            "calibration_slope": both(metrics.calibration_slope),
        },
    )


def estimated(window: Window) -> Estimate | None:
    """Sensitivity and specificity without any truth: each answer counts as fractured by its probability.

    Confidence-based performance estimation (Kivimaki et al., "Confidence-based Estimators for Predictive Performance in
    Model Monitoring", 2024). Holds while the calibration holds; a change of what a picture means goes unnoticed.
    """
    p = window.probabilities()
    if len(p) < FEWEST_TRUTHS:
        return None
    positive = np.array(
        [float(row.probability or 0) >= float(row.threshold or 0) for row in window.answered], np.float64
    )
    groups = np.array([patient_of(row) for row in window.answered])
    weights = metrics.bootstrap_weights(groups, RESAMPLES, _SEED)
    whole = np.ones((1, len(p)))
    expected = {
        "fractured": (p, np.ones(len(p))),
        "sensitivity": (p * positive, p),
        "specificity": ((1 - p) * (1 - positive), 1 - p),
        "accuracy": (p * positive + (1 - p) * (1 - positive), np.ones(len(p))),
    }
    return Estimate(
        images=len(p),
        measures={
            name: metrics.with_interval(_share(whole * top, whole * below), _share(weights * top, weights * below))
            for name, (top, below) in expected.items()
        },
    )


def _share(top: Array, below: Array) -> Array:
    total = below.sum(axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(total > 0, top.sum(axis=-1) / total, np.nan), np.float64)


def _wilson(successes: int, trials: int, z: float = 1.959964) -> Measured:
    """A share with Wilson's interval (1927); None where nothing was tried."""
    if not trials:
        return {"value": None, "low": None, "high": None}
    share, weight = successes / trials, z * z / trials
    centre = (share + weight / 2) / (1 + weight)
    half = z * np.sqrt(share * (1 - share) / trials + weight / (4 * trials)) / (1 + weight)
    return {"value": round(share, 4), "low": round(centre - half, 4), "high": round(centre + half, 4)}
