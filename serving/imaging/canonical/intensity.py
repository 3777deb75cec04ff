"""Which values of a radiograph carry the picture: robust percentiles instead of the smallest and the largest value."""

import cv2
import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
Values = npt.NDArray[np.number]

LOW, HIGH = 0.005, 0.995
"""Shares of the pixels below the darkest and the brightest value that is told apart."""
_SAMPLES = 40_000
"""Values looked at, at most; for the percentiles above a sample of this size errs by 0.04 % of the pixels."""


def robust_range(
    values: Values, mask: npt.NDArray[np.bool_] | None = None, low: float = LOW, high: float = HIGH
) -> tuple[float, float]:
    """The values below which the shares `low` and `high` of the pixels lie, of an image (h, w) of any number type.

    `mask` (h, w) is True where a pixel counts; what is no finite number never does. A regular sample is looked at,
    without averaging, so that one hot pixel stays one. (0, 0) where nothing counts.
    """
    step = max(1, int((values.size / _SAMPLES) ** 0.5))
    sample = values[::step, ::step]
    chosen = sample.ravel() if mask is None else sample[mask[::step, ::step]]
    if chosen.dtype.kind == "f":
        chosen = chosen[np.isfinite(chosen)]
    if chosen.size == 0:
        return 0.0, 0.0
    first, last = int(low * (chosen.size - 1)), int(np.ceil(high * (chosen.size - 1)))
    if chosen.dtype == np.uint8:
        below = np.cumsum(np.bincount(chosen, minlength=256))
        return float(np.searchsorted(below, first, "right")), float(np.searchsorted(below, last, "right"))
    parted = np.partition(chosen, (first, last))
    return float(parted[first]), float(parted[last])


def spread(values: Values, low: float, high: float, darkest: float = 0, brightest: float = 255) -> Pixels:
    """Map values linearly to grey, uint8: `low` to `darkest`, `high` to `brightest`, clipped to 0..255.

    A range without extent gives `darkest` everywhere. What is no number is shown as `low`, an infinite value as white
    or black.
    """
    if not high > low:
        return np.full(values.shape, round(darkest), np.uint8)
    scale = (brightest - darkest) / (high - low)
    if values.dtype == np.uint8:
        curve = (np.arange(256) - low) * scale + darkest
        return np.asarray(cv2.LUT(values, np.rint(np.clip(curve, 0, 255)).astype(np.uint8)), np.uint8)  # type: ignore[arg-type]
    exact = values.astype(np.float32)
    if values.dtype.kind == "f":
        exact = np.nan_to_num(exact, nan=low, posinf=np.inf, neginf=-np.inf)
    return np.asarray(np.rint(np.clip((exact - low) * scale + darkest, 0, 255)), np.uint8)
