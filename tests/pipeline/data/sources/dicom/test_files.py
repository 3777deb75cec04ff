"""Folders and DICOMDIRs."""

import io
from pathlib import Path

import pydicom
import pytest
from pydicom.fileset import FileSet

from pipeline.data.sources.dicom.files import DirectoryObjects, FolderObjects
from pipeline.data.sources.dicom.objects import UnreadableError
from pipeline.errors import InputError
from tests.pipeline.data.sources.dicom.conftest import image
from tests.serving.imaging.dicom.deidentify.planted import ROOT


@pytest.fixture
def medium(tmp_path: Path) -> Path:
    """Write a medium with a DICOMDIR and two images, as pydicom does."""
    files = FileSet()
    for number in (1, 2):
        dataset = pydicom.dcmread(io.BytesIO(image(number, StudyTime="101112", StudyID="1", Modality="CR")))
        dataset.SeriesNumber, dataset.InstanceNumber, dataset.AccessionNumber = 1, number, ""
        files.add(dataset)
    files.write(tmp_path / "medium")
    return tmp_path / "medium"


def change(directory: Path, old: list[str], new: list[str]) -> None:
    dataset = pydicom.dcmread(directory)
    for record in dataset.DirectoryRecordSequence:
        if record.get("ReferencedFileID") == old:
            record.ReferencedFileID = new
    dataset.save_as(directory)


def referenced(directory: Path) -> list[list[str]]:
    records = pydicom.dcmread(directory).DirectoryRecordSequence
    return [list(record.ReferencedFileID) for record in records if "ReferencedFileID" in record]


def test_a_folder_gives_its_dicom_files_whatever_their_names(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "IM1").write_bytes(image(1))
    (tmp_path / "notes.txt").write_text("none")
    (tmp_path / ".hidden.dcm").write_bytes(image(2))
    found = FolderObjects(tmp_path)
    assert [(one.original, one.read()) for one in found] == [("a/IM1", image(1))]
    assert found.others == 2


def test_a_link_that_leads_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "outside.dcm").write_bytes(image(1))
    (tmp_path / "set" / "link.dcm").symlink_to(tmp_path / "outside.dcm")
    assert len(FolderObjects(tmp_path / "set")) == 0


def test_a_file_that_cannot_be_read_is_an_object_that_cannot(tmp_path: Path) -> None:
    (tmp_path / "a.dcm").write_bytes(image(1))
    found = FolderObjects(tmp_path)
    (tmp_path / "a.dcm").unlink()
    with pytest.raises(UnreadableError, match="cannot be read"):
        next(iter(found)).read()


def test_a_dicomdir_gives_the_images_that_it_names(medium: Path) -> None:
    (medium / "unnamed.dcm").write_bytes(image(3))
    found = [pydicom.dcmread(io.BytesIO(one.read())).SOPInstanceUID for one in DirectoryObjects(medium / "DICOMDIR")]
    assert sorted(found) == [f"{ROOT}.1.1", f"{ROOT}.1.2"]


def test_names_of_a_copied_medium_may_be_in_lower_case(medium: Path) -> None:
    for path in sorted(medium.rglob("*"), reverse=True):
        if path.name != "DICOMDIR":
            path.rename(path.with_name(path.name.lower()))
    assert all(one.read() for one in DirectoryObjects(medium / "DICOMDIR"))


def test_a_file_that_is_missing_is_an_object_that_cannot_be_read(medium: Path) -> None:
    first = referenced(medium / "DICOMDIR")[0]
    medium.joinpath(*first).unlink()
    with pytest.raises(UnreadableError, match="is not there"):
        [one.read() for one in DirectoryObjects(medium / "DICOMDIR")]


@pytest.mark.parametrize("parts", [["..", "SECRET"], ["", "ETC", "PASSWD"], ["A/../..", "X"]])
def test_a_dicomdir_that_points_outside_is_refused(medium: Path, parts: list[str]) -> None:
    (medium.parent / "SECRET").write_bytes(image(9))
    raw = pydicom.dcmread(medium / "DICOMDIR")
    record = next(one for one in raw.DirectoryRecordSequence if "ReferencedFileID" in one)
    element = record["ReferencedFileID"]
    record._dict[element.tag] = pydicom.dataelem.RawDataElement(
        element.tag, "CS", 0, "\\".join(parts).encode(), 0, False, True
    )
    buffer = io.BytesIO()
    raw.save_as(buffer)
    (medium / "DICOMDIR").write_bytes(buffer.getvalue())
    with pytest.raises(InputError, match="points outside of its folder"):
        DirectoryObjects(medium / "DICOMDIR")


def test_a_dicomdir_that_points_outside_by_a_link_is_refused(medium: Path) -> None:
    first = medium.joinpath(*referenced(medium / "DICOMDIR")[0])
    first.unlink()
    (medium.parent / "SECRET").write_bytes(image(9))
    first.symlink_to(medium.parent / "SECRET")
    with pytest.raises(InputError, match="points outside of its folder"):
        DirectoryObjects(medium / "DICOMDIR")


@pytest.mark.parametrize("content", [b"", b"hello", bytes(128) + b"DICM" + bytes(40), image(1)])
def test_a_file_that_is_no_dicomdir_has_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "DICOMDIR").write_bytes(content)
    with pytest.raises(InputError, match="is no DICOMDIR that can be read") as caught:
        DirectoryObjects(tmp_path / "DICOMDIR")
    assert "\n" not in str(caught.value)
