"""Several radiographs in one picture, told by the uniform gutter that divides them."""

import numpy as np
import numpy.typing as npt

from serving.imaging.canonical.thumbnail import thumbnail

Pixels = npt.NDArray[np.uint8]

SIDE = 160
"""Pixels of the longer side of the thumbnail that is looked at."""
SHORTEST = 40
"""Pixels of its shorter side, at least: of less no two radiographs are told apart."""
MARGIN = 0.3
"""Share of the side, at each end, in which no gutter is looked for: what it divides is of similar size."""
FLAT = 8
"""Grey levels, at most, between the darkest and the brightest pixel of a line of the gutter."""
SHOWN = 60
"""Grey levels, more than which lie between those of a line that shows something."""
LEAST_SHOWN = 0.3
"""Share of the lines on either side of the gutter, more than which have to show something."""


def is_divided(pixels: Pixels) -> bool:
    """Whether a gutter from edge to edge divides a picture in its canonical form, uint8 (h, w), into parts."""
    small = thumbnail(pixels, SIDE)
    return min(small.shape) >= SHORTEST and any(_has_gutter(lines) for lines in (small, small.T))


def _has_gutter(columns: Pixels) -> bool:
    width = columns.shape[1]
    extent = columns.max(axis=0).astype(np.int16) - columns.min(axis=0)
    first, last = MARGIN * width, (1 - MARGIN) * width
    gutter = [place for place in np.flatnonzero(extent <= FLAT).tolist() if first <= place < last]
    if not gutter:
        return False
    shown = extent > SHOWN
    return bool(min(shown[: gutter[0]].mean(), shown[gutter[-1] + 1 :].mean()) > LEAST_SHOWN)
