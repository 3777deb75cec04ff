"""A network's features in a few numbers, so that a store can tell when they drift and nobody an image from them."""

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from serving.statistics import Reference

SUMMARY = 32
"""Numbers that stand for the features of one image."""
_SEED = 20260101
"""Of the projection. Rows of a store are comparable for as long as it stays."""
_FARTHEST = 8.0
"""Standard deviations at which a feature is cut off: one that was nearly constant in training would drown the rest."""
_CONSTANT = 1e-6

Vector = npt.NDArray[np.float32]


def summarise(features: npt.NDArray[np.float32], reference: Reference) -> Vector:
    """Project the features (k,) of one image, in standard deviations from training, on SUMMARY fixed random directions.

    float32 (SUMMARY,). For images like those of training each has mean 0, whatever the features' correlations.
    """
    mean, deviation = reference.features
    varies = deviation > _CONSTANT
    standardised = np.where(varies, (features - mean) / np.where(varies, deviation, 1), 0)
    return np.asarray(_directions(len(mean)) @ np.clip(standardised, -_FARTHEST, _FARTHEST), np.float32)


def packed(summary: Vector) -> bytes:
    """As the store keeps it: little endian float32."""
    return summary.astype("<f4").tobytes()


def unpacked(content: bytes) -> Vector:
    """The opposite of `packed`; ValueError for other bytes."""
    found = np.frombuffer(content, "<f4")
    if len(found) != SUMMARY:
        raise ValueError(f"{len(found)} features instead of {SUMMARY}")
    return found


@lru_cache(maxsize=4)
def _directions(count: int) -> npt.NDArray[np.float64]:
    """Unit-variance directions (SUMMARY, count)."""
    return np.asarray(np.random.default_rng(_SEED).standard_normal((SUMMARY, count)) / np.sqrt(count))
