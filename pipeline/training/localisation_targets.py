"""Where the fractures of an image are, as what a network with a localisation head learns from."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Maps = npt.NDArray[np.float32]

_FINE = 8
"""Cells are covered in parts of this many steps a side."""
_FULL = 0.5
"""A cell counts whole when this share of it is covered: most fractures are smaller than a few cells."""
_ANGLES = np.linspace(0, 2 * np.pi, 24, endpoint=False)


class Targets(Protocol):
    """What a network with a localisation head learns from, of the images of one part."""

    @property
    def boxes(self) -> Sequence[Array]:
        """Fracture boxes of each image, each (k, 4) as fractions of the canvas."""

    def batch(self, rows: npt.NDArray[np.int64], moved: Array, side: int, size: int) -> tuple[Maps, Maps]:
        """Maps in [0, 1] and weights, both float32 (b, grid, grid), of images moved by matrices (b, 3, 3).

        `side` and `size` are pixels of a side before and after the move.
        """


@dataclass(frozen=True)
class LocalisationTargets:
    """Fracture boxes of the images of one part, each (k, 4) as fractions of the canvas, on a grid of cells.

    `fractured` bool (n,) tells the images whose fractures must be somewhere: without a box it is not known where.
    `positive_weight` is the weight of a place with a fracture; that of the others is 1.
    """

    boxes: Sequence[Array]
    fractured: npt.NDArray[np.bool_]
    grid: int
    positive_weight: float

    def batch(self, rows: npt.NDArray[np.int64], moved: Array, side: int, size: int) -> tuple[Maps, Maps]:
        """Maps and weights, as `Targets` says."""
        maps = np.stack(
            [
                location_map(self.boxes[row], matrix, side, size, self.grid)
                for row, matrix in zip(rows, moved, strict=True)
            ]
        )
        known = np.array([len(self.boxes[row]) > 0 or not self.fractured[row] for row in rows], np.float32)
        weights = (1 + (self.positive_weight - 1) * maps) * known[:, np.newaxis, np.newaxis]
        return maps, np.asarray(weights, np.float32)


def location_map(boxes: Array, moved: Array, side: int, size: int, grid: int) -> Maps:
    """How much of each cell the ellipses inside the boxes cover, float32 (grid, grid) in [0, 1].

    An ellipse, because the corners of a box around a slanted fracture show none.
    """
    fine = np.zeros((grid * _FINE, grid * _FINE), np.uint8)
    for x0, y0, x1, y1 in boxes * side:
        x = (x0 + x1) / 2 + (x1 - x0) / 2 * np.cos(_ANGLES)
        y = (y0 + y1) / 2 + (y1 - y0) / 2 * np.sin(_ANGLES)
        points = moved[:2] @ np.stack([x - 0.5, y - 0.5, np.ones_like(x)]) + 0.5
        cv2.fillPoly(fine, [np.asarray(np.floor(points.T * (grid * _FINE / size)), np.int32)], 255)
    covered = cv2.resize(fine, (grid, grid), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    return np.asarray(np.minimum(covered / _FULL, 1), np.float32)
