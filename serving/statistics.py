"""What the training images looked like: input statistics, textures and scores to compare later ones with."""

import hashlib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import IO

import cv2
import numpy as np
import numpy.typing as npt

from serving.imaging.canvas import Pixels

Array = npt.NDArray[np.float64]

QUANTILES = np.linspace(0, 1, 101)
INPUT_MEANINGS = {
    "mean": "mean grey level",
    "contrast": "standard deviation of the grey levels",
    "dark": "share of nearly black pixels",
    "bright": "share of nearly white pixels",
    "sharpness": "mean absolute Laplacian",
    "content": "share of the canvas that is image",
}
INPUTS = tuple(INPUT_MEANINGS)

_SCALES = 5
_STEEPNESS = np.array([0.1, 0.25, 0.5, 0.75, 0.9, 0.97, 0.995])
TEXTURE = _SCALES * len(_STEEPNESS)
"""Length of a texture."""
_SMALLEST_LEVEL = 8
_SHRINKAGE = 0.1
_SMALLEST_DEVIATION = 0.02
"""In doublings: what is nearly constant in training may differ by this much at no great distance."""
_FOLDS = 20


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


def stated(value: float) -> float:
    """A statistic as answers and the log state it: four decimals."""
    return round(float(value), 4)


def texture(canvas: Pixels) -> Array:
    """How steep one model input, uint8 (size, size), is at five scales; float64 (TEXTURE,), 0 to 8.

    Black padding is cut off, so that neither aspect nor place counts. At each scale, half as large as the one
    before, seven quantiles of the larger of the differences to the right and to the lower neighbour, as the
    binary logarithm of one plus grey levels. Radiographs are smooth with few edges, and alike in how
    that changes with scale; drawings, text and most photographs are not.
    """
    content = _without_padding(canvas)
    height, width = content.shape
    found = []
    for scale in range(_SCALES):
        size = max(_SMALLEST_LEVEL, width >> scale), max(_SMALLEST_LEVEL, height >> scale)
        level = content if size == (width, height) else cv2.resize(content, size, interpolation=cv2.INTER_AREA)
        corner = level[:-1, :-1]
        steepness = cv2.max(cv2.absdiff(level[:-1, 1:], corner), cv2.absdiff(level[1:, :-1], corner))
        counts = cv2.calcHist([steepness], [0], None, [256], [0, 256]).ravel()
        shares = np.concatenate([[0], np.cumsum(counts, dtype=np.float64) / steepness.size])
        found.append(np.log2(1 + np.interp(_STEEPNESS, shares, np.arange(257))))
    return np.concatenate(found)


def _without_padding(canvas: Pixels) -> Pixels:
    rows, columns = np.flatnonzero(canvas.any(axis=1)), np.flatnonzero(canvas.any(axis=0))
    if not len(rows):
        return canvas
    return canvas[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def fingerprint(canvas: Pixels) -> int:
    """64 bits of the BLAKE2b hash of one model input, uint8 (size, size): tells whether it is one seen before."""
    return int.from_bytes(hashlib.blake2b(canvas.tobytes(), digest_size=8).digest(), "little")


@dataclass(frozen=True)
class Reference:
    """What the images of training looked like, without any of them.

    `inputs`: quantiles (6, 101) of each of INPUTS; `features` (2, k): mean and standard deviation of each feature of
    the network, both of the training set; `scores`: quantiles (101,) of the calibrated probability of a fracture on
    the validation set, as a network is surer of images it was trained on; `trained` () and `scored` (): how many
    groups, such as patients, these two sets have, as the images of one say little more than one of them does;
    `mean` and `scale` (TEXTURE,), `precision` (TEXTURE, TEXTURE): centre, standard deviation and, of what they
    standardise, inverse covariance of the textures of the training and validation sets; `distances` (101,):
    quantiles of the distances of these images, each from the others; `known` uint64 (m,): their fingerprints, sorted.
    """

    inputs: Array
    scores: Array
    trained: Array
    scored: Array
    features: Array
    mean: Array
    scale: Array
    precision: Array
    distances: Array
    known: npt.NDArray[np.uint64]

    def save(self, path: Path) -> None:
        """Write reference.npz."""
        arrays = {field.name: getattr(self, field.name) for field in fields(self)}
        with path.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)

    @classmethod
    def load(cls, path: Path | IO[bytes]) -> "Reference":
        """Read reference.npz, by its path or opened; KeyError, ValueError or OSError for a broken or other file."""
        with np.load(path, allow_pickle=False) as archive:
            # Bundles made before groups were counted state images: those of both sets, and those of validation.
            older = {} if "trained" in archive else {"trained": np.array(float(len(archive["known"])))}
            arrays = {field.name: archive[field.name] for field in fields(cls) if field.name not in older} | older
        arrays = {name: array if name == "known" else array.astype(np.float64) for name, array in arrays.items()}
        if arrays["mean"].shape != (TEXTURE,):
            raise ValueError(f"reference.npz does not hold the {TEXTURE} statistics of texture that this version uses")
        return cls(**arrays)

    def knows(self, canvas: Pixels) -> bool:
        """Whether a model input, uint8 (size, size), is one that the model was trained on or chosen with."""
        print_of = np.uint64(fingerprint(canvas))
        place = int(np.searchsorted(self.known, print_of))
        return place < len(self.known) and bool(self.known[place] == print_of)

    def outside(self, inputs: Array) -> list[tuple[str, float, float, float]]:
        """Which of INPUTS (6,) no image of the training set has: name, value, and the smallest and largest there.

        The share of the canvas that is image does not count: an aspect that is new makes no answer worse by itself.
        """
        ends = self.inputs[:, [0, -1]]
        rows = zip(INPUTS, inputs, ends, strict=True)
        return [
            (name, float(value), float(low), float(high))
            for name, value, (low, high) in rows
            if name != "content" and not low <= value <= high
        ]

    def distance(self, textures: Array) -> Array:
        """Mahalanobis distance of textures (n, TEXTURE) from those of training; float64 (n,).

        Divided by the square root of TEXTURE: about 1 for images like those of training.
        """
        centred = (textures - self.mean) / self.scale
        squared = ((centred @ self.precision) * centred).sum(axis=1)
        return np.asarray(np.sqrt(np.maximum(squared, 0) / centred.shape[1]), np.float64)


