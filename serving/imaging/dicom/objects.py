"""A DICOM object from its bytes to its header, and to grey levels."""

from dataclasses import dataclass
from typing import Any, TypeVar

import cv2
import numpy as np
import numpy.typing as npt
import pydicom
from pydicom import uid
from pydicom.multival import MultiValue
from pydicom.pixels import apply_color_lut

from serving.anatomy import MEANINGS
from serving.errors import ImageError
from serving.imaging.colour import COLOURFUL, colourfulness
from serving.imaging.dicom.dataset import identifier, image_size, read, read_whole
from serving.imaging.dicom.display import grey_levels, occurring, unmapped
from serving.imaging.dicom.stored import COLOURS, GREY, samples_of, stored_values
from serving.imaging.dicom.syntaxes import DECODERS, unsupported
from serving.imaging.faults import faults

_MAX_CODES = 8  # anatomic regions of one image
_ENOUGH = 512
"""Pixels of the longer side from which colours are judged."""

Number = TypeVar("Number", bound=np.integer)


def inspect(content: bytes) -> dict[str, Any]:
    """The fields of `decode.Header`, from the Image Pixel module (PS3.3, C.7.6.3); pixels are not touched.

    Raises ImageError `undecodable` for a broken or incomplete object and `no_pixels` for one without an image.
    """
    with faults("the DICOM object is broken"):
        dataset = read(content)
        rows, columns = image_size(dataset)
        return {
            "format": "DICOM",
            "mode": str(dataset.PhotometricInterpretation),
            "bit_depth": int(dataset.BitsStored),
            "width": columns,
            "height": rows,
            "orientation": 1,
            "frames": int(dataset.get("NumberOfFrames") or 1),
            "sop_instance_uid": identifier(dataset.get("SOPInstanceUID")),
            "sop_class_uid": identifier(dataset.get("SOPClassUID")),
            "modality": _text(dataset, "Modality"),
            "body_part": _body_part(dataset),
            "for_processing": _text(dataset, "PresentationIntentType") == "FOR PROCESSING",
        }


def _body_part(dataset: pydicom.Dataset) -> str:
    """The words of Body Part Examined and of the coded anatomic regions, these by their codes or else their meaning."""
    words = [_text(dataset, "BodyPartExamined")]
    for region in _items(dataset, "AnatomicRegionSequence"):
        code = _text(region, "CodeValue")
        words.append(MEANINGS.get(code, "").upper() or _text(region, "CodeMeaning"))
    return "; ".join(filter(None, words))


def _items(dataset: pydicom.Dataset, keyword: str) -> list[pydicom.Dataset]:
    try:
        return list(dataset[keyword].value or [])[:_MAX_CODES]
    except (KeyError, TypeError, ValueError, NotImplementedError):
        return []


def _text(dataset: pydicom.Dataset, keyword: str) -> str:
    """An element's text in upper case, empty where it is absent or cannot be read; several values are joined."""
    try:
        value = dataset.get(keyword)
    except (TypeError, ValueError, NotImplementedError):
        return ""
    text = " ".join(map(str, value)) if isinstance(value, MultiValue) else str(value or "")
    return text.strip(" \0").upper()


@dataclass(frozen=True)
class Shown:
    """Grey pixels, uint8 (rows, columns), bright bone; rows that a truncated object lacks are black.

    `values` are those behind the pixels where the object leaves their range open (`display.unmapped`), else None.
    """

    pixels: npt.NDArray[np.uint8]
    truncated: bool
    values: npt.NDArray[np.integer] | None = None


def decode(content: bytes) -> Shown:
    """Grey pixels of a single-frame object.

    The window or VOI LUT of the object is applied (PS3.3, C.11.2); without one the range of the pixels is used.
    MONOCHROME1 is inverted. An object with colour channels is read where it is grey all the same. Memory is allocated
    for as many pixels as the object declares: call `inspect` first. Raises ImageError `undecodable`, `no_pixels`,
    `unsupported_dicom` or `colour_photograph`.
    """
    with faults("the DICOM object is broken"):
        header = read(content)
        rows, columns = image_size(header)
        _check_supported(header)
        size = rows * columns * samples_of(header) * int(header.BitsAllocated) // 8
        dataset, element = read_whole(content, max(1, size))
    if element is None or not element.value:
        raise ImageError("no_pixels", "the DICOM object holds no pixel data; send the one with the image")
    with faults(f"the DICOM pixels ({dataset.file_meta.TransferSyntaxUID.name}) cannot be decoded"):
        stored = stored_values(dataset, element)
        colours = dataset.PhotometricInterpretation not in GREY
        if colours:
            shown, values = _grey_of_colours(stored.values, dataset), None
        else:
            values_there = occurring(stored.values)
            shown = grey_levels(stored.values, dataset, values_there)
            values = unmapped(stored.values, dataset, values_there)
    return Shown(_whole(shown, rows), stored.truncated, None if values is None else _whole(values, rows))


def _whole(values: npt.NDArray[Number], rows: int) -> npt.NDArray[Number]:
    """The values with the rows that they lack, of the darkest one."""
    missing = rows - len(values)
    if not missing:
        return values
    darkest = 0 if values.dtype == np.uint8 else values.min()
    return np.concatenate([values, np.full((missing, *values.shape[1:]), darkest, values.dtype)])


def _grey_of_colours(values: npt.NDArray[np.integer], dataset: pydicom.Dataset) -> npt.NDArray[np.uint8]:
    colours = values if values.ndim == 3 else apply_color_lut(values, dataset)
    if colours.dtype.itemsize == 2:  # a palette of 16 bits
        colours = colours >> 8
    rgb = np.ascontiguousarray(colours, np.uint8)
    step = max(1, max(rgb.shape[:2]) // _ENOUGH)
    if colourfulness(np.ascontiguousarray(rgb[::step, ::step, ::-1])) > COLOURFUL:
        raise ImageError("colour_photograph", "the DICOM object is a picture in colour; send the radiograph itself")
    return np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), np.uint8)


def _check_supported(header: pydicom.Dataset) -> None:
    photometric = str(header.get("PhotometricInterpretation", ""))
    if int(header.get("NumberOfFrames") or 1) > 1:
        raise ImageError("unsupported_dicom", "the DICOM object has several frames; send one image at a time")
    if photometric not in GREY | COLOURS:
        raise ImageError("unsupported_dicom", f"photometric interpretation {photometric} is not read; send it in grey")
    if header.get("BitsAllocated") not in {8, 16}:
        raise ImageError("unsupported_dicom", "Bits Allocated of a radiograph is 8 or 16 (PS3.3, C.8.11.3)")
    if samples_of(header) > 1 and header.BitsAllocated != 8:
        raise ImageError("unsupported_dicom", "the DICOM object has three samples of 16 bits; 8 are read")
    syntax = uid.UID(str(header.file_meta.TransferSyntaxUID))
    if syntax not in DECODERS:
        raise unsupported(syntax, "is not supported")
