"""Whether two pictures are one: their keypoints lie alike, and what is seen of both correlates."""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.data.families.features import MIRRORED, PICTURE, Features, unit

Floats = npt.NDArray[np.float32]

_SIMILARITY = 0.7
"""Cosine of descriptors that match, at least."""
_RATIO = 0.95
"""Distance of the best match over that of the second, at most (Lowe 2004)."""
_INLIERS = 8
"""Matches that one transform explains, at least."""
_TOLERANCE = 1 / 40
"""Share of the longer side by which a match may miss its place."""
_SCALE = (0.4, 2.5)
_AREA = 0.2
"""Share of the second picture that the first covers, at least."""
_CORRELATION = 0.85
_CORRELATION_OF_MANY = 0.7
_MANY, _NEARLY_ALL = 40, 0.8
"""Inliers, and share of the matches, that let a lower correlation do: strong exposures clip what one picture shows."""
_COVERED = 250
_BLACK, _WHITE = 3, 252
_SMOOTH, _DETAIL = 0.8, 3
"""Pixels (standard deviation): against noise, and of the surroundings that detail is measured against."""
_FLOOR = 3
"""Grey levels of detail below which it fades out: noise."""
_WORTH_REFINING, _GOOD = 0.55, 0.9
"""Correlations between which the transform is refined on the pixels (ECC, Evangelidis 2008)."""


@dataclass(frozen=True)
class Alignment:
    """How two pictures fit: matching keypoints, those that agree, and the correlation over the `area` both show."""

    matches: int = 0
    inliers: int = 0
    correlation: float = 0.0
    area: float = 0.0

    @property
    def related(self) -> bool:
        """Whether the two are one picture."""
        if self.area < _AREA or self.inliers < _INLIERS:
            return False
        nearly_all = self.inliers >= _MANY and self.inliers >= _NEARLY_ALL * self.matches
        return self.correlation >= (_CORRELATION_OF_MANY if nearly_all else _CORRELATION)


def align(first: Features, second: Features, mirrored: bool) -> Alignment:
    """Lay the first image, mirrored left to right or not, over the second."""
    source, target = _matches(first, second, mirrored)
    if len(source) < _INLIERS:
        return Alignment()
    transform, inside = cv2.estimateAffinePartial2D(
        source, target, method=cv2.RANSAC, ransacReprojThreshold=_TOLERANCE, maxIters=500, confidence=0.995
    )
    if transform is None or inside.sum() < _INLIERS:
        return Alignment()
    scale = float(np.hypot(transform[0, 0], transform[1, 0]))
    if not _SCALE[0] <= scale <= _SCALE[1]:
        return Alignment()
    affine, inliers = _refined(source, target, inside.ravel() > 0)
    if inliers < _INLIERS:
        return Alignment(len(source), inliers)
    correlation, area = _correlation(first.picture, second.picture, affine, mirrored)
    return Alignment(len(source), inliers, correlation, area)


def _matches(first: Features, second: Features, mirrored: bool) -> tuple[Floats, Floats]:
    """Places in both images of keypoints that are each other's nearest, float32 (m, 2) each."""
    nothing = np.empty((0, 2), np.float32)
    if min(len(first.points), len(second.points)) < _INLIERS:
        return nothing, nothing
    descriptors = first.descriptors[:, MIRRORED] if mirrored else first.descriptors
    cosine = unit(descriptors) @ unit(second.descriptors).T
    rows = np.arange(len(cosine))
    nearest = cosine.argmax(axis=1)
    mutual = cosine.argmax(axis=0)[nearest] == rows
    best = cosine[rows, nearest]
    cosine[rows, nearest] = -1
    distance, further = np.sqrt(np.maximum(2 - 2 * best, 0)), np.sqrt(2 - 2 * cosine.max(axis=1))
    kept = mutual & (best > _SIMILARITY) & (distance < _RATIO * further)
    source = first.points[kept, :2].copy()
    if mirrored:
        height, width = first.picture.shape
        source[:, 0] = width / max(height, width) - source[:, 0]
    return source, second.points[nearest[kept], :2]


