"""Whether two pictures are one: their keypoints lie alike, and what is seen of both correlates."""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.data.families.features import MIRRORED, PICTURE, Features, unit

Floats = npt.NDArray[np.float32]
Grey = npt.NDArray[np.uint8]

_SIMILARITY = 0.7
"""Cosine of descriptors that match, at least."""
_RATIO = 0.95
"""Distance of the best match over that of the second, at most (Lowe 2004)."""
_INLIERS = 5
"""Matches that one transform explains, at least: few, as it is the pixels that decide."""
_LEAST_SHARE = 0.15
"""Share of the matches that agree, below which pictures are no copies."""
_TOLERANCE = 1 / 40
"""Share of the longer side by which a match may miss its place."""
_SCALE = (0.4, 2.5)
_AREA = 0.2
"""Share of the coarser picture that the finer one covers, at least."""
_CONTAINED = 0.6
"""Share of one of the pictures that the other shows, at least: a crop lies in the whole. Two bones of a kind may fit in
a part of both."""
_COVERED = 250
"""Of 255: what a warped picture covers a pixel with, at least, for it to count as shown."""
_BLACK, _WHITE = 3, 252
"""Grey levels beyond which an exposure is clipped."""


@dataclass(frozen=True)
class _Detail:
    """Standard deviations in pixels, against noise and of the surroundings; grey levels below which it is noise."""

    smooth: float
    size: float
    floor: float


_COARSE, _FINE = _Detail(0.8, 3, 3), _Detail(0.6, 1.5, 2)
_AROUND = 5
"""Pixels (standard deviation) around a place that its correlation is taken over."""
_MOST_DETAIL, _SURPASSED = 75, 15
"""Percentiles: of the strength of detail, the places above which count; of their correlations, what counts."""
_WORTH_REFINING = 0.4
"""Correlation below which pictures are no copies; above it the transform is refined on the pixels (ECC, Evangelidis
2008)."""
_OF_FINE, _OF_INLIERS, _RELATED = 0.27, 0.22, 1.325
"""Weights in a score, where that of `coarse` is 1, and the least score of copies.

The weights are those of a logistic regression that tells copies planted among FracAtlas's 3,269 images from pairs of
these images. The limit was chosen on the same images: no pair of them that was judged to be of strangers reaches it.
"""


@dataclass(frozen=True)
class Alignment:
    """How two pictures fit over the `area` that both show, a share of the coarser; `contained` is one of the smaller.

    `coarse` and `fine` are the correlations, at two scales of detail, that 85 % of the places with most detail
    surpass. Copies agree wherever there is something to see; the bones of two patients lie alike in places only.
    """

    matches: int = 0
    inliers: int = 0
    area: float = 0.0
    coarse: float = 0.0
    fine: float = 0.0
    contained: float = 0.0

    @property
    def score(self) -> float:
        """Evidence that both are one picture, up to 1.5."""
        if self.area < _AREA or self.contained < _CONTAINED or self.inliers < _INLIERS:
            return 0.0
        return self.coarse + _OF_FINE * self.fine + _OF_INLIERS * self.inliers / self.matches

    @property
    def related(self) -> bool:
        """Whether the two are one picture."""
        return self.score >= _RELATED


def align(first: Features, second: Features, mirrored: bool) -> Alignment:
    """Lay the first image, mirrored left to right or not, over the second."""
    source, target = _matches(first, second, mirrored)
    if len(source) < _INLIERS:
        return Alignment()
    affine, inliers = _transform(source, target)
    if affine is None:
        return Alignment(len(source), inliers)
    matches = _inside_both(source, target, affine, first.picture.shape, second.picture.shape)
    if inliers < _LEAST_SHARE * matches:
        return Alignment(matches, inliers)
    pictures = np.ascontiguousarray(first.picture[:, ::-1] if mirrored else first.picture), second.picture
    in_pixels, magnified = _in_pixels(affine), abs(float(np.linalg.det(affine[:, :2])))
    if magnified > 1:  # the finer one is laid over the coarser one: what was enlarged has no detail to agree with
        pictures, in_pixels = pictures[::-1], np.asarray(cv2.invertAffineTransform(in_pixels), np.float64)
    compared = _on_pixels(*pictures, in_pixels)
    if compared is None:
        return Alignment(matches, inliers)
    coarse, fine = (compared.agreement(detail) for detail in (_COARSE, _FINE))
    shrunk = min(magnified, 1 / max(magnified, 1e-6)) * pictures[0].size / pictures[1].size
    contained = compared.area / min(1, max(shrunk, 1e-6))
    return Alignment(max(matches, inliers), inliers, compared.area, coarse, fine, contained)


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


def _transform(source: Floats, target: Floats) -> tuple[npt.NDArray[np.float64] | None, int]:
    """The affine transform that most matches agree on, (2, 3), and how many; None where they are too few."""
    similarity, inside = cv2.estimateAffinePartial2D(
        source, target, method=cv2.RANSAC, ransacReprojThreshold=_TOLERANCE, maxIters=500, confidence=0.995
    )
    if similarity is None or inside.sum() < _INLIERS:
        return None, 0
    scale = float(np.hypot(similarity[0, 0], similarity[1, 0]))
    if not _SCALE[0] <= scale <= _SCALE[1]:
        return None, 0
    affine, inliers = _refined(source, target, inside.ravel() > 0)
    return (affine if inliers >= _INLIERS else None), inliers


