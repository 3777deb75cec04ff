"""Gaussian localisation targets: highest at the middle of each fracture, and the focal loss that goes with them."""

from typing import Any

import keras
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Maps = npt.NDArray[np.float32]

_WIDTH = 0.5
"""Standard deviation as a share of half a box's side: 0.14 is left at the box's edge."""
_LEAST_SIGMA = 4.0
"""Pixels: half a cell, so that the smallest fracture still has a cell near its top."""
_LEAST_PEAK = 0.3
"""A box whose best cell is lower than this lies beside the image and is not raised to 1."""


def gaussian_map(boxes: Array, moved: Array, side: int, size: int, grid: int) -> Maps:
    """Largest of the Gaussians of some boxes at each cell's middle, float32 (grid, grid) in [0, 1].

    `boxes` (k, 4) are fractions of the image's `side`; the matrix `moved` (3, 3) takes its pixels, counted from the
    centre of the first, to those of a picture of `size` pixels. Each box reaches 1 in its best cell, as cells seldom
    lie at its very middle (compare Zhou et al., Objects as Points, arXiv 1904.07850).
    """
    cells = (np.arange(grid) + 0.5) * (size / grid)
    told = np.zeros((grid, grid))
    for x0, y0, x1, y1 in boxes * side:
        middle = moved @ np.array([(x0 + x1) / 2 - 0.5, (y0 + y1) / 2 - 0.5, 1.0])
        x, y = middle[:2] + 0.5
        half = np.abs(moved[:2, :2]) @ np.array([(x1 - x0) / 2, (y1 - y0) / 2])
        wide, high = np.maximum(half * _WIDTH, _LEAST_SIGMA)
        one = np.outer(np.exp(-0.5 * ((cells - y) / high) ** 2), np.exp(-0.5 * ((cells - x) / wide) ** 2))
        told = np.maximum(told, one / max(float(one.max()), _LEAST_PEAK))
    return told.astype(np.float32)


def focal_loss(target: Any, logits: Any, known: Any, gamma: float = 2.0) -> Any:
    """Quality focal loss of localisation logits, one number, over the cells that lie in a fracture plus one.

    `target` in [0, 1] and `logits` are (n, g, g); `known` (n,) is 0 for images whose fractures are somewhere unknown.
    The cross-entropy of each cell counts by its error to the power of `gamma` (Li et al., NeurIPS 2020, eq. 3).
    """
    entropy = keras.ops.maximum(logits, 0) - logits * target + keras.ops.log1p(keras.ops.exp(-keras.ops.abs(logits)))
    error = keras.ops.abs(target - keras.ops.sigmoid(logits))
    trusted = keras.ops.reshape(known, (-1, 1, 1))
    fractures = keras.ops.sum(keras.ops.cast(target > 0.5, logits.dtype))
    return keras.ops.sum(error**gamma * entropy * trusted) / (fractures + 1)
