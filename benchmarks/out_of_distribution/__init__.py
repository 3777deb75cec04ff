"""Out-of-distribution images: pictures that are no radiographs, which the guard has to refuse.

They are drawn from seeds or taken from scikit-image. All are grey, since a colour photograph is refused for its
colours already. Every kind is in both halves: whoever chooses anything about the guard looks at the half `CHOICE`
only, and figures are told of the half `REPORT`.
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import cv2
import numpy as np

from pipeline.evaluation.drawings import KINDS, Pixels, Rng, draw

__all__ = [
    "CHOICE",
    "KINDS",
    "REPORT",
    "OutOfDistribution",
    "colour_files",
    "draw",
    "everything",
    "generated",
    "photographs",
]

CHOICE, REPORT = "choice", "report"
PER_KIND = 40
"""Pictures of each generated kind, half of them in each half."""
CROPS = 6
"""Random crops of each of scikit-image's pictures, beside the whole one."""
_TWINS = {"chessboard_RGB": "chessboard_GRAY", "motorcycle_right": "motorcycle_left"}  # the same scene twice


@dataclass(frozen=True)
class OutOfDistribution:
    """One picture, uint8 (h, w), of a `kind`; `half` is CHOICE or REPORT."""

    kind: str
    name: str
    half: str
    pixels: Pixels


def everything(per_kind: int = PER_KIND, crops: int = CROPS) -> Iterator[OutOfDistribution]:
    """All of them: scikit-image's pictures and their crops, then `per_kind` of each generated kind."""
    yield from photographs(crops)
    yield from generated(per_kind)


def generated(per_kind: int = PER_KIND) -> Iterator[OutOfDistribution]:
    """`per_kind` pictures of each generated kind, the halves in turn."""
    for kind in KINDS:
        for number in range(per_kind):
            yield OutOfDistribution(kind, f"{kind} {number}", (CHOICE, REPORT)[number % 2], draw(kind, number))


def photographs(crops: int = CROPS) -> Iterator[OutOfDistribution]:
    """Scikit-image's pictures in grey, whole and as random crops; all of one picture are in the same half."""
    found = colour_files()
    scenes = sorted({_TWINS.get(path.stem, path.stem) for path in found})
    for path in found:
        half = (CHOICE, REPORT)[scenes.index(_TWINS.get(path.stem, path.stem)) % 2]
        pixels = np.asarray(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE), np.uint8)
        yield OutOfDistribution("photograph", path.stem, half, pixels)
        rng = np.random.default_rng(zlib.crc32(path.stem.encode()))
        for number in range(crops):
            yield OutOfDistribution("photograph, crop", f"{path.stem} {number}", half, _crop(rng, pixels))


def colour_files() -> list[Path]:
    """The pictures that scikit-image ships, as files; ModuleNotFoundError without it."""
    folder = Path(str(files("skimage.data")))
    return sorted(path for path in folder.iterdir() if path.suffix in {".png", ".jpg"})


def _crop(rng: Rng, pixels: Pixels) -> Pixels:
    height, width = pixels.shape
    h, w = (max(64, int(side * rng.uniform(0.3, 0.8))) for side in (height, width))
    top, left = int(rng.integers(0, max(1, height - h))), int(rng.integers(0, max(1, width - w)))
    return np.ascontiguousarray(pixels[top : top + h, left : left + w])
