"""Changes that radiographs from elsewhere carry: frames, markers, other contrast, turns, noise, a photographed screen.

Each is a function of grey pixels, uint8 (h, w), and a generator of random numbers. It gives back the changed pixels
and the matrix (3, 3) that takes a point, in fractions of the image's sides, to where it is now. `change` runs one by
its name and seed and moves boxes along. Percentages are of the longer side.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
Grey = npt.NDArray[np.uint8]
Array = npt.NDArray[np.float64]
Generator = np.random.Generator

WHITE, GREY, BLACK = 255, 128, 0
NEVER_TRAINED = ("banner", "clahe", "noise_poisson", "screen_photograph", "sharpened", "jpeg_20")
"""Changes that no training may use, so that the benchmark says something about what nobody thought of."""
_SLANT = (2.0, 6.0)
"""Degrees, least and most, by which a slanted picture is turned in its frame."""
_WHOLE: Array = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])


@dataclass(frozen=True)
class Changed:
    """Changed pixels, uint8 or uint16 (h, w), and the matrix (3, 3) from old fractions of the sides to new ones."""

    pixels: Pixels
    matrix: Array
    visible: Array | None = None
    """What of the image is still to be seen, a polygon (n, 2) in its fractions; None where all of it is."""

    def points(self, points: Array) -> Array:
        """Points (n, 2), in fractions of the image, where they are after the change."""
        moved = np.column_stack([points, np.ones(len(points))]) @ self.matrix.T
        return np.asarray(moved[:, :2] / moved[:, 2:], np.float64)

    def field(self) -> Array:
        """The outline (n, 2) of what is to be seen of the image, in fractions of the changed one, clockwise."""
        return self.points(_WHOLE if self.visible is None else self.visible)

    def boxes(self, boxes: Array) -> Array:
        """Boxes (k, 4) as x0, y0, x1, y1 after the change: upright, around the moved corners, not clipped."""
        corners = [self.points(np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])) for x0, y0, x1, y1 in boxes]
        moved = [np.concatenate([c.min(axis=0), c.max(axis=0)]) for c in corners]
        return np.array(moved, np.float64).reshape(-1, 4)


Change = Callable[[Grey, Generator], Changed]


def change(name: str, pixels: Grey, boxes: Array, seed: int) -> tuple[Pixels, Array] | None:
    """Change an image, uint8 (h, w), by the change of that name; the same for the same seed.

    `boxes` (k, 4) are fractions of the image, and so are those given back. None where the change would cut one of
    them. Raises KeyError for an unknown name.
    """
    changed = CHANGES[name](pixels, np.random.default_rng(seed))
    moved = changed.boxes(boxes)
    if ((moved < -1e-9) | (moved > 1 + 1e-9)).any():
        return None
    return changed.pixels, moved


def unchanged(pixels: Grey, rng: Generator) -> Changed:  # noqa: ARG001  every change takes a generator
    """The image as it is."""
    return Changed(pixels, np.eye(3))


def frame(pixels: Grey, rng: Generator, level: int, share: float) -> Changed:
    """A uniform frame around the image, `share` of the longer side wide; `level` is its grey."""
    del rng
    width = round(share * max(pixels.shape))
    framed = cv2.copyMakeBorder(pixels, width, width, width, width, cv2.BORDER_CONSTANT, value=float(level))
    return _moved(framed, np.array([[1.0, 0.0, width], [0.0, 1.0, width], [0.0, 0.0, 1.0]]), pixels)


def slanted_frame(pixels: Grey, rng: Generator, level: int, share: float) -> Changed:
    """The image turned by 2 to 6 degrees in a uniform frame that leaves `share` of the longer side at its corners."""
    degrees = float(rng.uniform(*_SLANT) * rng.choice((-1, 1)))
    height, width = pixels.shape
    turn = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1)
    cosine, sine = abs(turn[0, 0]), abs(turn[0, 1])
    margin = share * max(pixels.shape)
    new_width = round(width * cosine + height * sine + 2 * margin)
    new_height = round(width * sine + height * cosine + 2 * margin)
    turn[:, 2] += ((new_width - width) / 2, (new_height - height) / 2)
    turned = cv2.warpAffine(
        pixels, turn, (new_width, new_height), borderMode=cv2.BORDER_CONSTANT, borderValue=float(level)
    )
    return _moved(turned, np.vstack([turn, (0.0, 0.0, 1.0)]), pixels, centres=True)


def noisy_frame(pixels: Grey, rng: Generator, level: int, share: float) -> Changed:
    """A frame with noise of 3 grey levels, everything stored as a JPEG of quality 40."""
    framed = frame(pixels, rng, level, share)
    width = round(share * max(pixels.shape))
    noisy = np.rint(framed.pixels + rng.normal(0, 3, framed.pixels.shape)).clip(0, 255).astype(np.uint8)
    noisy[width:-width, width:-width] = pixels
    return Changed(_jpeg(noisy, 40), framed.matrix)


def collimated(pixels: Grey, rng: Generator, level: int) -> Changed:
    """Collimator blades: a rectangle turned by up to 6 degrees, soft-edged, outside of which `level` shows.

    It lies 2 to 6 % inside the image's edges.
    """
    height, width = pixels.shape
    insets = rng.uniform(0.02, 0.06, 4)
    x0, y0, x1, y1 = insets[0] * width, insets[1] * height, (1 - insets[2]) * width, (1 - insets[3]) * height
    angle = float(rng.uniform(-6, 6))
    box = cv2.boxPoints((((x0 + x1) / 2, (y0 + y1) / 2), (x1 - x0, y1 - y0), angle))
    mask = np.zeros(pixels.shape, np.uint8)
    cv2.fillConvexPoly(mask, np.rint(box).astype(np.int32), 255)
    soft = cv2.GaussianBlur(mask, (0, 0), 1.5).astype(np.float32) / 255
    edge = np.array([[[0, 0]], [[width, 0]], [[width, height]], [[0, height]]], np.float32)
    _, visible = cv2.intersectConvexConvex(box, edge)
    outline = visible.reshape(-1, 2).astype(np.float64) / (width, height)
    return Changed(_grey(pixels * soft + level * (1 - soft)), np.eye(3), outline)


def marked(pixels: Grey, rng: Generator) -> Changed:
    """An arrow and a side marker, burned in white."""
    drawn = pixels.copy()
    height, width = pixels.shape
    side = max(height, width)
    thickness = max(1, round(side / 200))
    tip = (rng.uniform(0.25, 0.75, 2) * (width, height)).astype(int)
    tail = (tip + side * 0.12 * np.array([math.cos(a := rng.uniform(0, 2 * math.pi)), math.sin(a)])).astype(int)
    cv2.arrowedLine(drawn, (int(tail[0]), int(tail[1])), (int(tip[0]), int(tip[1])), 255, thickness, tipLength=0.3)
    corner = (round(width * rng.choice((0.06, 0.86))), round(height * rng.uniform(0.1, 0.9)))
    cv2.putText(drawn, str(rng.choice(("L", "R"))), corner, cv2.FONT_HERSHEY_SIMPLEX, side / 300, 255, thickness * 2)
    return Changed(drawn, np.eye(3))


def lettered(pixels: Grey, rng: Generator) -> Changed:
    """Four lines of small white text in one corner, as viewers burn them in."""
    drawn = pixels.copy()
    height, width = pixels.shape
    size = max(height, width) / 900
    left = round(width * rng.choice((0.02, 0.62)))
    top = height * float(rng.choice((0.05, 0.8)))
    for line in range(4):
        text = "".join(rng.choice(list("ABCDEFGHKLMNPRSTUVWX0123456789 :-"), 16))
        place = (left, round(top + line * 34 * size))
        cv2.putText(drawn, text, place, cv2.FONT_HERSHEY_SIMPLEX, size, 235, max(1, round(size)), cv2.LINE_AA)
    return Changed(drawn, np.eye(3))


def banner(pixels: Grey, rng: Generator) -> Changed:
    """A strip with a hospital's name above the image, a tenth of its height: white on black or black on white."""
    height, width = pixels.shape
    strip = round(0.1 * height)
    ground, ink = ((0, 255), (255, 0))[rng.integers(2)]
    whole = cv2.copyMakeBorder(pixels, strip, 0, 0, 0, cv2.BORDER_CONSTANT, value=float(ground))
    text = "GENERAL HOSPITAL " + "".join(rng.choice(list("0123456789"), 6))
    (wide, tall), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 1, 2)
    scale = min(0.8 * width / wide, 0.5 * strip / tall)
    place = (round(0.05 * width), round((strip + tall * scale) / 2))
    cv2.putText(whole, text, place, cv2.FONT_HERSHEY_SIMPLEX, scale, ink, max(1, round(2 * scale)), cv2.LINE_AA)
    return _moved(whole, np.array([[1.0, 0.0, 0.0], [0.0, 1.0, strip], [0.0, 0.0, 1.0]]), pixels)


