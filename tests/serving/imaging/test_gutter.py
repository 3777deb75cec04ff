"""Radiographs side by side are told from one by the gutter between them."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from pipeline.data.sources import synthetic
from serving import bundle
from serving.imaging import gutter
from serving.predictor import Predictor

Pixels = npt.NDArray[np.uint8]
RADIOGRAPHS = [np.asarray(synthetic.render(number, "hand", "frontal", None).pixels, np.uint8) for number in range(1, 6)]
FULL = np.random.default_rng(0).integers(20, 230, (300, 220), np.uint8)
"""A picture that shows something from edge to edge."""


def side_by_side(pixels: Pixels, level: int, share: float = 0.04) -> Pixels:
    """A picture twice, with a gutter of one grey level that is a share of the width of one."""
    return np.hstack([pixels, np.full((len(pixels), round(share * pixels.shape[1])), level, np.uint8), pixels])


@pytest.mark.parametrize("level", [0, 8, 128, 255])
def test_a_uniform_gutter_divides_a_picture(level: int) -> None:
    divided = side_by_side(FULL, level)
    assert gutter.is_divided(divided)
    assert gutter.is_divided(np.ascontiguousarray(divided.T))


def test_two_gutters_divide_a_picture_into_three() -> None:
    assert gutter.is_divided(np.hstack([side_by_side(FULL, 0), np.zeros((300, 8), np.uint8), FULL]))


@pytest.mark.parametrize("number", range(len(RADIOGRAPHS)))
def test_one_radiograph_is_not_divided(number: int) -> None:
    assert not gutter.is_divided(RADIOGRAPHS[number])


def test_a_gutter_near_the_edge_divides_nothing_of_similar_size() -> None:
    assert not gutter.is_divided(np.hstack([FULL[:, :40], np.zeros((300, 8), np.uint8), FULL]))


def test_a_line_that_is_not_uniform_is_no_gutter() -> None:
    divided = side_by_side(FULL, 0)
    divided[:30] = 200
    assert not gutter.is_divided(divided)


def test_air_beside_a_limb_is_no_gutter() -> None:
    assert not gutter.is_divided(np.hstack([FULL, np.zeros_like(FULL)]))


@pytest.mark.parametrize("shape", [(300, 20), (20, 300), (1, 1)])
def test_a_strip_is_not_divided(shape: tuple[int, int]) -> None:
    assert not gutter.is_divided(np.zeros(shape, np.uint8))


@pytest.mark.parametrize(("level", "warned"), [(None, False), (0, True), (255, True)])
def test_the_reader_is_told_of_radiographs_side_by_side(
    level: int | None, warned: bool, encode: Callable[..., bytes], released: Path
) -> None:
    opened = bundle.read(released)
    sample = cv2.imread(str(sorted((released / "samples").iterdir())[0]), cv2.IMREAD_GRAYSCALE)
    pixels = np.asarray(sample, np.uint8)
    content = encode(pixels if level is None else side_by_side(pixels, level))
    notes = Predictor(opened).predict(content).answer()["warnings"]
    assert ("several_images" in {note["code"] for note in notes}) == warned
