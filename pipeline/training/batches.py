"""Training batches: shuffled and changed at random, the same for the same seed and epoch."""

import math
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from pipeline.data.image_shards import ImageRows
from pipeline.training.architectures import LOCATION, PROBABILITY
from pipeline.training.augmentation import NO_BOXES, Pixels, augment
from pipeline.training.localisation_targets import Targets
from pipeline.training.params import Augmentation
from pipeline.training.soft_targets import SoftTargets


class Batches(keras.utils.PyDataset):
    """Batches of (pixels uint8 (b, size, size, 1), labels float32 (b,) or int (b,), weights float32 (b,)).

    What a batch holds depends on `seed`, `epoch` and its number alone, and how an image is changed on `seed`, `epoch`
    and its place in `rows`: a training that was stopped goes on with the batches it would have had, whoever makes
    them. Without `augmentation` the order is kept: for measuring.

    With `patch` > 0 they are windows of that size out of the images (`augment`). With `locations` labels and weights
    are dicts: `probability` as above, and `location`, float32 (b, grid, grid, 1) and (b, grid, grid), where the
    fractures are.

    `places` (n, 4), left, top, width and height in pixels, are where the images hold no padding; of each image one of
    `rows`. With `soft`, labels are (b, 2) and maps (b, grid, grid, 2): what people say, and what the teachers say.
    """

    def __init__(
        self,
        images: ImageRows,
        rows: npt.NDArray[np.int64],
        labels: npt.NDArray[Any],
        *,
        batch_size: int,
        seed: int = 0,
        augmentation: Augmentation | None = None,
        weights: npt.NDArray[np.float32] | None = None,
        locations: Targets | None = None,
        patch: int = 0,
        places: npt.NDArray[np.int64] | None = None,
        soft: SoftTargets | None = None,
    ) -> None:
        super().__init__(workers=1, use_multiprocessing=False)
        self._images, self._rows, self._labels = images, rows, labels
        self._weights = np.ones(len(rows), np.float32) if weights is None else weights
        self._batch_size, self._seed, self._augmentation = batch_size, seed, augmentation
        self._locations, self._patch = locations, patch
        self._places, self._soft = places, soft
        self._rank, self._processes = 0, 1
        self.epoch = 0

    def share(self, rank: int, processes: int) -> None:
        """From now on give only the images of each batch that process `rank` of `processes` works on.

        Shares differ by one image at most. Where the last batch has none left for a process, it gets one that weighs
        nothing, because TensorFlow's convolutions fail without any.
        """
        self._rank, self._processes = rank, processes

    def rows_here(self, index: int) -> int:
        """How many of a batch's images this process works on."""
        return len(range(self._rank, self.rows_of(index), self._processes))

    def rows_of(self, index: int) -> int:
        """How many images a batch has, whoever works on them."""
        return min(self._batch_size, len(self._rows) - index * self._batch_size)

    def __len__(self) -> int:
        return math.ceil(len(self._rows) / self._batch_size)

    def __getitem__(self, index: int) -> tuple[Pixels, Any, Any]:
        order = self._order()[index * self._batch_size : (index + 1) * self._batch_size]
        # Ascending rows read the memory map front to back.
        order = np.sort(order)
        share = order[self._rank :: self._processes]
        if len(share):
            return self._batch(share)
        pixels, truth, weights = self._batch(order[:1])
        return pixels, truth, keras.tree.map_structure(np.zeros_like, weights)

    def _batch(self, order: npt.NDArray[np.int64]) -> tuple[Pixels, Any, Any]:
        pixels = self._images[self._rows[order]]
        moved = np.tile(np.eye(3), (len(order), 1, 1))
        if self._augmentation is not None:
            boxes = [self._locations.boxes[row] if self._locations else NO_BOXES for row in order]
            places = [None if self._places is None else self._places[row] for row in order]
            found = [
                augment(image, self._augmentation, self._chance(row), box, self._patch, place=place)
                for row, image, box, place in zip(order, pixels, boxes, places, strict=True)
            ]
            pixels, moved = np.stack([image for image, _ in found]), np.stack([matrix for _, matrix in found])
        labels, weights = self._labels[order], self._weights[order]
        if self._locations is None:
            return pixels[..., np.newaxis], labels, weights
        maps, trust = self._locations.batch(order, moved, self._images.shape[1], pixels.shape[1])
        told = maps[..., np.newaxis]
        if self._soft is not None:
            labels, told = self._soft.beside(labels, maps, order, moved, hard_labels=self._patch > 0)
        trust *= weights[:, np.newaxis, np.newaxis]
        return (
            pixels[..., np.newaxis],
            {PROBABILITY: labels, LOCATION: told},
            {PROBABILITY: weights, LOCATION: trust},
        )

    def _chance(self, row: int) -> np.random.Generator:
        """What changes one image; counted from 1, as a seed that ends in 0 is that of the order."""
        return np.random.default_rng((self._seed, self.epoch, row + 1))

    def _order(self) -> npt.NDArray[np.int64]:
        if self._augmentation is None:
            return np.arange(len(self._rows))
        return np.random.default_rng((self._seed, self.epoch)).permutation(len(self._rows))


class FollowEpoch(keras.callbacks.Callback):
    """Tells `Batches` which epoch begins."""

    def __init__(self, batches: Batches) -> None:
        super().__init__()
        self._batches = batches

    def on_epoch_begin(self, epoch: int, _logs: Any = None) -> None:
        self._batches.epoch = epoch
