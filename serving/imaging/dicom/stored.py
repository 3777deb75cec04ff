"""A data set and its pixel data to stored values, in any transfer syntax that is read."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom import uid
from pydicom.encaps import encapsulate
from pydicom.pixels import get_decoder

from serving.errors import ImageError
from serving.imaging.dicom import extended, lossless, rle
from serving.imaging.dicom.codestreams import codestream, ends, misfit, segments
from serving.imaging.dicom.dataset import PixelElement, image_size
from serving.imaging.dicom.fragments import frame_of, syntax_of
from serving.imaging.dicom.syntaxes import DECODERS, unsupported

GREY = frozenset({"MONOCHROME1", "MONOCHROME2"})
PALETTE = "PALETTE COLOR"
COLOURS = frozenset({"RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT", PALETTE})
"""Photometric interpretations (PS3.3, C.7.6.3.1.2) in which a grey radiograph may be stored."""

_OWN: dict[str, Callable[[bytes, int, int, int], npt.NDArray[np.uint16]]] = {
    "rle": rle.decode,
    "lossless": lossless.decode,
    "extended": extended.decode,
}
_JPEG = frozenset({uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit})


@dataclass(frozen=True)
class Stored:
    """Stored values, (rows, columns), or (rows, columns, 3) where a pixel has three samples, RGB.

    An object cut short has fewer rows than it states, or all of them, and `truncated` is set.
    """

    values: npt.NDArray[np.integer]
    truncated: bool


def stored_values(dataset: pydicom.Dataset, element: PixelElement) -> Stored:
    """The stored values, of the type that Bits Allocated and Pixel Representation name.

    Changes `dataset`. Raises ImageError `undecodable` for pixels of another size than Rows x Columns or
    `unsupported_dicom` for a codec that is not read, and whatever a decoder raises for a broken frame.
    """
    dataset.file_meta.TransferSyntaxUID = syntax = syntax_of(dataset, element)
    return _coded(dataset, *frame_of(element)) if syntax.is_encapsulated else _native(dataset, element)


def _native(dataset: pydicom.Dataset, element: PixelElement) -> Stored:
    rows, columns = image_size(dataset)
    samples = samples_of(dataset)
    bits = 16 if dataset.PhotometricInterpretation == "YBR_FULL_422" else samples * int(dataset.BitsAllocated)
    row = columns * bits // 8
    pixels = element.value
    excess = pixels[rows * row :]
    if len(excess) >= max(row, 2) and excess.strip(excess[:1]):
        raise misfit(rows, columns)  # padding would be of one byte value: the image is of another size
    there = min(rows, len(pixels) // max(row, 1))
    # Rows that are missing are no sign of wrong Columns; pixels that fill all Rows at another width are one.
    if not there or (there < rows and not element.cut_short and len(pixels) % row and _is_narrower(dataset, pixels)):
        raise misfit(rows, columns)
    if there < rows and samples > 1 and dataset.get("PlanarConfiguration") == 1:
        raise ValueError("the object is cut short; send it again whole")
    whole = rows * row
    dataset.PixelData = pixels[: whole + whole % 2].ljust(whole + whole % 2, b"\0")
    return Stored(_decoded(dataset, "")[:there], there < rows)


def _is_narrower(dataset: pydicom.Dataset, pixels: bytes) -> bool:
    """Whether pixels that are too few fill all Rows, of which each has fewer than Columns; else the last rows lack.

    Below each other lie pixels that resemble each other, so that the right width is that with the smaller steps.
    """
    rows, columns = image_size(dataset)
    cell = int(dataset.BitsAllocated) // 8
    width, rest = divmod(len(pixels), rows * samples_of(dataset) * cell)
    if rest > 1 or not width:
        return False
    order = "<" if dataset.file_meta.TransferSyntaxUID.is_little_endian else ">"
    values = np.frombuffer(pixels[: len(pixels) // cell * cell], f"{order}u{cell}").astype(np.float32)
    narrow, stated = (
        float(np.abs(values[step:] - values[:-step]).mean())
        for step in (width * samples_of(dataset), columns * samples_of(dataset))
    )
    return narrow <= stated


def _coded(dataset: pydicom.Dataset, frame: bytes, cut_short: bool) -> Stored:
    rows, columns = image_size(dataset)
    syntax, samples = dataset.file_meta.TransferSyntaxUID, samples_of(dataset)
    plugin: str = DECODERS[syntax]
    if syntax == uid.JPEGExtended12Bit and extended.precision(frame) == extended.PRECISION:
        plugin = "extended"
    if plugin in _OWN:
        values, truncated = _by_own_decoder(dataset, plugin, frame)
    else:
        whole = DECODERS[syntax] == "pyjpegls" or ends(frame)
        dataset.PixelData = encapsulate([codestream(frame, syntax, rows, columns, samples)])
        for keyword in ("ExtendedOffsetTable", "ExtendedOffsetTableLengths"):  # of the fragments as they were
            dataset.pop(keyword, None)
        if syntax in _JPEG:
            dataset.BitsStored = min(8, dataset.BitsStored)
            dataset.BitsAllocated = 8  # of what is decoded, whatever was allocated
            if samples > 1 and any(payload.startswith(b"JFIF\0") for _, payload, _ in segments(frame)):
                dataset.PhotometricInterpretation = "YBR_FULL"  # as JFIF is, whatever the object says
        values, truncated = _decoded(dataset, plugin), not whole
    if truncated and syntax in _JPEG:
        values = values[: _rows_decoded(values)]
    if not len(values):
        raise ValueError("the object is cut short; send it again whole")
    return Stored(values, truncated or cut_short or len(values) < rows)


def _by_own_decoder(dataset: pydicom.Dataset, plugin: str, frame: bytes) -> tuple[npt.NDArray[np.integer], bool]:
    rows, columns = image_size(dataset)
    size = int(dataset.BitsAllocated) // 8
    if samples_of(dataset) > 1:
        if plugin != "rle":
            raise unsupported(dataset.file_meta.TransferSyntaxUID, "is supported for grey pixels only")
        pixels: npt.NDArray[np.integer] = rle.decode_colours(frame, rows, columns)
    else:
        pixels = _OWN[plugin](frame, rows, columns, size)
    there = len(pixels)
    missing = np.zeros((rows - there, *pixels.shape[1:]), pixels.dtype)
    dataset.PixelData = np.concatenate([pixels, missing]).astype(f"<u{size}").tobytes()
    shifts = plugin == "rle"  # the other codecs code values, not cells
    dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    dataset.PlanarConfiguration = 0
    return _decoded(dataset, "", shifts)[:there], plugin != "rle" and not ends(frame)


def _decoded(dataset: pydicom.Dataset, plugin: str, shifts: bool = True) -> npt.NDArray[np.integer]:
    _check_described(dataset)
    options: dict[str, Any] = {"decoding_plugin": plugin, "view_only": True}
    unused = _low_bits_unused(dataset) if shifts and not plugin else 0
    dataset.BitsStored += unused
    values = get_decoder(dataset.file_meta.TransferSyntaxUID).as_array(dataset, **options)[0]
    dataset.BitsStored -= unused
    return np.asarray(values >> unused) if unused else np.asarray(values)


def _check_described(dataset: pydicom.Dataset) -> None:
    """Refuse an object whose elements contradict each other (PS3.3, C.7.6.3.1), naming these; ImageError `undecodable`.

    pydicom asks the same, in words that are no help to whoever sent the object.
    """
    stored, allocated, samples = int(dataset.BitsStored), int(dataset.BitsAllocated), samples_of(dataset)
    found = ""
    if not 1 <= stored <= allocated:
        found = f"Bits Stored is {stored}, Bits Allocated {allocated}"
    elif dataset.get("PixelRepresentation") not in {0, 1}:
        found = f"Pixel Representation is {_stated(dataset, 'PixelRepresentation')}, not 0 or 1"
    elif dataset.get("SamplesPerPixel") != samples:
        found = f"Samples per Pixel is {_stated(dataset, 'SamplesPerPixel')}, not {samples}"
    elif samples > 1 and dataset.get("PlanarConfiguration") not in {0, 1}:
        found = f"Planar Configuration is {_stated(dataset, 'PlanarConfiguration')}, not 0 or 1"
    if found:
        raise ImageError("undecodable", f"the DICOM object's elements do not fit each other: {found}; export it again")


def _stated(dataset: pydicom.Dataset, keyword: str) -> str:
    value = dataset.get(keyword)
    return str(value) if isinstance(value, int) else "missing"


def _rows_decoded(values: npt.NDArray[np.integer]) -> int:
    """The rows of a decoded JPEG before those that its decoder filled with the last shade it had."""
    last = values[-1, -1]
    flat = (values == last).reshape(len(values), -1).all(axis=1)
    return int(np.flatnonzero(~flat)[-1]) + 1 if not flat.all() else len(values)


def samples_of(dataset: pydicom.Dataset) -> int:
    """Samples of a pixel, by its photometric interpretation: 1 or 3."""
    return 3 if dataset.PhotometricInterpretation in COLOURS - {PALETTE} else 1


def _low_bits_unused(dataset: pydicom.Dataset) -> int:
    """The bits of a pixel cell below the stored bits (PS3.5, 8.1.1); 0 where High Bit is missing or makes no sense."""
    high = dataset.get("HighBit")
    return int(high) + 1 - int(dataset.BitsStored) if high in range(dataset.BitsStored, dataset.BitsAllocated) else 0
