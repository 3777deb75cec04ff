"""Pictures that a guard is fitted to: radiographs of the training set under changes, and pictures that are none.

Pictures that are none are drawn. Those of a folder may be added (`evaluate.guard_pictures`), such as photographs, which
cannot be drawn. Each is made only when it is asked for.
"""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.data.prepared import Prepared
from pipeline.errors import InputError
from pipeline.evaluation.appearance import varied
from pipeline.evaluation.drawings import KINDS, draw
from serving.imaging.canvas import Pixels

Make = Callable[[], Pixels]
"""Makes one grey picture, uint8 (h, w)."""

TRAIN, CHOOSE = "train", "choose"
"""Folders of `evaluate.guard_pictures`: what the guard is trained on, and what its limits are chosen on."""
_FIRST = {TRAIN: 1000, CHOOSE: 0}
"""Numbers of the drawings begin here; those from 500 on are kept for the benchmark."""
_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
_MOST_PIXELS = 1344
"""Pixels of the longer side of a picture from a folder; larger ones are shrunk."""


def drawn_rows(data: Prepared, part: str, count: int, seed: int = 0) -> npt.NDArray[np.int64]:
    """So many rows of a part of prepared/ at random, each as often as any other, as far as that is possible."""
    return np.resize(np.random.default_rng(seed).permutation(data.rows(part)), count)


def radiographs(data: Prepared, rows: npt.NDArray[np.int64]) -> list[Make]:
    """Images of prepared/, without their padding, each under random changes; a row that comes twice under others."""
    return [_changed_radiograph(data, int(row), index) for index, row in enumerate(rows)]


def _changed_radiograph(data: Prepared, row: int, seed: int) -> Make:
    def make() -> Pixels:
        place = data.place_of(row)
        shown = data.images[row][place.top : place.top + place.height, place.left : place.left + place.width]
        return varied(np.ascontiguousarray(shown), np.random.default_rng([seed, row]))

    return make


def drawings(half: str, per_kind: int) -> list[Make]:
    """So many drawings of each kind, every second one under random changes, so that no change tells a radiograph."""
    numbers = range(_FIRST[half], _FIRST[half] + per_kind)
    return [_drawing(kind, number) for kind in KINDS for number in numbers]


def _drawing(kind: str, number: int) -> Make:
    def make() -> Pixels:
        drawn = draw(kind, number)
        return varied(drawn, np.random.default_rng(number)) if number % 2 else drawn

    return make


def collected(folder: Path) -> list[Make]:
    """The pictures below a folder, each as it is and under random changes; InputError when there is none."""
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES)
    if not files:
        raise InputError(f"{folder}: holds no picture (*{', *'.join(_SUFFIXES)}); see evaluate.guard_pictures")
    return [make for index, path in enumerate(files) for make in (_file(path, None), _file(path, index))]


def _file(path: Path, seed: int | None) -> Make:
    def make() -> Pixels:
        found = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        if found is None:
            raise InputError(f"{path}: is no picture; remove it from evaluate.guard_pictures")
        factor = _MOST_PIXELS / max(found.shape)
        small = found if factor >= 1 else cv2.resize(found, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
        pixels = np.asarray(small, np.uint8)
        return pixels if seed is None else varied(pixels, np.random.default_rng(seed))

    return make
