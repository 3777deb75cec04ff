"""The attributes of a de-identified radiograph: PS3.15, annex E, as a list of what stays instead of what goes.

Whatever is not named here is left out: private attributes, overlays (60xx), curves (50xx), graphics, documents,
structured content, signatures, padding, and attributes that do not exist yet. What stays is not copied. A term is one
of a closed list, a number is written anew, a code gets our own meaning, so that no free text passes.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRBigEndian
from pydicom.valuerep import DSfloat

from serving.anatomy import MEANINGS
from serving.imaging.dicom.dataset import identifier, value_of
from serving.imaging.dicom.deidentify.pseudonyms import Key

METHOD = {
    "113100": "Basic Application Confidentiality Profile",
    "113107": "Retain Longitudinal Temporal Information Modified Dates Option",
}
"""The profile and its options (PS3.16, context group 7050), as De-identification Method Code Sequence names them."""
RADIOGRAPHS: Mapping[str, str] = {
    "1.2.840.10008.5.1.4.1.1.1": "CR",
    "1.2.840.10008.5.1.4.1.1.1.1": "DX",
}
"""SOP classes that are exported, and their modality; all others hold text, graphics, or images made of images."""

_TERMS = {
    # PS3.16, annex L, without separators, and what devices write for bones and joints
    "BodyPartExamined": (
        "ABDOMEN ACJOINT ACROMION ANKLE ARM CALCANEUS CARPUS CHEST CLAVICLE COCCYX CSPINE ELBOW EXTREMITY FEMUR FIBULA "
        "FINGER FOOT FOREARM HAND HEAD HEEL HIP HUMERUS JAW KNEE LEG LOWERLEG LOWERLIMB LSPINE MANDIBLE NECK PATELLA "
        "PELVIS RADIUS RADIUSULNA RIB SCAPULA SCJOINT SHOULDER SKULL SPINE SSPINE STERNUM THIGH THORAX THUMB TIBIA "
        "TIBIAFIBULA TOE TSPINE ULNA UPPERARM UPPERLEG UPPERLIMB WHOLEBODY WRIST ZYGOMA"
    ),
    "ViewPosition": (
        "AP PA LL RL RLD LLD RLO LLO LAO RAO LPO RPO LAT LATERAL OBL OBLIQUE AXIAL TANGENTIAL SKYLINE TUNNEL"
    ),
    "LossyImageCompressionMethod": "ISO_10918_1 ISO_14495_1 ISO_15444_1",
}
"""Terms that pass, by keyword."""
_COLOURS = ("MONOCHROME1", "MONOCHROME2", "RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT", "PALETTE COLOR")
_DIRECTION = re.compile(r"[APLRHF]{1,3}")
_LARGEST = 10_000_000

Clean = Callable[[Any], Any]
"""An element's value to the one that is written; None where it is left out."""


def _term(*allowed: str) -> Clean:
    return lambda value: found if (found := _word(value)) in allowed else None


def _word(value: Any) -> str:
    return str(value).strip(" \0").upper()


def _whole(low: int, high: int) -> Clean:
    def clean(value: Any) -> int | None:
        number = int(value)
        return number if low <= number <= high else None

    return clean


def _numbers(count: int, largest: float = _LARGEST) -> Clean:
    def clean(value: Any) -> list[float] | None:
        found = [float(str(one).strip(" \0").replace(",", ".")) for one in _several(value)]
        fits = 0 < len(found) <= count and all(abs(number) <= largest for number in found)
        return [DSfloat(number, auto_format=True) for number in found] if fits else None

    return clean


def _several(value: Any) -> list[Any]:
    return list(value) if isinstance(value, MultiValue | list | tuple) else [value]


def _body_part(value: Any) -> str | None:
    found = re.sub(r"[ _-]", "", _word(value))
    return found if found in _TERMS["BodyPartExamined"].split() else None


def _orientation(value: Any) -> list[str] | None:
    found = [_word(one) for one in _several(value)]
    return found if len(found) == 2 and all(_DIRECTION.fullmatch(one) for one in found) else None


def _image_type(value: Any) -> list[str] | None:
    found = [_word(one) for one in _several(value)[:2]]
    fits = len(found) == 2 and found[0] in {"ORIGINAL", "DERIVED"} and found[1] in {"PRIMARY", "SECONDARY"}
    return found if fits else None


