"""Pairs of images worth aligning: those with many keypoints that look alike and are turned by the same angle."""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.data.families.features import MIRRORED, FeatureTable, unit
from pipeline.data.families.vocabulary import Vocabulary

Integers = npt.NDArray[np.int64]

_BITS = 64
_DISTANCE = 16
"""Bits by which the signatures of alike keypoints differ, at most (Hamming embedding, Jegou 2008)."""
_TURNS = 16
"""Bins of the angle by which one keypoint is turned against the other."""
_LEAST = 3
"""Alike keypoints in two neighbouring bins, of a pair that is aligned."""
_KEPT = 6
"""Candidates that are kept of each image."""
_CROWD = 4096
"""Keypoints of a word beyond which it says nothing."""
_BLOCK = 512
_PARTS = 16
_CHUNK = 256
"""Words that a thread takes at a time."""


class _Index:
    """Which keypoints have which word, for words in one or more columns."""

    def __init__(self, words: npt.NDArray[np.int32], count: int) -> None:
        flat = words.ravel()
        order = np.argsort(flat, kind="stable")
        self._starts = np.searchsorted(flat[order], np.arange(count + 1))
        self._rows = np.asarray(order // words.shape[1], np.int32)

    def of(self, word: int) -> npt.NDArray[np.int32]:
        """Positions of the keypoints of a word, ascending."""
        return self._rows[self._starts[word] : self._starts[word + 1]]


def candidates(table: FeatureTable) -> Integers:
    """Pairs to align, int64 (m, 3): image, image, 1 where the first is mirrored; sorted, the first number smaller."""
    if not len(table.points):
        return np.empty((0, 3), np.int64)
    vocabulary = Vocabulary.learn(table.descriptors)
    work = _Comparison.prepare(table, vocabulary)
    chunks = [range(i, min(i + _CHUNK, vocabulary.words)) for i in range(0, vocabulary.words, _CHUNK)]
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        found = list(pool.map(work.alike, chunks))
    columns = [list(column) for column in zip(*found, strict=True)]
    del found
    counted = []
    for number, column in enumerate(columns):
        counted.append(_counted(np.concatenate(column), number * work.part))
        column.clear()  # a large folder has hundreds of megabytes of them
    bins, both = (np.concatenate(each) for each in zip(*counted, strict=True))
    return _strongest(bins, both, len(table))


@dataclass(frozen=True)
class _Comparison:
    """Compares the keypoints of each word with each other, as they are and mirrored."""

    table: FeatureTable
    owner: npt.NDArray[np.int32]
    base: _Index
    queries: tuple[_Index, _Index]
    rotation: npt.NDArray[np.float32]
    part: int
    """Keys that differ by less share an array: what is left of them fits in 32 bits, and a pair is never cut in two."""

    @classmethod
    def prepare(cls, table: FeatureTable, vocabulary: Vocabulary) -> "_Comparison":
        words = vocabulary.nearest_two(table.descriptors)
        mirrored = vocabulary.nearest_two(table.descriptors, MIRRORED)
        queries = _Index(words, vocabulary.words), _Index(mirrored, vocabulary.words)
        random = np.random.default_rng(1).normal(size=(128, _BITS))
        rotation = np.asarray(np.linalg.qr(random)[0], np.float32)
        part = min(-(-2 * len(table) ** 2 // _PARTS), (1 << 32) // (_TURNS + 1)) * (_TURNS + 1)
        return cls(table, table.owner, _Index(words[:, :1], vocabulary.words), queries, rotation, part)

    def alike(self, words: range) -> list[npt.NDArray[np.uint32]]:
        """One key (`_keys`) for every two keypoints of different images that are alike, less the start of its part."""
        found = [np.empty(0, np.int64)]
        for word in words:
            rows = self.base.of(word)
            if not 2 <= len(rows) <= _CROWD:
                continue
            projected = unit(self.table.descriptors[rows]) @ self.rotation
            middle = np.median(projected, axis=0)
            known = _signatures(projected > middle)
            for form, queries in enumerate(self.queries):
                every = queries.of(word)
                for start in range(0, len(every), _BLOCK):  # so that a frequent word takes little memory
                    asked = every[start : start + _BLOCK]
                    descriptors = self.table.descriptors[asked]
                    projected = unit(descriptors[:, MIRRORED] if form else descriptors) @ self.rotation
                    bits = np.bitwise_count(_signatures(projected > middle)[:, None] ^ known)
                    left, right = np.nonzero(bits <= _DISTANCE)
                    found.append(self._keys(asked[left], rows[right], form))
        keys = np.sort(np.concatenate(found))
        starts = np.arange(0, 2 * len(self.table) ** 2 * (_TURNS + 1), self.part)
        split = np.split(keys, np.searchsorted(keys, starts[1:]))
        return [np.asarray(each - start, np.uint32) for each, start in zip(split, starts, strict=True)]

    def _keys(self, asked: npt.NDArray[np.int32], rows: npt.NDArray[np.int32], form: int) -> Integers:
        """Form, both images and the bin of the turn as one number; the first bin counts as the one after the last."""
        first, second = self.owner[asked].astype(np.int64), self.owner[rows].astype(np.int64)
        angles = self.table.points[:, 2]
        # Mirrored, a direction d is 180 - d; both ways round a mirrored pair is turned by the same angle.
        turn = angles[asked] + angles[rows] - 180 if form else angles[rows] - angles[asked]
        if not form:
            turn = np.where(first < second, turn, -turn)
        turns = np.asarray(turn % 360 * (_TURNS / 360), np.int64) % _TURNS
        low, high = np.minimum(first, second), np.maximum(first, second)
        count = len(self.table)
        keys = ((form * count + low) * count + high) * (_TURNS + 1) + turns
        keys = keys[low != high]
        return np.concatenate([keys, keys[keys % (_TURNS + 1) == 0] + _TURNS])


def _signatures(bits: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint64]:
    return np.packbits(bits, axis=1).view(np.uint64).ravel()


def _counted(keys: npt.NDArray[np.uint32], start: int) -> tuple[Integers, npt.NDArray[np.int32]]:
    """Bins with enough alike keypoints, themselves and the next one together, and how many; sorts `keys` in place."""
    keys.sort()
    starts = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]])[: len(keys)])
    bins, alike = keys[starts].astype(np.int64), np.diff(starts, append=len(keys)).astype(np.int32)
    next_turn = (bins[1:] == bins[:-1] + 1) & (bins[1:] % (_TURNS + 1) > 0)  # the first bin belongs to another pair
    both = alike.copy()
    both[:-1][next_turn] += alike[1:][next_turn]
    return bins[both >= _LEAST] + start, both[both >= _LEAST]


def _strongest(bins: Integers, both: npt.NDArray[np.int32], count: int) -> Integers:
    """The pairs with most alike keypoints in two neighbouring bins, a few of each image."""
    if not len(bins):
        return np.empty((0, 3), np.int64)
    pairs, starts = np.unique(bins // (_TURNS + 1), return_index=True)
    score = np.maximum.reduceat(both, starts)
    first, second, form = pairs // count % count, pairs % count, pairs // count // count
    return np.column_stack([first, second, form])[among_strongest(first, second, score, _KEPT)]


def among_strongest(first: Integers, second: Integers, score: npt.NDArray[Any], kept: int) -> Integers:
    """Positions, ascending, of the pairs that are among the `kept` with the highest score of one of their images."""
    images = np.concatenate([first, second])
    position = np.tile(np.arange(len(first)), 2)
    order = np.lexsort((position, -score[position], images))
    _, starts = np.unique(images[order], return_index=True)
    rank = np.arange(len(order)) - np.repeat(starts, np.diff(np.append(starts, len(order))))
    return np.unique(position[order][rank < kept])
