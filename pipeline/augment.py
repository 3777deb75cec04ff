"""Training batches: shuffled and changed at random, the same for the same seed and epoch."""

import math
from typing import Any

import cv2
import keras
import numpy as np
import numpy.typing as npt

from pipeline.params import Augmentation

Pixels = npt.NDArray[np.uint8]


def augment(pixels: Pixels, options: Augmentation, rng: np.random.Generator) -> Pixels:
    """One image, uint8 (h, w), flipped, turned, shifted, zoomed, with other contrast and noise; same shape."""
    height, width = pixels.shape
    flip = options.flip and rng.random() < 0.5
    angle, dx, dy, zoom = rng.uniform(-1, 1, 4) * (options.rotation, options.shift, options.shift, options.zoom)
    if angle or dx or dy or zoom or flip:
        turn = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, 1 + zoom)
        turn[:, 2] += (dx * width, dy * height)
        if flip:
            turn = turn @ np.array([[-1.0, 0.0, width - 1.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
        # The border is repeated, not blackened: a black wedge would tell rotated images from others.
        pixels = cv2.warpAffine(pixels, turn, (width, height), borderMode=cv2.BORDER_REPLICATE)  # type: ignore[assignment]
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


class Batches(keras.utils.PyDataset):
    """Batches of (pixels uint8 (b, size, size, 1), labels float32 (b,) or int (b,), weights float32 (b,)).

    What a batch holds depends on `seed`, `epoch` and its number alone, so that a training that was stopped goes
    on with the batches it would have had. Without `augmentation` the order is kept: for measuring.
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
    ) -> None:
        super().__init__(workers=1, use_multiprocessing=False)
        self._images, self._rows, self._labels = images, rows, labels
        self._weights = np.ones(len(rows), np.float32) if weights is None else weights
        self._batch_size, self._seed, self._augmentation = batch_size, seed, augmentation
        self.epoch = 0

    def __len__(self) -> int:
        return math.ceil(len(self._rows) / self._batch_size)

    def __getitem__(self, index: int) -> tuple[Pixels, npt.NDArray[Any], npt.NDArray[np.float32]]:
        order = self._order()[index * self._batch_size : (index + 1) * self._batch_size]
        # Ascending rows read the memory map front to back.
        order = np.sort(order)
        pixels = self._images[self._rows[order]]
        if self._augmentation is not None:
            rng = np.random.default_rng((self._seed, self.epoch, index))
            pixels = np.stack([augment(image, self._augmentation, rng) for image in pixels])
        return pixels[..., np.newaxis], self._labels[order], self._weights[order]

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