def _descriptor(value: Any) -> list[int] | None:
    found = [int(one) for one in _several(value)]
    return found if len(found) == 3 and all(-(1 << 15) <= one < 1 << 16 for one in found) else None


_BYTE = _whole(0, 255)
_CELL = _whole(-(1 << 15), (1 << 16) - 1)
_SIDE = _term("L", "R", "U", "B")
_KEPT: Mapping[str, Clean] = {
    "ImageType": _image_type,
    "PresentationIntentType": _term("FOR PRESENTATION"),
    "BodyPartExamined": _body_part,
    "ViewPosition": _term(*_TERMS["ViewPosition"].split()),
    "ImagerPixelSpacing": _numbers(2, 100),
    "DetectorType": _term("DIRECT", "SCINTILLATOR", "STORAGE", "FILM"),
    "SeriesNumber": _whole(0, 9999),
    "InstanceNumber": _whole(0, 9999),
    "PatientOrientation": _orientation,
    "Laterality": _SIDE,
    "ImageLaterality": _SIDE,
    "SamplesPerPixel": _whole(1, 3),
    "PhotometricInterpretation": _term(*_COLOURS),
    "PlanarConfiguration": _whole(0, 1),
    "Rows": _whole(1, (1 << 16) - 1),
    "Columns": _whole(1, (1 << 16) - 1),
    "PixelSpacing": _numbers(2, 100),
    "PixelAspectRatio": lambda value: [int(one) for one in _numbers(2)(value) or []] or None,
    "BitsAllocated": _BYTE,
    "BitsStored": _BYTE,
    "HighBit": _BYTE,
    "PixelRepresentation": _whole(0, 1),
    "PixelPaddingValue": _CELL,
    "PixelPaddingRangeLimit": _CELL,
    "PixelIntensityRelationship": _term("LIN", "LOG"),
    "PixelIntensityRelationshipSign": lambda value: int(value) if int(value) in {-1, 1} else None,
    "WindowCenter": _numbers(16),
    "WindowWidth": _numbers(16),
    "RescaleIntercept": _numbers(1),
    "RescaleSlope": _numbers(1),
    "RescaleType": _term("US", "OD", "HU"),
    "VOILUTFunction": _term("LINEAR", "LINEAR_EXACT", "SIGMOID"),
    "LossyImageCompression": _term("00", "01"),
    "LossyImageCompressionRatio": _numbers(4, 10_000),
    "LossyImageCompressionMethod": _term(*_TERMS["LossyImageCompressionMethod"].split()),
    "PresentationLUTShape": _term("IDENTITY", "INVERSE"),
}
_PALETTES = tuple(f"{colour}PaletteColorLookupTable" for colour in ("Red", "Green", "Blue"))
_DATES = ("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate")
_EMPTY = (
    "StudyTime",
    "AccessionNumber",
    "Manufacturer",
    "ReferringPhysicianName",
    "PatientBirthDate",
    "PatientSex",
    "StudyID",
    "SeriesNumber",
    "InstanceNumber",
    "PatientOrientation",
)
"""Type 2 of every image (PS3.3, A.2 and A.26): there, and empty where nothing better is known."""
_EMPTY_OF: Mapping[str, tuple[str, ...]] = {
    "CR": ("BodyPartExamined", "ViewPosition", "KVP"),
    "DX": ("AcquisitionContextSequence", "DetectorType", "PositionerType"),
}
_CODES = {
    meaning.upper().replace(" ", ""): code for code, meaning in reversed(list(MEANINGS.items())) if code.isdigit()
}
"""Body part -> its SNOMED CT code, where both have one name."""
_MOST_ITEMS = 8


def rewritten(source: Dataset, key: Key, patient: str) -> Dataset:
    """The attributes of the de-identified object, without its pixel data; `source` is not changed.

    `patient` is the original that stands for the patient under the key.
    """
    target = Dataset()
    modality = RADIOGRAPHS[str(source.SOPClassUID)]
    target.SOPClassUID, target.Modality = source.SOPClassUID, modality
    for keyword in (*_EMPTY, *_EMPTY_OF[modality]):
        setattr(target, keyword, None)
    _say_whose(source, target, key, patient)
    for keyword, clean in _KEPT.items():
        if (kept := _cleaned(source, keyword, clean)) is not None:
            setattr(target, keyword, kept)
    _say_where(source, target)
    _add_tables(source, target)
    _say_how(target)
    return target