def _refined(source: Floats, target: Floats, inside: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.float64], int]:
    """The affine transform of least squares, (2, 3), and how many matches it explains: shears are taken up too."""
    places = np.column_stack([source, np.ones(len(source))])
    for _ in range(2):
        affine = np.linalg.lstsq(places[inside], target[inside], rcond=None)[0]
        inside = np.linalg.norm(places @ affine - target, axis=1) < _TOLERANCE * 0.8
        if inside.sum() < _INLIERS:
            break
    return np.asarray(affine.T, np.float64), int(inside.sum())


def _inside_both(
    source: Floats, target: Floats, affine: npt.NDArray[np.float64], first: tuple[int, ...], second: tuple[int, ...]
) -> int:
    """How many matches lie, in both images, where the other one shows something too: in a crop, what it has left."""
    moved = source @ affine[:, :2].T + affine[:, 2]
    back = cv2.invertAffineTransform(affine)
    returned = target @ back[:, :2].T + back[:, 2]
    inside = [
        (places >= 0).all(axis=1) & (places * PICTURE <= (shape[1], shape[0])).all(axis=1)
        for places, shape in ((moved, second), (returned, first))
    ]
    return int((inside[0] & inside[1]).sum())


def _in_pixels(affine: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The transform of places as one of OpenCV's pixels, whose centres are whole numbers."""
    moved = affine.copy()
    moved[:, 2] = PICTURE * affine[:, 2] + affine[:, :2].sum(axis=1) / 2 - 0.5
    return moved


@dataclass(frozen=True)
class _Compared:
    """Two aligned pictures, float32 (h, w), `shown` where both say something, and the share of `area` they share."""

    first: Floats
    second: Floats
    shown: Floats
    area: float

    @classmethod
    def at(cls, first: Grey, second: Grey, affine: npt.NDArray[np.float64]) -> "_Compared":
        """The first picture laid over the second."""
        size = second.shape[1], second.shape[0]
        warped = np.asarray(cv2.warpAffine(first, affine, size, flags=cv2.INTER_LINEAR), np.uint8)
        covered = cv2.warpAffine(np.full(first.shape, 255, np.uint8), affine, size, flags=cv2.INTER_LINEAR)
        shared = np.asarray(cv2.erode(covered, np.ones((3, 3), np.uint8)) > _COVERED, np.float32)
        shown = shared * _unclipped(warped) * _unclipped(second)
        if shown.mean() < _AREA / 2:
            shown = shared
        return cls(warped.astype(np.float32), second.astype(np.float32), shown, float(shared.mean()))

    def correlation(self) -> float:
        """Of all detail."""
        left, right = (_standardised(each, self.shown, _COARSE)[0] for each in (self.first, self.second))
        energy = float(np.sqrt((left * left).sum() * (right * right).sum()))
        return float((left * right).sum()) / max(energy, 1e-6)

    def agreement(self, detail: "_Detail") -> float:
        """The correlation around a place that most of the places with much detail surpass."""
        left, strength = _standardised(self.first, self.shown, detail)
        right, other = _standardised(self.second, self.shown, detail)
        around = [cv2.GaussianBlur(each, (0, 0), _AROUND) for each in (left * right, left * left, right * right)]
        local = around[0] / np.sqrt(around[1] * around[2] + 1e-6)
        inside = self.shown > 0
        places, strengths = local[inside], np.minimum(strength, other)[inside]
        most = places[strengths >= np.percentile(strengths, _MOST_DETAIL)]
        return float(np.percentile(most, _SURPASSED))


def _on_pixels(first: Grey, second: Grey, affine: npt.NDArray[np.float64]) -> _Compared | None:
    """Both pictures after the transform, or after a better one: keypoints alone miss by up to a pixel.

    None where they share too little, or are nothing alike.
    """
    found = _Compared.at(first, second, affine)
    correlation = found.correlation() if found.area >= _AREA else 0.0
    if correlation < _WORTH_REFINING:
        return None
    fixed, moving = (
        _standardised(each.astype(np.float32), np.ones(each.shape, np.float32), _COARSE)[0] for each in (second, first)
    )
    stop = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 15, 1e-4)
    backwards = np.asarray(cv2.invertAffineTransform(affine), np.float32)
    everywhere = np.ones(first.shape, np.uint8)
    try:
        _, better = cv2.findTransformECC(fixed, moving, backwards, cv2.MOTION_AFFINE, stop, everywhere, 3)
    except cv2.error:  # it does not converge
        return found
    refined = _Compared.at(first, second, np.asarray(cv2.invertAffineTransform(better), np.float64))
    return refined if refined.area >= _AREA and refined.correlation() > correlation else found


def _unclipped(picture: Grey) -> npt.NDArray[np.bool_]:
    """Where an exposure has not taken the detail."""
    return (picture >= _BLACK) & (picture <= _WHITE)


def _standardised(picture: Floats, shown: Floats, detail: "_Detail") -> tuple[Floats, Floats]:
    """Detail over its strength nearby, where shown, and the square of that strength: whatever the exposure."""
    values = cv2.GaussianBlur(picture, (0, 0), detail.smooth)
    weight = np.maximum(cv2.GaussianBlur(shown, (0, 0), detail.size), 1e-3)
    fluctuation = (values - cv2.GaussianBlur(values * shown, (0, 0), detail.size) / weight) * shown
    strength = cv2.GaussianBlur(fluctuation * fluctuation, (0, 0), 2 * detail.size) / weight
    return np.asarray(fluctuation / (np.sqrt(strength) + detail.floor), np.float32), np.asarray(strength, np.float32)
