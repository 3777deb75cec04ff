"""Shards: rows as an array gives them, and a line for what is missing or cut short."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from pipeline.data import image_shards
from pipeline.data.image_shards import ImageShards, ShardIndex
from pipeline.errors import InputError

ROWS = np.random.default_rng(0).integers(0, 256, (10, 4, 4), np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Write ten images into shards of three."""
    index = ShardIndex(10, 4, 3)
    for shard in range(index.shards):
        np.save(tmp_path / image_shards.shard_name(shard), ROWS[slice(*index.bounds(shard))])
    index.write(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "rows",
    [3, -1, np.int64(9), slice(2, 7), slice(None), slice(0), np.array([9, 0, 3, 3]), [1, 2], np.arange(10) % 2 == 0],
    ids=str,
)
def test_rows_are_those_of_an_array(rows: Any, folder: Path) -> None:
    np.testing.assert_array_equal(ImageShards.open(folder)[rows], ROWS[rows])


def test_shape_and_length_are_those_of_an_array(folder: Path) -> None:
    found = ImageShards.open(folder)
    assert (found.shape, len(found)) == (ROWS.shape, len(ROWS))
    np.testing.assert_array_equal(np.stack(list(found)), ROWS)


@pytest.mark.parametrize("row", [10, -11])
def test_a_row_that_is_not_there_is_refused(row: int, folder: Path) -> None:
    with pytest.raises(IndexError):
        ImageShards.open(folder)[row]


def test_more_shards_than_files_may_be_open_are_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_shards, "_OPEN", 1)
    found = ImageShards.open(folder)
    np.testing.assert_array_equal(found[[9, 0, 5, 9, 1]], ROWS[[9, 0, 5, 9, 1]])


def test_another_process_reads_what_it_is_sent(folder: Path) -> None:
    found = ImageShards.open(folder)
    np.testing.assert_array_equal(found[0], pickle.loads(pickle.dumps(found))[0])  # noqa: S301  our own


def _without(folder: Path) -> None:
    (folder / "images-00001.npy").unlink()


def _cut(folder: Path) -> None:
    path = folder / "images-00001.npy"
    path.write_bytes(path.read_bytes()[:-1])


def _other_index(folder: Path) -> None:
    (folder / "images.json").write_text('{"rows": 10}')


@pytest.mark.parametrize("damage", [_without, _cut, _other_index])
def test_shards_that_do_not_fit_their_index_are_refused(damage: Callable[[Path], None], folder: Path) -> None:
    damage(folder)
    with pytest.raises((ValueError, FileNotFoundError), match=r"images-00001\.npy|images\.json"):
        ImageShards.open(folder)


def test_a_shard_that_is_cut_short_while_it_is_read_is_named(folder: Path) -> None:
    found = ImageShards.open(folder)
    _cut(folder)
    with pytest.raises(InputError, match=r"images-00001\.npy: is cut short; make it again with `dvc repro"):
        found[5]


def test_a_header_is_that_of_numpy(folder: Path) -> None:
    shown: npt.NDArray[np.uint8] = np.load(folder / "images-00003.npy")
    assert (folder / "images-00003.npy").read_bytes() == image_shards.npy_header(shown.shape) + shown.tobytes()
