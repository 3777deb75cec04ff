"""The range of a radiograph does not follow single pixels, padding or what is no number."""

import numpy as np
import pytest

from serving.imaging.canonical.intensity import robust_range, spread


def ramp(dtype: type = np.uint16) -> np.ndarray:
    return np.tile(np.arange(200), (200, 1)).astype(dtype)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32])
def test_range_of_a_ramp_is_that_of_its_percentiles(dtype: type) -> None:
    assert robust_range(ramp(dtype), low=0.1, high=0.9) == pytest.approx((20, 180), abs=1)


def test_one_hot_pixel_does_not_move_the_range() -> None:
    hot = ramp()
    hot[50, 50] = 65535
    assert robust_range(hot) == robust_range(ramp())


def test_what_is_masked_does_not_count() -> None:
    padded = np.pad(ramp(np.int16), 60, constant_values=-2000)
    mask = padded > -2000
    assert robust_range(padded, mask)[0] >= 0


def test_what_is_no_number_does_not_count() -> None:
    holed = ramp(np.float32)
    holed[::3] = np.nan
    assert robust_range(holed) == pytest.approx(robust_range(ramp(np.float32)), abs=1)


def test_nothing_to_look_at_has_no_range() -> None:
    assert robust_range(ramp(), np.zeros((200, 200), bool)) == (0, 0)


def test_spread_is_linear_and_clips() -> None:
    values = np.array([[-5.0, 0.0, 50.0, 100.0, 1e9, np.inf, np.nan]], np.float32)
    assert spread(values, 0, 100).tolist() == [[0, 0, 128, 255, 255, 255, 0]]


def test_spread_of_eight_bits_agrees_with_that_of_sixteen() -> None:
    assert (spread(ramp(np.uint8), 13, 170, 8, 230) == spread(ramp(np.uint16), 13, 170, 8, 230)).all()


def test_lower_contrast_comes_out_the_same() -> None:
    dim = (ramp(np.float32) * 0.4 + 40).astype(np.float32)
    assert (spread(dim, *robust_range(dim)) == spread(ramp(), *robust_range(ramp()))).mean() > 0.99


def test_a_flat_image_is_dark() -> None:
    assert (spread(np.full((4, 4), 9, np.uint8), 9, 9) == 0).all()
