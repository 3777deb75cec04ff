"""Gaussian localisation targets and their loss."""

import keras
import numpy as np
import pytest

from pipeline.training.gaussian_targets import GaussianTargets, focal_loss, gaussian_map, share_of_cells

BOX = np.array([[0.25, 0.5, 0.5, 0.75]])


def test_a_box_is_highest_around_its_middle() -> None:
    found = gaussian_map(BOX, np.eye(3), 64, 64, 8)
    assert found.max() == 1
    row, column = divmod(int(found.argmax()), found.shape[1])
    assert (row, column) in {(4, 2), (4, 3), (5, 2), (5, 3)}


def test_a_small_box_reaches_one_in_a_cell() -> None:
    assert gaussian_map(np.array([[0.1, 0.1, 0.11, 0.11]]), np.eye(3), 64, 64, 8).max() == 1


def test_a_box_far_outside_leaves_nothing() -> None:
    away = np.array([[1.0, 0, 500], [0, 1, 0], [0, 0, 1]])
    assert gaussian_map(BOX, away, 64, 64, 8).max() < 1e-6


def test_no_boxes_leave_nothing() -> None:
    assert not gaussian_map(np.zeros((0, 4)), np.eye(3), 64, 64, 8).any()


def test_the_map_turns_with_the_picture() -> None:
    turn = np.array([[0.0, -1, 63], [1, 0, 0], [0, 0, 1]])  # by a quarter, clockwise
    turned = gaussian_map(BOX, turn, 64, 64, 8)
    assert turned == pytest.approx(np.rot90(gaussian_map(BOX, np.eye(3), 64, 64, 8), -1), abs=1e-6)


def test_the_loss_is_the_formula() -> None:
    target, logits = np.array([[[1.0, 0.25]]], np.float32), np.array([[[0.5, -1.0]]], np.float32)
    p = 1 / (1 + np.exp(-logits))
    entropy = -(target * np.log(p) + (1 - target) * np.log(1 - p))
    found = focal_loss(keras.ops.convert_to_tensor(target), keras.ops.convert_to_tensor(logits))
    assert np.asarray(found) == pytest.approx(np.abs(target - p) ** 2 * entropy, rel=1e-5)


def some_targets() -> GaussianTargets:
    boxes = [BOX, np.zeros((0, 4)), np.zeros((0, 4))]
    return GaussianTargets(boxes, np.array([True, False, True]), 8, share=0.05)


def test_an_image_without_known_places_counts_nothing() -> None:
    _, weights = some_targets().batch(np.array([0, 1, 2]), np.tile(np.eye(3), (3, 1, 1)), 64, 64)
    assert weights[:, 0, 0].tolist() == pytest.approx([20, 20, 0])


def test_each_image_has_the_map_of_its_boxes() -> None:
    maps, _ = some_targets().batch(np.array([1, 0]), np.tile(np.eye(3), (2, 1, 1)), 64, 64)
    assert not maps[0].any()
    assert np.array_equal(maps[1], gaussian_map(BOX, np.eye(3), 64, 64, 8))


def test_the_share_is_that_of_cells_above_a_half() -> None:
    above = (gaussian_map(BOX, np.eye(3), 64, 64, 8) > 0.5).sum()
    assert share_of_cells([BOX, np.zeros((0, 4))], 64, 64, 8) == pytest.approx(above / 128)