def reference_of(
    *,
    inputs: Array,
    probabilities: Array,
    features: Array,
    textures: Array,
    groups: npt.NDArray[np.str_],
    known: npt.ArrayLike,
) -> Reference:
    """Build the reference from what was measured of the images.

    Of the training set input statistics (n, 6) and features (n, k); of the validation set probabilities (v,); of both,
    training first, textures (m, TEXTURE), groups (m,), at least two different ones, and fingerprints `known` (m,).
    Images of one group are so alike that none of them is measured by a reference that holds another, and that they
    count once where later images are compared with those of training.
    """
    quantiles = {
        # Values that occurred, none between two: those of many images, such as one aspect, stay equal to later ones.
        "inputs": np.quantile(inputs, QUANTILES, axis=0, method="inverted_cdf").T,
        "scores": np.quantile(probabilities, QUANTILES),
        "trained": _count(groups[: len(inputs)]),
        "scored": _count(groups[len(inputs) :]),
        "features": np.stack([features.mean(axis=0), features.std(axis=0)]),
    }
    seen = np.unique(np.asarray(known, np.uint64))
    nothing = np.zeros(len(QUANTILES))
    fold = np.unique(groups, return_inverse=True)[1] % _FOLDS
    distances = np.zeros(len(textures))
    for number in np.unique(fold):
        own = fold == number
        others = Reference(**quantiles, **_centre(textures[~own]), distances=nothing, known=seen)
        distances[own] = others.distance(textures[own])
    return Reference(**quantiles, **_centre(textures), distances=np.quantile(distances, QUANTILES), known=seen)


def _count(groups: npt.NDArray[np.str_]) -> Array:
    return np.array(float(len(np.unique(groups))))


def _centre(textures: Array) -> dict[str, Array]:
    """Mean, scale and precision; the correlations are a tenth weaker than measured, so that few images do."""
    mean, scale = textures.mean(axis=0), np.maximum(textures.std(axis=0), _SMALLEST_DEVIATION)
    centred = (textures - mean) / scale
    correlation = centred.T @ centred / len(centred)
    shrunk = (1 - _SHRINKAGE) * correlation + _SHRINKAGE * np.eye(len(correlation))
    return {"mean": mean, "scale": scale, "precision": np.asarray(np.linalg.inv(shrunk), np.float64)}


@dataclass(frozen=True)
class Shift:
    """How far one statistic of later images has moved from training.

    `distance` is that of Kolmogorov and Smirnov, the largest difference of the two distribution functions, in [0, 1];
    up to `limit` it is no news. `before` and `after` are the medians, `outside` is the share of the later values below
    the 1st or above the 99th percentile of training (about 0.02 without drift).
    """

    images: int
    distance: float
    limit: float
    before: float
    after: float
    outside: float

    @property
    def moved(self) -> bool:
        """Whether the distance is more than chance and differences within one hospital explain."""
        return self.distance > self.limit


_LEAST_SHIFT = 0.15
"""Distances below it mean little, however certain they are: parts of one data set differ by up to 0.1."""
_CERTAIN = 1.95
"""Quantile of Kolmogorov's distribution: by chance 1 in 1,000 distances of n from m values exceed it times
sqrt(1/n + 1/m)."""


def shift(expected: Array, behind: float, found: Array) -> Shift:
    """Compare later values (n,), n > 0, with the quantiles (101,), which may repeat, of `behind` independent ones.

    Both as an answer states them: what differs behind its last digit is no shift.
    """
    expected, found = (np.array([stated(value) for value in values]) for values in (expected, found))
    points = np.concatenate([expected, found])
    theirs = np.searchsorted(np.sort(expected), points, side="right") / len(expected)
    ours = np.searchsorted(np.sort(found), points, side="right") / len(found)
    return Shift(
        images=len(found),
        distance=float(np.abs(theirs - ours).max()),
        limit=max(_LEAST_SHIFT, _CERTAIN * float(np.sqrt(1 / len(found) + 1 / behind))),
        before=float(expected[50]),
        after=float(np.median(found)),
        outside=float(((found < expected[1]) | (found > expected[-2])).mean()),
    )
