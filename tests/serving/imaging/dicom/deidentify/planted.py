"""A radiograph in which every element that DICOM knows names the patient, in its own value representation."""

import io
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
import pydicom
from pydicom.datadict import DicomDictionary, RepeatersDictionary, keyword_for_tag
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.tag import BaseTag, Tag
from pydicom.uid import UID, ExplicitVRLittleEndian

from serving.imaging.dicom.deidentify.pseudonyms import Key

KEY = Key(b"a secret of the tests, of 32 characters")
NAME = "DOEJANE4711"
DATE = "19470815"
NUMBER = "1947081519"
ROOT = "1.2.4711.4711.47114711"
MARKS = tuple(mark.encode() for mark in (NAME, DATE, NUMBER, ROOT))
"""What no byte of an export may hold."""
CR, DX = "1.2.840.10008.5.1.4.1.1.1", "1.2.840.10008.5.1.4.1.1.1.1"

_VALUES: dict[str, Any] = {
    **dict.fromkeys(("AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"), NAME),
    "AS": "077Y",
    "DA": DATE,
    "DT": f"{DATE}101112",
    "TM": "101112",
    "DS": NUMBER,
    "IS": NUMBER,
    "SV": int(NUMBER),
    "UV": int(NUMBER),
    "UI": f"{ROOT}.1",
    "AT": Tag(0x4F44, 0x4A45),
    "FL": struct.unpack("<f", b"DOEJ")[0],
    "FD": struct.unpack("<d", b"DOEJANE4")[0],
    "SL": 0x4F44,
    "SS": 0x4F44,
    "UL": 0x4A454F44,
    "US": 0x4F44,
    **dict.fromkeys(("OB", "OW", "OD", "OF", "OL", "OV", "UN"), NAME.encode() + b"       "),
}
SHOWN = {
    "SpecificCharacterSet": "ISO_IR 100",
    "SamplesPerPixel": 1,
    "PhotometricInterpretation": "MONOCHROME2",
    "Rows": 8,
    "Columns": 16,
    "BitsAllocated": 16,
    "BitsStored": 12,
    "HighBit": 11,
    "PixelRepresentation": 0,
    "WindowCenter": 2000,
    "WindowWidth": 4000,
    "VOILUTFunction": "LINEAR",
    "RescaleSlope": 1,
    "RescaleIntercept": 0,
    "BurnedInAnnotation": "NO",
}
"""What an image needs to be seen; nothing can be planted here."""
PIXELS = (np.arange(128, dtype="<u2") * 31).tobytes()
_SET_APART = {Tag(keyword) for keyword in (*SHOWN, "SOPClassUID", "NumberOfFrames", "PlanarConfiguration")}
_SET_APART |= {Tag(keyword) for keyword in ("PixelPaddingValue", "PixelPaddingRangeLimit", "PixelAspectRatio")}
_NO_DATA_SET = {0x0000, 0x0002, 0x7FE0, 0xFFFE}


def tags() -> Iterator[BaseTag]:
    """Every element of the data dictionary, one of each repeating group, and private ones."""
    for number in DicomDictionary:
        tag = Tag(number)
        if tag.group not in _NO_DATA_SET and tag not in _SET_APART and tag.element:
            yield tag
    for mask in RepeatersDictionary:
        for digits in ("02", "1E"):
            tag = Tag(int(mask.replace("xx", digits, 1).replace("x", "1"), 16))
            if tag.group not in _NO_DATA_SET and not tag.is_private and tag not in _SET_APART:
                yield tag


def planted(tag: BaseTag, depth: int = 0) -> DataElement:
    """The element with a value that names the patient; a sequence holds others, down to the third level."""
    vr = pydicom.datadict.dictionary_VR(tag).split(" or ")[0] if keyword_for_tag(tag) else "LO"
    if vr == "SQ":
        item = Dataset()
        for inner in ("PatientName", "PatientBirthDate", "ReferencedSOPInstanceUID", "CodeMeaning", "TextValue"):
            item.add(planted(Tag(inner)))
        item.add_new(0x00091001, "LO", NAME)
        if depth < 2:
            item.add(planted(Tag("ContentSequence"), depth + 1))
        return DataElement(tag, "SQ", [item])
    return DataElement(tag, vr if vr in _VALUES else "UN", _VALUES.get(vr, NAME.encode()))


def radiograph(*elements: DataElement, syntax: str = ExplicitVRLittleEndian, **values: Any) -> bytes:
    """A CR object of 16 x 8 pixels with further elements; its own identity is planted, too."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = UID(syntax)
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = UID(CR), UID(f"{ROOT}.1")
    meta.SourceApplicationEntityTitle = NAME
    meta.PrivateInformationCreatorUID, meta.PrivateInformation = UID(ROOT), NAME.encode() + b" "
    made = FileDataset("", {}, file_meta=meta, preamble=NAME.encode().ljust(128, b"\0"))
    for element in elements:
        made.add(element)
    given = {
        **SHOWN, "SOPClassUID": CR, "SOPInstanceUID": f"{ROOT}.1", "SeriesInstanceUID": f"{ROOT}.2",
        "StudyInstanceUID": f"{ROOT}.3", "PatientID": NAME, "PatientName": NAME, "StudyDate": DATE, **values,
    }  # fmt: skip
    for keyword, value in given.items():
        if value is None:
            made.pop(keyword, None)
        else:
            setattr(made, keyword, value)
    if "PixelData" not in given:
        made.add_new("PixelData", "OW", PIXELS)
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, made, enforce_file_format=True)
    return buffer.getvalue()


def marks_in(content: bytes) -> list[bytes]:
    """The planted values that bytes hold, as they are or as words of two bytes in the other order."""
    swapped = np.frombuffer(content[: len(content) & ~1], "<u2").byteswap().tobytes()
    return [mark for mark in MARKS if mark in content or mark in swapped]
