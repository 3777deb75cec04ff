"""Smooth curves as tables."""

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating[Any]]
STEPS = 1024


def smooth(at: npt.ArrayLike, value: npt.ArrayLike, low: float = 0.0, high: float = 1.0) -> Array:
    """A smooth curve (cubic Hermite) through knots as a table of STEPS entries over [low, high]."""
    x, y = np.asarray(at, np.float64), np.asarray(value, np.float64)
    slope = np.gradient(y, x)
    where = np.linspace(low, high, STEPS)
    i = np.clip(np.searchsorted(x, where, side="right") - 1, 0, len(x) - 2)
    width = x[i + 1] - x[i]
    t = (where - x[i]) / width
    blend = t * t * (3 - 2 * t)
    bulge = t * (1 - t) * width * ((1 - t) * slope[i] - t * slope[i + 1])
    return np.asarray(y[i] * (1 - blend) + y[i + 1] * blend + bulge, np.float32)


def look_up(table: Array, fraction: Array) -> Array:
    """Entries of a table of STEPS, by fractions of it; those outside [0, 1] give the first or the last entry."""
    index = np.clip(fraction * (STEPS - 1), 0, STEPS - 1).astype(np.int32)
    found: Array = table[index]
    return found


def soft_edge(distance: Array, softness: float) -> Array:
    """1 where `distance` is positive, 0 where negative, with a ramp as wide as `softness` mm."""
    ramp: Array = np.clip(distance / softness + 0.5, 0, 1)
    return ramp
