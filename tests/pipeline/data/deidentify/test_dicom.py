"""DICOM without what identifies a person."""

import io
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEG2000Lossless

from pipeline.data.deidentify import deidentify, dicom_identity
from pipeline.errors import InputError
from serving.imaging import decode
from tests.pipeline.data.deidentify.builders import NAME

SAMPLES = os.environ.get("DICOM_SAMPLES", "")


real_data = pytest.mark.skipif(not SAMPLES, reason="DICOM_SAMPLES does not say where the DICOM files are")


def radiograph(syntax: str = ExplicitVRLittleEndian, **elements: Any) -> bytes:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = UID(syntax)
    meta.MediaStorageSOPClassUID = UID("1.2.840.10008.5.1.4.1.1.1")
    meta.MediaStorageSOPInstanceUID = UID("1.2.3")
    dataset = FileDataset("", {}, file_meta=meta, preamble=NAME.ljust(128, b"\0"))
    table = Dataset()
    table.LUTDescriptor = [2, 0, 16]
    table.LUTExplanation = NAME.decode()
    table.LUTData = struct.pack("<2H", 0, 1)
    values = {
        "SOPClassUID": meta.MediaStorageSOPClassUID,
        "SOPInstanceUID": "1.2.3",
        "StudyInstanceUID": "1.2",
        "PatientName": NAME.decode(),
        "PatientID": "4711",
        "Modality": "DX",
        "PhotometricInterpretation": "MONOCHROME1",
        "SamplesPerPixel": 1,
        "Rows": 2,
        "Columns": 3,
        "BitsAllocated": 16,
        "BitsStored": 12,
        "HighBit": 11,
        "PixelRepresentation": 0,
        "WindowCenter": 2000,
        "WindowWidth": 4000,
        "WindowCenterWidthExplanation": NAME.decode(),
        "RescaleSlope": 2,
        "RescaleIntercept": -5,
        "VOILUTSequence": [table],
        "PixelData": np.arange(6, dtype="<u2").tobytes(),
        **elements,
    }
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    dataset["PixelData"].VR = "OW"
    private = dataset.private_block(0x0011, "SOMEBODY", create=True)
    private.add_new(1, "LO", NAME.decode())
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def encapsulated(*fragments: bytes) -> bytes:
    items = (b"", *fragments)
    return b"".join(b"\xfe\xff\x00\xe0" + struct.pack("<I", len(item)) + item for item in items)


def cut_short() -> dict[str, bytes]:
    """Objects that lack something, each of which the service reads."""
    whole = radiograph()
    start = whole.index(b"\2\0\x10\0UI")
    length = int.from_bytes(whole[start + 6 : start + 8], "little")
    total = int.from_bytes(whole[140:144], "little") - 8 - length
    pixels = whole.index(b"\xe0\x7f\x10\0OW")
    coloured = radiograph(Rows=1, Columns=2, PhotometricInterpretation="RGB", SamplesPerPixel=3, PlanarConfiguration=0,
                          BitsAllocated=8, BitsStored=8, HighBit=7, PixelData=bytes([9, 9, 9, 50, 50, 50]))  # fmt: skip
    return {
        "bare": whole[144 + int.from_bytes(whole[140:144], "little") :],
        "without preamble": whole[132:],
        "without transfer syntax": whole[:140]
        + struct.pack("<L", total)
        + whole[144:start]
        + whole[start + 8 + length :],
        "cut in a row": whole[:pixels] + radiograph(Rows=3, PixelData=bytes(range(18)))[pixels:-3],
        "grey as colour": coloured,
    }


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_a_dicom_file_loses_every_name(syntax: str) -> None:
    content = deidentify(radiograph(syntax), ".dcm")
    assert NAME not in content
    assert b"4711" not in content
    assert b"SOMEBODY" not in content


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_a_dicom_file_keeps_its_pixels_and_transfer_syntax(syntax: str) -> None:
    result = pydicom.dcmread(io.BytesIO(deidentify(radiograph(syntax), ".dcm")))
    assert result.file_meta.TransferSyntaxUID == syntax
    assert result.PixelData == np.arange(6, dtype="<u2").tobytes()


def test_a_dicom_file_keeps_what_says_how_it_is_shown() -> None:
    result = pydicom.dcmread(io.BytesIO(deidentify(radiograph(), ".dcm")))
    assert (result.PhotometricInterpretation, result.WindowCenter, result.RescaleIntercept) == ("MONOCHROME1", 2000, -5)
    assert result.VOILUTSequence[0].LUTData == struct.pack("<2H", 0, 1)


def test_a_dicom_file_gets_an_identifier_that_depends_on_its_pixels_only() -> None:
    first, second = (deidentify(radiograph(PatientID=number), ".dcm") for number in ("1", "2"))
    assert first == second
    assert pydicom.dcmread(io.BytesIO(first)).SOPInstanceUID != "1.2.3"


def test_a_dicom_file_with_burned_in_text_is_refused() -> None:
    with pytest.raises(InputError, match="text burned into its pixels"):
        deidentify(radiograph(BurnedInAnnotation="YES"), ".dcm")


def test_an_odd_fragment_of_compressed_pixels_is_padded_where_it_ends() -> None:
    source = pydicom.dcmread(io.BytesIO(radiograph()))
    source.file_meta.TransferSyntaxUID = JPEG2000Lossless
    source["PixelData"].value = encapsulated(b"abcd")
    source["PixelData"].is_undefined_length = True
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, source)
    odd = buffer.getvalue().replace(encapsulated(b"abcd"), encapsulated(b"abc"))
    assert pydicom.dcmread(io.BytesIO(deidentify(odd, ".dcm"))).PixelData == encapsulated(b"abc\0")


@pytest.mark.parametrize("content", [bytes(128) + b"DICM", bytes(128) + b"DICM\x02\0\0\0UL\x04", radiograph()[:-600]])
def test_a_broken_dicom_file_is_refused(content: bytes) -> None:
    with pytest.raises(InputError, match="DICOM file"):
        deidentify(content, ".dcm")


def test_text_that_calls_itself_dicom_is_refused() -> None:
    with pytest.raises(InputError, match="DICOM file"):
        deidentify(b"this is no image at all", ".dcm")


def test_patient_and_study_of_a_dicom_file_are_read_for_grouping(tmp_path: Path) -> None:
    (tmp_path / "a.dcm").write_bytes(radiograph())
    assert dicom_identity(tmp_path / "a.dcm") == {"patient_id": "4711", "study_id": "1.2"}


@real_data
@pytest.mark.parametrize("name", ["hand_cr_monochrome_jpeg2000.dcm", "tibia_cr_monochrome1_jpeg2000.dcm"])
def test_a_real_compressed_radiograph_decodes_to_the_same_pixels(name: str) -> None:
    source = pydicom.dcmread(Path(SAMPLES) / name)
    result = pydicom.dcmread(io.BytesIO(deidentify((Path(SAMPLES) / name).read_bytes(), ".dcm")))
    assert np.array_equal(result.pixel_array, source.pixel_array)
    assert not {"PatientName", "StudyDate", "InstitutionName"} & set(result.dir())


@pytest.mark.parametrize("kind", cut_short())
def test_an_object_that_lacks_something_shows_the_same_afterwards(kind: str) -> None:
    content = cut_short()[kind]
    np.testing.assert_array_equal(decode.decode(deidentify(content, "")).pixels, decode.decode(content).pixels)


@pytest.mark.parametrize("kind", cut_short())
def test_an_object_that_lacks_something_loses_every_name(kind: str) -> None:
    assert NAME not in deidentify(cut_short()[kind], "")
