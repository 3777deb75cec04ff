"""A number format is refused when its answers differ too much."""

import numpy as np
import pytest

from pipeline.packaging.conversion import Measured, compare
from serving.decision import Decision, LogisticCalibration


def test_a_format_that_differs_too_much_is_refused() -> None:
    assert Measured(0.019, 0.0019, 1.0, 1).faults == []
    assert "a probability differs by 0.0300" in Measured(0.03, 0.0, 1.0, 1).faults[0]
    assert "AUROC differs by 0.0030" in Measured(0.0, 0.003, 1.0, 1).faults[0]
    assert Measured(float("nan"), 0.0, 1.0, 1).faults


def test_one_pair_of_few_images_may_change_places() -> None:
    pair = 1 / (11 * 42)  # more than the limit of 0.002
    assert Measured(0.0, pair, 1.0, 1, pair).faults == []
    assert "AUROC differs by 0.0043 (at most 0.002165)" in Measured(0.0, 2 * pair, 1.0, 1, pair).faults[0]


def test_formats_are_compared_by_raw_and_calibrated_probabilities() -> None:
    steep = Decision(LogisticCalibration(10.0, 0.0), 0.5, 0.2, 0.8, 0.5)
    ours, theirs = (np.array(values, np.float32)[:, None] for values in ([0.5, 0.51], [0.5, 0.50]))
    difference, auroc = compare(ours, theirs, np.array([0, 1]), steep)
    assert difference > 0.05
    assert auroc == pytest.approx(0.5)
