"""Whether two pictures are one."""

from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from pipeline.data.families.alignment import align
from pipeline.data.families.features import describe

Grey = npt.NDArray[np.uint8]
Turn = Callable[[Grey, float], Grey]


def related(first: Grey, second: Grey, mirrored: bool = False) -> bool:
    return align(describe(first), describe(np.ascontiguousarray(second)), mirrored).related


def test_an_image_is_related_to_itself(hands: list[Grey]) -> None:
    found = align(describe(hands[0]), describe(hands[0]), mirrored=False)
    assert found.score == pytest.approx(1.49, abs=0.01)
    assert found.inliers == found.matches


@pytest.mark.parametrize("degrees", [3, -12, 30])
def test_a_turned_copy_is_related(degrees: float, hands: list[Grey], turn: Turn) -> None:
    assert related(hands[0], turn(hands[0], degrees))


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_copy_turned_by_quarters_is_related(quarters: int, hands: list[Grey]) -> None:
    assert related(hands[0], np.rot90(hands[0], quarters))


def test_a_mirrored_copy_is_related_as_such(hands: list[Grey]) -> None:
    assert related(hands[0], hands[0][:, ::-1], mirrored=True)
    assert not related(hands[0], hands[0][:, ::-1])


def test_a_copy_upside_down_in_a_mirror_is_related(hands: list[Grey]) -> None:
    assert related(hands[0], hands[0][::-1], mirrored=True)


@pytest.mark.parametrize("swapped", [False, True])
def test_a_crop_is_related_to_the_whole(swapped: bool, hands: list[Grey]) -> None:
    height, width = hands[0].shape
    crop = hands[0][height // 8 : -height // 8, width // 8 : -width // 8]
    first, second = (crop, hands[0]) if swapped else (hands[0], crop)
    assert related(first, second)


@pytest.mark.parametrize("number", [0, 1, 2, 3])
def test_a_small_crop_is_as_sure_a_copy_whichever_comes_first(number: int, hands: list[Grey]) -> None:
    height, width = hands[number].shape
    crop = np.ascontiguousarray(hands[number][: height * 11 // 20, width // 5 : width * 3 // 4])
    found = [align(describe(a), describe(b), False) for a, b in ((hands[number], crop), (crop, hands[number]))]
    assert min(one.score for one in found) > 1.4
    assert found[0].score == pytest.approx(found[1].score, abs=0.03)


def test_a_compressed_copy_is_related(hands: list[Grey]) -> None:
    content = cv2.imencode(".jpg", hands[0], [cv2.IMWRITE_JPEG_QUALITY, 25])[1]
    assert related(hands[0], np.asarray(cv2.imdecode(content, cv2.IMREAD_GRAYSCALE), np.uint8))


def test_a_copy_of_half_the_size_is_related(hands: list[Grey]) -> None:
    assert related(hands[0], np.asarray(cv2.resize(hands[0], None, fx=0.5, fy=0.5), np.uint8))


def test_a_copy_with_clipped_highlights_is_related(hands: list[Grey]) -> None:
    assert related(hands[0], np.asarray(np.clip(hands[0] * 1.4 + 20.0, 0, 255), np.uint8))


def test_a_noisy_copy_is_related(hands: list[Grey]) -> None:
    noise = np.random.default_rng(1).normal(0, 6, hands[0].shape)
    assert related(hands[0], np.asarray(np.clip(hands[0] + noise, 0, 255), np.uint8))


@pytest.mark.parametrize("mirrored", [False, True])
def test_hands_of_two_patients_are_strangers(mirrored: bool, hands: list[Grey]) -> None:
    assert not any(related(first, second, mirrored) for first in hands[:2] for second in hands[2:])


def test_pictures_that_share_a_marker_alone_are_strangers(hands: list[Grey]) -> None:
    marked = [hand.copy() for hand in hands[:2]]
    for hand in marked:
        cv2.putText(hand, "L 12.3.45", (10, 60), cv2.FONT_HERSHEY_SIMPLEX, 1, 255.0, 2)
    assert not related(marked[0], marked[1])


def test_blank_pictures_are_not_aligned(hands: list[Grey]) -> None:
    blank = np.full((100, 100), 50, np.uint8)
    assert not related(blank, blank)
    assert not related(hands[0], blank)


def test_parts_that_overlap_in_a_corner_are_no_copies_of_each_other(hands: list[Grey]) -> None:
    height, width = hands[0].shape
    first, second = hands[0][: height * 2 // 3, : width * 4 // 5], hands[0][height // 3 :, width // 5 :]
    found = align(describe(first), describe(np.ascontiguousarray(second)), mirrored=False)
    assert found.inliers >= 9
    assert found.contained == pytest.approx(0.375, abs=0.05)
    assert not found.related