def gamma(pixels: Grey, rng: Generator, exponent: float) -> Changed:
    """Grey levels, as fractions of 255, to the power of `exponent`."""
    del rng
    return _toned(pixels, 255 * np.linspace(0, 1, 256) ** exponent)


def contrast(pixels: Grey, rng: Generator, factor: float, offset: float = 0) -> Changed:
    """Grey levels times `factor` plus `offset`."""
    del rng
    return _toned(pixels, factor * np.arange(256) + offset)


def inverted(pixels: Grey, rng: Generator) -> Changed:
    """White for black."""
    del rng
    return Changed(np.asarray(255 - pixels, np.uint8), np.eye(3))


def turned(pixels: Grey, rng: Generator, quarters: int) -> Changed:
    """Turned by 90 degrees, clockwise, so many times."""
    del rng
    matrix: Array = np.eye(3)
    for _ in range(quarters):
        matrix = np.array([[0.0, -1.0, 1.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]) @ matrix
    return Changed(np.ascontiguousarray(np.rot90(pixels, -quarters)), matrix)


def mirrored(pixels: Grey, rng: Generator) -> Changed:
    """Left for right."""
    del rng
    return Changed(np.ascontiguousarray(pixels[:, ::-1]), np.array([[-1.0, 0, 1], [0, 1, 0], [0, 0, 1]]))


def askew(pixels: Grey, rng: Generator, degrees: float = 10) -> Changed:
    """Turned by 10 degrees, either way, in a field of the same size whose edge pixels are repeated."""
    height, width = pixels.shape
    turn = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees * float(rng.choice((-1, 1))), 1)
    turned_pixels = cv2.warpAffine(pixels, turn, (width, height), borderMode=cv2.BORDER_REPLICATE)
    return _moved(turned_pixels, np.vstack([turn, (0.0, 0.0, 1.0)]), pixels, centres=True)


