"""What the training images looked like: input statistics, features and scores to compare later ones with."""

from dataclasses import dataclass, fields
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
    fracture; `mean` and `scale` (k + 6,), `precision` (k + 6, k + 6): centre, standard deviation and, of what they
    standardise, inverse covariance of features and inputs; `distances` (101,): quantiles of `distance` over the
    validation part, whose images fitted nothing here.
    """

    inputs: Array
    scores: Array
    mean: Array
    scale: Array
    precision: Array
    distances: Array

    def save(self, path: Path) -> None:
        """Write reference.npz."""
        with path.open("wb") as file:
            np.savez_compressed(
                file, allow_pickle=False, inputs=self.inputs, scores=self.scores, mean=self.mean, scale=self.scale,
                precision=self.precision.astype(np.float32), distances=self.distances,
            )  # fmt: skip

    @classmethod
    def load(cls, path: Path) -> "Reference":
        """Read reference.npz; KeyError, ValueError or OSError for a broken file."""
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name.name: archive[name.name].astype(np.float64) for name in fields(cls)}
        return cls(**arrays)

    def distance(self, features: Array, inputs: Array) -> Array:
        """Mahalanobis distance of features (n, k) and input statistics (n, 6) from training; float64 (n,)."""
        return _distance(np.concatenate([features, inputs], axis=1), self.mean, self.scale, self.precision)


def _distance(both: Array, mean: Array, scale: Array, precision: Array) -> Array:
    """Divided by the square root of the number of columns: about 1 for images like those of training."""
    centred = (both - mean) / scale
    squared = np.einsum("ij,jk,ik->i", centred, precision, centred, optimize=True)
    return np.asarray(np.sqrt(np.maximum(squared, 0) / centred.shape[1]), np.float64)


def reference_of(inputs: Array, features: Array, probabilities: Array, validation: tuple[Array, Array]) -> Reference:
    """Build the reference from input statistics (n, 6), features (n, k) and probabilities (n,) of the training part.

    `validation` holds features (m, k) and input statistics (m, 6) of the validation part. The covariance is pulled
    a tenth of the way to its mean diagonal, so that it can be inverted with fewer images than features.
    """
    both = np.concatenate([features, inputs], axis=1)
    mean, deviation = both.mean(axis=0), both.std(axis=0)
    scale = np.maximum(deviation, 1e-3 * max(float(deviation.max()), 1e-9))
    covariance = np.cov((both - mean) / scale, rowvar=False)
    shrunk = (1 - _SHRINKAGE) * covariance + _SHRINKAGE * np.eye(len(covariance)) * np.trace(covariance) / len(
        covariance
    )
    precision = np.asarray(np.linalg.inv(shrunk), np.float64)
    held_out = _distance(np.concatenate(validation, axis=1), mean, scale, precision)
    return Reference(
        inputs=np.quantile(inputs, QUANTILES, axis=0).T,
        scores=np.quantile(probabilities, QUANTILES),
        mean=mean,
        scale=scale,
        precision=precision,
        distances=np.quantile(held_out, QUANTILES),
    )
