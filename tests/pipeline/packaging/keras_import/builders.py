"""Small Keras models of another origin, and their files."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
from keras import layers

from pipeline.data.prepared import Prepared

SIZE = 32
BINARY = ("normal", "fractured")
SIGMOID: dict[str, Any] = {"units": 1, "activation": "sigmoid"}
Squares = Callable[..., Prepared]


def convolutions() -> list[Any]:
    return [layers.Conv2D(4, 3, activation="relu"), layers.MaxPooling2D(4)]


def sequence(*parts: Any, channels: int = 1, dtype: str = "float32") -> keras.Model:
    return keras.Sequential([keras.Input((SIZE, SIZE, channels), dtype=dtype), *parts])


def classic() -> keras.Model:
    return sequence(
        layers.Rescaling(1 / 255), *convolutions(), layers.Flatten(), layers.Dense(8, activation="relu"),
        layers.Dropout(0.5), layers.Dense(**SIGMOID),
    )  # fmt: skip


def backbone(pooled: bool = False) -> keras.Model:
    """A network without a head that stands in another as one layer."""
    colours = keras.Input((SIZE, SIZE, 3))
    x = layers.BatchNormalization()(layers.Conv2D(4, 3, strides=2, padding="same")(colours))
    x = layers.ReLU(6.0)(x)
    x = layers.Add()([x, layers.DepthwiseConv2D(3, padding="same")(x)])
    return keras.Model(colours, layers.GlobalAveragePooling2D()(x) if pooled else x, name="mobilenet_like")


def save(model: keras.Model, folder: Path, suffix: str = ".keras") -> Path:
    model.save(folder / f"model{suffix}")
    return folder / f"model{suffix}"
