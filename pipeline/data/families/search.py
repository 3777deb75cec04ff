"""Which images of a folder show the same exposure."""

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from pipeline.data.families.alignment import align
from pipeline.data.families.candidates import candidates
from pipeline.data.families.features import FeatureTable
from pipeline.progress import progress_bar

_CHUNK = 64
_FEW = 18
"""Keypoints below which nothing is aligned: twice as many as must agree."""


def with_few_keypoints(table: FeatureTable) -> npt.NDArray[np.int64]:
    """Numbers of the images that have too few keypoints for `related` to find them."""
    return np.flatnonzero(table.counts < _FEW)


def related(table: FeatureTable) -> npt.NDArray[np.int64]:
    """Pairs (i, j), i < j, of images that are one picture, int64 (m, 2), sorted."""
    with threadpool_limits(1):  # a product of small matrices is no work for several threads
        asked = candidates(table)
        chunks = [asked[i : i + _CHUNK] for i in range(0, len(asked), _CHUNK)]

        def check(pairs: npt.NDArray[np.int64]) -> list[bool]:
            return [align(table.of(i), table.of(j), bool(mirrored)).related for i, j, mirrored in pairs.tolist()]

        kept: list[bool] = []
        with (
            ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool,
            progress_bar("validate: looking for copies", len(asked)) as advance,
        ):
            for chunk in pool.map(check, chunks):
                kept += chunk
                advance(len(chunk))
    return np.unique(asked[np.array(kept, bool), :2], axis=0)
