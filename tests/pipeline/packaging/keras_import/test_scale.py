"""The range of pixels that a model's first steps show."""

from collections.abc import Callable
from typing import Any

import keras
import pytest
from keras import layers

from pipeline.errors import InputError
from pipeline.packaging.keras_import.scale import scale_of
from tests.pipeline.packaging.keras_import.builders import (
    SIGMOID,
    SIZE,
    backbone,
    classic,
    convolutions,
    sequence,
)


def _range(model: keras.Model, given: Any = None) -> str:
    return scale_of(model, given, "model.keras")


def _ends() -> list[Any]:
    return [*convolutions(), layers.GlobalAveragePooling2D(), layers.Dense(**SIGMOID)]


def test_a_model_of_whole_grey_levels_takes_0_to_255() -> None:
    assert _range(sequence(layers.Rescaling(1 / 255), *_ends(), dtype="uint8")) == "0-255"


def test_a_model_that_begins_with_rescaling_says_its_range_itself() -> None:
    assert _range(classic()) == "0-255"


def _augmented() -> keras.Model:
    """Augmentation in a model of its own, and scaling behind it."""
    augment = keras.Sequential([layers.RandomFlip(), layers.RandomRotation(0.1)])
    pixels = keras.Input((SIZE, SIZE, 1))
    x = layers.Rescaling(1 / 127.5, -1)(augment(pixels))
    for layer in (*convolutions(), layers.GlobalAveragePooling2D(), layers.Dense(**SIGMOID)):
        x = layer(x)
    return keras.Model(pixels, x)


def _preprocessed(package: Any) -> keras.Model:
    pixels = keras.Input((SIZE, SIZE, 3))
    x = package.preprocess_input(pixels)
    for layer in (*convolutions(), layers.GlobalAveragePooling2D(), layers.Dense(**SIGMOID)):
        x = layer(x)
    return keras.Model(pixels, x)


SAYS_LEVELS: dict[str, Callable[[], keras.Model]] = {
    "behind augmentation": _augmented,
    "mobilenet": lambda: _preprocessed(keras.applications.mobilenet_v2),
    "resnet": lambda: _preprocessed(keras.applications.resnet),
    "densenet": lambda: _preprocessed(keras.applications.densenet),
}


@pytest.mark.parametrize("kind", SAYS_LEVELS)
def test_scaling_inside_a_model_says_its_range(kind: str) -> None:
    assert _range(SAYS_LEVELS[kind]()) == "0-255"


@pytest.mark.parametrize("kind", SAYS_LEVELS)
@pytest.mark.parametrize("given", ["0-1", "-1-1"])
def test_a_scale_that_contradicts_the_model_is_refused(kind: str, given: str) -> None:
    with pytest.raises(InputError, match=f"which takes pixels of 0-255; leave --scale {given} out"):
        _range(SAYS_LEVELS[kind](), given)


@pytest.mark.parametrize(
    ("rescaling", "scale"),
    [((2.0, -1.0), "0-1"), ((255.0, 0.0), "0-1"), ((127.5, 127.5), "-1-1"), ((0.5, 0.5), "-1-1")],
)
def test_rescaling_from_a_smaller_range_says_which(rescaling: tuple[float, float], scale: str) -> None:
    assert _range(sequence(layers.Rescaling(*rescaling), *_ends())) == scale


def test_a_model_that_does_not_is_asked_about() -> None:
    with pytest.raises(InputError, match=r"^model\.keras: does not say which range .* --scale 0-1"):
        _range(sequence(*_ends()))


def test_what_a_backbone_suggests_is_said() -> None:
    with pytest.raises(InputError, match="usually trained on -1-1"):
        _range(sequence(backbone(pooled=True), layers.Dense(**SIGMOID), channels=3))
