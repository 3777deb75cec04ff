"""Measures with truth, agreement, and the estimate without."""

import numpy as np
import pytest

from pipeline.monitoring.performance import agreement, estimated, measured
from pipeline.monitoring.window import Window, window_of
from serving.store.records import AnswerRecord, FeedbackRecord
from tests.pipeline.monitoring.conftest import NOON
from tests.serving.store.rows import answer, opinion


def _window(rows: list[AnswerRecord], said: list[FeedbackRecord]) -> Window:
    return window_of(rows, said, NOON, NOON, "normal")


def _calibrated(count: int, seed: int = 0) -> tuple[list[AnswerRecord], list[FeedbackRecord]]:
    """Answers whose probabilities hold, with the label of each."""
    rng = np.random.default_rng(seed)
    p = rng.beta(0.6, 1.2, count)
    labels = np.where(rng.random(count) < p, "fractured", "normal")
    rows = [answer(number, probability=float(value)) for number, value in enumerate(p)]
    return rows, [opinion(number, opinion="unsure", label=str(label)) for number, label in enumerate(labels)]


def test_sensitivity_and_specificity_are_those_of_what_the_answers_said() -> None:
    rows = [answer(n, probability=p) for n, p in enumerate([0.9] * 15 + [0.1] * 5 + [0.9] * 2 + [0.1] * 18)]
    said = [opinion(n, label="fractured" if n < 20 else "normal") for n in range(40)]
    found = measured(_window(rows, said))
    assert found is not None
    assert found.measures["sensitivity"]["value"] == pytest.approx(0.75)
    assert found.measures["specificity"]["value"] == pytest.approx(0.9)
    assert (found.images, found.fractured, found.of_answers) == (40, 20, 1.0)


def test_an_answers_own_threshold_counts() -> None:
    rows = [answer(n, probability=0.4, threshold=0.3) for n in range(20)]
    found = measured(_window(rows, [opinion(n, label="fractured") for n in range(20)]))
    assert found is not None
    assert found.measures["sensitivity"]["value"] == 1.0


def test_too_few_truths_are_no_measure() -> None:
    rows, said = _calibrated(19)
    assert measured(_window(rows, said)) is None


def test_the_estimate_without_truth_covers_what_the_truth_says_while_the_calibration_holds() -> None:
    rows, said = _calibrated(3000)
    window = _window(rows, said)
    guess, truth = estimated(window), measured(window)
    assert guess is not None
    assert truth is not None
    for name in ("sensitivity", "specificity"):
        low, high = truth.measures[name]["low"], truth.measures[name]["high"]
        assert low is not None
        assert high is not None
        assert low - 0.01 <= (guess.measures[name]["value"] or 0) <= high + 0.01


def test_images_of_one_patient_make_the_interval_wider() -> None:
    rows, said = _calibrated(200)
    alone = measured(_window(rows, said))
    together = measured(
        _window([AnswerRecord(**{**vars(row), "patient": f"p{n % 8}"}) for n, row in enumerate(rows)], said)
    )
    assert alone is not None
    assert together is not None
    assert together.measures["auroc"]["value"] == alone.measures["auroc"]["value"]
    assert together.measures["auroc"]["low"] != alone.measures["auroc"]["low"]


def test_agreement_counts_the_readers_who_are_sure() -> None:
    said = [opinion(1), opinion(2), opinion(3), opinion(4, opinion="disagree", comments=["cast"])]
    found = agreement(_window([answer(n) for n in range(9)], [*said, opinion(5, opinion="unsure")]))
    assert found.opinions == {"agree": 3, "disagree": 1, "unsure": 1}
    assert found.share["value"] == 0.75
    assert found.comments == {"cast": 1}


def test_no_opinion_is_no_agreement() -> None:
    assert agreement(_window([answer(1)], [])).share == {"value": None, "low": None, "high": None}
