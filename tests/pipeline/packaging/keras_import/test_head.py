"""What stands between a model's last map and its answer, and what cannot be explained."""

import re
from collections.abc import Callable
from typing import Any

import keras
import pytest
from keras import layers

from pipeline.errors import InputError
from pipeline.packaging.keras_import.head import read_head
from tests.pipeline.packaging.keras_import.builders import (
    SIGMOID,
    SIZE,
    convolutions,
    sequence,
)


def _joined() -> keras.Model:
    pixels = keras.Input((SIZE, SIZE, 1))
    x = layers.Conv2D(2, 3)(pixels)
    x = layers.Concatenate()([layers.GlobalAveragePooling2D()(x), layers.GlobalMaxPooling2D()(x)])
    return keras.Model(pixels, layers.Dense(**SIGMOID)(x))


REFUSED: dict[str, Callable[[], list[Any]]] = {
    "no dense layer stands before the tanh": lambda: [
        layers.Flatten(), layers.Activation("tanh"), layers.Dense(**SIGMOID),
    ],
    r"\(Dense\) stands before its answer": lambda: [layers.Flatten(), layers.Dense(4, "gelu"), layers.Dense(**SIGMOID)],
    "is no probability": lambda: [layers.Flatten(), layers.Dense(1)],
    "its answer is a map": lambda: [layers.Conv2D(1, 1, activation="sigmoid")],
}  # fmt: skip


def _error(model: keras.Model) -> str:
    with pytest.raises(InputError) as caught:
        read_head(model, "model.keras")
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("model.keras: ")
    return str(caught.value)


@pytest.mark.parametrize("reason", REFUSED)
def test_a_head_that_cannot_be_explained_is_one_line(reason: str) -> None:
    model = sequence(layers.Rescaling(1 / 255), *convolutions(), *REFUSED[reason]())
    assert re.search(reason, _error(model))


def test_branches_that_join_behind_the_map_are_one_line() -> None:
    assert "joins several branches" in _error(_joined())


def test_a_network_without_convolution_is_one_line() -> None:
    assert "no convolution" in _error(sequence(layers.Flatten(), layers.Dense(**SIGMOID)))
