"""The changes of the robustness benchmark: same seed same pixels, and boxes that stay on what they mark."""

import cv2
import numpy as np
import pytest

from benchmarks.robustness.changes import CHANGES, NEVER_TRAINED, change

BOX = np.array([[0.55, 0.3, 0.7, 0.4]])


def drawn(height: int = 200, width: int = 160) -> np.ndarray:
    """A dark image with one white block at BOX."""
    pixels = np.full((height, width), 40, np.uint8)
    x0, y0, x1, y1 = (BOX[0] * (width, height, width, height)).round().astype(int)
    pixels[y0:y1, x0:x1] = 220
    return pixels


@pytest.mark.parametrize("name", CHANGES)
def test_same_seed_gives_the_same_picture(name: str) -> None:
    first, second = (change(name, drawn(), BOX, seed=5) for _ in range(2))
    assert first is not None
    assert second is not None
    np.testing.assert_array_equal(first[0], second[0])
    np.testing.assert_array_equal(first[1], second[1])


@pytest.mark.parametrize("name", [name for name in CHANGES if name != "marked"])
def test_moved_box_holds_what_it_marked(name: str) -> None:
    result = change(name, drawn(), BOX, seed=1)
    assert result is not None
    pixels, boxes = result
    height, width = pixels.shape
    x0, y0, x1, y1 = boxes[0] * (width, height, width, height)
    x, y, wide, tall = x0 + (x1 - x0) / 4, y0 + (y1 - y0) / 4, (x1 - x0) / 2, (y1 - y0) / 2
    inside = pixels[round(y) : round(y + tall), round(x) : round(x + wide)].mean()
    beside = pixels[round(y) : round(y + tall), round(x0 - wide) : round(x0 - wide / 4)].mean()
    assert (inside < beside) if name == "inverted" else (inside > beside)


def test_a_box_of_the_whole_image_becomes_the_field_in_the_frame() -> None:
    result = change("white_frame_25", drawn(), np.array([[0.0, 0.0, 1.0, 1.0]]), seed=0)
    assert result is not None
    pixels, boxes = result
    height, width = pixels.shape
    x0, y0, x1, y1 = (boxes[0] * (width, height, width, height)).round().astype(int)
    assert (pixels[y0:y1, x0:x1] == drawn()).all()
    pixels[y0:y1, x0:x1] = 255
    assert (pixels == 255).all()


def test_the_middle_is_not_cut_where_it_would_cut_a_box() -> None:
    assert change("middle_60", drawn(), np.array([[0.1, 0.1, 0.3, 0.3]]), seed=0) is None


def test_three_quarter_turns_and_one_are_none() -> None:
    once = change("turned_90", drawn(), BOX, seed=0)
    assert once is not None
    back = change("turned_270", np.asarray(once[0], np.uint8), once[1], seed=0)
    assert back is not None
    np.testing.assert_array_equal(back[0], drawn())
    np.testing.assert_allclose(back[1], BOX)


def test_the_hot_pixel_is_alone_in_sixteen_bits() -> None:
    result = change("hot_pixel", drawn(), BOX, seed=0)
    assert result is not None
    assert result[0].dtype == np.uint16
    assert np.sort(result[0].ravel())[-2] == 220 * 16


def test_noise_has_the_spread_that_its_name_says() -> None:
    result = change("noise_10", np.full((200, 200), 128, np.uint8), BOX, seed=0)
    assert result is not None
    assert float(cv2.meanStdDev(result[0])[1][0, 0]) == pytest.approx(10, abs=0.3)


def test_changes_kept_from_training_are_changes() -> None:
    assert len(NEVER_TRAINED) >= 5
    assert set(NEVER_TRAINED) <= set(CHANGES)
