"""Look-alikes among millions of thumbnails, in any of their eight turned and mirrored forms, by an index.

Thumbnails are compared as vectors of length 1 without their mean, where a correlation of r is a distance of
sqrt(2 - 2r). In the frequencies of the cosine transform, mirroring changes signs by row or column, and turning swaps
rows and columns as well. Absolute values, the two of each swapped place sorted, are therefore the same for all eight
forms, and no two thumbnails are further apart by them than in their nearest forms. The same holds for any rotation and
any part of these values, the fingerprint. Fingerprints are sorted into cells of neighbours, and only cells that lie
near enough to each other are compared: that preselects without missing a pair.
"""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

import numpy as np
import numpy.typing as npt
from scipy.fft import dct
from threadpoolctl import threadpool_limits

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]

_SIDE = 6
"""Lowest frequencies in each direction that a fingerprint holds: more take memory, fewer let more strangers pass."""
_AXES = 24
"""Principal axes of the fingerprints that preselect."""
_FIRST = 12
"""Axes by which single fingerprints are told that lie too far from a cell."""
_NO_CONTRAST = 1e-3
"""Norm of a thumbnail without its mean, up to which it is blank."""
_CELL = 512
"""Fingerprints of a cell, at most."""
_COLUMNS = 1 << 14
"""Fingerprints that a cell is compared with together."""
_PAIRS = 1 << 13
"""Pairs of thumbnails that are compared together."""
_ROWS = 1 << 16
_ROUNDING = 1e-5
"""Of float32, on the distances and correlations that preselect."""


@dataclass(frozen=True)
class Pairs:
    """Pairs of thumbnails that are alike.

    images       int64 (m, 2): numbers of the two, the first the smaller
    correlation  float32 (m,): of their forms that are most alike
    mirrored     bool (m,): whether one of these is mirrored against the other
    """

    images: Integers
    correlation: Floats
    mirrored: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.images)

    def of(self, rows: npt.NDArray[np.bool_] | Integers) -> "Pairs":
        """Some of the pairs."""
        return Pairs(self.images[rows], self.correlation[rows], self.mirrored[rows])

    @classmethod
    def joined(cls, parts: list["Pairs"]) -> "Pairs":
        """All pairs of several lists, in their order."""
        if not parts:
            return cls(np.empty((0, 2), np.int64), np.empty(0, np.float32), np.empty(0, np.bool_))
        return cls(
            np.concatenate([part.images for part in parts]),
            np.concatenate([part.correlation for part in parts]),
            np.concatenate([part.mirrored for part in parts]),
        )


def alike(
    thumbnails: Floats, correlation: float, turned: bool = True, among: Integers | None = None
) -> Iterator[Pairs]:
    """Every pair of thumbnails (n, s, s) that correlates above `correlation`, some pairs at a time.

    `turned` compares them in their eight forms, otherwise as they are; `among` names those to compare, ascending, all
    by default. Blank thumbnails and those with NaN are in no pair. What is held besides the thumbnails are some 600
    bytes for each and the pairs of a few cells.
    """
    usable = _usable(thumbnails)
    if among is not None:
        usable = np.intersect1d(usable, among, assume_unique=True)
    if len(usable) < 2:
        return
    index = _Index.over(thumbnails, usable, turned)
    cores = len(os.sched_getaffinity(0))
    cells = iter(range(len(index.cells)))
    with threadpool_limits(1), ThreadPoolExecutor(cores) as pool:
        while some := list(islice(cells, 4 * cores)):
            for pairs in pool.map(lambda cell: index.pairs(cell, correlation), some):
                if len(pairs):
                    yield pairs


