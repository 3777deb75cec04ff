"""Fitting the region head and the guard."""

import numpy as np
import pytest

from pipeline.evaluation.image_heads import (
    PASSED_SHARE,
    REFUSED_SHARE,
    Seen,
    fit_guard,
    fit_region,
    logistic,
    region_table,
)

RNG = np.random.default_rng(5)


def _seen(centre: float, count: int = 200, spread: float = 1.0) -> Seen:
    return Seen(RNG.normal(centre, spread, (count, 6)), RNG.normal(0, 1, (count, 3)))


def test_cells_of_several_regions_count_for_each() -> None:
    regions, shows = region_table(["hand;leg", "leg", ""])
    assert regions == ("hand", "leg")
    assert shows.tolist() == [[True, True], [False, True], [False, False]]


def test_logistic_regression_counts_a_rare_class_as_much_as_a_common_one() -> None:
    rows = np.array([[-1.0]] * 900 + [[1.0]] * 100)
    weights, bias = logistic(rows, np.arange(1000) >= 900, 1e-4)
    assert float(np.array([0.0]) @ weights + bias) == pytest.approx(0, abs=0.05)


def test_logistic_regression_survives_a_feature_that_never_changes() -> None:
    rows = np.column_stack([RNG.normal(size=100), np.full(100, 7.0)])
    weights, bias = logistic(rows, rows[:, 0] > 0, 1e-4)
    assert np.isfinite(weights).all()
    assert np.isfinite(bias)


def test_the_region_head_finds_the_regions_again() -> None:
    marks = np.eye(3)[np.arange(300) % 3]
    embeddings = marks + RNG.normal(0, 0.1, (300, 3))
    column = [("hand", "hip", "leg")[index % 3] for index in range(300)]
    head = fit_region(embeddings, column, embeddings)
    assert head is not None
    assert head.probabilities(marks[:3]).argmax(axis=1).tolist() == [0, 1, 2]


def test_about_one_image_of_the_validation_set_in_a_hundred_has_an_unknown_region() -> None:
    embeddings = np.eye(2)[np.arange(1000) % 2] + RNG.normal(0, 0.4, (1000, 2))
    head = fit_region(embeddings, ["hand", "leg"] * 500, embeddings)
    assert head is not None
    assert (head.probabilities(embeddings).max(axis=1) < head.likely).mean() == pytest.approx(0.01, abs=0.003)


def test_images_without_a_region_teach_nothing() -> None:
    marks = np.eye(2)[np.arange(100) % 2]
    column = ["hand", "leg"] * 50
    noise = RNG.normal(0, 5, (100, 2))
    some = fit_region(np.concatenate([marks, noise]), [*column, *[""] * 100], marks)
    none = fit_region(marks, column, marks)
    assert some is not None
    assert none is not None
    assert some.weights == pytest.approx(none.weights)


@pytest.mark.parametrize("column", [["hand"] * 100, [""] * 100, ["hand"] * 95 + ["leg"] * 5])
def test_there_is_no_region_head_without_two_regions_that_are_often_shown(column: list[str]) -> None:
    assert fit_region(RNG.normal(size=(100, 3)), column, RNG.normal(size=(10, 3))) is None


def test_the_guard_tells_radiographs_from_pictures() -> None:
    head = fit_guard(_seen(2), _seen(-2), _seen(2), _seen(-2))
    radiographs, pictures = _seen(2), _seen(-2)
    assert (head.log_odds(radiographs.embeddings, radiographs.textures) >= head.refuse).mean() > 0.98
    assert (head.log_odds(pictures.embeddings, pictures.textures) < head.refuse).mean() > 0.95


def test_where_both_look_alike_the_guard_lets_pictures_pass_rather_than_refuse_radiographs() -> None:
    chosen = _seen(0.1, 1000)
    head = fit_guard(_seen(0.1), _seen(-0.1), chosen, _seen(-0.1))
    assert (head.log_odds(chosen.embeddings, chosen.textures) < head.refuse).mean() <= REFUSED_SHARE + 0.001


def test_where_they_are_far_apart_no_more_pictures_pass_than_are_allowed() -> None:
    chosen = _seen(-5, 1000)
    head = fit_guard(_seen(5), _seen(-5), _seen(5), chosen)
    assert (head.log_odds(chosen.embeddings, chosen.textures) >= head.refuse).mean() <= PASSED_SHARE + 0.001
    assert head.unusual >= head.refuse
