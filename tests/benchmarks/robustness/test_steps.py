"""What is measured of the canonical form, and the committed heads on radiographs of another source."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.robustness.steps import HEADS, loses, overlap
from serving.imaging.canonical.field import WHOLE, Field
from serving.imaging.canonical.form import read_heads
from serving.imaging.canvas import Steps

SAMPLES = sorted((Path(__file__).parents[3] / "models").glob("*/bundle/samples/*.png"))
SQUARE = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])


def test_an_outline_overlaps_itself_wholly() -> None:
    assert overlap(SQUARE, SQUARE) == pytest.approx((1, 0, 0))


def test_half_an_outline_has_lost_half_of_the_whole() -> None:
    assert overlap(SQUARE * (0.5, 1), SQUARE) == pytest.approx((0.5, 0, 0.5))


def test_twice_an_outline_is_beyond_it_by_half() -> None:
    assert overlap(SQUARE, SQUARE * (0.5, 1)) == pytest.approx((0.5, 0.5, 0))


def test_a_box_in_the_field_loses_nothing() -> None:
    assert not loses(WHOLE, np.array([[0.0, 0.0, 1.0, 1.0]]), 50, 40)


def test_a_box_across_the_fields_side_loses_pixels() -> None:
    assert loses(Field(SQUARE * 0.5, levels=(0.0,)), np.array([[0.1, 0.1, 0.2, 0.2], [0.4, 0.1, 0.6, 0.2]]), 50, 40)


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_a_drawn_radiograph_and_its_inverse_are_told_apart(path: Path) -> None:
    polarity = read_heads(HEADS, Steps(polarity=True))[0].polarity
    assert polarity is not None
    pixels = np.asarray(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE), np.uint8)
    assert polarity(pixels) < 0.1
    assert polarity(np.asarray(255 - pixels, np.uint8)) > 0.9


def test_the_heads_are_small_enough_for_a_bundle() -> None:
    assert sum(path.stat().st_size for path in HEADS.iterdir()) < 100_000
