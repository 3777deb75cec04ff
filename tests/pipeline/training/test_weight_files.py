"""Weights from .npz files and whole networks."""

from pathlib import Path

import keras
import numpy as np
import pytest

from pipeline.errors import InputError
from pipeline.training import weight_files


def network(seed: int) -> keras.Model:
    """A network within a network, as a backbone within an architecture."""
    keras.utils.set_random_seed(seed)
    inner = keras.Sequential([keras.Input((4, 4, 3)), keras.layers.DepthwiseConv2D(3, name="dw")], name="backbone")
    pixels = keras.Input((4, 4, 3))
    flat = keras.layers.Flatten(name="flat")(inner(pixels))
    return keras.Model(pixels, keras.layers.Dense(1, name="logits")(flat))


def same(one: keras.Model, other: keras.Model) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(one.get_weights(), other.get_weights(), strict=True))


def test_arrays_of_a_model_fill_another(tmp_path: Path) -> None:
    one, other = network(1), network(2)
    np.savez(tmp_path / "a.npz", **weight_files.of_model(one))
    weight_files.fill(other, weight_files.read_whole(tmp_path / "a.npz"), tmp_path / "a.npz")
    assert same(one, other)


def test_a_keras_file_fills_another(tmp_path: Path) -> None:
    one, other = network(1), network(2)
    one.save(tmp_path / "a.keras")
    weight_files.fill(other, weight_files.read_whole(tmp_path / "a.keras"), tmp_path / "a.keras")
    assert same(one, other)


def test_depthwise_kernels_keep_their_old_name() -> None:
    assert set(weight_files.of_model(network(1))) == {
        "dw/depthwise_kernel", "dw/bias", "logits/kernel", "logits/bias"
    }  # fmt: skip


def test_a_file_with_the_last_layer_is_a_whole_network(tmp_path: Path) -> None:
    arrays = weight_files.of_model(network(1))
    np.savez(tmp_path / "whole.npz", **arrays)
    np.savez(tmp_path / "backbone.npz", **{"dw/bias": arrays["dw/bias"]})
    assert weight_files.is_whole(str(tmp_path / "whole.npz"))
    assert not weight_files.is_whole(str(tmp_path / "backbone.npz"))


@pytest.mark.parametrize("name", ["a.npz", "a.keras"])
def test_a_file_that_is_none_is_one_line(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("no")
    with pytest.raises(InputError, match=f"{name}: is no readable"):
        weight_files.read_whole(tmp_path / name)
