"""What other devices, rooms and programs do to a radiograph, at random, to one training image.

Left out on purpose, so that the benchmark of robustness can measure what was never trained on: banners, CLAHE, Poisson
noise, photographs of a screen, sharpening and JPEG.
"""

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.training.params import Augmentation

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Array = npt.NDArray[np.float64]

_ANY_TONE = 0.75
"""Share of the images whose tone, sharpness and noise are changed at all; so a quarter stay as they were taken."""
_GAMMA, _FADE, _EXPOSURE, _GRAIN, _STEP = 0.6, 0.5, 0.3, 0.5, 0.1
"""Share of the images, of those if they are about tone, that each change meets."""
_LOSS, _BLUR = 1 / 6, 1 / 3
"""Up to the first number of a draw an image loses resolution, up to the second it is blurred."""
_COARSE, _COARSER = 0.25, 1.3
"""Share of the noise that has a grain of two pixels, and how much stronger it is drawn, as enlarging flattens it."""
_GAIN = 0.3
_LEAST_BLUR, _LEAST_GRAIN = 0.4, 2.0
_RANGE, _LEAST_SPREAD, _SAMPLED = (8.0, 230.0), 8.0, 8
_MARGIN = (0.03, 0.25)


def wanted(options: Augmentation) -> bool:
    """Whether any of these changes is switched on."""
    off = Augmentation()
    names = ("gamma", "fade", "brightness", "exposure", "blur", "resolution", "grain", "grey_step", "bars", "respread")
    return options.frames > 0 or any(getattr(options, name) != getattr(off, name) for name in names)


def disturb(pixels: Pixels, content: Array, options: Augmentation, rng: np.random.Generator) -> Pixels:
    """One image, uint8 (side, side), as another device might have given it.

    `content` (4, 2) are the centres of the pixels in the corners of what is no padding, from the left upper one on
    clockwise before any turn. Beyond them the result is black, or shows a frame.
    """
    inside = _mask(content, len(pixels))
    toned = rng.random() < _ANY_TONE
    x, factor = _tone(pixels, options, rng, toned)
    x = _sharpness(_exposed(x, options, rng), options, rng, toned)
    if options.grain and toned and rng.random() < _GRAIN:
        level = np.exp(rng.uniform(np.log(min(_LEAST_GRAIN, options.grain)), np.log(options.grain)))
        x = x + _noise(len(x), rng) * np.float32(level * min(factor, 1))
    if options.grey_step > 1 and rng.random() < _STEP:
        step = np.float32(rng.uniform(1, options.grey_step))
        x = np.rint(x / step) * step
    if options.bars and rng.random() < options.bars:
        _draw_bar(x, rng)
    if options.respread and rng.random() < options.respread:
        x = _respread(x, inside)
    result = np.clip(np.rint(x), 0, 255).astype(np.uint8)
    result[inside == 0] = 0
    if options.frames and rng.random() < options.frames:
        _frame(result, inside, content, rng)
    return result


def _mask(content: Array, side: int) -> Pixels:
    mask = np.zeros((side, side), np.uint8)
    cv2.fillConvexPoly(mask, np.rint(content).astype(np.int32), 1)
    return mask


def _tone(pixels: Pixels, options: Augmentation, rng: np.random.Generator, toned: bool) -> tuple[Floats, float]:
    """Gamma, contrast and brightness in one table; the factor of the contrast is returned too."""
    grey = np.arange(256, dtype=np.float64)
    factor = 1.0
    if options.gamma > 1 and toned and rng.random() < _GAMMA:
        grey = 255 * (grey / 255) ** (options.gamma ** rng.uniform(-1, 1))
    if options.fade and toned and rng.random() < _FADE:
        factor = rng.uniform(1 - options.fade, 1 + _GAIN)
    shift = rng.uniform(-1, 1) * options.brightness if options.brightness and toned else 0.0
    if factor != 1 or shift:
        grey = (grey - 127.5) * factor + 127.5 + shift
    return np.asarray(cv2.LUT(pixels, grey.astype(np.float32)), np.float32), factor


