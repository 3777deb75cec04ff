"""Swapping white and black swaps the answer."""

import cv2
import numpy as np
import pytest

from serving.imaging.canonical.polarity import FEATURES, PolarityHead, features


def limb(width: int = 240) -> np.ndarray:
    pixels = np.full((320, width), 20, np.uint8)
    cv2.line(pixels, (80, 0), (150, 260), 120, 80)
    cv2.line(pixels, (80, 0), (150, 250), 220, 18)
    return np.asarray(cv2.GaussianBlur(pixels, (0, 0), 4), np.uint8)


HEAD = PolarityHead(np.linspace(-1, 1, len(FEATURES)))


def test_features_change_their_signs_with_the_polarity() -> None:
    np.testing.assert_allclose(features(np.asarray(255 - limb(), np.uint8)), -features(limb()), atol=0.02)


def test_a_picture_and_its_inverse_have_probabilities_that_sum_to_one() -> None:
    assert HEAD(limb()) + HEAD(np.asarray(255 - limb(), np.uint8)) == pytest.approx(1, abs=0.02)


def test_features_do_not_depend_on_contrast() -> None:
    dim = np.rint(limb() * 0.6 + 30).astype(np.uint8)
    np.testing.assert_allclose(features(dim), features(limb()), atol=0.1)


def test_features_do_not_depend_on_a_quarter_turn() -> None:
    np.testing.assert_allclose(features(np.ascontiguousarray(np.rot90(limb()))), features(limb()), atol=0.1)


def test_a_flat_picture_is_undecided() -> None:
    assert HEAD(np.full((100, 80), 40, np.uint8)) == 0.5


@pytest.mark.parametrize("shape", [(1, 1), (3, 200), (33, 2)])
def test_any_shape_has_finite_features(shape: tuple[int, int]) -> None:
    pixels = np.arange(shape[0] * shape[1]).reshape(shape).astype(np.uint8)
    assert np.isfinite(features(pixels)).all()


def test_weights_survive_json() -> None:
    assert (PolarityHead.from_json(HEAD.to_json()).weights == HEAD.weights).all()
