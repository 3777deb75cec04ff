"""Families of a set that is too large for keypoints of every image."""

from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from pipeline.data.families import large
from pipeline.data.families.features import Features, describe
from pipeline.data.scan import connected

Grey = npt.NDArray[np.uint8]
NONE: npt.NDArray[np.int64] = np.empty((0, 2), np.int64)


def thumbnails_of(pictures: list[Grey]) -> npt.NDArray[np.float32]:
    return np.stack([cv2.resize(each, (16, 16), interpolation=cv2.INTER_AREA) for each in pictures]).astype(np.float32)


def families(pictures: list[Grey], equal: npt.NDArray[np.int64] = NONE, describes: bool = True) -> list[int]:
    """The first image of each one's family."""

    def describe_one(number: int) -> Features | None:
        return describe(pictures[number]) if describes else None

    pairs = large.related(thumbnails_of(pictures), 0.995, describe_one, equal)
    groups = connected(len(pictures), pairs)
    return [int(np.flatnonzero(groups == group)[0]) for group in groups]


@pytest.fixture(scope="module")
def tilted(hands: list[Grey], turn: Callable[[Grey, float], Grey]) -> Grey:
    """A copy whose thumbnail is only nearly alike."""
    return turn(hands[0], 2)


def test_copies_with_alike_thumbnails_are_one_family_without_keypoints(hands: list[Grey]) -> None:
    pictures = [*hands, np.ascontiguousarray(np.rot90(hands[2][:, ::-1])), hands[1] // 2]
    assert families(pictures, describes=False) == [0, 1, 2, 3, 2, 1]


def test_a_copy_with_a_nearly_alike_thumbnail_is_aligned(hands: list[Grey], tilted: Grey) -> None:
    thumbnails = thumbnails_of([hands[0], tilted]).reshape(2, -1)
    assert large.WORTH_ALIGNING < np.asarray(np.corrcoef(thumbnails))[0, 1] < 0.995
    assert families([*hands, tilted]) == [0, 1, 2, 3, 0]
    mirrored = np.ascontiguousarray(tilted[:, ::-1])
    assert families([*hands, mirrored]) == [0, 1, 2, 3, 0]


def test_what_alignment_cannot_read_is_no_relative(hands: list[Grey], tilted: Grey) -> None:
    assert families([*hands, tilted], describes=False) == [0, 1, 2, 3, 4]


def test_files_with_the_same_bytes_bring_their_relatives(hands: list[Grey]) -> None:
    pictures = [hands[0], hands[1], hands[0] // 2, hands[0] // 2]
    assert families(pictures, np.array([[2, 3]]), describes=False) == [0, 1, 0, 0]


def test_of_files_with_the_same_bytes_one_is_compared(hands: list[Grey]) -> None:
    pictures = [hands[0], hands[1], hands[2], hands[1]]  # not the same: the third stands for the fourth
    assert families(pictures, np.array([[2, 3]]), describes=False) == [0, 1, 2, 2]


def test_pairs_dropped_on_the_way_change_no_family(hands: list[Grey], monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = [*hands, *hands, *hands]
    monkeypatch.setattr(large, "_HELD", 0)
    monkeypatch.setattr("pipeline.data.families.thumbnails._CELL", 1)
    assert families(pictures, describes=False) == [0, 1, 2, 3] * 3


def test_an_image_is_described_once_while_it_is_held(hands: list[Grey]) -> None:
    asked: list[int] = []
    kept = large._Kept(asked.append)
    for number in (1, 2, 1):
        kept(number)
    assert asked == [1, 2]
