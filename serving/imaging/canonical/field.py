"""Where the radiograph lies in a picture: uniform frames and collimator borders around it are found and left out.

A frame is a region of one grey level that begins at the picture's edge and ends at a convex outline. What lies inside
of that outline fills it to the rim: so the air around a hand, whose outline is not convex, is no frame. All of it
happens on a thumbnail. Frames inside of frames are taken off one after the other. Panels of a program come before them.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from serving.imaging.canonical.panels import within_panels
from serving.imaging.canonical.thumbnail import thumbnail
from serving.imaging.canvas import View

Pixels = npt.NDArray[np.uint8]
Array = npt.NDArray[np.float64]
_Mask = npt.NDArray[Any]
"""uint8 (h, w), 1 where something is and 0 elsewhere; OpenCV promises no more of its results than an array."""

_SIDE = 160
"""Pixels of the longer side of the thumbnail that is looked at."""
_FRAMES = 3
"""How many frames inside of one another are taken off."""
_LEVELS = 3
_SHARE_OF_RIM = 0.12
"""Of the rim, how much a grey level has to cover to be that of a frame; a short side is about a fifth of it."""
_TOLERANCES = (16, 5, 1)
"""Grey levels around that of the frame, tried in turn: the widest keeps clear of what a JPEG does beside an edge."""
_MEAN_GAP = 1.0
"""Pixels of the thumbnail between the outline and what fills it, on average, above which it is no field."""
_LEAST_REACHED = 0.5
_SQUARE, _LEAST_ALONG = 2.0, 0.9
_LEAST_TOUCHED, _NEAR = 0.6, 3
_BLACK, _WHITE = 3, 252
"""Rows and columns that are all black or all white hold nothing, whether they are a frame or burnt-out air."""
_LEAST_REMOVED, _LEAST_KEPT = 0.006, 0.08
_MOST_OUTSIDE = 0.02
"""What may lie outside, as a share of what is inside: letters in a banner, but no second leg."""
_DEPTHS: Array = np.linspace(-1.5, 2, 20)
_ALONG: Array = np.linspace(0.05, 0.95, 32)[:, np.newaxis]
_LONG = 0.1
_FLOODED = 2
_CLEARLY, _NEARLY = 120, 0.9
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

    @property
    def view(self) -> View:
        """What of the picture lies in the box, not turned."""
        return View(self.box)


@dataclass(frozen=True)
class _Candidate:
    """A mask (h, w) of what is inside of a frame, how certain that is, and the frame's level."""

    inside: _Mask
    certainty: float
    level: float = 0.0


WHOLE = Field(_WHOLE)
"""The field of a picture without a frame."""


def find_field(pixels: Pixels) -> Field:
    """Find the exposed part of a grey picture, uint8 (h, w)."""
    height, width = pixels.shape
    field = _without_panels(pixels)
    for _ in range(_FRAMES):
        # What is inside of a frame is looked at as if it had none: so it is found to be the same with and without.
        seen = np.asarray(field.crop(pixels), np.uint8)
        small = thumbnail(seen, _SIDE)
        found = _take_off(small, _inside(field, small))
        if found is None:
            break
        left, top, _, _ = field.bounds(width, height)
        outline = (_outline(found.inside, seen) * seen.shape[::-1] + (left, top)) / (width, height)
        area, shared = cv2.intersectConvexConvex(outline.astype(np.float32), field.polygon.astype(np.float32))
        if area <= 0:
            break
        polygon = shared.reshape(-1, 2).astype(np.float64)
        field = Field(polygon, min(field.certainty, found.certainty), (*field.levels, found.level))
    return field


def _without_panels(pixels: Pixels) -> Field:
    (left, top, right, bottom), levels = within_panels(pixels)
    if not levels:
        return WHOLE
    corners = np.array([[left, top], [right, top], [right, bottom], [left, bottom]], np.float64)
    return Field(corners / pixels.shape[::-1], levels=tuple(levels))


def _inside(field: Field, small: Pixels) -> _Mask:
    """Which pixels of a thumbnail of a field's box lie wholly in the field."""
    if field.upright:
        return np.ones(small.shape, np.uint8)
    inside = np.zeros(small.shape, np.uint8)
    corners = [field.view.from_picture(x, y) for x, y in field.polygon]
    cv2.fillConvexPoly(inside, np.rint(np.array(corners) * small.shape[::-1] * 16 - 8).astype(np.int32), 1, shift=4)
    return cv2.erode(inside, _KERNEL)


