"""Which images of a folder show the same exposure."""

import os
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from pipeline.data.families import search
from pipeline.data.families.features import FeatureTable
from pipeline.data.families.search import related, with_few_keypoints

Grey = npt.NDArray[np.uint8]
TableOf = Callable[..., FeatureTable]


@pytest.fixture
def mixed(hands: list[Grey], turn: Callable[[Grey, float], Grey], table_of: TableOf) -> FeatureTable:
    """Four hands, one that cannot be read, and three copies."""
    mirrored = np.ascontiguousarray(np.rot90(hands[2][:, ::-1]))
    return table_of(*hands, None, turn(hands[0], -7), mirrored, hands[0])


def test_copies_are_related_to_their_originals_and_to_each_other(mixed: FeatureTable) -> None:
    assert related(mixed).tolist() == [[0, 5], [0, 7], [2, 6], [5, 7]]


def test_one_thread_finds_what_several_find(mixed: FeatureTable, monkeypatch: pytest.MonkeyPatch) -> None:
    several = related(mixed)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    assert np.array_equal(related(mixed), several)


def test_images_that_are_joined_already_are_not_compared_again(
    mixed: FeatureTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "_ROUND", 1)
    assert related(mixed).tolist() == [[0, 5], [0, 7], [2, 6]]
    assert related(mixed, np.array([[0, 7], [5, 7]])).tolist() == [[2, 6]]


def test_an_empty_folder_has_no_relatives(table_of: TableOf) -> None:
    assert related(table_of()).shape == (0, 2)


def test_images_without_detail_are_told(hands: list[Grey], table_of: TableOf) -> None:
    assert with_few_keypoints(table_of(hands[0], np.zeros((50, 50), np.uint8), None)).tolist() == [1, 2]
