"""Visual words."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from pipeline.data.families.features import MIRRORED, FeatureTable
from pipeline.data.families.vocabulary import Vocabulary

Grey = npt.NDArray[np.uint8]


@pytest.fixture(scope="module")
def descriptors(hands: list[Grey], table_of: Callable[..., FeatureTable]) -> npt.NDArray[np.uint8]:
    return table_of(*hands).descriptors


def test_the_same_descriptors_teach_the_same_words(descriptors: npt.NDArray[np.uint8]) -> None:
    first, second = (Vocabulary.learn(descriptors).nearest_two(descriptors) for _ in range(2))
    assert np.array_equal(first, second)


def test_a_descriptor_has_two_words(descriptors: npt.NDArray[np.uint8]) -> None:
    vocabulary = Vocabulary.learn(descriptors)
    words = vocabulary.nearest_two(descriptors)
    assert vocabulary.words > 1
    assert (words[:, 0] != words[:, 1]).all()
    assert words.min() >= 0
    assert words.max() < vocabulary.words


def test_a_slightly_changed_descriptor_shares_a_word(descriptors: npt.NDArray[np.uint8]) -> None:
    vocabulary = Vocabulary.learn(descriptors)
    noise = np.random.default_rng(1).integers(-2, 3, descriptors.shape)
    changed = np.asarray(np.clip(descriptors + noise, 0, 255), np.uint8)
    words, others = vocabulary.nearest_two(descriptors), vocabulary.nearest_two(changed)
    assert np.mean((others == words[:, :1]).any(axis=1)) > 0.95


def test_values_are_permuted_before_their_word_is_sought(descriptors: npt.NDArray[np.uint8]) -> None:
    vocabulary = Vocabulary.learn(descriptors)
    expected = vocabulary.nearest_two(descriptors[:, MIRRORED])
    assert np.array_equal(vocabulary.nearest_two(descriptors, MIRRORED), expected)


def test_few_descriptors_make_one_word(descriptors: npt.NDArray[np.uint8]) -> None:
    vocabulary = Vocabulary.learn(descriptors[:3])
    assert vocabulary.words == 1
    assert (vocabulary.nearest_two(descriptors[:3]) == 0).all()
