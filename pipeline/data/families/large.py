"""Families of a set that is too large to keep the keypoints of every image: an index of thumbnails names candidates."""

import threading
from collections import OrderedDict
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from pipeline.data.families import thumbnails as index
from pipeline.data.families.candidates import among_strongest
from pipeline.data.families.features import Features
from pipeline.data.families.search import aligned
from pipeline.data.families.thumbnails import Pairs
from pipeline.data.scan import connected

Integers = npt.NDArray[np.int64]

LARGE = 100_000
"""Images above which the index is used; the keypoints of so many take 4 GB."""
WORTH_ALIGNING = 0.98
"""Correlation of two thumbnails, in any of their forms, above which the images are aligned."""
_KEPT = 6
"""Candidates that are kept of each image, as of keypoints."""
_HELD = 4_000_000
"""Pairs after which those that say nothing new are dropped."""
_FEATURES = 4096
"""Images whose features are held while pairs are aligned; 160 MB."""


def related(
    thumbnails: npt.NDArray[np.float32],
    correlation: float,
    describe: Callable[[int], Features | None],
    equal: Integers,
) -> Integers:
    """Pairs of images, int64 (m, 2), whose connections are the families of a large set.

    thumbnails   float32 (n, s, s), NaN where an image has none
    correlation  of thumbnails, in any of their eight forms, above which two images are one
    describe     features of an image by its number, called from several threads; None where it cannot be read
    equal        pairs of files with the same bytes, int64 (k, 2): of these the first stands for all
    """
    count = len(thumbnails)
    found = _Found(count, equal)
    firsts = np.unique(connected(count, equal), return_index=True)[1]
    for pairs in index.alike(thumbnails, min(correlation, WORTH_ALIGNING), among=np.sort(firsts)):
        found.add(pairs, correlation)
    joined, doubtful = found.end()
    groups = connected(count, joined)
    apart = doubtful.of(groups[doubtful.images[:, 0]] != groups[doubtful.images[:, 1]])
    asked = np.column_stack([apart.images, apart.mirrored])
    return np.concatenate([joined, aligned(asked[np.lexsort(asked.T[::-1])], _Kept(describe), groups)])


class _Found:
    """Pairs by the block; those that say nothing new are dropped before they fill the memory."""

    def __init__(self, count: int, equal: Integers) -> None:
        self._count = count
        self._sure, self._doubtful = [equal], [Pairs.joined([])]
        self._more = 0

    def add(self, pairs: Pairs, correlation: float) -> None:
        """Pairs above the correlation are sure, the others are doubtful."""
        certain = pairs.correlation > correlation
        self._sure.append(pairs.images[certain])
        self._doubtful.append(pairs.of(~certain))
        self._more += len(pairs)
        if self._more > _HELD:
            joined, doubtful = self.end()
            self._sure, self._doubtful, self._more = [joined], [doubtful], 0

    def end(self) -> tuple[Integers, Pairs]:
        """Few pairs that connect what all sure ones do, and the strongest of the doubtful ones."""
        doubtful = Pairs.joined(self._doubtful)
        first, second = doubtful.images.T
        strongest = doubtful.of(among_strongest(first, second, doubtful.correlation, _KEPT))
        return _links(connected(self._count, np.concatenate(self._sure))), strongest


def _links(groups: Integers) -> Integers:
    """As few pairs as connect the members of each group: each with the first."""
    _, firsts, number = np.unique(groups, return_index=True, return_inverse=True)
    pairs = np.column_stack([firsts[number], np.arange(len(groups))])
    return np.asarray(pairs[pairs[:, 0] != pairs[:, 1]], np.int64)


class _Kept:
    """Features of the images that were asked for last."""

    def __init__(self, describe: Callable[[int], Features | None]) -> None:
        self._describe = describe
        self._kept: OrderedDict[int, Features | None] = OrderedDict()
        self._lock = threading.Lock()

    def __call__(self, number: int) -> Features | None:
        with self._lock:
            if number in self._kept:
                self._kept.move_to_end(number)
                return self._kept[number]
        found = self._describe(number)
        with self._lock:
            self._kept[number] = found
            if len(self._kept) > _FEATURES:
                self._kept.popitem(last=False)
        return found
