"""The search among generated thumbnails, on few of them."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from benchmarks.archive import search

Thumbnails = npt.NDArray[np.float32]


@pytest.fixture(scope="module")
def real() -> Thumbnails:
    return np.asarray(np.random.default_rng(1).uniform(0, 255, (20, 16, 16)), np.float32)


def pairs_of(folder: Path, thumbnails: Thumbnails, turned: bool) -> npt.NDArray[np.int64]:
    np.save(folder / "thumbnails.npy", thumbnails)
    search.search(folder, 0.98, turned)
    return np.asarray(np.load(folder / "pairs.npy"), np.int64)


@pytest.mark.parametrize("turned", [False, True])
def test_the_index_finds_all_that_comparing_with_all_finds(turned: bool, real: Thumbnails, tmp_path: Path) -> None:
    thumbnails, copies = search.filled(real, 400, 2)
    found = pairs_of(tmp_path, thumbnails, turned)
    hits, of = search.recall(thumbnails, found, copies, 0.98, turned)
    assert hits == of > 0


def test_a_pair_that_was_not_found_is_missed(real: Thumbnails, tmp_path: Path) -> None:
    thumbnails = search.filled(real, 400, 2)[0]
    found = pairs_of(tmp_path, thumbnails, True)
    hits, of = search.recall(thumbnails, found[1:], np.arange(400), 0.98, True)
    assert hits == of - 2  # asked for from both of its sides


def test_real_thumbnails_come_first_and_copies_last(real: Thumbnails) -> None:
    thumbnails, copies = search.filled(real, 100, 2)
    assert np.array_equal(thumbnails[:20], real)
    assert copies.tolist() == [98, 99]
