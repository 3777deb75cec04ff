"""How one picture may look elsewhere: random changes that training a guard may use.

The robustness benchmark keeps some kinds of change from every training: banners, CLAHE, Poisson noise, sharpening,
JPEG, photographs of a screen. None of them is here.
"""

import math
from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
Rng = np.random.Generator

_MOST_CHANGES = 3
_LEAST_SIDE = 32
_LETTERS = np.array(list("ABCDEFGHKLMNPRSTUVWX0123456789 :-"))


def varied(pixels: Pixels, rng: Rng) -> Pixels:
    """A grey picture, uint8 (h, w), after one to three random changes; another size is possible."""
    share = np.array([weight for _, weight in _CHANGES])
    count = int(rng.integers(1, _MOST_CHANGES + 1))
    for chosen in rng.choice(len(_CHANGES), count, replace=False, p=share / share.sum()):
        pixels = _CHANGES[chosen][0](pixels, rng)
    return np.ascontiguousarray(pixels)


def cropped(pixels: Pixels, rng: Rng, least: float = 0.45) -> Pixels:
    """A random window: of each side at least that share, and never less than 32 pixels."""
    height, width = (min(side, max(_LEAST_SIDE, int(side * rng.uniform(least, 1)))) for side in pixels.shape)
    top, left = int(rng.integers(pixels.shape[0] - height + 1)), int(rng.integers(pixels.shape[1] - width + 1))
    return pixels[top : top + height, left : left + width]


def _toned(pixels: Pixels, rng: Rng) -> Pixels:
    """Another gamma, or less contrast with another black level."""
    if rng.random() < 0.5:
        return _grey(255 * np.linspace(0, 1, 256) ** math.exp(rng.uniform(-0.9, 0.9)))[pixels]
    factor = rng.uniform(0.2, 1.3)
    return _grey(factor * np.arange(256) + rng.uniform(0, max(0, 255 * (1 - factor))))[pixels]


def _windowed(pixels: Pixels, rng: Rng) -> Pixels:
    """A narrow window, as some objects carry: up to half of the pixels black, up to a quarter of them white."""
    low, high = np.percentile(pixels, (rng.uniform(0, 55), rng.uniform(75, 100)))
    return _grey((np.arange(256) - low) * (255 / max(high - low, 8)))[pixels]


def _noisy(pixels: Pixels, rng: Rng) -> Pixels:
    """Gaussian noise of 2 to 28 grey levels, at times with a grain of more than a pixel."""
    noise = rng.normal(0, math.exp(rng.uniform(math.log(2), math.log(28))), pixels.shape)
    if rng.random() < 0.3:
        noise = np.asarray(1.5 * cv2.GaussianBlur(noise, (0, 0), rng.uniform(0.4, 1.2)), np.float64)
    return _grey(pixels + noise)


def _blurred(pixels: Pixels, rng: Rng) -> Pixels:
    return _grey(cv2.GaussianBlur(pixels.astype(np.float32), (0, 0), rng.uniform(0.5, 3)))


def _resized(pixels: Pixels, rng: Rng) -> Pixels:
    """100 to 1400 pixels on the longer side."""
    factor = math.exp(rng.uniform(math.log(100), math.log(1400))) / max(pixels.shape)
    size = max(1, round(pixels.shape[1] * factor)), max(1, round(pixels.shape[0] * factor))
    way = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(pixels, size, interpolation=way), np.uint8)


def _framed(pixels: Pixels, rng: Rng) -> Pixels:
    """A uniform frame of 2 to 30 % of the longer side, most often black or white; in one of three slanted."""
    level, width = _level(rng), round(rng.uniform(0.02, 0.3) * max(pixels.shape))
    if rng.random() > 1 / 3:
        framed = cv2.copyMakeBorder(pixels, width, width, width, width, cv2.BORDER_CONSTANT, value=level)
        return np.asarray(framed, np.uint8)
    height, wide = pixels.shape
    turn = cv2.getRotationMatrix2D((wide / 2, height / 2), rng.uniform(2, 6) * rng.choice((-1, 1)), 1)
    turn[:, 2] += width
    size = (wide + 2 * width, height + 2 * width)
    return np.asarray(cv2.warpAffine(pixels, turn, size, borderMode=cv2.BORDER_CONSTANT, borderValue=level), np.uint8)


def _collimated(pixels: Pixels, rng: Rng) -> Pixels:
    """Soft-edged blades of one grey level beside a rectangle turned by up to 6 degrees."""
    height, width = pixels.shape
    size = (width * rng.uniform(0.85, 0.97), height * rng.uniform(0.85, 0.97))
    box = cv2.boxPoints(((width / 2, height / 2), size, rng.uniform(-6, 6)))
    mask = np.zeros(pixels.shape, np.float32)
    cv2.fillConvexPoly(mask, np.rint(box).astype(np.int32), 1.0)
    soft = cv2.GaussianBlur(mask, (0, 0), 1.5)
    return _grey(pixels * soft + _level(rng) * (1 - soft))


