"""DICOM objects to grey pixels: modality and VOI transformations, photometric interpretation."""

import io
import struct
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom.encaps import generate_frames
from pydicom.pixels import apply_modality_lut, apply_voi
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian

from serving.errors import ImageError

_PREAMBLE = 128
_GREY = ("MONOCHROME1", "MONOCHROME2")
_FILE_META = 4096  # bytes from the start in which the transfer syntax stands


def is_dicom(content: bytes) -> bool:
    """Whether the bytes carry the DICOM file prefix (PS3.10, 7.1)."""
    return content[_PREAMBLE : _PREAMBLE + 4] == b"DICM"


def inspect(content: bytes) -> dict[str, Any]:
    """The fields of `imaging.Header`, from the elements of the image pixel module, without touching pixels.

    Raises ImageError `undecodable` for a broken object and `no_pixels` for one without an image.
    """
    dataset = _read(content, stop_before_pixels=True)
    try:
        rows, columns = int(dataset.Rows), int(dataset.Columns)
        mode, depth = str(dataset.PhotometricInterpretation), int(dataset.BitsStored)
        frames = int(dataset.get("NumberOfFrames") or 1)
    except (AttributeError, TypeError, ValueError):
        raise ImageError("no_pixels", "the DICOM object holds no image") from None
    return {
        "format": "DICOM",
        "mode": mode,
        "bit_depth": depth,
        "width": columns,
        "height": rows,
        "orientation": 1,
        "frames": frames,
        "sop_instance_uid": _uid(dataset),
    }


def _uid(dataset: pydicom.Dataset) -> str:
    """The instance's UID; empty where it is none: free text may name a patient."""
    uid = UID(str(dataset.get("SOPInstanceUID", "")))
    return str(uid) if uid.is_valid else ""


def decode(content: bytes) -> npt.NDArray[np.uint8]:
    """Grey pixels of a single-frame object, uint8 (rows, columns), bright bone.

    The window or VOI LUT of the object is applied (PS3.3, C.11.2); without one the range of the pixels is
    used. MONOCHROME1 is inverted. Raises ImageError `undecodable`, `no_pixels` or `unsupported_dicom`.
    """
    dataset = _read(content)
    photometric = str(dataset.get("PhotometricInterpretation", ""))
    if int(dataset.get("NumberOfFrames") or 1) > 1:
        raise ImageError("unsupported_dicom", "the DICOM object has several frames; send one image at a time")
    if photometric not in _GREY:
        raise ImageError("unsupported_dicom", f"photometric interpretation {photometric or 'missing'} is no radiograph")
    if "PixelData" not in dataset:
        raise ImageError("no_pixels", "the DICOM object holds no pixel data")
    try:
        _check_size(dataset)
        values = np.asarray(apply_modality_lut(dataset.pixel_array, dataset), np.float64)
        shown = _display(values, dataset)
    except ImageError:
        raise
    except Exception as error:  # noqa: BLE001  decoders raise whatever broken bytes lead them to
        syntax = UID(str(getattr(dataset.file_meta, "TransferSyntaxUID", ""))).name
        detail = " ".join(str(error).split())[:120]
        raise ImageError("undecodable", f"the DICOM pixels ({syntax}) cannot be decoded ({detail})") from None
    grey = np.asarray(np.rint(shown * 255.0), np.uint8)
    return 255 - grey if photometric == "MONOCHROME1" else grey


def _read(content: bytes, stop_before_pixels: bool = False) -> pydicom.Dataset:
    if DeflatedExplicitVRLittleEndian.encode() in content[:_FILE_META]:
        # Inflated on reading, whole and without a limit, before its size can be checked.
        raise ImageError("unsupported_dicom", "the DICOM object is deflated; send it in another transfer syntax")
    try:
        return pydicom.dcmread(io.BytesIO(content), stop_before_pixels=stop_before_pixels)
    except Exception as error:  # noqa: BLE001  the parser raises whatever broken bytes lead it to
        detail = " ".join(str(error).split())[:120]
        raise ImageError("undecodable", f"the DICOM object is broken ({detail})") from None


def _check_size(dataset: pydicom.Dataset) -> None:
    """Refuse pixel data of another size than Rows x Columns, which would be sheared, or fill the memory, if decoded."""
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    wrong = ImageError("undecodable", f"the DICOM pixels do not fit Rows x Columns, {rows} x {columns}")
    if dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        frame = next(generate_frames(dataset.PixelData, number_of_frames=1))
        if _coded_size(frame) not in {None, (rows, columns)}:
            raise wrong
        return
    row = -(-columns * int(dataset.BitsAllocated) // 8)
    if len(dataset.PixelData) >= rows * row + max(row, 2):  # some writers pad, by less than a row
        raise wrong


def _coded_size(frame: bytes) -> tuple[int, int] | None:
    """(rows, columns) that a JPEG, JPEG-LS or JPEG 2000 stream says of itself; None where it has no such header."""
    start = frame.find(b"\xff\x4f\xff\x51", 0, 4096)  # SOC, SIZ (ISO 15444-1, A.5.1)
    if start >= 0:
        right, bottom, left, top = struct.unpack_from(">4I", frame, start + 8)
        return bottom - top, right - left
    position = 2
    while frame[position : position + 1] == b"\xff":
        marker, length = struct.unpack_from(">BH", frame, position + 1)
        if marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in {0xC4, 0xC8, 0xCC}):  # SOF55 of JPEG-LS, SOFn
            rows, columns = struct.unpack_from(">HH", frame, position + 5)
            return rows, columns
        position += 2 + length
    return None


def _display(values: npt.NDArray[np.float64], dataset: pydicom.Dataset) -> npt.NDArray[np.float64]:
    """Modality values to display values in [0, 1]."""
    if dataset.get("VOILUTSequence"):
        table = dataset.VOILUTSequence[0]
        bits = int(table.LUTDescriptor[2]) or 16
        looked_up = np.asarray(apply_voi(values.astype(np.int64), dataset), np.float64)
        return np.asarray(np.clip(looked_up / (2**bits - 1), 0, 1), np.float64)
    center, width = _first(dataset.get("WindowCenter")), _first(dataset.get("WindowWidth"))
    if center is None or width is None or width <= 0:
        low, high = float(values.min()), float(values.max())
        return np.asarray((values - low) / max(high - low, 1e-9), np.float64)
    function = str(dataset.get("VOILUTFunction", "LINEAR"))
    if function == "SIGMOID":
        exponent = np.clip(-4.0 * (values - center) / width, -700, 700)  # beyond it a float64 overflows
        return np.asarray(1.0 / (1.0 + np.exp(exponent)), np.float64)
    if function == "LINEAR_EXACT":
        return np.clip((values - center) / width + 0.5, 0, 1)
    if width <= 1:
        return np.asarray(values > center - 0.5, np.float64)  # a threshold, as the formula's limits say
    return np.clip((values - (center - 0.5)) / (width - 1.0) + 0.5, 0, 1)


def _first(value: Any) -> float | None:
    if value is None or value == "":
        return None
    return float(value if isinstance(value, (int, float, str)) else next(iter(value), 0))
