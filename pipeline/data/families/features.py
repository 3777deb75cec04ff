"""What is kept of an image to find it again: its strongest keypoints, and a small picture."""

import threading
from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

PICTURE = 112
"""Pixels of the longer side of the picture that aligned images are compared by."""
SIDE = 2 * PICTURE
"""Pixels of the longer side of the picture in which keypoints are found."""
KEYPOINTS = 200
"""At most, the strongest; 26 kB an image."""
_PERCENTILES = (1, 99)
_CONTRAST, _EDGE = 0.015, 15  # well below SIFT's defaults: soft tissue counts as well
_ROOT_SCALE = 512  # square roots of normalised bins seldom exceed a half

_BINS = np.arange(128).reshape(4, 4, 8)
MIRRORED: npt.NDArray[np.int64] = _BINS[::-1][:, :, -np.arange(8) % 8].ravel()
"""Where each value of a descriptor (rows, columns, directions) comes from when the image is mirrored left to right."""

_local = threading.local()


@dataclass(frozen=True)
class Features:
    """The features of one image.

    points       float32 (k, 3): x and y as shares of the longer side, direction in degrees
    descriptors  uint8 (k, 128): RootSIFT (Arandjelovic and Zisserman 2012) times 512
    picture      uint8 (h, w), longer side PICTURE
    """

    points: npt.NDArray[np.float32]
    descriptors: npt.NDArray[np.uint8]
    picture: npt.NDArray[np.uint8]


def describe(grey: npt.NDArray[np.uint8]) -> Features:
    """Features of a grey image, uint8 (h, w); no keypoints where it is blank."""
    factor = PICTURE / max(grey.shape)
    width, height = (max(1, round(side * factor)) for side in grey.shape[::-1])
    # Exactly twice the size, so that places in the one are places in the other.
    picture = _stretched(_resized(grey, (2 * width, 2 * height)))
    small = _resized(picture, (width, height))
    sift, equaliser = _tools()
    keypoints, found = sift.detectAndCompute(equaliser.apply(picture), None)
    if found is None:
        return Features(np.empty((0, 3), np.float32), np.empty((0, 128), np.uint8), small)
    # OpenCV gives more than asked for where responses are equal.
    order = np.argsort([-point.response for point in keypoints], kind="stable")[:KEYPOINTS]
    chosen = [keypoints[i] for i in order]
    points = [((point.pt[0] + 0.5) / SIDE, (point.pt[1] + 0.5) / SIDE, point.angle) for point in chosen]
    bins = found[order]
    root = np.sqrt(bins / np.maximum(bins.sum(axis=1, keepdims=True), 1e-9)) * _ROOT_SCALE
    descriptors = np.asarray(np.clip(np.rint(root), 0, 255), np.uint8)
    return Features(np.asarray(points, np.float32), descriptors, small)


def unit(descriptors: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Descriptors as vectors of length 1, float32."""
    values = descriptors.astype(np.float32)
    return np.asarray(values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-6), np.float32)


def _tools() -> tuple[cv2.SIFT, cv2.CLAHE]:
    """OpenCV's objects hold buffers: one of each for each thread."""
    if not hasattr(_local, "tools"):
        sift = cv2.SIFT.create(KEYPOINTS, contrastThreshold=_CONTRAST, edgeThreshold=_EDGE)
        _local.tools = sift, cv2.createCLAHE(3, (4, 4))
    tools: tuple[cv2.SIFT, cv2.CLAHE] = _local.tools
    return tools


def _resized(grey: npt.NDArray[np.uint8], size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """`size` is width and height."""
    how = cv2.INTER_AREA if size[0] < grey.shape[1] else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(grey, size, interpolation=how), np.uint8)


def _stretched(grey: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    low, high = np.percentile(grey, _PERCENTILES)
    return np.asarray(np.clip((grey - low) * (255 / max(high - low, 1)), 0, 255), np.uint8)


class FeatureTable:
    """Features of up to `count` images in few large arrays, without a copy of any of them.

    owner        int32 (k,): number of the image that each keypoint belongs to, ascending
    points, descriptors    as in Features, of all images one after the other
    pictures     of each image, or None where nothing was added
    """

    def __init__(self, count: int) -> None:
        # Memory that nothing was written to is not taken.
        self._points = np.empty((count * KEYPOINTS, 3), np.float32)
        self._descriptors = np.empty((count * KEYPOINTS, 128), np.uint8)
        self._ends = [0]
        self.pictures: list[npt.NDArray[np.uint8] | None] = []

    def add(self, features: Features | None) -> None:
        """Append the next image; None for one that could not be read."""
        start = self._ends[-1]
        end = start + (len(features.points) if features else 0)
        if features:
            self._points[start:end] = features.points
            self._descriptors[start:end] = features.descriptors
        self.pictures.append(features.picture if features else None)
        self._ends.append(end)

    def extend(self, images: Iterable[Features | None]) -> None:
        """Append several images."""
        for features in images:
            self.add(features)

    def __len__(self) -> int:
        return len(self.pictures)

    @property
    def points(self) -> npt.NDArray[np.float32]:
        """Of all images."""
        return self._points[: self._ends[-1]]

    @property
    def descriptors(self) -> npt.NDArray[np.uint8]:
        """Of all images."""
        return self._descriptors[: self._ends[-1]]

    @property
    def counts(self) -> npt.NDArray[np.int64]:
        """Keypoints of each image."""
        return np.diff(self._ends)

    @property
    def owner(self) -> npt.NDArray[np.int32]:
        """The image of each keypoint."""
        return np.repeat(np.arange(len(self), dtype=np.int32), self.counts)

    def of(self, number: int) -> Features:
        """The features of one image that was read."""
        rows = slice(self._ends[number], self._ends[number + 1])
        picture = self.pictures[number]
        if picture is None:
            raise KeyError(number)
        return Features(self._points[rows], self._descriptors[rows], picture)
