"""Where the radiograph lies in a picture: uniform frames and collimator borders around it are found and left out.

A frame is a region of one grey level that begins at the picture's edge and ends at a convex outline. What lies inside
of that outline fills it to the rim: so the air around a hand, whose outline is not convex, is no frame. All of it
happens on a thumbnail. Frames inside of frames are taken off one after the other.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
Array = npt.NDArray[np.float64]

THUMBNAIL = 192
"""Pixels of the longer side of what is looked at."""
_FRAMES = 3
"""How many frames inside of one another are taken off."""
_LEVELS = 3
_SHARE_OF_RIM = 0.12
"""Of the rim, how much a grey level has to cover to be that of a frame; a short side is about a fifth of it."""
_TOLERANCES = (20.0, 8.0, 3.5, 1.5)
"""Grey levels around that of the frame, tried in turn: the widest keeps clear of what a JPEG does beside an edge."""
_MEAN_GAP = 1.0
"""Pixels of the thumbnail between the outline and what fills it, on average, above which it is no field."""
_LEAST_REMOVED, _LEAST_KEPT = 0.006, 0.08
_MOST_OUTSIDE = 0.02
"""What may lie outside, as a share of what is inside: letters in a banner, but no second leg."""
_KERNEL = np.ones((3, 3), np.uint8)
_WHOLE: Array = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])


@dataclass(frozen=True)
class Field:
    """The exposed part of a picture.

    `polygon` (n, 2) is its convex outline in fractions of the upright picture; `certainty` in [0, 1] is 1 where the
    picture fills the outline exactly and 0 where it just passed for a field; without a frame the outline is the
    picture's and certainty 1. `levels` are the grey levels of what was taken off, outermost first.
    """

    polygon: Array
    certainty: float = 1.0
    levels: tuple[float, ...] = ()

    @property
    def found(self) -> bool:
        """Whether there is anything around the field."""
        return bool(self.levels)

    @property
    def box(self) -> tuple[float, float, float, float]:
        """x0, y0, x1, y1 of the upright rectangle around the field, in fractions of the picture."""
        (x0, y0), (x1, y1) = self.polygon.min(axis=0), self.polygon.max(axis=0)
        return float(x0), float(y0), float(x1), float(y1)

    @property
    def upright(self) -> bool:
        """Whether the field is its box, so that nothing has to be masked."""
        x0, y0, x1, y1 = self.box
        return _area(self.polygon) >= 0.995 * (x1 - x0) * (y1 - y0)

    def bounds(self, width: int, height: int) -> tuple[int, int, int, int]:
        """The box in whole pixels of a picture: left, top, right, bottom, the last two exclusive."""
        x0, y0, x1, y1 = self.box
        left, top = min(round(x0 * width), width - 1), min(round(y0 * height), height - 1)
        return left, top, max(round(x1 * width), left + 1), max(round(y1 * height), top + 1)

    def crop(self, pixels: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        """The box of the field out of a picture (h, w) of any type, as a view."""
        left, top, right, bottom = self.bounds(pixels.shape[1], pixels.shape[0])
        return pixels[top:bottom, left:right]

    def mask(self, width: int, height: int) -> npt.NDArray[np.bool_]:
        """What `crop` gives of a picture of `width` x `height`: True where a pixel lies in the field."""
        left, top, right, bottom = self.bounds(width, height)
        if self.upright:
            return np.ones((bottom - top, right - left), bool)
        inside = np.zeros((bottom - top, right - left), np.uint8)
        corners = self.polygon * (width, height) - (left, top) - 0.5
        cv2.fillConvexPoly(inside, np.rint(corners * 16).astype(np.int32), 1, shift=4)
        return inside.astype(bool)

    def to_picture(self, x: float, y: float) -> tuple[float, float]:
        """Fractions of the box to fractions of the picture."""
        x0, y0, x1, y1 = self.box
        return x0 + x * (x1 - x0), y0 + y * (y1 - y0)

    def to_field(self, x: float, y: float) -> tuple[float, float]:
        """Fractions of the picture to fractions of the box, outside [0, 1] on what is left out."""
        x0, y0, x1, y1 = self.box
        return (x - x0) / (x1 - x0), (y - y0) / (y1 - y0)


WHOLE = Field(_WHOLE)
"""The field of a picture without a frame."""


def find_field(pixels: Pixels) -> Field:
    """Find the exposed part of a grey picture, uint8 (h, w)."""
    thumbnail = _thumbnail(pixels)
    inside = np.ones(thumbnail.shape, np.uint8)
    levels: list[float] = []
    certainty = 1.0
    for _ in range(_FRAMES):
        found = _take_off(thumbnail, inside)
        if found is None:
            break
        inside, level, sure = found
        levels.append(level)
        certainty = min(certainty, sure)
    if not levels:
        return WHOLE
    return Field(_outline(inside), certainty, tuple(levels))


def _thumbnail(pixels: Pixels) -> Pixels:
    factor = THUMBNAIL / max(pixels.shape)
    if factor >= 1:
        return pixels
    size = (max(1, round(pixels.shape[1] * factor)), max(1, round(pixels.shape[0] * factor)))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)


def _take_off(thumbnail: Pixels, inside: Pixels) -> tuple[Pixels, float, float] | None:
    """What is left inside of one frame, its level and how certain it is; None where there is no frame."""
    rim = cv2.subtract(inside, cv2.erode(inside, _KERNEL, borderType=cv2.BORDER_CONSTANT, borderValue=0))
    area = int(cv2.countNonZero(inside))
    for level in _levels(thumbnail[rim > 0]):
        distance = cv2.absdiff(thumbnail, np.full_like(thumbnail, round(level)))
        for tolerance in _TOLERANCES:
            content = _content(distance, tolerance, inside, rim)
            found = _fills_its_hull(content, inside, area)
            if found is not None:
                return found[0], level, found[1]
    return None


def _levels(rim: Pixels) -> Iterator[float]:
    """The commonest grey levels of the rim, the commonest first."""
    counts = np.bincount(rim, minlength=256).astype(np.float64)
    for _ in range(_LEVELS):
        near = np.convolve(counts, np.ones(5), "same")
        level = int(near.argmax())
        if near[level] < _SHARE_OF_RIM * len(rim):
            return
        low, high = max(0, level - 2), level + 3
        yield float(np.average(np.arange(low, min(high, 256)), weights=counts[low:high]))
        counts[max(0, level - 6) : level + 7] = 0


def _content(distance: Pixels, tolerance: float, inside: Pixels, rim: Pixels) -> Pixels:
    """The largest piece of what is not frame, or nothing where the other pieces are more than letters."""
    like_frame = cv2.bitwise_and(cv2.compare(distance, tolerance, cv2.CMP_LE), inside)
    _, labels = cv2.connectedComponents(like_frame, connectivity=4, ltype=cv2.CV_16U)
    touching = np.zeros(int(labels.max()) + 1, np.uint8)
    touching[labels[rim > 0]] = 1
    touching[0] = 0
    content = cv2.subtract(inside, touching[labels])
    content = cv2.morphologyEx(content, cv2.MORPH_OPEN, _KERNEL)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(content, connectivity=4, ltype=cv2.CV_16U)
    if count < 2:
        return np.zeros_like(inside)
    areas = stats[1:, cv2.CC_STAT_AREA]
    largest = int(areas.argmax())
    if areas.sum() - areas[largest] > _MOST_OUTSIDE * areas[largest]:
        return np.zeros_like(inside)
    return np.asarray(labels == largest + 1, np.uint8)


def _fills_its_hull(content: Pixels, inside: Pixels, area: int) -> tuple[Pixels, float] | None:
    """The convex hull of the content as a mask and how certain it is a field; None where it is none."""
    size = int(cv2.countNonZero(content))
    if not _LEAST_KEPT * area <= size <= (1 - _LEAST_REMOVED) * area:
        return None
    contours, _ = cv2.findContours(content, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    hull = cv2.convexHull(contours[0])
    filled = cv2.fillConvexPoly(np.zeros_like(content), hull, 1)
    filled = cv2.bitwise_and(filled, inside)
    hull_size = int(cv2.countNonZero(filled))
    # The outline against the frame: pixels of the hull beside something of `inside` that is not in it.
    beyond = cv2.dilate(cv2.subtract(inside, filled), _KERNEL)
    free = int(cv2.countNonZero(cv2.bitwise_and(beyond, filled)))
    if hull_size > (1 - _LEAST_REMOVED) * area or free == 0:
        return None
    gap = (hull_size - size) / free
    return (np.asarray(filled, np.uint8), 1 - gap / _MEAN_GAP) if gap <= _MEAN_GAP else None


def _outline(inside: Pixels) -> Array:
    """The mask's convex outline in fractions: through the middle of its outermost pixels, or along the edge."""
    contours, _ = cv2.findContours(inside, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    hull = cv2.convexHull(max(contours, key=cv2.contourArea))
    points = cv2.approxPolyDP(hull, 0.8, True).reshape(-1, 2).astype(np.float64)
    last = np.array([inside.shape[1] - 1, inside.shape[0] - 1])
    middle = (points + 0.5) / (last + 1)
    return np.asarray(np.where(points == 0, 0.0, np.where(points == last, 1.0, middle)), np.float64)


def _area(polygon: Array) -> float:
    x, y = polygon[:, 0], polygon[:, 1]
    return float(abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2)
