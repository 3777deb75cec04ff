"""A look for text that was burned into the pixels, where devices write it: along the edges and in the corners.

It finds lines of characters: at least four strokes of one brightness, of one height, side by side. A single letter, as
the side marker of most radiographs is, is no line. What it finds and what it misses is measured (docs/dicom.md).
"""

import itertools

import cv2
import numpy as np
import numpy.typing as npt

_MIDDLE = 0.25
"""Share of each side that ends where the middle begins, which is not looked at."""
_STROKES = (9, 25)
"""Sides of the squares, in pixels, that no stroke of a character fills."""
_NEAR = 7
_CONTRAST = 40
"""Grey levels between a character and what is around it."""
_LOWEST, _HIGHEST = 6, 0.08
"""Heights of characters: pixels, and as a share of the image's shorter side (at least 40 pixels)."""
_FEWEST = 4
_MOST = 4000
"""Shapes beyond which an image is noise."""

Mask = npt.NDArray[np.uint8]


def shows_text(pixels: npt.NDArray[np.uint8], stored: npt.NDArray[np.integer] | None = None) -> bool:
    """Whether a line of text lies along the edges of an image (rows, columns), written in either direction.

    `stored` are the values behind the grey levels: text in the lowest or highest of them may lie outside of the window.
    """
    masks = [*_contrasting(pixels)]
    if stored is not None and stored.ndim == 2:
        masks += [(stored == extreme).astype(np.uint8) for extreme in (stored.min(), stored.max())]
    return any(_has_line(found) for mask in masks for found in (_edges(mask), _edges(mask).T))


def _contrasting(pixels: npt.NDArray[np.uint8]) -> list[Mask]:
    """Bright and dark strokes of an image, for each width of strokes."""
    found = []
    for side, kind in itertools.product(_STROKES, (cv2.MORPH_TOPHAT, cv2.MORPH_BLACKHAT)):
        contrast = cv2.morphologyEx(pixels, kind, np.ones((side, side), np.uint8))
        # Half of what the nearest stroke has parts characters that their soft edges join.
        nearest = cv2.dilate(contrast, np.ones((_NEAR, _NEAR), np.uint8))
        found.append((contrast >= np.maximum(_CONTRAST, nearest // 2)).astype(np.uint8))
    return found


def _edges(mask: Mask) -> Mask:
    rows, columns = mask.shape
    top, left = int(rows * _MIDDLE), int(columns * _MIDDLE)
    kept = mask.copy()
    kept[top : rows - top, left : columns - left] = 0
    return kept


def _has_line(mask: Mask) -> bool:
    """Whether shapes of a mask stand in a row as characters do, from left to right."""
    _, _, stats, _ = cv2.connectedComponentsWithStats(np.ascontiguousarray(mask), connectivity=8)
    left, top, width, height, area = (stats[1:, column].astype(np.float64) for column in range(5))
    tallest = max(40.0, _HIGHEST * min(mask.shape))
    alike = (height >= _LOWEST) & (height <= tallest) & (width <= 2 * height) & (area >= 0.15 * width * height)
    if not _FEWEST <= np.count_nonzero(alike) <= _MOST:
        return False
    order = np.flatnonzero(alike)[np.argsort(left[alike], kind="stable")]
    left, top, width, height = left[order], top[order], width[order], height[order]
    right, bottom = left + width, top + height
    is_shaped = (width >= 0.35 * height) & (area[order] <= 0.85 * width * height)
    length, shaped = np.ones(len(order), np.int64), is_shaped.astype(np.int64)
    for one in range(1, len(order)):
        gap, tall = left[one] - right[:one], np.maximum(height[:one], height[one])
        follows = (
            (gap >= -0.2 * tall)
            & (gap <= 0.9 * tall)
            & (np.abs(bottom[:one] - bottom[one]) <= 0.2 * tall)
            & (np.minimum(height[:one], height[one]) >= 0.7 * tall)
        )
        before = np.flatnonzero(follows)
        if len(before):
            best = before[np.argmax(length[before])]
            length[one], shaped[one] = length[best] + 1, shaped[best] + shaped[one]
            # The marks of a ruler are narrow, and what is between them fills its rectangle.
            if length[one] >= _FEWEST and shaped[one] >= 2:
                return True
    return False
