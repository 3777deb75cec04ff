"""Training batches: shuffled and changed at random, the same for the same seed and epoch."""

import math
from typing import Any

import cv2
import keras
import numpy as np
import numpy.typing as npt

from pipeline.params import Augmentation
from pipeline.training.architectures import LOCATION, PROBABILITY
from pipeline.training.localisation_targets import LocalisationTargets

Pixels = npt.NDArray[np.uint8]
Array = npt.NDArray[np.float64]

NO_BOXES: Array = np.zeros((0, 4))
_MARGIN = 1.2
"""A crop around a fracture is at least this many times as large as its box."""
_PATCH_ZOOM = (0.8, 1.5)
_TRIES = 6


def augment(
    pixels: Pixels, options: Augmentation, rng: np.random.Generator, boxes: Array = NO_BOXES, patch: int = 0
) -> tuple[Pixels, Array]:
    """One image, uint8 (side, side), cropped, flipped, turned, shifted, zoomed, with other contrast and noise.

    `boxes` (k, 4) are fractions of the image; a crop of an image that has some holds one of them. The result has the
    same shape, or (patch, patch): then it is a window of about that size out of the image. Also returned is the matrix
    (3, 3) that takes a point of the image, in pixels from the centre of the first, to where it is now.
    """
    side = len(pixels)
    size = patch or side
    moved = np.eye(3)
    if patch:
        moved = _window(pixels, patch / rng.uniform(*_PATCH_ZOOM), patch, rng, boxes)
    elif options.crop and rng.random() < options.crop:
        moved = _window(pixels, side / rng.uniform(1, options.crop_zoom), side, rng, boxes)
    if options.flip and rng.random() < 0.5:
        moved = np.array([[-1.0, 0.0, size - 1.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]) @ moved
    angle, dx, dy, zoom = rng.uniform(-1, 1, 4) * (options.rotation, options.shift, options.shift, options.zoom)
    if angle or dx or dy or zoom:
        turn = cv2.getRotationMatrix2D(((size - 1) / 2, (size - 1) / 2), angle, 1 + zoom)
        turn[:, 2] += (dx * size, dy * size)
        moved = np.vstack([turn, (0.0, 0.0, 1.0)]) @ moved
    if patch or not np.array_equal(moved, np.eye(3)):
        # The border is repeated, not blackened: a black wedge would tell rotated images from others.
        pixels = cv2.warpAffine(pixels, moved[:2], (size, size), borderMode=cv2.BORDER_REPLICATE)  # type: ignore[assignment]
    contrast = 1 + rng.uniform(-1, 1) * options.contrast
    brightness = rng.uniform(-1, 1) * options.contrast * 64
    noise = rng.uniform(0, 1) * options.noise
    if contrast == 1 and noise == 0:
        return pixels, moved
    changed = pixels.astype(np.float32)
    changed = (changed - 127.5) * np.float32(contrast) + np.float32(127.5 + brightness)
    if noise:
        changed += rng.standard_normal(pixels.shape, np.float32) * np.float32(noise)
    # The collimator's black stays black.
    return np.where(pixels == 0, 0, np.clip(changed, 0, 255)).astype(np.uint8), moved


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


class Batches(keras.utils.PyDataset):
    """Batches of (pixels uint8 (b, size, size, 1), labels float32 (b,) or int (b,), weights float32 (b,)).

    What a batch holds depends on `seed`, `epoch` and its number alone, so that a training that was stopped goes
    on with the batches it would have had. Without `augmentation` the order is kept: for measuring.

    With `patch` > 0 they are windows of that size out of the images (`augment`). With `locations` labels and weights
    are dicts: `probability` as above, and `location`, float32 (b, grid, grid, 1) and (b, grid, grid), where the
    fractures are.
    """

    def __init__(
        self,
        images: npt.NDArray[np.uint8],
        rows: npt.NDArray[np.int64],
        labels: npt.NDArray[Any],
        *,
        batch_size: int,
        seed: int = 0,
        augmentation: Augmentation | None = None,
        weights: npt.NDArray[np.float32] | None = None,
        locations: LocalisationTargets | None = None,
        patch: int = 0,
    ) -> None:
        super().__init__(workers=1, use_multiprocessing=False)
        self._images, self._rows, self._labels = images, rows, labels
        self._weights = np.ones(len(rows), np.float32) if weights is None else weights
        self._batch_size, self._seed, self._augmentation = batch_size, seed, augmentation
        self._locations, self._patch = locations, patch
        self.epoch = 0

    def __len__(self) -> int:
        return math.ceil(len(self._rows) / self._batch_size)

    def __getitem__(self, index: int) -> tuple[Pixels, Any, Any]:
        order = self._order()[index * self._batch_size : (index + 1) * self._batch_size]
        # Ascending rows read the memory map front to back.
        order = np.sort(order)
        pixels = self._images[self._rows[order]]
        moved = np.tile(np.eye(3), (len(order), 1, 1))
        if self._augmentation is not None:
            rng = np.random.default_rng((self._seed, self.epoch, index))
            boxes = [self._locations.boxes[row] if self._locations else NO_BOXES for row in order]
            pairs = zip(pixels, boxes, strict=True)
            found = [augment(image, self._augmentation, rng, box, self._patch) for image, box in pairs]
            pixels, moved = np.stack([image for image, _ in found]), np.stack([matrix for _, matrix in found])
        labels, weights = self._labels[order], self._weights[order]
        if self._locations is None:
            return pixels[..., np.newaxis], labels, weights
        maps, trust = self._locations.batch(order, moved, self._images.shape[1], pixels.shape[1])
        trust *= weights[:, np.newaxis, np.newaxis]
        return (
            pixels[..., np.newaxis],
            {PROBABILITY: labels, LOCATION: maps[..., np.newaxis]},
            {PROBABILITY: weights, LOCATION: trust},
        )

    def _order(self) -> npt.NDArray[np.int64]:
        if self._augmentation is None:
            return np.arange(len(self._rows))
        return np.random.default_rng((self._seed, self.epoch)).permutation(len(self._rows))


class FollowEpoch(keras.callbacks.Callback):
    """Tells `Batches` which epoch begins."""

    def __init__(self, batches: Batches) -> None:
        super().__init__()
        self._batches = batches

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002  Keras's signature
        self._batches.epoch = epoch