def _take_off(small: Pixels, inside: _Mask) -> _Candidate | None:
    """What is left inside of one frame; None where there is no frame."""
    rim = cv2.subtract(inside, cv2.erode(inside, _KERNEL, borderType=cv2.BORDER_CONSTANT, borderValue=0))
    area = int(cv2.countNonZero(inside))
    for level in _levels(small[rim > 0]):
        distance = cv2.absdiff(small, np.full_like(small, round(level)))
        contents = []
        for tolerance in _TOLERANCES:
            like_frame = cv2.bitwise_and(cv2.inRange(distance, 0, tolerance), inside)
            if int(cv2.countNonZero(like_frame)) < _LEAST_REMOVED * area:
                break
            content, everything = _content(like_frame, inside)
            size = int(cv2.countNonZero(content))
            if not _LEAST_KEPT * area <= size <= (1 - _LEAST_REMOVED) * area:
                continue
            if tolerance == _TOLERANCES[-1] and not _BLACK < level < _WHITE:
                contents.append(everything)
            if int(cv2.countNonZero(everything)) > (1 + _MOST_OUTSIDE) * size:
                continue
            square = _square(content, inside)
            if square is not None and cv2.countNonZero(square.inside) <= (1 - _LEAST_REMOVED) * area:
                return replace(square, level=level)
            contents.append(content)
        for content in contents:
            box = _box(content, inside, _LEAST_TOUCHED if _BLACK < level < _WHITE else 0)
            if box is not None and cv2.countNonZero(box.inside) <= (1 - _LEAST_REMOVED) * area:
                return replace(box, level=level)
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


def _content(like_frame: _Mask, inside: _Mask) -> tuple[_Mask, _Mask]:
    """The largest piece of what is not frame, and all of its pieces, as masks; frame is what reaches the outside."""
    reachable = cv2.copyMakeBorder(cv2.max(like_frame, 1 - inside), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=1)
    cv2.floodFill(reachable, None, (0, 0), _FLOODED, flags=4)
    content = cv2.morphologyEx(np.asarray(reachable[1:-1, 1:-1] != _FLOODED, np.uint8), cv2.MORPH_OPEN, _KERNEL)
    count, labels = cv2.connectedComponents(content, connectivity=8, ltype=cv2.CV_16U)
    if count < 3:
        return content, content
    areas = np.bincount(labels.ravel())[1:]
    return np.asarray(labels == int(areas.argmax()) + 1, np.uint8), content


def _square(content: _Mask, inside: _Mask) -> _Candidate | None:
    """The convex hull of the content where its free sides are straight and square to one another, and it fills them.

    Free is what lies against the frame, not on the edge of `inside`.
    """
    hull = _hull(content)
    filled = cv2.bitwise_and(cv2.fillConvexPoly(np.zeros_like(content), hull, 1), inside)
    beyond = cv2.dilate(cv2.subtract(inside, filled), _KERNEL)
    outline = cv2.bitwise_and(beyond, filled)
    free = int(cv2.countNonZero(outline))
    if free == 0:
        return None
    gap = (int(cv2.countNonZero(filled)) - int(cv2.countNonZero(content))) / free
    reached = int(cv2.countNonZero(cv2.bitwise_and(outline, cv2.dilate(content, _KERNEL)))) / free
    if (gap > _MEAN_GAP and reached < _LEAST_REACHED) or not _is_square(hull, outline):
        return None
    return _Candidate(np.asarray(filled, np.uint8), reached)


def _hull(mask: _Mask) -> npt.NDArray[np.int32]:
    """The convex hull of a mask's pixels, from the first and the last of each row."""
    rows = np.flatnonzero(mask.any(axis=1))
    first = mask[rows].argmax(axis=1)
    last = mask.shape[1] - 1 - mask[rows, ::-1].argmax(axis=1)
    ends = np.column_stack([np.concatenate([first, last]), np.concatenate([rows, rows])])
    return np.asarray(cv2.convexHull(ends.astype(np.int32)), np.int32)


def _is_square(hull: npt.NDArray[np.int32], outline: _Mask) -> bool:
    """Whether the free edges of a convex hull run along two directions at right angles, however slanted."""
    corners = cv2.approxPolyDP(hull, 1.5, True).reshape(-1, 2)
    following = np.roll(corners, -1, axis=0)
    middles = (corners + following) // 2
    near = cv2.dilate(outline, _KERNEL)
    edges = (following - corners)[near[middles[:, 1], middles[:, 0]] > 0]
    if len(edges) == 0:
        return False
    lengths = np.hypot(edges[:, 0], edges[:, 1])
    angles = (np.degrees(np.arctan2(edges[:, 1], edges[:, 0])) + 45) % 90 - 45
    common = angles[lengths.argmax()]
    apart = np.abs((angles - common + 45) % 90 - 45)
    # A short edge is as straight as its pixels allow.
    along = lengths[apart <= _SQUARE + np.degrees(1 / lengths)].sum()
    return bool(along >= _LEAST_ALONG * lengths.sum())


