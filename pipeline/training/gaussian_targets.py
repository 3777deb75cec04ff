"""Gaussian localisation targets: highest at the middle of each fracture, and the focal loss that goes with them."""

from collections.abc import Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True)
class GaussianTargets:
    """Fracture boxes of the images of one part, each (k, 4) as fractions of the canvas, on a grid of cells.

    `fractured` bool (n,) tells the images whose fractures must be somewhere: without a box it is not known where.
    `share` is that of cells above a half over all training images: a sum over the cells is divided by the fractures
    of an average batch, not of this one, as a small batch may hold none.
    """

    boxes: Sequence[Array]
    fractured: npt.NDArray[np.bool_]
    grid: int
    share: float

    def batch(self, rows: npt.NDArray[np.int64], moved: Array, side: int, size: int) -> tuple[Maps, Maps]:
        """Maps in [0, 1] and weights, both float32 (b, grid, grid), of images moved by matrices (b, 3, 3)."""
        pairs = list(zip(rows, moved, strict=True))
        maps = np.stack([gaussian_map(self.boxes[row], matrix, side, size, self.grid) for row, matrix in pairs])
        known = np.array([len(self.boxes[row]) > 0 or not self.fractured[row] for row in rows], np.float32)
        weights = np.broadcast_to((known / self.share)[:, np.newaxis, np.newaxis], maps.shape)
        return maps, np.array(weights, np.float32)


def share_of_cells(boxes: Sequence[Array], side: int, size: int, grid: int) -> float:
    """Share of all cells above a half, over images with these boxes; of one cell at least."""
    above = sum(float((gaussian_map(found, np.eye(3), side, size, grid) > 0.5).sum()) for found in boxes if len(found))
    return max(above, 1.0) / max(len(boxes) * grid * grid, 1)


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


def focal_loss(target: Any, logits: Any, gamma: float = 2.0) -> Any:
    """Quality focal loss of localisation logits in each cell; `target` in [0, 1] and `logits` have one shape.

    The cross-entropy counts by its error to the power of `gamma` (Li et al., NeurIPS 2020, eq. 3).
    """
    entropy = keras.ops.maximum(logits, 0) - logits * target + keras.ops.log1p(keras.ops.exp(-keras.ops.abs(logits)))
    return keras.ops.abs(target - keras.ops.sigmoid(logits)) ** gamma * entropy
