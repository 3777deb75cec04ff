"""A model in this project's form: its probabilities stay the same, and its heatmap is Grad-CAM."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from pipeline.data.prepared import Prepared
from pipeline.errors import InputError
from pipeline.evaluation import saliency
from pipeline.packaging.keras_import import wrapping
from pipeline.training import architectures
from serving.imaging.canvas import Preprocessing
from tests.pipeline.packaging.keras_import.builders import (
    BINARY,
    SIGMOID,
    SIZE,
    Squares,
    backbone,
    classic,
    convolutions,
    save,
    sequence,
)

TYPES = ("normal", "spiral", "transverse")


def _transferred() -> keras.Model:
    """A backbone in one layer, with batch normalisation, a hidden layer and two softmax columns behind it."""
    pixels = keras.Input((SIZE, SIZE, 3))
    x = layers.RandomFlip()(pixels)
    x = layers.GlobalAveragePooling2D()(backbone()(layers.Rescaling(1 / 127.5, -1)(x)))
    x = layers.Dropout(0.2)(layers.Dense(32)(layers.BatchNormalization()(x)))  # of few units all may be dead
    x = layers.ReLU()(layers.BatchNormalization()(x))
    return keras.Model(pixels, layers.Softmax()(layers.Dense(2)(x)))


def _with_pooling_inside() -> keras.Model:
    return sequence(backbone(pooled=True), layers.Dense(**SIGMOID), channels=3)


def _with_nested_head() -> keras.Model:
    head = keras.Sequential([layers.GlobalAveragePooling2D(), layers.Dense(**SIGMOID)])
    return sequence(*convolutions(), head)


def _without_hidden_layer() -> keras.Model:
    return sequence(
        *convolutions(), layers.Flatten(), layers.BatchNormalization(), layers.Dense(1), layers.Activation("sigmoid")
    )


def _averaged_by_hand() -> keras.Model:
    pooled = layers.AveragePooling2D(7), layers.Flatten(), layers.Dense(2, activation="softmax")
    return sequence(*convolutions(), *pooled)


def _with_a_convolution_for_its_head() -> keras.Model:
    """As keras.applications.MobileNet ends."""
    head = layers.GlobalAveragePooling2D(keepdims=True), layers.Dropout(0.1), layers.Conv2D(2, 1), layers.Reshape((2,))
    return sequence(*convolutions(), *head, layers.Activation("softmax"))


def _with_two_hidden_layers() -> keras.Model:
    return sequence(
        *convolutions(),
        layers.Flatten(),
        layers.Dense(8, "tanh"),
        layers.BatchNormalization(),
        layers.Dense(16, "relu"),
        layers.Dense(**SIGMOID),
    )


def _with_the_maximum() -> keras.Model:
    return sequence(*convolutions(), layers.GlobalMaxPooling2D(), layers.Dense(2, activation="softmax"))


def _with_the_maximum_and_three_hidden_layers() -> keras.Model:
    hidden = layers.Dense(8, "tanh"), layers.Dense(8, "tanh"), layers.Dense(16, "relu")
    return sequence(*convolutions(), layers.GlobalMaxPooling2D(), *hidden, layers.Dense(**SIGMOID))


ACCEPTED = [
    classic,
    _transferred,
    _with_pooling_inside,
    _with_nested_head,
    _without_hidden_layer,
    _averaged_by_hand,
    _with_a_convolution_for_its_head,
    _with_two_hidden_layers,
    _with_the_maximum,
    _with_the_maximum_and_three_hidden_layers,
]


def _settled(model: keras.Model) -> keras.Model:
    """With weights away from their starting values: zero biases and plain statistics would hide mistakes."""
    rng = np.random.default_rng(0)
    model.set_weights([
        np.abs(value) + rng.uniform(0.1, 0.3, value.shape) if value.ndim == 1 else value * 1.5
        for value in model.get_weights()
    ])  # fmt: skip
    return model


def _take_over(path: Path, data: Prepared, scale: Any = "0-255") -> keras.Model:
    return wrapping.take_over(path, data, scale, data.classes)[0]


def _answers(model: keras.Model, data: Prepared, scale: Any = "0-255") -> np.ndarray:
    """Probability of a fracture as the model itself gives it for its own kind of input."""
    factor, offset = wrapping.SCALES[scale]
    images = np.asarray(data.images[:6])[..., np.newaxis].astype(np.float32) * factor + offset
    found = np.asarray(model.predict_on_batch(np.repeat(images, model.inputs[0].shape[3], axis=3)))
    return np.asarray(found[:, -1])


@dataclass(frozen=True)
class TakenOver:
    """A model of another origin and what became of it; `scale` is the range that it says itself or was given."""

    model: keras.Model
    wrapped: keras.Model
    scale: Any


@pytest.fixture(scope="module", params=ACCEPTED, ids=lambda build: build.__name__.strip("_"))
def taken_over(request: pytest.FixtureRequest, squares: Squares, tmp_path_factory: pytest.TempPathFactory) -> TakenOver:
    scale = "0-255" if request.param in {classic, _transferred} else "0-1"
    model = _settled(request.param())
    return TakenOver(model, _take_over(save(model, tmp_path_factory.mktemp("model")), squares(), scale), scale)


def test_probabilities_stay_what_they_were(taken_over: TakenOver, squares: Squares) -> None:
    data = squares()
    assert taken_over.wrapped.input_shape == (None, SIZE, SIZE, 1)
    found = taken_over.wrapped.predict_on_batch(np.asarray(data.images[:6])[..., np.newaxis])[:, 0]
    assert np.ptp(found) > 0
    assert found == pytest.approx(_answers(taken_over.model, data, taken_over.scale), abs=1e-5)


def _grad_cam_by_tape(model: keras.Model, pixels: np.ndarray) -> np.ndarray:
    """Grad-CAM as published, on the layers between map and logits."""
    import tensorflow as tf

    maps = keras.Model(model.input, model.get_layer(architectures.FEATURE_MAP).output)(pixels, training=False)
    names = [layer.name for layer in model.layers]
    behind = model.layers[names.index(architectures.FEATURE_MAP) + 1 : names.index(architectures.LOGITS) + 1]
    with tf.GradientTape() as tape:
        tape.watch(maps)
        x = maps
        for layer in behind:
            x = layer(x)
    alpha = tf.reduce_mean(tape.gradient(x, maps), axis=(1, 2))
    return np.asarray(tf.einsum("nhwk,nk->nhw", maps, alpha))


def test_the_heatmap_is_grad_cam_but_for_its_unit(taken_over: TakenOver, squares: Squares) -> None:
    pixels = np.asarray(squares().images[:3])[..., np.newaxis]
    found = np.asarray(saliency.explained(taken_over.wrapped).predict_on_batch(pixels)[saliency.MAP])
    wanted = _grad_cam_by_tape(taken_over.wrapped, pixels)
    assert np.abs(wanted).max() > 0
    for ours, theirs in zip(found, wanted, strict=True):
        unit = np.abs(theirs).max() / max(np.abs(ours).max(), 1e-12)
        assert np.allclose(ours * unit, theirs, atol=1e-3 * np.abs(theirs).max())


@pytest.mark.parametrize("scale", ["0-1", "-1-1", "0-255"])
def test_scaling_lies_inside(squares: Squares, tmp_path: Path, scale: Any) -> None:
    data = squares()
    model = _settled(sequence(*convolutions(), layers.GlobalAveragePooling2D(), layers.Dense(**SIGMOID)))
    wrapped = _take_over(save(model, tmp_path), data, scale)
    found = wrapped.predict_on_batch(np.asarray(data.images[:6])[..., np.newaxis])[:, 0]
    assert found == pytest.approx(_answers(model, data, scale), abs=1e-5)


def test_a_model_of_whole_grey_levels_is_taken_over(squares: Squares, tmp_path: Path) -> None:
    parts = layers.Rescaling(1 / 255), *convolutions(), layers.Flatten(), layers.Dense(**SIGMOID)
    model = sequence(*parts, dtype="uint8")
    assert wrapping.take_over(save(model, tmp_path), squares(), None, BINARY)[1].scale == "0-255"


def test_an_h5_file_is_taken_over(squares: Squares, tmp_path: Path) -> None:
    data, model = squares(), _settled(classic())
    wrapped = _take_over(save(model, tmp_path, ".h5"), data)
    found = wrapped.predict_on_batch(np.asarray(data.images[:6])[..., np.newaxis])[:, 0]
    assert found == pytest.approx(_answers(model, data), abs=1e-5)


def test_softmax_columns_of_types_are_kept(squares: Squares, tmp_path: Path) -> None:
    data = squares(classes=TYPES)
    model = _settled(sequence(*convolutions(), layers.GlobalAveragePooling2D(), layers.Dense(3, activation="softmax")))
    assert _take_over(save(model, tmp_path), data).output_shape == (None, 3)


@pytest.mark.parametrize(("units", "activation"), [(1, "sigmoid"), (2, "softmax")])
def test_classes_in_another_order_are_turned(squares: Squares, tmp_path: Path, units: int, activation: str) -> None:
    data = squares()
    model = _settled(sequence(*convolutions(), layers.Flatten(), layers.Dense(units, activation=activation)))
    wrapped = wrapping.take_over(save(model, tmp_path), data, "0-255", BINARY[::-1])[0]
    found = wrapped.predict_on_batch(np.asarray(data.images[:6])[..., np.newaxis])[:, 0]
    assert found == pytest.approx(1 - _answers(model, data), abs=1e-5)


def test_classes_that_are_none_are_one_line(squares: Squares, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--classes a,b: name each of normal, fractured once"):
        wrapping.take_over(tmp_path / "model.keras", squares(), None, ("a", "b"))


@pytest.mark.parametrize(
    ("columns", "activation", "reason"), [(3, "softmax", "3 softmax column"), (2, "sigmoid", "2 sigmoid column")]
)
def test_another_number_of_columns_is_one_line(
    squares: Squares, tmp_path: Path, columns: int, activation: str, reason: str
) -> None:
    model = sequence(*convolutions(), layers.Flatten(), layers.Dense(columns, activation))
    with pytest.raises(InputError, match=f"^{tmp_path}/model.keras: its answer is {reason}"):
        _take_over(save(model, tmp_path), squares())


def test_another_image_size_says_what_to_set(tmp_path: Path, squares: Squares) -> None:
    data = replace(squares(), preprocessing=Preprocessing(64))
    with pytest.raises(InputError, match=r"takes images of 32 px, but prepared/ holds 64 px; set params\.yaml"):
        _take_over(save(classic(), tmp_path), data)


@pytest.mark.parametrize("shape", [(SIZE, SIZE, 4), (SIZE, 16, 1)])
def test_another_shape_than_a_square_image_is_one_line(
    squares: Squares, tmp_path: Path, shape: tuple[int, ...]
) -> None:
    model = keras.Sequential([keras.Input(shape), layers.Conv2D(1, 3), layers.Flatten(), layers.Dense(**SIGMOID)])
    with pytest.raises(InputError, match="must be"):
        _take_over(save(model, tmp_path), squares())
