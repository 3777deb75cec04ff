"""What is kept of an image to find it again."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from pipeline.data.families import features
from pipeline.data.families.features import FeatureTable, describe

Grey = npt.NDArray[np.uint8]
TableOf = Callable[..., FeatureTable]


def test_points_are_shares_of_the_longer_side(hands: list[Grey]) -> None:
    points = describe(hands[0]).points
    height, width = hands[0].shape
    assert points[:, :2].min() >= 0
    assert (points[:, :2].max(axis=0) <= np.array([width, height]) / max(height, width) + 0.01).all()


def test_points_stay_when_the_picture_is_halved(hands: list[Grey]) -> None:
    large, small = describe(hands[0]), describe(hands[0][::2, ::2])
    apart = np.linalg.norm(large.points[:, None, :2] - small.points[None, :, :2], axis=2).min(axis=1)
    assert np.median(apart) < 0.01


def test_the_picture_keeps_its_shape() -> None:
    assert describe(np.zeros((300, 200), np.uint8)).picture.shape == (features.PICTURE, 75)


@pytest.mark.parametrize("shape", [(1, 1), (1, 400), (3000, 2)])
def test_a_picture_of_any_shape_is_described(shape: tuple[int, int]) -> None:
    assert max(describe(np.full(shape, 7, np.uint8)).picture.shape) == features.PICTURE


def test_a_blank_picture_has_no_keypoints() -> None:
    assert len(describe(np.full((200, 200), 90, np.uint8)).points) == 0


def test_no_image_has_more_keypoints_than_the_limit() -> None:
    noise = np.random.default_rng(1).integers(0, 256, (400, 400), np.uint8)
    assert len(describe(noise).points) == features.KEYPOINTS


def test_a_darker_picture_has_the_same_keypoints(hands: list[Grey]) -> None:
    whole, dark = describe(hands[0]), describe(hands[0] // 2)
    apart = np.linalg.norm(whole.points[:, None, :2] - dark.points[None, :, :2], axis=2).min(axis=1)
    assert np.mean(apart < 0.01) > 0.7


def test_permuted_descriptors_are_those_of_the_mirrored_picture(hands: list[Grey]) -> None:
    plain, mirrored = describe(hands[0]), describe(np.ascontiguousarray(hands[0][:, ::-1]))
    places = plain.points[:, :2].copy()
    places[:, 0] = plain.picture.shape[1] / features.PICTURE - places[:, 0]
    apart = np.linalg.norm(places[:, None] - mirrored.points[None, :, :2], axis=2)
    same = apart.min(axis=1) < 0.004
    left = features.unit(plain.descriptors[:, features.MIRRORED])[same]
    right = features.unit(mirrored.descriptors)[apart.argmin(axis=1)[same]]
    assert same.sum() > 20
    assert np.median((left * right).sum(axis=1)) > 0.99


def test_the_table_gives_back_what_was_added(hands: list[Grey], table_of: TableOf) -> None:
    table = table_of(hands[0], None, hands[1])
    expected = describe(hands[1])
    assert np.array_equal(table.of(2).descriptors, expected.descriptors)
    assert np.array_equal(table.of(2).points, expected.points)
    assert np.array_equal(table.of(2).picture, expected.picture)


def test_an_unreadable_image_has_no_features(hands: list[Grey], table_of: TableOf) -> None:
    table = table_of(hands[0], None)
    assert table.counts[1] == 0
    with pytest.raises(KeyError):
        table.of(1)


def test_every_keypoint_names_its_image(hands: list[Grey], table_of: TableOf) -> None:
    table = table_of(hands[0], None, hands[1])
    assert np.bincount(table.owner, minlength=3).tolist() == table.counts.tolist()
