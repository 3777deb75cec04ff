"""What results take over from the image that they speak of: its patient, study and geometry, in clean values."""

import hashlib
import json
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import pydicom
from pydicom.datadict import dictionary_VR
from pydicom.valuerep import DA, TM, PersonName

from serving.errors import ImageError
from serving.imaging import decode, dicom
from serving.imaging.canvas import Pixels
from serving.imaging.dicom.dataset import identifier
from serving.imaging.faults import faults

UTF8 = "ISO_IR 192"
_PATIENT_AND_STUDY = (
    "PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex", "OtherPatientIDsSequence",
    "PatientAge", "PatientSize", "PatientWeight",
    "StudyInstanceUID", "StudyDate", "StudyTime", "StudyID", "AccessionNumber", "IssuerOfAccessionNumberSequence",
    "ReferringPhysicianName", "StudyDescription", "TimezoneOffsetFromUTC",
)  # fmt: skip
"""What a result says of patient and study; a change of any of it makes a new version of the results."""
_IMAGE = (
    "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "Modality", "Laterality", "ImageLaterality",
    "BodyPartExamined", "AnatomicRegionSequence", "ViewPosition", "PatientOrientation",
    "Rows", "Columns", "SamplesPerPixel", "NumberOfFrames", "PhotometricInterpretation", "BitsAllocated", "BitsStored",
    "HighBit", "PixelRepresentation", "ImagerPixelSpacing", "PixelSpacing", "PixelAspectRatio",
    "RescaleSlope", "RescaleIntercept", "RescaleType", "ModalityLUTSequence",
    "WindowCenter", "WindowWidth", "WindowCenterWidthExplanation", "VOILUTFunction", "VOILUTSequence",
)  # fmt: skip
_EVEN_IF_EMPTY = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID",
    "AccessionNumber", "ReferringPhysicianName",
)  # fmt: skip
"""Type 2 of every object that is made here; sources lack them often enough."""
_SEXES = ("M", "F", "O")


@dataclass(frozen=True)
class Source:
    """An image as results see it: `header` in UTF-8 with the attributes above, `pixels` as the model read them."""

    header: pydicom.Dataset
    pixels: Pixels
    pixel_digest: str

    @property
    def demographics_digest(self) -> str:
        """Digest of all that results repeat of patient and study."""
        told = {name: str(self.header.get(name, "")) for name in _PATIENT_AND_STUDY}
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def read_header(content: bytes) -> pydicom.Dataset:
    """The attributes that results take over, with text in Unicode; values that break their VR are left out.

    Raises ImageError or whatever pydicom does for bytes that are no data set.
    """
    given = dicom.read(content)
    header = pydicom.Dataset()
    for keyword in (*_PATIENT_AND_STUDY, *_IMAGE):
        value = _value(given, keyword)
        if value is not None:
            setattr(header, keyword, value)
    for keyword in _EVEN_IF_EMPTY:
        if keyword not in header:
            setattr(header, keyword, "")
    header.SpecificCharacterSet = UTF8
    return header


def read_source(content: bytes) -> Source:
    """Header and pixels of an object; ImageError where it is not decoded."""
    pixels = decode.decode(content).pixels
    return Source(read_header(content), pixels, pixel_digest(pixels))


def laterality(header: pydicom.Dataset) -> str:
    """R or L as the source says it in either of its attributes; empty where it does not."""
    found = str(header.get("ImageLaterality") or header.get("Laterality") or "")
    return found if found in {"R", "L"} else ""


def pixel_digest(pixels: Pixels) -> str:
    """Hex sha256 of what the model sees of an image, whatever it was compressed with."""
    return hashlib.sha256(f"{pixels.shape}".encode() + pixels.tobytes()).hexdigest()


def _value(given: pydicom.Dataset, keyword: str) -> Any:
    """A value that may stand in a new object, None where there is none."""
    with suppress(ImageError), faults("the value is broken"):
        value = given.get(keyword)
        return None if value is None or value == "" else _clean(keyword, value)
    return None


def _clean(keyword: str, value: Any) -> Any:
    """A copy of a value, None for one that its VR does not allow; or what pydicom raises for it."""
    vr = dictionary_VR(keyword)
    if vr == "PN":
        return PersonName(str(value))
    if vr == "UI":
        return identifier(value) or None
    if vr == "DA":
        DA(str(value))
    if vr == "TM":
        TM(str(value))
    if keyword == "PatientSex" and str(value) not in _SEXES:
        return None
    return deepcopy(value)