def resized(pixels: Grey, rng: Generator, factor: float) -> Changed:
    """Scaled by `factor`."""
    del rng
    size = (max(1, round(pixels.shape[1] * factor)), max(1, round(pixels.shape[0] * factor)))
    way = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    return Changed(_grey(cv2.resize(pixels, size, interpolation=way)), np.eye(3))


def small(pixels: Grey, rng: Generator, side: int = 128) -> Changed:
    """Scaled down so that the longer side has 128 pixels."""
    return resized(pixels, rng, side / max(pixels.shape))


def jpeg(pixels: Grey, rng: Generator, quality: int = 20) -> Changed:
    """Stored as a JPEG of quality 20."""
    del rng
    return Changed(_jpeg(pixels, quality), np.eye(3))


def sharpened(pixels: Grey, rng: Generator) -> Changed:
    """Unsharp mask of 1.5 pixels, once its own strength."""
    del rng
    exact = pixels.astype(np.float32)
    return Changed(_grey(2 * exact - cv2.GaussianBlur(exact, (0, 0), 1.5)), np.eye(3))


def blurred(pixels: Grey, rng: Generator, sigma: float = 1.5) -> Changed:
    """Gaussian blur with a standard deviation of 1.5 pixels."""
    del rng
    return Changed(_grey(cv2.GaussianBlur(pixels, (0, 0), sigma)), np.eye(3))


def clahe(pixels: Grey, rng: Generator) -> Changed:
    """Contrast-limited adaptive histogram equalisation, clip limit 3, 8 x 8 tiles."""
    del rng
    return Changed(_grey(cv2.createCLAHE(clipLimit=3.0, tileGridSize=(8, 8)).apply(pixels)), np.eye(3))


def noisy(pixels: Grey, rng: Generator, sigma: float) -> Changed:
    """Gaussian noise with a standard deviation of `sigma` grey levels."""
    return Changed(_grey(pixels + rng.normal(0, sigma, pixels.shape)), np.eye(3))


def quantum_noise(pixels: Grey, rng: Generator, quanta: float = 60) -> Changed:
    """Poisson noise of a low dose: white stands for 60 quanta a pixel."""
    return Changed(_grey(rng.poisson(pixels * (quanta / 255)) * (255 / quanta)), np.eye(3))


def middle(pixels: Grey, rng: Generator, share: float = 0.6) -> Changed:
    """The middle 60 % of each side."""
    del rng
    height, width = pixels.shape
    x, y = round(width * (1 - share) / 2), round(height * (1 - share) / 2)
    cut = np.ascontiguousarray(pixels[y : height - y, x : width - x])
    return _moved(cut, np.array([[1.0, 0.0, -x], [0.0, 1.0, -y], [0.0, 0.0, 1.0]]), pixels)


