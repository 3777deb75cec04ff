"""One pass over the files: what each is, and which look alike."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy.fft import idctn

from pipeline.data import scan
from pipeline.data.families.features import FeatureTable, describe
from pipeline.data.scan import Scan

Draw = Callable[..., npt.NDArray[np.uint8]]
Encode = Callable[..., bytes]


def scanned(folder: Path, content: bytes) -> Scan:
    path = folder / "file"
    path.write_bytes(content)
    return scan.scan_file(path)


def thumbnails(*pictures: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    side = (scan.THUMBNAIL, scan.THUMBNAIL)
    return np.stack([np.asarray(Image.fromarray(picture).resize(side), np.float32) for picture in pictures])


# One file


def test_a_jpeg_is_measured_alike_whether_or_not_it_is_described_for_copies(
    tmp_path: Path, draw: Draw, encode: Encode
) -> None:
    smooth = cv2.resize(np.dstack([draw(1), draw(2), draw(3)]), (700, 900)) / 2 + 60.0
    noise = np.random.default_rng(0).normal(0, 30, (900, 700, 1))
    picture = np.asarray(np.clip(smooth + noise, 0, 255), np.uint8)
    path = tmp_path / "file.jpg"
    path.write_bytes(encode(picture, "JPEG", quality=95))
    plain, described = scan.scan_file(path), scan.scan_file(path, with_features=True)
    assert described.features is not None
    assert described.mean == pytest.approx(plain.mean, abs=0.5)
    assert described.contrast == pytest.approx(plain.contrast, rel=0.01)
    assert described.colourfulness == pytest.approx(plain.colourfulness, rel=0.01)


def test_features_come_in_the_order_of_the_files(tmp_path: Path, draw: Draw, encode: Encode) -> None:
    paths = [tmp_path / f"{number}.png" for number in range(100)]
    for number, path in enumerate(paths):
        path.write_bytes(encode(draw(number)) if number != 3 else b"none")
    table = FeatureTable(len(paths))
    scan.scan_files(paths, features=table)
    assert len(table) == 100
    assert table.pictures[3] is None
    assert np.array_equal(table.of(99).picture, describe(draw(99)).picture)


def test_a_whole_file_is_described(tmp_path: Path, encode: Encode) -> None:
    content = encode(np.repeat(np.array([[0, 100]], np.uint8), 40, 0).repeat(20, 1))
    found = scanned(tmp_path, content)
    assert (found.decoded, found.error, found.format, found.mode, found.bit_depth) == ("whole", "", "PNG", "L", 8)
    assert (found.width, found.height, found.orientation, found.bytes) == (40, 40, 1, len(content))
    assert (found.mean, found.contrast, found.colourfulness) == (50, 50, 0)
    assert found.sha256 == hashlib.sha256(content).hexdigest()


def test_a_16_bit_file_is_described_as_such(tmp_path: Path, encode: Encode) -> None:
    found = scanned(tmp_path, encode(np.array([[0, 60_000]], np.uint16)))
    assert (found.mode, found.bit_depth, found.mean) == ("I;16", 16, 127.5)


def test_a_lying_file_has_its_upright_size(tmp_path: Path, encode: Encode) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    found = scanned(tmp_path, encode(np.zeros((20, 30), np.uint8), "JPEG", exif=exif))
    assert (found.width, found.height, found.orientation) == (20, 30, 6)


def test_a_colour_file_has_its_colourfulness(tmp_path: Path, draw: Draw, encode: Encode) -> None:
    assert scanned(tmp_path, encode(np.dstack([draw(1), draw(2), draw(3)]), "JPEG")).colourfulness > 10


def test_a_grey_file_saved_in_colour_is_not_colourful(tmp_path: Path, draw: Draw, encode: Encode) -> None:
    found = scanned(tmp_path, encode(np.dstack([draw(1)] * 3), "JPEG"))
    assert (found.mode, found.colourfulness) == ("RGB", 0)


def test_a_blank_file_has_no_contrast(tmp_path: Path, encode: Encode) -> None:
    assert scanned(tmp_path, encode(np.full((20, 20), 90, np.uint8))).contrast == 0


def test_a_truncated_file_is_described_as_far_as_it_goes(tmp_path: Path, draw: Draw, encode: Encode) -> None:
    found = scanned(tmp_path, encode(draw(1), "JPEG")[:-20])
    assert (found.decoded, found.width, found.height) == ("truncated", 48, 64)


def test_a_file_that_is_no_image_has_failed_and_says_why(tmp_path: Path) -> None:
    found = scanned(tmp_path, b"some text")
    assert (found.decoded, found.bytes) == ("failed", 9)
    assert found.error == "the file is no JPEG, PNG, WebP, BMP, TIFF or DICOM image"
    assert np.isnan(found.mean)


def test_an_empty_file_is_no_copy_of_another(tmp_path: Path) -> None:
    found = scanned(tmp_path, b"")
    assert (found.decoded, found.sha256) == ("empty", "")


@pytest.mark.parametrize("name", ["nothing", "folder", "file/below"])
def test_what_is_no_file_is_missing(name: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    assert scan.scan_file(tmp_path / name).decoded == "missing"


# Many files


def test_files_are_described_in_their_order(tmp_path: Path, encode: Encode) -> None:
    paths = [tmp_path / f"{shade:03d}.png" for shade in range(150)]
    for shade, path in enumerate(paths):
        path.write_bytes(encode(np.full((2, 2), shade, np.uint8)))
    table, small = scan.scan_files(paths[::-1], workers=3)
    assert table["mean"].to_list() == list(range(150))[::-1]
    assert small[:, 8, 8].tolist() == list(range(150))[::-1]


def test_files_without_a_picture_have_neither_thumbnail_nor_hash(tmp_path: Path, draw: Draw, encode: Encode) -> None:
    (tmp_path / "whole").write_bytes(encode(draw(1)))
    table, small = scan.scan_files([tmp_path / "missing", tmp_path / "whole"])
    assert np.isnan(small[0]).all()
    assert not np.isnan(small[1]).any()
    assert table["perceptual_hash"].map(len).to_list() == [0, 16]


def test_no_files_give_an_empty_table() -> None:
    table, small = scan.scan_files([])
    assert len(table) == 0
    assert small.shape == (0, 16, 16)
    assert {"decoded", "sha256", "perceptual_hash"} <= set(table.columns)


def test_the_perceptual_hash_survives_a_change_of_brightness(draw: Draw) -> None:
    pictures = np.stack([np.asarray(Image.fromarray(draw(number)).resize((32, 32)), np.float32) for number in (1, 2)])
    plain, other = scan.perceptual_hashes(pictures)
    assert scan.perceptual_hashes(np.asarray(pictures / 2 + 20, np.float32)) == [plain, other]
    assert plain != other


# Look-alikes


def test_a_picture_of_other_brightness_is_a_near_duplicate(draw: Draw) -> None:
    pictures = thumbnails(draw(1), draw(2), draw(1) // 2 + 20)
    assert scan.near_duplicates(pictures, 0.995).tolist() == [[0, 2]]


def test_other_pictures_are_no_near_duplicates(draw: Draw) -> None:
    assert len(scan.near_duplicates(thumbnails(*map(draw, range(30))), 0.995)) == 0


@pytest.mark.parametrize("quarters", range(4))
@pytest.mark.parametrize("mirrored", [False, True])
def test_turned_and_mirrored_pictures_are_duplicates_where_that_is_asked(
    quarters: int, mirrored: bool, draw: Draw
) -> None:
    other = np.rot90(draw(1)[:, ::-1] if mirrored else draw(1), quarters)
    pictures = thumbnails(draw(1), draw(2), np.ascontiguousarray(other))
    assert scan.turned_duplicates(pictures, np.arange(3), 0.99).tolist() == [[0, 2]]
    assert scan.turned_duplicates(pictures, np.array([0, 1]), 0.99).shape == (0, 2)


def test_no_picture_is_a_turned_duplicate_of_itself() -> None:
    symmetrical = np.add.outer(np.hanning(32), np.hanning(32)) * 100
    pictures = thumbnails(np.asarray(symmetrical, np.uint8))
    assert scan.turned_duplicates(pictures, np.arange(1), 0.99).shape == (0, 2)


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_pictures_have_no_near_duplicates(count: int, draw: Draw) -> None:
    pictures = np.zeros((0, 16, 16), np.float32) if count == 0 else thumbnails(draw(1))
    assert scan.near_duplicates(pictures, 0.995).shape == (0, 2)


def test_blank_and_missing_pictures_are_no_near_duplicates(draw: Draw) -> None:
    pictures = thumbnails(*[np.full((16, 16), 90, np.uint8)] * 2, *[draw(1)] * 2)
    pictures = np.concatenate([pictures, np.full((2, 16, 16), np.nan, np.float32)])
    assert scan.near_duplicates(pictures, 0.995).tolist() == [[2, 3]]


@given(seed=st.integers(0, 2**32 - 1), noise=st.floats(0, 60), correlation=st.floats(0.5, 0.999))
def test_the_search_misses_no_pair(seed: int, noise: float, correlation: float) -> None:
    # Only the lowest frequencies, by which the search preselects: nothing else keeps two pictures apart.
    rng = np.random.default_rng(seed)
    waves = np.zeros((12, 16, 16))
    waves[:, :4, :4] = rng.normal(size=(1, 4, 4)) * 30 + rng.normal(size=(12, 4, 4)) * noise
    pictures = np.asarray(idctn(waves, axes=(1, 2), norm="ortho"), np.float64)
    matrix = np.asarray(np.corrcoef(pictures.reshape(12, -1)))
    margin = 1e-4  # of rounding, within which a pair may fall on either side
    found = {(int(i), int(j)) for i, j in scan.near_duplicates(pictures.astype(np.float32), correlation)}
    assert all(i < j for i, j in found)
    for i in range(12):
        for j in range(i + 1, 12):
            if abs(matrix[i, j] - correlation) > margin:
                assert ((i, j) in found) == (matrix[i, j] > correlation)


def test_equal_values_are_linked_and_empty_ones_are_not() -> None:
    assert scan.pairs_of_equal(pd.Series(["p", "", "q", "p", "", "p"])).tolist() == [[0, 3], [0, 5]]


def test_pairs_make_groups() -> None:
    groups = scan.connected(5, np.array([[0, 2], [2, 4]]))
    assert groups[0] == groups[2] == groups[4]
    assert len(set(groups)) == 3


def test_without_pairs_every_item_is_its_own_group() -> None:
    assert scan.connected(3, np.empty((0, 2), np.int64)).tolist() == [0, 1, 2]
