"""How noisy an image is, and that noisy ones alone are smoothed."""

import numpy as np
import numpy.typing as npt
import pytest

from pipeline.data.sources import synthetic
from serving.imaging import noise
from serving.imaging.canvas import Preprocessing, fit

CLEAN = noise.smooth(np.asarray(synthetic.render(3, "hand", "frontal", None).pixels, np.uint8))
EVEN = np.full((100, 120), 120, np.uint8)


def noisy(pixels: npt.NDArray[np.uint8], sigma: float) -> npt.NDArray[np.uint8]:
    drawn = np.random.default_rng(0).normal(0, sigma, pixels.shape)
    return np.rint(pixels + drawn).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("sigma", [2, 5, 10, 20])
def test_white_noise_is_measured_in_grey_levels(sigma: float) -> None:
    assert noise.noise_of(noisy(EVEN, sigma)) == pytest.approx(sigma, rel=0.03)


def test_noise_that_is_cut_off_at_black_is_measured_where_it_is_not() -> None:
    half = EVEN.copy()
    half[:, :60] = 0
    assert noise.noise_of(noisy(half, 10)) == pytest.approx(10, rel=0.1)


@pytest.mark.parametrize("slope", [np.arange(120) * 2, np.repeat([30, 200], 60)], ids=["slope", "edge"])
def test_slopes_and_edges_are_no_noise(slope: npt.NDArray[np.int64]) -> None:
    assert noise.noise_of(np.broadcast_to(slope, (100, 120)).astype(np.uint8)) == 0


@pytest.mark.parametrize("shape", [(1, 9), (2, 2), (3, 3)])
def test_the_smallest_images_are_measured_too(shape: tuple[int, int]) -> None:
    assert noise.noise_of(np.zeros(shape, np.uint8)) == 0


def test_smoothing_keeps_even_areas_and_takes_most_of_the_noise() -> None:
    np.testing.assert_array_equal(noise.smooth(EVEN), EVEN)
    assert noise.smooth(noisy(EVEN, 10)).std() < 3


@pytest.mark.parametrize(("sigma", "smoothed"), [(0, False), (10, True)])
def test_adaptive_smooths_noisy_images_alone(sigma: float, smoothed: bool) -> None:
    given, (height, width) = noisy(CLEAN, sigma), CLEAN.shape
    plain, _, never = fit(given, width, height, Preprocessing(224))
    found, letterbox, told = fit(given, width, height, Preprocessing(224, "adaptive"))
    assert (told, never) == (smoothed, False)
    assert (found != plain).any() == smoothed
    assert not found[:, : letterbox.left].any()
