"""EfficientNet-Lite backbones in Keras: EfficientNet without squeeze-and-excitation, ReLU6 throughout.

Stem and head keep their width at every size. Layers are named as those of `keras.applications` EfficientNets.
Source: the TensorFlow TPU project, `efficientnet/lite` (Apache-2.0); so are the ImageNet weights that
`load_weights` reads (see NOTICE).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
from keras import layers

from pipeline.training import weight_files

_KERNELS = (3, 3, 5, 3, 5, 5, 3)
_STRIDES = (1, 2, 2, 2, 1, 2, 1)
_EXPANSIONS = (1, 6, 6, 6, 6, 6, 6)
_STEM, _TOP = 32, 1280
_EPSILON = 1e-3
MEAN, SPREAD = 127.0, 128.0
"""Grey levels 0..255 minus MEAN, over SPREAD: what the ImageNet weights were trained on."""


@dataclass(frozen=True)
class Size:
    """Blocks and channels of each of the seven stages."""

    repeats: tuple[int, ...]
    channels: tuple[int, ...]


SIZES = {
    "EfficientNetLite0": Size((1, 2, 2, 3, 3, 4, 1), (16, 24, 40, 80, 112, 192, 320)),
    "EfficientNetLite2": Size((1, 3, 3, 4, 4, 5, 1), (16, 24, 48, 88, 120, 208, 352)),
}
"""By the names that `train.architecture` accepts."""


def scaling() -> keras.layers.Layer:
    """The layer that turns grey levels 0..255 into what the ImageNet weights were trained on."""
    return layers.Rescaling(1 / SPREAD, -MEAN / SPREAD, name="scale")


def build(name: str, input_shape: tuple[int | None, int | None, int], called: str = "") -> keras.Model:
    """A backbone with random weights: scaled pixels (n, h, w, 3) to maps (n, h / 32, w / 32, 1280).

    The model is `called` by its name if nothing else. Raises KeyError for a name that is not in SIZES.
    """
    size = SIZES[name]
    pixels = keras.Input(input_shape, name="pixels")
    x = layers.Conv2D(_STEM, 3, strides=2, padding="same", use_bias=False, name="stem_conv")(pixels)
    x = _normalised(x, "stem_bn", "stem_activation")
    stages = zip(size.repeats, size.channels, _KERNELS, _STRIDES, _EXPANSIONS, strict=True)
    for number, (repeats, channels, kernel, stride, expansion) in enumerate(stages, start=1):
        for index in range(repeats):
            prefix = f"block{number}{chr(ord('a') + index)}_"
            x = _block(x, prefix, channels, kernel=kernel, stride=stride if index == 0 else 1, expansion=expansion)
    x = layers.Conv2D(_TOP, 1, use_bias=False, name="top_conv")(x)
    return keras.Model(pixels, _normalised(x, "top_bn", "top_activation"), name=called or name)


def load_weights(model: keras.Model, path: Path) -> None:
    """Fill a backbone from an .npz file with one array a variable, `<layer>/<variable>`, in Keras's layout.

    Raises InputError where the file cannot be read, or an array is missing or has another shape.
    """
    weight_files.fill(model, weight_files.read(path), path)


def _normalised(x: Any, name: str, activation: str = "") -> Any:
    x = layers.BatchNormalization(epsilon=_EPSILON, name=name)(x)
    return layers.ReLU(6.0, name=activation)(x) if activation else x


def _block(x: Any, prefix: str, channels: int, *, kernel: int, stride: int, expansion: int) -> Any:
    """An inverted residual: widen, convolve each channel, narrow; added to its input where the shapes agree."""
    before, wide = x, x
    if expansion > 1:
        wide = layers.Conv2D(x.shape[-1] * expansion, 1, use_bias=False, name=f"{prefix}expand_conv")(x)
        wide = _normalised(wide, f"{prefix}expand_bn", f"{prefix}expand_activation")
    x = layers.DepthwiseConv2D(kernel, strides=stride, padding="same", use_bias=False, name=f"{prefix}dwconv")(wide)
    x = _normalised(x, f"{prefix}bn", f"{prefix}activation")
    x = layers.Conv2D(channels, 1, use_bias=False, name=f"{prefix}project_conv")(x)
    x = _normalised(x, f"{prefix}project_bn")
    if stride == 1 and before.shape[-1] == channels:
        return layers.Add(name=f"{prefix}add")([x, before])
    return x
