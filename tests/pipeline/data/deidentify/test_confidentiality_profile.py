"""What the standard lists as identifying leaves a DICOM object (PS3.15, Table E.1-1).

We keep a short list of attributes and remove the rest. The table, as dicom-anonymizer carries it, shows that the list
holds nothing it should not.
"""

import io

import numpy as np
import pydicom
import pytest
from dicomanonymizer.dicom_anonymization_databases.dicomfields_2026c import ALL_TAGS
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.tag import BaseTag, Tag
from pydicom.uid import ExplicitVRLittleEndian

from pipeline.data.deidentify import deidentify

NAME = "Doe^Jane"
GROUPS_OF_THE_FILE = {0x0000, 0x0002}  # commands and file meta information are no part of a data set
REPLACED = Tag("SOPInstanceUID")
LISTED = sorted(
    {
        Tag(group, element or 0x0010)  # element 0 stands for a whole group
        for group, element, *_ in ALL_TAGS
        if group not in GROUPS_OF_THE_FILE
    }
    - {REPLACED}
)


def radiograph(tags: list[BaseTag]) -> bytes:
    """A radiograph in which each of `tags` names the patient."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    values = {
        "SOPClassUID": "1.2.840.10008.5.1.4.1.1.1",
        "SOPInstanceUID": "1.2.3",
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": 2,
        "Columns": 3,
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": 0,
        "PixelData": np.arange(6, dtype="<u2").tobytes(),
    }
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    for tag in tags:
        dataset.add_new(tag, "LO", NAME)
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def source() -> bytes:
    return radiograph(LISTED)


@pytest.fixture(scope="module")
def result(source: bytes) -> bytes:
    return deidentify(source, ".dcm")


def test_the_object_holds_every_listed_attribute(source: bytes) -> None:
    assert len(LISTED) > 600
    assert source.count(NAME.encode()) >= len(LISTED)


def test_every_listed_attribute_is_removed(result: bytes) -> None:
    assert not set(LISTED) & set(pydicom.dcmread(io.BytesIO(result)).keys())


def test_no_listed_attribute_leaves_its_value(result: bytes) -> None:
    assert NAME.encode() not in result


def test_the_identifier_of_the_object_is_replaced(result: bytes) -> None:
    assert pydicom.dcmread(io.BytesIO(result))[REPLACED].value != "1.2.3"
