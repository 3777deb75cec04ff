"""What the teachers say of the training images, beside what people say."""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.training.localisation_targets import Maps

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class SoftTargets:
    """Probabilities of a fracture, float32 (n,), and logits of the location, float16 (n, g, g), of n images."""

    labels: npt.NDArray[np.float32]
    places: npt.NDArray[np.float16]
    stride: int
    """Pixels of a side of a cell."""

    def of(self, rows: npt.NDArray[np.int64]) -> "SoftTargets":
        """Those of some of the images, in another order or more than once."""
        return SoftTargets(self.labels[rows], self.places[rows], self.stride)

    def beside(
        self,
        labels: npt.NDArray[Any],
        maps: Maps,
        rows: npt.NDArray[np.int64],
        moved: Array,
        *,
        hard_labels: bool = False,
    ) -> tuple[npt.NDArray[np.float32], Maps]:
        """Labels (b, 2) and maps (b, g, g, 2), those of people first, of images moved by matrices (b, 3, 3).

        `maps` (b, g, g) are those of people. With `hard_labels` both labels are theirs: for windows, which may leave
        out what the teachers saw.
        """
        theirs = labels if hard_labels else self.labels[rows]
        pairs = zip(rows, moved, strict=True)
        warped = [moved_map(self.places[row], matrix, self.stride, maps.shape[1]) for row, matrix in pairs]
        return np.stack([labels, theirs], axis=1).astype(np.float32), np.stack([maps, np.stack(warped)], axis=-1)


def moved_map(places: npt.NDArray[np.float16], moved: Array, stride: int, grid: int) -> Maps:
    """Probabilities of a location (g, g) of logits, as they lie after the move of the image, float32 (grid, grid).

    `moved` (3, 3) takes pixels, counted from the centre of the first. Beyond the image there is no fracture.
    """
    half = (stride - 1) / 2  # from the centre of a cell's first pixel to the cell's own
    cells = np.array([[stride, 0.0, half], [0.0, stride, half], [0.0, 0.0, 1.0]])
    matrix = np.linalg.inv(cells) @ moved @ cells
    probabilities = 1 / (1 + np.exp(-places.astype(np.float32)))
    return np.asarray(cv2.warpAffine(probabilities, matrix[:2], (grid, grid), flags=cv2.INTER_LINEAR), np.float32)
