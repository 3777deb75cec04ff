"""Random changes that training a guard may use."""

from collections.abc import Callable

import numpy as np
import pytest

from pipeline.evaluation.appearance import _CHANGES, varied

Change = Callable[[np.ndarray, np.random.Generator], np.ndarray]

PICTURES = [np.random.default_rng(1).integers(0, 256, shape).astype(np.uint8) for shape in ((33, 40), (200, 90))]


@pytest.mark.parametrize("change", [change for change, _ in _CHANGES], ids=lambda change: change.__name__)
@pytest.mark.parametrize("pixels", PICTURES, ids=["small", "upright"])
def test_every_change_gives_a_grey_picture(change: Change, pixels: np.ndarray) -> None:
    for seed in range(8):
        found = change(pixels, np.random.default_rng(seed))
        assert found.dtype == np.uint8
        assert found.ndim == 2
        assert min(found.shape) >= 16


def test_the_same_seed_gives_the_same_picture_and_another_one_another() -> None:
    first, again, other = (varied(PICTURES[1], np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_the_picture_that_is_changed_stays_as_it_is() -> None:
    before = PICTURES[0].copy()
    for seed in range(30):
        varied(PICTURES[0], np.random.default_rng(seed))
    assert np.array_equal(PICTURES[0], before)
