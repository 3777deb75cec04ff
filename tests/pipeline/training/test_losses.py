"""Losses and metrics with a column for the teachers."""

import keras
import numpy as np
import pytest

from pipeline.training import losses

SAID = np.array([[0.2], [0.9]], np.float32)


def entropy(truth: np.ndarray) -> np.ndarray:
    return np.asarray(-(truth * np.log(SAID[:, 0]) + (1 - truth) * np.log(1 - SAID[:, 0])))


def test_the_teachers_weigh_as_much_as_asked() -> None:
    truth = np.array([[0.0, 0.4], [1.0, 0.7]], np.float32)
    found = losses.mixed(keras.losses.binary_crossentropy, 0.25)(truth, SAID)
    wanted = 0.75 * entropy(truth[:, 0]) + 0.25 * entropy(truth[:, 1])
    assert np.asarray(found) == pytest.approx(wanted, rel=1e-5)


def test_a_truth_of_one_column_is_that_of_people() -> None:
    truth = np.array([[0.0], [1.0]], np.float32)
    found = losses.mixed(keras.losses.binary_crossentropy, 0.25)(truth, SAID)
    assert np.asarray(found) == pytest.approx(entropy(truth[:, 0]), rel=1e-5)


def test_the_focal_loss_of_cells_has_one_number_a_cell() -> None:
    assert losses.cells_focal(np.zeros((2, 3, 3, 1), np.float32), np.zeros((2, 3, 3, 1), np.float32)).shape == (2, 3, 3)


@pytest.mark.parametrize("truth", [[0.0, 1.0], [[0.0], [1.0]], [[0.0, 0.9], [1.0, 0.1]]])
def test_metrics_go_by_what_people_say(truth: list[object]) -> None:
    for metric in (losses.LabelAccuracy(), losses.LabelAUC()):
        metric.update_state(np.array(truth, np.float32), SAID)
        assert float(metric.result()) == pytest.approx(1)
