"""What the teachers say goes along with the image."""

import numpy as np
import pytest

from pipeline.training.soft_targets import SoftTargets, moved_map

LOGITS = np.random.default_rng(0).standard_normal((4, 4)).astype(np.float16)
PROBABILITIES = 1 / (1 + np.exp(-LOGITS.astype(np.float32)))
QUARTER = np.array([[0.0, -1, 31], [1, 0, 0], [0, 0, 1]])
"""A clockwise quarter turn of 32 pixels."""
SHIFT = np.array([[1.0, 0, 8], [0, 1, 0], [0, 0, 1]])


def test_an_unmoved_map_stays() -> None:
    assert moved_map(LOGITS, np.eye(3), 8, 4) == pytest.approx(PROBABILITIES, abs=1e-5)


def test_the_map_turns_with_the_image() -> None:
    assert moved_map(LOGITS, QUARTER, 8, 4) == pytest.approx(np.rot90(PROBABILITIES, -1), abs=1e-5)


def test_beyond_the_image_there_is_no_fracture() -> None:
    found = moved_map(LOGITS, SHIFT, 8, 4)
    assert not found[:, 0].any()
    assert found[:, 1:] == pytest.approx(PROBABILITIES[:, :-1], abs=1e-5)


def test_labels_and_maps_stand_beside_those_of_people() -> None:
    soft = SoftTargets(np.array([0.1, 0.7], np.float32), np.stack([LOGITS, LOGITS]), 8)
    labels, maps = soft.beside(np.array([1.0]), np.zeros((1, 4, 4), np.float32), np.array([1]), np.eye(3)[np.newaxis])
    assert labels.tolist() == pytest.approx(np.array([[1.0, 0.7]]))
    assert maps.shape == (1, 4, 4, 2)
    assert not maps[..., 0].any()


def test_windows_keep_the_label_of_people() -> None:
    soft = SoftTargets(np.array([0.1], np.float32), LOGITS[np.newaxis], 8)
    maps = np.zeros((1, 4, 4), np.float32)
    labels, _ = soft.beside(np.array([1.0]), maps, np.array([0]), np.eye(3)[np.newaxis], hard_labels=True)
    assert labels.tolist() == [[1.0, 1.0]]
