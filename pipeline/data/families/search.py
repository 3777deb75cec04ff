"""Which images of a folder show the same exposure."""

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
from scipy.cluster.hierarchy import DisjointSet
from threadpoolctl import threadpool_limits

from pipeline.data.families.alignment import align
from pipeline.data.families.candidates import candidates
from pipeline.data.families.features import FeatureTable
from pipeline.progress import progress_bar

_ROUND = 128
"""Pairs that are compared before it is asked again which of the rest are joined; the same on any number of cores."""
_NONE: npt.NDArray[np.int64] = np.empty((0, 2), np.int64)
_FEW = 18
"""Keypoints below which nothing is aligned: twice as many as must agree."""


def with_few_keypoints(table: FeatureTable) -> npt.NDArray[np.int64]:
    """Numbers of the images that have too few keypoints for `related` to find them."""
    return np.flatnonzero(table.counts < _FEW)


def related(table: FeatureTable, known: npt.NDArray[np.int64] = _NONE) -> npt.NDArray[np.int64]:
    """Pairs (i, j), i < j, of images that are one picture, int64 (m, 2), sorted.

    Images that `known` pairs (k, 2) or pairs found before join already are not compared again, as a family is what
    its pairs connect: a folder of many copies takes a third of the time.
    """
    families = DisjointSet(range(len(table)))
    for first, second in known.tolist():
        families.merge(first, second)
    found: list[tuple[int, int]] = []

    def check(pair: tuple[int, int, int]) -> bool:
        first, second, mirrored = pair
        return align(table.of(first), table.of(second), bool(mirrored)).related

    with threadpool_limits(1):  # a product of small matrices is no work for several threads
        asked = candidates(table).tolist()
        with (
            ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool,
            progress_bar("validate: looking for copies", len(asked)) as advance,
        ):
            for start in range(0, len(asked), _ROUND):
                of_round = asked[start : start + _ROUND]
                apart = [pair for pair in of_round if not families.connected(pair[0], pair[1])]
                for (first, second, _), one in zip(apart, pool.map(check, apart), strict=True):
                    if one:
                        families.merge(first, second)
                        found.append((first, second))
                advance(len(of_round))
    return np.unique(np.array(found, np.int64).reshape(-1, 2), axis=0)
