"""A data set to its stored values, in any transfer syntax that is read."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom import uid
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels import get_decoder

from serving.imaging.dicom import extended, lossless, rle
from serving.imaging.dicom.codestreams import codestream, misfit
from serving.imaging.dicom.dataset import image_size
from serving.imaging.dicom.syntaxes import DECODERS

_MAX_FRAGMENTS = 10_000  # of the pixel data: there are radiographs with one for each line
_OWN: dict[str, Callable[[bytes, int, int, int], npt.NDArray[np.uint16]]] = {
    "rle": rle.decode,
    "lossless": lossless.decode,
    "extended": extended.decode,
}


def stored_values(dataset: pydicom.Dataset) -> npt.NDArray[np.integer]:
    """The stored values, (rows, columns), of the type that Bits Allocated and Pixel Representation name.

    Changes `dataset`. Raises ImageError `undecodable` for pixels of another size than Rows x Columns, and whatever a
    decoder raises for a broken frame.
    """
    syntax = dataset.file_meta.TransferSyntaxUID
    rows, columns = image_size(dataset)
    shifts = DECODERS[syntax] in {"pydicom", "rle"}  # other codecs code values, not cells
    if not syntax.is_encapsulated:
        row = columns * int(dataset.BitsAllocated) // 8
        excess = dataset.PixelData[rows * row :]
        if len(excess) >= max(row, 2):
            if excess.strip(excess[:1]):  # no padding, which is of one byte value: the image is of another size
                raise misfit(rows, columns)
            dataset.PixelData = dataset.PixelData[: rows * row + rows * row % 2]
        plugin: str = ""
    else:
        plugin = DECODERS[syntax]
        if dataset.PixelData.count(b"\xfe\xff\x00\xe0") > _MAX_FRAGMENTS:
            raise ValueError("too many fragments")
        frame = next(generate_frames(dataset.PixelData, number_of_frames=1))
        if syntax == uid.JPEGExtended12Bit and extended.precision(frame) == extended.PRECISION:
            plugin = "extended"
        if plugin in _OWN:
            size = int(dataset.BitsAllocated) // 8
            pixels = _OWN[plugin](frame, rows, columns, size)
            dataset.PixelData = pixels.astype(f"<u{size}").tobytes()
            dataset.file_meta.TransferSyntaxUID = syntax = uid.ExplicitVRLittleEndian
            plugin = ""
        else:
            dataset.PixelData = encapsulate([codestream(frame, syntax, rows, columns)])
            for keyword in ("ExtendedOffsetTable", "ExtendedOffsetTableLengths"):  # of the fragments as they were
                dataset.pop(keyword, None)
            if syntax in {uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit}:
                dataset.BitsAllocated = 8  # of what is decoded, whatever was allocated
    options: dict[str, Any] = {"decoding_plugin": plugin, "view_only": True}
    unused = _low_bits_unused(dataset) if shifts else 0
    dataset.BitsStored += unused
    values = get_decoder(syntax).as_array(dataset, **options)[0]
    dataset.BitsStored -= unused
    return np.asarray(values >> unused) if unused else values


def _low_bits_unused(dataset: pydicom.Dataset) -> int:
    """The bits of a pixel cell below the stored bits (PS3.5, 8.1.1); 0 where High Bit is missing or makes no sense."""
    high = dataset.get("HighBit")
    return int(high) + 1 - int(dataset.BitsStored) if high in range(dataset.BitsStored, dataset.BitsAllocated) else 0
