"""Measures of a classifier: arrays in, numbers out.

`y` is 1 for fractured and 0 for normal, int (n,); `p` a score or probability of a fracture, float (n,). Every
measure takes `w`, weights float (..., n) that broadcast: rows of resampling counts give one value a row, so that
a bootstrap is one call. A measure that is undefined (no fractured image in a resample, say) is NaN.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar

from pipeline.params import EvaluateParams
from serving.decision import Calibration, Decision, LogisticCalibration, TemperatureCalibration, logit, sigmoid

Array = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]
Measure = Callable[[Labels, Array, Array], Array]

_EPS = 1e-7
ECE_BINS = 10


def _ratio(numerator: Any, denominator: Any) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(denominator > 0, numerator / denominator, np.nan), np.float64)


def _curve(y: Labels, p: Array, w: Array) -> tuple[Array, Array, Array]:
    """Weighted true and false positives at each different score, from the highest down, and the scores."""
    order = np.argsort(-p, kind="stable")
    sorted_p = p[order]
    last_of_tie = np.append(np.flatnonzero(np.diff(sorted_p)), len(p) - 1)
    positives = np.cumsum(w[..., order] * y[order], axis=-1)[..., last_of_tie]
    negatives = np.cumsum(w[..., order] * (1 - y[order]), axis=-1)[..., last_of_tie]
    return positives, negatives, sorted_p[last_of_tie]


def auroc(y: Labels, p: Array, w: Array) -> Array:
    """Area under the ROC curve (trapezoids, so ties count half)."""
    tp, fp, _ = _curve(y, p, w)
    before = np.concatenate([np.zeros((*tp.shape[:-1], 1)), tp[..., :-1]], axis=-1)
    steps = np.diff(fp, axis=-1, prepend=0)
    return _ratio((steps * (tp + before) / 2).sum(axis=-1), tp[..., -1] * fp[..., -1])


def average_precision(y: Labels, p: Array, w: Array) -> Array:
    """Sum of precision over the steps of recall, without interpolation (as in scikit-learn)."""
    tp, fp, _ = _curve(y, p, w)
    precision = np.nan_to_num(_ratio(tp, tp + fp))
    gained = np.diff(tp, axis=-1, prepend=0)
    return _ratio((gained * precision).sum(axis=-1), tp[..., -1])


def brier(y: Labels, p: Array, w: Array) -> Array:
    """Mean squared distance of probability and outcome."""
    return _ratio((w * (p - y) ** 2).sum(axis=-1), w.sum(axis=-1))


def expected_calibration_error(y: Labels, p: Array, w: Array, bins: int = ECE_BINS) -> Array:
    """Mean distance of mean probability and observed rate over equally wide bins, weighted by their images."""
    index = np.minimum((p * bins).astype(int), bins - 1)
    distance = np.zeros(w.shape[:-1])
    for number in range(bins):
        chosen = index == number
        distance = distance + np.abs((w[..., chosen] * (p[chosen] - y[chosen])).sum(axis=-1))
    return _ratio(distance, w.sum(axis=-1))


def calibration_intercept(y: Labels, p: Array, w: Array) -> Array:
    """Shift of the log odds that makes the mean probability equal the observed rate: 0 is ideal.

    Calibration in the large, the slope held at 1 (Van Calster et al., BMC Medicine 17:230, 2019).
    """
    x = logit(p)
    shift = np.zeros(w.shape[:-1])
    for _ in range(30):
        q = sigmoid(x + shift[..., None])
        slope = np.maximum((w * q * (1 - q)).sum(axis=-1), 1e-12)
        shift = shift + np.clip((w * (y - q)).sum(axis=-1) / slope, -2, 2)
    return np.where(_has_both(y, w), shift, np.nan)


def calibration_slope(y: Labels, p: Array, w: Array) -> Array:
    """Slope of a logistic regression of the outcome on the log odds: 1 is ideal, below 1 is overconfident."""
    slope, _ = _logistic(y.astype(np.float64), logit(p), w)
    return np.where(_has_both(y, w), slope, np.nan)


def _has_both(y: Labels, w: Array) -> npt.NDArray[np.bool_]:
    return np.asarray(((w * y).sum(axis=-1) > 0) & ((w * (1 - y)).sum(axis=-1) > 0), np.bool_)


def _logistic(target: Array, x: Array, w: Array) -> tuple[Array, Array]:
    """Slope and bias of weighted logistic regressions on one variable, by damped Newton steps."""
    slope, bias = np.ones(w.shape[:-1]), np.zeros(w.shape[:-1])
    for _ in range(50):
        q = sigmoid(slope[..., None] * x + bias[..., None])
        curvature, residual = w * q * (1 - q), w * (target - q)
        a, b, c = (curvature * x * x).sum(-1) + 1e-9, (curvature * x).sum(-1), curvature.sum(-1) + 1e-9
        g, h = (residual * x).sum(-1), residual.sum(-1)
        determinant = np.maximum(a * c - b * b, 1e-12)
        slope = slope + np.clip((c * g - b * h) / determinant, -1, 1)
        bias = bias + np.clip((a * h - b * g) / determinant, -1, 1)
    return slope, bias


def counts_at(y: Labels, p: Array, w: Array, threshold: float) -> tuple[Array, Array, Array, Array]:
    """Weighted true positives, false positives, true negatives, false negatives of `p >= threshold`."""
    positive = p >= threshold
    tp, fp = (w * (positive & (y == 1))).sum(-1), (w * (positive & (y == 0))).sum(-1)
    tn, fn = (w * (~positive & (y == 0))).sum(-1), (w * (~positive & (y == 1))).sum(-1)
    return tp, fp, tn, fn


def at_threshold(y: Labels, p: Array, w: Array, threshold: float) -> dict[str, Array]:
    """Accuracy, precision, recall (= sensitivity), specificity and F1 of `p >= threshold`."""
    tp, fp, tn, fn = counts_at(y, p, w, threshold)
    return {
        "accuracy": _ratio(tp + tn, tp + fp + tn + fn),
        "precision": _ratio(tp, tp + fp),
        "recall": _ratio(tp, tp + fn),
        "sensitivity": _ratio(tp, tp + fn),
        "specificity": _ratio(tn, tn + fp),
        "f1": _ratio(2 * tp, 2 * tp + fp + fn),
    }


MEASURES: Mapping[str, Measure] = {
    "auroc": auroc,
    "average_precision": average_precision,
    "brier": brier,
    "calibration_slope": calibration_slope,
    "calibration_intercept": calibration_intercept,
    "expected_calibration_error": expected_calibration_error,
}
"""Every metric that needs no threshold, by name: one that is added here is in metrics.json, its tables and MLflow."""


def bootstrap_weights(groups: npt.NDArray[Any], resamples: int, seed: int) -> Array:
    """How often each item is drawn when whole groups are drawn with replacement; float64 (resamples, n)."""
    _, group = np.unique(groups, return_inverse=True)
    count = int(group.max()) + 1
    drawn = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=resamples)
    return np.asarray(drawn[:, group], np.float64)


def interval(values: Array, level: float = 0.95) -> tuple[float, float]:
    """Percentile interval of bootstrap values, undefined ones left out."""
    usable = values[np.isfinite(values)]
    if not len(usable):
        return float("nan"), float("nan")
    low, high = np.quantile(usable, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def with_interval(value: Array, spread: Array) -> dict[str, float | None]:
    """A measure (1,) with the 95 % interval of its bootstrap values, to four places; None where undefined."""
    low, high = interval(spread)
    return {"value": number(value[0]), "low": number(low), "high": number(high)}


def number(value: float) -> float | None:
    """To four places, for JSON; None where undefined."""
    return round(float(value), 4) if np.isfinite(value) else None


def decide(scores: Array, classes: Labels, options: EvaluateParams, threshold: float | None = None) -> Decision:
    """Choose calibration and operating points on scores (n, 1 or classes) and class numbers (n,), 0 = normal.

    The threshold is that of params.yaml unless one is given.
    """
    threshold = options.threshold if threshold is None else threshold
    calibration = fit_calibration(scores, classes)
    p = np.asarray(1 - calibration.apply(scores)[:, 0], np.float64)
    y = (classes > 0).astype(np.int64)
    return Decision(
        calibration=calibration,
        threshold=threshold,
        # Not above the threshold: an image answered as a fracture is not one to be ruled out.
        high_sensitivity=min(threshold_for_sensitivity(y, p, options.target_sensitivity), threshold),
        high_specificity=threshold_for_specificity(y, p, options.target_specificity),
        best_accuracy=best_accuracy_threshold(y, p),
    )


def fit_calibration(scores: Array, classes: Labels) -> Calibration:
    """Fit on validation scores (n, 1) or (n, classes).

    Outcomes are pulled in by Platt's (N+1)/(N+2) (1999), so that separable scores keep a finite slope; the
    slope is at least 0.01, so that the order of images never turns.
    """
    if scores.shape[1] == 1:
        positives, negatives = int(classes.sum()), int(len(classes) - classes.sum())
        target = np.where(classes == 1, (positives + 1) / (positives + 2), 1 / (negatives + 2))
        slope, bias = _logistic(target, logit(scores[:, 0]), np.ones(len(classes)))
        return LogisticCalibration(max(float(slope), 0.01), float(bias))

    def loss(log_temperature: float) -> float:
        p = TemperatureCalibration(float(np.exp(log_temperature))).apply(scores)
        return float(-np.log(np.clip(p[np.arange(len(classes)), classes], _EPS, 1)).mean())

    best = minimize_scalar(loss, bounds=(-3, 3), method="bounded")
    return TemperatureCalibration(float(np.exp(best.x)))


def threshold_for_sensitivity(y: Labels, p: Array, target: float) -> float:
    """The highest threshold whose sensitivity is at least `target`, halfway to the next lower score."""
    tp, _, scores = _curve(y, p, np.ones(len(y)))
    index = int(np.argmax(tp >= target * tp[-1] - 1e-9))
    return _halfway(scores, index)


def threshold_for_specificity(y: Labels, p: Array, target: float) -> float:
    """The lowest threshold whose specificity is at least `target`, halfway to the next lower score.

    Just above the highest score, hence perhaps above 1, when even that one belongs to too many normal images.
    """
    _, fp, scores = _curve(y, p, np.ones(len(y)))
    allowed = np.flatnonzero(fp <= (1 - target) * fp[-1] + 1e-9)
    return _halfway(scores, int(allowed[-1])) if len(allowed) else float(scores[0] + _EPS)


def _halfway(scores: Array, index: int) -> float:
    below = scores[index + 1] if index + 1 < len(scores) else 0.0
    return float((scores[index] + below) / 2)


def best_accuracy_threshold(y: Labels, p: Array) -> float:
    """The threshold with the highest accuracy, the highest such one, halfway to the next lower score."""
    tp, fp, scores = _curve(y, p, np.ones(len(y)))
    right = tp + (fp[-1] - fp)
    index = int(np.argmax(right))
    return _halfway(scores, index) if right[index] > fp[-1] else 1.0


def sensitivity_at_specificity(y: Labels, p: Array, w: Array, specificity: float) -> Array:
    """Highest sensitivity on the ROC curve with at least this specificity."""
    tp, fp, _ = _curve(y, p, w)
    allowed = fp <= (1 - specificity) * fp[..., -1:] + 1e-9
    return _ratio(np.where(allowed, tp, 0).max(axis=-1), tp[..., -1])


def specificity_at_sensitivity(y: Labels, p: Array, w: Array, sensitivity: float) -> Array:
    """Highest specificity on the ROC curve with at least this sensitivity."""
    tp, fp, _ = _curve(y, p, w)
    reached = tp >= sensitivity * tp[..., -1:] - 1e-9
    return 1 - _ratio(np.where(reached, fp, np.inf).min(axis=-1), fp[..., -1])


def roc_points(y: Labels, p: Array) -> tuple[Array, Array, Array]:
    """False-positive rate, true-positive rate and threshold of each point of the ROC curve, from (0, 0)."""
    tp, fp, scores = _curve(y, p, np.ones(len(y)))
    return (
        np.append(0.0, fp / max(fp[-1], 1)),
        np.append(0.0, tp / max(tp[-1], 1)),
        np.append(1.0, scores),
    )


def precision_recall_points(y: Labels, p: Array) -> tuple[Array, Array, Array]:
    """Recall, precision and threshold at each different score."""
    tp, fp, scores = _curve(y, p, np.ones(len(y)))
    return tp / max(tp[-1], 1), tp / (tp + fp), scores


def reliability_points(y: Labels, p: Array, bins: int = ECE_BINS) -> list[tuple[float, float, int]]:
    """Mean probability, observed rate and number of images of each bin that has any."""
    index = np.minimum((p * bins).astype(int), bins - 1)
    chosen = [index == number for number in range(bins)]
    return [(float(p[c].mean()), float(y[c].mean()), int(c.sum())) for c in chosen if c.any()]


def simulated_calibration_error(p: Array, resamples: int, seed: int) -> Array:
    """Expected calibration errors of a perfectly calibrated model with these probabilities; (resamples,)."""
    rng = np.random.default_rng(seed)
    ones = np.ones(len(p))
    draws = (rng.random((resamples, len(p))) < p).astype(np.int64)
    return np.array([expected_calibration_error(draw, p, ones) for draw in draws], np.float64)


def wilson(hits: int, total: int) -> dict[str, float | None]:
    """Share with Wilson's 95 % score interval."""
    if not total:
        return {"value": None, "low": None, "high": None}
    z, share = 1.959964, hits / total
    centre = (share + z**2 / (2 * total)) / (1 + z**2 / total)
    half = z / (1 + z**2 / total) * np.sqrt(share * (1 - share) / total + z**2 / (4 * total**2))
    return {"value": number(share), "low": number(centre - half), "high": number(centre + half)}