def _say_where(source: Dataset, target: Dataset) -> None:
    """Region and side; a DX object codes its region, and has the side of the image alone (PS3.3, C.8.11.2)."""
    regions = list(_regions(source))
    if target.Modality == "DX":
        side = target.get("Laterality")
        target.ImageLaterality = target.get("ImageLaterality") or side or "U"  # U: unpaired, or not known
        target.pop("Laterality", None)
        body_part = target.get("BodyPartExamined") or ""
        if not regions and body_part in _CODES:
            regions = [_region(_CODES[body_part])]
        if not body_part:
            target.AnatomicRegionSequence = []
    if regions:
        target.AnatomicRegionSequence = regions


def _say_whose(source: Dataset, target: Dataset, key: Key, patient: str) -> None:
    """UIDs, patient and dates, all of them pseudonyms."""
    for keyword in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"):
        setattr(target, keyword, key.uid(identifier(value_of(source, keyword))))
    target.PatientName = target.PatientID = key.patient(patient)
    for keyword in _DATES:
        moved = key.shifted(str(value_of(source, keyword) or ""), patient)
        if moved or keyword == "StudyDate":  # of type 2
            setattr(target, keyword, moved)


def _say_how(target: Dataset) -> None:
    """What was done, in the attributes that the profile asks for (PS3.15, E.1.1 and E.3.6)."""
    target.PatientIdentityRemoved = "YES"
    target.DeidentificationMethod = "PS3.15 Basic Profile; dates shifted; attributes on a list kept"
    target.DeidentificationMethodCodeSequence = [_code(value, "DCM", meaning) for value, meaning in METHOD.items()]
    target.LongitudinalTemporalInformationModified = "MODIFIED"
    target.BurnedInAnnotation = "NO"


def _cleaned(source: Dataset, keyword: str, clean: Clean) -> Any:
    value = value_of(source, keyword)
    if value is None or value == "":
        return None
    try:
        return clean(value)
    except (ValueError, TypeError, OverflowError):
        return None


def _items(source: Dataset, keyword: str) -> list[Dataset]:
    value = value_of(source, keyword)
    return [item for item in value[:_MOST_ITEMS] if isinstance(item, Dataset)] if isinstance(value, Sequence) else []


def _regions(source: Dataset) -> Iterator[Dataset]:
    """Codes of anatomic regions that are known, with our words for them: their own may hold anything."""
    for item in _items(source, "AnatomicRegionSequence"):
        code = _word(value_of(item, "CodeValue"))
        if code in MEANINGS:
            yield _region(code)


def _region(code: str) -> Dataset:
    return _code(code, "SCT" if code.isdigit() else "SRT", MEANINGS[code])


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def _add_tables(source: Dataset, target: Dataset) -> None:
    swaps = source.file_meta.TransferSyntaxUID == ExplicitVRBigEndian
    for keyword in ("ModalityLUTSequence", "VOILUTSequence"):
        tables = []
        for item in _items(source, keyword):
            table = Dataset()
            _add_table(item, table, "LUTDescriptor", "LUTData", swaps)
            if "LUTData" in table:
                tables.append(table)
            if keyword == "ModalityLUTSequence":
                table.ModalityLUTType = _cleaned(item, "ModalityLUTType", _term("US", "OD", "HU")) or "US"
        if tables:
            setattr(target, keyword, tables)
    for name in _PALETTES:
        _add_table(source, target, f"{name}Descriptor", f"{name}Data", swaps)


def _add_table(source: Dataset, target: Dataset, descriptor: str, data: str, swaps: bool) -> None:
    """Copy a table with the entries that its descriptor states, and no byte after them (PS3.3, C.11.1.1).

    `swaps`: words lie in the source in big-endian order.
    """
    described = _cleaned(source, descriptor, _descriptor)
    content = value_of(source, data)
    if described is None or not content:
        return
    entries = described[0] & 0xFFFF or 1 << 16
    if isinstance(content, bytes):
        words = np.frombuffer(content[: len(content) & ~1], ">u2" if swaps else "<u2")
        # Entries of 8 bits may be packed, two in a word.
        words = words[: (entries + 1) // 2 if len(words) < entries else entries]
    else:
        words = np.array([int(one) & 0xFFFF for one in _several(content)[:entries]])
    target.add_new(descriptor, "SS" if source[descriptor].VR == "SS" else "US", described)
    target.add_new(data, "OW", words.astype("<u2").tobytes())
