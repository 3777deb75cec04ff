"""One training image, changed at random: its place and size here, its tone in disturbances.py."""

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.training import disturbances
from pipeline.training.params import Augmentation

Pixels = npt.NDArray[np.uint8]
Array = npt.NDArray[np.float64]

NO_BOXES: Array = np.zeros((0, 4))
_MARGIN = 1.2
"""A crop around a fracture is at least this many times as large as its box."""
_PATCH_ZOOM = (0.8, 1.5)
_TRIES = 6
_SHRUNK = 0.2
"""Share of the images that are not cropped which become smaller, where `shrink` allows it."""


def augment(
    pixels: Pixels,
    options: Augmentation,
    rng: np.random.Generator,
    boxes: Array = NO_BOXES,
    patch: int = 0,
    *,
    place: npt.NDArray[np.int64] | None = None,
) -> tuple[Pixels, Array]:
    """One image, uint8 (side, side), cropped, flipped, turned, shifted, zoomed, with other contrast and noise.

    `boxes` (k, 4) are fractions of the image; a crop of an image that has some holds one of them. The result has the
    same shape, or (patch, patch): then it is a window of about that size out of the image. `place` (left, top, width,
    height) in pixels is where the image holds no padding; by default everywhere. Also returned is the matrix (3, 3)
    that takes a point of the image, in pixels from the centre of the first, to where it is now.
    """
    side = len(pixels)
    pixels, moved = _move(pixels, options, rng, boxes, patch)
    pixels = _simple_tone(pixels, options, rng)
    if disturbances.wanted(options):
        left, top, width, height = (0, 0, side, side) if place is None else place
        x, y = np.array([0, width - 1, width - 1, 0]) + left, np.array([0, 0, height - 1, height - 1]) + top
        corners = (moved[:2] @ np.stack([x, y, np.ones(4)])).T
        pixels = disturbances.disturb(pixels, corners, options, rng)
    return pixels, moved


def _move(
    pixels: Pixels, options: Augmentation, rng: np.random.Generator, boxes: Array, patch: int
) -> tuple[Pixels, Array]:
    side = len(pixels)
    size = patch or side
    moved = np.eye(3)
    if patch:
        moved = _window(pixels, patch / rng.uniform(*_PATCH_ZOOM), patch, rng, boxes)
    elif options.crop and rng.random() < options.crop:
        moved = _window(pixels, side / rng.uniform(1, options.crop_zoom), side, rng, boxes)
    elif options.shrink and rng.random() < _SHRUNK:
        moved = _about_middle(side, (1 - rng.uniform(0, options.shrink)) * np.eye(2))
    if options.flip and rng.random() < 0.5:
        moved = np.array([[-1.0, 0.0, size - 1.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]) @ moved
    if options.quarter_turns and rng.random() < options.quarter_turns:
        turn = np.linalg.matrix_power(np.array([[0.0, -1.0], [1.0, 0.0]]), int(rng.integers(4)))
        moved = _about_middle(size, turn) @ moved
    angle, dx, dy, zoom = rng.uniform(-1, 1, 4) * (options.rotation, options.shift, options.shift, options.zoom)
    if angle or dx or dy or zoom:
        slant = cv2.getRotationMatrix2D(((size - 1) / 2, (size - 1) / 2), angle, 1 + zoom)
        slant[:, 2] += (dx * size, dy * size)
        moved = np.vstack([slant, (0.0, 0.0, 1.0)]) @ moved
    if patch or not np.array_equal(moved, np.eye(3)):
        # The border is repeated, not blackened: a black wedge would tell rotated images from others.
        pixels = cv2.warpAffine(pixels, moved[:2], (size, size), borderMode=cv2.BORDER_REPLICATE)  # type: ignore[assignment]
    return pixels, moved


def _about_middle(size: int, linear: Array) -> Array:
    """Matrix (3, 3) of a linear map (2, 2) around the middle of a picture of `size` pixels."""
    middle = np.full(2, (size - 1) / 2)
    return np.vstack([np.column_stack([linear, middle - linear @ middle]), (0.0, 0.0, 1.0)])


def _simple_tone(pixels: Pixels, options: Augmentation, rng: np.random.Generator) -> Pixels:
    contrast = 1 + rng.uniform(-1, 1) * options.contrast
    brightness = rng.uniform(-1, 1) * options.contrast * 64
    noise = rng.uniform(0, 1) * options.noise
    if contrast == 1 and noise == 0:
        return pixels
    changed = pixels.astype(np.float32)
    changed = (changed - 127.5) * np.float32(contrast) + np.float32(127.5 + brightness)
    if noise:
        changed += rng.standard_normal(pixels.shape, np.float32) * np.float32(noise)
    # The collimator's black stays black.
    return np.where(pixels == 0, 0, np.clip(changed, 0, 255)).astype(np.uint8)


def _window(pixels: Pixels, window: float, size: int, rng: np.random.Generator, boxes: Array) -> Array:
    """Matrix (3, 3) that makes a random square window of an image the whole of a picture of `size` pixels.

    It holds one of the boxes where there are some, and is not mostly padding where there are none.
    """
    side = len(pixels)
    window = min(window, side)
    if len(boxes):
        x0, y0, x1, y1 = boxes[rng.integers(len(boxes))] * side
        window = min(max(window, _MARGIN * max(x1 - x0, y1 - y0)), side)
        free = (window - np.array([x1 - x0, y1 - y0])) / 2
        centres = np.array([[x0 + x1, y0 + y1]]) / 2 + rng.uniform(-1, 1, 2) * np.maximum(free, 0)
    else:
        centres = rng.uniform(0, side, (_TRIES, 2))
    corners = np.clip(centres, window / 2, side - window / 2) - window / 2
    left, top = next((corner for corner in corners if _seen(pixels, corner, window)), corners[-1])
    scale = size / window
    # The centre of the first pixel lies half a pixel from the edge.
    dx, dy = scale * (0.5 - left) - 0.5, scale * (0.5 - top) - 0.5
    return np.array([[scale, 0.0, dx], [0.0, scale, dy], [0.0, 0.0, 1.0]])


def _seen(pixels: Pixels, corner: Array, window: float) -> bool:
    left, top = corner.astype(int)
    return bool((pixels[top : top + int(window) : 8, left : left + int(window) : 8] > 0).mean() > 0.5)
