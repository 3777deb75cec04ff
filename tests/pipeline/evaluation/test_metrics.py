"""Measures against scikit-learn's and against cases worked out by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as reference

from pipeline.evaluation import metrics
from pipeline.params import EvaluateParams


def _case(seed: int, n: int = 200, ties: bool = False) -> tuple[metrics.Labels, metrics.Array]:
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    y[:2] = 0, 1
    p = metrics.sigmoid(rng.normal(y * 1.0, 1.5))
    return y.astype(np.int64), np.round(p, 1) if ties else p


ONE = np.ones((1, 200))


@pytest.mark.parametrize("ties", [False, True])
@given(seed=st.integers(0, 10_000))
def test_auroc_and_average_precision_equal_those_of_scikit_learn(ties: bool, seed: int) -> None:
    y, p = _case(seed, ties=ties)
    assert metrics.auroc(y, p, ONE)[0] == pytest.approx(reference.roc_auc_score(y, p))
    assert metrics.average_precision(y, p, ONE)[0] == pytest.approx(reference.average_precision_score(y, p))
    assert metrics.brier(y, p, ONE)[0] == pytest.approx(reference.brier_score_loss(y, p))


@given(seed=st.integers(0, 1000))
def test_weights_count_like_repeated_images(seed: int) -> None:
    y, p = _case(seed)
    counts = np.random.default_rng(seed).integers(0, 4, len(y))
    many_y, many_p = np.repeat(y, counts), np.repeat(p, counts)
    once = np.ones((1, len(many_y)))
    for name, measure in metrics.MEASURES.items():
        weighted = measure(y, p, counts[np.newaxis].astype(float))[0]
        assert weighted == pytest.approx(measure(many_y, many_p, once)[0], abs=1e-6), name


def test_measures_at_a_threshold_equal_those_of_scikit_learn() -> None:
    y, p = _case(3)
    answer = p >= 0.6
    found = {name: value[0] for name, value in metrics.at_threshold(y, p, ONE, 0.6).items()}
    assert found["accuracy"] == pytest.approx(reference.accuracy_score(y, answer))
    assert found["precision"] == pytest.approx(reference.precision_score(y, answer))
    assert found["recall"] == found["sensitivity"] == pytest.approx(reference.recall_score(y, answer))
    assert found["specificity"] == pytest.approx(reference.recall_score(1 - y, ~answer))
    assert found["f1"] == pytest.approx(reference.f1_score(y, answer))


def test_a_measure_of_one_class_only_is_not_a_number() -> None:
    y, p = np.zeros(5, np.int64), np.linspace(0.1, 0.9, 5)
    w = np.ones((1, 5))
    assert np.isnan(metrics.auroc(y, p, w)[0])
    assert np.isnan(metrics.at_threshold(y, p, w, 0.5)["sensitivity"][0])
    assert np.isnan(metrics.calibration_slope(y, p, w)[0])


def test_perfectly_calibrated_probabilities_have_slope_one_and_intercept_zero() -> None:
    rng = np.random.default_rng(1)
    p = metrics.sigmoid(rng.normal(-1, 1.5, 40_000))
    y = (rng.random(40_000) < p).astype(np.int64)
    w = np.ones((1, 40_000))
    assert metrics.calibration_slope(y, p, w)[0] == pytest.approx(1, abs=0.05)
    assert metrics.calibration_intercept(y, p, w)[0] == pytest.approx(0, abs=0.05)
    assert metrics.expected_calibration_error(y, p, w)[0] < 0.01


def test_overconfident_probabilities_have_half_the_slope() -> None:
    rng = np.random.default_rng(1)
    z = rng.normal(-1, 1.5, 40_000)
    y = (rng.random(40_000) < metrics.sigmoid(z)).astype(np.int64)
    slope = metrics.calibration_slope(y, metrics.sigmoid(2 * z), np.ones((1, 40_000)))[0]
    assert slope == pytest.approx(0.5, abs=0.03)


def test_expected_calibration_error_of_a_case_by_hand() -> None:
    p = np.array([0.05, 0.05, 0.95, 0.95])
    y = np.array([0, 1, 1, 1])
    # Bin 0: mean 0.05 against rate 0.5, half of the images; bin 9: 0.95 against 1, the other half.
    assert metrics.expected_calibration_error(y, p, np.ones((1, 4)))[0] == pytest.approx(0.45 / 2 + 0.05 / 2)


def test_logistic_calibration_undoes_a_distortion() -> None:
    rng = np.random.default_rng(2)
    z = rng.normal(0, 2, 20_000)
    y = (rng.random(20_000) < metrics.sigmoid(z)).astype(np.int64)
    fitted = metrics.fit_calibration(metrics.sigmoid(3 * z + 1)[:, np.newaxis], y)
    p = fitted.apply(metrics.sigmoid(3 * z + 1)[:, np.newaxis])
    assert np.abs(p[:, 1] - metrics.sigmoid(z)).mean() < 0.01
    assert np.allclose(p.sum(axis=1), 1)


def test_calibration_of_separable_scores_stays_finite_and_rising() -> None:
    scores = np.array([0.1, 0.2, 0.8, 0.9])[:, np.newaxis]
    fitted = metrics.fit_calibration(scores, np.array([0, 0, 1, 1]))
    assert isinstance(fitted, metrics.LogisticCalibration)
    assert 0.01 <= fitted.slope < 10


def test_calibration_never_turns_the_order_of_images() -> None:
    scores = np.array([0.9, 0.8, 0.2, 0.1])[:, np.newaxis]
    p = metrics.fit_calibration(scores, np.array([0, 0, 1, 1])).apply(scores)[:, 1]
    assert (np.diff(p) <= 0).all()


def test_temperature_calibration_cools_an_overconfident_softmax() -> None:
    rng = np.random.default_rng(3)
    z = rng.normal(0, 1.5, (5000, 3))
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    classes = np.array([rng.choice(3, p=row) for row in p])
    hot = p**3 / (p**3).sum(axis=1, keepdims=True)
    fitted = metrics.fit_calibration(hot, classes)
    assert isinstance(fitted, metrics.TemperatureCalibration)
    assert fitted.temperature == pytest.approx(3, rel=0.1)
    assert np.allclose(fitted.apply(hot), p, atol=0.03)


@given(seed=st.integers(0, 1000), target=st.floats(0.5, 1.0))
def test_operating_points_reach_their_target_on_the_part_they_are_chosen_on(seed: int, target: float) -> None:
    y, p = _case(seed, ties=True)
    sensitive = metrics.threshold_for_sensitivity(y, p, target)
    specific = metrics.threshold_for_specificity(y, p, target)
    assert metrics.at_threshold(y, p, ONE, sensitive)["sensitivity"][0] >= target - 1e-9
    assert metrics.at_threshold(y, p, ONE, specific)["specificity"][0] >= target - 1e-9


def test_sensitivity_at_a_specificity_is_read_off_the_roc_curve() -> None:
    y = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    p = np.array([0.1, 0.2, 0.3, 0.7, 0.4, 0.6, 0.8, 0.9])
    w = np.ones((1, 8))
    assert metrics.sensitivity_at_specificity(y, p, w, 0.9)[0] == 0.5
    assert metrics.sensitivity_at_specificity(y, p, w, 0.75)[0] == 1.0
    assert metrics.specificity_at_sensitivity(y, p, w, 1.0)[0] == 0.75


def test_best_accuracy_threshold_is_one_when_saying_normal_is_best() -> None:
    y, p = np.array([0, 0, 0, 1]), np.array([0.9, 0.8, 0.7, 0.1])
    assert metrics.best_accuracy_threshold(y, p) == 1.0


def test_bootstrap_draws_whole_groups() -> None:
    groups = np.array(["a", "a", "b", "c", "c", "c"])
    weights = metrics.bootstrap_weights(groups, 200, seed=1)
    assert (weights[:, 0] == weights[:, 1]).all()
    assert (weights[:, 3] == weights[:, 5]).all()
    assert (weights[:, [0, 2, 3]].sum(axis=1) == 3).all()


def test_interval_of_an_auroc_holds_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(5)
    held = 0
    for seed in range(60):
        y = np.repeat([0, 1], 60)
        p = metrics.sigmoid(rng.normal(y * 1.0, 1.0))
        low, high = metrics.interval(metrics.auroc(y, p, metrics.bootstrap_weights(np.arange(120), 300, seed)))
        held += low <= 0.7602 <= high  # normal distribution function of 1 / sqrt(2)
    assert held >= 50


def test_simulated_error_of_a_perfect_model_is_not_zero() -> None:
    p = np.linspace(0.01, 0.99, 300)
    simulated = metrics.simulated_calibration_error(p, 50, seed=1)
    assert 0.01 < np.median(simulated) < 0.08


def test_the_high_sensitivity_point_is_not_above_the_threshold() -> None:
    raw = np.concatenate([np.full(60, 0.1), np.full(60, 0.9)])[:, np.newaxis]
    decision = metrics.decide(raw, (np.arange(120) >= 60).astype(np.int64), EvaluateParams(threshold=0.3))
    assert decision.high_sensitivity == 0.3
