"""A DICOM object from its bytes to its header, and to grey levels."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom import uid

from serving.errors import ImageError
from serving.imaging.dicom.dataset import faults, identifier, image_size, read
from serving.imaging.dicom.display import grey_levels
from serving.imaging.dicom.stored import stored_values
from serving.imaging.dicom.syntaxes import DECODERS, unsupported

_GREY = ("MONOCHROME1", "MONOCHROME2")


def inspect(content: bytes) -> dict[str, Any]:
    """The fields of `decode.Header`, from the Image Pixel module (PS3.3, C.7.6.3); pixels are not touched.

    Raises ImageError `undecodable` for a broken object and `no_pixels` for one without an image.
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
        }


def decode(content: bytes) -> npt.NDArray[np.uint8]:
    """Grey pixels of a single-frame object, uint8 (rows, columns), bright bone.

    The window or VOI LUT of the object is applied (PS3.3, C.11.2); without one the range of the pixels is used.
    MONOCHROME1 is inverted. Memory is allocated for as many pixels as the object declares: call `inspect` first.
    Raises ImageError `undecodable`, `no_pixels` or `unsupported_dicom`.
    """
    with faults("the DICOM object is broken"):
        header = read(content)
        rows, columns = image_size(header)
        _check_supported(header)
        dataset = read(content, max(1, rows * columns * int(header.BitsAllocated) // 8))
    if "PixelData" not in dataset:
        raise ImageError("no_pixels", "the DICOM object holds no pixel data")
    with faults(f"the DICOM pixels ({dataset.file_meta.TransferSyntaxUID.name}) cannot be decoded"):
        return grey_levels(stored_values(dataset), dataset)


def _check_supported(header: pydicom.Dataset) -> None:
    photometric = str(header.get("PhotometricInterpretation", ""))
    if int(header.get("NumberOfFrames") or 1) > 1:
        raise ImageError("unsupported_dicom", "the DICOM object has several frames; send one image at a time")
    if photometric not in _GREY:
        raise ImageError("unsupported_dicom", f"photometric interpretation {photometric or 'missing'} is no radiograph")
    if header.get("BitsAllocated") not in {8, 16}:
        raise ImageError("unsupported_dicom", "Bits Allocated of a radiograph is 8 or 16 (PS3.3, C.8.11.3)")
    syntax = uid.UID(str(header.file_meta.get("TransferSyntaxUID", "")))
    if syntax not in DECODERS:
        raise unsupported(syntax, "is not supported")
