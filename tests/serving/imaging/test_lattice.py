"""A picture of eight bits that was saved with more is the same picture, whatever its values were changed to."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.imaging.lattice import eight_bit_levels

LEVELS = np.random.default_rng(2).integers(0, 256, (40, 50), np.uint8)
LEVELS[0, :2] = 0, 240
LEVELS[LEVELS > 240] = 7


@given(
    gain=st.one_of(st.floats(2, 250), st.integers(1, 250)),
    offset=st.one_of(st.floats(-3000, 3000), st.integers(-3000, 3000)),
    kind=st.sampled_from([np.int32, np.float32, np.float64]),
)
def test_gain_and_offset_are_undone(gain: float, offset: float, kind: type[np.number[Any]]) -> None:
    values = LEVELS.astype(np.float64) * gain + offset
    values = np.rint(values).astype(kind) if kind is np.int32 else values.astype(kind)
    found = eight_bit_levels(values)
    assert found is not None
    assert np.array_equal(found, LEVELS)


@pytest.mark.parametrize("lost", [1, 9, 40])
def test_levels_that_do_not_occur_leave_gaps(lost: int) -> None:
    levels = np.where(lost > LEVELS % 128, 0, LEVELS).astype(np.uint8)
    found = eight_bit_levels(levels.astype(np.uint16) * 200 + 1000)
    assert found is not None
    assert np.array_equal(found, levels)


def test_the_darkest_becomes_0() -> None:
    found = eight_bit_levels((LEVELS // 2 + 100).astype(np.int16) * np.int16(16) - np.int16(900))
    assert found is None  # 120 steps are no sign of eight bits
    found = eight_bit_levels(np.maximum(LEVELS, 30).astype(np.uint16) * 16)
    assert found is not None
    assert np.array_equal(found, np.maximum(LEVELS, 30) - 30)


@pytest.mark.parametrize(
    "values",
    [
        np.arange(2000).reshape(40, 50),
        np.random.default_rng(3).integers(0, 1200, (10, 20)),
        np.where(LEVELS > 100, LEVELS * 16, LEVELS * 15),
        np.where(LEVELS > 100, np.nan, LEVELS),
        np.where(LEVELS > 100, np.inf, LEVELS),
        np.full((40, 50), 1000),
        LEVELS.astype(np.int64) * 300,
        np.zeros((1, 1)),
    ],
)
def test_other_pictures_have_none(values: npt.NDArray[Any]) -> None:
    assert eight_bit_levels(values) is None


def test_one_value_off_the_lattice_among_millions_is_found() -> None:
    values = np.tile(LEVELS.astype(np.float32) * 7 + 5, (30, 30))
    values[777, 777] += 3
    assert eight_bit_levels(values) is None
    assert eight_bit_levels(values.astype(np.uint16)) is None
