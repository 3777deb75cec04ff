"""Reference statistics of the training images."""

from pathlib import Path

import numpy as np
import pytest

from serving import statistics


def _reference(seed: int = 0) -> statistics.Reference:
    rng = np.random.default_rng(seed)
    features = rng.normal(0, 1, (300, 8))
    inputs = rng.normal(0, 1, (300, len(statistics.INPUTS)))
    return statistics.reference_of(inputs, features, rng.random(300), (features[:50], inputs[:50]))


def test_statistics_of_a_half_black_canvas_are_exact() -> None:
    canvas = np.zeros((64, 64), np.uint8)
    canvas[:, :32] = 250
    mean, contrast, dark, bright, _, content = statistics.input_statistics(canvas)
    assert (mean, contrast, dark, bright, content) == (125, 125, 0.5, 0.5, 0.5)


def test_distance_of_training_like_features_is_about_one_and_grows_with_strangeness() -> None:
    reference = _reference()
    rng = np.random.default_rng(1)
    usual, inputs = rng.normal(0, 1, (500, 8)), rng.normal(0, 1, (500, 6))
    assert np.median(reference.distance(usual, inputs)) == pytest.approx(1, abs=0.2)
    assert reference.distance(usual + 10, inputs).min() > reference.distance(usual, inputs).max()
    assert reference.distance(usual, inputs - 10).min() > reference.distance(usual, inputs).max()


def test_more_features_than_images_still_give_a_distance() -> None:
    features = np.random.default_rng(0).normal(0, 1, (20, 50))
    inputs = np.zeros((20, 6))
    reference = statistics.reference_of(inputs, features, np.linspace(0, 1, 20), (features, inputs))
    assert np.isfinite(reference.distance(features, inputs)).all()


def test_reference_survives_its_file(tmp_path: Path) -> None:
    reference = _reference()
    reference.save(tmp_path / "reference.npz")
    loaded = statistics.Reference.load(tmp_path / "reference.npz")
    features, inputs = np.ones((3, 8)), np.ones((3, 6))
    assert np.allclose(loaded.distance(features, inputs), reference.distance(features, inputs), rtol=1e-4)
    assert np.array_equal(loaded.distances, reference.distances)
    assert np.array_equal(loaded.inputs, reference.inputs)