def hot_pixel(pixels: Grey, rng: Generator) -> Changed:
    """Sixteen bits, the image in the lowest twelve of them, and one pixel of 65535."""
    deep = pixels.astype(np.uint16) * np.uint16(16)
    deep[rng.integers(pixels.shape[0]), rng.integers(pixels.shape[1])] = 65535
    return Changed(deep, np.eye(3))


def screen_photograph(pixels: Grey, rng: Generator) -> Changed:
    """A telephone's photograph of a screen: perspective, moire, a bright spot, uneven light, noise, JPEG."""
    height, width = pixels.shape
    away = rng.uniform(0.01, 0.05, (4, 2)) * (width, height)
    inwards = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]])
    corners = (_WHOLE * (width, height)).astype(np.float32)
    matrix = np.asarray(cv2.getPerspectiveTransform(corners, (corners + away * inwards).astype(np.float32)), np.float64)
    ground = float(rng.integers(8, 40))
    flat = cv2.warpPerspective(pixels.astype(np.float32), matrix, (width, height), borderValue=ground)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    angle, period = rng.uniform(0, math.pi), rng.uniform(3, 9)
    seen = flat + 5 * np.sin(2 * math.pi * (x * math.cos(angle) + y * math.sin(angle)) / period)
    spot = rng.uniform(0.1, 0.9, 2) * (width, height)
    radius = 0.15 * max(height, width)
    seen += 70 * np.exp(-((x - spot[0]) ** 2 + (y - spot[1]) ** 2) / (2 * radius**2))
    seen *= 0.85 + 0.25 * (x / width if rng.random() < 0.5 else y / height)
    seen += rng.normal(0, 3, seen.shape)
    return _moved(_jpeg(_grey(seen), 75), matrix, pixels)


def _toned(pixels: Grey, curve: npt.ArrayLike) -> Changed:
    return Changed(_grey(curve)[pixels], np.eye(3))


def _grey(values: npt.ArrayLike) -> Grey:
    return np.rint(np.clip(np.asarray(values, np.float32), 0, 255)).astype(np.uint8)


def _jpeg(pixels: Grey, quality: int) -> Grey:
    _, stored = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(stored, cv2.IMREAD_GRAYSCALE), np.uint8)


def _moved(changed: npt.NDArray[np.generic], matrix: Array, before: Grey, centres: bool = False) -> Changed:
    """With the matrix of pixels made one of fractions.

    OpenCV's turns count from the centre of the first pixel (`centres`), sides from its edge.
    """
    old = np.diag([before.shape[1], before.shape[0], 1.0])
    new = np.diag([1 / changed.shape[1], 1 / changed.shape[0], 1.0])
    half: Array = np.eye(3)
    half[:2, 2] = 0.5 if centres else 0.0
    return Changed(np.asarray(changed, np.uint8), new @ half @ matrix @ np.linalg.inv(half) @ old)


_FRAMES: Mapping[str, Change] = {
    f"{kind}{name}_frame_{percent}": partial(function, level=level, share=percent / 100)
    for kind, function in (("", frame), ("slanted_", slanted_frame), ("noisy_", noisy_frame))
    for name, level in (("white", WHITE), ("grey", GREY), ("black", BLACK))
    for percent in (6, 25)
}

CHANGES: Mapping[str, Change] = {
    "none": unchanged,
    **_FRAMES,
    "white_collimator": partial(collimated, level=WHITE),
    "black_collimator": partial(collimated, level=BLACK),
    "marked": marked,
    "lettered": lettered,
    "banner": banner,
    "gamma_0.5": partial(gamma, exponent=0.5),
    "gamma_2": partial(gamma, exponent=2.0),
    "contrast_0.25": partial(contrast, factor=0.25),
    "contrast_0.4": partial(contrast, factor=0.4, offset=40),
    "inverted": inverted,
    "turned_90": partial(turned, quarters=1),
    "turned_180": partial(turned, quarters=2),
    "turned_270": partial(turned, quarters=3),
    "turned_10": askew,
    "mirrored": mirrored,
    "half": partial(resized, factor=0.5),
    "double": partial(resized, factor=2.0),
    "small_128": small,
    "jpeg_20": jpeg,
    "sharpened": sharpened,
    "blurred": blurred,
    "clahe": clahe,
    "noise_5": partial(noisy, sigma=5.0),
    "noise_10": partial(noisy, sigma=10.0),
    "noise_20": partial(noisy, sigma=20.0),
    "noise_poisson": quantum_noise,
    "middle_60": middle,
    "hot_pixel": hot_pixel,
    "screen_photograph": screen_photograph,
}
"""Every change that acts on pixels, by name. Those of the file (12-bit DICOM objects) are another module's."""
