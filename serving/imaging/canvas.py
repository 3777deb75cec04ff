"""Geometry of the model's input: the letterboxed canvas and where the upright image lies on it.

Nothing here reads a file: training and evaluation import this module and no decoder.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from serving.imaging.noise import is_noisy, smooth

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Steps:
    """Which steps bring a picture into its canonical form (`serving.imaging.canonical`).

    `heads` is the sha256 of the weights that recognise inverted and turned pictures; empty where no step needs them.
    """

    field: bool = False
    range: bool = False
    polarity: bool = False
    orientation: bool = False
    heads: str = ""

    @property
    def any(self) -> bool:
        """Whether there is any step to take."""
        return self.field or self.range or self.polarity or self.orientation


@dataclass(frozen=True)
class Preprocessing:
    """How an image becomes the model's input; travels in the bundle with the model."""

    image_size: int = 224
    denoise: Literal["none", "median", "bilateral", "adaptive"] = "none"
    clahe: bool = False
    canonical: Steps = Steps()

    def to_dict(self) -> dict[str, Any]:
        """For JSON; without canonical steps it is what bundles of schema 1 hold."""
        facts = asdict(self)
        return facts if self.canonical.any else {key: facts[key] for key in _PLAIN}

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> "Preprocessing":
        """From JSON; unknown keys are ignored, and what is missing is off."""
        canonical = raw.get("canonical", {})
        steps = Steps(**{name: canonical[name] for name in Steps.__dataclass_fields__ if name in canonical})
        return cls(**{key: raw[key] for key in _PLAIN if key in raw}, canonical=steps)


_PLAIN = ("image_size", "denoise", "clahe")


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


@dataclass(frozen=True)
class View:
    """What of an upright picture is shown: a box of it, turned.

    `box` is x0, y0, x1, y1 in fractions of the picture; `quarters` are quarter turns, anticlockwise.
    """

    box: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)
    quarters: int = 0

    def to_picture(self, x: float, y: float) -> tuple[float, float]:
        """Fractions of what is shown to fractions of the picture."""
        for _ in range(self.quarters):
            x, y = 1 - y, x
        x0, y0, x1, y1 = self.box
        return x0 + x * (x1 - x0), y0 + y * (y1 - y0)

    def from_picture(self, x: float, y: float) -> tuple[float, float]:
        """Fractions of the picture to fractions of what is shown, outside [0, 1] on what is left out."""
        x0, y0, x1, y1 = self.box
        x, y = (x - x0) / (x1 - x0), (y - y0) / (y1 - y0)
        for _ in range(self.quarters):
            x, y = y, 1 - x
        return x, y

    def box_from_picture(self, box: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
        """A box in fractions of the picture as one in fractions of what is shown."""
        (ax, ay), (bx, by) = self.from_picture(box[0], box[1]), self.from_picture(box[2], box[3])
        return min(ax, bx), min(ay, by), max(ax, bx), max(ay, by)


@dataclass(frozen=True)
class Placement:
    """How a picture came to lie on the canvas: what of it is shown, and where."""

    view: View
    letterbox: Letterbox


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


class Fitted(NamedTuple):
    """The model's input, uint8 (size, size), where the image lies on it, and whether noise made it be smoothed."""

    pixels: Pixels
    letterbox: Letterbox
    smoothed: bool


def fit(pixels: Pixels, width: int, height: int, preprocessing: Preprocessing) -> Fitted:
    """Letterbox an image on a black square and reduce its noise.

    `width` and `height` are those of the upright image. `pixels` show all of it, possibly at a reduced scale.
    """
    size = preprocessing.image_size
    box = letterbox_of(width, height, size)
    content = shrink(pixels, box.width, box.height)
    smoothed = preprocessing.denoise == "adaptive" and is_noisy(content)
    canvas = np.zeros((size, size), np.uint8)
    within = np.s_[box.top : box.top + box.height, box.left : box.left + box.width]
    canvas[within] = _denoise(smooth(content) if smoothed else content, preprocessing)
    return Fitted(canvas, box, smoothed)


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