def _exposed(x: Floats, options: Augmentation, rng: np.random.Generator) -> Floats:
    """A plane of light over the image."""
    if not options.exposure or rng.random() >= _EXPOSURE:
        return x
    across, down = (rng.uniform(-1, 1, 2) * options.exposure).astype(np.float32)
    ramp = np.linspace(-1, 1, len(x), dtype=np.float32)
    return np.asarray(x * (1 + across * ramp[np.newaxis, :] + down * ramp[:, np.newaxis]), np.float32)


def _sharpness(x: Floats, options: Augmentation, rng: np.random.Generator, toned: bool) -> Floats:
    if options.resolution == 1 and not options.blur:
        return x
    drawn, side = rng.random(), len(x)
    if drawn < _LOSS and options.resolution < 1:
        small = max(8, round(side * rng.uniform(options.resolution, max(options.resolution, 0.7))))
        reduced = cv2.resize(x, (small, small), interpolation=cv2.INTER_AREA)
        return np.asarray(cv2.resize(reduced, (side, side), interpolation=cv2.INTER_LINEAR), np.float32)
    if drawn < _BLUR and options.blur and toned:
        sigma = rng.uniform(min(_LEAST_BLUR, options.blur), options.blur)
        return np.asarray(cv2.GaussianBlur(x, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE), np.float32)
    return x


def _noise(side: int, rng: np.random.Generator) -> Floats:
    """Gaussian noise of standard deviation 1, of one pixel's grain or of two."""
    if rng.random() >= _COARSE:
        return rng.standard_normal((side, side), np.float32)
    half = rng.standard_normal(((side + 1) // 2, (side + 1) // 2), np.float32)
    return np.asarray(cv2.resize(half, (side, side), interpolation=cv2.INTER_LINEAR) * np.float32(_COARSER), np.float32)


def _draw_bar(x: Floats, rng: np.random.Generator) -> None:
    """A bright bar of any direction, 6 to 80 pixels long and 1.4 to 12 thick at 448 pixels."""
    scale = len(x) / 448
    middle, angle = rng.uniform(0, len(x), 2), rng.uniform(0, 2 * np.pi)
    along = np.array([np.cos(angle), np.sin(angle)])
    across = np.array([-along[1], along[0]]) * rng.uniform(0.7, 6) * scale
    along = along * rng.uniform(3, 40) * scale
    corners = middle + np.array([along + across, along - across, -along - across, -along + across])
    cv2.fillConvexPoly(x, np.rint(corners).astype(np.int32), float(rng.uniform(180, 255)))


def _respread(x: Floats, inside: Pixels) -> Floats:
    """Grey levels from one in 200 of the darkest to one in 200 of the brightest, over the range of canonical images."""
    seen = x[::_SAMPLED, ::_SAMPLED][inside[::_SAMPLED, ::_SAMPLED] > 0]
    if not len(seen):
        return x
    low, high = np.quantile(np.clip(seen, 0, 255), (0.005, 0.995))
    scale = (_RANGE[1] - _RANGE[0]) / max(high - low, _LEAST_SPREAD)
    return (x - np.float32(low)) * np.float32(scale) + np.float32(_RANGE[0])


def _frame(result: Pixels, inside: Pixels, content: Array, rng: np.random.Generator) -> None:
    """Fill the surroundings of the content, to a random distance, with black, white or any grey."""
    middle = content.mean(axis=0)
    sides = np.linalg.norm(content - np.roll(content, 1, axis=0), axis=1)
    wider = 1 + 2 * rng.uniform(*_MARGIN) * sides.max() / np.maximum(sides[:2], 1)
    along = (content[1] - content[0]) / 2 * wider[1], (content[3] - content[0]) / 2 * wider[0]
    corners = middle + np.array([-along[0] - along[1], along[0] - along[1], along[0] + along[1], along[1] - along[0]])
    grey = rng.uniform(0, 255) if rng.random() < 0.5 else 255.0
    surroundings = np.zeros_like(result)
    cv2.fillConvexPoly(surroundings, np.rint(corners).astype(np.int32), 1)
    result[(surroundings > 0) & (inside == 0)] = np.uint8(grey)
