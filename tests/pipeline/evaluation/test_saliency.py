"""The closed form of Grad-CAM equals the gradient it stands for."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.errors import InputError
from pipeline.evaluation import saliency
from pipeline.packaging.conversion import convert
from pipeline.training import architectures
from pipeline.training.params import TrainParams
from serving.network import Network


def _grad_cam_by_tape(model: Any, pixels: np.ndarray, column: int) -> np.ndarray:
    """Grad-CAM as published: the gradient of the logit, averaged over positions, over the feature map."""
    import keras
    import tensorflow as tf

    reader = keras.Model(model.input, [model.get_layer(architectures.FEATURE_MAP).output, model.output])
    split = [layer.name for layer in model.layers].index(architectures.FEATURE_MAP)
    with tf.GradientTape() as tape:
        maps, _ = reader(pixels)
        tape.watch(maps)
        x = maps
        for layer in model.layers[split + 1 : -1]:
            x = layer(x, training=False) if layer.name == "dropout" else layer(x)
        logit = x[:, column]
    alpha = tf.reduce_mean(tape.gradient(logit, maps), axis=(1, 2))
    return np.asarray(tf.einsum("nhwk,nk->nhw", maps, alpha))


@pytest.mark.parametrize(
    "options",
    [TrainParams(), TrainParams(architecture="MobileNet", architecture_options={"alpha": 0.25})],
    ids=["classic", "backbone"],
)
@pytest.mark.parametrize("classes", [2, 4])
def test_the_map_is_the_grad_cam_of_the_likeliest_fracture_class(options: TrainParams, classes: int) -> None:
    model = architectures.build(options, 64, classes)
    pixels = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 1), dtype=np.uint8)
    found = saliency.explained(model).predict_on_batch(pixels)
    for image in range(3):
        column = 0 if classes == 2 else 1 + int(found[saliency.SCORES][image, 1:].argmax())
        expected = _grad_cam_by_tape(model, pixels, column)[image]
        scale = np.abs(expected).max()
        assert scale > 0
        assert np.allclose(np.asarray(found[saliency.MAP])[image], expected, atol=1e-4 * scale)


def test_scores_are_those_of_the_model_itself() -> None:
    model = architectures.build(TrainParams(), 32, 2)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 1), dtype=np.uint8)
    found = saliency.explained(model).predict_on_batch(pixels)
    assert np.allclose(found[saliency.SCORES], model.predict_on_batch(pixels))
    assert found[architectures.FEATURES].shape == (2, 128)


def test_a_localisation_head_is_its_own_map() -> None:
    options = TrainParams(architecture="MobileNet", architecture_options={"alpha": 0.25}, head="location")
    model = architectures.build(options, 64, 2)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 1), dtype=np.uint8)
    found = saliency.explained(model).predict_on_batch(pixels)
    located = architectures.located(model).predict_on_batch(pixels)
    odds = np.log(located[architectures.LOCATION] / (1 - located[architectures.LOCATION]))[..., 0]
    assert np.asarray(found[saliency.MAP]).shape == (2, 8, 8)
    assert np.allclose(found[saliency.MAP], odds - saliency.LEAST_PLACE, atol=1e-3)
    assert np.allclose(found[saliency.SCORES], located[architectures.PROBABILITY])


@pytest.mark.parametrize(
    "options",
    [
        TrainParams(),
        TrainParams(architecture="MobileNet", architecture_options={"alpha": 0.25}),
        TrainParams(architecture="MobileNet", architecture_options={"alpha": 0.25}, head="location"),
    ],
    ids=["classic", "backbone", "location"],
)
@pytest.mark.parametrize("classes", [2, 6])
def test_the_network_of_a_bundle_gives_the_same_reasons(options: TrainParams, classes: int, tmp_path: Path) -> None:
    model = saliency.explained(architectures.build(options, 64, classes))
    pixels = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 1), dtype=np.uint8)
    wanted = model.predict_on_batch(pixels)
    (tmp_path / "model.tflite").write_bytes(convert(model, "float32"))
    network = Network(tmp_path / "model.tflite")
    for image in range(3):
        found = network(pixels[image, ..., 0])
        for name in (saliency.SCORES, saliency.MAP):
            expected = np.asarray(wanted[name])[image]
            assert np.allclose(found[name][0], expected, atol=1e-4 * max(1, np.abs(expected).max()))


def test_what_litert_cannot_do_is_one_line() -> None:
    import keras

    pixels = keras.Input((8,), dtype="uint8")
    model = keras.Model(pixels, keras.ops.argmax(keras.layers.Rescaling(1.0)(pixels), axis=-1))
    with pytest.raises(InputError, match=r"LiteRT lacks tf\.BitwiseAnd; take another train\.architecture"):
        convert(model, "float32")
