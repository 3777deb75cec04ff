"""Pairs of images worth aligning."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from pipeline.data.families.candidates import candidates
from pipeline.data.families.features import FeatureTable

Grey = npt.NDArray[np.uint8]
TableOf = Callable[..., FeatureTable]


def test_a_turned_copy_is_a_candidate(
    hands: list[Grey], turn: Callable[[Grey, float], Grey], table_of: TableOf
) -> None:
    assert [1, 4, 0] in candidates(table_of(*hands, turn(hands[1], 8))).tolist()


def test_a_mirrored_copy_is_a_candidate_in_the_other_form(hands: list[Grey], table_of: TableOf) -> None:
    found = candidates(table_of(*hands, np.ascontiguousarray(hands[2][:, ::-1])))
    assert [2, 4, 1] in found.tolist()


def test_the_first_image_of_a_pair_has_the_smaller_number(hands: list[Grey], table_of: TableOf) -> None:
    found = candidates(table_of(*hands, *hands))
    assert (found[:, 0] < found[:, 1]).all()


def test_images_without_keypoints_make_no_pair(table_of: TableOf) -> None:
    blank = np.full((100, 100), 50, np.uint8)
    assert candidates(table_of(blank, blank, None)).shape == (0, 3)
