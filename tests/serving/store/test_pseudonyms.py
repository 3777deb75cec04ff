"""Pseudonyms of patient and study."""

import io

import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ComputedRadiographyImageStorage, ExplicitVRLittleEndian

from serving.store.pseudonyms import Pseudonyms, pseudonyms_of

KEY, OTHER = "k" * 32, "o" * 32


def _dicom(**elements: str) -> bytes:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = ComputedRadiographyImageStorage
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = UID("1.2.3")
    for name, value in elements.items():
        setattr(dataset, name, value)
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def test_the_same_patient_of_a_site_has_one_pseudonym() -> None:
    first = pseudonyms_of(_dicom(PatientID="4711", StudyInstanceUID="1.2.3.4"), "north", KEY)
    second = pseudonyms_of(_dicom(PatientID="4711 ", StudyInstanceUID="1.2.3.5"), "north", KEY)
    assert first.patient == second.patient
    assert first.study != second.study


@pytest.mark.parametrize(
    ("content", "site", "key"),
    [
        ({"PatientID": "4711"}, "south", KEY),
        ({"PatientID": "4711"}, "north", OTHER),
        ({"PatientID": "4711", "IssuerOfPatientID": "elsewhere"}, "north", KEY),
        ({"PatientID": "4712"}, "north", KEY),
    ],
)
def test_another_site_key_issuer_or_patient_has_another(content: dict[str, str], site: str, key: str) -> None:
    known = pseudonyms_of(_dicom(PatientID="4711"), "north", KEY).patient
    assert pseudonyms_of(_dicom(**content), site, key).patient not in {known, None}


def test_a_pseudonym_holds_nothing_of_the_patient() -> None:
    found = pseudonyms_of(_dicom(PatientID="4711", PatientName="Doe^Jane"), "north", KEY)
    assert found.patient is not None
    assert len(found.patient) == 32
    assert set(found.patient) <= set("0123456789abcdef")


@pytest.mark.parametrize("content", [b"\x89PNG\r\n", b"", _dicom()[:140], _dicom()])
def test_a_file_that_does_not_say_has_none(content: bytes) -> None:
    assert pseudonyms_of(content, "north", KEY) == Pseudonyms()


def test_without_a_key_there_are_none() -> None:
    assert pseudonyms_of(_dicom(PatientID="4711"), "north", "") == Pseudonyms()
