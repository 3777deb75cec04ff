"""Where images lie: names, and what is refused."""

from pathlib import Path

import pytest

from pipeline.archive import manifest
from pipeline.archive.entries import Entry, dicom_entry
from pipeline.archive.manifest import Sources
from pipeline.archive.preparing.listings import listing_of
from pipeline.data.layout import Dataset
from pipeline.errors import InputError


def _listed(data: Dataset, *places: Path) -> Dataset:
    manifest.write(data.folder / "manifest.parquet", Sources(tuple(map(str, places))))
    return data


def test_a_file_is_named_by_its_path_below_the_root(data: Dataset, tmp_path: Path) -> None:
    (tmp_path / "far/2016").mkdir(parents=True)
    (data.folder / "images/i00.png").rename(tmp_path / "far/2016/a b.png")
    for path in data.image_files():
        path.unlink()
    found = listing_of(_listed(data, tmp_path / "far"))
    assert found.files() == ["images/2016/a b.png"]
    assert found.entry("images/2016/a b.png").uri == f"file://{tmp_path}/far/2016/a%20b.png"


def test_what_the_manifest_does_not_list_has_no_address(data: Dataset, tmp_path: Path) -> None:
    (data.folder / "images").rename(tmp_path / "far")
    assert listing_of(_listed(data, tmp_path / "far")).entry("images/gone.png") == Entry(
        "images/gone.png", "", None, ""
    )


def test_two_images_of_one_name_are_refused(data: Dataset, tmp_path: Path) -> None:
    (data.folder / "images").rename(tmp_path / "far")
    (tmp_path / "near").mkdir()
    (tmp_path / "near/i00.png").write_bytes((tmp_path / "far/i00.png").read_bytes())
    with pytest.raises(InputError, match=r"are both images/i00\.png; list one"):
        listing_of(_listed(data, tmp_path / "far", tmp_path / "near"))


def test_a_folder_beside_a_manifest_is_refused(data: Dataset) -> None:
    with pytest.raises(InputError, match=r"holds images/ and manifest\.parquet; remove the one that is not meant"):
        listing_of(_listed(data, data.folder / "images"))


def test_a_server_is_no_place_for_training(data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (data.folder / "images").rename(tmp_path / "far")
    entry = dicom_entry("https://pacs.example/dicom-web/studies/1/series/2/instances/3", "3")
    monkeypatch.setattr(manifest.web, "list_instances", lambda *_: iter([entry]))
    manifest.write(data.folder / "manifest.parquet", Sources(("https://pacs.example/dicom-web",)))
    with pytest.raises(InputError, match="lists a DICOMweb server; images for training lie in a folder"):
        listing_of(data)
