"""EfficientNet-Lite backbones and their weights."""

import os
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from pipeline.errors import InputError
from pipeline.training import architectures, efficientnet_lite
from pipeline.training.params import TrainParams


@pytest.fixture(scope="module")
def lite0() -> keras.Model:
    return efficientnet_lite.build("EfficientNetLite0", (64, 64, 3))


def arrays_of(model: keras.Model) -> dict[str, Any]:
    def name(layer: keras.layers.Layer, variable: Any) -> str:
        return "depthwise_kernel" if isinstance(layer, keras.layers.DepthwiseConv2D) else str(variable.name)

    return {f"{x.name}/{name(x, v)}": np.full(v.shape, 0.5, np.float16) for x in model.layers for v in x.weights}


@pytest.mark.parametrize(("name", "millions"), [("EfficientNetLite0", 3.41), ("EfficientNetLite2", 4.87)])
def test_each_size_has_the_parameters_of_the_original_without_its_classes(name: str, millions: float) -> None:
    model = efficientnet_lite.build(name, (64, 64, 3))
    assert model.count_params() / 1e6 == pytest.approx(millions, abs=0.01)


def test_the_map_is_a_thirty_second_of_the_side(lite0: keras.Model) -> None:
    assert lite0.output.shape == (None, 2, 2, 1280)


def test_weights_of_half_precision_fill_every_layer(lite0: keras.Model, tmp_path: Path) -> None:
    np.savez(tmp_path / "weights.npz", **arrays_of(lite0))
    efficientnet_lite.load_weights(lite0, tmp_path / "weights.npz")
    assert all((np.asarray(weight) == 0.5).all() for weight in lite0.get_weights())


def test_a_missing_array_is_named(lite0: keras.Model, tmp_path: Path) -> None:
    arrays = arrays_of(lite0)
    del arrays["block3a_dwconv/depthwise_kernel"]
    np.savez(tmp_path / "weights.npz", **arrays)
    with pytest.raises(InputError, match="block3a_dwconv/depthwise_kernel has no such array"):
        efficientnet_lite.load_weights(lite0, tmp_path / "weights.npz")


def test_an_array_of_another_shape_is_named(lite0: keras.Model, tmp_path: Path) -> None:
    np.savez(tmp_path / "weights.npz", **{**arrays_of(lite0), "top_bn/gamma": np.zeros(3, np.float32)})
    with pytest.raises(InputError, match="top_bn/gamma has the shape"):
        efficientnet_lite.load_weights(lite0, tmp_path / "weights.npz")


def test_a_file_that_is_no_archive_is_one_line(lite0: keras.Model, tmp_path: Path) -> None:
    (tmp_path / "weights.npz").write_text("no")
    with pytest.raises(InputError, match="no readable"):
        efficientnet_lite.load_weights(lite0, tmp_path / "weights.npz")


def test_the_head_says_where_on_the_widest_maps_of_each_stride() -> None:
    options = TrainParams(architecture="EfficientNetLite0", head="location")
    backbone = architectures.build(options, 64, 2).get_layer(architectures.BACKBONE)
    names = [tensor._keras_history.operation.name for tensor in backbone.outputs]
    assert names == ["top_activation", "block6a_expand_activation", "block4a_expand_activation"]


def test_grey_levels_are_scaled_as_the_original_does() -> None:
    scale = architectures.scaling("EfficientNetLite2")
    assert np.asarray(scale(np.array([127.0, 255.0]))) == pytest.approx([0, 1])


@pytest.mark.parametrize("weights", ["imagenet", "backbone.weights.h5"])
def test_weights_of_another_kind_are_refused(tmp_path: Path, weights: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "backbone.weights.h5").write_text("")
    options = TrainParams(architecture="EfficientNetLite0", weights=weights)
    with pytest.raises(InputError, match=r"train\.weights: .* an \.npz file"):
        architectures.build(options, 64, 2)


@pytest.mark.skipif("EFFICIENTNET_LITE0_WEIGHTS" not in os.environ, reason="no variable says where the weights are")
def test_the_published_weights_load(lite0: keras.Model) -> None:
    efficientnet_lite.load_weights(lite0, Path(os.environ["EFFICIENTNET_LITE0_WEIGHTS"]))
    assert lite0.get_layer("stem_conv").get_weights()[0].std() > 0