def _marked(pixels: Pixels, rng: Rng) -> Pixels:
    """An arrow and a side marker, or a few lines of text, burned in."""
    drawn = pixels.copy()
    height, width = pixels.shape
    side, thick = max(height, width), max(1, round(max(height, width) / 250))
    if rng.random() < 0.5:
        tip, away = rng.uniform(0.2, 0.8, 2) * (width, height), rng.uniform(-0.15, 0.15, 2) * side
        ends = [tuple(map(int, end)) for end in (tip + away, tip)]
        cv2.arrowedLine(drawn, ends[0], ends[1], 255, thick, tipLength=0.3)
        corner = (round(width * rng.choice((0.06, 0.86))), round(height * rng.uniform(0.1, 0.9)))
        cv2.putText(drawn, str(rng.choice(("L", "R"))), corner, cv2.FONT_HERSHEY_SIMPLEX, side / 300, 255, 2 * thick)
        return drawn
    left, top, size = width * rng.uniform(0, 0.6), height * rng.uniform(0.05, 0.8), side / rng.uniform(600, 1100)
    for line in range(int(rng.integers(1, 6))):
        place = (round(left), round(top + line * 34 * size))
        text = "".join(rng.choice(_LETTERS, int(rng.integers(4, 18))))
        cv2.putText(drawn, text, place, cv2.FONT_HERSHEY_SIMPLEX, size, 235, max(1, round(size)), cv2.LINE_AA)
    return drawn


def _coarse(pixels: Pixels, rng: Rng) -> Pixels:
    """Few grey levels, or blocks of a few pixels in one level."""
    if rng.random() < 0.5:
        step = int(rng.integers(4, 24))
        return _grey(np.arange(256) // step * step + step / 2)[pixels]
    factor = rng.uniform(1.5, 5)
    height, width = pixels.shape
    size = max(1, round(width / factor)), max(1, round(height / factor))
    few = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(few, (width, height), interpolation=cv2.INTER_NEAREST), np.uint8)


def _lined(pixels: Pixels, rng: Rng) -> Pixels:
    """The lines of an anti-scatter grid: upright or lying waves of 2 to 9 pixels and up to 8 grey levels."""
    period, strength = rng.uniform(2, 9), rng.uniform(1, 8)
    axis = int(rng.integers(2))
    wave = strength * np.sin(2 * math.pi * np.arange(pixels.shape[axis]) / period + rng.uniform(0, 6))
    return _grey(pixels + (wave if axis else wave[:, np.newaxis]))


def _uneven(pixels: Pixels, rng: Rng) -> Pixels:
    """Exposure that falls off to one side, as by the heel effect, or a brighter patch."""
    height, width = pixels.shape
    y, x = np.linspace(-1, 1, height)[:, np.newaxis], np.linspace(-1, 1, width)
    angle = rng.uniform(0, 2 * math.pi)
    if rng.random() < 0.6:
        return _grey(pixels * (1 + rng.uniform(0.05, 0.35) * (x * math.cos(angle) + y * math.sin(angle))))
    centre_x, centre_y, radius = rng.uniform(-0.8, 0.8), rng.uniform(-0.8, 0.8), rng.uniform(0.15, 0.7)
    return _grey(pixels + rng.uniform(10, 60) * np.exp(-((x - centre_x) ** 2 + (y - centre_y) ** 2) / (2 * radius**2)))


def _turned(pixels: Pixels, rng: Rng) -> Pixels:
    """By quarter turns, mirrored, or by up to 20 degrees with the edge repeated."""
    way = int(rng.integers(4))
    if way < 2:
        return np.rot90(pixels, int(rng.integers(1, 4)))
    if way == 2:
        return pixels[:, ::-1]
    height, width = pixels.shape
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), rng.uniform(-20, 20), 1)
    still = np.ascontiguousarray(pixels)
    return np.asarray(cv2.warpAffine(still, turn, (width, height), borderMode=cv2.BORDER_REPLICATE), np.uint8)


def _inverted(pixels: Pixels, _rng: Rng) -> Pixels:
    return np.asarray(255 - pixels, np.uint8)


def _level(rng: Rng) -> float:
    return float(rng.choice((0, 0, 255, 255, int(rng.integers(256)))))


def _grey(values: npt.ArrayLike) -> Pixels:
    return np.rint(np.clip(np.asarray(values, np.float32), 0, 255)).astype(np.uint8)


_CHANGES: tuple[tuple[Callable[[Pixels, Rng], Pixels], float], ...] = (
    (cropped, 0.15), (_toned, 0.17), (_windowed, 0.06), (_noisy, 0.15), (_resized, 0.12), (_framed, 0.12),
    (_blurred, 0.08), (_marked, 0.08), (_coarse, 0.06), (_lined, 0.05), (_uneven, 0.05), (_turned, 0.05),
    (_collimated, 0.03), (_inverted, 0.02),
)  # fmt: skip
"""Each change and how often it is chosen."""
