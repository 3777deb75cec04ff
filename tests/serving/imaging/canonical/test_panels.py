"""Toolbars, thumbnails and status lines around a radiograph are left out, and nothing of any radiograph is."""

import cv2
import numpy as np
import pytest

from serving.imaging.canonical.field import find_field
from serving.imaging.canonical.panels import within_panels
from tests.serving.imaging.canonical.screens import FOOT, STRIP, TOOLBAR, screen, shown
from tests.serving.imaging.canonical.test_field import forearm

PICTURE = forearm()


def as_jpeg(pixels: np.ndarray, quality: int) -> np.ndarray:
    _, stored = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(stored, cv2.IMREAD_GRAYSCALE), np.uint8)


@pytest.mark.parametrize("level", [12, 45, 128, 225])
@pytest.mark.parametrize("quality", [0, 90])
def test_what_a_program_shows_around_a_radiograph_is_left_out(level: int, quality: int) -> None:
    pixels = screen(PICTURE, level, level)
    (left, top, right, bottom), levels = within_panels(as_jpeg(pixels, quality) if quality else pixels)
    assert (left, top) == pytest.approx((STRIP, TOOLBAR), abs=8)
    assert left <= STRIP
    assert top <= TOOLBAR
    assert right == pixels.shape[1]
    assert bottom >= len(pixels) - FOOT
    assert levels[0] == pytest.approx(level, abs=3)


@pytest.mark.parametrize("level", [45, 225])
def test_the_field_of_a_screen_is_the_radiograph(level: int) -> None:
    pixels = screen(PICTURE, level, 1)
    assert find_field(pixels).bounds(pixels.shape[1], pixels.shape[0]) == pytest.approx(shown(PICTURE), abs=4)


@pytest.mark.parametrize(
    "pixels",
    [
        PICTURE,
        cv2.copyMakeBorder(PICTURE, 40, 40, 40, 40, cv2.BORDER_CONSTANT, value=128),
        np.hstack([np.full((400, 9), 60, np.uint8), PICTURE, np.full((400, 9), 60, np.uint8), PICTURE]),
        np.vstack([np.full((9, 300), 60, np.uint8), PICTURE, np.full((9, 300), 60, np.uint8), PICTURE]),
        screen(PICTURE, 0, 1),
        screen(PICTURE, 255, 1),
    ],
    ids=["no frame", "a frame", "side by side", "one above the other", "black", "white"],
)
def test_what_is_no_panel_is_kept(pixels: np.ndarray) -> None:
    height, width = pixels.shape
    assert within_panels(pixels) == ((0, 0, width, height), [])


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (50, 1), (2, 2), (7, 300)])
@pytest.mark.parametrize("level", [0, 128])
def test_flat_pictures_of_any_shape_have_no_panels(shape: tuple[int, int], level: int) -> None:
    assert within_panels(np.full(shape, level, np.uint8)) == ((0, 0, shape[1], shape[0]), [])
