"""A turned picture gets the turned answer."""

import numpy as np
import pytest

from serving.imaging.canonical.orientation import OrientationHead, look


def head(side: int = 16) -> OrientationHead:
    """A network of random weights: what is tested here holds for any."""
    rng = np.random.default_rng(3)
    shapes = ((3, 3, 1, 4), (3, 3, 4, 6), (6 * side * side // 16, 5), (5, 1))
    kernels = tuple(rng.normal(0, 0.5, shape).astype(np.float32) for shape in shapes)
    return OrientationHead(side, kernels, tuple(rng.normal(0, 0.1, s[-1]).astype(np.float32) for s in shapes))


def picture(side: int = 32) -> np.ndarray:
    """Smooth, without a symmetry; thumbnails of it lose no more than rounding."""
    y, x = np.mgrid[:side, :side] / side
    return np.asarray(120 + 90 * np.sin(5 * x + y) * np.cos(3 * y * x + 1), np.uint8)


def test_probabilities_sum_to_one() -> None:
    assert head()(picture()).sum() == pytest.approx(1)


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_turned_picture_needs_so_many_turns_less(quarters: int) -> None:
    turned = np.ascontiguousarray(np.rot90(picture(), quarters))
    np.testing.assert_allclose(head()(turned), np.roll(head()(picture()), -quarters), atol=1e-5)


def test_lower_contrast_is_seen_the_same() -> None:
    dim = np.rint(picture(160) * 0.5 + 20).astype(np.uint8)
    np.testing.assert_allclose(look(dim, 16), look(picture(160), 16), atol=0.03)


def test_weights_survive_half_precision() -> None:
    again = OrientationHead.from_arrays(head().to_arrays())
    np.testing.assert_allclose(again(picture()), head()(picture()), atol=0.02)


def test_the_network_is_that_of_keras() -> None:
    keras = pytest.importorskip("keras")
    given = x = keras.Input((16, 16, 1))
    for channels in (4, 6):
        x = keras.layers.Conv2D(channels, 3, strides=2, padding="same", activation="relu")(x)
    x = keras.layers.Dense(5, activation="relu")(keras.layers.Flatten()(x))
    network = keras.Model(given, keras.layers.Dense(1)(x))
    network.set_weights([one for pair in zip(head().kernels, head().biases, strict=True) for one in pair])
    seen = np.random.default_rng(1).normal(0, 1, (3, 16, 16)).astype(np.float32)
    expected = np.asarray(network(seen[..., np.newaxis]))[:, 0]
    np.testing.assert_allclose(head().uprightness(seen), expected, atol=1e-4)
