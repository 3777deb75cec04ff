"""Look-alikes among millions of thumbnails, in any of their eight turned and mirrored forms, by an index.

Thumbnails are compared as vectors of length 1 without their mean, where a correlation of r is a distance of
sqrt(2 - 2r). In the frequencies of the cosine transform, mirroring changes signs by row or column, and turning swaps
rows and columns as well. Absolute values, the two of each swapped place sorted, are therefore the same for all eight
forms, and no two thumbnails are further apart by them than in their nearest forms: a search tree over such a
fingerprint preselects without missing a pair. The same holds for any rotation and for any part of its values.
"""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

import numpy as np
import numpy.typing as npt
from scipy.fft import dct
from scipy.spatial import cKDTree
from threadpoolctl import threadpool_limits

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]

_SIDE = 6
"""Lowest frequencies in each direction that a fingerprint holds: more take memory, fewer let more strangers pass."""
_AXES = 24
"""Principal axes of the fingerprints that the tree is built over."""
_NO_CONTRAST = 1e-3
"""Norm of a thumbnail without its mean, up to which it is blank."""
_BLOCK = 2048
"""Neighbours in the tree that are asked for together."""
_PAIRS = 1 << 15
"""Pairs that are compared together."""
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
        columns = ([part.images for part in parts], [p.correlation for p in parts], [p.mirrored for p in parts])
        return cls(*(np.concatenate(column) for column in columns))


def alike(
    thumbnails: Floats, correlation: float, turned: bool = True, among: Integers | None = None
) -> Iterator[Pairs]:
    """Every pair of thumbnails (n, s, s) that correlates above `correlation`, some pairs at a time.

    `turned` compares them in their eight forms, otherwise as they are; `among` names those to compare, ascending, all
    by default. Blank thumbnails and those with NaN are in no pair. What is held besides the thumbnails are some 400
    bytes for each and the pairs of a few blocks.
    """
    usable = _usable(thumbnails)
    if among is not None:
        usable = np.intersect1d(usable, among, assume_unique=True)
    if len(usable) < 2:
        return
    index = _Index.over(thumbnails, usable, turned)
    cores = len(os.sched_getaffinity(0))
    blocks = (index.order[start : start + _BLOCK] for start in range(0, len(usable), _BLOCK))
    with threadpool_limits(1), ThreadPoolExecutor(cores) as pool:
        while some := list(islice(blocks, 4 * cores)):
            for pairs in pool.map(lambda rows: index.pairs(rows, correlation), some):
                if len(pairs):
                    yield pairs


@dataclass(frozen=True)
class _Index:
    """Low frequencies of the `usable` thumbnails, float32 (n, 36), and a tree over what all forms share of them."""

    thumbnails: Floats
    usable: Integers
    turned: bool
    waves: Floats
    energy: Floats
    tree: cKDTree

    @classmethod
    def over(cls, thumbnails: Floats, usable: Integers, turned: bool) -> "_Index":
        transform = dct(np.eye(thumbnails.shape[1]), axis=0, norm="ortho")[:_SIDE]
        basis = np.asarray(np.kron(transform, transform).T, np.float32)
        waves = np.empty((len(usable), basis.shape[1]), np.float32)
        for start in range(0, len(usable), _ROWS):
            rows = slice(start, start + _ROWS)
            waves[rows] = _unit(thumbnails[usable[rows]]) @ basis
        energy = np.einsum("ij,ij->i", waves, waves)
        return cls(thumbnails, usable, turned, waves, energy, cKDTree(_points(waves, turned), copy_data=False))

    @property
    def order(self) -> Integers:
        """Positions among `usable` such that neighbours follow each other."""
        return np.asarray(self.tree.indices, np.int64)

    def pairs(self, rows: Integers, correlation: float) -> Pairs:
        """All pairs of a thumbnail at one of the positions `rows` with one at a higher position."""
        radius = float(np.sqrt(max(2 - 2 * correlation, 0))) + _ROUNDING
        near = cKDTree(self.tree.data[rows]).sparse_distance_matrix(self.tree, radius, output_type="ndarray")
        first, second = rows[near["i"]], np.asarray(near["j"], np.int64)
        later = first < second
        first, second = first[later], second[later]
        parts = [
            self._compared(first[start : start + _PAIRS], second[start : start + _PAIRS], correlation)
            for start in range(0, len(first), _PAIRS)
        ]
        return Pairs.joined(parts)

    def _compared(self, first: Integers, second: Integers, correlation: float) -> Pairs:
        # What the frequencies that are left out may add to a correlation is at most their energy.
        low = _correlations(self.waves[first], self.waves[second], self.turned).max(axis=1)
        left_out = 1 - (self.energy[first] + self.energy[second]) / 2
        worth = low + left_out > correlation - _ROUNDING
        images = np.column_stack([self.usable[first[worth]], self.usable[second[worth]]])
        found = _in_pixels(*(_unit(self.thumbnails[column]) for column in images.T), self.turned)
        form = found.argmax(axis=1)
        best = found[np.arange(len(found)), form]
        return Pairs(images, best, form >= 4).of(best > correlation)


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


def _points(waves: Floats, turned: bool) -> npt.NDArray[np.float64]:
    """What the tree is built over, float64 (n, _AXES): no two are further apart than the thumbnails."""
    points = waves
    if turned:
        points = np.abs(waves).reshape(-1, _SIDE, _SIDE)
        swapped = points.transpose(0, 2, 1)
        upper = np.triu(np.ones((_SIDE, _SIDE), np.bool_))
        points = np.where(upper, np.maximum(points, swapped), np.minimum(points, swapped)).reshape(waves.shape)
    sample = points[:: max(1, len(points) // _ROWS)]
    _, axes = np.linalg.eigh(np.cov(sample.T))
    return np.ascontiguousarray(points @ axes[:, ::-1][:, :_AXES], np.float64)


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