def _refined(source: Floats, target: Floats, inside: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.float64], int]:
    """The affine transform of least squares, (2, 3), and how many matches it explains: shears are taken up too."""
    places = np.column_stack([source, np.ones(len(source))])
    for _ in range(2):
        affine = np.linalg.lstsq(places[inside], target[inside], rcond=None)[0]
        inside = np.linalg.norm(places @ affine - target, axis=1) < _TOLERANCE * 0.8
        if inside.sum() < _INLIERS:
            break
    return np.asarray(affine.T, np.float64), int(inside.sum())


def _correlation(
    first: npt.NDArray[np.uint8], second: npt.NDArray[np.uint8], affine: npt.NDArray[np.float64], mirrored: bool
) -> tuple[float, float]:
    """Correlation of the detail of both pictures where both show something, and that share of the second."""
    source = np.ascontiguousarray(first[:, ::-1] if mirrored else first)
    fixed, fine = _standardised(second, np.ones(second.shape, np.float32)), _in_pixels(affine)
    correlation, area = _at(source, second, fine)
    if not _WORTH_REFINING <= correlation < _GOOD or area < _AREA:
        return correlation, area
    moving = _standardised(source, np.ones(source.shape, np.float32))
    stop = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 15, 1e-4)
    backwards = np.asarray(cv2.invertAffineTransform(fine), np.float32)
    everywhere = np.ones(moving.shape, np.uint8)
    try:
        _, found = cv2.findTransformECC(fixed, moving, backwards, cv2.MOTION_AFFINE, stop, everywhere, 3)
    except cv2.error:  # it does not converge, or the pictures do not overlap
        return correlation, area
    refined = np.asarray(cv2.invertAffineTransform(found), np.float64)
    return max((correlation, area), _at(source, second, refined))


def _in_pixels(affine: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The transform of places as one of OpenCV's pixels, whose centres are whole numbers."""
    moved = affine.copy()
    moved[:, 2] = PICTURE * affine[:, 2] + affine[:, :2].sum(axis=1) / 2 - 0.5
    return moved


def _at(
    first: npt.NDArray[np.uint8], second: npt.NDArray[np.uint8], affine: npt.NDArray[np.float64]
) -> tuple[float, float]:
    size = second.shape[1], second.shape[0]
    warped = np.asarray(cv2.warpAffine(first, affine, size, flags=cv2.INTER_LINEAR), np.uint8)
    covered = cv2.warpAffine(np.full(first.shape, 255, np.uint8), affine, size, flags=cv2.INTER_LINEAR)
    shared = np.asarray(cv2.erode(covered, np.ones((3, 3), np.uint8)) > _COVERED, np.float32)
    area = float(shared.mean())
    if area < _AREA:
        return 0.0, area
    shown = shared * _unclipped(warped) * _unclipped(second)
    if shown.mean() < _AREA / 2:
        shown = shared
    left, right = _standardised(warped, shown), _standardised(second, shown)
    energy = float(np.sqrt((left * left).sum() * (right * right).sum()))
    return float((left * right).sum()) / max(energy, 1e-6), area


def _unclipped(picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """Where an exposure has not taken the detail."""
    return (picture >= _BLACK) & (picture <= _WHITE)


def _standardised(picture: npt.NDArray[np.uint8], shared: Floats) -> Floats:
    """Detail of a picture over its strength nearby, inside `shared`: whatever the exposure, edges count alike."""
    values = cv2.GaussianBlur(picture.astype(np.float32), (0, 0), _SMOOTH)
    weight = np.maximum(cv2.GaussianBlur(shared, (0, 0), _DETAIL), 1e-3)
    detail = (values - cv2.GaussianBlur(values * shared, (0, 0), _DETAIL) / weight) * shared
    strength = cv2.GaussianBlur(detail * detail, (0, 0), 2 * _DETAIL) / weight
    return np.asarray(detail / (np.sqrt(strength) + _FLOOR), np.float32)
