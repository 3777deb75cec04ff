"""Geometry of the model's input: the letterboxed canvas and where the upright image lies on it.

Nothing here reads a file: training and evaluation import this module and no decoder.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Preprocessing:
    """How an image becomes the model's input; travels in the bundle with the model."""

    image_size: int = 224
    denoise: Literal["none", "median", "bilateral"] = "none"
    clahe: bool = False

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> "Preprocessing":
        """From JSON; unknown keys are ignored."""
        return cls(**{key: raw[key] for key in ("image_size", "denoise", "clahe") if key in raw})


@dataclass(frozen=True)
class Letterbox:
    """Where the upright image lies on the square canvas, all in canvas pixels."""

    left: int
    top: int
    width: int
    height: int
    size: int

    @classmethod
    def of_square(cls, left: int, top: int, width: int, height: int) -> "Letterbox":
        """From the four numbers of split.csv: the longer side of the image fills its canvas."""
        return cls(left, top, width, height, max(width, height))

    def to_canvas(self, x: float, y: float) -> tuple[float, float]:
        """Fractions of the upright image to fractions of the canvas."""
        return (self.left + x * self.width) / self.size, (self.top + y * self.height) / self.size

    def to_image(self, x: float, y: float) -> tuple[float, float]:
        """Fractions of the canvas to fractions of the upright image; on the padding they lie outside [0, 1]."""
        return (x * self.size - self.left) / self.width, (y * self.size - self.top) / self.height


def shrink(pixels: Pixels, width: int, height: int) -> Pixels:
    """Resize grey pixels without aliasing.

    Linear interpolation to the nearest whole multiple of the target, then a mean over whole blocks. On average within
    half a grey level of OpenCV's INTER_AREA, and faster for factors that are not whole.
    """
    multiple = max(1, round(max(pixels.shape[1] / width, pixels.shape[0] / height)))
    if (pixels.shape[1], pixels.shape[0]) != (width * multiple, height * multiple):
        pixels = np.asarray(
            cv2.resize(pixels, (width * multiple, height * multiple), interpolation=cv2.INTER_LINEAR), np.uint8
        )
    if multiple == 1:
        return pixels
    return np.asarray(cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def letterbox_of(width: int, height: int, size: int) -> Letterbox:
    """Where an image of `width` x `height` lies on a canvas of `size`: centred, its aspect ratio kept."""
    scale = size / max(width, height)
    w, h = max(1, round(width * scale)), max(1, round(height * scale))
    return Letterbox((size - w) // 2, (size - h) // 2, w, h, size)


def fit(pixels: Pixels, width: int, height: int, preprocessing: Preprocessing) -> tuple[Pixels, Letterbox]:
    """Letterbox an image on a black square and reduce its noise; uint8 (image_size, image_size).

    `width` and `height` are those of the upright image. `pixels` show all of it, possibly at a reduced scale.
    """
    size = preprocessing.image_size
    box = letterbox_of(width, height, size)
    content = _denoise(shrink(pixels, box.width, box.height), preprocessing)
    canvas = np.zeros((size, size), np.uint8)
    canvas[box.top : box.top + box.height, box.left : box.left + box.width] = content
    return canvas, box


def _denoise(pixels: Pixels, preprocessing: Preprocessing) -> Pixels:
    if preprocessing.denoise == "median":
        pixels = np.asarray(cv2.medianBlur(pixels, 3), np.uint8)
    elif preprocessing.denoise == "bilateral":
        pixels = np.asarray(cv2.bilateralFilter(pixels, 5, 20, 5), np.uint8)
    if preprocessing.clahe:
        pixels = np.asarray(cv2.createCLAHE(clipLimit=2.0, tileGridSize=(8, 8)).apply(pixels), np.uint8)
    return pixels


def decode_scale(preprocessing: Preprocessing) -> int:
    """`at_least` of `decode.decode` for this input size, in pixels: 1.5 times the size keeps fine lines sharp."""
    return math.ceil(preprocessing.image_size * 1.5)
