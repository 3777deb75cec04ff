"""Panels of a program around a radiograph, in a picture of a screen: toolbars, strips of thumbnails, status lines.

A panel is a band along an edge of the picture. Its outermost line, and the one that faces the radiograph, are of one
grey level from end to end, and between them lie many sharp things: buttons, text, small pictures. Black and white bands
are left to `field`: they are air as often as not.
"""

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
Bounds = tuple[int, int, int, int]

_DARKEST, _BRIGHTEST = 8, 247
_FLAT = 8
"""Grey levels by which a line of one level may differ: what a JPEG leaves beside a button."""
_WIDEST = 0.25
"""Share of the picture's side, at most, that a panel takes: less than one of two radiographs side by side."""
_FEWEST_LINES, _FEWEST_EDGES, _SHARP = 6, 8, 40
"""Lines of a panel that show something, edges in one of them, and grey levels of an edge, at least."""
_LEAST_BARE = 0.12
"""Share of these lines, at least, that is of the panel's own level."""
_ROUNDS = 4
"""How often all four sides are looked at: a panel may lie within another one."""


def within_panels(pixels: Pixels) -> tuple[Bounds, list[float]]:
    """What of a grey picture, uint8 (h, w), lies within its panels, and the panels' levels, outermost first.

    The bounds are left, top, right and bottom in pixels, the last two exclusive.
    """
    height, width = pixels.shape
    left, top, right, bottom = 0, 0, width, height
    levels: list[float] = []
    for _ in range(_ROUNDS):
        before = len(levels)
        top += _panel(pixels[top:bottom, left:right], height, levels)
        bottom -= _panel(pixels[top:bottom, left:right][::-1], height, levels)
        left += _panel(pixels[top:bottom, left:right].T, width, levels)
        right -= _panel(pixels[top:bottom, left:right].T[::-1], width, levels)
        if len(levels) == before:
            break
    return (left, top, right, bottom), levels


def _panel(lines: Pixels, side: int, levels: list[float]) -> int:
    """How many lines at the beginning are those of a panel, whose level is added; the whole picture has `side`."""
    low, high = int(lines[0].min()), int(lines[0].max())
    if high - low > _FLAT or low < _DARKEST or high > _BRIGHTEST:
        return 0
    level = (low + high) / 2
    near = lines[: min(int(_WIDEST * side), len(lines) - 1)]
    is_bare = np.abs(near - np.float32(level)) <= _FLAT
    flat = is_bare.all(axis=1)
    if not flat.any():
        return 0
    last = int(np.flatnonzero(flat)[-1])
    shows = np.flatnonzero(~flat[:last])
    if len(shows) < _FEWEST_LINES or is_bare[shows].mean() < _LEAST_BARE:
        return 0
    edges = np.abs(np.diff(near[shows].astype(np.int16), axis=1)) > _SHARP
    if edges.sum(axis=1).max() < _FEWEST_EDGES:
        return 0
    levels.append(level)
    return last + 1
