"""The constants that the browser's modules share with ours, written from ours: no number is typed twice."""

import inspect
import json
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import cv2
import numpy as np
from pydicom.datadict import dictionary_VR, tag_for_keyword

from serving import anatomy, bundle, decision, guard, region, scope, signature, statistics, wording
from serving.http import pictures
from serving.http.settings import Settings
from serving.imaging import colour, decode, deep_colour, formats, gutter, lattice, noise
from serving.imaging.canonical import field, form, intensity, panels, polarity
from serving.imaging.dicom import bare, codestreams, dataset, fragments, objects, prefix, stored, syntaxes

_MODULES: Mapping[str, ModuleType] = {
    "ANATOMY": anatomy, "SYNTAXES": syntaxes, "BARE": bare, "BUNDLE": bundle, "CODESTREAMS": codestreams,
    "COLOUR": colour, "DATASET": dataset, "DECISION": decision, "DECODE": decode, "DEEP_COLOUR": deep_colour,
    "FIELD": field, "FORM": form, "FORMATS": formats, "FRAGMENTS": fragments, "GUARD": guard, "GUTTER": gutter,
    "INTENSITY": intensity, "LATTICE": lattice, "NOISE": noise, "OBJECTS": objects, "PANELS": panels,
    "PICTURES": pictures, "POLARITY": polarity, "PREFIX": prefix, "REGION": region, "SCOPE": scope,
    "SIGNATURE": signature, "STATISTICS": statistics, "STORED": stored, "WORDING": wording,
}  # fmt: skip
"""What the browser calls a module's constants; the names within are ours, without the underscore of a private one.

A table that several modules name is written with the first of them.
"""
_ELEMENTS = (
    "SpecificCharacterSet", "TransferSyntaxUID", "SOPClassUID", "SOPInstanceUID", "Modality", "PresentationIntentType",
    "BodyPartExamined", "AnatomicRegionSequence", "CodeValue", "CodeMeaning", "SamplesPerPixel",
    "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames", "Rows", "Columns", "BitsAllocated",
    "BitsStored", "HighBit", "PixelRepresentation", "PixelPaddingValue", "PixelPaddingRangeLimit", "WindowCenter",
    "WindowWidth", "RescaleIntercept", "RescaleSlope", "VOILUTFunction", "ModalityLUTSequence", "VOILUTSequence",
    "LUTDescriptor", "LUTData", "RedPaletteColorLookupTableDescriptor", "RedPaletteColorLookupTableData",
    "GreenPaletteColorLookupTableData", "BluePaletteColorLookupTableData",
)  # fmt: skip
"""Elements of a DICOM object that the page reads."""
_HEAD = "// Generated from the service's own modules by pipeline/packaging/web_constants.py."


def constants() -> dict[str, dict[str, Any]]:
    """The constants by module and name, for JSON; what JSON cannot hold, such as paths and types, is left out."""
    tables: set[int] = set()
    found = {name: _of_module(module, tables) for name, module in _MODULES.items()}
    found["DECODE"]["PREVIEW_AT_LEAST"] = inspect.signature(decode.preview).parameters["at_least"].default
    found["SCOPE"]["UMLAUTS"] = {chr(int(code)): text for code, text in scope._UMLAUTS.items()}
    found["LIMITS"] = {"MAX_PIXELS": Settings().max_pixels}
    found["TAGS"] = {name: _element(name) for name in _ELEMENTS}
    found["UIDS"] = {uid.keyword: str(uid) for uid in syntaxes.DECODERS}
    # OpenCV's colours for 0 to 255, as red, green and blue.
    ramp = np.arange(256, dtype=np.uint8)[np.newaxis]
    found["SALIENCY"] = {"INFERNO": cv2.applyColorMap(ramp, cv2.COLORMAP_INFERNO)[0, :, ::-1].tolist()}
    return found


def module_text() -> str:
    """constants.js, of one line for each module."""
    lines = [f"export const {name} = {json.dumps(values)};" for name, values in constants().items()]
    return "\n".join([_HEAD, *lines, ""])


def _of_module(module: ModuleType, tables: set[int]) -> dict[str, Any]:
    """The constants of a module, without those of `tables`, to which its own are added."""
    found = {}
    for name, value in vars(module).items():
        if name.upper() != name or name.startswith("__") or id(value) in tables:
            continue
        if isinstance(value, Mapping):
            tables.add(id(value))
        try:
            found[name.lstrip("_")] = _plain(value)
        except TypeError:
            continue
    return found


def _element(keyword: str) -> tuple[int, str]:
    """Tag and value representation; of two possible ones, such as US or SS, the first."""
    tag = tag_for_keyword(keyword)
    if tag is None:
        raise ValueError(f"{keyword}: no element of DICOM")
    return tag, dictionary_VR(tag).split(" or ")[0]


def _plain(value: object) -> Any:
    """A constant as JSON holds it; bytes become text of one letter a byte. Raises TypeError for anything else."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if isinstance(value, tuple | list | frozenset):
        found = [_plain(item) for item in value]
        return sorted(found) if isinstance(value, frozenset) else found
    if isinstance(value, Mapping):
        if all(isinstance(key, str | bytes) for key in value):
            return {_plain(key): _plain(item) for key, item in value.items()}
        return [[_plain(key), _plain(item)] for key, item in value.items()]
    raise TypeError(type(value).__name__)
