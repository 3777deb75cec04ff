"""Pairs of images worth aligning."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from pipeline.data.families import candidates as module
from pipeline.data.families.candidates import candidates
from pipeline.data.families.features import MIRRORED, Features, FeatureTable

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


@pytest.mark.parametrize("form", [0, 1])
@pytest.mark.parametrize(("turns", "found"), [([40, 40, 40, 40], True), ([40, 130, 220, 310], False)])
def test_keypoints_that_are_alike_count_where_all_are_turned_by_one_angle(
    form: int, turns: list[int], found: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LEAST", 12)  # three: in a vocabulary of one word each is counted four times
    descriptors = np.random.default_rng(2).integers(0, 256, (4, 128), np.uint8)
    directions = np.array([[10], [100], [190], [280]])
    turned = (180 - directions if form else directions) + np.array([turns]).T
    table = FeatureTable(2)
    for angles, values in (
        (directions, descriptors),
        (turned % 360, descriptors[:, MIRRORED] if form else descriptors),
    ):
        points = np.asarray(np.hstack([np.full((4, 2), 0.5), angles]), np.float32)
        table.add(Features(points, values, np.zeros((112, 112), np.uint8)))
    assert candidates(table).tolist() == ([[0, 1, form]] if found else [])


def test_images_without_keypoints_make_no_pair(table_of: TableOf) -> None:
    blank = np.full((100, 100), 50, np.uint8)
    assert candidates(table_of(blank, blank, None)).shape == (0, 3)


@pytest.mark.parametrize("parts", [1, 5, 1000])
def test_keys_in_several_arrays_give_the_same_candidates(
    parts: int,
    hands: list[Grey],
    turn: Callable[[Grey, float], Grey],
    table_of: TableOf,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    table = table_of(*hands, turn(hands[1], 8), np.ascontiguousarray(hands[2][:, ::-1]))
    expected = candidates(table).tolist()
    monkeypatch.setattr(module, "_PARTS", parts)
    assert candidates(table).tolist() == expected != []
