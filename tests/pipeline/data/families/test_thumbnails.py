"""Look-alikes among thumbnails, by an index."""

from itertools import combinations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.fft import idctn

from pipeline.data import scan
from pipeline.data.families import thumbnails as module
from pipeline.data.families.thumbnails import Pairs, alike

Thumbnails = npt.NDArray[np.float32]


def waves(seed: int, count: int, noise: float) -> Thumbnails:
    """Thumbnails that differ from each other in frequencies of which the index knows some."""
    rng = np.random.default_rng(seed)
    values = np.zeros((count, 16, 16))
    values[:, :8, :8] = rng.normal(size=(1, 8, 8)) * 30 + rng.normal(size=(count, 8, 8)) * noise
    return np.asarray(idctn(values, axes=(1, 2), norm="ortho"), np.float32)


def forms(thumbnails: Thumbnails) -> list[Thumbnails]:
    """All as they are and turned by quarters, then mirrored and turned."""
    return [np.rot90(each, turns, (1, 2)) for each in (thumbnails, thumbnails[:, :, ::-1]) for turns in range(4)]


def found(thumbnails: Thumbnails, correlation: float, turned: bool = True) -> set[tuple[int, int]]:
    pairs = Pairs.joined(list(alike(thumbnails, correlation, turned)))
    assert (pairs.images[:, 0] < pairs.images[:, 1]).all()
    assert len(np.unique(pairs.images, axis=0)) == len(pairs)
    return {(int(i), int(j)) for i, j in pairs.images}


@pytest.mark.parametrize("turned", [False, True])
@given(seed=st.integers(0, 2**32 - 1), noise=st.floats(0.1, 60), correlation=st.floats(0.5, 0.999))
def test_the_index_misses_no_pair_and_adds_none(turned: bool, seed: int, noise: float, correlation: float) -> None:
    plain = waves(seed, 10, noise)
    rng = np.random.default_rng(seed)
    thumbnails = np.stack([forms(each[None])[rng.integers(8)][0] for each in plain]) if turned else plain
    compared = forms(thumbnails) if turned else [thumbnails]
    best = np.max([np.corrcoef(thumbnails.reshape(10, -1), each.reshape(10, -1))[:10, 10:] for each in compared], 0)
    pairs = found(thumbnails, correlation, turned)
    for i, j in combinations(range(10), 2):
        if abs(best[i, j] - correlation) > 1e-4:  # rounding may put a pair on either side
            assert ((i, j) in pairs) == (best[i, j] > correlation)


@pytest.mark.parametrize("noise", [1, 2.5])
def test_the_index_finds_what_the_search_of_small_sets_finds(noise: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CELL", 4)  # or all were in one cell, and none could be passed over
    thumbnails = np.concatenate([waves(1, 40, noise), forms(waves(2, 40, noise))[5]])
    plain = scan.near_duplicates(thumbnails, 0.99)
    turned = scan.turned_duplicates(thumbnails, np.arange(80), 0.99)
    assert found(thumbnails, 0.99, turned=False) == set(map(tuple, plain.tolist())) != set()
    assert found(thumbnails, 0.99) == set(map(tuple, turned.tolist()))


@pytest.mark.parametrize("form", range(8))
def test_the_form_that_is_most_alike_is_told(form: int) -> None:
    thumbnail = waves(1, 1, 10)
    pairs = Pairs.joined(list(alike(np.concatenate([thumbnail, forms(thumbnail)[form]]), 0.9)))
    assert pairs.mirrored.tolist() == [form >= 4]
    assert pairs.correlation == pytest.approx([1])


def test_blank_and_missing_thumbnails_are_in_no_pair() -> None:
    nothing = np.stack([np.full((16, 16), value, np.float32) for value in (90, 90, np.nan, np.nan)])
    assert found(np.concatenate([nothing, *[waves(1, 1, 10)] * 2]), 0.9) == {(4, 5)}


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_thumbnails_make_no_pair(count: int) -> None:
    assert found(waves(1, count, 10), 0.9) == set()


def test_only_chosen_thumbnails_are_compared() -> None:
    pairs = Pairs.joined(list(alike(np.concatenate([waves(1, 1, 10)] * 4), 0.9, among=np.array([0, 2]))))
    assert pairs.images.tolist() == [[0, 2]]


def test_blocks_of_any_size_give_the_same_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    thumbnails = waves(3, 60, 3)
    expected = found(thumbnails, 0.99)
    for name, size in (("_CELL", 7), ("_COLUMNS", 5), ("_PAIRS", 3), ("_ROWS", 11)):
        monkeypatch.setattr(module, name, size)
    assert found(thumbnails, 0.99) == expected != set()
