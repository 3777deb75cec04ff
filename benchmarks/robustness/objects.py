"""The same radiograph as DICOM objects of 12 bits, each stored in another way; all show the same picture."""

import io
from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian

Grey = npt.NDArray[np.uint8]

_BITS = 12
_LARGEST = 2**_BITS - 1


def stored(pixels: Grey, *, window: bool = True, inverted: bool = False, shift: int = 0) -> bytes:
    """A computed radiograph of 12 bits, from grey pixels, uint8 (h, w).

    Without a `window` the values fill half of their range and lie above zero, as unprocessed exposures do.
    `inverted` stores it as MONOCHROME1; `shift` moves the bits up, so that High Bit is 11 + shift.
    """
    grey = pixels.astype(np.float64) / 255
    values = np.rint(600 + grey * 0.5 * _LARGEST).astype(np.uint16)
    if inverted:
        values = np.asarray(_LARGEST - values, np.uint16)
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = ComputedRadiographyImageStorage
    dataset.SOPInstanceUID = "2.25.1"
    dataset.Modality = "CR"
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME1" if inverted else "MONOCHROME2"
    dataset.Rows, dataset.Columns = values.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, _BITS, _BITS - 1 + shift
    dataset.PixelRepresentation = 0
    dataset.PixelData = (values << shift).astype("<u2").tobytes()
    if window:
        low, high = (600.0, 600 + 0.5 * _LARGEST)
        if inverted:
            low, high = _LARGEST - high, _LARGEST - low
        dataset.WindowCenter, dataset.WindowWidth = round((low + high) / 2 + 0.5), round(high - low + 1)
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


OBJECTS: Mapping[str, Callable[[Grey], bytes]] = {
    "dicom_12_bit_window": stored,
    "dicom_12_bit_no_window": partial(stored, window=False),
    "dicom_monochrome1": partial(stored, inverted=True),
    "dicom_high_bit_15": partial(stored, shift=4),
}
"""By name; each turns grey pixels into a file's bytes."""
