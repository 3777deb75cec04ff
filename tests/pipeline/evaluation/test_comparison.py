"""Two models on the same images."""

import numpy as np
import pytest

from pipeline.evaluation.comparison import Answers, compare, rows, said


def _answers(p: np.ndarray) -> Answers:
    return Answers(p, p >= 0.5)


def _drawn(count: int, noise: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = np.arange(count) % 2
    hard = rng.normal(0, 0.25, count)  # what makes an image hard for both models
    first, second = (np.clip(0.3 + 0.4 * y + hard + rng.normal(0, one, count), 0, 1) for one in (0.02, noise))
    return y, first, second


def test_a_model_against_itself_differs_by_nothing() -> None:
    y, first, _ = _drawn(200, 0.02)
    found = compare(y, _answers(first), _answers(first), np.arange(200))
    assert {(pair.difference["low"], pair.difference["high"]) for pair in found.measures.values()} == {(0.0, 0.0)}


def test_the_difference_of_a_pair_is_known_better_than_either_measure() -> None:
    y, first, second = _drawn(300, 0.02)
    pair = compare(y, _answers(first), _answers(second), np.arange(300)).measures["auroc"]
    widths = [one["high"] - one["low"] for one in (pair.champion, pair.difference)]  # type: ignore[operator]
    assert widths[1] < widths[0] / 2


def test_a_worse_model_is_found_worse() -> None:
    y, first, second = _drawn(300, 1.0)
    found = compare(y, _answers(first), _answers(second), np.arange(300)).measures
    assert found["auroc"].difference["high"] < 0  # type: ignore[operator]
    assert found["brier"].difference["low"] > 0  # type: ignore[operator]


def test_measures_are_those_of_the_answers() -> None:
    y, p = np.array([1, 1, 0, 0]), np.array([0.9, 0.1, 0.1, 0.1])
    found = compare(y, _answers(p), _answers(1 - p), np.arange(4))
    measures = {name: (pair.champion["value"], pair.challenger["value"]) for name, pair in found.measures.items()}
    assert measures["sensitivity"] == (0.5, 0.5)
    assert measures["specificity"] == (1.0, 0.0)
    assert (found.images, found.fractured) == (4, 2)


def test_images_of_one_patient_are_drawn_together() -> None:
    y, first, second = _drawn(300, 0.3)
    pairs = [
        compare(y, _answers(first), _answers(second), groups).measures["brier"].difference
        for groups in (np.arange(300), np.arange(300) // 60)
    ]
    assert pairs[0] != pairs[1]


def test_one_class_alone_has_no_auroc() -> None:
    same = _answers(np.linspace(0, 1, 5))
    found = compare(np.ones(5, int), same, same, np.arange(5)).measures["auroc"]
    assert found.difference == {"value": None, "low": None, "high": None}


@pytest.mark.parametrize(("signed", "text"), [(False, "0.012 (-0.100 to 0.200)"), (True, "+0.012 (-0.100 to +0.200)")])
def test_a_measure_is_written_with_its_interval(signed: bool, text: str) -> None:
    assert said({"value": 0.0123, "low": -0.1, "high": 0.2}, signed) == text


def test_the_table_has_a_row_for_each_measure() -> None:
    y, first, second = _drawn(40, 0.1)
    assert len(rows(compare(y, _answers(first), _answers(second), np.arange(40)).measures)) == 2 + 4