def _box(content: _Mask, inside: _Mask, least_touched: float) -> _Candidate | None:
    """The upright rectangle around the content, where it touches enough of each free side; nothing of it is lost."""
    left, top, width, height = cv2.boundingRect(content)
    x, y, wide, tall = cv2.boundingRect(inside)
    box = content[top : top + height, left : left + width]
    sides = (
        (left > x, box[:, :_NEAR].max(axis=1)),
        (top > y, box[:_NEAR].max(axis=0)),
        (left + width < x + wide, box[:, -_NEAR:].max(axis=1)),
        (top + height < y + tall, box[-_NEAR:].max(axis=0)),
    )
    touched = min((float(side.mean()) for free, side in sides if free), default=0.0)
    if touched < least_touched:
        return None
    kept = np.zeros_like(inside)
    kept[top : top + height, left : left + width] = inside[top : top + height, left : left + width]
    return _Candidate(kept, touched / 2)


def _outline(inside: _Mask, pixels: Pixels) -> Array:
    """The convex outline, in fractions, of a mask (h, w) of a thumbnail; its sides are found again in `pixels`."""
    height, width = inside.shape
    across, down = pixels.shape[1] / width, pixels.shape[0] / height
    corners = cv2.approxPolyDP(_hull(inside), 1.0, True).reshape(-1, 2).tolist()
    middle_x = sum(x for x, _ in corners) / len(corners)
    middle_y = sum(y for _, y in corners) / len(corners)
    outline: list[tuple[float, float]] = [(x * pixels.shape[1], y * pixels.shape[0]) for x, y in _WHOLE.tolist()]
    for (x0, y0), (x1, y1) in zip(corners, corners[1:] + corners[:1], strict=True):
        if x0 == x1 in {0, width - 1} or y0 == y1 in {0, height - 1}:
            continue  # along the picture's edge
        if math.hypot(x1 - x0, y1 - y0) < _LONG * max(width, height):
            continue  # a corner cut off by a pixel or two
        # A pixel's slant is that of the raster.
        left, right = ((x0 + x1) / 2,) * 2 if abs(x1 - x0) <= 1 else (x0, x1)
        top, bottom = ((y0 + y1) / 2,) * 2 if abs(y1 - y0) <= 1 else (y0, y1)
        side = np.array([[(left + 0.5) * across, (top + 0.5) * down], [(right + 0.5) * across, (bottom + 0.5) * down]])
        wide, tall = (side[1] - side[0]).tolist()
        length = math.hypot(wide, tall)
        inwards = (-tall / length, wide / length)
        if (middle_x - left) * across * inwards[0] + (middle_y - top) * down * inwards[1] < 0:
            inwards = (-inwards[0], -inwards[1])
        begins = _begins(pixels, side, np.array(inwards), max(across, down))
        point = (side[0, 0] + begins * inwards[0], side[0, 1] + begins * inwards[1])
        outline = _clip(outline, point, inwards)
    return np.array(outline, np.float64) / pixels.shape[::-1]


def _begins(pixels: Pixels, side: Array, inwards: Array, factor: float) -> float:
    """How many pixels inwards of a side (2, 2) the field begins.

    Looked for within two pixels of the thumbnail, each `factor` pixels wide: where the grey levels, on average along
    the side, have come nearly as far from those of the frame as they get.
    """
    depths = _DEPTHS * factor
    along = side[0] + _ALONG * (side[1] - side[0]) - 0.5
    places = (along + depths[:, np.newaxis, np.newaxis] * inwards).astype(np.float32)
    values = cv2.remap(pixels, places[..., 0], places[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    level = int(np.sort(values[:3], axis=None)[values[:3].size // 2])
    profile = cv2.reduce(np.minimum(cv2.absdiff(values, np.full_like(values, level)), _CLEARLY), 1, cv2.REDUCE_AVG)
    last = int(profile[-4:].sum()) / 4
    if last < 1:
        return 0.5 * factor
    reached = int((profile[:, 0] >= _NEARLY * last).argmax())
    # A line through slanted pixels crosses those of the frame.
    return float(depths[reached]) + (0.5 if np.abs(inwards).max() == 1 else 1.0)


def _clip(
    polygon: list[tuple[float, float]], point: tuple[float, float], inwards: tuple[float, float]
) -> list[tuple[float, float]]:
    """What of a convex polygon lies on the inner side of the line through `point` (Sutherland and Hodgman, 1974)."""
    depths = [(x - point[0]) * inwards[0] + (y - point[1]) * inwards[1] for x, y in polygon]
    kept = []
    for index, ((x, y), depth) in enumerate(zip(polygon, depths, strict=True)):
        if depth >= 0:
            kept.append((x, y))
        following = (index + 1) % len(polygon)
        if (depth >= 0) != (depths[following] >= 0):
            share = depth / (depth - depths[following])
            kept.append((x + (polygon[following][0] - x) * share, y + (polygon[following][1] - y) * share))
    return kept if len(kept) >= 3 else polygon


def _area(polygon: Array) -> float:
    x, y = polygon[:, 0], polygon[:, 1]
    return float(abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2)