@dataclass(frozen=True)
class _Index:
    """The `usable` thumbnails in the order of their cells.

    usable    int64 (n,): their numbers
    waves     float32 (n, _SIDE**2): their low frequencies
    energy    float32 (n,): square of the norm of these, of 1 for the whole thumbnail
    points    float32 (n, _AXES): their fingerprints
    cells     int64 (c, 2): the first position of each cell, and the one after its last
    boxes     float32 (c, 2, _AXES): the least and the largest values in each cell
    """

    thumbnails: Floats
    turned: bool
    usable: Integers
    waves: Floats
    energy: Floats
    points: Floats
    cells: Integers
    boxes: Floats

    @classmethod
    def over(cls, thumbnails: Floats, usable: Integers, turned: bool) -> "_Index":
        transform = dct(np.eye(thumbnails.shape[1]), axis=0, norm="ortho")[:_SIDE]
        basis = np.asarray(np.kron(transform, transform).T, np.float32)
        waves = np.empty((len(usable), basis.shape[1]), np.float32)
        for start in range(0, len(usable), _ROWS):
            rows = slice(start, start + _ROWS)
            waves[rows] = _unit(thumbnails[usable[rows]]) @ basis
        points = _fingerprints(waves, turned)
        order, cells = _in_cells(points)
        waves, points = waves[order], points[order]
        boxes = np.stack([[points[a:b].min(axis=0), points[a:b].max(axis=0)] for a, b in cells])
        energy = np.einsum("ij,ij->i", waves, waves)
        return cls(thumbnails, turned, usable[order], waves, energy, points, cells, boxes)

    def pairs(self, cell: int, correlation: float) -> Pairs:
        """All pairs of a thumbnail of a cell with a later one of it, or with one of a later cell."""
        squared = max(2 - 2 * correlation, 0) + _ROUNDING
        start, end = self.cells[cell]
        here = self.points[start:end]
        box = self.boxes[cell]
        near = _apart(box, self.boxes[cell:, 0], self.boxes[cell:, 1]) <= squared
        others = np.concatenate([np.arange(a, b) for a, b in self.cells[cell:][near]])
        half = np.einsum("ij,ij->i", here, here)[:, None] / 2 - squared / 2
        parts = []
        for first in range(0, len(others), _COLUMNS):
            columns = others[first : first + _COLUMNS]
            there = self.points[columns]
            beside = _apart(box[:, :_FIRST], there[:, :_FIRST], there[:, :_FIRST]) <= squared
            columns, there = columns[beside], there[beside]
            # |a - b|^2 <= r^2, or a b - b b / 2 >= (a a - r^2) / 2
            close = here @ there.T - np.einsum("ij,ij->i", there, there) / 2 >= half
            row, column = np.divmod(np.flatnonzero(close), len(columns))
            left, right = start + row, columns[column]
            later = left < right
            parts += self._compared(left[later], right[later], correlation)
        return Pairs.joined(parts)

    def _compared(self, left: Integers, right: Integers, correlation: float) -> list[Pairs]:
        """Those of the pairs of positions that correlate as whole thumbnails."""
        result = []
        for start in range(0, len(left), _PAIRS):
            one, other = left[start : start + _PAIRS], right[start : start + _PAIRS]
            # What the frequencies that are left out may add to a correlation is at most their energy.
            low = _correlations(self.waves[one], self.waves[other], self.turned).max(axis=1)
            worth = low + 1 - (self.energy[one] + self.energy[other]) / 2 > correlation - _ROUNDING
            images = np.sort(np.column_stack([self.usable[one[worth]], self.usable[other[worth]]]), axis=1)
            found = _in_pixels(_unit(self.thumbnails[images[:, 0]]), _unit(self.thumbnails[images[:, 1]]), self.turned)
            form = found.argmax(axis=1)
            best = found[np.arange(len(found)), form]
            result.append(Pairs(images, best, form >= 4).of(best > correlation))
        return result


def _usable(thumbnails: Floats) -> Integers:
    """Numbers of the thumbnails that show something."""
    parts = [np.empty(0, np.int64)]
    for start in range(0, len(thumbnails), _ROWS):
        flat = thumbnails[start : start + _ROWS].reshape(-1, thumbnails.shape[1] * thumbnails.shape[2])
        norms = np.linalg.norm(flat - flat.mean(axis=1, keepdims=True), axis=1)
        parts.append(start + np.flatnonzero(np.isfinite(norms) & (norms > _NO_CONTRAST)))
    return np.concatenate(parts)


