"""By how many quarter turns a radiograph is turned.

A small convolutional network says of a square thumbnail how upright it looks. It is asked about the picture in all four
turns, and a softmax over the turns gives their probabilities. So a turned picture gets the turned answer. Asking about
mirror images as well took twice the time and told no more. The thumbnail is square whatever the picture's shape was:
that a collection hangs arms in landscape is no help with another one's.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from serving.imaging.canonical.thumbnail import thumbnail

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Array = npt.NDArray[np.float64]

CERTAIN = 0.99
"""Probability of a turn from which a picture is turned."""
_LEVELS = (0.02, 0.98)


@dataclass(frozen=True)
class OrientationHead:
    """Weights of the network: 3 x 3 convolutions of stride 2 with ReLU, then two dense layers, the first with ReLU.

    `kernels` are (3, 3, inputs, outputs), the dense ones (inputs, outputs); `biases` (outputs,) of each in turn.
    `side` is that of the thumbnail, divisible by two for each convolution.
    """

    side: int
    kernels: tuple[Floats, ...]
    biases: tuple[Floats, ...]

    def __call__(self, pixels: Pixels) -> Array:
        """Probabilities (4,) that the field of a radiograph, uint8 (h, w), is upright once turned by 0 to 3 quarters.

        The turns are anticlockwise, as those of numpy.rot90: `np.rot90(pixels, probabilities.argmax())` is upright.
        """
        seen = look(pixels, self.side)
        logits = self.uprightness(np.stack([np.rot90(seen, quarters) for quarters in range(4)])).astype(np.float64)
        odds = np.exp(logits - logits.max())
        return np.asarray(odds / odds.sum(), np.float64)

    def uprightness(self, seen: Floats) -> Floats:
        """How upright each of several thumbnails (n, side, side) looks, (n,): logits up to a constant."""
        x = seen[..., np.newaxis].astype(np.float32)
        for kernel, bias in zip(self.kernels, self.biases, strict=True):
            if kernel.ndim == 4:
                x = np.maximum(_convolved(x, kernel) + bias, 0)
            else:
                x = x.reshape(len(x), -1) @ kernel + bias
                if kernel.shape[1] > 1:
                    x = np.maximum(x, 0)
        return np.asarray(x[:, 0], np.float32)

    def to_arrays(self) -> dict[str, npt.NDArray[np.generic]]:
        """For an npz file; weights in half precision."""
        named: dict[str, npt.NDArray[np.generic]] = {"side": np.array(self.side)}
        for index, (kernel, bias) in enumerate(zip(self.kernels, self.biases, strict=True)):
            named[f"kernel_{index}"] = kernel.astype(np.float16)
            named[f"bias_{index}"] = bias.astype(np.float16)
        return named

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[np.generic]]) -> "OrientationHead":
        """From an npz file; KeyError where one is missing."""
        count = sum(name.startswith("kernel_") for name in arrays)
        kernels = tuple(np.asarray(arrays[f"kernel_{index}"], np.float32) for index in range(count))
        biases = tuple(np.asarray(arrays[f"bias_{index}"], np.float32) for index in range(count))
        return cls(int(arrays["side"]), kernels, biases)


def look(pixels: Pixels, side: int) -> Floats:
    """What the network sees of the field of a radiograph, uint8 (h, w): (side, side), robust range from -0.5 to 0.5."""
    small = thumbnail(pixels, 2 * side)
    square = cv2.resize(
        small, (side, side), interpolation=cv2.INTER_LINEAR if min(small.shape) < side else cv2.INTER_AREA
    )
    ordered = np.sort(square, axis=None)
    low, high = (float(ordered[round(share * (len(ordered) - 1))]) for share in _LEVELS)
    stretched = (square.astype(np.float32) - low) / (high - low + 1)
    return np.asarray(np.clip(stretched, -0.2, 1.2) - 0.5, np.float32)


def _convolved(x: Floats, kernel: Floats) -> Floats:
    """A 3 x 3 convolution of stride 2 over (n, h, w, inputs), h and w even, padded by a zero below and on the right."""
    count, height, width, inputs = x.shape
    padded = np.zeros((count, height + 1, width + 1, inputs), np.float32)
    padded[:, :-1, :-1] = x
    windows = [padded[:, i : i + height : 2, j : j + width : 2] for i in range(3) for j in range(3)]
    columns = np.concatenate([window[:, : height // 2, : width // 2] for window in windows], axis=-1)
    return np.asarray(columns @ kernel.reshape(-1, kernel.shape[-1]), np.float32)
