"""Whether a radiograph is inverted: air white and bone black.

Each feature changes its sign, and nothing else, when white and black are swapped; so does the logit made of them. A
picture and its inverse get probabilities that sum to one. The features tell where the picture is bright and where it
is flat, not how it was stored: air lies at the rim and is flat, and bones are narrow and brighter than what is beside
them.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from serving.imaging.canonical.thumbnail import thumbnail

Pixels = npt.NDArray[np.uint8]
Array = npt.NDArray[np.float64]

SIDE = 80
"""Pixels of the longer side of the thumbnail that is looked at."""
_SCALES = 4
_RIM = 3
_EPS = 1e-6
FEATURES = (
    "mean", "median", "quartiles", "tenths", "ends", "skewness", "rim_mean", "rim_median", "rim_to_middle",
    "corners", "flat", "flattest", "spread_correlation", "radius_correlation", "saturated",
    *(f"{kind}_{2**scale}" for scale in range(_SCALES) for kind in ("ridges", "peaks")),
)  # fmt: skip
"""Names of the features, in the order of `features`."""


INVERTED = 0.8
"""Probability from which a picture counts as inverted: to turn one that was right is the worse error."""


@dataclass(frozen=True)
class PolarityHead:
    """Logistic regression without a constant, so that it is odd as its features are; `weights` (n,) of FEATURES."""

    weights: Array

    def __call__(self, pixels: Pixels) -> float:
        """Probability that the field of a radiograph, uint8 (h, w), is inverted."""
        return float(self.probabilities(features(pixels)[np.newaxis])[0])

    def probabilities(self, rows: Array) -> Array:
        """Probabilities (k,) of being inverted from features (k, n)."""
        return np.asarray(0.5 * (1 + np.tanh(0.5 * (rows @ self.weights))), np.float64)

    def to_json(self) -> dict[str, float]:
        """Weights by the features' names."""
        return dict(zip(FEATURES, map(float, self.weights), strict=True))

    @classmethod
    def from_json(cls, raw: Mapping[str, float]) -> "PolarityHead":
        """From weights by name; KeyError where one is missing."""
        return cls(np.array([raw[name] for name in FEATURES], np.float64))


def features(pixels: Pixels) -> Array:
    """FEATURES of the field of a radiograph, uint8 (h, w), float64 (n,); a flat picture gives zeros."""
    small = thumbnail(pixels, SIDE).astype(np.float32)
    low, high = _quantiles(small, 0.01, 0.99)
    if high - low < 1:
        return np.zeros(len(FEATURES))
    # -1 is the darkest, 1 the brightest: swapping them changes the sign of everything below.
    x = np.clip((2 * small - (low + high)) / (high - low), -1, 1)
    q5, q10, q25, q50, q75, q90, q95 = _quantiles(x, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
    mean, deviation = float(x.mean()), float(x.std()) + _EPS
    centred = x - mean
    rim = _rim(x)
    height, width = x.shape
    middle = x[height // 4 : -(height // 4) or None, width // 4 : -(width // 4) or None]
    h, w = max(1, height // 6), max(1, width // 6)
    corners = [float(np.median(c)) for c in (x[:h, :w], x[:h, -w:], x[-h:, :w], x[-h:, -w:])]
    spread = np.sqrt(np.maximum(cv2.blur(x * x, (5, 5)) - cv2.blur(x, (5, 5)) ** 2, 0))
    flattest, flat = _quantiles(spread, 0.15, 0.4)
    radius = np.hypot(np.linspace(-1, 1, height)[:, np.newaxis], np.linspace(-1, 1, width))
    return np.array([
        mean, q50, (q25 + q75) / 2, (q10 + q90) / 2, (q5 + q95) / 2,
        float((centred * centred * centred).mean()) / deviation**3,
        float(rim.mean()), float(np.median(rim)), float(rim.mean() - middle.mean()), float(np.mean(corners)),
        float(x[spread <= flat].mean()) - mean, float(x[spread <= flattest].mean()), _correlation(centred, spread),
        _correlation(centred, radius), float((x > 0.95).mean() - (x < -0.95).mean()), *_blobs(x),
    ])  # fmt: skip


def _quantiles(values: npt.NDArray[np.floating], *shares: float) -> list[float]:
    """Quantiles that are as far from the largest value as those of the other share from the smallest."""
    ordered = np.sort(values, axis=None)
    last = len(ordered) - 1
    places = [round(share * last) if share <= 0.5 else last - round((1 - share) * last) for share in shares]
    halves = {0.5: float(ordered[last // 2] + ordered[last - last // 2]) / 2}
    return [halves.get(share, float(ordered[place])) for share, place in zip(shares, places, strict=True)]


def _rim(x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return np.concatenate((x[:_RIM].ravel(), x[-_RIM:].ravel(), x[:, :_RIM].ravel(), x[:, -_RIM:].ravel()))


def _correlation(a: npt.NDArray[np.floating], b: npt.NDArray[np.floating]) -> float:
    apart = b - b.mean()
    return float((a * apart).sum() / (np.sqrt((a * a).sum() * (apart * apart).sum()) + _EPS))


def _blobs(x: npt.NDArray[np.float32]) -> list[float]:
    """Whether what is as wide as each scale is brighter (above 0) or darker than what is around it, told twice."""
    told = []
    sharp = x
    for _ in range(_SCALES):
        soft = cv2.GaussianBlur(sharp, (5, 5), 1.2)
        band = sharp - soft
        energy = np.abs(band) * band
        low, high = _quantiles(band, 0.02, 0.98)
        told += [float(energy.sum() / (np.abs(energy).sum() + _EPS)), (low + high) / (high - low + _EPS)]
        sharp = np.asarray(soft[::2, ::2], np.float32)
    return told