def _unit(thumbnails: Floats) -> Floats:
    """Thumbnails (k, s, s) without their mean, of length 1, float32 (k, s * s)."""
    flat = thumbnails.reshape(-1, thumbnails.shape[1] * thumbnails.shape[2])
    centred = flat - flat.mean(axis=1, keepdims=True)
    return np.asarray(centred / np.linalg.norm(centred, axis=1, keepdims=True), np.float32)


def _fingerprints(waves: Floats, turned: bool) -> Floats:
    """Values of each thumbnail, float32 (n, _AXES), by which no two are further apart than the thumbnails."""
    points = waves
    if turned:
        values = np.abs(waves).reshape(-1, _SIDE, _SIDE)
        swapped = values.transpose(0, 2, 1)
        upper = np.triu(np.ones((_SIDE, _SIDE), np.bool_))
        points = np.where(upper, np.maximum(values, swapped), np.minimum(values, swapped)).reshape(waves.shape)
    sample = points[:: max(1, len(points) // _ROWS)]
    middle = sample.mean(axis=0)  # small values round less
    _, axes = np.linalg.eigh(np.cov(sample.T))
    return np.ascontiguousarray((points - middle) @ np.asarray(axes[:, ::-1][:, :_AXES], np.float32))


def _apart(box: Floats, low: Floats, high: Floats) -> Floats:
    """Squares of the distances from a box (2, d), its two corners, to boxes between corners (k, d), float32 (k,)."""
    gaps = np.maximum(np.maximum(low - box[1], box[0] - high), 0)
    return np.asarray(np.einsum("ij,ij->i", gaps, gaps), np.float32)


def _in_cells(points: Floats) -> tuple[Integers, Integers]:
    """An order of the points in which cells follow each other, int64 (n,), and where each begins and ends, (c, 2)."""
    order = np.arange(len(points))
    cells, parts = [], [(0, len(points))]
    while parts:
        start, end = parts.pop()
        if end - start <= _CELL:
            cells.append((start, end))
            continue
        here = points[order[start:end]]
        values = here[:, np.ptp(here, axis=0).argmax()]
        middle = (end - start) // 2
        order[start:end] = order[start:end][np.argpartition(values, middle)]
        parts += [(start + middle, end), (start, start + middle)]
    return order, np.array(cells, np.int64)


def _correlations(first: Floats, second: Floats, turned: bool) -> Floats:
    """Of the frequencies (k, _SIDE**2) of two lists of thumbnails, in each form of the second, float32 (k, 1 or 8)."""
    if not turned:
        return np.asarray(np.einsum("ij,ij->i", first, second)[:, None], np.float32)
    swapped = second.reshape(-1, _SIDE, _SIDE).transpose(0, 2, 1).reshape(second.shape)
    return np.hstack([(first * other) @ _SIGNS for other in (second, swapped)])


def _signs() -> Floats:
    """What mirroring upside down, left to right, both or neither does to each frequency, float32 (_SIDE**2, 4)."""
    one, alternating = np.ones(_SIDE), (-1.0) ** np.arange(_SIDE)
    columns = [np.kron(rows, columns) for rows in (one, alternating) for columns in (one, alternating)]
    return np.asarray(np.column_stack(columns), np.float32)


_SIGNS = _signs()


def _in_pixels(first: Floats, second: Floats, turned: bool) -> Floats:
    """Correlations of whole thumbnails, float32 (k, 1 or 8): the second turned by quarters, then mirrored as well."""
    if not turned:
        return np.asarray(np.einsum("ij,ij->i", first, second)[:, None], np.float32)
    side = round(np.sqrt(second.shape[1]))
    plain = second.reshape(-1, side, side)
    forms = [np.rot90(each, quarters, (1, 2)) for each in (plain, plain[:, :, ::-1]) for quarters in range(4)]
    found = [np.einsum("ij,ij->i", first, form.reshape(first.shape)) for form in forms]
    return np.asarray(np.column_stack(found), np.float32)
