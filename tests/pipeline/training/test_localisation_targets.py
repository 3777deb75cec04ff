"""What a localisation head learns from: boxes that move along with the image."""

import numpy as np
import pytest

from pipeline.training.augmentation import augment
from pipeline.training.localisation_targets import LocalisationTargets, location_map
from pipeline.training.params import Augmentation

SIDE, GRID = 128, 16
EVERYTHING = Augmentation(flip=True, rotation=10, shift=0.05, zoom=0.1, crop=1, crop_zoom=3)
BOX = np.array([[70, 26, 96, 46]]) / SIDE


def _picture(boxes: np.ndarray) -> np.ndarray:
    picture = np.full((SIDE, SIDE), 40, np.uint8)
    for x0, y0, x1, y1 in (boxes * SIDE).astype(int):
        picture[y0:y1, x0:x1] = 220
    return picture


@pytest.mark.parametrize("seed", range(20))
def test_the_map_follows_the_pixels(seed: int) -> None:
    changed, moved = augment(_picture(BOX), EVERYTHING, np.random.default_rng(seed), BOX)
    found = location_map(BOX, moved, SIDE, SIDE, GRID)
    cells = changed.reshape(GRID, SIDE // GRID, GRID, SIDE // GRID).mean(axis=(1, 3))
    assert found.max() == 1
    assert cells[found == 1].min() > 100
    assert cells[found == 0].mean() < 60


@pytest.mark.parametrize("seed", range(20))
def test_a_crop_of_a_fractured_image_shows_a_fracture(seed: int) -> None:
    boxes = np.array([[13, 13, 26, 20], [100, 108, 122, 116]]) / SIDE
    options = Augmentation(flip=False, crop=1, crop_zoom=4)
    changed, moved = augment(_picture(boxes), options, np.random.default_rng(seed), boxes)
    assert (changed > 200).sum() >= 13 * 7 * 0.8
    scale = moved[0, 0]
    assert 1 <= scale <= 4
    corners = moved @ np.array([[-0.5, SIDE - 0.5], [-0.5, SIDE - 0.5], [1, 1]]) + 0.5
    assert corners[:2, 0].max() <= 1e-6
    assert corners[:2, 1].min() >= SIDE - 1e-6


def test_a_fracture_smaller_than_a_cell_is_seen() -> None:
    tiny = np.array([[0.5, 0.5, 0.53, 0.53]])
    assert 0.1 < location_map(tiny, np.eye(3), SIDE, SIDE, GRID).max() <= 1


def test_an_image_without_boxes_has_an_empty_map() -> None:
    assert not location_map(np.zeros((0, 4)), np.eye(3), SIDE, SIDE, GRID).any()


def test_a_fracture_nobody_boxed_teaches_nothing_about_places() -> None:
    boxes = [np.zeros((0, 4)), BOX, np.zeros((0, 4))]
    locations = LocalisationTargets(boxes, np.array([False, True, True]), GRID, 10)
    maps, weights = locations.batch(np.arange(3), np.tile(np.eye(3), (3, 1, 1)), SIDE, SIDE)
    assert np.array_equal(weights[0], np.ones((GRID, GRID)))
    assert weights[1].max() == 10
    assert not weights[2].any()
    assert maps[1].any()


@pytest.mark.parametrize("seed", range(20))
def test_the_map_of_a_patch_follows_its_pixels(seed: int) -> None:
    patch, grid = 64, 8
    changed, moved = augment(_picture(BOX), EVERYTHING, np.random.default_rng(seed), BOX, patch)
    found = location_map(BOX, moved, SIDE, patch, grid)
    cells = changed.reshape(grid, patch // grid, grid, patch // grid).mean(axis=(1, 3))
    assert found.max() == 1
    assert cells[found == 1].min() > 100
    assert cells[found == 0].mean() < 70
