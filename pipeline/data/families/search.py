"""Which images of a folder show the same exposure."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
from scipy.cluster.hierarchy import DisjointSet
from threadpoolctl import threadpool_limits

from pipeline.data.families.alignment import align
from pipeline.data.families.candidates import candidates
from pipeline.data.families.features import Features, FeatureTable
from pipeline.data.scan import connected
from pipeline.progress import progress_bar

_ROUND = 128
"""Pairs that are compared before it is asked again which of the rest are joined; the same on any number of cores."""
_NONE: npt.NDArray[np.int64] = np.empty((0, 2), np.int64)
_FEW = 18
"""Keypoints below which a copy seldom shares enough of them to be found."""


def with_few_keypoints(table: FeatureTable) -> npt.NDArray[np.int64]:
    """Numbers of the images that have too few keypoints for `related` to find them."""
    return np.flatnonzero(table.counts < _FEW)


def related(table: FeatureTable, known: npt.NDArray[np.int64] = _NONE) -> npt.NDArray[np.int64]:
    """Pairs (i, j), i < j, of images that are one picture, int64 (m, 2), sorted.

    Images that `known` pairs (k, 2) or pairs found before join already are not compared again, as a family is what
    its pairs connect: a folder of many copies takes a third of the time.
    """
    with threadpool_limits(1):  # a product of small matrices is no work for several threads
        return aligned(candidates(table), table.of, connected(len(table), known))


def aligned(
    asked: npt.NDArray[np.int64], features_of: Callable[[int], Features | None], groups: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Those of the pairs `asked`, int64 (m, 3) as of `candidates`, that alignment finds to be one picture, (k, 2).

    `groups` names, by image, what is joined already; pairs within one are not compared. `features_of` is called from
    several threads; an image that it has no features of is related to none.
    """
    families = DisjointSet(np.unique(groups[asked[:, :2]]).tolist())
    found: list[tuple[int, int]] = []

    def names_of(pair: list[int]) -> tuple[int, int]:
        return int(groups[pair[0]]), int(groups[pair[1]])

    def check(pair: list[int]) -> bool:
        first, second = features_of(pair[0]), features_of(pair[1])
        return first is not None and second is not None and align(first, second, bool(pair[2])).related

    with (
        threadpool_limits(1),
        ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool,
        progress_bar("validate: looking for copies", len(asked)) as advance,
    ):
        for start in range(0, len(asked), _ROUND):
            of_round = asked[start : start + _ROUND]
            apart = [pair for pair in of_round.tolist() if not families.connected(*names_of(pair))]
            for pair, one in zip(apart, pool.map(check, apart), strict=True):
                if one:
                    families.merge(*names_of(pair))
                    found.append((pair[0], pair[1]))
            advance(len(of_round))
    return np.unique(np.array(found, np.int64).reshape(-1, 2), axis=0)
