"""Pixels that validate keeps for preprocess are those that preprocess would make, or none."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from pipeline.data import pixel_cache, scan
from pipeline.data.pixel_cache import PixelWriter
from serving.imaging.canvas import Preprocessing
from serving.imaging.model_input import prepare

OPTIONS = Preprocessing(48)
KEPT = {"L.png", "RGB.png", "L.bmp", "L.tif", "LA.png", "deep.png"}
"""Files that validate decodes whole, and not by Pillow in colour."""
Spoil = Callable[[Path], Any]


def _picture(mode: str) -> Image.Image:
    colours = np.random.default_rng(1).integers(0, 256, (120, 90, 3), np.uint8)
    return Image.fromarray(colours).convert(mode)


def _files(folder: Path) -> list[Path]:
    """One file for each way in which pixels are decoded."""
    folder.mkdir()
    for mode in ("L", "RGB"):
        for ending in ("png", "jpg", "bmp", "tif"):
            _picture(mode).save(folder / f"{mode}.{ending}")
    for mode in ("RGBA", "P", "LA"):
        _picture(mode).save(folder / f"{mode}.png")
    Image.fromarray(np.arange(12_000, dtype=np.uint16).reshape(120, 100)).save(folder / "deep.png")
    _picture("L").save(folder / "turned.jpg", exif=Image.Exif())
    whole = (folder / "L.jpg").read_bytes()
    (folder / "short.jpg").write_bytes(whole[: len(whole) * 3 // 4])
    return sorted(folder.iterdir())


def _fill(paths: list[Path], folder: Path, options: Preprocessing = OPTIONS) -> list[str]:
    """Keep the pixels of files; returns their hashes."""
    with pixel_cache.filling(options, folder) as writer:
        table, _ = scan.scan_files(paths, writer=writer)
    return list(table["sha256"])


@pytest.fixture
def one(tmp_path: Path) -> tuple[str, Path]:
    """The hash of one file, and the folder in which its pixels are kept."""
    _picture("L").save(tmp_path / "one.png")
    return _fill([tmp_path / "one.png"], tmp_path / "cache")[0], tmp_path / "cache"


def _found(sha256: str, folder: Path, options: Preprocessing = OPTIONS) -> npt.NDArray[np.uint8] | None:
    with pixel_cache.opened(options, folder) as cache:
        kept = cache.find(sha256) if cache else None
    return kept.pixels if kept else None


@pytest.mark.parametrize("options", [OPTIONS, Preprocessing(33, "median", clahe=True)], ids=repr)
def test_kept_pixels_and_places_are_those_of_a_decode(options: Preprocessing, tmp_path: Path) -> None:
    paths = _files(tmp_path / "files")
    hashes = _fill(paths, tmp_path / "cache", options)
    with pixel_cache.opened(options, tmp_path / "cache") as cache:
        assert cache
        for path, sha256 in zip(paths, hashes, strict=True):
            kept = cache.find(sha256)
            expected = prepare(path.read_bytes(), options)
            assert bool(kept) == (path.name in KEPT), path.name
            if not kept:
                continue
            np.testing.assert_array_equal(kept.pixels, expected.pixels, err_msg=path.name)
            assert kept.placement == expected.placement, path.name


def test_what_validate_finds_does_not_depend_on_keeping(tmp_path: Path) -> None:
    paths = _files(tmp_path / "files")
    with pixel_cache.filling(OPTIONS, tmp_path / "cache") as writer:
        table, thumbnails = scan.scan_files(paths, writer=writer)
    expected, expected_thumbnails = scan.scan_files(paths)
    assert table.equals(expected)
    np.testing.assert_array_equal(thumbnails, expected_thumbnails)


def test_other_content_is_not_found(one: tuple[str, Path]) -> None:
    assert _found("0" * 64, one[1]) is None
    assert _found("", one[1]) is None


@pytest.mark.parametrize("other", [{"image_size": 64}, {"denoise": "median"}, {"clahe": True}], ids=repr)
def test_another_preprocessing_finds_nothing(other: dict[str, Any], one: tuple[str, Path]) -> None:
    assert _found(one[0], one[1], replace(OPTIONS, **other)) is None


def test_other_decoding_code_finds_nothing(
    one: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "imaging").mkdir()
    (tmp_path / "imaging/__init__.py").write_text("# other code")
    monkeypatch.setattr(pixel_cache.imaging, "__file__", str(tmp_path / "imaging/__init__.py"))
    assert _found(*one) is None


def _cut(path: Path, keep: int) -> None:
    path.write_bytes(path.read_bytes()[:keep])


SPOILED: dict[str, Spoil] = {
    "no rows": lambda folder: (folder / "rows.bin").unlink(),
    "rows cut short": lambda folder: _cut(folder / "rows.bin", 100),
    "rows empty": lambda folder: _cut(folder / "rows.bin", 0),
    "rows zeroed": lambda folder: (folder / "rows.bin").write_bytes(bytes(48 * 48)),
    "no index": lambda folder: (folder / "index.npy").unlink(),
    "index cut short": lambda folder: _cut(folder / "index.npy", 90),
    "index empty": lambda folder: _cut(folder / "index.npy", 0),
    "another index": lambda folder: np.save(folder / "index.npy", np.zeros(3)),
    "no key": lambda folder: (folder / "key").unlink(),
    "key of no text": lambda folder: (folder / "key").write_bytes(bytes([255])),
}


@pytest.mark.parametrize("spoil", SPOILED.values(), ids=SPOILED)
def test_a_damaged_cache_finds_nothing(spoil: Spoil, one: tuple[str, Path]) -> None:
    assert _found(*one) is not None
    spoil(one[1])
    assert _found(*one) is None


def test_an_interrupted_validation_keeps_the_cache_before(one: tuple[str, Path]) -> None:
    with pytest.raises(KeyboardInterrupt), pixel_cache.filling(OPTIONS, one[1]):
        raise KeyboardInterrupt
    assert _found(*one) is not None


def test_the_cache_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pixel_cache, "LIMIT", 3 * 48 * 48)
    _fill(_files(tmp_path / "files"), tmp_path / "cache")
    assert (tmp_path / "cache/rows.bin").stat().st_size <= 3 * 48 * 48


def test_a_full_disk_does_not_stop_validation(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full, which is always full")
    _picture("L").save(tmp_path / "one.png")
    with Path("/dev/full").open("wb", buffering=0) as full:
        writer = PixelWriter(full, OPTIONS)
        assert scan.scan_file(tmp_path / "one.png", writer).decoded == "whole"
    assert writer.rows == {}
