"""Visual words: cells of descriptor space, learnt from the images themselves."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.data.families.features import unit

_SAMPLE = 100_000
_DIMENSIONS = 32
_ROUNDS = 6
_PER_WORD = 128
"""Keypoints a word, about; fewer words make more pairs to compare, more of them part likes."""
_MOST_CELLS = 181
_BLOCK = 1 << 15

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Vocabulary:
    """Words in two levels: `coarse` (c, 32) and, in each of its cells, `fine` (c, c, 32), after `mean` and `axes`."""

    mean: Floats
    axes: Floats
    coarse: Floats
    fine: Floats

    @classmethod
    def learn(cls, descriptors: npt.NDArray[np.uint8], seed: int = 0) -> "Vocabulary":
        """Principal axes and k-means in two levels, over a sample; the same for the same descriptors."""
        rng = np.random.default_rng(seed)
        rows = rng.choice(len(descriptors), min(len(descriptors), _SAMPLE), replace=False)
        sample = unit(descriptors[np.sort(rows)])
        mean = sample.mean(axis=0)
        _, axes = np.linalg.eigh(np.cov((sample - mean).T))
        first = np.asarray(axes[:, ::-1][:, :_DIMENSIONS], np.float32)
        points = np.asarray((sample - mean) @ first, np.float32)
        cells = int(np.clip(np.sqrt(len(descriptors) / _PER_WORD), 1, _MOST_CELLS))
        coarse = _k_means(points, cells, rng)
        nearest = _scores(points, coarse).argmax(axis=1)
        fine = [_k_means(points[nearest == cell], cells, rng) for cell in range(cells)]
        return cls(mean, first, coarse, np.stack(fine))

    @property
    def words(self) -> int:
        """How many there are."""
        return len(self.coarse) ** 2

    def nearest_two(
        self, descriptors: npt.NDArray[np.uint8], order: npt.NDArray[np.int64] | None = None
    ) -> npt.NDArray[np.int32]:
        """The nearest word of each descriptor and a near one, int32 (k, 2); `order` permutes its values first."""
        result = np.empty((len(descriptors), 2), np.int32)
        for start in range(0, len(descriptors), _BLOCK):
            block = descriptors[start : start + _BLOCK]
            result[start : start + _BLOCK] = self._of_block(block if order is None else block[:, order])
        return result

    def _of_block(self, descriptors: npt.NDArray[np.uint8]) -> npt.NDArray[np.int32]:
        points = np.asarray((unit(descriptors) - self.mean) @ self.axes, np.float32)
        cells = len(self.coarse)
        if cells < 2:
            return np.zeros((len(points), 2), np.int32)
        found = _scores(points, self.coarse)
        result = np.zeros((len(points), 4), np.int32)
        score = np.zeros((len(points), 4), np.float32)
        for column in range(2):
            cell = found.argmax(axis=1)
            found[np.arange(len(found)), cell] = -np.inf
            order = np.argsort(cell, kind="stable")
            for rows in np.split(order, np.searchsorted(cell[order], np.arange(1, cells))):
                if not len(rows):
                    continue
                here = cell[rows[0]]
                fine = _scores(points[rows], self.fine[here])
                best = np.argpartition(-fine, 1, axis=1)[:, :2]
                columns = slice(2 * column, 2 * column + 2)
                result[rows, columns] = here * cells + best
                score[rows, columns] = np.take_along_axis(fine, best, 1)
        order = np.argsort(-score, axis=1, kind="stable")[:, :2]
        return np.take_along_axis(result, order, 1)


def _scores(points: Floats, centres: Floats) -> Floats:
    """The larger, the nearer, float32 (points, centres)."""
    return np.asarray(points @ centres.T - np.float32(0.5) * (centres * centres).sum(axis=1), np.float32)


def _k_means(points: Floats, count: int, rng: np.random.Generator) -> Floats:
    """`count` centres of points, some of them equal where there are fewer points."""
    if not len(points):
        return np.zeros((count, points.shape[1]), np.float32)
    centres = points[rng.choice(len(points), count, replace=len(points) < count)].copy()
    for _ in range(_ROUNDS):
        nearest = _scores(points, centres).argmax(axis=1)
        order = np.argsort(nearest, kind="stable")
        present, starts = np.unique(nearest[order], return_index=True)
        sizes = np.diff(np.append(starts, len(points)))
        centres[present] = np.add.reduceat(points[order], starts, axis=0) / sizes[:, None]
    return centres
