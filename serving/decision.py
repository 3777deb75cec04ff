"""From a network's raw scores to an answer: calibration, operating points, label and suspicion."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Suspicion = Literal["none", "possible", "high"]

NORMAL, SUSPICIOUS, FRACTURED = "Normal", "Normal, but suspicious", "Fracture detected"
LABELS = (NORMAL, SUSPICIOUS, FRACTURED)
"""By rising probability. What lies below the threshold, but scores as few normal images do, never is plain NORMAL."""

_EPS = 1e-7


def logit(p: npt.ArrayLike) -> Array:
    """Log odds; p is kept 1e-7 away from 0 and 1."""
    clipped = np.clip(np.asarray(p, np.float64), _EPS, 1 - _EPS)
    return np.asarray(np.log(clipped) - np.log1p(-clipped), np.float64)


def sigmoid(x: npt.ArrayLike) -> Array:
    """Inverse of `logit`."""
    return np.asarray(0.5 * (1 + np.tanh(0.5 * np.asarray(x, np.float64))), np.float64)


@dataclass(frozen=True)
class LogisticCalibration:
    """Two classes: probability = sigmoid(slope * logit(score) + bias)."""

    slope: float
    bias: float

    def apply(self, scores: Array) -> Array:
        """Calibrated probabilities of the classes (n, 2) from scores (n, 1)."""
        p = sigmoid(self.slope * logit(scores[:, 0]) + self.bias)
        return np.stack([1 - p, p], axis=1)


@dataclass(frozen=True)
class TemperatureCalibration:
    """Several classes: probabilities = softmax(log(scores) / temperature)."""

    temperature: float

    def apply(self, scores: Array) -> Array:
        """Calibrated probabilities (n, classes) from softmax scores (n, classes)."""
        z = np.log(np.clip(scores, _EPS, 1)) / self.temperature
        e = np.exp(z - z.max(axis=1, keepdims=True))
        return np.asarray(e / e.sum(axis=1, keepdims=True), np.float64)


Calibration = LogisticCalibration | TemperatureCalibration


@dataclass(frozen=True)
class Decision:
    """How scores become an answer; every number was chosen on a validation set.

    Thresholds are on the calibrated probability of a fracture; `high_specificity` may lie above 1 when no
    threshold reached its target.
    """

    calibration: Calibration
    threshold: float
    high_sensitivity: float
    high_specificity: float
    best_accuracy: float

    def fracture_probability(self, scores: Array) -> Array:
        """Calibrated probability of a fracture, float64 (n,): one minus that of normal."""
        return np.asarray(1 - self.calibration.apply(scores)[:, 0], np.float64)

    def label(self, probability: float) -> str:
        """FRACTURED from the threshold on; below it NORMAL, or SUSPICIOUS where the suspicion is high."""
        if probability >= self.threshold:
            return FRACTURED
        return SUSPICIOUS if self.suspicion(probability) == "high" else NORMAL

    def suspicion(self, probability: float) -> Suspicion:
        """None below the high-sensitivity point, high from the high-specificity point on; sorted if they cross.

        What is answered as a fracture is never `none`, whatever the points of a bundle are.
        """
        low, high = sorted((self.high_sensitivity, self.high_specificity))
        if probability < min(low, self.threshold):
            return "none"
        return "high" if probability >= high else "possible"

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        kind = "logistic" if isinstance(self.calibration, LogisticCalibration) else "temperature"
        return {
            "calibration": {"kind": kind, **asdict(self.calibration)},
            "threshold": self.threshold,
            "operating_points": {
                "high_sensitivity": self.high_sensitivity,
                "high_specificity": self.high_specificity,
                "best_accuracy": self.best_accuracy,
            },
        }

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> "Decision":
        """From JSON; ValueError, KeyError or TypeError when it is no decision."""
        given = dict(raw["calibration"])
        kind = given.pop("kind")
        kinds: Mapping[str, type[LogisticCalibration] | type[TemperatureCalibration]] = {
            "logistic": LogisticCalibration,
            "temperature": TemperatureCalibration,
        }
        calibration = kinds[kind](**{name: float(value) for name, value in given.items()})
        points = raw["operating_points"]
        return cls(
            calibration,
            float(raw["threshold"]),
            float(points["high_sensitivity"]),
            float(points["high_specificity"]),
            float(points["best_accuracy"]),
        )
