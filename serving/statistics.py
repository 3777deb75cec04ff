"""What the training images looked like: input statistics, features and scores to compare later ones with."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from serving.imaging import Pixels

Array = npt.NDArray[np.float64]

QUANTILES = np.linspace(0, 1, 101)
INPUTS = ("mean", "contrast", "dark", "bright", "sharpness", "content")
_SHRINKAGE = 0.1


def input_statistics(canvas: Pixels) -> Array:
    """Statistics of one model input, uint8 (size, size), in the order of INPUTS; float64 (6,).

    Mean and standard deviation in grey levels, the shares of pixels below 10 and above 245, the mean absolute
    Laplacian, and the share of the canvas that is not black padding.
    """
    mean, deviation = cv2.meanStdDev(canvas)
    laplacian = cv2.Laplacian(canvas, cv2.CV_16S)
    return np.array(
        [
            float(mean[0, 0]),
            float(deviation[0, 0]),
            float((canvas < 10).mean()),
            float((canvas > 245).mean()),
            float(np.abs(laplacian).mean()),
            float(canvas.any(axis=0).mean() * canvas.any(axis=1).mean()),
        ],
        np.float64,
    )


@dataclass(frozen=True)
class Reference:
    """Statistics of the training part.

    `inputs`: quantiles (6, 101) of each of INPUTS; `scores`: quantiles (101,) of the calibrated probability of a
    fracture; `mean` (k,) and `precision` (k, k): centre and inverse covariance of the features.
    """

    inputs: Array
    scores: Array
    mean: Array
    precision: Array

    def save(self, path: Path) -> None:
        """Write reference.npz."""
        with path.open("wb") as file:
            np.savez_compressed(
                file, allow_pickle=False, inputs=self.inputs, scores=self.scores, mean=self.mean,
                precision=self.precision.astype(np.float32),
            )  # fmt: skip

    @classmethod
    def load(cls, path: Path) -> "Reference":
        """Read reference.npz; ValueError or OSError for a broken file."""
        with np.load(path, allow_pickle=False) as archive:
            arrays: Mapping[str, Array] = {name: archive[name].astype(np.float64) for name in archive.files}
        return cls(arrays["inputs"], arrays["scores"], arrays["mean"], arrays["precision"])

    def distance(self, features: Array) -> Array:
        """Mahalanobis distance of features (n, k) from the training images, divided by sqrt(k); float64 (n,)."""
        centred = features - self.mean
        squared = np.einsum("ij,jk,ik->i", centred, self.precision, centred)
        return np.asarray(np.sqrt(np.maximum(squared, 0) / features.shape[1]), np.float64)


def reference_of(inputs: Array, features: Array, probabilities: Array) -> Reference:
    """Build the reference from input statistics (n, 6), features (n, k) and probabilities (n,).

    The covariance is pulled a tenth of the way to its mean diagonal, so that it can be inverted with fewer
    images than features.
    """
    covariance = np.cov(features, rowvar=False).reshape(features.shape[1], -1)
    scale = max(float(np.trace(covariance)) / len(covariance), 1e-12)
    shrunk = (1 - _SHRINKAGE) * covariance + _SHRINKAGE * scale * np.eye(len(covariance))
    return Reference(
        inputs=np.quantile(inputs, QUANTILES, axis=0).T,
        scores=np.quantile(probabilities, QUANTILES),
        mean=features.mean(axis=0),
        precision=np.asarray(np.linalg.inv(shrunk), np.float64),
    )
