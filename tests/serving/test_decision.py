"""From scores to label and suspicion."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.decision import (
    FRACTURED,
    NORMAL,
    Calibration,
    Decision,
    LogisticCalibration,
    TemperatureCalibration,
)
from serving.wording import STATEMENTS


def _decision(
    low: float = 0.2, high: float = 0.8, threshold: float = 0.5, calibration: Calibration | None = None
) -> Decision:
    return Decision(calibration or LogisticCalibration(1.0, 0.0), threshold, low, high, 0.5)


@pytest.mark.parametrize(
    ("probability", "label", "suspicion"),
    [(0.1, NORMAL, "none"), (0.2, NORMAL, "possible"), (0.5, FRACTURED, "possible"), (0.8, FRACTURED, "high")],
)
def test_points_belong_to_what_lies_above_them(probability: float, label: str, suspicion: str) -> None:
    decision = _decision()
    assert (decision.label(probability), decision.suspicion(probability)) == (label, suspicion)


def test_crossed_operating_points_are_sorted() -> None:
    crossed = _decision(low=0.8, high=0.2)
    assert [crossed.suspicion(p) for p in (0.1, 0.5, 0.9)] == ["none", "possible", "high"]


@pytest.mark.parametrize(("low", "high"), [(0.7, 0.8), (0.8, 0.7), (0.1, 0.2), (0.2, 0.8)])
def test_what_is_answered_as_a_fracture_is_never_without_suspicion(low: float, high: float) -> None:
    decision = _decision(low, high)
    found = {(decision.label(p), decision.suspicion(p)) for p in np.linspace(0, 1, 101)}
    assert found <= set(STATEMENTS)
    assert (FRACTURED, "none") not in found


@given(*[st.floats(0, 1.2)] * 2, st.floats(0.01, 0.99), st.floats(0, 1))
def test_label_and_suspicion_never_contradict_each_other(
    low: float, high: float, threshold: float, probability: float
) -> None:
    decision = _decision(low, high, threshold)
    label, suspicion = decision.label(probability), decision.suspicion(probability)
    assert (label, suspicion) in STATEMENTS
    assert (label == FRACTURED) == (probability >= threshold)
    if probability >= max(low, high):
        assert label != NORMAL


@pytest.mark.parametrize("calibration", [LogisticCalibration(1.7, -0.3), TemperatureCalibration(1.4)])
def test_a_decision_survives_its_json(calibration: Calibration) -> None:
    decision = _decision(calibration=calibration)
    assert Decision.from_dict(json.loads(json.dumps(decision.to_dict()))) == decision


def test_the_probability_of_a_fracture_is_one_minus_that_of_normal() -> None:
    decision = _decision(calibration=TemperatureCalibration(1.0))
    assert decision.fracture_probability(np.array([[0.7, 0.1, 0.2]]))[0] == pytest.approx(0.3)
