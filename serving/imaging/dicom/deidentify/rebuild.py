"""DICOM without what identifies a person: rebuilt from a list of elements that say how pixels look."""

import hashlib
import io
import struct
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.uid import PYDICOM_IMPLEMENTATION_UID, UID, generate_uid

from serving.errors import ImageError
from serving.imaging import dicom

_DICOM_KEPT = (
    "SOPClassUID",
    "Modality",
    "PresentationIntentType",
    "BodyPartExamined",
    "ViewPosition",
    "Laterality",
    "ImageLaterality",
    "ImagerPixelSpacing",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "PlanarConfiguration",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "PixelSpacing",
    "PixelAspectRatio",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "SmallestImagePixelValue",
    "LargestImagePixelValue",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "WindowCenter",
    "WindowWidth",
    "VOILUTFunction",
    "RescaleIntercept",
    "RescaleSlope",
    "RescaleType",
    "RedPaletteColorLookupTableDescriptor",
    "GreenPaletteColorLookupTableDescriptor",
    "BluePaletteColorLookupTableDescriptor",
    "RedPaletteColorLookupTableData",
    "GreenPaletteColorLookupTableData",
    "BluePaletteColorLookupTableData",
    "LossyImageCompression",
    "LossyImageCompressionRatio",
    "LossyImageCompressionMethod",
    "PresentationLUTShape",
)
_DICOM_TABLES = ("ModalityLUTSequence", "VOILUTSequence")
_DICOM_TABLE_KEPT = ("LUTDescriptor", "ModalityLUTType", "LUTData")


_BROKEN = (
    InvalidDicomError,
    BytesLengthException,
    OSError,
    EOFError,
    AttributeError,
    KeyError,
    NotImplementedError,
    TypeError,
    ValueError,
    struct.error,
)
"""What pydicom is known to raise for files that are cut short or were never DICOM."""
_ITEM = b"\xfe\xff\x00\xe0"
_MAX_PIXEL_BYTES = 512 << 20
_HEAD = 2048
"""Bytes of a file that tell whether it is DICOM."""


class DicomRefusedError(Exception):
    """Why a file cannot be de-identified, as words that follow its name."""


def rebuild_dicom(content: bytes) -> bytes:
    """Build a new data set from the elements that say what the pixels are and how they are shown.

    Raises DicomRefusedError for a broken file, one without pixels, and one that declares text burned into them.
    """
    try:
        source, element = dicom.read_whole(content, _MAX_PIXEL_BYTES)
        if element is None:
            raise DicomRefusedError("is a DICOM file without pixels")
        if str(source.get("BurnedInAnnotation", "")).strip().upper() == "YES":
            raise DicomRefusedError(
                "is a DICOM file that declares text burned into its pixels (Burned In Annotation YES)"
            )
        target = _rebuilt(source, element)
        written = _written(target)
        readable = pydicom.dcmread(io.BytesIO(written)).PixelData == target.PixelData
    except ImageError as error:
        raise DicomRefusedError(f"is a broken DICOM file ({error.message})") from None
    except _BROKEN as error:
        raise DicomRefusedError(f"is a broken DICOM file ({type(error).__name__})") from None
    if not readable:
        raise DicomRefusedError("is a broken DICOM file (its pixels cannot be written again)")
    return written


def _rebuilt(source: Dataset, element: dicom.PixelElement) -> FileDataset:
    meta = FileMetaDataset()
    syntax = dicom.syntax_of(source, element)
    pixels = _even_fragments(element.value) if syntax.is_encapsulated else _whole_rows(source, element)
    meta.TransferSyntaxUID = syntax
    meta.MediaStorageSOPClassUID = source.get("SOPClassUID", UID("1.2.840.10008.5.1.4.1.1.1"))
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[hashlib.sha256(pixels).hexdigest()])
    meta.ImplementationClassUID = PYDICOM_IMPLEMENTATION_UID
    meta.ImplementationVersionName = "FRACTURE"  # pydicom's own would change the bytes with its version
    target = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    _copy(source, target, _DICOM_KEPT)
    for keyword in _DICOM_TABLES:
        if keyword in source:
            items = []
            for item in source[keyword].value:
                items.append(Dataset())
                _copy(item, items[-1], _DICOM_TABLE_KEPT)
            setattr(target, keyword, items)
    target.SOPClassUID = meta.MediaStorageSOPClassUID
    target.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    target.add_new("PixelData", "OB" if syntax.is_encapsulated else element.vr or "OW", pixels)
    target["PixelData"].is_undefined_length = syntax.is_encapsulated
    return target


def _whole_rows(source: Dataset, element: dicom.PixelElement) -> bytes:
    """Native pixels; without a row that the end of the file cuts in two, which would look like another width."""
    if not element.cut_short:
        return element.value
    row = int(source.Columns) * int(source.get("SamplesPerPixel") or 1) * int(source.BitsAllocated) // 8
    return element.value[: len(element.value) // row * row]


def _even_fragments(pixels: bytes) -> bytes:
    """Encapsulated pixel data whose fragments all have even length, as the standard asks.

    Some devices write an odd last one; pydicom would add its padding outside that fragment, and the file could
    not be read any more. Unchanged when nothing is odd; offsets that padding moves are left out. What follows the
    last fragment is left out, and a fragment that is cut short ends where the file does.
    """
    fragments = []
    at = 0
    while at + 8 <= len(pixels) and pixels.startswith(_ITEM, at):
        length = int.from_bytes(pixels[at + 4 : at + 8], "little")
        fragments.append(pixels[at + 8 : at + 8 + length])
        at += 8 + length
    odd = [len(fragment) % 2 for fragment in fragments]
    if at <= len(pixels) and not any(odd):
        return pixels[:at]
    if any(odd[:-1]):
        fragments[0] = b""
    return b"".join(
        _ITEM + struct.pack("<I", len(fragment) + len(fragment) % 2) + fragment + b"\0" * (len(fragment) % 2)
        for fragment in fragments
    )


def _copy(source: Dataset, target: Dataset, keywords: tuple[str, ...]) -> None:
    for keyword in keywords:
        if keyword in source:
            target.add(source[keyword])


def _written(dataset: FileDataset) -> bytes:
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def dicom_identity(path: Path) -> dict[str, str]:
    """Patient and study of a DICOM file as it names them, to be replaced by pseudonyms; empty where unknown."""
    tags = {"patient_id": "PatientID", "study_id": "StudyInstanceUID"}
    with path.open("rb") as file:
        if not dicom.is_dicom(file.read(_HEAD)):
            return dict.fromkeys(tags, "")
    try:
        header = dicom.read(path.read_bytes())
        return {column: str(header.get(keyword) or "").strip() for column, keyword in tags.items()}
    except (ImageError, *_BROKEN):
        return dict.fromkeys(tags, "")
