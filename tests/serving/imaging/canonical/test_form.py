"""Each step can be left out, and points find their way back to the picture."""

import cv2
import numpy as np
import pytest

from serving.imaging.canonical.field import WHOLE, Field
from serving.imaging.canonical.form import HEADS, Canonical, Heads, canonical, read_heads
from serving.imaging.canonical.polarity import INVERTED
from serving.imaging.canvas import Steps

NOTHING = Steps()
FOUND = Steps(field=True, polarity=True)


def limb() -> np.ndarray:
    pixels = np.full((400, 300), 25, np.uint8)
    cv2.line(pixels, (110, 0), (190, 300), 110, 90)
    return np.asarray(cv2.GaussianBlur(pixels, (0, 0), 5), np.uint8)


def framed() -> np.ndarray:
    return np.asarray(cv2.copyMakeBorder(limb(), 40, 40, 40, 40, cv2.BORDER_CONSTANT, value=255), np.uint8)


def test_without_steps_the_picture_stays_as_it_is() -> None:
    np.testing.assert_array_equal(canonical(framed(), NOTHING, Heads()).pixels, framed())


def test_a_framed_picture_becomes_that_without_a_frame() -> None:
    steps = Steps(field=True)
    found = canonical(framed(), steps, Heads()).pixels
    assert found.shape == pytest.approx((400, 300), abs=3)


def test_sixteen_bits_with_a_hot_pixel_become_what_eight_bits_do() -> None:
    steps = Steps(range=True)
    deep = limb().astype(np.uint16) * np.uint16(16)
    deep[9, 9] = 65535
    apart = np.abs(canonical(deep, steps, Heads()).pixels.astype(int) - canonical(limb(), steps, Heads()).pixels)
    assert np.delete(apart.ravel(), 9 * 300 + 9).max() <= 1


@pytest.mark.parametrize("quarters", range(4))
def test_points_go_to_the_canonical_picture_and_back(quarters: int) -> None:
    field = Field(np.array([[0.2, 0.1], [0.9, 0.1], [0.9, 0.7], [0.2, 0.7]]), levels=(0.0,))
    form = Canonical(limb(), field, 0.0, quarters, (1, 0, 0, 0))
    assert form.view.to_picture(*form.view.from_picture(0.35, 0.44)) == pytest.approx((0.35, 0.44))


@pytest.mark.parametrize("quarters", range(4))
def test_a_point_is_where_its_pixel_was_turned_to(quarters: int) -> None:
    pixels = np.zeros((40, 20), np.uint8)
    pixels[5, 3] = 255
    row, column = np.argwhere(np.rot90(pixels, quarters))[0]
    height, width = np.rot90(pixels, quarters).shape
    form = Canonical(pixels, WHOLE, 0.0, quarters, (1, 0, 0, 0))
    found = form.view.from_picture((3 + 0.5) / 20, (5 + 0.5) / 40)
    assert found == pytest.approx(((column + 0.5) / width, (row + 0.5) / height))


def test_a_slanted_frame_is_black_in_the_canonical_picture() -> None:
    turn = cv2.getRotationMatrix2D((190, 240), 4, 1)
    slanted = np.asarray(cv2.warpAffine(framed(), turn, (380, 480), borderValue=255), np.uint8)
    found = canonical(slanted, Steps(field=True, range=True), Heads())
    assert not found.field.upright
    assert (found.pixels[[0, -1]][:, [0, -1]] == 0).sum() >= 2
    assert np.percentile(found.pixels[:8], 99) < 250


@pytest.mark.parametrize("level", [0, 128, 200, 255])
@pytest.mark.parametrize("degrees", [5, 10, 25, 40])
def test_a_slanted_frame_makes_no_radiograph_an_inverted_one(level: int, degrees: int) -> None:
    heads, _ = read_heads(HEADS, Steps(polarity=True))
    assert canonical(slanted(limb(), level, degrees), FOUND, heads).inverted < INVERTED
    assert canonical(slanted(np.asarray(255 - limb(), np.uint8), level, degrees), FOUND, heads).inverted >= INVERTED


def slanted(pixels: np.ndarray, level: int, degrees: float) -> np.ndarray:
    """The whole picture, turned, on a background of one grey level."""
    height, width = pixels.shape
    turn = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1)
    cosine, sine = abs(turn[0, 0]), abs(turn[0, 1])
    size = round(width * cosine + height * sine), round(width * sine + height * cosine)
    turn[:, 2] += ((size[0] - width) / 2, (size[1] - height) / 2)
    return np.asarray(cv2.warpAffine(pixels, turn, size, borderValue=level), np.uint8)
