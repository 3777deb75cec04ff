"""Frames are found, whatever their level and slant, and what is no frame is left alone."""

import cv2
import numpy as np
import pytest

from serving.imaging.canonical.field import WHOLE, Field, find_field


def forearm(height: int = 400, width: int = 300, air: int = 25) -> np.ndarray:
    """A drawn limb across a dark field, with some noise."""
    pixels = np.full((height, width), air, np.uint8)
    cv2.line(pixels, (110, 0), (190, 300), 110, 90)
    cv2.line(pixels, (110, 0), (185, 280), 200, 25)
    noise = np.random.default_rng(0).normal(0, 2, pixels.shape)
    return np.clip(cv2.GaussianBlur(pixels, (0, 0), 3) + noise, 0, 255).astype(np.uint8)


def framed(level: int, margin: int = 40, degrees: float = 0) -> np.ndarray:
    pixels = cv2.copyMakeBorder(forearm(), margin, margin, margin, margin, cv2.BORDER_CONSTANT, value=level)
    height, width = pixels.shape
    turn = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1)
    return np.asarray(cv2.warpAffine(pixels, turn, (width, height), borderValue=level), np.uint8)


def test_a_radiograph_without_a_frame_is_its_own_field() -> None:
    field = find_field(forearm())
    assert not field.found
    assert field == WHOLE


@pytest.mark.parametrize("level", [0, 60, 128, 255])
def test_a_straight_frame_is_cut_off_to_two_pixels(level: int) -> None:
    pixels = framed(level)
    left, top, right, bottom = find_field(pixels).bounds(pixels.shape[1], pixels.shape[0])
    assert (left, top, right, bottom) == pytest.approx((40, 40, 340, 440), abs=2)


@pytest.mark.parametrize("level", [0, 128, 255])
def test_nothing_of_a_slanted_frame_is_left_inside_of_the_mask(level: int) -> None:
    pixels = framed(level, degrees=4)
    field = find_field(pixels)
    assert field.found
    assert not field.upright
    inside = np.zeros(pixels.shape, bool)
    left, top, right, bottom = field.bounds(pixels.shape[1], pixels.shape[0])
    inside[top:bottom, left:right] = field.mask(pixels.shape[1], pixels.shape[0])
    truth = framed(0, degrees=4) if level else framed(255, degrees=4)
    of_frame = np.abs(pixels.astype(int) - truth) > 100 if level in (0, 255) else np.abs(truth.astype(int)) < 2
    assert (inside & of_frame).sum() < 0.002 * pixels.size
    assert inside.sum() > 0.97 * 300 * 400


def test_a_noisy_jpeg_frame_is_cut_off() -> None:
    pixels = framed(128).astype(np.float32) + np.random.default_rng(1).normal(0, 3, framed(128).shape)
    _, stored = cv2.imencode(".jpg", np.clip(pixels, 0, 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 40])
    field = find_field(np.asarray(cv2.imdecode(stored, cv2.IMREAD_GRAYSCALE), np.uint8))
    assert field.bounds(380, 480) == pytest.approx((40, 40, 340, 440), abs=3)


def test_a_frame_within_a_frame_is_cut_off_too() -> None:
    pixels = cv2.copyMakeBorder(framed(0), 30, 30, 30, 30, cv2.BORDER_CONSTANT, value=255)
    field = find_field(np.asarray(pixels, np.uint8))
    assert field.bounds(440, 540) == pytest.approx((70, 70, 370, 470), abs=3)
    assert [round(level) for level in field.levels] == [255, 0]


def test_a_strip_on_one_side_is_cut_off_and_the_other_sides_stay() -> None:
    pixels = cv2.copyMakeBorder(forearm(), 0, 50, 0, 0, cv2.BORDER_CONSTANT, value=240)
    assert find_field(np.asarray(pixels, np.uint8)).bounds(300, 450) == pytest.approx((0, 0, 300, 400), abs=2)


def test_letters_in_the_frame_are_cut_off_with_it() -> None:
    pixels = framed(0)
    cv2.putText(pixels, "HOSPITAL 1234", (60, 28), cv2.FONT_HERSHEY_SIMPLEX, 0.6, 255, 1)
    assert find_field(pixels).bounds(380, 480) == pytest.approx((40, 40, 340, 440), abs=2)


def test_the_air_around_a_limb_is_no_frame() -> None:
    pixels = np.full((400, 300), 20, np.uint8)
    cv2.circle(pixels, (150, 180), 60, 120, -1)
    cv2.line(pixels, (150, 180), (40, 330), 120, 30)
    cv2.line(pixels, (150, 180), (260, 340), 120, 30)
    assert not find_field(pixels).found


def test_a_second_limb_is_not_cut_off() -> None:
    limb = np.sin(np.linspace(0, np.pi, 70)) * np.linspace(80, 200, 400)[:, np.newaxis]
    pixels = np.zeros((400, 300), np.uint8)
    pixels[:, 40:110] = limb
    pixels[:, 190:260] = limb
    left, _, right, _ = find_field(pixels).bounds(300, 400)
    assert left <= 50
    assert right >= 250


def test_a_picture_of_one_grey_is_its_own_field() -> None:
    assert find_field(np.full((300, 200), 7, np.uint8)) == WHOLE


def test_points_go_to_the_field_and_back() -> None:
    field = Field(np.array([[0.2, 0.1], [0.9, 0.1], [0.9, 0.7], [0.2, 0.7]]), levels=(0.0,))
    assert field.view.from_picture(0.2, 0.7) == pytest.approx((0, 1))
    assert field.view.to_picture(*field.view.from_picture(0.33, 0.44)) == pytest.approx((0.33, 0.44))


def test_crop_of_another_resolution_is_the_same_part() -> None:
    field = find_field(framed(255))
    twice = cv2.resize(framed(255), None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST)
    assert field.crop(twice).shape == pytest.approx((800, 600), abs=6)


@pytest.mark.parametrize("degrees", [10, 25, 40])
def test_a_frame_is_found_however_slanted(degrees: int) -> None:
    assert find_field(framed(255, degrees=degrees)).found


def test_a_picture_on_its_corner_is_a_field() -> None:
    pixels = np.full((400, 400), 20, np.uint8)
    cv2.fillConvexPoly(pixels, np.array([[200, 60], [340, 200], [200, 340], [60, 200]], np.int32), 150)
    assert find_field(pixels).found
