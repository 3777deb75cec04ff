"""What an engine makes of the images is what one machine makes of them; a killed stage goes on."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipeline import preprocess
from pipeline.archive import manifest
from pipeline.archive.manifest import Sources
from pipeline.archive.preparing import images as engine_images
from pipeline.archive.preparing import tasks
from pipeline.archive.preparing.images import EngineImages
from pipeline.data import prepared, scan
from pipeline.data.families.features import FeatureTable
from pipeline.data.images import FolderImages
from pipeline.data.layout import Dataset
from pipeline.data.validation.tables import image_table
from pipeline.errors import InputError
from pipeline.params import PreprocessParams
from pipeline.preprocess import Preparation
from serving.imaging.canvas import Preprocessing
from tests.pipeline.archive.preparing.conftest import InThisProcess

Images = Callable[..., EngineImages]
SMALL = Preprocessing(32)


def _files(data: Dataset) -> list[str]:
    return list(data.labels["file"])


def _written(images: EngineImages, data: Dataset, folder: Path, preprocessing: Preprocessing = SMALL) -> Any:
    folder.mkdir()
    return images.write(_files(data), preprocessing, folder)


def test_facts_thumbnails_and_keypoints_are_those_of_one_machine(
    data: Dataset, images: Images, runner: InThisProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scan, "CHUNK", 8)
    (data.folder / "images/i03.png").write_bytes(b"no image")
    (data.folder / "images/i04.png").write_bytes(b"")
    (data.folder / "images/i05.png").unlink()
    files = _files(data)
    here, there = FeatureTable(20), FeatureTable(20)
    theirs, their_thumbnails = images(runner).scan(files, there)
    ours, our_thumbnails = FolderImages(data).scan(files, here)
    pd.testing.assert_frame_equal(theirs, ours)
    np.testing.assert_array_equal(their_thumbnails, our_thumbnails)
    np.testing.assert_array_equal(there.descriptors, here.descriptors)
    np.testing.assert_array_equal(there.points, here.points)
    np.testing.assert_array_equal(there.owner, here.owner)
    for one, other in zip(there.pictures, here.pictures, strict=True):
        assert (one is None and other is None) or np.array_equal(one, other)  # type: ignore[arg-type]


def test_shards_hold_what_one_machine_prepares(
    data: Dataset, images: Images, runner: InThisProcess, tmp_path: Path
) -> None:
    theirs = _written(images(runner), data, tmp_path / "out")
    paths = [data.folder / file for file in _files(data)]
    ours = preprocess.write_images(paths, Preparation(SMALL), tmp_path / "images.npy")
    pd.testing.assert_frame_equal(theirs, ours)
    parts = [np.load(tmp_path / f"out/images-0000{shard}.npy") for shard in range(3)]
    np.testing.assert_array_equal(np.concatenate(parts), np.load(tmp_path / "images.npy"))


def test_prepared_shards_are_opened_as_one_array_is(
    data: Dataset, images: Images, runner: InThisProcess, tmp_path: Path
) -> None:
    table = image_table(data, 0.995).assign(excluded="")
    options = PreprocessParams(image_size=32)
    for name, elsewhere in (("ours", None), ("theirs", images(runner))):
        (tmp_path / name).mkdir()
        preprocess.preprocess(data, table, options, tmp_path / name, elsewhere=elsewhere)
    ours, theirs = (prepared.load(tmp_path / name) for name in ("ours", "theirs"))
    np.testing.assert_array_equal(theirs.images[[19, 0, 7]], ours.images[[19, 0, 7]])
    for name in ("split.csv", "boxes.csv", "prepared.json"):
        assert (tmp_path / "theirs" / name).read_bytes() == (tmp_path / "ours" / name).read_bytes()


def test_a_stage_that_was_killed_goes_on_with_the_shards_that_are_missing(
    data: Dataset, images: Images, runner: InThisProcess, tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        _written(images(InThisProcess(fails=1)), data, tmp_path / "killed")
    _written(images(runner), data, tmp_path / "out")
    assert runner.done == [1, 2]
    assert len(list((tmp_path / "out").glob("images-*.npy"))) == 3


def test_a_validation_that_was_killed_goes_on_with_the_blocks_that_are_missing(
    data: Dataset, images: Images, runner: InThisProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scan, "CHUNK", 8)
    with pytest.raises(KeyboardInterrupt):
        images(InThisProcess(fails=2)).scan(_files(data), None)
    images(runner).scan(_files(data), None)
    assert runner.done == [2]


def _touch(data: Dataset) -> None:
    os.utime(data.folder / "images/i09.png", ns=(0, 1))


def test_of_a_changed_image_its_shard_is_made_again(
    data: Dataset, images: Images, runner: InThisProcess, tmp_path: Path
) -> None:
    _written(images(InThisProcess()), data, tmp_path / "before")
    _touch(data)
    _written(images(runner), data, tmp_path / "after")
    assert runner.done == [1]


def test_other_steps_make_every_shard_again(
    data: Dataset, images: Images, runner: InThisProcess, tmp_path: Path
) -> None:
    _written(images(InThisProcess()), data, tmp_path / "before")
    _written(images(runner), data, tmp_path / "after", Preprocessing(32, clahe=True))
    assert runner.done == [0, 1, 2]


def test_other_code_makes_every_block_again(
    data: Dataset, images: Images, runner: InThisProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    images(InThisProcess()).scan(_files(data), None)
    for module in (engine_images, tasks):
        monkeypatch.setattr(module, "code_key", lambda: "other")
    images(runner).scan(_files(data), None)
    assert runner.done == [0]


def test_a_file_that_changed_since_validation_is_named_as_on_one_machine(
    data: Dataset, images: Images, runner: InThisProcess, tmp_path: Path
) -> None:
    (data.folder / "images/i05.png").write_bytes(b"x")
    with pytest.raises(InputError) as ours:
        preprocess.write_images([data.folder / "images/i05.png"], Preparation(SMALL), tmp_path / "images.npy")
    with pytest.raises(InputError) as theirs:
        _written(images(runner), data, tmp_path / "out")
    assert str(theirs.value) == str(ours.value)


def test_nothing_is_kept_after_a_stage_that_ended_well(
    data: Dataset, images: Images, runner: InThisProcess, tmp_path: Path
) -> None:
    found = images(runner)
    _written(found, data, tmp_path / "out")
    found.forget()
    assert not (tmp_path / "kept").exists()
    assert np.load(tmp_path / "out/images-00000.npy").shape == (8, 32, 32)


def _elsewhere(data: Dataset, place: Path) -> Dataset:
    """Move the images to a folder that a manifest lists."""
    (data.folder / "images").rename(place)
    manifest.write(data.folder / "manifest.parquet", Sources((str(place),)))
    return data


def test_images_that_a_manifest_lists_are_judged_as_those_of_the_folder(
    data: Dataset, images: Images, runner: InThisProcess, tmp_path: Path, encode: Callable[..., bytes]
) -> None:
    (data.folder / "images/stray.png").write_bytes(encode(np.zeros((8, 8), np.uint8)))
    (data.folder / "images/i05.png").unlink()
    ours = image_table(data, 0.995)
    theirs = image_table(data, 0.995, images=images(runner, _elsewhere(data, tmp_path / "far")))
    pd.testing.assert_frame_equal(theirs, ours)


def test_an_image_that_changed_after_its_manifest_was_made_stops_the_stage(
    data: Dataset, images: Images, runner: InThisProcess, tmp_path: Path
) -> None:
    _elsewhere(data, tmp_path / "far")
    os.utime(tmp_path / "far/i09.png", ns=(0, 1))
    with pytest.raises(InputError, match=r"data/images/i09\.png: the image was changed after the manifest was made"):
        images(runner).scan(_files(data), None)


@pytest.mark.slow
def test_images_in_a_store_are_prepared_as_those_of_the_folder(
    data: Dataset, images: Images, runner: InThisProcess, tmp_path: Path, store: str
) -> None:
    import obstore

    from pipeline.archive.addresses import parse
    from pipeline.archive.object_stores import open_store

    ours = preprocess.write_images([data.folder / file for file in _files(data)], Preparation(SMALL), tmp_path / "n")
    target = open_store(parse(store))
    for path in data.image_files():
        obstore.put(target, f"radiographs/{path.name}", path.read_bytes())
        path.unlink()
    manifest.write(data.folder / "manifest.parquet", Sources((f"{store}/radiographs",)))
    pd.testing.assert_frame_equal(_written(images(runner), data, tmp_path / "out"), ours)
